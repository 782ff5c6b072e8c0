"""How a search stands: the best so far, what was found of each tier on the way, and who decides whether it is better.

It knows nothing of what the tiers do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from finetune.choose import heads
from finetune.choose.budget import OutOfTime, ending
from finetune.choose.evidence import Held, Judge, Outcome
from finetune.choose.heads import Material, material
from finetune.choose.tuning import Watch
from finetune.data.catalog import Catalog
from finetune.frozen.probe import Probe, Trial
from finetune.model.backbone import Backbone
from finetune.predict import Check
from finetune.recipe.cost import gmacs
from finetune.recipe.facts import Facts
from finetune.recipe.plan import Tier
from finetune.recipe.schema import Recipe
from finetune.recipe.tiers import named
from finetune.train.loop import Epoch, Step
from finetune.train.setting import Setting

_LEFT = "left: it does not do better on images it has not seen"
_LOST = "left: on all images that it was asked about it loses to the head on the frozen features"


@dataclass(frozen=True)
class Surroundings:
    """What a search is given: the images, how to get a backbone with its weights, the setting of a recipe with a
    backbone, how many seconds are left, and who watches.
    """

    catalog: Catalog
    facts: Facts
    network: Callable[[Recipe], Backbone]
    setting: Callable[[Recipe, Backbone], Setting]
    left: Callable[[], float]
    say: Callable[[str], None]
    watch: Watch
    check: Callable[[str], Check]

    def probed(
        self, recipe: Recipe, network: Backbone, *, views: int, trials: Sequence[Trial] | None = None
    ) -> tuple[Material, Probe]:
        """The features that a recipe means, and the head that cross-validation finds on them."""
        setting = self.setting(recipe, network)
        extractor, check = setting.extractor(network), self.check("features")
        given = material(extractor, self.catalog, stages=recipe.stages, views=views, seed=recipe.seed, check=check)
        threads, check = setting.runtime.threads, self.check("heads")
        return given, heads.fit(given, head=recipe.head, threads=threads, trials=trials, check=check)


@dataclass
class Best:
    """The way of learning that has done best so far, and what it says of held-out images. `finishing`: the seconds that
    it takes to train on all images, once it is chosen.
    """

    recipe: Recipe
    network: Backbone
    given: Material
    probe: Probe
    held: Held
    candidate: int = 0
    finishing: float = 0.0


@dataclass
class Course:
    """A search under way. `asked` is the recipe of `auto`; `keeps`: whether the last stage will be trained, if all goes
    well; `viewed`: a probe of several views of the best network, once there is one; `baseline`: what the head on frozen
    features says of held-out images.
    """

    asked: Recipe
    around: Surroundings
    keeps: bool
    best: Best
    judge: Judge
    baseline: Held
    viewed: tuple[Material, Probe] | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @classmethod
    def begun(cls, asked: Recipe, baseline: Recipe, around: Surroundings, *, keeps: bool) -> "Course":
        """With the baseline, a head on the frozen features of one view, as the best. What is tried from then on ends
        with OutOfTime where its time does, so that what was found before can still be finished.
        """
        network = around.network(baseline)
        given, probe = around.probed(baseline, network, views=1)
        weights = given.class_weights if probe.balanced else np.ones(given.classes)
        judge = Judge(given.labels, given.groups, given.folds, weights)
        held = Held(probe.logits)
        outcome = judge.compare("frozen", "a head on the frozen features", held, held, verdict="the baseline")
        around.say(
            f"{outcome.name} ({probe.trial.family}, {probe.trial.scaling}): accuracy {outcome.accuracy:.3f}, log-loss "
            f"{outcome.log_loss:.3f} on {outcome.images} images held out in turn"
        )
        course = cls(asked, around, keeps, Best(baseline, network, given, probe, held), judge, held, outcomes=[outcome])

        def over() -> bool:
            return course.left() < 0

        def watch(event: Step | Epoch) -> None:
            around.watch(event)
            if over():
                raise OutOfTime

        course.around = replace(around, watch=watch, check=lambda what: ending(around.check(what), over))
        return course

    def compared(self, tier: Tier, name: str, held: Held) -> Outcome:
        """Against the best so far, without a verdict yet."""
        return self.judge.compare(tier.kind, name, held, self.best.held)

    def beats(self, tier: Tier, name: str, held: Held, *, by: float = 0.0) -> bool:
        """Whether it gains more than `by` standard errors, and loses no accuracy, against the best so far; and loses
        neither to the baseline, on all images that it was asked about: the best so far may have been asked about fewer.
        """
        outcome = self.compared(tier, name, held)
        better = outcome.gain > by * outcome.standard_error and outcome.points >= 0
        against = self.judge.compare(tier.kind, name, held, self.baseline)
        sound = against.gain >= 0 and against.points >= 0
        self.record(outcome, "taken" if better and sound else _LOST if better else _LEFT)
        return better and sound

    def record(self, outcome: Outcome, verdict: str) -> None:
        self.outcomes.append(replace(outcome, verdict=verdict))
        self.around.say(
            f"{outcome.name}: log-loss {outcome.gain:+.3f} ± {outcome.standard_error:.3f} better, accuracy "
            f"{100 * outcome.points:+.1f} points on {outcome.images} images; {verdict}"
        )

    def take(self, *, recipe: Recipe, given: Material, probe: Probe, held: Held, finishing: float = 0.0) -> None:
        best = self.best
        best.recipe, best.given, best.probe, best.held, best.finishing = recipe, given, probe, held, finishing

    def left(self) -> float:
        """The seconds that are left to try things, with what the best so far will take kept back."""
        return self.around.left() - self.best.finishing

    def dearer(self) -> float:
        """How many times what an image costs by the recipe it costs by the best one: the tiers were planned for the
        recipe's backbone and size.
        """
        own = gmacs(self.asked)
        return gmacs(self.best.recipe) / own if own else 1.0

    def leave_out(self, tier: Tier, why: str) -> None:
        sentence = f"{named(tier, self.asked)} is not tried: {why}"
        self.reasons.append(sentence)
        self.around.say(sentence)
