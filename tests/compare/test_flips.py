"""Images that one classifier answers right and another wrong."""

import numpy as np
import pytest

from finetune.compare.flips import flips, right_answers
from finetune.errors import UsageError
from finetune.scores.predictions import Predictions
from tests.compare.toys import CLASSES, answers

HASHES = [str(number) for number in range(6)]


def logits(said: list[int], sure: list[float]) -> np.ndarray:
    found = np.zeros((len(said), 3), dtype=np.float32)
    found[np.arange(len(said)), said] = sure
    return found


def test_what_was_lost_comes_before_what_was_gained_the_surest_mistakes_first() -> None:
    first = answers(6, logits=logits([0, 1, 2, 2, 0, 0], [1, 1, 1, 5, 1, 1]))  # wrong at 3, 4 and 5
    second = answers(6, logits=logits([1, 0, 2, 0, 1, 0], [2, 4, 1, 1, 3, 1]))  # wrong at 0, 1 and 5
    found = flips(first, second, HASHES)
    assert [(flip.sha256, flip.gained) for flip in found] == [("1", False), ("0", False), ("3", True), ("4", True)]
    assert found[0].labels == ("bee",)
    assert found[0].answers == (("bee",), ("ant",))
    assert found[0].key == "bee/1.jpg"
    assert found[0].sure == pytest.approx((np.e / (np.e + 2), np.e**4 / (np.e**4 + 2)))


def test_of_several_labels_all_must_be_right() -> None:
    labels = np.array([[True, False, True], [False, False, False]])
    right = np.where(labels, 2, -2).astype(np.float32)
    missed = right.copy()
    missed[0, 2] = -1
    first = Predictions(("a", "b"), right, CLASSES, labels)
    second = Predictions(("a", "b"), missed, CLASSES, labels)
    (flip,) = flips(first, second, HASHES)
    assert (flip.gained, flip.labels, flip.answers) == (False, ("ant", "cat"), (("ant", "cat"), ("ant",)))
    assert flip.sure == pytest.approx((0.0, 1 / (1 + np.exp(-1))))
    assert right_answers(second).tolist() == [False, True]


def test_other_images_or_none_with_labels_are_refused() -> None:
    with pytest.raises(UsageError, match="of the same labelled images"):
        flips(answers(6), answers(5), HASHES)
    with pytest.raises(UsageError, match="of the same labelled images"):
        flips(answers(6, labels=None), answers(6, labels=None), HASHES)
