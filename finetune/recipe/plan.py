"""What a run is going to do: phases, or the ways that `auto` may try and then the one it chose. Values, no rules."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from finetune.errors import RecipeError
from finetune.recipe.images import Fit
from finetune.recipe.network import HeadChoice
from finetune.recipe.schedule import Auto, BatchNorm, LpFt, Probe, StageList, listed_twice
from finetune.recipe.schema import Recipe
from finetune.recipe.section import Conflict, Decay, Epochs, LearningRate, Section, Side, Stage, Views
from finetune.recipe.sentences import sentences

TierKind = Literal["frozen", "size", "backbone", "fit", "stages", "flip", "views", "last_stage", "all_stages"]


class WrittenPhase(Section):
    """A phase as JSON holds it, with the ranges of its values."""

    train: StageList
    epochs: Epochs
    lr: LearningRate
    lr_decay: Decay
    batch_norm: BatchNorm
    views: Views | None = None

    def conflicts(self) -> Iterator[Conflict]:
        yield from listed_twice(self.train)
        if self.views is not None and "stem" in self.train:
            yield ("views",), "views are kept below stages that train, and here the stem trains"


@dataclass(frozen=True)
class Phase:
    """These stages train, for so many epochs; the head at `lr`, each stage below it at `lr_decay` times the one above.

    `batch_norm` says whose statistics normalise in stages that train; a frozen stage keeps its own. `views`: so many
    views of each image are passed once through the frozen stages below and kept; None: every epoch makes its own.
    Raises RecipeError for stages that do not exist, for numbers out of range, and for views where nothing is frozen.
    """

    train: tuple[Stage, ...]
    epochs: int
    lr: float
    lr_decay: float
    batch_norm: BatchNorm
    views: int | None = None

    def __post_init__(self) -> None:
        try:
            WrittenPhase(**asdict(self))
        except ValidationError as error:
            raise RecipeError("; ".join(text for _, text in sentences(error, WrittenPhase))) from None

    def boundary(self, stages: Iterable[str]) -> str | None:
        """The last of a network's stages below all that train: what leaves it stays the same. None where the stem
        trains. stages: the network's, from the stem up.
        """
        known = (*stages, "head")
        lowest = min(known.index(stage) for stage in self.train)
        return known[lowest - 1] if lowest else None


class Tier(Section):
    """One way to learn that `auto` may try.

    `size` is the side in pixels that images are resized to. `candidate` is the backbone's place: 0 for the recipe's
    own, then its candidates. `folds`: how many are held out one after the other to judge by. `seconds`: about how long
    it takes, None where that is not known. `gain`: what is known of how much it may bring.
    """

    kind: TierKind
    gain: str
    size: Side | None = None
    candidate: Annotated[int, Field(ge=0)] = 0
    fit: Fit | None = None
    views: Views = 1
    folds: Annotated[int, Field(ge=1, le=10)] = 1
    epochs: Annotated[int, Field(ge=0, le=10_000)] = 0
    lr: Annotated[float, Field(ge=0, le=10)] = 0.0
    seconds: Annotated[float, Field(ge=0)] | None = None


class ChosenTrial(Section):
    """What the head was fitted with; see `finetune.frozen.families.Trial`."""

    family: Literal["ncm", "cosine", "lda", "logistic"]
    scaling: Literal["raw", "standardised", "l2", "centred l2"]
    strength: float | None = None


class Chosen(Section):
    """What `auto` found best, in the words of a recipe, and the trial that its head is fitted with.

    candidate: the backbone's place, 0 for the recipe's own. size: the side in pixels that images are resized to, None
    for that of the weights. temperature: what the logits are divided by after training
    from that head.
    """

    candidate: Annotated[int, Field(ge=0)] = 0
    size: Side | None = None
    fit: Fit
    flip: bool
    head: HeadChoice | None = Field(None, discriminator="kind")
    schedule: Probe | LpFt = Field(discriminator="kind")
    views: Views | None
    trial: ChosenTrial
    temperature: Annotated[float, Field(gt=0)] = 1.0

    def applied(self, recipe: Recipe) -> Recipe:
        """The recipe that says at once what was found. Raises RecipeError for one without that candidate."""
        schedule = recipe.schedule
        backbones = (recipe.backbone, *(schedule.candidates if isinstance(schedule, Auto) else ()))
        if self.candidate >= len(backbones):
            raise RecipeError(
                f"the plan was made for candidate {self.candidate} of schedule 'auto', and recipe {recipe.name!r} has "
                f"{len(backbones) - 1}"
            )
        augment = recipe.images.augment.model_copy(update={"flip": self.flip})
        size = self.size or recipe.images.size
        return recipe.model_copy(
            update={
                "backbone": backbones[self.candidate],
                "head": self.head,
                "schedule": self.schedule,
                "images": recipe.images.model_copy(update={"size": size, "fit": self.fit, "augment": augment}),
                "train": recipe.train.model_copy(update={"views": self.views}),
            }
        )


@dataclass(frozen=True)
class Plan:
    """The phases of a run in order, and sentences on what was decided and why.

    `probe_views`: the head is fitted to the features of so many views of each image, and the phases start from it;
    None: it is new. `tiers`: what `auto` tries before there are phases; `chosen`: what came of it.
    """

    phases: tuple[Phase, ...]
    reasons: tuple[str, ...]
    probe_views: int | None = None
    tiers: tuple[Tier, ...] = ()
    chosen: Chosen | None = None


def stage_lr(phase: Phase, stage: str, stages: Iterable[str]) -> float:
    """The learning rate of a stage: that of the head, times `lr_decay` for each stage from the head down to it.

    stages: the network's, from the stem up.
    """
    known = (*stages, "head")
    return phase.lr * phase.lr_decay ** (len(known) - 1 - known.index(stage))
