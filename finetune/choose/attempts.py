"""How each tier of `auto` is tried: what it takes, and the question that is put to held-out images."""

import contextlib
from typing import assert_never

import numpy as np

from finetune.choose import heads
from finetune.choose.course import Best, Course
from finetune.choose.evidence import Held
from finetune.choose.heads import Material
from finetune.choose.tuning import SHARES, Tuned, tuned
from finetune.errors import OutOfResources
from finetune.frozen.probe import Probe
from finetune.recipe import planning
from finetune.recipe.cost import gmacs
from finetune.recipe.network import HeadChoice, Multilayer
from finetune.recipe.plan import Tier
from finetune.recipe.schedule import Auto, LpFt
from finetune.recipe.schedule import Probe as ProbeSchedule
from finetune.recipe.schema import Recipe
from finetune.recipe.section import Stage
from finetune.recipe.tiers import named, sized
from finetune.train.boundary import needed

CLEARLY = 2.0  # standard errors


def attempt(course: Course, tier: Tier) -> None:
    """Tries a tier, and takes it where it does better.

    Raises BundleError, Diverged, Offline, OutOfResources, UsageError or WeightsError where it cannot be tried, and
    OutOfTime where it takes longer than there is time for.
    """
    match tier.kind:
        case "size":
            _size(course, tier)
        case "backbone":
            _backbone(course, tier)
        case "fit":
            _fit(course, tier)
        case "stages":
            _stages(course, tier)
        case "flip":
            _flip(course, tier)
        case "views":
            _views(course, tier)
        case "last_stage" | "all_stages":
            _tune(course, tier)
        case "frozen":
            raise AssertionError("the baseline comes first, and once")
        case _:
            assert_never(tier.kind)


def several(stages: tuple[Stage, ...]) -> tuple[tuple[Stage, ...], ...]:
    """The sets of a network's stages that heads are tried on; the widest first: its pass computes what others need."""
    return stages[-3:], stages[-2:], stages[-2:-1]


def as_probe(recipe: Recipe) -> Recipe:
    """The recipe of the frozen baseline."""
    head: HeadChoice | None = None
    plain = recipe.train.model_copy(update={"views": None})
    return recipe.model_copy(update={"schedule": ProbeSchedule(), "head": head, "train": plain})


def _size(course: Course, tier: Tier) -> None:
    assert tier.size is not None
    best = course.best
    recipe = sized(best.recipe, tier.size)
    given, probe = course.around.probed(recipe, best.network, views=1)
    costlier = gmacs(recipe) > gmacs(best.recipe)
    if course.beats(tier, named(tier), Held(probe.logits), by=1.0 if costlier else 0.0):
        course.take(recipe=recipe, given=given, probe=probe, held=Held(probe.logits))


def _backbone(course: Course, tier: Tier) -> None:
    schedule, best = course.asked.schedule, course.best
    assert isinstance(schedule, Auto)
    choice = schedule.candidates[tier.candidate - 1]
    recipe = best.recipe.model_copy(update={"backbone": choice})
    network = course.around.network(recipe)
    given, probe = course.around.probed(recipe, network, views=1)
    costlier = gmacs(recipe) > gmacs(best.recipe)
    held = Held(probe.logits)
    if course.beats(tier, named(tier, course.asked), held, by=1.0 if costlier else 0.0):
        course.best = Best(recipe, network, given, probe, held, candidate=tier.candidate)


def _fit(course: Course, tier: Tier) -> None:
    assert tier.fit is not None
    best = course.best
    images = best.recipe.images.model_copy(update={"fit": tier.fit})
    recipe = best.recipe.model_copy(update={"images": images})
    given, probe = course.around.probed(recipe, best.network, views=1)
    if course.beats(tier, named(tier), Held(probe.logits), by=1.0):
        course.take(recipe=recipe, given=given, probe=probe, held=Held(probe.logits))


def _stages(course: Course, tier: Tier) -> None:
    """Of several sets of stages the one with the least log-loss is put to the test."""
    best, tried = course.best, []
    for stages in several(best.recipe.all_stages[:-1]):
        head = Multilayer(stages=stages)  # type: ignore[arg-type]
        recipe = as_probe(best.recipe).model_copy(update={"head": head})
        tried.append((recipe, *course.around.probed(recipe, best.network, views=1)))
    recipe, given, probe = min(tried, key=lambda one: course.judge.log_loss(Held(one[2].logits)))
    if course.beats(tier, f"a head on {' + '.join(recipe.stages)}", Held(probe.logits), by=1.0):
        course.take(recipe=recipe, given=given, probe=probe, held=Held(probe.logits))


