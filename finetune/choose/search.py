"""`auto`, straight down: each tier of the plan is tried in turn, and what does best on held-out images is chosen.

It knows nothing of bundles and of test images.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from finetune.choose import attempts
from finetune.choose.budget import OutOfTime
from finetune.choose.course import Best, Course, Surroundings
from finetune.choose.evidence import Held, Outcome
from finetune.errors import BundleError, Diverged, Offline, OutOfResources, UsageError, WeightsError
from finetune.frozen.probe import Probe
from finetune.recipe.plan import Chosen, ChosenTrial, Tier
from finetune.recipe.schedule import LpFt
from finetune.recipe.schedule import Probe as ProbeSchedule
from finetune.recipe.schema import Recipe
from finetune.recipe.tiers import forms, sized

WARMING = 1.5  # times what is expected, that the first pass may take


@dataclass(frozen=True, eq=False)
class Found:
    """What came of a search: the choice, what was said of held-out images by it, and every outcome on the way."""

    chosen: Chosen
    held: Held
    outcomes: tuple[Outcome, ...]
    reasons: tuple[str, ...]
    probe: Probe


def search(recipe: Recipe, tiers: Sequence[Tier], around: Surroundings) -> Found:
    """Tries the tiers within the time that is left, and returns the best.

    The frozen head comes first and is the baseline: nothing ships that loses to what was best before it, in log-loss
    or in accuracy, on the images that both were asked about. A tier that makes the network costlier has to gain more
    than a standard error.
    """
    begun = around.left()
    recipe = sized(recipe, tiers[0].size) if tiers[0].size else recipe
    keeps = any(tier.kind == "last_stage" for tier in tiers)
    course = Course.begun(recipe, attempts.as_probe(recipe), around, keeps=keeps)
    expected = WARMING * (tiers[0].seconds or 0.0)
    for tier in tiers[1:]:
        now = around.left()
        slower = max(1.0, (begun - now) / expected) if expected else 1.0
        slower *= 1.0 if tier.kind == "backbone" else course.dearer()
        left, ways = now - course.best.finishing, forms(tier, images=len(around.catalog))
        way = next((one for one in ways if slower * (one.seconds or 0.0) <= left), None)
        if way is None:
            needed = slower * (ways[-1].seconds or 0.0)
            course.leave_out(tier, f"about {needed:.0f} s are needed and {max(0, left):.0f} s are left")
            continue
        expected += way.seconds or 0.0
        try:
            attempts.attempt(course, way)
        except (BundleError, Diverged, Offline, OutOfResources, UsageError, WeightsError) as error:
            course.leave_out(tier, f"it fails: {str(error).splitlines()[0]}")
        except OutOfTime:
            course.leave_out(tier, "its time was over before it could be judged")
    best = course.best
    return Found(_chosen(best), best.held, tuple(course.outcomes), tuple(course.reasons), best.probe)


def _chosen(best: Best) -> Chosen:
    recipe = best.recipe
    assert isinstance(recipe.schedule, ProbeSchedule | LpFt)
    return Chosen(
        candidate=best.candidate,
        size=recipe.images.size,
        fit=recipe.images.fit,
        flip=recipe.images.augment.flip,
        head=recipe.head,
        schedule=recipe.schedule,
        views=recipe.train.views,
        trial=ChosenTrial.model_validate(asdict(best.probe.trial)),
        temperature=best.held.temperature,
    )
