"""From an image file to the network's input, and how training images are varied."""

import json
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune.recipe.section import Conflict, Section
from finetune.recipe.transforms import CROPS, Erasing, HorizontalFlip, Transform


class Augment(Section):
    """How training images are varied."""

    example: ClassVar[str] = "{kind: light, flip: true}"
    kind: Literal["none", "light", "standard", "strong", "trivial", "custom"] = "light"
    flip: bool = Field(True, description="mirror left and right; false where the side matters, as in letters")
    transforms: Annotated[tuple[Transform, ...], Field(min_length=1, max_length=20)] | None = Field(
        None, description="of kind custom: what is done to an image, in this order; a random crop first where none is"
    )

    @property
    def signature(self) -> str:
        """What tells its views from those of any other, on one line."""
        listed = [transform.model_dump(mode="json") for transform in self.transforms or ()]
        text = f" {json.dumps(listed, sort_keys=True)}" if listed else ""
        return f"{self.kind}{text}{' flip' if self.flip else ''}"

    def conflicts(self) -> Iterator[Conflict]:
        if self.kind == "custom" and self.transforms is None:
            yield (), "augment of kind 'custom' needs 'transforms', such as [{name: Rotate, limit: [-15, 15]}]"
        if self.kind != "custom" and self.transforms is not None:
            yield ("transforms",), f"transforms has no effect with kind {self.kind!r}; write kind: custom"
        listed, cropped = self.transforms or (), False
        for place, transform in enumerate(listed):
            if isinstance(transform, Erasing) and any(isinstance(later, CROPS) for later in listed[place:]):
                yield ("transforms", place), "Erasing comes after the transform that crops"
            if isinstance(transform, CROPS) and cropped:
                yield ("transforms", place), "only one of the transforms crops; what it leaves is the network's input"
            cropped |= isinstance(transform, CROPS)
            if isinstance(transform, HorizontalFlip) and self.flip:
                yield (
                    ("transforms", place),
                    "flip mirrors half of the views already; leave HorizontalFlip out, or write flip: false",
                )


Fit = Literal["crop", "pad", "squash"]
Channel = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(gt=0, le=1)]


class Images(Section):
    """From an image file to the network's input."""

    example: ClassVar[str] = "{size: 224}"
    size: int | None = Field(
        None, ge=16, le=2048, description="side in pixels; null: what the weights were trained with"
    )
    fit: Fit = Field("crop", description="how an oblong image becomes a square")
    augment: Augment = Augment()
    mean: tuple[Channel, Channel, Channel] | None = Field(
        None, description="of red, green, blue in 0 to 1; null: the weights'"
    )
    std: tuple[Spread, Spread, Spread] | None = Field(
        None, description="of red, green, blue in 0 to 1; null: the weights'"
    )
    contract: Literal["train", "test"] = Field(
        "train", description="the input the weights were trained, or tested, with"
    )
    store: Literal["memory", "disk", "none"] | None = Field(
        None, description="where decoded images are kept for the next epoch; null: on disk, if there is room to spare"
    )

    def conflicts(self) -> Iterator[Conflict]:
        if (self.mean is None) != (self.std is None):
            given, lacking = ("mean", "std") if self.std is None else ("std", "mean")
            yield (given,), f"{given} is given without {lacking}; give both, or neither for those of the weights"
