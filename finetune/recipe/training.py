"""How training steps are made: batches, optimizer, rates, when to stop and which epoch ships."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune.recipe.rates import CosineRate, Rate
from finetune.recipe.schedule import BatchNorm
from finetune.recipe.section import Conflict, Section, Views

Decayed = Annotated[
    Literal["weights", "all"], Field(description="what weight_decay pulls to zero; all: norms and biases too")
]


class _Decaying(Section):
    """What all optimizers have in common."""

    kind: str
    weight_decay: float
    decayed: Decayed = "weights"

    def conflicts(self) -> Iterator[Conflict]:
        if self.decayed != "weights" and not self.weight_decay:
            yield ("decayed",), "decayed has no effect: weight_decay is 0"


class AdamW(_Decaying):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    weight_decay: float = Field(0.01, ge=0, le=1)


class Adam(_Decaying):
    """Adam (Kingma and Ba 2015), its weight decay a part of the gradient, as half the squared norm in the loss is."""

    kind: Literal["adam"] = "adam"
    weight_decay: float = Field(0.0, ge=0, le=1)


class SGD(_Decaying):
    """Gradient descent with momentum, its weight decay a part of the gradient."""

    kind: Literal["sgd"] = "sgd"
    momentum: float = Field(0.9, gt=0, lt=1)
    nesterov: bool = Field(True, description="the gradient is that of where the momentum leads")
    weight_decay: float = Field(1e-4, ge=0, le=1)


Optimizer = AdamW | Adam | SGD


class Train(Section):
    """How training steps are made."""

    example: ClassVar[str] = "{batch_size: 32}"
    batch_size: int = Field(32, ge=1, le=8192, description="images per step")
    patience: int | None = Field(
        None, ge=1, le=10_000, description="epochs without a better validation loss that end a phase"
    )
    best: Literal["loss", "accuracy", "last"] = Field(
        "loss", description="which epoch ships: that of the best validation loss or accuracy, or the last"
    )
    balance: Literal["none", "weights"] = Field("none", description="weights: rare classes count more in the loss")
    optimizer: Optimizer = Field(AdamW(), discriminator="kind")
    rate: Rate = Field(CosineRate(), discriminator="kind")
    label_smoothing: float = Field(0.0, ge=0, le=0.5)
    warmup: float = Field(0.1, ge=0, le=0.5, description="share of a phase's steps in which the rate rises")
    clip_norm: float | None = Field(1.0, gt=0, le=1000, description="largest norm of the gradient; null: as it is")
    batch_norm: BatchNorm | None = Field(None, description="whose statistics normalise; null: decided from the data")
    precision: Literal["bf16", "float32"] | None = Field(
        None, description="of training steps; null: bf16 where the hardware has it"
    )
    views: Views | None = Field(
        None, description="seeded views of an image that are computed once and kept; null: as the schedule needs"
    )
    activations: Literal["float32", "float16", "int8"] = Field(
        "float16", description="how maps that enter the stages that train are kept"
    )

    def conflicts(self) -> Iterator[Conflict]:
        if self.batch_size == 1 and self.batch_norm == "batch":
            yield ("batch_norm",), "batch_norm 'batch' needs a batch_size of at least 2: one image has no spread"


OF_STEPS = ("best", "balance", "optimizer", "rate", "label_smoothing", "warmup", "clip_norm", "precision")
"""The keys that have a say only where gradient steps are taken."""
