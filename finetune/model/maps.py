"""`finetune.backbone`: a network as the module that a detection or a segmentation model takes, images -> maps by stage.

It knows nothing of what is built upon the maps, nor of torchvision.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from finetune.data.decode import Preprocessing
from finetune.errors import UsageError, printable
from finetune.model.backbone import Backbone
from finetune.model.classifier import BatchNormPolicy, Normalise, set_modes, set_training
from finetune.model.named import network as named
from finetune.recipe.network import Weights
from finetune.recipe.section import Section

_SLACK = 0.5  # how far noise and interpolation may leave 0…1; images normalised twice lie further away


class Maps(nn.Module):
    """Images (n, 3, h, w), h and w of any size that the network takes -> the map of each stage by its name, an ordered
    dict of (n, channels, h / stride, w / stride). Made by `finetune.backbone`.

    `channels` and `strides` are those of each map by its name, in the same order; `out_channels` is there where all
    maps have the same channels. `image_mean` and `image_std` are what whoever normalises before has to subtract and to
    divide by: 0 and 1 where that is done inside. The state dict holds `network.<timm's name>`, and nothing else.
    """

    def __init__(
        self,
        backbone: Backbone,
        preprocessing: Preprocessing,
        names: Mapping[str, str],
        *,
        frozen: Sequence[str],
        batch_norm: BatchNormPolicy,
        normalise: bool,
    ) -> None:
        super().__init__()
        stages = backbone.ordered(tuple(names))
        self.names = {backbone.part(stage, "none")[0]: names[stage] for stage in stages}
        self.channels = {names[stage]: backbone.width((stage,), "none") for stage in stages}
        self.strides = {names[stage]: backbone.strides[stage] for stage in stages}
        if len(set(self.channels.values())) == 1:
            self.out_channels = self.channels[names[stages[0]]]
        self.trained = tuple(stage for stage in _running(backbone, stages) if stage not in frozen)
        self.batch_norm: BatchNormPolicy = batch_norm
        self.preprocessing = preprocessing
        self.image_mean, self.image_std = (
            ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) if normalise else (preprocessing.mean, preprocessing.std)
        )
        self.normalise = Normalise(preprocessing) if normalise else None
        self.network = backbone.module
        self.cut = backbone
        # the call and not the module, whose parts are registered as those of the network already
        self._taps = backbone.taps(tuple(self.names)).__call__
        self.to(memory_format=torch.channels_last)
        set_training(self, self.trained, batch_norm=batch_norm)

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """The maps of images: float in 0…1 or uint8, or with `normalise=False` float as it was normalised outside.

        Raises UsageError for images that cannot be that, such as those that were normalised twice.
        """
        _check(images, self.image_mean, self.image_std, inside=self.normalise is not None)
        if self.normalise is not None:
            images = self.normalise(images if images.dtype == torch.uint8 else 255 * images)
        maps = self._taps(images)
        return OrderedDict((name, maps[tap]) for tap, name in self.names.items())

    def train(self, mode: bool = True) -> Self:
        """Training mode for what trains: frozen stages stay in evaluation mode, their BatchNorm statistics too."""
        super().train(mode)
        if mode:
            set_modes(self, self.trained, batch_norm=self.batch_norm)
        return self

    def stage_of(self, tensor: str) -> str:
        """The stage that a key of the state dict belongs to."""
        return self.cut.tensors[tensor.removeprefix("network.")]

    def stages(self) -> dict[str, int]:
        """How many tensors each stage holds, in the order of execution."""
        counts = dict.fromkeys(self.cut.stages, 0)
        for stage in self.cut.tensors.values():
            counts[stage] += 1
        return counts

    def modules_of(self, stage: str) -> Iterator[nn.Module]:
        """The modules of a stage that hold tensors or have no parts: those whose mode matters."""
        for name in self.cut.stages[stage]:
            yield self.network.get_submodule(name)


def backbone(
    network: str | Path | Backbone,
    *,
    weights: Weights | Mapping[str, Any] | None = None,
    stages: str | Sequence[str] | Mapping[str, str] | None = None,
    frozen: str | Sequence[str] = (),
    batch_norm: BatchNormPolicy | None = None,
    normalise: bool = True,
) -> Maps:
    """A network as a module from images to the maps of its stages, for detection, segmentation and other tasks.

    network: a name that `finetune backbones` lists, the folder of a bundle (with what it has learnt), or a Backbone as
    it is, whose tensors are shared. weights: as in a recipe, such as {"kind": "package", "name": …}; None: from the
    hub. stages: which maps, by default those of all but the stem, or a mapping from stages to the names that their maps
    should have, such as {"stage4": "out"} for a torchvision FCN. What comes after the last of them does not run, and
    does not train.

    frozen: stages that get no gradients and stay in evaluation mode when `train()` is called, so that no tensor of
    theirs moves. batch_norm: "pretrained" keeps the statistics of the stages that train too, as small batches of large
    images need it, "batch" lets them follow; None: "pretrained", but with random weights "batch".

    Who normalises: with `normalise` the module itself, by the mean and std that its weights were trained with (of a
    bundle: its own); images are float in 0…1 or uint8. Without it the caller, by the module's `image_mean` and
    `image_std`. A torchvision detection model normalises whatever it is given, so hand it those two either way:
    FasterRCNN(…, image_mean=maps.image_mean, image_std=maps.image_std); they are 0 and 1 where the module does it.
    Images whose values show that it was done twice are refused, and none are normalised silently.

    Raises UsageError, WeightsError, BundleError or Offline.
    """
    policy = batch_norm or ("batch" if _random(weights) else "pretrained")
    if policy not in ("pretrained", "batch"):
        raise UsageError(f"no batch_norm {printable(str(policy), limit=80)!r}; choose from pretrained, batch")
    built, preprocessing = named(network, weights)
    names = _names(built, stages)
    held = (frozen,) if isinstance(frozen, str) else tuple(frozen)
    run = _running(built, built.ordered(tuple(names)))
    for stage in held:
        built.cut.position(stage)
        if stage not in run:
            raise UsageError(
                f"freezing {stage} would have no effect: nothing runs after {run[-1]}, the last stage named"
            )
    return Maps(built, preprocessing, names, frozen=held, batch_norm=policy, normalise=normalise)


def _names(backbone: Backbone, stages: str | Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
    """The name of each stage's map. Raises UsageError where two would have one name."""
    if stages is None:
        stages = tuple(backbone.stages)[1:]
    if isinstance(stages, str):
        return {stages: stages}
    if isinstance(stages, Mapping):
        names = dict(stages)
        if len(set(names.values())) < len(names):
            raise UsageError(f"the maps of {', '.join(names)} are named {', '.join(names.values())}; name each its own")
        return names
    return {stage: stage for stage in backbone.ordered(tuple(stages))}


