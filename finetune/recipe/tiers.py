"""Which ways to learn `auto` tries within its budget, in which order, and why. A pure rule from facts and costs."""

from collections.abc import Iterator
from dataclasses import dataclass

from finetune.recipe.cost import Costs, shares
from finetune.recipe.facts import Facts
from finetune.recipe.plan import Tier, TierKind
from finetune.recipe.schedule import Auto
from finetune.recipe.schema import Fit, Recipe
from finetune.recipe.section import STAGES

FEW = 2000  # images; below, every choice is made on out-of-fold predictions, above on one held-out part
LAST_STAGE = STAGES[-2:]
MOST_FOLDS = 5
PROBE_SECONDS = 2.0  # the cross-validation of a head, and 1 s more for every so many rows of features
PROBE_ROWS = 1500
ROOMY = 10  # times the cost of the frozen head, above which small questions are asked too
FINISH_SECONDS = 3.0  # to write, to score and to draw


@dataclass(frozen=True)
class Tuning:
    """How the stages of a tier are trained from the probe's head."""

    epochs: int
    lr: float


GRADIENT: tuple[tuple[TierKind, str], ...] = (
    ("last_stage", "up to 3 points"),
    ("all_stages", "2 to 5 points; far from photographs 20 and more"),
)
TUNING = {"last_stage": Tuning(10, 1e-4), "all_stages": Tuning(10, 1e-3)}


def tiers(recipe: Recipe, facts: Facts, costs: Costs | None, *, views: int) -> tuple[tuple[Tier, ...], tuple[str, ...]]:
    """The tiers that fit into the budget, cheapest first, and sentences on those that do not, or are not worth it.

    The frozen head is always tried. Without costs everything is listed, and the clock decides during the run.
    """
    schedule = recipe.schedule
    assert isinstance(schedule, Auto)
    images = facts.train + facts.validation
    left = schedule.seconds - _finish(facts, costs)
    chosen: list[Tier] = []
    reasons = [_on_evidence(images, schedule)]
    for tier, against in _considered(recipe, facts, costs, views=views):
        if not against and tier.seconds is not None and tier.kind != "frozen" and tier.seconds > left:
            against = f"about {tier.seconds:.0f} s are needed and {max(0, left):.0f} s are left"
        if against:
            reasons.append(f"{named(tier)} is not tried: {against}")
            continue
        left -= tier.seconds or 0.0
        chosen.append(tier)
    return tuple(chosen), tuple(reasons)


def named(tier: Tier) -> str:
    """A tier in words."""
    return {
        "frozen": "a head on the frozen features",
        "backbone": f"candidate backbone {tier.candidate}",
        "fit": f"images fitted by {tier.fit}",
        "flip": "a look at mirror images",
        "views": f"a head on {tier.views} views of each image",
        "stages": "a head on the features of several stages",
        "last_stage": "training the last stage",
        "all_stages": "training all stages",
    }[tier.kind]


def _on_evidence(images: int, schedule: Auto) -> str:
    held_out = (
        f"out-of-fold predictions of all {images} images that are not for testing"
        if images < FEW
        else f"a held-out fifth of the {images} images that are not for testing"
    )
    return f"within {schedule.budget}, what does best on {held_out} ships"


def _considered(recipe: Recipe, facts: Facts, costs: Costs | None, *, views: int) -> Iterator[tuple[Tier, str]]:
    """Every tier with its cost, from the cheapest, and what speaks against it before the budget is asked."""
    schedule = recipe.schedule
    assert isinstance(schedule, Auto)
    images = facts.train + facts.validation
    folds = MOST_FOLDS if images < FEW else 1
    frozen = _frozen(images, 1, costs)
    yield Tier(kind="frozen", gain="the baseline that the others have to beat", seconds=frozen), ""
    for place in range(1, len(schedule.candidates) + 1):
        gain = "a point or three from a better backbone"
        yield Tier(kind="backbone", candidate=place, gain=gain, seconds=frozen), ""
    if schedule.seconds > ROOMY * (frozen or 0):
        other: Fit = "squash" if recipe.images.fit == "crop" else "crop"
        yield Tier(kind="fit", fit=other, gain="a point where what matters is cut off", seconds=frozen), ""
    yield Tier(kind="stages", gain="little on photographs, much on what is far from them", seconds=_rows(images)), ""
    once = None if costs is None else images * costs.forward
    if views > 1 and recipe.images.augment.flip and recipe.images.augment.kind != "none":
        yield Tier(kind="flip", gain="whether left and right matter", seconds=once), ""
    more = None if costs is None else images * (views - 1) * costs.forward + _rows(images * views)
    yield (
        Tier(kind="views", views=views, gain="up to 2 points with few images", seconds=more),
        "" if views > 1 else "there is one view of each image",
    )
    few = f"the smallest class has {facts.smallest_class} images" if facts.smallest_class < 5 else ""
    for kind, gain in GRADIENT:
        tuning = TUNING[kind]
        seconds = _tuned(kind, images, tuning, costs, folds=folds, views=views)
        yield (
            Tier(
                kind=kind,
                gain=gain,
                views=views if kind == "last_stage" else 1,
                folds=folds if kind == "last_stage" else min(2, folds),
                epochs=tuning.epochs,
                lr=tuning.lr,
                seconds=seconds,
            ),
            few,
        )


def _finish(facts: Facts, costs: Costs | None) -> float:
    return FINISH_SECONDS + (0.0 if costs is None else facts.test * (costs.decode + costs.forward))


def _frozen(images: int, views: int, costs: Costs | None) -> float | None:
    return None if costs is None else images * (costs.decode + views * costs.forward) + _rows(images * views)


def _rows(rows: int) -> float:
    return PROBE_SECONDS + rows / PROBE_ROWS


def _tuned(kind: TierKind, images: int, tuning: Tuning, costs: Costs | None, *, folds: int, views: int) -> float | None:
    """Every fold is trained on the images of the others, then all are trained on once."""
    if costs is None:
        return None
    if kind == "last_stage":
        _, above = shares(LAST_STAGE)
        return (folds * (1 - 1 / MOST_FOLDS) + 1) * tuning.epochs * images * above * costs.step
    each = tuning.epochs * images * (costs.decode + costs.step)
    return (min(2, folds) * (1 - 1 / MOST_FOLDS) + 1) * each
