import numpy as np
import pytest

from finetune.errors import UsageError
from finetune.scores.predictions import Predictions
from finetune.scores.reliability import calibration, selective


def answered(n=400, *, seed=0, sharpness=1.0, groups=None):
    """Answers with one of two labels, drawn as their logits say; sharpness: how far logits exaggerate."""
    generator = np.random.default_rng(seed)
    honest = generator.normal(0, 2, n)
    labels = (generator.random(n) < 1 / (1 + np.exp(-honest))).astype(np.int64)
    logits = np.stack([np.zeros(n), sharpness * honest], axis=1).astype(np.float32)
    return Predictions(tuple(map(str, range(n))), logits, ("no", "yes"), labels, groups)


def test_probabilities_that_are_true_lie_within_the_band_and_exaggerated_ones_above():
    honest, exaggerated = calibration(answered()), calibration(answered(sharpness=3))
    assert honest["ece_band"][0] < honest["ece"] < honest["ece_band"][1]
    assert exaggerated["ece"] > exaggerated["ece_band"][1]


def test_the_band_holds_the_ece_of_calibrated_answers_about_as_often_as_it_says():
    inside = 0
    for seed in range(60):
        found = calibration(answered(200, seed=seed))
        inside += found["ece_band"][0] <= found["ece"] <= found["ece_band"][1]
    assert inside >= 53


def test_bins_hold_equal_numbers_of_images_and_their_own_means():
    predictions = answered(95)
    found = calibration(predictions)
    confidence = np.sort(predictions.probabilities.max(axis=1))
    assert [one["images"] for one in found["bins"]] == [24, 24, 23, 24]
    assert found["bins"][0]["confidence"] == pytest.approx(confidence[:24].mean())
    assert (found["bins"][-1]["low"], found["bins"][-1]["high"]) == (confidence[71], confidence[-1])
    gaps = [one["images"] * abs(one["accuracy"]["value"] - one["confidence"]) for one in found["bins"]]
    assert found["ece"] == pytest.approx(sum(gaps) / 95)


def test_what_the_temperature_changed_is_told():
    before = answered(sharpness=3)
    after = Predictions(before.keys, before.logits / 3, before.classes, before.labels)
    told = calibration(after, temperature=3.0, chosen_on="validation")["temperature"]
    assert (told["value"], told["chosen_on"]) == (3.0, "validation")
    assert told["before"]["log_loss"]["value"] == pytest.approx(
        calibration(before)["temperature"]["after"]["log_loss"]["value"], rel=1e-5
    )
    assert told["after"]["log_loss"]["value"] < told["before"]["log_loss"]["low"]


def test_the_copies_of_a_group_widen_the_band():
    once = answered(100)
    copied = Predictions(
        tuple(map(str, range(500))), np.repeat(once.logits, 5, axis=0), once.classes, np.repeat(once.labels, 5),
        tuple(np.repeat(np.arange(100), 5).astype(str).tolist()),
    )  # fmt: skip
    alone = Predictions(copied.keys, copied.logits, copied.classes, copied.labels)
    assert calibration(copied)["ece_band"][1] > 1.5 * calibration(alone)["ece_band"][1]
    bins = [calibration(one)["bins"][0]["accuracy"] for one in (copied, alone)]
    assert bins[0]["high"] - bins[0]["low"] > bins[1]["high"] - bins[1]["low"]


def test_of_several_labels_each_answer_counts():
    generator = np.random.default_rng(1)
    logits = generator.normal(0, 2, (80, 3)).astype(np.float32)
    labels = generator.random((80, 3)) < 1 / (1 + np.exp(-logits))
    found = calibration(Predictions(tuple(map(str, range(80))), logits, ("a", "b", "c"), labels))
    assert sum(one["images"] for one in found["bins"]) == 240
    assert found["ece"] < 0.2


def test_the_curve_goes_from_the_surest_to_all():
    found = selective(answered(250), None)
    assert len(found["coverage"]) == 100
    assert (found["coverage"][0], found["coverage"][-1]) == (1 / 250, 1)
    predictions = answered(250)
    assert found["risk"][-1] == pytest.approx((predictions.predicted != predictions.labels).mean())
    assert found["risk"][20] < found["risk"][-1]
    assert all("fewer than 20 images beside these" in one["reason"] for one in found["targets"])


def test_thresholds_are_chosen_on_other_images_and_measured_on_these():
    chooser, asked = answered(800, seed=1), answered(800, seed=2)
    found = selective(asked, chooser)["targets"]
    assert [one["accuracy"] for one in found] == [0.9, 0.95, 0.98, 0.99]
    one = found[0]
    above = chooser.probabilities.max(axis=1) >= one["threshold"]
    assert (chooser.predicted == chooser.labels)[above].mean() >= 0.9
    own = asked.probabilities.max(axis=1) >= one["threshold"]
    assert one["coverage"]["value"] == pytest.approx(own.mean())
    assert one["selective_accuracy"]["value"] == pytest.approx((asked.predicted == asked.labels)[own].mean())
    assert one["selective_accuracy"]["low"] < one["selective_accuracy"]["value"] < one["selective_accuracy"]["high"]


def test_a_target_out_of_reach_is_said_and_one_reached_by_all_is_not_asked():
    noise = answered(300, sharpness=-1)
    assert all("no threshold reaches it" in one["reason"] for one in selective(noise, noise)["targets"])
    perfect = answered(50)
    perfect = Predictions(perfect.keys, perfect.logits, perfect.classes, perfect.predicted)
    assert selective(perfect, perfect)["targets"] == []


def test_without_labels_there_is_nothing_to_compare():
    unlabelled = Predictions(("a",), np.zeros((1, 2), np.float32), ("x", "y"))
    with pytest.raises(UsageError, match="at least one labelled image"):
        calibration(unlabelled)


@pytest.mark.parametrize(("images", "scale"), [(153, 4.0), (300, 6.0)])
def test_a_bin_of_a_model_that_means_what_it_says_is_seldom_called_astray(images, scale):
    """Bins of 22 answers, one of which is wrong, look too sure one by one."""
    astray = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        logits = scale * generator.normal(size=(images, 2))
        chances = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
        labels = (generator.random(images) < chances).astype(np.int64)
        told = Predictions(tuple(map(str, range(images))), logits.astype(np.float32), ("a", "b"), labels)
        astray += any(one["p_holm"] <= 0.05 for one in calibration(told)["bins"])
    assert astray <= 7  # of 60; 3 are expected, and 8 or more once in sixty times


def test_a_bin_of_a_model_that_is_too_sure_is_called_astray():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(400, 2))
    chances = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    labels = (generator.random(400) < chances).astype(np.int64)
    told = Predictions(tuple(map(str, range(400))), (6 * logits).astype(np.float32), ("a", "b"), labels)
    assert sum(one["p_holm"] <= 0.05 for one in calibration(told)["bins"]) >= 3
