"""Which ways to learn `auto` tries within its budget, in which order, and why. A pure rule from facts and costs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finetune.recipe import backbones
from finetune.recipe.cost import (
    Costs,
    duration,
    fitting,
    image_size,
    passing,
    shares,
    with_backbone,
    with_size,
)
from finetune.recipe.facts import Facts
from finetune.recipe.images import Fit
from finetune.recipe.plan import Tier, TierKind
from finetune.recipe.schedule import Auto
from finetune.recipe.schema import Recipe
from finetune.recipe.section import Stage

FEW = 2000  # images up to which every choice is made on out-of-fold predictions; above, on one held-out fifth
FEWEST = 5  # images of the smallest class, below which training in folds says nothing
MOST_FOLDS = 5
SOME_FOLDS = 2  # of what takes long
TELLING = 80  # held-out images, fewer of which say too little of a training
SETS_OF_STAGES = 3
ROOMY = 30  # times the cost of the frozen head, above which small questions are asked too
FINISH_SECONDS = 3.0  # to write, to score and to draw
FEW_PIXELS = 96  # of the shorter side; to which size images of fewer are best resized depends on them
SIDES = (128, 160, 224)  # what is tried for them
SMALL = 112  # pixels; images below are far from what weights have seen, and all stages have more to learn


@dataclass(frozen=True)
class Tuning:
    """How the stages of a tier are trained from the probe's head, and what that may bring."""

    kind: TierKind
    epochs: int
    lr: float
    gain: str


GENTLY = Tuning("last_stage", 10, 2e-4, "up to 3 points")
ALL_GENTLY = Tuning("all_stages", 10, 1e-4, "2 to 5 points")
BRIEFLY = 6  # epochs of the last stage, where there is no time for more
ALL = Tuning("all_stages", 10, 1e-3, "far from photographs 20 points and more")


def tiers(recipe: Recipe, facts: Facts, costs: Costs | None, *, views: int) -> tuple[tuple[Tier, ...], tuple[str, ...]]:
    """The tiers that fit into the budget, from the cheap to the costly, and sentences on those that do not, or are not
    worth it.

    The frozen head is always tried, and what it takes and what the end of the run takes are no longer there for the
    others. Without costs everything is listed, and the clock decides during the run.
    """
    schedule = recipe.schedule
    assert isinstance(schedule, Auto)
    images = facts.train + facts.validation
    left = schedule.seconds - _finish(facts, costs)
    chosen: list[Tier] = []
    reasons = [_on_evidence(images, schedule)]
    sides = sizes(recipe, facts)
    if sides:  # what costs least comes first, and the others have to do better
        reasons.append(_on_size(facts, *sides))
        costs = None if costs is None else with_size(costs, recipe, sides[0])
        recipe = sized(recipe, sides[0])
    for alternatives, against in _considered(recipe, facts, costs, chosen, views=views, sides=sides):
        tier = next((one for one in alternatives if (one.seconds or 0.0) <= left), alternatives[-1])
        needed = tier.seconds or 0.0
        if tier.kind == "frozen" and needed > left:
            reasons.append(f"{named(tier)} takes about {duration(needed)}, which is more than the budget leaves")
        elif not against and needed > left:
            rest = f"{duration(left)} are left" if left >= 1 else "no time is left"
            against = f"it takes about {duration(needed)}, and {rest}"
        if against:
            reasons.append(f"{named(tier, recipe)} is not tried: {against}")
            continue
        left -= needed
        chosen.append(tier)
    return tuple(chosen), tuple(reasons)


def named(tier: Tier, recipe: Recipe | None = None) -> str:
    """A tier in words; with the recipe of `auto` a candidate has its name."""
    schedule = recipe.schedule if recipe else None
    candidates = schedule.candidates if isinstance(schedule, Auto) else ()
    return {
        "frozen": "a head on the frozen features",
        "size": f"images resized to {tier.size} pixels",
        "backbone": f"backbone {candidates[tier.candidate - 1].name if candidates else tier.candidate}",
        "fit": f"images fitted by {tier.fit}",
        "flip": "a look at mirror images",
        "views": f"a head on {'several' if tier.views == 1 else tier.views} views of each image",
        "stages": "a head on the features of several stages",
        "last_stage": "training the last stage",
        "all_stages": f"training all stages, rate {tier.lr:g}",
    }[tier.kind]


def forms(tier: Tier, *, images: int) -> tuple[Tier, ...]:
    """The tier, then cheaper forms of it: with fewer folds, as long as these say something, then with fewer epochs."""
    if not tier.epochs:
        return (tier,)
    epochs = dict.fromkeys((tier.epochs, min(tier.epochs, BRIEFLY) if tier.kind == "last_stage" else tier.epochs))
    folds = range(tier.folds, min(tier.folds, _telling(images)) - 1, -1)
    return tuple(_form(tier, folds=number, epochs=long) for long in epochs for number in folds)


def _form(tier: Tier, *, folds: int, epochs: int) -> Tier:
    share = epochs * _trainings(folds) / (tier.epochs * _trainings(tier.folds))
    seconds = None if tier.seconds is None else share * tier.seconds
    return tier.model_copy(update={"folds": folds, "epochs": epochs, "seconds": seconds})


def _telling(images: int) -> int:
    """The fewest folds that hold as many images as it takes."""
    return min(MOST_FOLDS, math.ceil(MOST_FOLDS * TELLING / images))


def _trainings(folds: int) -> float:
    """How many times a training on all images so many folds take: each without its own, then once on all of them."""
    return folds * (1 - 1 / MOST_FOLDS) + 1


