"""How much better each class is answered by one classifier than by another, on the same images."""

from typing import Any

import numpy as np

from finetune.compare.side import CLASS_SCORES
from finetune.errors import UsageError
from finetune.scores.intervals import groups_of, resampled_weights, share_difference
from finetune.scores.metrics import NO_IMAGES, Table, statistics
from finetune.scores.predictions import Predictions


def by_class(first: Predictions, second: Predictions, *, resamples: int = 1000) -> tuple[dict[str, Any], ...]:
    """For each class, or label, {"class", "support", "recall", "f1"}: how much higher the scores of the second are,
    {"value", "low", "high"} with the 95 % interval; value None and a "reason" for a class without images.

    The predictions are of the same images in the same order. Resamples of images, of whole groups where there are
    groups, are the same for both; the intervals are `intervals.share_difference`, each of its own and not corrected for
    the number of classes. Raises UsageError for other images, and without labels.
    """
    if first.keys != second.keys or first.labels is None:
        raise UsageError("two sets of predictions must be of the same labelled images, in the same order")
    of = [statistics(one) for one in (first, second)]
    value = _difference(*(one(np.ones((1, len(first)))) for one in of))
    tables = [_difference(*(one(weights) for one in of)) for weights in resampled_weights(first, resamples=resamples)]
    draws = {name: np.concatenate([table[name] for table in tables]) for name in CLASS_SCORES}
    rows = []
    for place, name in enumerate(first.classes):
        images = first.labels[:, place] if first.multilabel else first.labels == place
        support, units = int(images.sum()), groups_of(first, images)
        found = {
            score: _score(float(value[score][0, place]), draws[score][:, place], units=units, support=support)
            for score in CLASS_SCORES
        }
        rows.append({"class": name, "support": support, **found})
    return tuple(rows)


def _difference(first: Table, second: Table) -> Table:
    return {name: second[name] - first[name] for name in CLASS_SCORES}


def _score(value: float, draws: np.ndarray, *, units: int, support: int) -> dict[str, Any]:
    if not support:
        return {"value": None, "low": None, "high": None, "reason": NO_IMAGES}
    low, high = share_difference(value, draws, units=units, n=support)
    return {"value": value, "low": low, "high": high}
