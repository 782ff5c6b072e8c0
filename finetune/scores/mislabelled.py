"""What is wrong where an image may have several labels: which were missed, which were added, and which together."""

from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.errors import UsageError
from finetune.scores.predictions import Predictions

Array = npt.NDArray[Any]


def errors(predictions: Predictions) -> dict[str, Any]:
    """How often labels were missed and wrongly added, alone and together, in plain JSON values.

    images: how many there are. missed, added: (classes, classes) counts of images in which both were; on the diagonal
    each by itself. swapped: counts of images in which the one of the row was missed and that of the column added.
    Raises UsageError for predictions of one label each, and for some without labels.
    """
    missed, added = (wrong.astype(np.int64) for wrong in _wrong(predictions))
    return {
        "images": len(predictions),
        "missed": (missed.T @ missed).tolist(),
        "added": (added.T @ added).tolist(),
        "swapped": (missed.T @ added).tolist(),
    }


def confidence(predictions: Predictions) -> Array:
    """(n,) float64: how sure the surest wrong answer on an image was, that it has a label or that it has not; 0 where
    all labels are right. Raises as `errors` does.
    """
    missed, added = _wrong(predictions)
    probabilities = predictions.probabilities
    sure = np.where(missed, 1 - probabilities, np.where(added, probabilities, 0.0))
    return np.asarray(sure.max(axis=1, initial=0.0))


def _wrong(predictions: Predictions) -> tuple[Array, Array]:
    """bool (n, classes), twice: labels that are there and were not answered, and the other way round."""
    labels = predictions.labels
    if labels is None or labels.ndim != 2:
        raise UsageError("labels are missed or added where they are known and an image may have several")
    predicted = predictions.predicted
    return labels & ~predicted, ~labels & predicted
