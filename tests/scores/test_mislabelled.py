import numpy as np
import pytest

from finetune.errors import UsageError
from finetune.scores.mislabelled import confidence, errors
from finetune.scores.predictions import Predictions


def said(probabilities, labels, thresholds=None):
    shares = np.array(probabilities)
    logits = np.log(shares / (1 - shares)).astype(np.float32)
    names = tuple("abc"[: shares.shape[1]])
    keys = tuple(map(str, range(len(shares))))
    return Predictions(keys, logits, names, np.array(labels, dtype=np.bool_), thresholds=thresholds)


PROBABILITIES = [[0.9, 0.2, 0.7], [0.1, 0.8, 0.6], [0.9, 0.9, 0.1], [0.3, 0.1, 0.1]]
LABELS = [[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]]


def test_what_is_missed_and_added_is_counted_alone_and_together():
    found = errors(said(PROBABILITIES, LABELS))
    assert found["images"] == 4
    assert found["missed"] == [[2, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert found["added"] == [[0, 0, 0], [0, 1, 1], [0, 1, 2]]
    assert found["swapped"] == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]


def test_thresholds_decide_what_is_an_error():
    found = errors(said(PROBABILITIES, LABELS, np.array([0.05, 0.85, 0.75])))
    assert found["missed"] == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert not np.any(found["added"])


def test_an_image_is_as_wrong_as_its_surest_wrong_answer():
    found = confidence(said(PROBABILITIES, LABELS))
    assert found.tolist() == pytest.approx([0.8, 0.9, 0, 0.7])
    assert confidence(said(PROBABILITIES, LABELS, np.array([0.05, 0.85, 0.65]))).tolist() == pytest.approx(
        [0.8, 0, 0, 0]
    )


def test_predictions_of_one_label_each_are_refused():
    single = Predictions(("0",), np.zeros((1, 2), np.float32), ("a", "b"), np.array([1]))
    for function in (errors, confidence):
        with pytest.raises(UsageError, match="an image may have several"):
            function(single)
