"""The network that is trained and shipped: normalisation, backbone and head, and which part of it trains.

It knows nothing of images on disk, of epochs or of optimizers.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune.data.decode import Preprocessing
from finetune.model import heads
from finetune.model.backbone import Backbone

BatchNormPolicy = Literal["pretrained", "batch"]


class Normalise(nn.Module):
    """(n, 3, h, w) uint8, or float in 0…255, -> float32 with the mean 0 and the spread 1 that a network expects."""

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", 255 * torch.tensor(preprocessing.mean).reshape(shape), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(preprocessing.std).reshape(shape), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images.to(self.mean.dtype) - self.mean) / self.std


class Classifier(nn.Module):
    """(n, 3, h, w) uint8, or float in 0…255, -> (n, classes) logits; normalisation is inside.

    The head is given the features of `stages`, as `Backbone.extractor` has them; None: of the last. The state dict
    holds `backbone.<its name there>` and `head.<name>`, and nothing else.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        preprocessing: Preprocessing,
        stages: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.normalise = Normalise(preprocessing)
        self.backbone = backbone.module
        self.head = head
        self.cut = backbone
        self.seen = (backbone.last,) if stages is None else tuple(stages)
        # the call and not the module, whose parts are registered as those of the backbone already
        self._extract = None if self.seen == (backbone.last,) else backbone.extractor(self.seen).__call__
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return heads.logits(self.head, self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """What the head is given, (n, features), of images as they are given to the classifier."""
        normalised = self.normalise(images)
        features: Tensor = self._extract(normalised) if self._extract else self.backbone(normalised)
        return features

    def stage_of(self, tensor: str) -> str:
        """The stage that a key of the state dict belongs to."""
        where, _, name = tensor.partition(".")
        return "head" if where == "head" else self.cut.tensors[name]

    def stages(self) -> dict[str, int]:
        """How many tensors each stage holds, in the order of execution."""
        counts = {**dict.fromkeys(self.cut.stages, 0), "head": 0}
        for name in self.state_dict():
            counts[self.stage_of(name)] += 1
        return counts

    def modules_of(self, stage: str) -> Iterator[nn.Module]:
        """The modules of a stage that hold tensors or have no parts: those whose mode matters."""
        if stage == "head":
            yield from self.head.modules()
            return
        for name, owner in self.cut.module_stage.items():
            if owner == stage:
                yield self.backbone.get_submodule(name)


def set_training(classifier: Classifier, train: Collection[str], *, batch_norm: BatchNormPolicy) -> None:
    """Training mode for the stages in `train`; every other stage is frozen: no gradients, and evaluation mode.

    `requires_grad` has no say over running means, so gradients and modes are set here together, and nowhere else. With
    `batch_norm="pretrained"` the normalisation layers of trained stages keep their statistics too (their scale and
    shift train).
    """
    classifier.train()
    for stage in classifier.stages():
        for module in classifier.modules_of(stage):
            keeps = stage not in train or (batch_norm == "pretrained" and isinstance(module, _BatchNorm))
            module.train(not keeps)
    for name, parameter in classifier.named_parameters():
        parameter.requires_grad_(classifier.stage_of(name) in train)
