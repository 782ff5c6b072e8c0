"""Bundles beside each other: what follows from their answers to the same images."""

import json
from pathlib import Path

import numpy as np
import pytest

from finetune.compare.comparison import LETTERS, Comparison, compare
from finetune.compare.side import METRICS, Calibration
from finetune.errors import BundleError, UsageError
from finetune.scores.reliability import calibration
from tests.compare.toys import CLASSES, RECIPE, answers, bundle

WORSE = range(0, 30, 2)


def compared(folder: Path, *wrongs: object, **changes: object) -> Comparison:
    """Bundles 1, 2, … that are wrong on these images."""
    folders = []
    for place, wrong in enumerate(wrongs, start=1):
        folders.append(bundle(folder / str(place), answers(120, wrong=wrong, **changes)).folder)  # type: ignore[arg-type]
    return compare(folders)


def test_a_classifier_that_is_better_on_the_same_images_is_said_to_be(tmp_path: Path) -> None:
    found = compared(tmp_path, WORSE, [1])
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.lost, pair.gained) == (0, 1, 1, 15)
    difference = pair.differences["accuracy"]
    assert difference["value"] == pytest.approx(14 / 120)
    assert 0 < difference["low"] < 14 / 120 < difference["high"] < 0.25
    assert pair.p == pair.p_holm == pytest.approx(2 * 17 / 2**16)
    assert pair.differs
    assert set(pair.differences) >= {"accuracy", *METRICS}
    assert pair.differences["log_loss"]["value"] < 0 < pair.differences["macro_f1"]["value"]
    assert len(pair.flips) == 16
    assert (found.part, found.images, found.groups, found.classes, found.metric) == (
        "test",
        120,
        None,
        CLASSES,
        "accuracy",
    )


def test_a_difference_is_that_of_the_scores_and_turns_with_the_order(tmp_path: Path) -> None:
    found = compared(tmp_path, WORSE, [1])
    turned = compare([side.bundle.folder for side in found.sides[::-1]])
    for name in ("accuracy", *METRICS):
        first, second = (side.scores[name]["value"] for side in found.sides)
        assert found.pairs[0].differences[name]["value"] == pytest.approx(second - first)
        assert turned.pairs[0].differences[name]["value"] == pytest.approx(first - second)
    rows = {row["class"]: row for row in found.pairs[0].per_class}
    for name in CLASSES:
        first, second = (side.per_class[name]["recall"]["value"] for side in found.sides)
        assert rows[name]["recall"]["value"] == pytest.approx(second - first)


def test_a_few_images_show_no_difference(tmp_path: Path) -> None:
    (pair,) = compared(tmp_path, [0, 5], [7]).pairs
    assert not pair.differs
    assert pair.p == 1.0
    assert pair.differences["accuracy"]["low"] < 0 < pair.differences["accuracy"]["high"]


def test_bundles_that_answer_alike_do_not_differ(tmp_path: Path) -> None:
    (pair,) = compared(tmp_path, [0, 5], [0, 5]).pairs
    assert (pair.lost, pair.gained, pair.flips, pair.differs) == (0, 0, (), False)
    assert pair.differences["accuracy"]["value"] == 0


def test_each_of_several_stands_beside_the_first_and_p_is_corrected(tmp_path: Path) -> None:
    found = compared(tmp_path, range(0, 18, 2), [1], range(6))
    assert [(pair.first, pair.second) for pair in found.pairs] == [(0, 1), (0, 2)]
    first, second = found.pairs
    assert first.p < second.p
    assert (first.p_holm, second.p_holm) == pytest.approx((min(1, 2 * first.p), max(second.p, 2 * first.p)))


