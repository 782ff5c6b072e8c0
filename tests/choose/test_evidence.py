import math

import numpy as np
import pytest

from finetune.choose.evidence import Held, Judge
from finetune.scores.calibration import temperature


def said(*shares: float) -> np.ndarray:
    """float32 (n, 2): logits by which the second class has these shares; NaN for an image that was not asked about."""
    return np.array([(0, math.log(p / (1 - p))) if p == p else (math.nan, math.nan) for p in shares], np.float32)


NOT_ASKED = math.nan


def judge(labels: list[int], *, groups: str | None = None, weights: tuple[float, float] = (1, 1)) -> Judge:
    names = tuple(groups) if groups else tuple(map(str, range(len(labels))))
    return Judge(np.array(labels), names, np.arange(len(labels)) % 2, np.array(weights))


def test_the_numbers_of_a_comparison_by_hand() -> None:
    held, before = Held(said(0.8, 0.8, 0.5, 0.4)), Held(said(0.5, 0.4, 0.5, 0.5))
    outcome = judge([1, 1, 1, 0]).compare("views", "a try", held, before, verdict="taken")
    losses = [-math.log(p) for p in (0.8, 0.8, 0.5, 0.6)]
    others = [-math.log(p) for p in (0.5, 0.4, 0.5, 0.5)]
    gains = np.subtract(others, losses)
    assert (outcome.kind, outcome.name, outcome.verdict, outcome.images) == ("views", "a try", "taken", 4)
    assert outcome.log_loss == pytest.approx(np.mean(losses), abs=1e-6)
    assert outcome.gain == pytest.approx(np.mean(gains), abs=1e-6)
    assert outcome.standard_error == pytest.approx(np.std(gains, ddof=1) / 2, abs=1e-6)
    # equal logits are the first class: right are 1, 1, 0, 1 and before 0, 0, 0, 1
    assert outcome.accuracy == 0.75
    assert outcome.points == 0.5


def test_a_loss_counts_against_it() -> None:
    outcome = judge([1, 1]).compare("views", "", Held(said(0.4, 0.6)), Held(said(0.8, 0.6)))
    assert outcome.gain == pytest.approx(-math.log(2) / 2, abs=1e-6)
    assert outcome.points == -0.5


def test_only_images_that_both_were_asked_about_count() -> None:
    held, before = Held(said(0.8, NOT_ASKED, 0.9, 0.7)), Held(said(0.5, 0.1, NOT_ASKED, 0.7))
    outcome = judge([1, 1, 1, 1]).compare("last_stage", "", held, before)
    assert outcome.images == 2
    assert outcome.log_loss == pytest.approx((-math.log(0.8) - math.log(0.7)) / 2, abs=1e-6)
    assert outcome.gain == pytest.approx(math.log(0.8 / 0.5) / 2, abs=1e-6)
    assert outcome.standard_error == pytest.approx(math.log(0.8 / 0.5) / 2, abs=1e-6)
    assert outcome.accuracy == 1
    assert outcome.points == 0.5
    assert held.asked.tolist() == [True, False, True, True]


def test_every_class_counts_as_its_weight_says() -> None:
    outcome = judge([1, 1, 1, 0], weights=(1.5, 0.5)).compare(
        "stages", "", Held(said(0.8, 0.8, 0.8, 0.6)), Held(said(0.5, 0.5, 0.5, 0.4))
    )
    assert outcome.log_loss == pytest.approx((-1.5 * math.log(0.8) - 1.5 * math.log(0.4)) / 3, abs=1e-6)
    gains = np.array([math.log(1.6)] * 3 + [math.log(0.4 / 0.6)])
    share = np.array([0.5, 0.5, 0.5, 1.5]) / 3
    mean = share @ gains
    assert outcome.gain == pytest.approx(mean, abs=1e-6)
    assert outcome.standard_error == pytest.approx(math.sqrt(4 / 3 * ((share * (gains - mean)) ** 2).sum()), abs=1e-6)
    assert outcome.accuracy == 0.5  # three of weight 0.5 right, one of weight 1.5 wrong
    assert outcome.points == 0  # three are gained, and one that weighs as much is lost


