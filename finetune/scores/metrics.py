"""Every score of a set of predictions, each with its 95 % interval: one function, from all images at once.

Each statistic is written once, as a function of how often every image counts: all ones give the value, bootstrap
weights give the resamples. Means over classes are over the classes that occur.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.errors import UsageError
from finetune.scores.intervals import Interval, groups_of, mean, resampled_share, resampled_weights, wilson
from finetune.scores.mislabelled import errors
from finetune.scores.predictions import Predictions

__all__ = ["accuracy", "log_loss", "log_losses", "losses", "right", "scores", "statistics", "wilson"]

Array = npt.NDArray[Any]
Table = dict[str, Array]  # name -> (rows, columns): one row per resample, one column per class where there are classes
Statistics = Callable[[Array], Table]
Score = dict[str, Any]

NO_IMAGES = "no image of this class"
NEVER_PREDICTED = "no image was predicted as this class"
ONE_KIND = "needs images with and without this label"
NO_LABELS = "no image has a label"
TOP_K = (1, 3, 5)


def scores(predictions: Predictions, *, resamples: int = 1000) -> dict[str, Any]:
    """All scores as plain JSON values, each {"value", "low", "high"} with its 95 % interval.

    One label per image: accuracy, balanced_accuracy, macro_f1, log_loss (nats), brier (sum over classes, 0..2; Brier
    1950), top_k {"1", "3", "5" below the number of classes}, per_class and confusion (rows true, columns predicted).
    Several labels: subset_accuracy, macro_f1, micro_f1, macro_auroc, macro_average_precision, log_loss and brier (means
    over labels), per_class, and errors as `mislabelled.errors` has them; a label is predicted where its probability is
    above its threshold.

    Proportions (accuracy, top-k, recall, precision) have Wilson's interval, other scores within 0..1, and all of images
    in groups, `intervals.resampled_share`, from resamples of images or of whole groups, and losses `intervals.mean`.
    A score that is not defined has value None and a "reason".
    Raises UsageError without labels or without images.
    """
    labels = _labels(predictions)
    if resamples < 1:
        raise UsageError(f"resamples must be at least 1, but is {resamples}")
    return (_several_labels if predictions.multilabel else _one_label)(predictions, labels, resamples)


def statistics(predictions: Predictions) -> Statistics:
    """Every statistic of the predictions, as a function of weights (rows, n): how often each image counts.

    What it gives is a table: name -> (rows, 1), or (rows, classes) for recall, precision, f1 and with several labels
    auroc and average_precision, or (rows, k) for top_k; NaN where a row does not define it. The names are those of
    `scores`. Raises UsageError without labels or without images.
    """
    labels = _labels(predictions)
    return (_several_labels_statistics if predictions.multilabel else _one_label_statistics)(predictions, labels)


def accuracy(predictions: Predictions) -> float:
    """The share of images that are right, 0..1, alone: as in `scores`; with several labels, all of them right."""
    answered = predictions.predicted == _labels(predictions)
    return float((answered.all(axis=1) if predictions.multilabel else answered).mean())


def log_loss(predictions: Predictions) -> float:
    """The mean log-loss in nats, alone: as in `scores`."""
    return float(log_losses(predictions.logits, _labels(predictions)).mean())


def log_losses(logits: Array, labels: Array) -> Array:
    """(n,) float64, in nats, of logits (n, classes); of labels bool (n, classes) the means of the binary log-losses."""
    exact = logits.astype(np.float64)
    if labels.ndim == 2:
        return np.asarray((np.logaddexp(0, exact) - labels * exact).mean(axis=1))
    exact -= exact.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(exact).sum(axis=1)) - np.take_along_axis(exact, labels[:, None], axis=1)[:, 0])


def losses(predictions: Predictions) -> dict[str, Array]:
    """log_loss and brier of each image, float64 (n,); with several labels their means over labels."""
    labels, chances = _labels(predictions), predictions.probabilities
    brier = ((chances - labels) ** 2).mean(axis=1) if predictions.multilabel else _brier(chances, labels)
    return {"log_loss": log_losses(predictions.logits, labels), "brier": brier}


def right(logits: Array, labels: Array) -> Array:
    """bool (n,): whether an image is answered right; of labels bool (n, classes) all of them, each at a half."""
    if labels.ndim == 2:
        return np.asarray(((logits > 0) == labels).all(axis=1))
    return np.asarray(logits.argmax(axis=1) == labels)


def _labels(predictions: Predictions) -> Array:
    if predictions.labels is None:
        raise UsageError("predictions without labels cannot be scored")
    if len(predictions) == 0:
        raise UsageError("no predictions to score: there must be at least one image")
    return predictions.labels


@dataclass(frozen=True)
class _Resampled:
    """A table of statistics at all images counting once, and at every resample."""

    predictions: Predictions
    value: Table
    draws: Table

    def score(self, name: str, column: int = 0, *, images: Array, reason: str = "") -> Score:
        """The interval of a score within 0..1 that is no plain share; `images` (bool) are those it rests on."""
        value, draws, units = self._of(name, column, images)
        if np.isnan(value):
            return _score(value, None, reason)
        return _score(value, resampled_share(value, draws, units=units, n=int(images.sum())), reason)

    def proportion(self, name: str, column: int = 0, *, images: Array, reason: str = "") -> Score:
        """Wilson's interval, or by group where there are groups; `images` (bool) are those that are counted."""
        value, _, units = self._of(name, column, images)
        if self.predictions.groups is None or np.isnan(value):
            return _score(value, wilson(value * units, units), reason)
        return self.score(name, column, images=images, reason=reason)

    def _of(self, name: str, column: int, images: Array) -> tuple[float, Array, int]:
        return float(self.value[name][0, column]), self.draws[name][:, column], groups_of(self.predictions, images)


