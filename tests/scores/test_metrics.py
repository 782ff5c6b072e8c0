import json
import os
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
import sklearn.metrics as reference

from finetune.errors import UsageError
from finetune.scores.intervals import resampled_share, resampled_weights
from finetune.scores.metrics import NEVER_PREDICTED, NO_IMAGES, NO_LABELS, ONE_KIND, accuracy, log_loss, scores, wilson
from finetune.scores.predictions import Predictions


def single(n=200, classes=7, *, seed=0, signal=1.5, groups=None, rounded=False):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    logits = generator.normal(size=(n, classes))
    logits[np.arange(n), labels] += signal
    if rounded:
        logits = np.round(logits)  # many ties
    names = tuple(f"class {i}" for i in range(classes))
    return Predictions(tuple(map(str, range(n))), logits.astype(np.float32), names, labels, groups)


def several(n=200, classes=5, *, seed=0, rounded=False):
    generator = np.random.default_rng(seed)
    labels = generator.random((n, classes)) < np.linspace(0.1, 0.7, classes)
    logits = generator.normal(size=(n, classes)) + 2 * labels - 1
    names = tuple(f"label {i}" for i in range(classes))
    rounded_or_not = (np.round(logits) if rounded else logits).astype(np.float32)
    return Predictions(tuple(map(str, range(n))), rounded_or_not, names, labels)


def taken(predictions, chosen):
    return Predictions(
        tuple(map(str, range(len(chosen)))),
        predictions.logits[chosen],
        predictions.classes,
        predictions.labels[chosen],
    )


def leaves(value):
    if isinstance(value, dict) and "value" in value:
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)