def test_images_of_a_group_are_one_piece_of_evidence() -> None:
    held, before = Held(said(*[0.8] * 6, *[0.5] * 6)), Held(said(*[0.5] * 12))
    alone = judge([1] * 12).compare("views", "", held, before)
    grouped = judge([1] * 12, groups="aaabbbcccddd").compare("views", "", held, before)
    assert grouped.gain == pytest.approx(alone.gain)
    gains = [math.log(1.6)] * 2 + [0.0] * 2
    assert grouped.standard_error == pytest.approx(np.std(gains, ddof=1) / 2, abs=1e-6)
    assert alone.standard_error == pytest.approx(np.std([gains[0]] * 6 + [0.0] * 6, ddof=1) / math.sqrt(12), abs=1e-6)
    assert grouped.standard_error > 1.5 * alone.standard_error


def test_against_itself_nothing_is_gained() -> None:
    held = Held(said(0.8, 0.3, 0.6))
    outcome = judge([1, 0, 1]).compare("frozen", "", held, held)
    assert (outcome.gain, outcome.standard_error, outcome.points) == (0, 0, 0)


def test_the_log_loss_is_that_of_the_images_asked_about() -> None:
    of = judge([1, 0, 1], weights=(2, 1))
    assert of.log_loss(Held(said(0.8, 0.6, NOT_ASKED))) == pytest.approx(
        (-math.log(0.8) - 2 * math.log(0.4)) / 3, abs=1e-6
    )


# tempering


def drawn(images: int = 40, *, far: float = 8.0) -> tuple[np.ndarray, Judge]:
    """Logits that are much too sure of themselves, three of four right, and their judge."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, images)
    says = np.where(generator.random(images) < 0.75, labels, 1 - labels)
    scores = np.zeros((images, 2), np.float32)
    scores[np.arange(images), says] = far + generator.normal(size=images)
    return scores, judge(labels.tolist())


def test_a_fold_is_divided_by_the_temperature_of_the_others() -> None:
    scores, of = drawn()
    held = of.tempered(scores)
    for fold in (0, 1):
        others = of.folds != fold
        heat = temperature(scores[others], of.labels[others], smoothing=1 / 42)
        assert np.allclose(held.logits[~others], scores[~others] / heat)
    assert held.temperature == pytest.approx(temperature(scores, of.labels, smoothing=1 / 42))
    assert held.temperature > 3
    assert of.log_loss(held) < of.log_loss(Held(scores))


def test_no_image_is_judged_by_what_its_own_label_set() -> None:
    scores, of = drawn()
    labels = of.labels.copy()
    labels[of.folds == 0] = 1 - labels[of.folds == 0]
    other = Judge(labels, of.groups, of.folds, of.class_weights)
    inside = of.folds == 0
    assert np.array_equal(of.tempered(scores).logits[inside], other.tempered(scores).logits[inside])
    assert not np.array_equal(of.tempered(scores).logits[~inside], other.tempered(scores).logits[~inside])


def test_folds_that_were_not_tried_stay_unasked_and_have_no_say() -> None:
    scores, of = drawn()
    part = scores.copy()
    part[of.folds == 1] = np.nan
    held = of.tempered(part)
    assert np.array_equal(held.asked, of.folds == 0)
    alone = temperature(scores[of.folds == 0], of.labels[of.folds == 0], smoothing=1 / 22)
    assert held.temperature == pytest.approx(alone)
    ratios = scores[of.folds == 0].max(axis=1) / held.logits[of.folds == 0].max(axis=1)
    assert len(set(np.round(ratios, 3))) == 2  # a fold alone is tempered in two halves, each by the other
    assert np.isnan(part[of.folds == 1]).all()


def test_what_it_is_given_stays_as_it_is() -> None:
    scores, of = drawn()
    before = scores.copy()
    of.tempered(scores)
    assert np.array_equal(scores, before)
