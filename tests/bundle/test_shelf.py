"""What is said of the bundles in a folder."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.bundle import Bundle
from finetune.bundle.shelf import Row, asked, ordered, row, rows
from finetune.errors import BundleError
from finetune.scores.metrics import scores
from finetune.scores.predictions import Predictions

FACTS: dict[str, Any] = {
    "name": "toy",
    "classes": ["a", "b"],
    "preprocessing": {},
    "backbone": {"name": "resnet18", "tag": "a1_in1k"},
    "head": {},
    "images": {"train": 30},
}
RECIPE = "name: toy\nbackbone: {name: resnet50, tag: null}\nschedule: {kind: auto, budget: 1m}\n"


def answered(right: int, count: int = 20) -> Predictions:
    """So many of them right."""
    labels = np.arange(count) % 2
    said = np.where(np.arange(count) < right, labels, 1 - labels)
    keys = tuple(f"{number}.png" for number in range(count))
    return Predictions(keys, np.eye(2, dtype=np.float32)[said], ("a", "b"), labels)


def shelved(folder: Path, *, metrics: Any = None, sealed: bool = True, **files: Any) -> Bundle:
    """A bundle of these metrics; files by name without .json."""
    bundle = Bundle.create(folder)
    bundle.describe(FACTS)
    bundle.write("recipe.yaml", RECIPE.encode())
    if metrics is not None:
        bundle.write_json("metrics.json", metrics)
    for name, value in files.items():
        bundle.write_json(f"evidence/{name}.json", value)
    if sealed:
        bundle.seal()
    return bundle


def measured(right: int, part: str = "test") -> dict[str, Any]:
    return {part: scores(answered(right), resamples=20), "images": {part: 20}}


def test_a_row_says_how_good_on_which_images_and_how_it_learnt(tmp_path: Path) -> None:
    bundle = shelved(
        tmp_path / "toy" / "1",
        metrics=measured(18),
        choice=[
            {"kind": "frozen", "verdict": "the baseline"},
            {"kind": "views", "verdict": "taken"},
            {"kind": "last_stage", "verdict": "left"},
        ],
    )
    bundle.write(
        "timings.jsonl",
        b'{"part": "epoch 1", "seconds": 1.5, "memory": 800}\n'
        b'{"part": "evaluation", "seconds": 2, "memory": 300}\n',  # it was resumed
    )
    os.utime(bundle.folder / "bundle.json", (1e9, 1e9))
    found, damaged = rows(tmp_path)
    assert damaged == []
    assert found == [
        Row(
            place="toy/1",
            name="toy",
            finished=True,
            metric="accuracy",
            score=0.9,
            low=found[0].low,
            high=found[0].high,
            part="test",
            images=20,
            seconds=3.5,
            memory=800,
            device_memory=None,
            written=1e9,
            schedule="auto",
            tier="views",
            epochs=0,
            backbone="resnet18",
            tag="a1_in1k",
        )
    ]
    assert (found[0].low, found[0].high) == pytest.approx((0.699, 0.972), abs=0.001)
    assert json.loads(json.dumps(found[0].to_dict()))["score"] == 0.9


def test_without_test_images_the_validation_images_speak_then_those_held_out(tmp_path: Path) -> None:
    both = measured(12, "validation") | measured(14, "out_of_fold")
    assert row(shelved(tmp_path / "1", metrics=both).folder, "1").score == 0.6
    only = row(shelved(tmp_path / "2", metrics=measured(14, "out_of_fold")).folder, "2")
    assert (only.part, only.images, only.score) == ("out_of_fold", 20, 0.7)
    nothing = row(shelved(tmp_path / "3", metrics={"images": {}}).folder, "3")
    assert (nothing.part, nothing.images, nothing.score, nothing.finished) == (None, None, None, True)
    assert asked({"test": 1, "validation": 1}) == "test"


def test_every_image_held_out_in_folds_is_said_to_be(tmp_path: Path) -> None:
    bundle = shelved(tmp_path / "1", metrics=measured(10), sealed=False)
    bundle.seal({**FACTS, "images": {"train": 20, "folds": 3}})
    assert row(bundle.folder, "1").part == "folds"


def test_of_several_labels_the_share_with_all_of_them_right_is_the_score(tmp_path: Path) -> None:
    labels = np.array([[True, False], [True, True], [False, False], [False, True]])
    logits = np.where(labels, 1, -1).astype(np.float32)
    logits[0, 0] = -1
    several = scores(Predictions(("a", "b", "c", "d"), logits, ("a", "b"), labels), resamples=20)
    found = row(shelved(tmp_path / "1", metrics={"test": several}).folder, "1")
    assert (found.metric, found.score, found.images) == ("subset_accuracy", 0.75, 4)


def test_an_unfinished_run_is_a_row_with_what_its_recipe_says(tmp_path: Path) -> None:
    bundle = Bundle.create(tmp_path / "1")
    begun = row(bundle.folder, "1")
    assert (begun.finished, begun.name, begun.backbone, begun.schedule, begun.seconds) == (False, "", None, None, None)
    bundle.write("recipe.yaml", RECIPE.encode())
    bundle.write("history.jsonl", b'{"epoch": 1}\n{"epoch": 2}\n{"ep')
    found = row(bundle.folder, "1")
    assert (found.finished, found.epochs, found.backbone, found.score) == (False, 2, "resnet50", None)


def test_what_lies_within_a_bundle_or_is_hidden_is_no_bundle_of_the_shelf(tmp_path: Path) -> None:
    outer = shelved(tmp_path / "1", sealed=False)
    shelved(outer.folder / "checkpoints" / "folds" / "1")
    shelved(tmp_path / ".kept" / "1")
    assert [one.place for one in rows(tmp_path)[0]] == ["1"]
    assert [one.place for one in rows(outer.folder)[0]] == ["1"]


def test_rows_are_ordered_by_what_is_asked_and_the_unknown_come_last(tmp_path: Path) -> None:
    for name, right, seconds, written in (("9", 12, "5", 3), ("10", 18, "7", 1), ("2", 15, "6", 2)):
        bundle = shelved(tmp_path / name, metrics=measured(right))
        bundle.write("timings.jsonl", f'{{"part": "all", "seconds": {seconds}}}\n'.encode())
        os.utime(bundle.folder / "bundle.json", (written, written))
    os.utime(shelved(tmp_path / "11", sealed=False).folder / "bundle.json", (0, 0))
    found, _ = rows(tmp_path)
    assert [one.place for one in found] == ["2", "9", "10", "11"]
    assert [one.place for one in ordered(found, "score")] == ["10", "2", "9", "11"]
    assert [one.place for one in ordered(found, "time")] == ["9", "2", "10", "11"]
    assert [one.place for one in ordered(found, "date")] == ["9", "2", "10", "11"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("metrics.json", b"[]", "is not a JSON object"),
        ("metrics.json", b'{"test": 3}', "test has no accuracy with its interval"),
        ("metrics.json", b'{"test": {"accuracy": {"value": true, "low": 0, "high": 1}}}', "test has no accuracy"),
        ("metrics.json", b'{"test": {"accuracy": {"value": 7, "low": 0, "high": 1}}}', "test has no accuracy"),
        (
            "metrics.json",
            b'{"test": {"accuracy": {"value": 1, "low": 0, "high": 1}}}',
            "test does not say how many images it counts",
        ),
        ("timings.jsonl", b'{"part": "x", "seconds": "long"}\n', "seconds must be numbers"),
        ("timings.jsonl", b'{"part": "x", "seconds": 1, "memory": "much"}\n', "memory must be a number of bytes"),
        ("timings.jsonl", b'{"part": "x", "seconds": 1, "device_memory": -1}\n', "device_memory must be a number"),
        ("recipe.yaml", b"name: [", "recipe.yaml"),
        ("evidence/choice.json", b'{"a": 1}', "is not a list of objects"),
    ],
)
def test_a_damaged_bundle_is_named_with_the_reason_beside_the_others(
    name: str, data: bytes, said: str, tmp_path: Path
) -> None:
    shelved(tmp_path / "1", metrics=measured(12))
    bad = shelved(tmp_path / "2", sealed=False)
    bad.write(name, data)
    bad.seal()
    found, damaged = rows(tmp_path)
    assert [one.place for one in found] == ["1"]
    assert [one.place for one in damaged] == ["2"]
    assert said in damaged[0].reason
    with pytest.raises(BundleError, match="2"):
        row(bad.folder, "2")
