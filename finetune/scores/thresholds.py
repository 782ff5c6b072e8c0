"""Where an image may have several labels: the probability above which each of them is answered.

Thresholds are chosen from answers to images that were not learnt from, and never from test images: that is the caller's
to see to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from finetune.errors import UsageError, printable
from finetune.scores.intervals import groups_of, percentiles, resampled_weights
from finetune.scores.predictions import EVEN, Predictions

__all__ = ["FEWEST", "Threshold", "Thresholds", "choose"]

Array = npt.NDArray[Any]

FEWEST = 10  # images (or groups) with the label, and without it, below which nothing is chosen
_TOO_FEW = f"fewer than {FEWEST} images have it, or do not, to choose it on"
_TOO_FEW_OF_THEM = f"fewer than {FEWEST} images have them, or do not"
_NO_IMAGES = "no image was held out to choose it on"
_NAMED = 5  # labels of a note


@dataclass(frozen=True)
class Threshold:
    """The threshold of one label: a probability and its 95 % interval, None where it was not chosen, for this reason.

    positives: the images with the label that it was chosen on.
    """

    value: float
    low: float | None
    high: float | None
    positives: int
    reason: str = ""


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of all labels, in the order of the classes, and on which part of the images they were chosen: ""
    where there was none.
    """

    part: str
    labels: tuple[Threshold, ...]

    @classmethod
    def of(cls, parts: Mapping[str, Predictions | None], *, classes: int) -> Self:
        """Chosen on the first of the parts that there is; 0.5 for every label where there is none."""
        for part, predictions in parts.items():
            if predictions is not None:
                return cls(part, choose(predictions))
        return cls("", (Threshold(EVEN, None, None, 0, _NO_IMAGES),) * classes)

    @property
    def values(self) -> tuple[float, ...]:
        """The probabilities above which labels are answered."""
        return tuple(label.value for label in self.labels)

    def applied(self, predictions: Predictions) -> Predictions:
        """The predictions, answered by these thresholds."""
        return replace(predictions, thresholds=np.array(self.values, dtype=np.float64))

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """As plain JSON values."""
        rows = [{"class": name, **asdict(label)} for name, label in zip(classes, self.labels, strict=True)]
        return {"part": self.part, "per_class": rows}

    def notes(self, classes: Sequence[str]) -> tuple[str, ...]:
        """What is worth knowing: labels that keep 0.5."""
        kept = [name for name, label in zip(classes, self.labels, strict=True) if label.reason == _TOO_FEW]
        if not self.part:
            return (f"all labels are answered above 0.5: {_NO_IMAGES}",)
        if not kept:
            return ()
        more = f" and {len(kept) - _NAMED} more" if len(kept) > _NAMED else ""
        shown = ", ".join(printable(name) for name in kept[:_NAMED])
        return (f"labels answered above 0.5, for {_TOO_FEW_OF_THEM}: {shown}{more}",)


def choose(predictions: Predictions, *, resamples: int = 1000) -> tuple[Threshold, ...]:
    """For each label the threshold with the highest F1 on these images; one for each class, in their order.

    Tuned label by label (Yang 2001, A Study of Thresholding Strategies for Text Categorization, section 2, SCut; Lipton
    et al. 2014, Optimal Thresholding of Classifiers to Maximize F1 Measure). Thresholds that answer the same are one:
    0.5 where it is among them, else the middle between the two neighbouring probabilities. Of equal F1 the one nearest
    to 0.5 is taken, then the lower. As such tuning overfits rare labels (Yang, section 4), one with fewer than 10
    images (or groups) that have it, or that do not, keeps 0.5. The interval is the percentile bootstrap over images, or
    over groups where there are any; where no resample differs, it reaches as far as answers stay the same.
    Raises UsageError without labels, for one label per image, and without images.
    """
    labels = predictions.labels
    if labels is None or labels.ndim != 2:
        raise UsageError("thresholds are chosen on predictions with labels, bool (n, classes)")
    if not len(predictions):
        raise UsageError("no predictions to choose thresholds on: there must be at least one image")
    probabilities = predictions.probabilities
    cuts = {
        place: _Cuts(probabilities[:, place], labels[:, place])
        for place in range(labels.shape[1])
        if _units(predictions, labels[:, place]) >= FEWEST
    }
    drawn: dict[int, list[Array]] = {place: [] for place in cuts}
    for weights in resampled_weights(predictions, resamples=resamples) if cuts else ():
        for place, label in cuts.items():
            drawn[place].append(label.best(weights)[0])
    return tuple(
        _chosen(cuts[place], np.concatenate(drawn[place]), positives)
        if place in cuts
        else Threshold(EVEN, None, None, positives, _TOO_FEW)
        for place, positives in enumerate(labels.sum(axis=0).tolist())
    )


def _units(predictions: Predictions, has: Array) -> int:
    """How many images (or groups) there are of the rarer kind: with the label, or without."""
    return min(groups_of(predictions, has), groups_of(predictions, ~has))


def _chosen(cuts: "_Cuts", draws: Array, positives: int) -> Threshold:
    values, places = cuts.best(np.ones((1, cuts.images)))
    value, place = float(values[0]), int(places[0])
    gap = float(cuts.below[place]), float(cuts.above[place])
    low, high = percentiles(draws, value=value, otherwise=gap)
    return Threshold(value, low, high, positives)


class _Cuts:
    """All thresholds of one label that answer differently, and the best of them for many weightings at once.

    The threshold of place i lies in below[i] ≤ t < above[i], and answers the label for all probabilities from above[i].
    """

    def __init__(self, probabilities: Array, labels: Array) -> None:
        self.images = len(labels)
        self._order = np.argsort(probabilities, kind="stable")
        values, starts = np.unique(probabilities[self._order], return_index=True)
        below = np.concatenate([[0.0], values[:-1]])
        kept = below < values  # a probability of 0 is above no threshold
        self.below, self.above, self._starts = below[kept], values[kept], starts[kept]
        self._has = labels[self._order]
        middle = (self.below + self.above) / 2
        middle = np.where(middle < self.above, middle, self.below)  # rounding may end at a neighbour
        self._values = np.where((self.below <= EVEN) & (self.above > EVEN), EVEN, middle)

    def best(self, weights: Array) -> tuple[Array, Array]:
        """(rows,) the best threshold, NaN where no image of a row has the label, and its place; weights: (rows, n)."""
        ranked = weights[:, self._order]
        support = ranked[:, self._has].sum(axis=1)
        hits, named = self._above(np.where(self._has, ranked, 0)), self._above(ranked)
        f1 = 2 * hits / np.maximum(support[:, None] + named, 1)
        far = np.where(f1 == f1.max(axis=1, keepdims=True), np.abs(self._values - EVEN), np.inf)
        places = far.argmin(axis=1)
        return np.where(support > 0, self._values[places], np.nan), places

    def _above(self, ranked: Array) -> Array:
        """(rows, cuts): the weight of the images above each threshold. Whole numbers: exact in any order."""
        sums = np.cumsum(ranked[:, ::-1], axis=1)[:, ::-1]
        return np.asarray(sums[:, self._starts])
