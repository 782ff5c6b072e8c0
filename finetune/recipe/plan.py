"""Recipe + what the images are -> which stages train when, how fast, and about how long it takes. A pure function."""

import json
import math
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from finetune.errors import BundleError, RecipeError, printable
from finetune.recipe import backbones, grammar
from finetune.recipe.fault import MOST_SHOWN
from finetune.recipe.machine import Rates
from finetune.recipe.schedule import BatchNorm, Gradual, StageList, listed_twice, trains_backbone, written_phases
from finetune.recipe.schema import Recipe
from finetune.recipe.section import STAGES, Conflict, Decay, Epochs, LearningRate, Section, Stage
from finetune.recipe.sentences import sentences

WIDTH = 80
SMALL_DATA = 1000  # training images; below, batch statistics are worse than the pretrained ones
SMALL_BATCH = 16
# the share of a forward pass that each stage costs in ResNets of 18 to 152 layers, roughly
SHARES: dict[Stage, float] = {"stem": 0.05, "stage1": 0.20, "stage2": 0.25, "stage3": 0.30, "stage4": 0.20, "head": 0.0}


@dataclass(frozen=True)
class Phase:
    """These stages train, for so many epochs; the head at `lr`, each stage below it at `lr_decay` times the one above.

    `batch_norm` says whose statistics normalise in stages that train; a frozen stage keeps its own. Raises
    RecipeError for stages that do not exist and for numbers out of range.
    """

    train: tuple[Stage, ...]
    epochs: int
    lr: float
    lr_decay: float
    batch_norm: BatchNorm

    def __post_init__(self) -> None:
        try:
            _WrittenPhase(**asdict(self))
        except ValidationError as error:
            raise RecipeError("; ".join(text for _, text in sentences(error, _WrittenPhase))) from None


@dataclass(frozen=True)
class Facts:
    """What a plan depends on besides the recipe: how many images and classes there are, and what training starts from.

    `train`, `validation`, `test` and `smallest_class` (of the training images) count images.
    """

    train: int
    validation: int
    test: int
    classes: int
    smallest_class: int
    pretrained: bool
    batch_size: int


@dataclass(frozen=True)
class Plan:
    """The phases of a run in order, and sentences on what was decided and why."""

    phases: tuple[Phase, ...]
    reasons: tuple[str, ...]


def plan(recipe: Recipe, facts: Facts) -> Plan:
    """The phases that the recipe's schedule means for these images, with what it left open decided."""
    policy, reasons = _batch_norm(recipe, facts)
    phases = tuple(
        Phase(choice.train, choice.epochs, choice.lr, choice.lr_decay, choice.batch_norm or policy)
        for choice in written_phases(recipe.schedule)
    )
    return Plan(phases, (*reasons, *_remarks(recipe, facts, phases)))


def stage_lr(phase: Phase, stage: Stage) -> float:
    """The learning rate of a stage: that of the head, times `lr_decay` for each stage from the head down to it."""
    return phase.lr * phase.lr_decay ** (len(STAGES) - 1 - STAGES.index(stage))


def to_json(plan: Plan) -> str:
    """The plan as JSON; the same plan gives the same text."""
    return json.dumps(asdict(plan), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str, *, source: str = "plan.json") -> Plan:
    """The plan in `text`. Raises BundleError, naming `source`, for anything that `to_json` could not have written."""
    shown = printable(source)
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise BundleError(f"{shown}: is not a plan")
        written = _WrittenPlan.model_validate_json(text)
    except ValidationError as error:
        faults = [f"{shown}: {_dotted(path)}{sentence}" for path, sentence in sentences(error, _WrittenPlan)]
        raise BundleError("\n".join(faults[:MOST_SHOWN])) from None
    except (ValueError, RecursionError):
        raise BundleError(f"{shown}: is not JSON") from None
    phases = tuple(Phase(one.train, one.epochs, one.lr, one.lr_decay, one.batch_norm) for one in written.phases)
    return Plan(phases, written.reasons)


def read(path: Path) -> Plan:
    """The plan in a file. Raises BundleError where there is none."""
    try:
        text = grammar.read(path)
    except RecipeError as error:
        raise BundleError(str(error)) from None
    return from_json(text, source=str(path))