def _resampled(predictions: Predictions, of: Statistics, resamples: int) -> _Resampled:
    tables = [of(weights) for weights in resampled_weights(predictions, resamples=resamples)]
    draws = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    return _Resampled(predictions, of(np.ones((1, len(predictions)))), draws)


def _losses(predictions: Predictions) -> dict[str, Score]:
    """A mean without an upper bound that is worth naming: a single image has no interval."""
    return {
        name: _score(float(values.mean()), mean(values, predictions), "")
        for name, values in losses(predictions).items()
    }


def _score(value: float, interval: Interval | None, reason: str) -> Score:
    if np.isnan(value):
        return {"value": None, "low": None, "high": None, "reason": reason}
    low, high = interval or (None, None)
    return {"value": value, "low": low, "high": high}


# One label per image


def _one_label(predictions: Predictions, labels: Array, resamples: int) -> dict[str, Any]:
    predicted, classes = predictions.predicted, predictions.classes
    table = _resampled(predictions, statistics(predictions), resamples)
    everything = np.ones(len(predictions), dtype=bool)
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    return {
        "accuracy": table.proportion("accuracy", images=everything),
        "balanced_accuracy": table.score("balanced_accuracy", images=everything),
        "macro_f1": table.score("macro_f1", images=everything),
        **_losses(predictions),
        "top_k": {str(k): table.proportion("top_k", i, images=everything) for i, k in enumerate(_ks(classes))},
        "per_class": [_class_row(table, i, actual=labels == i, named=predicted == i) for i in range(len(classes))],
        "confusion": confusion.tolist(),
    }


def _one_label_statistics(predictions: Predictions, labels: Array) -> Statistics:
    predicted, classes = predictions.predicted, predictions.classes
    ranks = _ranks(predictions.logits, labels)
    right = ranks == 0
    per_image = {
        **{name: values[:, None] for name, values in losses(predictions).items()},
        "accuracy": right.astype(np.float64)[:, None],
        "top_k": (ranks[:, None] < np.array(_ks(classes))).astype(np.float64),
    }

    def of(weights: Array) -> Table:
        support, named = _totals(weights, labels, len(classes)), _totals(weights, predicted, len(classes))
        hits = _totals(weights[:, right], labels[right], len(classes))
        table = _class_table(hits, support, named)
        table |= {name: _means(weights, columns) for name, columns in per_image.items()}
        return table | {"balanced_accuracy": _known_mean(table["recall"]), "macro_f1": _known_mean(table["f1"])}

    return of


def _ks(classes: Sequence[str]) -> list[int]:
    return [k for k in TOP_K if k < len(classes)]


def _ranks(logits: Array, labels: Array) -> Array:
    """(n,) int: how many classes come before the true one; of equal logits the first comes first."""
    true = np.take_along_axis(logits, labels[:, None], axis=1)
    before = (logits == true) & (np.arange(logits.shape[1]) < labels[:, None])
    return np.asarray(((logits > true) | before).sum(axis=1))


def _brier(probabilities: Array, labels: Array) -> Array:
    true = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    return np.asarray((probabilities**2).sum(axis=1) - 2 * true + 1)


def _totals(weights: Array, labels: Array, classes: int) -> Array:
    """(rows, classes): the weight of the images of each class. Whole numbers: exact in any order."""
    totals = np.zeros((len(weights), classes))
    if len(labels):
        order = np.argsort(labels, kind="stable")
        present, starts = np.unique(labels[order], return_index=True)
        totals[:, present] = np.add.reduceat(weights[:, order], starts, axis=1)
    return totals


# Several labels per image


def _several_labels(predictions: Predictions, labels: Array, resamples: int) -> dict[str, Any]:
    predicted = predictions.predicted
    table = _resampled(predictions, statistics(predictions), resamples)
    everything = np.ones(len(predictions), dtype=bool)
    means = {"macro_f1": NO_LABELS, "micro_f1": NO_LABELS, "macro_auroc": ONE_KIND, "macro_average_precision": ONE_KIND}
    rows = []
    for i in range(labels.shape[1]):
        rarer = labels[:, i] if labels[:, i].sum() * 2 <= len(labels) else ~labels[:, i]
        areas = {name: table.score(name, i, images=rarer, reason=ONE_KIND) for name in ("auroc", "average_precision")}
        rows.append(_class_row(table, i, actual=labels[:, i], named=predicted[:, i]) | areas)
    return {
        "subset_accuracy": table.proportion("subset_accuracy", images=everything),
        **{name: table.score(name, images=everything, reason=reason) for name, reason in means.items()},
        **_losses(predictions),
        "per_class": rows,
        "errors": errors(predictions),
    }