def test_scores_of_one_label_agree_with_scikit_learn():
    predictions = single()
    labels, predicted, probabilities = predictions.labels, predictions.predicted, predictions.probabilities
    found = scores(predictions, resamples=10)
    assert found["accuracy"]["value"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found["balanced_accuracy"]["value"] == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert found["macro_f1"]["value"] == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert found["log_loss"]["value"] == pytest.approx(reference.log_loss(labels, probabilities))
    assert found["brier"]["value"] == pytest.approx(reference.brier_score_loss(labels, probabilities, labels=range(7)))
    assert found["confusion"] == reference.confusion_matrix(labels, predicted).tolist()
    for k in (1, 3, 5):
        expected = reference.top_k_accuracy_score(labels, probabilities, k=k)
        assert found["top_k"][str(k)]["value"] == pytest.approx(expected)
    parts = reference.precision_recall_fscore_support(labels, predicted)
    for i, row in enumerate(found["per_class"]):
        assert row["class"] == f"class {i}"
        expected = [part[i] for part in parts]
        assert [row["precision"]["value"], row["recall"]["value"], row["f1"]["value"], row["support"]] == pytest.approx(
            expected
        )


@pytest.mark.parametrize("rounded", [False, True])
def test_scores_of_several_labels_agree_with_scikit_learn(rounded):
    predictions = several(rounded=rounded)
    labels, probabilities = predictions.labels, predictions.probabilities
    predicted = predictions.logits > 0
    found = scores(predictions, resamples=10)
    assert found["subset_accuracy"]["value"] == pytest.approx(reference.accuracy_score(labels, predicted))
    for kind in ("macro", "micro"):
        assert found[f"{kind}_f1"]["value"] == pytest.approx(reference.f1_score(labels, predicted, average=kind))
    assert found["macro_auroc"]["value"] == pytest.approx(reference.roc_auc_score(labels, predictions.logits))
    average_precision = reference.average_precision_score(labels, predictions.logits)
    assert found["macro_average_precision"]["value"] == pytest.approx(average_precision)
    losses = [reference.log_loss(labels[:, i], probabilities[:, i]) for i in range(5)]
    assert found["log_loss"]["value"] == pytest.approx(np.mean(losses))
    assert found["brier"]["value"] == pytest.approx(np.mean((labels - probabilities) ** 2))
    assert "confusion" not in found
    for i, row in enumerate(found["per_class"]):
        assert row["f1"]["value"] == pytest.approx(reference.f1_score(labels[:, i], predicted[:, i]))
        assert row["auroc"]["value"] == pytest.approx(reference.roc_auc_score(labels[:, i], predictions.logits[:, i]))
        assert row["support"] == labels[:, i].sum()


@pytest.mark.parametrize("predictions", [single(40, 6, rounded=True), several(40, rounded=True)])
def test_intervals_are_those_of_resamples_written_out_image_by_image(predictions):
    # the bootstrap counts images instead of copying them; ties and classes absent from a resample included
    others = {"accuracy", "subset_accuracy", "top_k", "per_class", "confusion", "errors", "log_loss", "brier"}
    names = set(scores(predictions, resamples=2)) - others
    draws = {name: [] for name in names}
    for weights in np.concatenate(list(resampled_weights(predictions, resamples=25))):
        drawn = scores(taken(predictions, np.repeat(np.arange(40), weights.astype(int))), resamples=1)
        for name in names:
            draws[name].append(drawn[name]["value"])
    found = scores(predictions, resamples=25)
    for name in names:
        value = found[name]["value"]
        expected = resampled_share(value, np.array(draws[name]), units=40, n=40)
        assert (found[name]["low"], found[name]["high"]) == pytest.approx(expected)


def test_every_score_lies_in_its_interval_and_everything_is_json():
    for predictions in (single(), several(), single(groups=tuple("ABCD" * 50)), single(12, 7), single(1), several(1)):
        found = scores(predictions, resamples=50)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        for score in leaves(found):
            if score["value"] is None:
                assert score["reason"]
            elif score["low"] is not None:
                assert score["low"] <= score["value"] <= score["high"]


def test_proportions_have_wilsons_interval():
    predictions = single()
    found = scores(predictions, resamples=10)
    right = int((predictions.predicted == predictions.labels).sum())
    accuracy = found["accuracy"]
    assert (accuracy["low"], accuracy["high"]) == pytest.approx(wilson(right, 200))
    assert found["top_k"]["1"] == accuracy
    row = found["per_class"][2]
    hits, named = found["confusion"][2][2], sum(line[2] for line in found["confusion"])
    assert (row["recall"]["low"], row["recall"]["high"]) == pytest.approx(wilson(hits, row["support"]))
    assert (row["precision"]["low"], row["precision"]["high"]) == pytest.approx(wilson(hits, named))


def test_scores_that_are_perfect_do_not_claim_to_be_certain():
    labels = np.arange(36) % 3
    logits = np.eye(3, dtype=np.float32)[labels] * 9
    found = scores(Predictions(tuple(map(str, range(36))), logits, ("a", "b", "c"), labels))
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert found[name]["value"] == 1.0
        assert (found[name]["low"], found[name]["high"]) == pytest.approx(wilson(36, 36))
    f1 = found["per_class"][0]["f1"]
    assert (f1["low"], f1["high"]) == pytest.approx(wilson(12, 12))


def test_groups_that_are_all_right_are_as_sure_as_their_number():
    labels = np.zeros(60, dtype=np.int64)
    logits = np.tile(np.array([1, 0], np.float32), (60, 1))
    groups = tuple(str(i // 10) for i in range(60))
    found = scores(Predictions(tuple(map(str, range(60))), logits, ("a", "b"), labels, groups))
    assert (found["accuracy"]["low"], found["accuracy"]["high"]) == pytest.approx(wilson(6, 6))


def test_a_single_image_has_losses_without_an_interval():
    found = scores(single(1))
    assert found["log_loss"]["value"] > 0
    assert found["log_loss"]["low"] is None
    assert found["log_loss"]["high"] is None


def test_a_class_without_images_says_so_and_is_left_out_of_the_means():
    labels = np.array([0, 0, 1, 1])
    logits = np.array([[9, 0, 0, 0], [0, 9, 0, 0], [0, 9, 0, 0], [0, 0, 9, 0]], dtype=np.float32)
    found = scores(Predictions(tuple("abcd"), logits, ("p", "q", "r", "s"), labels))
    assert found["balanced_accuracy"]["value"] == pytest.approx(0.5)
    assert found["macro_f1"]["value"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    r, s = found["per_class"][2:]
    assert r["recall"] == {"value": None, "low": None, "high": None, "reason": NO_IMAGES}
    assert r["f1"]["reason"] == NO_IMAGES
    assert r["precision"]["value"] == 0.0
    assert s["precision"]["reason"] == NEVER_PREDICTED
    assert s["support"] == 0


def test_a_label_that_no_image_has_leaves_its_areas_undefined():
    labels = np.array([[True, False, True], [False, False, True]])
    logits = np.array([[1, -1, 1], [-1, -1, 1]], dtype=np.float32)
    found = scores(Predictions(("x", "y"), logits, ("p", "q", "r"), labels))
    p, q, r = found["per_class"]
    assert p["auroc"]["value"] == p["average_precision"]["value"] == 1.0
    assert p["auroc"]["low"] < 0.5
    assert q["auroc"]["reason"] == r["auroc"]["reason"] == ONE_KIND
    assert q["f1"]["reason"] == NO_IMAGES
    nothing = scores(Predictions(("x", "y"), -np.abs(logits), ("p", "q", "r"), np.zeros((2, 3), bool)))
    assert nothing["macro_f1"]["reason"] == nothing["micro_f1"]["reason"] == NO_LABELS


@pytest.mark.parametrize("predictions", [single(), several()])
def test_accuracy_and_loss_alone_are_those_of_all_the_scores(predictions):
    found = scores(predictions, resamples=1)
    right = found.get("accuracy") or found["subset_accuracy"]
    assert accuracy(predictions) == pytest.approx(right["value"], abs=1e-12)
    assert log_loss(predictions) == pytest.approx(found["log_loss"]["value"], abs=1e-12)


def test_top_k_stops_below_the_number_of_classes():
    assert list(scores(single(classes=2), resamples=2)["top_k"]) == ["1"]
    assert list(scores(single(classes=3), resamples=2)["top_k"]) == ["1"]
    assert list(scores(single(classes=4), resamples=2)["top_k"]) == ["1", "3"]


def test_equal_predictions_have_equal_scores_and_others_do_not():
    assert scores(single()) == scores(single())
    assert scores(single(seed=1))["macro_f1"] != scores(single())["macro_f1"]


@pytest.mark.parametrize(
    ("predictions", "resamples", "message"),
    [
        (Predictions(("a",), np.zeros((1, 2), np.float32), ("p", "q")), 10, "predictions without labels"),
        (Predictions((), np.zeros((0, 2), np.float32), ("p", "q"), np.zeros(0, np.int64)), 10, "at least one image"),
        (single(3), 0, "resamples must be at least 1, but is 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(predictions, resamples, message):
    with pytest.raises(UsageError, match=message):
        scores(predictions, resamples=resamples)


def coverage(truth, draw, *, runs, name, resamples=200):
    """The share of simulated test sets whose interval holds the truth."""
    held = 0
    for seed in range(runs):
        score = scores(draw(seed), resamples=resamples)[name]
        held += score["low"] <= truth <= score["high"]
    return held / runs


def test_the_interval_of_accuracy_holds_the_truth_in_95_of_100_test_sets():
    def draw(seed, n=60):
        generator = np.random.default_rng(seed)
        labels = generator.integers(0, 2, n)
        shown = np.where(generator.random(n) < 0.9, labels, 1 - labels)
        return Predictions(tuple(map(str, range(n))), np.eye(2, dtype=np.float32)[shown], ("a", "b"), labels)

    assert 0.92 <= coverage(0.9, draw, runs=600, name="accuracy", resamples=1) <= 0.98


def test_intervals_of_bursts_hold_the_truth_only_when_resampled_by_group():
    def draw(seed, *, grouped, scenes=60, burst=4):
        generator = np.random.default_rng(seed)
        right = np.repeat(generator.random(scenes), burst) < 0.8  # a scene is right or wrong as a whole
        labels = np.zeros(scenes * burst, dtype=np.int64)
        logits = np.eye(2, dtype=np.float32)[np.where(right, 0, 1)]
        groups = tuple(str(i // burst) for i in range(len(labels))) if grouped else None
        return Predictions(tuple(map(str, range(len(labels)))), logits, ("a", "b"), labels, groups)

    assert coverage(0.8, lambda seed: draw(seed, grouped=False), runs=300, name="accuracy", resamples=1) < 0.85
    assert coverage(0.8, lambda seed: draw(seed, grouped=True), runs=300, name="accuracy") > 0.9


def test_5000_images_of_100_classes_take_seconds_and_megabytes():
    predictions = single(5000, 100, signal=3)
    tracemalloc.start()
    started = time.perf_counter()
    scores(predictions)
    seconds, peak = time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 10
    assert peak < 2**30


def test_scores_need_neither_torch_nor_scikit_learn():
    code = "import sys, finetune.scores.metrics; assert not {'torch', 'sklearn', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
