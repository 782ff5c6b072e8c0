"""The same images asked of several bundles, whatever their names and order, and how test sets differ."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.compare.same import aligned
from finetune.compare.side import Side, read
from finetune.errors import UsageError
from tests.compare.toys import CLASSES, answers, bundle, digest


def side(folder: Path, predictions: Any = None, **changes: Any) -> Side:
    return read(bundle(folder, predictions, **changes).folder)


def refusal(*sides: Side) -> str:
    with pytest.raises(UsageError) as caught:
        aligned(sides)
    return str(caught.value)


def test_images_are_the_same_by_their_bytes_and_classes_by_their_names(tmp_path: Path) -> None:
    given = answers(wrong=[0, 7])
    first = side(tmp_path / "1", given)
    shuffled = np.random.default_rng(0).permutation(60)
    columns = [2, 0, 1]
    assert given.labels is not None
    other = answers(
        keys=tuple(f"elsewhere/{given.keys[place]}" for place in shuffled),
        logits=given.logits[shuffled][:, columns],
        classes=tuple(CLASSES[column] for column in columns),
        labels=np.argsort(columns)[given.labels[shuffled]],
    )
    second = side(tmp_path / "2", other, hashes=[digest(given.keys[place]) for place in shuffled])
    here, there = aligned([first, second])
    assert here.keys == there.keys == given.keys
    assert there.classes == CLASSES
    assert np.array_equal(there.logits, given.logits)
    assert there.labels is not None
    assert np.array_equal(there.labels, given.labels)
    assert here.groups is None


def test_copies_count_as_often_as_they_are_there(tmp_path: Path) -> None:
    given = answers(6)
    twice = [digest("x") if place in (0, 3) else digest(key) for place, key in enumerate(given.keys)]
    first = side(tmp_path / "1", given, hashes=twice)
    assert len(aligned([first, side(tmp_path / "2", given, hashes=twice)])) == 2
    said = refusal(first, side(tmp_path / "3", given))
    assert "of 6 images of" in said
    assert "4 are in both, 2 only in the first and 2 only in the second" in said


def test_copies_under_two_labels_meet_the_copy_with_their_label(tmp_path: Path) -> None:
    given = answers(4)
    first = side(tmp_path / "1", given, hashes=["x", "x", "y", "z"])
    turned = answers(4, keys=given.keys[1::-1] + given.keys[2:], labels=np.array([1, 0, 2, 0]), logits=given.logits)
    _, there = aligned([first, side(tmp_path / "2", turned, hashes=["x", "x", "y", "z"])])
    assert np.array_equal(there.logits[:2], given.logits[1::-1])


def test_thresholds_go_with_their_labels(tmp_path: Path) -> None:
    labels = np.eye(3, dtype=bool)[np.arange(6) % 3]
    several = answers(6, labels=labels, thresholds=np.array([0.1, 0.2, 0.3]))
    each = np.linspace(0, 1, 18).reshape(6, 3)
    other = answers(6, labels=labels[:, ::-1].copy(), classes=CLASSES[::-1], keys=several.keys, thresholds=each)
    here, there = aligned([side(tmp_path / "1", several), side(tmp_path / "2", other)])
    assert here.thresholds is not None
    assert here.thresholds.tolist() == [0.1, 0.2, 0.3]
    assert there.thresholds is not None
    assert np.array_equal(there.thresholds, each[:, ::-1])


def test_images_that_any_side_keeps_together_are_kept_together(tmp_path: Path) -> None:
    first = side(tmp_path / "1", answers(6, groups=("a", "a", "b", "b", "c", "d")))
    second = side(tmp_path / "2", answers(6, groups=("1", "2", "2", "3", "4", "5")))
    bare = side(tmp_path / "3", answers(6))
    assert [one.groups for one in aligned([first, second])] == [("a", "a", "a", "a", "c", "d")] * 2
    assert [one.groups for one in aligned([bare, first])] == [("a", "a", "b", "b", "c", "d")] * 2


def test_other_images_are_counted_in_the_refusal(tmp_path: Path) -> None:
    said = refusal(side(tmp_path / "1"), side(tmp_path / "2", answers(50)))
    assert "of 60 images of" in said
    assert "50 are in both, 10 only in the first and 0 only in the second" in said
    assert "kind: stored" in said


def test_other_labels_of_the_same_images_are_counted_in_the_refusal(tmp_path: Path) -> None:
    given = answers()
    assert given.labels is not None
    labels = given.labels.copy()
    labels[:4] = (labels[:4] + 1) % 3
    said = refusal(side(tmp_path / "1", given), side(tmp_path / "2", answers(labels=labels)))
    assert "4 of the 60 images that are in both have another label in each" in said
    assert "only in the" not in said


def test_other_classes_are_named_in_the_refusal(tmp_path: Path) -> None:
    given = answers()
    second = side(tmp_path / "2", answers(classes=("ant", "bee", "dog"), keys=given.keys))
    said = refusal(side(tmp_path / "1", given), second)
    assert "1 of the 3 classes only in" in said
    assert "'cat'" in said
    assert "'dog'" in said
    assert "20 of the 60 images" in said


def test_many_other_classes_are_cut(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(9)]
    given = answers()
    said = refusal(side(tmp_path / "1", given), side(tmp_path / "2", answers(classes=names, keys=given.keys)))
    assert "'class 4' and 4 more" in said


def test_another_kind_of_label_or_part_is_refused(tmp_path: Path) -> None:
    first = side(tmp_path / "1")
    several = answers(labels=np.eye(3, dtype=bool)[np.arange(60) % 3])
    assert "an image may have several labels" in refusal(first, side(tmp_path / "2", several))
    validated = side(tmp_path / "3", part="validation")
    assert "one is scored on test images, the other on validation images" in refusal(first, validated)
