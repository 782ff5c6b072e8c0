"""`auto`, straight down: each tier of the plan is tried in turn, and what does best on held-out images is chosen.

It knows nothing of bundles and of test images.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import assert_never

import numpy as np

from finetune.choose import heads
from finetune.choose.evidence import Held, Judge, Outcome
from finetune.choose.heads import Material, material
from finetune.choose.tuning import SHARES, Tuned, Watch, tuned
from finetune.data.catalog import Catalog
from finetune.errors import Diverged, Offline, OutOfResources, UsageError, WeightsError
from finetune.frozen.probe import Probe, Trial
from finetune.model.backbone import Backbone
from finetune.predict import Check
from finetune.recipe import backbones, planning
from finetune.recipe.cost import LAST_STAGE
from finetune.recipe.facts import Facts
from finetune.recipe.network import BackboneChoice, HeadChoice, Multilayer
from finetune.recipe.plan import Chosen, ChosenTrial, Tier
from finetune.recipe.schedule import Auto, LpFt
from finetune.recipe.schedule import Probe as ProbeSchedule
from finetune.recipe.schema import Recipe
from finetune.recipe.section import STAGES
from finetune.recipe.tiers import named
from finetune.train.boundary import needed
from finetune.train.setting import Setting

# the widest first: its pass computes what the others need
SEVERAL: tuple[tuple[str, ...], ...] = (("stage2", "stage3", "stage4"), ("stage3", "stage4"), ("stage3",))
BELOW_LAST = "stage3"
WARMING = 1.5  # times what is expected, that the first pass may take
CLEARLY = 2.0  # standard errors


@dataclass(frozen=True, eq=False)
class Found:
    """What came of a search: the choice, what was said of held-out images by it, and every outcome on the way."""

    chosen: Chosen
    held: Held
    outcomes: tuple[Outcome, ...]
    reasons: tuple[str, ...]
    probe: Probe


@dataclass(frozen=True)
class Surroundings:
    """What a search is given: how to get a backbone with its weights, the setting of a recipe with a backbone, how much
    time is left, and who watches.
    """

    network: Callable[[Recipe], Backbone]
    setting: Callable[[Recipe, Backbone], Setting]
    left: Callable[[], float]
    say: Callable[[str], None]
    watch: Watch
    check: Callable[[str], Check]


@dataclass
class _State:
    """The best so far."""

    recipe: Recipe
    network: Backbone
    given: Material
    probe: Probe
    held: Held
    candidate: int = 0
    viewed: tuple[Material, Probe] | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def search(recipe: Recipe, tiers: Sequence[Tier], catalog: Catalog, facts: Facts, around: Surroundings) -> Found:
    """Tries the tiers within the time that is left, and returns the best.

    The frozen head comes first and is the baseline: nothing ships that loses to what was best before it, in log-loss
    or in accuracy, on the images that both were asked about. A tier that makes the network costlier has to gain more
    than a standard error.
    """
    return _Search(recipe, catalog, facts, around).run(tiers)


class _Search:
    def __init__(self, recipe: Recipe, catalog: Catalog, facts: Facts, around: Surroundings) -> None:
        self.asked = recipe
        self.catalog = catalog
        self.facts = facts
        self.around = around

    def run(self, tiers: Sequence[Tier]) -> Found:
        begun = self.around.left()
        self.keeps = any(tier.kind == "last_stage" for tier in tiers)
        self.best = self._baseline()
        expected = tiers[0].seconds
        slower = max(1.0, (begun - self.around.left()) / (WARMING * expected)) if expected else 1.0
        for tier in tiers[1:]:
            dearer = 1.0 if tier.kind == "backbone" else self._dearer()
            needed = (tier.seconds or 0.0) * slower * dearer
            if needed > self.around.left():
                left = max(0, self.around.left())
                self._leave_out(tier, f"about {needed:.0f} s are needed and {left:.0f} s are left")
                continue
            try:
                self._try(tier)
            except (Diverged, OutOfResources, UsageError, WeightsError, Offline) as error:
                self._leave_out(tier, f"it fails: {str(error).splitlines()[0]}")
        best = self.best
        return Found(self._chosen(), best.held, tuple(best.outcomes), tuple(best.reasons), best.probe)

    def _baseline(self) -> _State:
        recipe = _as_probe(self.asked)
        network = self.around.network(recipe)
        given, probe = self._probe(recipe, network, views=1)
        self.judge = Judge(
            given.labels,
            given.groups,
            given.folds,
            given.class_weights if probe.balanced else np.ones(given.classes),
        )
        held = Held(probe.logits)
        state = _State(recipe, network, given, probe, held)
        outcome = self.judge.compare("frozen", "a head on the frozen features", held, held, verdict="the baseline")
        state.outcomes.append(outcome)
        self.around.say(
            f"{outcome.name} ({probe.trial.family}, {probe.trial.scaling}): accuracy {outcome.accuracy:.3f}, log-loss "
            f"{outcome.log_loss:.3f} on {outcome.images} images held out in turn"
        )
        return state

    def _try(self, tier: Tier) -> None:
        match tier.kind:
            case "backbone":
                self._backbone(tier)
            case "fit":
                self._fit(tier)
            case "stages":
                self._stages(tier)
            case "flip":
                self._flip(tier)
            case "views":
                self._views(tier)
            case "last_stage" | "all_stages":
                self._tune(tier)
            case "frozen":
                raise AssertionError("the baseline comes first, and once")
            case _:
                assert_never(tier.kind)

    def _backbone(self, tier: Tier) -> None:
        schedule = self.asked.schedule
        assert isinstance(schedule, Auto)
        choice = schedule.candidates[tier.candidate - 1]
        recipe = self.best.recipe.model_copy(update={"backbone": choice})
        network = self.around.network(recipe)
        given, probe = self._probe(recipe, network, views=1)
        costlier = _macs(choice) > _macs(self.best.recipe.backbone)
        if self._beats(tier, self._named(tier), Held(probe.logits), by=1.0 if costlier else 0.0):
            self._take(recipe=recipe, given=given, probe=probe, held=Held(probe.logits))
            self.best.network, self.best.candidate = network, tier.candidate

    def _fit(self, tier: Tier) -> None:
        assert tier.fit is not None
        images = self.best.recipe.images.model_copy(update={"fit": tier.fit})
        recipe = self.best.recipe.model_copy(update={"images": images})
        given, probe = self._probe(recipe, self.best.network, views=1)
        if self._beats(tier, named(tier), Held(probe.logits), by=1.0):
            self._take(recipe=recipe, given=given, probe=probe, held=Held(probe.logits))

    def _stages(self, tier: Tier) -> None:
        """Of several sets of stages the one with the least log-loss is put to the test."""
        tried = []
        for stages in SEVERAL:
            head = Multilayer(stages=stages)  # type: ignore[arg-type]
            recipe = _as_probe(self.best.recipe).model_copy(update={"head": head})
            tried.append((recipe, *self._probe(recipe, self.best.network, views=1)))
        recipe, given, probe = min(tried, key=lambda one: self.judge.log_loss(Held(one[2].logits)))
        if self._beats(tier, f"a head on {' + '.join(recipe.stages)}", Held(probe.logits), by=1.0):
            self._take(recipe=recipe, given=given, probe=probe, held=Held(probe.logits))

    def _flip(self, tier: Tier) -> None:
        """Whether mirror images still look like their class; where they do not, no view is mirrored."""
        best = self.best
        extractor = self.around.setting(best.recipe, best.network).extractor(best.network)
        mirrored = (
            2
            * extractor.pooled(
                self.catalog.samples, stages=best.recipe.stages, mirrored=True, check=self.around.check("mirror images")
            )[0]
        )
        mirrored -= best.given.features[0]  # the mean of both was kept
        scores = np.full_like(best.probe.logits, np.nan)
        for fold in np.unique(best.given.folds[best.given.folds >= 0]):
            inside = best.given.folds == fold
            scores[inside] = best.given.fitted_without(fold, best.probe).logits(mirrored[inside])
        outcome = self.judge.compare(tier.kind, "mirror images", Held(scores), Held(best.probe.logits))
        if outcome.gain < -CLEARLY * outcome.standard_error and outcome.points < 0:
            augment = best.recipe.images.augment.model_copy(update={"flip": False})
            images = best.recipe.images.model_copy(update={"augment": augment})
            best.recipe = best.recipe.model_copy(update={"images": images})
            self._record(outcome, "mirror images are taken for others: no view is mirrored")
        else:
            self._record(outcome, "mirror images look alike: views may be mirrored")

    def _views(self, tier: Tier) -> None:
        best = self.best
        recipe = best.recipe.model_copy(update={"train": best.recipe.train.model_copy(update={"views": tier.views})})
        if self.keeps and recipe.stages == ("stage4",):
            self._keep_maps(recipe, tier.views)
        given, probe = self._probe(recipe, best.network, views=tier.views, trials=heads.near(best.probe.trial))
        if recipe.stages == ("stage4",):
            best.viewed = given, probe
        if self._beats(tier, named(tier), Held(probe.logits)):
            self._take(recipe=recipe, given=given, probe=probe, held=Held(probe.logits))

    def _keep_maps(self, recipe: Recipe, views: int) -> None:
        """The pass that gives the features of all views also leaves what training the last stage begins from."""
        setting = self.around.setting(recipe, self.best.network)
        extractor, kept, size = (
            setting.extractor(self.best.network),
            recipe.train.activations,
            setting.preprocessing.size,
        )
        images = len(self.catalog)
        self.around.say(needed(self.best.network, BELOW_LAST, images=images, views=views, size=size, stored_as=kept))
        with contextlib.suppress(OutOfResources):  # said when that tier's turn comes
            extractor.activations(
                self.catalog.samples,
                stage=BELOW_LAST,
                views=views,
                stored_as=kept,
                also=("stage4",),
                check=self.around.check("features"),
            )

    def _tune(self, tier: Tier) -> None:
        """Trains in folds, as many as there is time for, and stops early where it is clear that nothing comes of it."""
        best = self.best
        recipe = self._tuning(tier)
        plan = planning.plan(recipe, self.facts)
        phase, views = plan.phases[0], plan.probe_views or 1
        given, probe = self._begun(views) or self._probe(recipe, best.network, views=views)
        folds = [int(fold) for fold in np.unique(given.folds[given.folds >= 0])]
        before = self.around.left()

        def enough(so_far: Tuned) -> bool:
            done = len(np.unique(given.folds[so_far.asked]))
            each = (before - self.around.left()) / done
            held, _ = self._best_share(so_far)
            outcome = self.judge.compare(tier.kind, "", held, best.held)
            hopeless = outcome.gain < -CLEARLY * outcome.standard_error
            return hopeless or done >= tier.folds or self.around.left() < each + self._whole(each, len(folds))

        found = tuned(
            best.network,
            given,
            probe,
            phase,
            setting=self.around.setting(recipe, best.network),
            folds=folds,
            watch=self.around.watch,
            check=self.around.check(named(tier)),
            enough=enough,
        )
        held, share = self._best_share(found)
        done = len(np.unique(given.folds[found.asked]))
        each = (before - self.around.left()) / done
        name = named(tier) if share == 1 else f"{named(tier)}, {share:g} of the way"
        if self._whole(each, len(folds)) > self.around.left():
            outcome = self.judge.compare(tier.kind, name, held, best.held)
            self._record(outcome, "there is no time left to train on all images")
        elif self._beats(tier, name, held):
            assert isinstance(recipe.schedule, LpFt)
            schedule = recipe.schedule.model_copy(update={"interpolate": share})
            self._take(recipe=recipe.model_copy(update={"schedule": schedule}), given=given, probe=probe, held=held)

    def _whole(self, each: float, folds: int) -> float:
        """The seconds to train on all images, where one fold without its own took `each`."""
        return each * folds / max(1, folds - 1) if folds > 1 else each * 1.25

    def _tuning(self, tier: Tier) -> Recipe:
        """The recipe that says what a tier does: the head it begins from is of the views that are written there."""
        best = self.best.recipe
        train = LAST_STAGE if tier.kind == "last_stage" else STAGES
        schedule = LpFt(train=train, epochs=tier.epochs, lr=tier.lr)
        views = tier.views if tier.kind == "last_stage" else len(self.best.given.features)
        written = best.train.model_copy(update={"views": views})
        return best.model_copy(update={"schedule": schedule, "head": None, "train": written})

    def _begun(self, views: int) -> tuple[Material, Probe] | None:
        """A probe of so many views with the head that every network has, if there is one."""
        best = self.best
        there = [best.viewed, (best.given, best.probe) if best.recipe.stages == ("stage4",) else None]
        return next((one for one in there if one and len(one[0].features) == views), None)

    def _best_share(self, found: Tuned) -> tuple[Held, float]:
        held = {share: self.judge.tempered(found.logits[share]) for share in SHARES}
        share = min(SHARES, key=lambda one: self.judge.log_loss(held[one]))
        return held[share], share

    def _probe(
        self, recipe: Recipe, network: Backbone, *, views: int, trials: Sequence[Trial] | None = None
    ) -> tuple[Material, Probe]:
        setting = self.around.setting(recipe, network)
        given = material(
            setting.extractor(network),
            self.catalog,
            stages=recipe.stages,
            views=views,
            seed=recipe.seed,
            check=self.around.check("features"),
        )
        threads = setting.runtime.threads
        check = self.around.check("heads")
        return given, heads.fit(given, head=recipe.head, threads=threads, trials=trials, check=check)

    def _beats(self, tier: Tier, name: str, held: Held, *, by: float = 0.0) -> bool:
        """Whether it gains more than `by` standard errors, and loses no accuracy, against the best so far."""
        outcome = self.judge.compare(tier.kind, name, held, self.best.held)
        better = outcome.gain > by * outcome.standard_error and outcome.points >= 0
        self._record(outcome, "taken" if better else "left: it does not do better on images it has not seen")
        return better

    def _record(self, outcome: Outcome, verdict: str) -> None:
        self.best.outcomes.append(replace(outcome, verdict=verdict))
        self.around.say(
            f"{outcome.name}: log-loss {outcome.gain:+.3f} ± {outcome.standard_error:.3f} better, accuracy "
            f"{100 * outcome.points:+.1f} points on {outcome.images} images; {verdict}"
        )

    def _dearer(self) -> float:
        """How many times the backbone of the recipe the best one costs: the tiers were planned for the recipe's."""
        own = _macs(self.asked.backbone)
        return _macs(self.best.recipe.backbone) / own if own else 1.0

    def _named(self, tier: Tier) -> str:
        return named(tier, self.asked)

    def _leave_out(self, tier: Tier, why: str) -> None:
        sentence = f"{self._named(tier)} is not tried: {why}"
        self.best.reasons.append(sentence)
        self.around.say(sentence)

    def _take(
        self,
        *,
        recipe: Recipe,
        given: Material,
        probe: Probe,
        held: Held,
    ) -> None:
        best = self.best
        best.recipe, best.given, best.probe, best.held = recipe, given, probe, held

    def _chosen(self) -> Chosen:
        recipe = self.best.recipe
        assert isinstance(recipe.schedule, ProbeSchedule | LpFt)
        return Chosen(
            candidate=self.best.candidate,
            fit=recipe.images.fit,
            flip=recipe.images.augment.flip,
            head=recipe.head,
            schedule=recipe.schedule,
            views=recipe.train.views,
            trial=ChosenTrial.model_validate(asdict(self.best.probe.trial)),
            temperature=self.best.held.temperature,
        )


def _as_probe(recipe: Recipe) -> Recipe:
    """The recipe of the frozen baseline."""
    head: HeadChoice | None = None
    return recipe.model_copy(
        update={
            "schedule": ProbeSchedule(),
            "head": head,
            "train": recipe.train.model_copy(update={"views": None}),
        }
    )


def _macs(choice: BackboneChoice) -> float:
    return float(backbones.entry(choice.name).macs or 0)
