"""A name becomes a network without classifier, cut into stages, with its input contract. The only importer of timm.

It knows nothing of where weights come from, nor of heads: a network leaves here with random weights.
"""

import hashlib
import importlib.metadata
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from finetune.data.decode import Interpolation, Preprocessing
from finetune.errors import BrokenInstallation, UsageError, printable
from finetune.model import running
from finetune.model.cifar import CifarNet
from finetune.model.cut import STRIDES, Cut, cut
from finetune.model.pooling import Pool, pooled
from finetune.recipe import backbones, cifar
from finetune.recipe.backbones import TagFacts
from finetune.recipe.images import Images


@dataclass(frozen=True)
class InputContract:
    """What weights were trained (or tested) with: side in pixels, share of the short side that the centre crop keeps.

    `mean` and `std` are those of red, green, blue in 0…1.
    """

    size: int
    crop_pct: float
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def preprocessing(self, images: Images) -> Preprocessing:
        """What a recipe says of pixels, completed by what the weights expect."""
        size = images.size or self.size
        return Preprocessing(
            size=size,
            working=max(size, math.floor(size / self.crop_pct)) if images.fit == "crop" else size,
            fit=images.fit,
            interpolation=self.interpolation,
            mean=images.mean or self.mean,
            std=images.std or self.std,
        )


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A network without classifier, cut into `stem`, `stage1` … up to `last`: stage4, or stage3 of those for CIFAR.

    `module` maps (n, 3, h, w) float32, normalised by `contract`, to (n, `features`): the classifier's input. The other
    fields are data: `stages` gives the modules of each stage that own tensors or have no parts, `module_stage` the same
    the other way round, `tensors` the stage of each parameter and buffer; `channels` the size of axis 1 of what leaves
    a stage (after the last: the features), `strides` the pixels per step of its map.
    """

    name: str
    tag: str | None
    module: nn.Module
    stages: Mapping[str, tuple[str, ...]]
    module_stage: Mapping[str, str]
    tensors: Mapping[str, str]
    channels: Mapping[str, int]
    strides: Mapping[str, int]
    features: int
    contract: InputContract
    cut: Cut

    @property
    def last(self) -> str:
        """The stage that ends at the classifier's input."""
        return self.cut.last

    def upto(self, stage: str) -> nn.Module:
        """A module from images to what leaves `stage`: (n, channels, h, w), after the last the features (n, features).

        It shares its parts with `module`: modes are set there.
        """
        return running.upto(self.module, self.cut, stage)

    def onward(self, stage: str) -> nn.Module:
        """A module from what leaves `stage` to the features (n, features), sharing its parts with `module`.

        Raises UsageError unless both parts together give exactly what the whole gives, tried on a copy.
        """
        try:
            return running.onward(self.module, self.cut, stage, size=self.contract.size)
        except UsageError as error:
            raise UsageError(f"backbone {self.name!r}: {error}") from None

    @property
    def depthwise(self) -> bool:
        """Whether some convolution works channel by channel, as in EfficientNet, MobileNet and ConvNeXt."""
        return any(isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in self.module.modules())

    def taps(self, stages: Sequence[str]) -> nn.Module:
        """A module from images to what leaves each of `stages`, by name, in one pass; see `running.taps`."""
        try:
            return running.taps(self.module, self.cut, stages, size=self.contract.size)
        except UsageError as error:
            raise UsageError(f"backbone {self.name!r}: {error}") from None

    def extractor(self, stages: Sequence[str] | None = None, pool: Pool | None = None) -> nn.Module:
        """A module from images to the features of `stages`, (n, width) float32, side by side in the order of stages.

        stages None: the last one. pool None: after that the classifier's input, of others the mean of their map.
        Another pool applies to all of them, after the last to the map that `features` are pooled from; "none" gives the
        map of one stage, (n, channels, h, w). What comes after the last that is named is not run. Raises UsageError for
        stages that there are not, and for a network that cannot give them in one pass.
        """
        parts = [self.part(stage, pool) for stage in self.ordered(stages, pool)]
        return _Extractor(self.taps([tap for tap, _ in parts]), parts)

    def width(self, stages: Sequence[str] | None = None, pool: Pool | None = None) -> int:
        """The size of axis 1 of what `extractor` gives."""
        taps = [self.part(stage, pool)[0] for stage in self.ordered(stages, pool)]
        return sum(
            int(cast(int, self.module.num_features)) if tap == running.MAP else self.channels[tap] for tap in taps
        )

    def shape(self, tap: str, *, size: int) -> tuple[int, ...]:
        """The shape of what leaves a stage (or `running.MAP`) for one image of `size` pixels: (channels, h, w), after
        the last (features,). Found on the meta device.
        """
        with torch.device("meta"), torch.no_grad():
            network = _create(self.name).eval()
            run = network.forward_features if tap == running.MAP else running.upto(network, self.cut, tap)
            return tuple(run(torch.empty(1, 3, size, size)).shape[1:])

    def fingerprint(self, stage: str | None = None) -> str:
        """The SHA-256 of the names and values of all tensors up to the end of `stage`, by default the last, wherever
        they came from.

        Counters of batches are left out: not every file has them, and nothing is computed from them.
        """
        digest = hashlib.sha256()
        last = self.cut.position(stage or self.last)
        for name, tensor in self.module.state_dict().items():
            if self.cut.position(self.tensors[name]) <= last and not name.endswith("num_batches_tracked"):
                values = tensor.detach().cpu().contiguous()
                digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
                digest.update(values.flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def ordered(self, stages: Sequence[str] | None = None, pool: Pool | None = None) -> tuple[str, ...]:
        """`stages` in the order of the network; None: the last one. Raises UsageError where features cannot be made of
        them: none, one twice, an unknown one, an unknown pool, the maps of several.
        """
        stages = (self.last,) if stages is None else stages
        for stage in stages:
            self.cut.position(stage)
        if not stages or len(set(stages)) < len(stages):
            raise UsageError(f"stages are {', '.join(stages) or 'empty'}; name one, or several that are all different")
        if pool not in (None, *get_args(Pool)):
            raise UsageError(f"no pool {printable(str(pool), limit=80)!r}; choose from {', '.join(get_args(Pool))}")
        if pool == "none" and len(stages) > 1:
            raise UsageError(
                "pool 'none' gives the map of one stage, and several have maps of different sizes; name one"
            )
        return tuple(sorted(stages, key=self.cut.position))

    def part(self, stage: str, pool: Pool | None) -> tuple[str, Pool | None]:
        """What to take of the network for the features of a stage, and how to pool it; None: it is pooled already."""
        if stage == self.last:
            return (stage, None) if pool is None else (running.MAP, pool)
        return stage, pool or "avg"


class _Extractor(nn.Module):
    def __init__(self, taps: nn.Module, parts: Sequence[tuple[str, Pool | None]]) -> None:
        super().__init__()
        self.taps = taps
        self.parts = parts

    def forward(self, images: Tensor) -> Tensor:
        found = self.taps(images)
        return torch.cat(
            [found[tap].float() if pool is None else pooled(found[tap], pool) for tap, pool in self.parts], 1
        )


def build(
    name: str, *, size: int | None = None, tag: str | None = None, contract: Literal["train", "test"] = "train"
) -> Backbone:
    """The backbone `name` with random weights, the same every time, cut at images of `size` pixels (None: its own).

    The input contract is that of `tag` (None: the default one), with `contract` "test" that of its evaluation. Raises
    RecipeError for an unknown name or tag, UsageError for a network that cannot be cut or does not take that size.
    """
    backbones.check(name, tag)
    backbones.check_cut(name)
    facts = backbones.entry(name).tag(tag)
    expects = _contract(facts, size, tested=contract == "test")
    if facts.fixed and expects.size != facts.input_size:
        raise UsageError(f"backbone {name!r} takes images of {facts.input_size} pixels only, not of {expects.size}")
    module = create(name, seed=0)
    parts = find_cut(name, size=expects.size)
    return Backbone(
        name=name,
        tag=facts.tag,
        module=module,
        stages=parts.stages,
        module_stage=parts.module_stage,
        tensors=parts.tensors,
        channels=parts.channels,
        strides=parts.strides,
        features=parts.channels[parts.last],
        contract=expects,
        cut=parts,
    )


def create(name: str, *, seed: int) -> nn.Module:
    """The network `name` without classifier, in training mode, its weights drawn from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network: nn.Module = _create(name)
    return network


def classifier_tensors(name: str) -> tuple[str, ...]:
    """The names of the tensors that the network `name` has with a classifier, and has not without, in its order."""
    with torch.device("meta"):
        without = _create(name).state_dict()
        return tuple(tensor for tensor in _create(name, classes=1000).state_dict() if tensor not in without)


def find_cut(name: str, *, size: int) -> Cut:
    """The cut of the network `name` at images of `size` pixels; raises UsageError where there is none.

    Found on the meta device: there a network runs without numbers, hence at once.
    """
    with torch.device("meta"), torch.no_grad():
        network = _create(name).eval()
        try:
            landmarks = list(getattr(network, "feature_info", []))
            return cut(network, landmarks, torch.empty(2, 3, size, size), strides=_strides(name))
        except UsageError as error:
            raise UsageError(f"backbone {name!r} cannot be cut into stages: {error}") from None
        except running.FAULTS as error:
            raise UsageError(f"backbone {name!r} takes no images of {size} pixels: {printable(str(error))}") from None


def library() -> Any:
    """timm, imported when first asked for. Raises BrokenInstallation where torch and torchvision do not fit."""
    try:
        import timm
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        raise BrokenInstallation(_mixture(torch.__version__, importlib.metadata.version("torchvision"))) from None
    return timm


def _mixture(torch_version: str, torchvision_version: str) -> str:
    return (
        f"torch {torch_version} and torchvision {torchvision_version} are builds for different devices and do not work "
        "together; install both in one command, from the same index: pip install --force-reinstall torch torchvision"
    )


def _strides(name: str) -> tuple[int, ...]:
    return STRIDES if cifar.member(name) is None else cifar.STRIDES


def _create(name: str, *, classes: int = 0) -> Any:
    if member := cifar.member(name):
        return CifarNet(member, classes=classes)
    timm = library()
    if not timm.is_model(name):
        raise UsageError(
            f"the installed timm {timm.__version__} has no backbone {printable(name)!r}; timm {backbones.version()} has"
        )
    return timm.create_model(name, pretrained=False, num_classes=classes)


def _contract(facts: TagFacts, size: int | None, *, tested: bool) -> InputContract:
    own = (facts.test_input_size if tested else None) or facts.input_size
    return InputContract(
        size=size or own,
        crop_pct=(facts.test_crop_pct if tested else None) or facts.crop_pct,
        interpolation=cast(Interpolation, facts.interpolation),
        mean=facts.mean,
        std=facts.std,
    )
