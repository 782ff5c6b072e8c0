"""Cuts a network into stem, stage1 … stage4 by watching it run once, for every family alike.

Stage k ends when the last module that timm's `feature_info` names for its stride (4, 8, 16, 32; of networks made for
CIFAR 1, 2, 4) has run; the stem is all that starts before the module of stage 1; the last stage runs on to the
classifier's input. The order in which modules ran decides, not what they are called. A network for which that leaves a
tensor in doubt is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from finetune.errors import UsageError, listing, printable, suggestion
from finetune.recipe.backbones import FAMILIES

STAGES = ("stem", "stage1", "stage2", "stage3", "stage4")
STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Which stage each module and tensor of a network belongs to.

    `module_stage` covers every module that owns tensors or has no parts, and `stages` is the same the other way round,
    in order; `tensors` covers every parameter and buffer. `ends` are the modules that end stage 1 and those after it;
    `reach` gives, of every module that ran, the first and the last stage (the stem is 0) in which it was running.
    `channels` is the size of axis 1 of what leaves a stage; `strides` is how many pixels one step on the map is.
    """

    stages: Mapping[str, tuple[str, ...]]
    module_stage: Mapping[str, str]
    tensors: Mapping[str, str]
    ends: tuple[str, ...]
    reach: Mapping[str, tuple[int, int]]
    channels: Mapping[str, int]
    strides: Mapping[str, int]

    @property
    def last(self) -> str:
        """The stage that ends at the classifier's input."""
        return tuple(self.stages)[-1]

    def position(self, stage: str) -> int:
        """The place of a stage in the order of execution, from 0. Raises UsageError for a name that is no stage's."""
        names = tuple(self.stages)
        if stage not in names:
            shown = printable(stage, limit=80)
            raise UsageError(f"no stage {shown!r}{suggestion(stage, names)}; choose from {', '.join(names)}")
        return names.index(stage)


def cut(
    network: nn.Module,
    landmarks: Sequence[Mapping[str, Any]],
    images: Tensor,
    *,
    strides: Sequence[int] = STRIDES,
) -> Cut:
    """The cut of `network`, which runs once on `images` (n, 3, size, size), in the mode and on the device it is on.

    landmarks: timm's `feature_info`, that is stride (`reduction`), name (`module`) and channels (`num_chs`) of some
    modules; strides: those at which stage 1 and those after it end. Raises UsageError for a network without such
    stages, with a stage without tensors, with tensors used on both sides of a cut, or with a tensor whose module never
    ran.
    """
    ends, widths = _landmarks(network, landmarks, strides)
    with _watch(network) as calls:
        features = network(images)
    if not isinstance(features, Tensor) or features.ndim != 2:
        raise UsageError(f"it does not give one vector per image; {FAMILIES}")
    limits = _limits(calls, ends)
    reach = {
        name: (_stage(min(one.start for one in several), limits), _stage(max(one.end for one in several), limits))
        for name, several in calls.items()
    }
    maps = [calls[ends[0]][0].given, *(calls[end][-1].returned for end in ends[:-1])]
    channels, found = _maps(maps, images.shape[2], widths)
    names = STAGES[: len(ends) + 1]
    tensors = _tensors(network, reach, names)
    module_stage = _module_stage(network, reach)
    return Cut(
        stages={stage: tuple(name for name, its in module_stage.items() if its == stage) for stage in names},
        module_stage=module_stage,
        tensors=tensors,
        ends=ends,
        reach=reach,
        channels={**channels, names[-1]: features.shape[1]},
        strides={**found, names[-1]: strides[-1]},
    )


@dataclass
class _Call:
    start: int
    given: Any
    end: int = 0
    returned: Any = None


