"""Which stages train when: the kinds of schedule that a recipe may name, and the phases that each of them means."""

from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar, Literal, assert_never

from pydantic import Field

from finetune.recipe.network import BackboneChoice
from finetune.recipe.section import STAGES, Conflict, Decay, Duration, Epochs, LearningRate, Section, Stage, seconds_of

StageList = Annotated[tuple[Stage, ...], Field(min_length=1, description="the stages that train, the head among them")]
BatchNorm = Literal["pretrained", "batch"]


class PhaseChoice(Section):
    """One phase as written: these stages train, for so many epochs, at this rate."""

    example: ClassVar[str] = "{train: [stage4, head], epochs: 5, lr: 1.0e-3}"
    train: StageList
    epochs: Epochs
    lr: LearningRate
    lr_decay: Decay = 1.0
    batch_norm: BatchNorm | None = Field(None, description="whose statistics normalise; null: as train.batch_norm")

    def conflicts(self) -> Iterator[Conflict]:
        yield from _stage_conflicts(self.train, self.lr_decay)
        if self.batch_norm is not None and not trains_backbone(self):
            yield ("batch_norm",), "batch_norm has no effect: a backbone that is frozen whole keeps its statistics"


class Head(Section):
    """Only the new head trains; the backbone is a fixed extractor."""

    kind: Literal["head"] = "head"
    epochs: Epochs = 20
    lr: LearningRate = 1e-2


class Full(Section):
    """Everything trains from the first epoch, lower stages more slowly."""

    kind: Literal["full"] = "full"
    epochs: Epochs = 20
    lr: LearningRate = 1e-3
    lr_decay: Decay = 0.7


class Gradual(Section):
    """The head first, then in every further phase one more stage from the top."""

    kind: Literal["gradual"] = "gradual"
    epochs: Epochs = Field(4, description="epochs of each phase")
    lr: LearningRate = 1e-3
    lr_decay: Decay = 0.5
    stages: int = Field(
        5, ge=1, le=5, description="how many stages are thawed, from the last (1) down to the stem; left out: all"
    )


class Stages(Section):
    """These stages train together; the others stay frozen."""

    kind: Literal["stages"] = "stages"
    train: StageList
    epochs: Epochs = 20
    lr: LearningRate = 1e-3
    lr_decay: Decay = 1.0

    def conflicts(self) -> Iterator[Conflict]:
        yield from _stage_conflicts(self.train, self.lr_decay)
        if "head" not in self.train:
            yield ("train",), "the head has to be among the stages that train: it is new, and untrained it only guesses"


class Phases(Section):
    """Phases written out one by one."""

    kind: Literal["phases"] = "phases"
    phases: Annotated[tuple[PhaseChoice, ...], Field(min_length=1, max_length=50)]

    def conflicts(self) -> Iterator[Conflict]:
        if not any("head" in phase.train for phase in self.phases):
            yield ("phases",), "the head has to train in at least one phase: it is new, and untrained it only guesses"


class Probe(Section):
    """No gradient steps: a head fitted to the features of the frozen backbone, which one by cross-validation."""

    kind: Literal["probe"] = "probe"


class LpFt(Section):
    """Gradient training that starts from a probe's head instead of a new one (Kumar et al. 2022)."""

    kind: Literal["lp_ft"] = "lp_ft"
    train: StageList = STAGES
    epochs: Epochs = 10
    lr: LearningRate = 1e-4
    lr_decay: Decay = 1.0
    interpolate: float = Field(
        1.0, gt=0, le=1, description="how far what ships goes from the probe (0) to the tuned weights (1)"
    )

    def conflicts(self) -> Iterator[Conflict]:
        yield from _stage_conflicts(self.train, self.lr_decay)
        if "head" not in self.train:
            yield ("train",), "the head has to be among the stages that train: it would be left behind by what it reads"


class Auto(Section):
    """What is worth its time is tried, and what does best on images held out ships."""

    kind: Literal["auto"] = "auto"
    budget: Duration = "15m"
    candidates: tuple[BackboneChoice, ...] = Field(
        (), max_length=10, description="other backbones to try beside the recipe's"
    )

    def conflicts(self) -> Iterator[Conflict]:
        for place, choice in enumerate(self.candidates):
            if choice in self.candidates[:place]:
                yield ("candidates", place), f"backbone {choice.name!r} with these weights is listed twice"

    @property
    def seconds(self) -> float:
        """The budget in seconds."""
        return seconds_of(self.budget)


Schedule = Head | Full | Gradual | Stages | Phases | Probe | LpFt | Auto


def starts_from_probe(schedule: Schedule) -> bool:
    """Whether the head comes from a probe, so that no validation images are needed to learn it."""
    return isinstance(schedule, Probe | LpFt | Auto)


def written_phases(schedule: Schedule, stages: tuple[Stage, ...] = STAGES) -> tuple[PhaseChoice, ...]:
    """The phases that a schedule means, before anything is known of the data: none where nothing trains by gradient, or
    where that is yet to be found out. stages: those of the network from the stem up, and the head.

    `gradual` thaws one stage more per phase from the top (Howard & Ruder 2018, Universal Language Model Fine-tuning,
    section 3.3) and begins every phase at half the rate of the one before, as in fastai's tutorials of that method,
    where the phases start at 2e-2, 1e-2, 5e-3 and 1e-3; within a phase the rate falls by `lr_decay` per stage
    (section 3.2 divides by 2.6).
    """
    match schedule:
        case Head():
            return (PhaseChoice(train=("head",), epochs=schedule.epochs, lr=schedule.lr),)
        case Full():
            return (PhaseChoice(train=stages, epochs=schedule.epochs, lr=schedule.lr, lr_decay=schedule.lr_decay),)
        case Gradual():
            return tuple(
                _thawed(schedule, number, stages) for number in range(min(schedule.stages, len(stages) - 1) + 1)
            )
        case Stages():
            train, decay = in_order(schedule.train), schedule.lr_decay
            return (PhaseChoice(train=train, epochs=schedule.epochs, lr=schedule.lr, lr_decay=decay),)
        case Phases():
            return tuple(phase.model_copy(update={"train": in_order(phase.train)}) for phase in schedule.phases)
        case LpFt():
            train, decay = in_order(schedule.train), schedule.lr_decay
            return (PhaseChoice(train=train, epochs=schedule.epochs, lr=schedule.lr, lr_decay=decay),)
        case Probe() | Auto():
            return ()
        case _:
            assert_never(schedule)


def in_order(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """The stages from the stem upwards, each once."""
    chosen = set(stages)
    return tuple(stage for stage in STAGES if stage in chosen)


def trains_backbone(phase: PhaseChoice) -> bool:
    """Whether anything but the head trains."""
    return any(stage != "head" for stage in phase.train)


def _thawed(schedule: Gradual, number: int, stages: tuple[Stage, ...]) -> PhaseChoice:
    train = stages[len(stages) - 1 - number :]
    decay = schedule.lr_decay if number else 1.0
    return PhaseChoice(train=train, epochs=schedule.epochs, lr=schedule.lr / 2**number, lr_decay=decay)


def listed_twice(train: tuple[Stage, ...]) -> Iterator[Conflict]:
    """Stages that a list names again."""
    for place, stage in enumerate(train):
        if stage in train[:place]:
            yield ("train", place), f"{stage!r} is listed twice"


def _stage_conflicts(train: tuple[Stage, ...], lr_decay: float) -> Iterator[Conflict]:
    yield from listed_twice(train)
    if lr_decay != 1 and set(train) == {"head"}:
        yield ("lr_decay",), "lr_decay has no effect: it slows the stages below the head, and none of them trains"