def _on_evidence(images: int, schedule: Auto) -> str:
    held_out = (
        f"out-of-fold predictions of all {images} images that are not for testing"
        if images <= FEW
        else f"a held-out fifth of the {images} images that are not for testing"
    )
    return f"within {schedule.budget}, what does best on {held_out} ships"


def _on_size(facts: Facts, first: int, *larger: int) -> str:
    return (
        f"images are small (the median of their shorter sides is {facts.short_side} pixels): they are resized to "
        f"{first} pixels, or to {' or '.join(map(str, larger))} where that does clearly better"
    )


def _considered(
    recipe: Recipe,
    facts: Facts,
    costs: Costs | None,
    chosen: Sequence[Tier],
    *,
    views: int,
    sides: Sequence[int],
) -> Iterator[tuple[tuple[Tier, ...], str]]:
    """Every tier with its cost, from the cheapest, each in its best form and in cheaper ones, and what speaks against
    it before the budget is asked. `chosen` are those before it that fit: views are passed through the network once.
    `sides` are those that small images may be resized to, the recipe's own first.
    """
    images = facts.train + facts.validation
    frozen = _heads(images, passing(images, costs))
    first, *larger = sides or (None,)
    yield (Tier(kind="frozen", size=first, gain="the baseline that the others have to beat", seconds=frozen),), ""
    for size in larger:
        own = None if costs is None else with_size(costs, recipe, size)
        yield (Tier(kind="size", size=size, gain="a point", seconds=_heads(images, passing(images, own))),), ""
    for tier in _other_inputs(recipe, images, costs):
        yield (tier,), ""
    small = image_size(recipe) < SMALL or bool(sides)
    several = Tier(
        kind="stages",
        gain="little on photographs, much on what is far from them",
        seconds=_heads(images, passing(images, costs), heads=SETS_OF_STAGES),
    )
    if small:
        yield (several,), ""
    seen = passing(images, costs, views=views - 1)
    gain = "up to 2 points with few images"
    yield (
        (Tier(kind="views", views=views, gain=gain, seconds=_heads(images * views, seen)),),
        "" if views > 1 else "there is one view of each image",
    )
    count = facts.smallest_class
    few = f"the smallest class has {count} {'image' if count == 1 else 'images'}" if count < FEWEST else ""
    for tuning in (ALL, GENTLY, ALL_GENTLY) if small else (GENTLY, ALL_GENTLY, ALL):
        most = 1 if images > FEW else MOST_FOLDS if tuning is GENTLY else SOME_FOLDS
        new = 0 if any(tier.kind == "views" for tier in chosen) else views
        whole = _tuned(tuning, images, costs, recipe.all_stages, views=views, new=new, folds=most)
        yield forms(whole, images=images), few
        if tuning is GENTLY and not small:
            yield (several,), ""


def sizes(recipe: Recipe, facts: Facts) -> tuple[int, ...]:
    """The sides in pixels that images of few pixels may be resized to, that of the weights among them, the smallest
    first; none where images are large enough, the recipe says a size, or one of its networks takes no other.
    """
    candidates = recipe.schedule.candidates if isinstance(recipe.schedule, Auto) else ()
    fixed = any(backbones.entry(one.name).tag(one.tag).fixed for one in (recipe.backbone, *candidates))
    if facts.short_side is None or facts.short_side >= FEW_PIXELS or recipe.images.size is not None or fixed:
        return ()
    return tuple(sorted({*SIDES, image_size(recipe)}))


def sized(recipe: Recipe, size: int) -> Recipe:
    """The recipe with images resized to so many pixels."""
    return recipe.model_copy(update={"images": recipe.images.model_copy(update={"size": size})})


def _other_inputs(recipe: Recipe, images: int, costs: Costs | None) -> Iterator[Tier]:
    """Other backbones; and where there is time for small questions, the other way to make an oblong image a square, and
    whether views may be mirrored.
    """
    schedule = recipe.schedule
    assert isinstance(schedule, Auto)
    for place, choice in enumerate(schedule.candidates, start=1):
        own = None if costs is None else with_backbone(costs, recipe, choice)
        seconds = _heads(images, passing(images, own))
        yield Tier(kind="backbone", candidate=place, gain="a point or three from a better backbone", seconds=seconds)
    frozen = _heads(images, passing(images, costs))
    if schedule.seconds > ROOMY * (frozen or 0):
        other: Fit = "squash" if recipe.images.fit == "crop" else "crop"
        yield Tier(kind="fit", fit=other, gain="a point where what matters is cut off", seconds=frozen)
        if recipe.images.augment.flip and recipe.images.augment.kind != "none":
            yield Tier(kind="flip", gain="whether left and right matter", seconds=passing(images, costs))


def _finish(facts: Facts, costs: Costs | None) -> float:
    return FINISH_SECONDS + (passing(facts.test, costs) or 0.0)


def _heads(rows: int, features: float | None, *, heads: int = 1) -> float | None:
    """The seconds for features and for heads on so many rows of them."""
    return None if features is None else features + heads * fitting(rows)


def _tuned(
    tuning: Tuning,
    images: int,
    costs: Costs | None,
    stages: tuple[Stage, ...],
    *,
    views: int,
    new: int,
    folds: int,
) -> Tier:
    """The tier with what it takes; `new` views have not been passed through the network yet."""
    last = tuning.kind == "last_stage"
    seconds = None
    if costs is not None:
        below, _ = shares(stages[-2:], stages)
        filling = images * (costs.decode + new * below * costs.forward) if last and new else 0.0
        step = costs.last if last else costs.decode + costs.step
        seconds = filling + _trainings(folds) * tuning.epochs * images * step
    return Tier(
        kind=tuning.kind,
        gain=tuning.gain,
        views=views if last else 1,
        folds=folds,
        epochs=tuning.epochs,
        lr=tuning.lr,
        seconds=seconds,
    )
