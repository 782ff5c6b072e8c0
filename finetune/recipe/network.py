"""Which network: its architecture, the weights it starts from, and the head that is put on it."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from finetune.errors import RecipeError
from finetune.recipe import backbones
from finetune.recipe.section import Conflict, PackageName, PathText, Section

FeatureStage = Literal["stage1", "stage2", "stage3", "stage4"]


class Hub(Section):
    """Pretrained weights from the hub."""

    kind: Literal["hub"] = "hub"
    tag: str | None = Field(None, description="which of the backbone's weights; null: timm's default")


class File(Section):
    """Weights from a file of one's own."""

    kind: Literal["file"] = "file"
    path: PathText = Field(description=".safetensors, or .pth, .pt, .bin with tensors only")


class Package(Section):
    """Weights that an installed Python package carries."""

    kind: Literal["package"] = "package"
    name: PackageName = Field(description="the distribution's name")


class BundleWeights(Section):
    """The weights of an earlier run's backbone."""

    kind: Literal["bundle"] = "bundle"
    path: PathText = Field(description="the bundle's folder")


class Random(Section):
    """No pretrained weights."""

    kind: Literal["random"] = "random"


Weights = Hub | File | Package | BundleWeights | Random


class BackboneChoice(Section):
    """An architecture and the weights it starts from."""

    example: ClassVar[str] = "{name: resnet50}"
    name: str = Field(description="the architecture, as `finetune backbones` lists it")
    weights: Weights = Field(Hub(), discriminator="kind")

    def conflicts(self) -> Iterator[Conflict]:
        try:
            backbones.check(self.name)
            backbones.check_cut(self.name)
        except RecipeError as error:
            yield ("name",), str(error)
            return
        if isinstance(self.weights, Hub):
            try:
                backbones.repository(self.name, self.weights.tag)
            except RecipeError as error:
                yield ("weights", "tag"), str(error)

    @property
    def tag(self) -> str | None:
        """The tag that was asked for; None for the default one and for weights that are not the hub's."""
        return self.weights.tag if isinstance(self.weights, Hub) else None


class Linear(Section):
    """One linear layer on the features."""

    kind: Literal["linear"] = "linear"
    dropout: float = Field(0.0, ge=0, lt=1)


class Cosine(Section):
    """One linear layer on the direction of the features; their length does not count."""

    kind: Literal["cosine"] = "cosine"


class Multilayer(Section):
    """One linear layer on the features of several stages together, or of an earlier one."""

    example: ClassVar[str] = "{kind: multilayer, stages: [stage2, stage3, stage4]}"
    kind: Literal["multilayer"] = "multilayer"
    stages: Annotated[tuple[FeatureStage, ...], Field(min_length=1, description="the stages whose features it sees")]

    def conflicts(self) -> Iterator[Conflict]:
        for place, stage in enumerate(self.stages):
            if stage in self.stages[:place]:
                yield ("stages", place), f"{stage!r} is listed twice"


class Mlp(Section):
    """One hidden layer between features and classes."""

    kind: Literal["mlp"] = "mlp"
    hidden: int = Field(512, ge=1, le=16_384, description="width of the hidden layer")
    dropout: float = Field(0.2, ge=0, lt=1)


HeadChoice = Linear | Cosine | Mlp | Multilayer
