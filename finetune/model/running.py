"""Runs a part of a network that was cut into stages: up to the end of one, onward from there, or through several.

All parts share the modules of the whole network, so that trained weights and modes are seen at once; nothing is hooked
or changed, so that several threads may run them. They know nothing of families.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune.errors import UsageError, printable
from finetune.model.cut import STAGES, Cut

MAP = "map"  # what `forward_features` gives: the map that the features after the last stage are pooled from
_UNNAMED = "it does not call its modules by their names"
_SMALL = 64  # pixels: most networks have a map of 2 x 2 left at the end
FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def upto(network: nn.Module, cut: Cut, stage: str) -> nn.Module:
    """A module from images to what leaves `stage`: a map (n, channels, h, w); after the last one (n, features)."""
    place = cut.position(stage)
    if stage == cut.last:
        return network
    end = cut.ends[max(place - 1, 0)]
    return _Upto(_replaced(network, end, _Stop(network.get_submodule(end), before=stage == STAGES[0])), stage)


def onward(network: nn.Module, cut: Cut, stage: str, *, size: int) -> nn.Module:
    """A module from what leaves `stage` to the features: the network, where all that ran before passes its input on.

    It is tried on a copy of the network with other weights, on images of at most `size` pixels, a side that the network
    takes; raises UsageError unless that gives exactly what the whole network gives.
    """
    cut.position(stage)
    if stage == cut.last:
        return nn.Identity()
    fault = _difference(network, cut, stage, size)
    if fault:
        raise UsageError(f"the network cannot run onward from {stage}: {fault}; cut it elsewhere, or run it whole")
    return _onward(network, cut, stage)


def taps(network: nn.Module, cut: Cut, stages: Sequence[str], *, size: int) -> nn.Module:
    """A module from images to what leaves each of `stages`, by name, in one pass that ends where the last of them does.

    A stage may also be MAP. Several are tried on a copy of the network with other weights, on images of at most `size`
    pixels; raises UsageError unless each is exactly what leaves the network there when it runs no further.
    """
    wanted = tuple(stage for stage in (*cut.stages, MAP) if stage in stages)
    for stage in stages:
        if stage != MAP:
            cut.position(stage)
    if not wanted:
        raise UsageError(f"no stage is named; choose from {', '.join(cut.stages)}")
    fault = _difference_of_taps(network, cut, wanted, size) if len(wanted) > 1 or MAP in wanted else ""
    if fault:
        raise UsageError(f"the network cannot give {' and '.join(wanted)} in one pass: {fault}; take them one by one")
    return _Taps(network, cut, wanted)


class _Reached(Exception):
    """Carries an activation out of a network that need not run on."""

    def __init__(self, activation: Any) -> None:
        super().__init__()
        self.activation = activation


class _Stop(nn.Module):
    def __init__(self, module: nn.Module, *, before: bool) -> None:
        super().__init__()
        self.module = module
        self.before = before

    def forward(self, given: Any, *others: Any, **named: Any) -> NoReturn:
        raise _Reached(given if self.before else self.module(given, *others, **named))


class _Upto(nn.Module):
    def __init__(self, network: nn.Module, stage: str) -> None:
        super().__init__()
        self.network = network
        self.stage = stage

    def forward(self, images: Tensor) -> Tensor:
        try:
            self.network(images)
        except _Reached as reached:
            activation: Tensor = reached.activation
            return activation
        raise UsageError(f"the network ran past the end of {self.stage}: {_UNNAMED}")


class _Tap(nn.Module):
    """Runs a module, and keeps what it is given and what it returns under the names that they have."""

    def __init__(self, module: nn.Module, found: dict[str, Any], *, given: str | None, returned: str | None) -> None:
        super().__init__()
        self.module = module
        self.found = found
        self.given = given
        self.returned = returned

    def forward(self, given: Any, *others: Any, **named: Any) -> Any:
        if self.given:
            self.found[self.given] = given
        result = self.module(given, *others, **named)
        if self.returned:
            self.found[self.returned] = result
        return result


class _Taps(nn.Module):
    """Every call taps a copy of its own, so that threads do not meet and modes are those of the moment."""

    def __init__(self, network: nn.Module, cut: Cut, stages: tuple[str, ...]) -> None:
        super().__init__()
        self.network = network
        self.cut = cut
        self.stages = stages

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        lower = [stage for stage in self.stages if stage not in (self.cut.last, MAP)]
        found: dict[str, Any] = {}
        if lower == list(self.stages):
            *before, last = lower
            found[last] = upto(_tapped(self.network, self.cut, before, found), self.cut, last)(images)
        else:
            self._whole(_tapped(self.network, self.cut, lower, found), images, found)
        for stage in lower:
            if stage not in found:
                raise UsageError(f"the network ran past the end of {stage}: {_UNNAMED}")
        return {stage: found[stage] for stage in self.stages}

    def _whole(self, network: Any, images: Tensor, found: dict[str, Any]) -> None:
        if MAP not in self.stages:
            found[self.cut.last] = network(images)
            return
        found[MAP] = network.forward_features(images)
        if self.cut.last in self.stages:
            found[self.cut.last] = network.forward_head(found[MAP])


def _tapped(network: nn.Module, cut: Cut, stages: Sequence[str], found: dict[str, Any]) -> nn.Module:
    """A copy of the network that shares all its parts, and puts into `found` what leaves these stages as it runs."""
    for place, end in enumerate(cut.ends[:-1]):
        given = STAGES[0] if place == 0 and STAGES[0] in stages else None
        returned = STAGES[place + 1] if STAGES[place + 1] in stages else None
        if given or returned:
            tap = _Tap(network.get_submodule(end), found, given=given, returned=returned)
            network = _replaced(network, end, tap)
    return network


class _Pass(nn.Module):
    def forward(self, given: Any, *others: Any, **named: Any) -> Any:
        return given


def _onward(network: nn.Module, cut: Cut, stage: str) -> nn.Module:
    names = {module: name for name, module in network.named_modules()}
    return _passing(network, names, cut.reach, cut.position(stage))


def _passing(
    module: nn.Module, names: Mapping[nn.Module, str], reach: Mapping[str, tuple[int, int]], last_passed: int
) -> nn.Module:
    """A copy of `module` that shares all parts which run after the cut; those which ran before pass their input on."""
    shell = _shell(module)
    for key, part in module.named_children():
        first, last = reach.get(names[part], (0, len(STAGES)))  # a container without a forward counts as astride
        if last <= last_passed:
            shell._modules[key] = _Pass()
        elif first <= last_passed:
            shell._modules[key] = _passing(part, names, reach, last_passed)
    return shell


def _replaced(module: nn.Module, path: str, by: nn.Module) -> nn.Module:
    """A copy of `module` that shares all parts but the one at `path`."""
    key, _, rest = path.partition(".")
    shell = _shell(module)
    shell._modules[key] = _replaced(module.get_submodule(key), rest, by) if rest else by
    return shell


def _shell(module: nn.Module) -> nn.Module:
    shell = copy.copy(module)
    shell._modules = dict(module._modules)
    return shell


def _difference(network: nn.Module, cut: Cut, stage: str, size: int) -> str:
    """Why running up to and onward from `stage` is not running the whole network; empty if it is."""
    with torch.no_grad():
        probe, images = _probe(network, size)
        expected = probe(images)
        if not torch.isfinite(expected).all() or torch.equal(expected[0], expected[1]):
            return "on a trial it gives nothing that could be compared"
        try:
            activation = upto(probe, cut, stage)(images)
            before = activation.clone()
            given = _onward(probe, cut, stage)(activation)
        except (UsageError, *FAULTS) as error:
            return f"it fails ({printable(str(error))})"
    if not isinstance(given, Tensor) or not torch.equal(given, expected):
        return "more happens there than its modules do"
    return "" if torch.equal(activation, before) else "it changes the activation that it is given"


def _difference_of_taps(network: nn.Module, cut: Cut, stages: tuple[str, ...], size: int) -> str:
    """Why one pass through `stages` is not running up to each of them; empty if it is."""
    probe: Any
    with torch.no_grad():
        probe, images = _probe(network, size)
        try:
            found = _Taps(probe, cut, stages)(images)
            alone = {stage: upto(probe, cut, stage)(images) for stage in stages if stage != MAP}
            if MAP in stages:
                alone[MAP] = probe.forward_features(images)
                if alone[MAP].ndim != 4 or not torch.equal(probe.forward_head(alone[MAP]), probe(images)):
                    return "its features are not pooled from a map"
        except (UsageError, *FAULTS) as error:
            return f"it fails ({printable(str(error))})"
    changed = [stage for stage in stages if not torch.equal(found[stage], alone[stage])]
    return f"what leaves {changed[0]} is changed by what runs after it" if changed else ""


def _probe(network: nn.Module, size: int) -> tuple[nn.Module, Tensor]:
    """A copy of the network on the CPU, with weights that hide nothing, and two images of noise, small ones if it can.

    As initialised, whole branches may be multiplied by zero. Vectors of scale are drawn from 0.5 to 1.5 instead, biases
    from -0.5 to 0.5, and batch normalisation has the statistics of the images.
    """
    probe = copy.deepcopy(network).to("cpu", torch.float32).eval()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in probe.named_parameters():
        if name.endswith("bias"):
            parameter.uniform_(-0.5, 0.5, generator=generator)
        elif parameter.numel() == max(parameter.shape, default=1) or not parameter.any():
            parameter.uniform_(0.5, 1.5, generator=generator)
    for module in probe.modules():
        if isinstance(module, _BatchNorm):
            module.train().momentum = 1.0
    images = torch.rand(2, 3, size, size, generator=generator)
    small = images[:, :, :_SMALL, :_SMALL]
    try:
        probe(small)
    except FAULTS:
        probe(images)
    else:
        images = small
    return probe.eval(), images
