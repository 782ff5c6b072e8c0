"""Two classifiers asked about the same images: how much better one is than the other, and whether that is chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.errors import UsageError, printable
from finetune.scores.intervals import groups_of, mean_difference, resampled_weights, share_difference
from finetune.scores.metrics import losses, statistics
from finetune.scores.predictions import Predictions

Array = npt.NDArray[Any]
Score = dict[str, Any]

SHARES = ("accuracy", "balanced_accuracy", "macro_f1")
SHARES_OF_SEVERAL = ("subset_accuracy", "macro_f1", "micro_f1", "macro_auroc", "macro_average_precision")
_FLIPS = 20_000
_AT_ONCE = 2_000_000


def aligned(*asked: Predictions) -> tuple[Predictions, ...]:
    """The predictions of several classifiers with their images and classes in the order of the first.

    Thresholds come along. Raises UsageError that says how they differ where the images, their labels, their groups or
    the classes are not the same.
    """
    first = asked[0]
    return tuple(_as(first, other, number) for number, other in enumerate(asked, start=1))


def differences(one: Predictions, other: Predictions, *, resamples: int = 1000) -> dict[str, Score]:
    """How much higher the scores of `other` are than those of `one`: {"value", "low", "high"} each, 95 % intervals.

    accuracy, balanced_accuracy, macro_f1, log_loss and brier; with several labels subset_accuracy, macro_f1, micro_f1,
    macro_auroc, macro_average_precision, log_loss and brier. A score that either does not define has value None.
    Resamples of images, of whole groups where there are groups, are the same for both. Raises UsageError as `aligned`
    does, and without labels.
    """
    one, other = aligned(one, other)
    own, others = statistics(one), statistics(other)
    everything = np.ones((1, len(one)))
    names = SHARES_OF_SEVERAL if one.multilabel else SHARES
    before, after = own(everything), others(everything)
    drawn: dict[str, list[Array]] = {name: [] for name in names}
    for weights in resampled_weights(one, resamples=resamples):
        least, most = own(weights), others(weights)
        for name in names:
            drawn[name].append(most[name][:, 0] - least[name][:, 0])
    units = groups_of(one, np.ones(len(one), dtype=bool))
    found: dict[str, Score] = {}
    for name in names:
        value = float(after[name][0, 0] - before[name][0, 0])
        interval = share_difference(value, np.concatenate(drawn[name]), units=units, n=len(one))
        found[name] = _score(value, None if math.isnan(value) else interval)
    mine, theirs = losses(one), losses(other)
    for name in mine:
        values = theirs[name] - mine[name]
        found[name] = _score(float(values.mean()), mean_difference(values, one))
    return found


@dataclass(frozen=True)
class Flips:
    """Images that only one of two classifiers answers right, and the chance of as uneven a split where neither is
    better. lost, won: how many images `other` gets wrong that `one` got right, and the other way round. by_group:
    whether whole groups were exchanged.
    """

    lost: int
    won: int
    p: float
    by_group: bool


def mcnemar(one: Predictions, other: Predictions) -> Flips:
    """The exact McNemar test of two classifiers, two-sided; of images in groups its counterpart by group.

    Without groups lost and won are split as coins fall (McNemar 1947, Note on the Sampling Error of the Difference
    between Correlated Proportions or Percentages; exact as in Mosteller 1952). Images of a group are not independent:
    the two classifiers' answers are exchanged for whole groups, each way equally likely, 20,000 times at random where
    that are more than all ways (Durkalski et al. 2003, Analysis of Clustered Matched-Pair Data, for the clustering;
    Good 2005, Permutation, Parametric, and Bootstrap Tests of Hypotheses, for the exchange). An image with several
    labels is right when all of them are. Raises UsageError as `aligned` does.
    """
    one, other = aligned(one, other)
    steps = _right(other).astype(np.int64) - _right(one).astype(np.int64)
    lost, won = int((steps < 0).sum()), int((steps > 0).sum())
    if one.groups is None:
        return Flips(lost, won, _coins(min(lost, won), lost + won), by_group=False)
    members = np.unique(np.array(one.groups, dtype=object), return_inverse=True)[1]
    sums = np.bincount(members, weights=steps)
    return Flips(lost, won, _exchanged(sums[sums != 0]), by_group=True)


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """The same p-values, each as large as it has to be for all of them to be looked at together, in the given order.

    Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6.
    """
    order = sorted(range(len(p)), key=lambda place: p[place])
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return tuple(adjusted)


def _as(first: Predictions, other: Predictions, number: int) -> Predictions:
    def refuse(what: str) -> UsageError:
        return UsageError(f"predictions 1 and {number} cannot be compared: {what}")

    if set(first.classes) != set(other.classes):
        only = sorted(set(first.classes) ^ set(other.classes))
        raise refuse(f"{printable(only[0])!r} is a class of only one of them, and {len(only)} classes are in all")
    if first.multilabel != other.multilabel:
        raise refuse("an image may have several labels in only one of them")
    rows = {key: row for row, key in enumerate(other.keys)}
    missing, more = sum(key not in rows for key in first.keys), len(set(other.keys) - set(first.keys))
    if missing or more:
        raise refuse(f"{missing} images are only in 1, {more} only in {number}")
    if first.labels is None or other.labels is None:
        raise refuse("without labels nothing is right or wrong")
    order = np.array([rows[key] for key in first.keys], dtype=np.int64)
    columns = np.array([other.classes.index(name) for name in first.classes], dtype=np.int64)
    thresholds = other.thresholds
    if thresholds is not None:
        thresholds = thresholds[columns] if thresholds.ndim == 1 else thresholds[order][:, columns]
    labels = other.labels[order][:, columns] if other.multilabel else np.argsort(columns)[other.labels[order]]
    unlike = (labels != first.labels).any(axis=1) if other.multilabel else labels != first.labels
    if unlike.any():
        key = first.keys[int(np.flatnonzero(unlike)[0])]
        raise refuse(f"{int(unlike.sum())} images have another label, the first is {printable(key)!r}")
    groups = None if other.groups is None else tuple(other.groups[row] for row in order)
    if _partition(groups, len(order)) != _partition(first.groups, len(order)):
        raise refuse("their images are in other groups")
    return replace(
        other,
        keys=first.keys,
        logits=other.logits[order][:, columns],
        classes=first.classes,
        labels=labels,
        groups=first.groups,
        thresholds=thresholds,
    )


def _partition(groups: tuple[str, ...] | None, count: int) -> list[int]:
    """Groups by number in the order of their first images, whatever their names."""
    numbers: dict[str, int] = {}
    return list(range(count)) if groups is None else [numbers.setdefault(name, len(numbers)) for name in groups]


def _right(predictions: Predictions) -> Array:
    answered = predictions.predicted == predictions.labels
    return np.asarray(answered.all(axis=1) if predictions.multilabel else answered)


def _coins(fewer: int, count: int) -> float:
    """The chance that the fewer of `count` coins on one side are at most so many, on either side."""
    if count == 0:
        return 1.0
    log = math.log(2)
    terms = (math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(fewer + 1))
    return min(1.0, 2 * sum(math.exp(term - count * log) for term in terms))


def _exchanged(sums: Array) -> float:
    """The chance that the sum is as far from 0 when each term may have either sign; sums: (groups,) whole numbers."""
    far = abs(float(sums.sum()))
    if 2 ** len(sums) <= _FLIPS:
        signs = 1.0 - 2.0 * ((np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1)
        return float((np.abs(signs @ sums) >= far).mean())
    generator, reached, done = np.random.default_rng(0), 0, 0
    while done < _FLIPS:
        rows = min(_FLIPS - done, max(1, _AT_ONCE // len(sums)))
        signs = 1.0 - 2.0 * generator.integers(0, 2, size=(rows, len(sums)))
        reached += int((np.abs(signs @ sums) >= far).sum())
        done += rows
    return (reached + 1) / (_FLIPS + 1)


def _score(value: float, interval: tuple[float, float] | None) -> Score:
    low, high = interval or (None, None)
    return {"value": None if math.isnan(value) else value, "low": low, "high": high}