def estimate(plan: Plan, facts: Facts, recipe: Recipe, rates: Rates | None) -> list[float | None]:
    """About how many seconds each phase takes on a machine of these rates; None where rates or the network's cost are
    unknown.

    The multiply-adds of one image grow with the square of its side. A stage below everything that trains costs one
    forward pass; a stage that trains costs three such passes (forward, gradient of its input, gradient of its
    weights), which is what the training rate measures; a frozen stage above one that trains costs two thirds of that.
    In each epoch every image is decoded once, and every validation image passed forward. How the cost is spread over
    the stages is that of ResNets, whatever the network: an estimate, and no more.
    """
    network = backbones.entry(recipe.backbone.name)
    if rates is None or network.macs is None:
        return [None for _ in plan.phases]
    gmacs = network.macs / 1e9 * (image_size(recipe) / network.input_size) ** 2
    seen = 1 / rates.decode_images
    passed = gmacs / rates.forward_gmacs
    return [
        phase.epochs * (facts.train * (gmacs * _cost(phase, rates) + seen) + facts.validation * (passed + seen))
        for phase in plan.phases
    ]


def image_size(recipe: Recipe) -> int:
    """The side in pixels of the network's input: the recipe's, or what its weights were trained or tested with."""
    tag = backbones.entry(recipe.backbone.name).tag(recipe.backbone.tag)
    tested = tag.test_input_size if recipe.images.contract == "test" else None
    return recipe.images.size or tested or tag.input_size


def describe(plan: Plan, facts: Facts, recipe: Recipe, rates: Rates | None) -> list[str]:
    """The plan for people, as lines: phases, rates of the stages, times, reasons; at most 80 columns."""
    steps = math.ceil(facts.train / facts.batch_size)
    seconds = estimate(plan, facts, recipe, rates)
    size = image_size(recipe)
    lines = [
        *_wrapped(
            f"{recipe.name}: {recipe.backbone.name}, {recipe.backbone.weights.kind} weights, {size} x {size} pixels"
        ),
        *_wrapped(
            f"{facts.train} training, {facts.validation} validation and {facts.test} test images of "
            f"{facts.classes} classes; {steps} steps of {facts.batch_size} in an epoch"
        ),
        "",
        f"phase  {'trains':<26}  epochs     steps  {'BatchNorm':<10}  time, about",
    ]
    for number, (phase, needed) in enumerate(zip(plan.phases, seconds, strict=True), start=1):
        policy = phase.batch_norm if set(phase.train) != {"head"} else "frozen"
        lines.append(
            f"{number:>5}  {_named(phase.train):<26}  {phase.epochs:>6}  {phase.epochs * steps:>8}  {policy:<10}  "
            f"{_duration(needed)}"
        )
    lines += ["", "rate   " + "".join(f"{stage:>10}" for stage in STAGES)]
    for number, phase in enumerate(plan.phases, start=1):
        lines.append(f"{number:>5}  " + "".join(_rate(phase, stage) for stage in STAGES))
    remarks = [*plan.reasons, _on_time(seconds, rates)]
    return [*lines, "", *(line for remark in remarks for line in _wrapped(f"- {remark}", "  "))]


class _WrittenPhase(Section):
    train: StageList
    epochs: Epochs
    lr: LearningRate
    lr_decay: Decay
    batch_norm: BatchNorm

    def conflicts(self) -> Iterator[Conflict]:
        yield from listed_twice(self.train)


class _WrittenPlan(Section):
    phases: Annotated[tuple[_WrittenPhase, ...], Field(min_length=1, max_length=50)]
    reasons: tuple[str, ...]

    def conflicts(self) -> Iterator[Conflict]:
        if not any("head" in phase.train for phase in self.phases):
            yield ("phases",), "the head trains in none of the phases"


