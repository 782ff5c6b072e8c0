"""Images that one classifier answers right and another wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetune.errors import UsageError
from finetune.scores.mislabelled import confidence
from finetune.scores.predictions import Predictions


@dataclass(frozen=True)
class Flip:
    """An image that the one answered right and the other wrong.

    gained: whether the second is right. answers: what each of the two said, by name; several labels or none where an
    image may have several. sure: how probable each found its answer, 0..1; of several labels the surest wrong
    one, 0 where all are right.
    """

    key: str
    sha256: str
    gained: bool
    labels: tuple[str, ...]
    answers: tuple[tuple[str, ...], tuple[str, ...]]
    sure: tuple[float, float]


def flips(first: Predictions, second: Predictions, hashes: Sequence[str]) -> tuple[Flip, ...]:
    """Every image that is right in one of two and wrong in the other: what was lost before what was gained, the surest
    wrong answers first.

    The predictions are of the same images in the same order. Raises UsageError where they are not, or have no labels.
    """
    if first.keys != second.keys or first.labels is None:
        raise UsageError("two sets of predictions must be of the same labelled images, in the same order")
    right = [right_answers(one) for one in (first, second)]
    sure = [_sure(one) for one in (first, second)]
    said = [one.predicted for one in (first, second)]
    found = [
        Flip(
            key=first.keys[place],
            sha256=hashes[place],
            gained=bool(right[1][place]),
            labels=_named(first, first.labels[place]),
            answers=(_named(first, said[0][place]), _named(second, said[1][place])),
            sure=(float(sure[0][place]), float(sure[1][place])),
        )
        for place in np.flatnonzero(right[0] != right[1]).tolist()
    ]
    return tuple(sorted(found, key=lambda flip: (flip.gained, -flip.sure[0 if flip.gained else 1], flip.key)))


def right_answers(predictions: Predictions) -> np.ndarray:
    """(n,) bool: whether an image is answered right; where it may have several labels, all of them."""
    same = predictions.predicted == predictions.labels
    return np.asarray(same.all(axis=1) if predictions.multilabel else same)


def _sure(predictions: Predictions) -> np.ndarray:
    return confidence(predictions) if predictions.multilabel else predictions.probabilities.max(axis=1)


def _named(predictions: Predictions, answer: np.ndarray) -> tuple[str, ...]:
    chosen = np.flatnonzero(answer) if predictions.multilabel else [answer]
    return tuple(predictions.classes[place] for place in chosen)