def test_groups_are_kept_together(tmp_path: Path) -> None:
    groups = tuple(str(number // 10) for number in range(120))
    found = compared(tmp_path, WORSE, [1], groups=groups)
    assert found.groups == 12
    assert found.pairs[0].by_group
    alone = compared(tmp_path / "alone", WORSE, [1])
    widths = [
        one.pairs[0].differences["accuracy"]["high"] - one.pairs[0].differences["accuracy"]["low"]
        for one in (found, alone)
    ]
    assert widths[0] > widths[1]


def test_several_labels_are_compared_by_images_with_all_of_them_right(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).random((60, 3)) < 0.4
    logits = np.where(labels, 2, -2).astype(np.float32)
    worse = logits.copy()
    worse[:20, 1] *= -1
    thresholds = np.full(3, 0.5)
    given = answers(60, labels=labels, logits=logits, thresholds=thresholds)
    first = bundle(tmp_path / "1", given)
    second = bundle(tmp_path / "2", answers(60, labels=labels, logits=worse, thresholds=thresholds))
    found = compare([first.folder, second.folder])
    assert (found.metric, found.several) == ("subset_accuracy", True)
    assert found.pairs[0].differences["subset_accuracy"]["value"] == pytest.approx(-1 / 3)
    assert (found.pairs[0].lost, found.pairs[0].gained) == (20, 0)
    assert found.to_dict()["several_labels"] is True


def test_the_schema_is_stable_and_plain(tmp_path: Path) -> None:
    first = bundle(tmp_path / "1", answers(wrong=[0]))
    second = bundle(tmp_path / "2", answers(wrong=[1, 2]), recipe=RECIPE.replace("16", "32"))
    told = json.loads(json.dumps(compare([first.folder, second.folder]).to_dict(), allow_nan=False))
    assert told["schema"] == 1
    assert list(told) == [
        *("schema", "part", "images", "groups", "classes", "several_labels", "metric"),
        *("bundles", "pairs", "recipe"),
    ]
    assert list(told["bundles"][0]) == [
        *("letter", "folder", "name", "scores", "calibration", "learnt_from", "schedule", "tier", "backbone", "tag"),
        *("seconds", "memory_bytes", "device_memory_bytes", "model_bytes", "parameters"),
    ]
    assert told["bundles"][0]["memory_bytes"] == 1_234_000_000
    assert told["bundles"][0]["device_memory_bytes"] is None
    assert told["bundles"][1]["letter"] == "B"
    assert told["bundles"][1]["learnt_from"] == 200
    assert list(told["pairs"][0]) == [
        *(
            "first",
            "second",
            "differences",
            "lost",
            "gained",
            "p",
            "by_group",
            "p_holm",
            "differs",
            "per_class",
            "flips",
        ),
        "letters",
    ]
    assert list(told["pairs"][0]["flips"][0]) == ["key", "sha256", "gained", "labels", "answers", "sure"]
    assert told["recipe"] == [{"key": "train.batch_size", "values": [16, 32]}]


def test_what_metrics_say_of_confidence_goes_along_or_follows_from_the_answers(tmp_path: Path) -> None:
    made = [bundle(tmp_path / name, sealed=False) for name in ("1", "2", "3")]
    metrics = made[0].metrics
    metrics["test"]["calibration"] = {"ece": 0.04, "ece_band": [0.01, 0.05]}
    made[0].write_json("metrics.json", metrics)
    metrics["test"]["calibration"] = {"ece": 0.04}
    made[2].write_json("metrics.json", metrics)
    for one in made:
        one.seal()
    found = compare([made[0].folder, made[1].folder])
    assert found.to_dict()["bundles"][0]["calibration"] == {"ece": 0.04, "ece_band": [0.01, 0.05]}
    computed = calibration(found.sides[1].predictions)
    assert found.sides[1].calibration == Calibration(computed["ece"], tuple(computed["ece_band"]))
    with pytest.raises(BundleError, match="a calibration without its ece and ece_band"):
        compare([made[0].folder, made[2].folder])


def test_fewer_than_two_or_the_same_twice_is_no_comparison(tmp_path: Path) -> None:
    one = bundle(tmp_path / "1").folder
    with pytest.raises(UsageError, match="needs two bundles or more"):
        compare([one])
    with pytest.raises(UsageError, match="named twice"):
        compare([one, tmp_path / "x" / ".." / "1"])
    with pytest.raises(UsageError, match="at most 26"):
        compare([one] * (len(LETTERS) + 1))