def _several_labels_statistics(predictions: Predictions, labels: Array) -> Statistics:
    predicted = predictions.predicted
    actual, named, both = (a.astype(np.float64) for a in (labels, predicted, labels & predicted))
    per_image = {
        **{name: values[:, None] for name, values in losses(predictions).items()},
        "subset_accuracy": (labels == predicted).all(axis=1).astype(np.float64)[:, None],
    }
    rankings = [_Ranking(predictions.logits[:, i], labels[:, i]) for i in range(labels.shape[1])]

    def of(weights: Array) -> Table:
        # whole numbers below 2**53: exact whatever the order in which they are summed
        hits, support, guessed = weights @ both, weights @ actual, weights @ named
        table = _class_table(hits, support, guessed)
        table |= {name: _means(weights, columns) for name, columns in per_image.items()}
        areas = [ranking.areas(weights) for ranking in rankings]
        table["auroc"] = np.stack([auroc for auroc, _ in areas], axis=1)
        table["average_precision"] = np.stack([precision for _, precision in areas], axis=1)
        table["micro_f1"] = _ratio(2 * hits.sum(axis=1), (support + guessed).sum(axis=1))[:, None]
        return table | {f"macro_{name}": _known_mean(table[name]) for name in ("f1", "auroc", "average_precision")}

    return of


class _Ranking:
    """The areas under the ROC and the precision-recall curve of one label, for many weightings at once.

    AUROC is the share of (with, without) pairs in the right order, ties half (Hanley and McNeil 1982); average
    precision is the mean precision at the images with the label, ties together (scikit-learn's definition).
    """

    def __init__(self, logits: Array, labels: Array) -> None:
        self._order = np.argsort(logits, kind="stable")
        ranked, true = logits[self._order], labels[self._order]
        self._with = np.flatnonzero(true)
        mine = ranked[self._with]
        self._below, self._through = (np.searchsorted(ranked, mine, side=side) for side in ("left", "right"))
        self._mine_below, self._mine_through = (np.searchsorted(mine, mine, side=side) for side in ("left", "right"))

    def areas(self, weights: Array) -> tuple[Array, Array]:
        """(rows,) AUROC and average precision; NaN where a row has no image with the label, or none without."""
        ranked = weights[:, self._order]
        mine = ranked[:, self._with]
        sums, my_sums = _running(ranked), _running(mine)
        total, positives = sums[:, -1], my_sums[:, -1]
        below, mine_below = sums[:, self._below], my_sums[:, self._mine_below]
        tied = (sums[:, self._through] - below) - (my_sums[:, self._mine_through] - mine_below)
        ordered = (mine * (below - mine_below + tied / 2)).sum(axis=1)
        at_least, mine_at_least = total[:, None] - below, positives[:, None] - mine_below
        precision = (mine * mine_at_least / np.maximum(at_least, 1)).sum(axis=1)
        defined = np.where(total > positives, positives, 0)
        return _ratio(ordered, defined * (total - positives)), _ratio(precision, defined)


def _running(weights: Array) -> Array:
    """(rows, n + 1): the sums of the first 0, 1, … n weights."""
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


# Both


def _class_table(hits: Array, support: Array, named: Array) -> Table:
    f1 = _ratio(2 * hits, support + named)
    return {
        "recall": _ratio(hits, support),
        "precision": _ratio(hits, named),
        "f1": np.where(support > 0, f1, np.nan),
    }


def _class_row(table: _Resampled, column: int, *, actual: Array, named: Array) -> dict[str, Any]:
    """One line of `per_class`; `actual` and `named` (bool) are the images of the class and those predicted as it."""
    return {
        "class": table.predictions.classes[column],
        "precision": table.proportion("precision", column, images=named, reason=NEVER_PREDICTED),
        "recall": table.proportion("recall", column, images=actual, reason=NO_IMAGES),
        "f1": table.score("f1", column, images=actual, reason=NO_IMAGES),
        "support": int(actual.sum()),
    }


def _means(weights: Array, columns: Array) -> Array:
    """(rows, columns) weighted means, summed by numpy and not by BLAS, whose order depends on the threads."""
    total = weights.sum(axis=1)
    return np.stack([(weights * column).sum(axis=1) / total for column in columns.T], axis=1)


def _known_mean(rows: Array) -> Array:
    """(rows, 1): the mean over the classes that occur; NaN where none does."""
    known = ~np.isnan(rows)
    return _ratio(np.where(known, rows, 0).sum(axis=1), known.sum(axis=1))[:, None]


def _ratio(numerator: Array, denominator: Array) -> Array:
    """The quotient, NaN where there is nothing to divide by."""
    quotient = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient
