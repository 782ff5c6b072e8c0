from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from finetune.errors import UsageError
from finetune.scores.intervals import resampled_weights
from finetune.scores.predictions import Predictions
from finetune.scores.thresholds import FEWEST, Thresholds, choose


def said(logits, labels, *, groups=None):
    """Predictions of (n,) or (n, classes) logits and labels."""
    logits, labels = (np.asarray(one).reshape(len(labels), -1) for one in (logits, labels))
    names = tuple(f"label {place}" for place in range(labels.shape[1]))
    keys = tuple(map(str, range(len(labels))))
    return Predictions(keys, logits.astype(np.float32), names, labels.astype(np.bool_), groups)


def drawn(n=200, classes=3, *, seed=0, rounded=False, shift=0.0):
    generator = np.random.default_rng(seed)
    labels = generator.random((n, classes)) < 0.35
    logits = 1.5 * generator.normal(size=(n, classes)) + 2 * labels - 1 + shift
    return said(np.round(logits) if rounded else logits, labels)


def best_by_hand(probabilities, labels):
    """The highest F1 of any threshold, and of those that have it the ones that are tried."""
    values = np.unique(probabilities)
    tried = np.concatenate([[0.5, values[0] / 2], (values[:-1] + values[1:]) / 2])
    f1 = np.array([f1_score(labels, probabilities > one) for one in tried])
    return f1.max(), tried[np.isclose(f1, f1.max(), rtol=1e-12)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(25, 60), st.integers(0, 99), st.booleans(), st.floats(-3, 3))
def test_no_threshold_has_a_higher_f1_and_of_equals_it_is_the_nearest_to_a_half(n, seed, rounded, shift):
    predictions = drawn(n, 2, seed=seed, rounded=rounded, shift=shift)
    for place, found in enumerate(choose(predictions, resamples=3)):
        if found.low is None:
            continue
        probabilities, labels = predictions.probabilities[:, place], predictions.labels[:, place]
        best, equals = best_by_hand(probabilities, labels)
        assert f1_score(labels, probabilities > found.value) == pytest.approx(best, rel=1e-12)
        assert abs(found.value - 0.5) == pytest.approx(np.abs(equals - 0.5).min(), abs=1e-12)


def test_a_half_stays_where_nothing_is_better():
    labels = np.arange(40) % 2
    (found,) = choose(said(8 * labels - 4.0, labels))
    assert found.value == 0.5
    # no resample differs: the interval reaches as far as answers stay the same
    assert (found.low, found.high) == pytest.approx((1 / (1 + np.exp(4)), 1 / (1 + np.exp(-4))))
    assert (found.positives, found.reason) == (20, "")


def test_a_shift_of_all_logits_moves_the_threshold_with_them():
    before, after = (choose(drawn(shift=shift))[0] for shift in (0.0, 2.0))
    assert before.value < after.value
    assert after.low <= after.value <= after.high


@pytest.mark.parametrize("positives", [0, FEWEST - 1, FEWEST, 60 - FEWEST, 61 - FEWEST, 60])
def test_a_label_with_few_images_of_one_kind_keeps_a_half_and_says_why(positives):
    labels = np.arange(60) < positives
    (found,) = choose(said(np.linspace(-1, -3, 60), labels))
    enough = FEWEST <= positives <= 60 - FEWEST
    assert (found.low is None) == (not enough)
    assert bool(found.reason) == (not enough)
    assert enough == (found.value != 0.5)
    assert found.positives == positives


def test_groups_are_what_is_counted_and_resampled():
    predictions = drawn(120, 1)
    grouped = replace(predictions, groups=tuple(str(number // 10) for number in range(120)))
    assert choose(grouped)[0].value == choose(predictions)[0].value
    few = replace(predictions, groups=tuple(str(number % 9) for number in range(120)))
    assert choose(few)[0].reason.startswith("fewer than 10")


def test_the_interval_is_that_of_resamples_written_out_image_by_image():
    predictions = drawn(60, 1, seed=3)
    (found,) = choose(predictions, resamples=40)
    draws = []
    for weights in np.concatenate(list(resampled_weights(predictions, resamples=40))):
        rows = np.repeat(np.arange(60), weights.astype(int))
        probabilities, labels = predictions.probabilities[:, 0], predictions.labels[:, 0]
        values = np.unique(probabilities)
        cuts = np.concatenate([[values[0] / 2], (values[:-1] + values[1:]) / 2])
        cuts[np.flatnonzero(np.concatenate([[0.0], values[:-1]]) <= 0.5)[-1]] = 0.5
        f1 = np.array([f1_score(labels[rows], probabilities[rows] > one) for one in cuts])
        best = cuts[np.isclose(f1, f1.max(), rtol=1e-12)]
        draws.append(best[np.abs(best - 0.5).argmin()])
    low, high = np.percentile(draws, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((min(low, found.value), max(high, found.value)))


def test_the_interval_holds_the_threshold_of_the_population_about_as_often_as_it_says():
    (truth,) = choose(drawn(200_000, 1, seed=99), resamples=1)
    held = [
        one.low <= truth.value <= one.high
        for one in (choose(drawn(300, 1, seed=s), resamples=200)[0] for s in range(60))
    ]
    assert np.mean(held) > 0.85


def test_thresholds_of_a_task_are_chosen_on_the_first_part_there_is():
    validation, held_out = drawn(seed=1), drawn(seed=2)
    found = Thresholds.of({"validation": None, "out_of_fold": held_out}, classes=3)
    assert found.part == "out_of_fold"
    assert found.labels == choose(held_out)
    assert Thresholds.of({"validation": validation, "out_of_fold": held_out}, classes=3).part == "validation"
    rows = found.to_dict(held_out.classes)["per_class"]
    assert [row["class"] for row in rows] == list(held_out.classes)
    assert [row["value"] for row in rows] == list(found.values)
    applied = found.applied(held_out)
    assert np.array_equal(applied.predicted, held_out.probabilities > np.array(found.values))
    assert found.notes(held_out.classes) == ()


def test_without_any_part_all_keep_a_half_and_that_is_noted():
    nothing = Thresholds.of({"validation": None}, classes=2)
    assert (nothing.part, nothing.values) == ("", (0.5, 0.5))
    assert nothing.notes(("a", "b")) == ("all labels are answered above 0.5: no image was held out to choose it on",)
    few = Thresholds.of({"validation": drawn(12, 7)}, classes=7)
    expected = "labels answered above 0.5, for fewer than 10 images have them, or do not: a, b, c, d, e and 2 more"
    assert few.notes(tuple("abcdefg")) == (expected,)


def test_what_has_no_labels_of_that_kind_is_refused():
    single = Predictions(("0",), np.zeros((1, 2), np.float32), ("a", "b"), np.array([1]))
    for predictions in (single, replace(single, labels=None)):
        with pytest.raises(UsageError, match="labels, bool"):
            choose(predictions)
    with pytest.raises(UsageError, match="no predictions to choose thresholds on"):
        choose(Predictions((), np.zeros((0, 2), np.float32), ("a", "b"), np.zeros((0, 2), np.bool_)))