def _batch_norm(recipe: Recipe, facts: Facts) -> tuple[BatchNorm, list[str]]:
    """The policy of phases that do not have their own, and the reason."""
    thawed = [phase for phase in written_phases(recipe.schedule) if trains_backbone(phase)]
    if not thawed:
        return "pretrained", ["the backbone is frozen whole and keeps its BatchNorm statistics"]
    if all(phase.batch_norm is not None for phase in thawed):
        return "pretrained", []
    asked = recipe.train.batch_norm
    if asked is not None:
        return asked, [f"BatchNorm uses {asked} statistics: the recipe says so"]
    if not facts.pretrained:
        return "batch", ["BatchNorm uses batch statistics: the weights are random, so there are none to keep"]
    few = f"{facts.train} training images are fewer than {SMALL_DATA}"
    small = f"batches of {facts.batch_size} are smaller than {SMALL_BATCH}"
    found = [
        text for text, is_so in ((few, facts.train < SMALL_DATA), (small, facts.batch_size < SMALL_BATCH)) if is_so
    ]
    if found:
        return "pretrained", [f"BatchNorm keeps the pretrained statistics: {' and '.join(found)}"]
    enough = f"there are {facts.train} training images in batches of {facts.batch_size}"
    return "batch", [f"BatchNorm uses batch statistics: {enough}, enough for its own"]


def _remarks(recipe: Recipe, facts: Facts, phases: tuple[Phase, ...]) -> Iterator[str]:
    if isinstance(recipe.schedule, Gradual):
        yield "each phase begins at half the rate of the one before"
    trained = {stage for phase in phases for stage in phase.train}
    frozen = [stage for stage in STAGES if stage not in trained]
    if not facts.pretrained and frozen:
        yield f"the weights are random, and never trained in {_listed(frozen)}: what these see says little"
    if not facts.validation:
        yield "there are no validation images to choose the best epoch on"
    elif not facts.test:
        yield "there are no test images: the score will be that of the images that chose the epoch, and optimistic"
    if facts.smallest_class < 10:
        images = "image" if facts.smallest_class == 1 else "images"
        yield f"the smallest class has {facts.smallest_class} training {images}: what is said of it will be uncertain"


def _cost(phase: Phase, rates: Rates) -> float:
    """Seconds of one training image per 1e9 multiply-adds of a forward pass."""
    backbone = [stage for stage in STAGES if stage != "head" and stage in phase.train]
    lowest = STAGES.index(backbone[0]) if backbone else len(STAGES)
    seconds = 0.0
    for place, stage in enumerate(STAGES):
        if place < lowest:
            seconds += SHARES[stage] / rates.forward_gmacs
        else:
            seconds += SHARES[stage] * (1 if stage in phase.train else 2 / 3) / rates.training_gmacs
    return seconds


def _on_time(seconds: list[float | None], rates: Rates | None) -> str:
    if rates is None:
        return "no times: run `finetune doctor` to measure this machine"
    known = [one for one in seconds if one is not None]
    if len(known) < len(seconds):
        return "no times: the cost of this backbone is not known"
    threads = f"{rates.threads} {'thread' if rates.threads == 1 else 'threads'}"
    return (
        f"about {_duration(sum(known))} in all: an estimate from the rates measured on this machine on "
        f"{printable(rates.measured)} with {threads}"
    )


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes, days = round(seconds / 60), round(seconds / 86400)
    if minutes < 100:
        return f"{minutes} min"
    if days < 4:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{days} days" if days < 1000 else "999+ days"


def _named(train: tuple[Stage, ...]) -> str:
    """The stages in few words: three or more in a row are named by the first and the last."""
    if set(train) == set(STAGES):
        return "all stages"
    runs: list[list[Stage]] = []
    for below, stage in zip((None, *STAGES), STAGES, strict=False):
        if stage in train and below in train:
            runs[-1].append(stage)
        elif stage in train:
            runs.append([stage])
    return " ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else " ".join(run) for run in runs)


def _rate(phase: Phase, stage: Stage) -> str:
    return f"{stage_lr(phase, stage):>10.2g}" if stage in phase.train else f"{'-':>10}"


def _listed(words: list[Stage]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _wrapped(text: str, hanging: str = "") -> list[str]:
    return textwrap.wrap(printable(text, limit=1000), WIDTH, subsequent_indent=hanging)


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path) + ": " if path else ""
