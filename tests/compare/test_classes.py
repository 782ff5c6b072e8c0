"""Differences class by class."""

import numpy as np
import pytest

from finetune.compare.classes import by_class
from finetune.errors import UsageError
from finetune.scores.metrics import scores
from tests.compare.toys import answers


def test_a_difference_is_that_of_the_scores_of_the_class_within_its_interval() -> None:
    first, second = answers(120, wrong=range(0, 60, 3)), answers(120, wrong=[1])
    rows = by_class(first, second, resamples=200)
    before, after = (scores(one, resamples=1)["per_class"] for one in (first, second))
    for row, one, other in zip(rows, before, after, strict=True):
        assert (row["class"], row["support"]) == (one["class"], one["support"])
        for name in ("recall", "f1"):
            found = row[name]
            assert found["value"] == pytest.approx(other[name]["value"] - one[name]["value"])
            assert -1 <= found["low"] <= found["value"] <= found["high"] <= 1
    ant, _, cat = rows
    assert ant["recall"]["value"] == 0.5  # every second ant was wrong
    assert ant["recall"]["low"] > 0.2
    assert cat["recall"]["value"] == 0
    assert cat["recall"]["low"] < 0 < cat["recall"]["high"]


def test_a_class_without_images_has_no_difference() -> None:
    labels = np.arange(12) % 2
    rows = by_class(answers(12, labels=labels), answers(12, labels=labels), resamples=5)
    assert rows[2] == {
        "class": "cat",
        "support": 0,
        "recall": {"value": None, "low": None, "high": None, "reason": "no image of this class"},
        "f1": {"value": None, "low": None, "high": None, "reason": "no image of this class"},
    }


def test_images_of_a_group_are_drawn_together() -> None:
    groups = tuple(str(number // 30) for number in range(120))
    wrong = range(0, 30, 3)
    alone = by_class(answers(120, wrong=wrong), answers(120))[0]["recall"]
    together = by_class(answers(120, wrong=wrong, groups=groups), answers(120, groups=groups))[0]["recall"]
    assert together["high"] - together["low"] > alone["high"] - alone["low"]


def test_labels_are_classes_where_there_may_be_several() -> None:
    labels = np.arange(30)[:, None] % 3 <= np.arange(3)
    right = np.where(labels, 1, -1).astype(np.float32)
    worse = right.copy()
    worse[:15, 0] = -1
    first, second = (answers(30, labels=labels, logits=logits) for logits in (worse, right))
    row = by_class(first, second, resamples=50)[0]
    assert (row["support"], row["recall"]["value"]) == (10, 0.5)


def test_other_images_are_refused() -> None:
    with pytest.raises(UsageError, match="of the same labelled images"):
        by_class(answers(6), answers(9))