def _landmarks(
    network: nn.Module, landmarks: Sequence[Mapping[str, Any]], strides: Sequence[int]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The names of the modules that end stages, and the channels of what leaves all of these but the last."""
    last = {one["reduction"]: one for one in landmarks}
    if any(stride not in last for stride in strides):
        found = ", ".join(map(str, sorted(last))) or "that it does not tell"
        raise UsageError(f"its stages have strides {found}; {FAMILIES}")
    ends = tuple(last[stride]["module"] for stride in strides)
    known = dict(network.named_modules())
    if len(set(ends)) < len(ends) or any(not end or end not in known for end in ends):
        raise UsageError(f"its stages end at {', '.join(map(repr, ends))}, which are not four modules; {FAMILIES}")
    return ends, tuple(last[stride]["num_chs"] for stride in strides[:-1])


@contextmanager
def _watch(network: nn.Module) -> Iterator[dict[str, list[_Call]]]:
    """The calls of every module that runs inside, by a clock that ticks at every start and every end."""
    calls: dict[str, list[_Call]] = {}
    running: list[_Call] = []
    clock = 0

    def start(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal clock
        clock += 1
        running.append(_Call(clock, arguments[0] if arguments else None))
        calls.setdefault(name, []).append(running[-1])

    def end(returned: Any) -> None:
        nonlocal clock
        clock += 1
        call = running.pop()
        call.end, call.returned = clock, returned

    handles = []
    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _, given, name=name: start(name, given)))
        handles.append(module.register_forward_hook(lambda _, __, returned: end(returned)))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _limits(calls: Mapping[str, list[_Call]], ends: Sequence[str]) -> list[int]:
    """When stage 1 starts, and when every stage but the last ends."""
    for end in ends:
        if end not in calls:
            raise UsageError(f"its module {end!r}, which should end a stage, never ran; {FAMILIES}")
    limits = [calls[ends[0]][0].start, *(max(one.end for one in calls[end]) for end in ends)]
    if limits != sorted(limits):
        raise UsageError(f"its stages do not run one after the other; {FAMILIES}")
    return limits[:-1]


def _stage(moment: int, limits: Sequence[int]) -> int:
    return 0 if moment < limits[0] else 1 + sum(moment > limit for limit in limits[1:])


def _maps(maps: Sequence[Any], size: int, widths: Sequence[int]) -> tuple[dict[str, int], dict[str, int]]:
    """Channels and strides of what leaves the stem and every stage but the last."""
    for stage, one, width in zip(STAGES, maps, (None, *widths), strict=False):
        fits = isinstance(one, Tensor) and one.ndim == 4 and one.shape[2] == one.shape[3]
        if not fits or width not in (None, one.shape[1]):
            shape = f" but {tuple(one.shape)}" if isinstance(one, Tensor) else ""
            raise UsageError(f"what leaves its {stage} is no map (images, channels, height, width){shape}; {FAMILIES}")
    channels = {stage: one.shape[1] for stage, one in zip(STAGES, maps, strict=False)}
    return channels, {stage: round(size / one.shape[2]) for stage, one in zip(STAGES, maps, strict=False)}


def _tensors(network: nn.Module, reach: Mapping[str, tuple[int, int]], known: Sequence[str]) -> dict[str, str]:
    """The stage of every parameter and buffer: that in which the module that owns it ran."""
    names = {module: name for name, module in network.named_modules()}
    stages: dict[str, str] = {}
    unused: list[str] = []
    first_place: dict[int, str] = {}  # of a tensor that has several names
    for prefix, module in network.named_modules(remove_duplicate=False):
        for key, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            name = f"{prefix}.{key}" if prefix else key
            if names[module] not in reach:
                unused.append(name)
                continue
            first, last = reach[names[module]]
            if first != last or first_place.setdefault(id(tensor), STAGES[first]) != STAGES[first]:
                raise UsageError(f"its tensor {name!r} is used in more than one stage; {FAMILIES}")
            stages[name] = STAGES[first]
    if unused:
        raise UsageError(f"it has tensors whose module never ran, so that they are in no stage:{listing(unused)}")
    if empty := [stage for stage in known if stage not in stages.values()]:
        raise UsageError(f"its {empty[0]} holds no tensors; {FAMILIES}")
    return stages


def _module_stage(network: nn.Module, reach: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """The stage of every module that owns tensors or has no parts; one that did not run belongs to what holds it."""
    names = {module: name for name, module in network.named_modules()}
    stages: dict[str, str] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        has_parts = any(True for _ in module.children())
        if has_parts and not _owns_tensors(module):
            continue
        holder = names[module]
        while holder not in reach:
            holder = holder.rpartition(".")[0]
        first, last = reach[holder]
        if first == last:
            stages[name] = STAGES[first]
        elif holder == names[module]:
            raise UsageError(f"its module {name!r} runs in more than one stage; {FAMILIES}")
    return stages


def _owns_tensors(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