def _flip(course: Course, tier: Tier) -> None:
    """Whether mirror images still look like their class; where they do not, no view is mirrored."""
    best, around = course.best, course.around
    extractor = around.setting(best.recipe, best.network).extractor(best.network)
    check = around.check("mirror images")
    both = extractor.pooled(around.catalog.samples, stages=best.recipe.stages, mirrored=True, check=check)[0]
    mirrored = 2 * both - best.given.features[0]  # the mean of both was kept
    scores = np.full_like(best.probe.logits, np.nan)
    for fold in np.unique(best.given.folds[best.given.folds >= 0]):
        inside = best.given.folds == fold
        scores[inside] = best.given.fitted_without(fold, best.probe).logits(mirrored[inside])
    outcome = course.judge.compare(tier.kind, "mirror images", Held(scores), Held(best.probe.logits))
    if outcome.gain < -CLEARLY * outcome.standard_error and outcome.points < 0:
        augment = best.recipe.images.augment.model_copy(update={"flip": False})
        images = best.recipe.images.model_copy(update={"augment": augment})
        best.recipe = best.recipe.model_copy(update={"images": images})
        course.record(outcome, "mirror images are taken for others: no view is mirrored")
    else:
        course.record(outcome, "mirror images look alike: views may be mirrored")


def _views(course: Course, tier: Tier) -> None:
    best = course.best
    recipe = best.recipe.model_copy(update={"train": best.recipe.train.model_copy(update={"views": tier.views})})
    if course.keeps and recipe.stages == (recipe.last,):
        _keep_maps(course, recipe, tier.views)
    trials = heads.near(best.probe.trial)
    given, probe = course.around.probed(recipe, best.network, views=tier.views, trials=trials)
    if recipe.stages == (recipe.last,):
        course.viewed = given, probe
    if course.beats(tier, named(tier), Held(probe.logits)):
        course.take(recipe=recipe, given=given, probe=probe, held=Held(probe.logits))


def _keep_maps(course: Course, recipe: Recipe, views: int) -> None:
    """The pass that gives the features of all views also leaves what training the last stage begins from."""
    network, around, below = course.best.network, course.around, recipe.all_stages[-3]
    setting, samples = around.setting(recipe, network), around.catalog.samples
    kept, size = recipe.train.activations, setting.preprocessing.size
    around.say(needed(network, below, images=len(samples), views=views, size=size, stored_as=kept))
    check = around.check("features")
    with contextlib.suppress(OutOfResources):  # said when that tier's turn comes
        setting.extractor(network).activations(
            samples, stage=below, views=views, stored_as=kept, also=(recipe.last,), check=check
        )


def _tune(course: Course, tier: Tier) -> None:
    """Trains in folds while there is time, and stops early where it is clear what comes of it."""
    best, around = course.best, course.around
    recipe = _tuning(course, tier)
    plan = planning.plan(recipe, around.facts)
    phase, views = plan.phases[0], plan.probe_views or 1
    given, probe = _begun(course, views) or around.probed(recipe, best.network, views=views)
    folds = [int(fold) for fold in np.unique(given.folds[given.folds >= 0])]
    before = course.left()

    def enough(so_far: Tuned) -> bool:
        done = _tried(given, so_far)
        each = (before - course.left()) / done
        outcome = course.compared(tier, "", _best_share(course, so_far)[0])
        hopeless = outcome.gain < -CLEARLY * outcome.standard_error
        return hopeless or done >= tier.folds or course.left() < each + _whole(each, len(folds))

    found = tuned(
        best.network,
        given,
        probe,
        phase,
        setting=around.setting(recipe, best.network),
        folds=folds,
        watch=around.watch,
        check=around.check(named(tier)),
        enough=enough,
    )
    held, share = _best_share(course, found)
    each = (before - course.left()) / _tried(given, found)
    name = named(tier) if share == 1 else f"{named(tier)}, {share:g} of the way"
    finishing = _whole(each, len(folds))
    if finishing > around.left():
        course.record(course.compared(tier, name, held), "there is no time left to train on all images")
    elif course.beats(tier, name, held):
        assert isinstance(recipe.schedule, LpFt)
        schedule = recipe.schedule.model_copy(update={"interpolate": share})
        recipe = recipe.model_copy(update={"schedule": schedule})
        course.take(recipe=recipe, given=given, probe=probe, held=held, finishing=finishing)


def _tried(given: Material, found: Tuned) -> int:
    """How many folds."""
    return len(np.unique(given.folds[found.asked]))


def _whole(each: float, folds: int) -> float:
    """The seconds to train on all images, where one fold without its own took `each`."""
    return each * folds / max(1, folds - 1) if folds > 1 else each * 1.25


def _tuning(course: Course, tier: Tier) -> Recipe:
    """The recipe that says what a tier does: the head it begins from is of the views that are written there."""
    best = course.best
    stages = best.recipe.all_stages
    train = stages[-2:] if tier.kind == "last_stage" else stages
    schedule = LpFt(train=train, epochs=tier.epochs, lr=tier.lr)
    views = tier.views if tier.kind == "last_stage" else len(best.given.features)
    written = best.recipe.train.model_copy(update={"views": views})
    return best.recipe.model_copy(update={"schedule": schedule, "head": None, "train": written})


def _begun(course: Course, views: int) -> tuple[Material, Probe] | None:
    """A probe of so many views with the head that every network has, if there is one."""
    best = course.best
    there = [course.viewed, (best.given, best.probe) if best.recipe.stages == (best.recipe.last,) else None]
    return next((one for one in there if one and len(one[0].features) == views), None)


def _best_share(course: Course, found: Tuned) -> tuple[Held, float]:
    held = {share: course.judge.tempered(found.logits[share]) for share in SHARES}
    share = min(SHARES, key=lambda one: course.judge.log_loss(held[one]))
    return held[share], share
