"""A name becomes a network without classifier, cut into stages, with its input contract. The only importer of timm.

It knows nothing of where weights come from, nor of heads: a network leaves here with random weights.
"""

import importlib.metadata
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

from finetune.data.decode import Interpolation, Preprocessing
from finetune.errors import BrokenInstallation, UsageError, printable
from finetune.model import running
from finetune.model.cut import Cut, cut
from finetune.recipe import backbones
from finetune.recipe.backbones import TagFacts
from finetune.recipe.schema import Images


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
    """A network without classifier, cut into `stem`, `stage1` … `stage4`.

    `module` maps (n, 3, h, w) float32, normalised by `contract`, to (n, `features`): the classifier's input. The other
    fields are data: `stages` gives the modules of each stage that own tensors or have no parts, `module_stage` the same
    the other way round, `tensors` the stage of each parameter and buffer; `channels` the size of axis 1 of what leaves
    a stage (after stage4: the features), `strides` the pixels per step of its map.
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

    def upto(self, stage: str) -> nn.Module:
        """A module from images to what leaves `stage`: (n, channels, h, w), after stage4 the features (n, features).

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
        features=parts.channels["stage4"],
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
            return cut(network, list(getattr(network, "feature_info", [])), torch.empty(2, 3, size, size))
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


def _create(name: str, *, classes: int = 0) -> Any:
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
