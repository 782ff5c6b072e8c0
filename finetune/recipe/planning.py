"""Recipe + what the images are -> Plan: which stages train when, how fast, from what, and why. A pure function."""

import math
from collections.abc import Iterator
from itertools import accumulate
from operator import mul
from typing import assert_never

from finetune.errors import UsageError
from finetune.recipe import backbones
from finetune.recipe.cost import Costs
from finetune.recipe.facts import Facts
from finetune.recipe.plan import Phase, Plan
from finetune.recipe.rates import ConstantRate, CosineRate, PlateauRate, Rate, SteppedRate
from finetune.recipe.schedule import Auto, BatchNorm, Gradual, LpFt, PhaseChoice, Probe, trains_backbone
from finetune.recipe.schema import Recipe
from finetune.recipe.section import Stage
from finetune.recipe.share import each
from finetune.recipe.tiers import tiers

SMALL_DATA = 1000  # training images; below, batch statistics are worse than the pretrained ones
SMALL_BATCH = 16
VIEWED = 8000  # views of all images together that are enough for a head or a last stage
MOST_VIEWS = 8
_SHIPPED = {
    "accuracy": "the epoch of the highest validation accuracy",
    "last": "the last epoch, which validation images do not choose",
}


def plan(recipe: Recipe, facts: Facts, costs: Costs | None = None) -> Plan:
    """What the recipe's schedule means for these images, with what it left open decided.

    Only schedule `auto` asks what things cost: it plans which ways are tried within its budget.
    """
    if isinstance(recipe.schedule, Auto):
        tried, why = tiers(each(recipe), facts, costs, views=views(recipe, facts))
        return Plan((), (*why, *_remarks(recipe, facts, ())), tiers=tried)
    policy, decided = _batch_norm(recipe, facts)
    phases = tuple(_phase(recipe, facts, choice, policy) for choice in recipe.phases)
    return Plan(phases, (*decided, *_remarks(recipe, facts, phases)), probe_views=_probe_views(recipe, facts))


def must_fit(plan: Plan, recipe: Recipe) -> None:
    """Raises UsageError for a plan whose phases train stages that the backbone does not have."""
    meant = plan.chosen.applied(recipe) if plan.chosen else recipe
    for number, phase in enumerate(plan.phases, start=1):
        for stage in phase.train:
            if stage not in meant.all_stages:
                has = backbones.entry(meant.backbone.name).has()
                raise UsageError(f"phase {number} of the plan trains {stage!r}: {has}")


def views(recipe: Recipe, facts: Facts) -> int:
    """How many views of each image are kept: the recipe's, or 2 to 8 of them, enough for 8,000 in all; one where
    augment varies nothing.
    """
    augment = recipe.images.augment
    varied = augment.kind != "none" or augment.flip
    enough = min(MOST_VIEWS, max(2, math.ceil(VIEWED / max(1, facts.train))))
    return recipe.train.views or (enough if varied else 1)


def _probe_views(recipe: Recipe, facts: Facts) -> int | None:
    match recipe.schedule:
        case Probe():
            return recipe.train.views or 1
        case LpFt():
            return views(recipe, facts)
        case _:
            return None


def _phase(recipe: Recipe, facts: Facts, choice: PhaseChoice, policy: BatchNorm) -> Phase:
    kept = views(recipe, facts) if isinstance(recipe.schedule, LpFt) else recipe.train.views
    return Phase(
        choice.train,
        choice.epochs,
        choice.lr,
        choice.lr_decay,
        choice.batch_norm or policy,
        kept if recipe.keeps(choice) else None,
    )


def _batch_norm(recipe: Recipe, facts: Facts) -> tuple[BatchNorm, list[str]]:
    """The policy of phases that do not have their own, and the reason."""
    thawed = [phase for phase in recipe.phases if trains_backbone(phase)]
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
    tested = facts.test or facts.folds
    if facts.folds:
        yield from _on_folds(recipe, facts)
    if isinstance(recipe.schedule, Gradual):
        yield "each phase begins at half the rate of the one before"
    if not isinstance(recipe.schedule, Probe):
        yield from _on_rate(recipe.train.rate, {phase.lr for phase in phases})
    if not facts.pretrained:
        yield from _on_random_weights(recipe, phases)
    if phases and not facts.validation:
        yield "there are no validation images to choose the best epoch on"
    elif phases and recipe.train.best != "loss":
        yield f"what ships is {_SHIPPED[recipe.train.best]}"
    if phases and facts.validation and not tested and recipe.train.best != "last":
        yield "there are no test images: the score will be that of the images that chose the epoch, and optimistic"
    if isinstance(recipe.schedule, Probe):
        yield f"the head is chosen by cross-validation on all {facts.train + facts.validation} images not for testing"
    if not phases and not tested:
        yield "there are no test images: the score will be that of the held-out images that chose, a little optimistic"
    if facts.smallest_class < 10:
        images = "image" if facts.smallest_class == 1 else "images"
        yield f"the smallest class has {facts.smallest_class} training {images}: what is said of it will be uncertain"


def _on_folds(recipe: Recipe, facts: Facts) -> Iterator[str]:
    yield f"all of this is done {facts.folds + 1} times: for each of {facts.folds} folds held out, and for what ships"
    one = each(recipe).schedule
    if isinstance(recipe.schedule, Auto) and isinstance(one, Auto):
        yield f"the budget of {recipe.schedule.budget} is shared: {one.budget} each time"


def _on_rate(rate: Rate, peaks: set[float]) -> Iterator[str]:
    """What becomes of the rate after its peak, in numbers where all phases have the same; of a cosine nothing."""
    match rate:
        case CosineRate():
            return
        case ConstantRate():
            yield "the rate stays at its peak to the end"
        case SteppedRate():
            peak, whose = (*peaks, "") if len(peaks) == 1 else (1.0, " of its peak")
            start = f"{peak:g}" if not whose else "its peak in each phase"
            levels = accumulate(rate.factors, mul, initial=peak)
            steps = [f"{level:.3g}{whose} after {at}" for at, level in zip((0, *rate.at), levels, strict=True)]
            yield f"the rate steps down from {start}: to {', '.join(steps[1:])} epochs"
        case PlateauRate():
            floor = f", but not below {rate.lowest:g}" if rate.lowest else ""
            epochs = "epoch" if rate.patience == 1 else f"{rate.patience} epochs"
            yield f"the rate is multiplied by {rate.factor:.3g} after each {epochs} without a better loss{floor}"
        case _:
            assert_never(rate)


def _on_random_weights(recipe: Recipe, phases: tuple[Phase, ...]) -> Iterator[str]:
    trained = {"head", *(stage for phase in phases for stage in phase.train)}
    frozen = [stage for stage in recipe.all_stages if stage not in trained]
    if isinstance(recipe.schedule, Auto):
        yield "the weights are random: what frozen stages see says little, and only training all stages may help"
    elif frozen:
        yield f"the weights are random, and never trained in {_listed(frozen)}: what these see says little"


def _listed(words: list[Stage]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