def _running(backbone: Backbone, stages: Sequence[str]) -> tuple[str, ...]:
    """The stages that run for the maps of these, which are in order."""
    return tuple(backbone.stages)[: backbone.cut.position(stages[-1]) + 1]


def _random(weights: Weights | Mapping[str, Any] | None) -> bool:
    kind = weights.kind if isinstance(weights, Section) else weights.get("kind") if isinstance(weights, Mapping) else ""
    return kind == "random"


def _check(images: Tensor, mean: Sequence[float], std: Sequence[float], *, inside: bool) -> None:
    """Raises UsageError for images that are not what pixels in 0…1 become by this mean and std, or not in colour."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise UsageError(f"images are {tuple(images.shape)}, and should be (n, 3, h, w): a batch of images in colour")
    if (images.dtype == torch.uint8 and inside) or not images.numel():
        return
    if not images.is_floating_point():
        wanted = "float in 0…1 or uint8" if inside else "normalised, hence float"
        raise UsageError(f"images are {str(images.dtype).removeprefix('torch.')}, and should be {wanted}")
    low, high = (float(one) for one in images.detach().aminmax())
    if _least(-_SLACK, mean, std) <= low and high <= _most(1 + _SLACK, mean, std):
        return
    found = f"images have values from {low:.3g} to {high:.3g}"
    if inside:
        raise UsageError(
            f"{found}, and this backbone itself normalises images in 0…1; give them as they are (and to a detection "
            "model of torchvision image_mean and image_std of this backbone), or build it with normalise=False"
        )
    raise UsageError(
        f"{found}, and those in 0…1 lie from {_least(0, mean, std):.3g} to {_most(1, mean, std):.3g} when they are "
        "normalised once; subtract image_mean and divide by image_std of this backbone, once"
    )


def _least(pixel: float, mean: Sequence[float], std: Sequence[float]) -> float:
    return min((pixel - one) / by for one, by in zip(mean, std, strict=True))


def _most(pixel: float, mean: Sequence[float], std: Sequence[float]) -> float:
    return max((pixel - one) / by for one, by in zip(mean, std, strict=True))
