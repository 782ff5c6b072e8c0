from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from finetune.choose import heads, tuning
from finetune.choose.heads import Material
from finetune.choose.tuning import SHARES, Tuned, tuned
from finetune.data.store import Store
from finetune.data.survey import find, survey
from finetune.errors import Diverged, UsageError
from finetune.frozen.families import Trial
from finetune.frozen.probe import Probe
from finetune.model import backbone
from finetune.model.backbone import Backbone
from finetune.model.classifier import Classifier
from finetune.predict import evaluate
from finetune.recipe import file
from finetune.recipe.network import Linear
from finetune.recipe.plan import Phase, Plan
from finetune.recipe.section import STAGES
from finetune.runtime import start
from finetune.train.loop import Epoch, Step, Training, fit
from finetune.train.setting import Setting
from finetune.train.settle import between
from tests.conftest import draw_alike

Write = Callable[..., Path]
LAST = Phase(("stage4", "head"), 2, 1e-2, 1.0, "batch", 2)
ALL = Phase(STAGES, 2, 1e-2, 1.0, "batch")


@dataclass
class Tried:
    """What is needed to tune in folds, and a short way to do so."""

    network: Backbone
    given: Material
    probe: Probe
    setting: Setting

    def __call__(self, phase: Phase, folds: tuple[int, ...] = (0,), **changed: object) -> Tuned:
        settled = {"watch": lambda event: None, "enough": lambda so_far: False, "given": self.given, **changed}
        given = settled.pop("given")
        return tuned(self.network, given, self.probe, phase, setting=self.setting, folds=folds, **settled)  # type: ignore[arg-type]


@pytest.fixture
def tried(tmp_path: Path, write_recipe: Write) -> Iterator[Tried]:
    photos = draw_alike(tmp_path / "photos", {"blue": 12, "green": 12, "red": 12})
    recipe = file.load(write_recipe(photos, schedule="probe"))
    surveyed = survey(recipe, find(recipe))
    network = backbone.build("test_resnet", size=32)
    with Store.open(tmp_path / "kept") as store:
        setting = Setting.of(
            recipe, surveyed.split, Plan((), ()), network=network, runtime=start("float32"), store=store
        )
        given = heads.material(
            setting.extractor(network), setting.split.train, stages=("stage4",), views=2, seed=recipe.seed
        )
        probe = heads.fit(given, head=Linear(), threads=1, trials=[Trial("logistic", "raw", 0.1)])
        yield Tried(network, given, probe, setting)


def tensors(network: Backbone) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.module.state_dict().items()}


def assert_as_before(network: Backbone, before: dict[str, Tensor]) -> None:
    now = network.module.state_dict()
    assert [name for name in before if not torch.equal(now[name], before[name])] == []


# the network afterwards


@pytest.mark.parametrize("phase", [LAST, ALL], ids=["last stage", "all stages"])
def test_the_network_is_bit_for_bit_as_it_was(phase: Phase, tried: Tried) -> None:
    before = tensors(tried.network)
    moved = []

    def watch(event: Step | Epoch) -> None:
        now = tried.network.module.state_dict()
        moved.append(any(not torch.equal(now[name], before[name]) for name in before))

    tried(phase, folds=(0, 1), watch=watch)
    assert any(moved)
    assert_as_before(tried.network, before)


class Interrupted(BaseException):
    """Nothing in the package catches it."""


@pytest.mark.parametrize("after", [1, 4])
def test_the_network_is_as_it_was_when_it_is_interrupted(after: int, tried: Tried) -> None:
    before, seen = tensors(tried.network), list[Step | Epoch]()

    def watch(event: Step | Epoch) -> None:
        seen.append(event)
        if len(seen) == after:
            raise Interrupted

    with pytest.raises(Interrupted):
        tried(ALL, watch=watch)
    assert_as_before(tried.network, before)


def test_the_network_is_as_it_was_when_it_is_stopped_between_batches(tried: Tried) -> None:
    before = tensors(tried.network)

    def check(done: int, total: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        tried(LAST, check=check)
    assert_as_before(tried.network, before)


# what a fold may not know


def relabelled(given: Material, inside: np.ndarray) -> Material:
    """Other labels for some images, in the catalog too."""
    classes = given.catalog.classes
    labels = np.where(inside, (given.labels + 1) % len(classes), given.labels)
    samples = tuple(
        replace(sample, label=classes[label]) for sample, label in zip(given.catalog.samples, labels, strict=True)
    )
    return replace(given, catalog=replace(given.catalog, samples=samples), labels=labels)


@pytest.mark.parametrize("phase", [LAST, ALL], ids=["last stage", "all stages"])
def test_the_labels_of_a_fold_have_no_say_in_what_is_said_of_it(phase: Phase, tried: Tried) -> None:
    inside = tried.given.folds == 1
    found = tried(phase, folds=(1,))
    blind = tried(phase, folds=(1,), given=relabelled(tried.given, inside))
    for share in SHARES:
        assert np.array_equal(found.logits[share][inside], blind.logits[share][inside])
    others = tried(phase, folds=(1,), given=relabelled(tried.given, tried.given.folds == 0))
    assert not np.array_equal(found.logits[1.0][inside], others.logits[1.0][inside])


@pytest.mark.parametrize("phase", [LAST, ALL], ids=["last stage", "all stages"])
def test_the_images_of_a_fold_are_never_trained_on(phase: Phase, tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Training] = []

    def spy(training: Training, **others: object) -> Iterator[Step | Epoch]:
        runs.append(training)
        yield from fit(training, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(tuning, "fit", spy)
    tried(phase, folds=(0, 2))
    catalog = tried.given.catalog
    for run, fold in zip(runs, (0, 2), strict=True):
        held = {sample.key for sample, own in zip(catalog.samples, tried.given.folds, strict=True) if own == fold}
        assert set(run.setting.split.train.keys) == set(catalog.keys) - held
        assert len(run.setting.split.validation) == len(run.setting.split.test) == 0


# what it says


def test_only_the_folds_that_were_tried_are_answered(tried: Tried) -> None:
    found = tried(LAST, folds=(2, 0))
    assert np.array_equal(found.asked, np.isin(tried.given.folds, (0, 2)))
    for share in SHARES:
        rows = found.logits[share]
        assert rows.dtype == np.float32
        assert np.isfinite(rows[found.asked]).all()
        assert np.isnan(rows[~found.asked]).all()
    assert not np.array_equal(found.logits[0.25][found.asked], found.logits[1.0][found.asked])


def test_it_stops_after_the_fold_that_is_enough(tried: Tried) -> None:
    seen = []

    def enough(so_far: Tuned) -> bool:
        seen.append(sorted(set(tried.given.folds[so_far.asked].tolist())))
        return len(seen) == 2

    found = tried(LAST, folds=(0, 1, 2), enough=enough)
    assert seen == [[0], [0, 1]]
    assert np.array_equal(found.asked, np.isin(tried.given.folds, (0, 1)))


def test_a_fold_does_not_depend_on_the_one_before(tried: Tried) -> None:
    alone, after = tried(ALL, folds=(1,)), tried(ALL, folds=(0, 1))
    inside = tried.given.folds == 1
    assert np.array_equal(alone.logits[1.0][inside], after.logits[1.0][inside])


def test_it_says_what_training_by_hand_would_say(tried: Tried) -> None:
    """All stages from the head without the fold, half of the way, by the plain evaluation of the images left out."""
    inside = tried.given.folds == 0
    expected = tried(ALL).logits[0.5][inside]
    setting, catalog = tried.setting, tried.given.catalog
    learnt, asked = (catalog.select(np.flatnonzero(places)) for places in (~inside, inside))
    split = replace(setting.split, train=learnt, validation=catalog.select([]), test=catalog.select([]))
    head = heads.module(tried.given.fitted_without(0, tried.probe))
    run = Training(
        Classifier(tried.network, head, setting.preprocessing), replace(setting, split=split, plan=Plan((ALL,), ()))
    )
    begun = run.trained
    list(fit(run))
    run.classifier.load_state_dict(between(begun, run.trained, 0.5))
    said = evaluate(run.classifier, asked, preprocessing=setting.preprocessing, runtime=setting.runtime)
    assert np.array_equal(said.logits, expected)


def test_every_step_can_be_watched(tried: Tried) -> None:
    seen: list[Step | Epoch] = []
    tried(LAST, watch=seen.append)
    assert [event.epoch for event in seen if isinstance(event, Epoch)] == [1, 2]
    steps = [event for event in seen if isinstance(event, Step)]
    assert len(steps) == 2 * steps[0].steps > 2


def test_what_diverges_is_an_error_and_leaves_the_network_alone(tried: Tried) -> None:
    before = tensors(tried.network)
    broken = replace(tried.probe, temperature=0.0)  # its head is infinite
    with pytest.raises(Diverged), np.errstate(all="ignore"):
        replace(tried, probe=broken)(LAST)
    assert_as_before(tried.network, before)


def test_answers_that_are_not_finite_are_an_error_and_leave_the_network_alone(tried: Tried) -> None:
    before = tensors(tried.network)

    def watch(event: Step | Epoch) -> None:
        if isinstance(event, Epoch) and event.epoch == ALL.epochs:
            with torch.no_grad():
                next(iter(tried.network.module.parameters())).fill_(torch.nan)

    with pytest.raises(UsageError, match="logits must be finite"):
        tried(ALL, watch=watch)
    assert_as_before(tried.network, before)
