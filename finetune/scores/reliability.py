"""Whether probabilities mean what they say, and what it brings to answer only when sure."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.errors import UsageError
from finetune.scores.intervals import Interval, groups_of, mean, resampled_share, resampled_weights, wilson
from finetune.scores.metrics import losses
from finetune.scores.paired import holm
from finetune.scores.predictions import Predictions

Array = npt.NDArray[Any]
Score = dict[str, Any]

TARGETS = (0.9, 0.95, 0.98, 0.99)
LARGEST_CURVE = 100  # points of it that are kept
FEWEST = 20  # images that a threshold is chosen on, and that a bin should hold
_BINS = 15
_DRAWN = 1000
_AT_ONCE = 2_000_000
_TOO_FEW = f"there are fewer than {FEWEST} images beside these to choose a threshold on"
_NOT_REACHED = "no threshold reaches it on the images that it is chosen on"


def trust(
    predictions: Predictions,
    *,
    temperature: float = 1.0,
    chosen_on: str | None = None,
    chooser: Predictions | None = None,
) -> dict[str, Any]:
    """How far the confidence of answers can be trusted: `calibration`, and of images with one label `selective`.

    temperature: what logits were divided by, 1 where that was not done; chosen_on: the part that it was chosen on.
    chooser: answers to other images, on which bounds for answers are chosen.
    """
    found = calibration(predictions, temperature=temperature, chosen_on=chosen_on)
    return {"calibration": found, **({} if predictions.multilabel else {"selective": selective(predictions, chooser)})}


def calibration(predictions: Predictions, *, temperature: float = 1.0, chosen_on: str | None = None) -> dict[str, Any]:
    """How far confidence is from accuracy, as plain JSON values.

    temperature: what the logits were divided by already; `before` is without it. chosen_on: the part of the images that
    it was chosen on, or None. Returns bins: [{low, high, images, confidence, accuracy: a score, p_holm}], of equal
    numbers of images, at most 15 of at least 20 (equal widths would leave most of them nearly empty; Nguyen and
    O'Connor 2015, Posterior Calibration and Exploratory Analysis for NLP Models), p_holm: how often it would be as far
    from its confidence if every confidence were true, after Holm's correction for all bins; ece: the mean over bins of
    |confidence - accuracy| (Naeini et al. 2015, Obtaining Well Calibrated Probabilities Using Bayesian Binning);
    ece_band: the 2.5 and 97.5 percentiles of the ECE if every confidence were true, for it is never 0 (Bröcker and
    Smith 2007, Increasing the Reliability of Reliability Diagrams); temperature: {value, chosen_on, before and after:
    {log_loss, brier}}.

    With several labels each answer to a label counts as an image, those of an image as one group, and confidence is the
    probability of what was said of the label. Raises UsageError without labels or images.
    """
    confidence, right, members = _answers(predictions)
    order = np.argsort(confidence, kind="stable")
    confidence, right, members = confidence[order], right[order], members[order]
    edges = np.linspace(0, len(order), max(1, min(_BINS, len(order) // FEWEST)) + 1).round().astype(np.int64)
    numbers = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    drawn = _calibrated(confidence, right, members, grouped=predictions.groups is not None or predictions.multilabel)
    band = np.percentile(np.concatenate([_ece(rows, numbers) for rows in drawn]), [2.5, 97.5])
    chances = holm(_as_far(right - confidence, drawn, numbers))
    bins = [
        {
            "low": float(confidence[first]),
            "high": float(confidence[last - 1]),
            "images": int(last - first),
            "confidence": float(confidence[first:last].mean()),
            "accuracy": _share(right[first:last], members[first:last]),
            "p_holm": p_holm,
        }
        for (first, last), p_holm in zip(pairwise(edges), chances, strict=True)
    ]
    before = predictions if temperature == 1.0 else _untempered(predictions, temperature)
    return {
        "bins": bins,
        "ece": float(_ece((right - confidence)[None], numbers)[0]),
        "ece_band": [float(band[0]), float(band[1])],
        "temperature": {
            "value": temperature,
            "chosen_on": chosen_on,
            "before": _losses(before),
            "after": _losses(predictions),
        },
    }


def selective(predictions: Predictions, chooser: Predictions | None) -> dict[str, Any]:
    """What comes of answering only above a confidence, of images with one label, as plain JSON values.

    chooser: answers to other images, on which thresholds are chosen; None where there are none. Returns coverage and
    risk: at most 100 points of the risk-coverage curve, the share of images that are answered, the surest first, and
    that of wrong answers among them (El-Yaniv and Wiener 2010, On the Foundations of Noise-free Selective
    Classification; Geifman and El-Yaniv 2017, Selective Classification for Deep Neural Networks); targets: for each
    accuracy above that of all images {accuracy, threshold, coverage, selective_accuracy}, the last two measured on
    these images, or {accuracy, reason}. A threshold is the least at which the chooser's answers, at least 20 of them,
    are as accurate.
    """
    confidence, right, members = _answers(predictions)
    order = np.argsort(-confidence, kind="stable")
    count = len(order)
    wrong = np.cumsum(1 - right[order])
    answered = np.unique(np.linspace(1, count, min(LARGEST_CURVE, count)).round().astype(np.int64))
    targets = [goal for goal in TARGETS if goal > right.mean()]
    return {
        "coverage": [float(value) for value in answered / count],
        "risk": [float(value) for value in wrong[answered - 1] / answered],
        "targets": [_target(goal, predictions, confidence, right, members, chooser) for goal in targets],
    }


def _target(
    goal: float,
    predictions: Predictions,
    confidence: Array,
    right: Array,
    members: Array,
    chooser: Predictions | None,
) -> dict[str, Any]:
    if chooser is None or len(chooser) < FEWEST:
        return {"accuracy": goal, "reason": _TOO_FEW}
    threshold = _threshold(goal, *_answers(chooser)[:2])
    if threshold is None:
        return {"accuracy": goal, "reason": _NOT_REACHED}
    above = confidence >= threshold
    if not above.any():
        return {"accuracy": goal, "reason": _NOT_REACHED}
    return {
        "accuracy": goal,
        "threshold": threshold,
        "coverage": _share(above.astype(np.float64), members),
        "selective_accuracy": _share(right[above], members[above]),
    }


def _threshold(goal: float, confidence: Array, right: Array) -> float | None:
    """The least confidence at and above which so large a share is right; answers of one confidence stay together."""
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last_of_equals = np.append(ranked[1:] < ranked[:-1], True)
    places = np.flatnonzero((share >= goal) & last_of_equals & (np.arange(len(order)) >= FEWEST - 1))
    return float(ranked[places[-1]]) if len(places) else None


def _answers(predictions: Predictions) -> tuple[Array, Array, Array]:
    """Of each answer its confidence, 0..1, whether it is right, as 0.0 or 1.0, and which unit it belongs to."""
    if predictions.labels is None or len(predictions) == 0:
        raise UsageError("confidence cannot be compared with nothing: there must be at least one labelled image")
    chances, predicted = predictions.probabilities, predictions.predicted
    members = np.arange(len(predictions))
    if predictions.groups is not None:
        members = np.unique(np.array(predictions.groups, dtype=object), return_inverse=True)[1]
    if predictions.multilabel:
        said = np.where(predicted, chances, 1 - chances)
        right = (predicted == predictions.labels).astype(np.float64)
        return said.ravel(), right.ravel(), np.repeat(members, chances.shape[1])
    return chances.max(axis=1), (predicted == predictions.labels).astype(np.float64), members


def _ece(residuals: Array, numbers: Array) -> Array:
    """(rows,): the ECE of each row of residuals, right less confidence, (rows, n); numbers: the bin of each answer."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    return np.asarray(np.abs(np.add.reduceat(residuals, starts, axis=1)).sum(axis=1) / residuals.shape[1])


def _as_far(residuals: Array, drawn: list[Array], numbers: Array) -> list[float]:
    """Of each bin how often residuals as they would be if confidence were true add up to as much as those found."""
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    found = np.abs(np.add.reduceat(residuals, starts)) - 1e-9
    reached = sum((np.abs(np.add.reduceat(rows, starts, axis=1)) >= found).sum(axis=0) for rows in drawn)
    return [float(p) for p in (1 + np.asarray(reached)) / (1 + _DRAWN)]


def _calibrated(confidence: Array, right: Array, members: Array, *, grouped: bool) -> list[Array]:
    """Residuals as they would be if confidence were true: chunks of (some, n), 1,000 rows in all.

    Answers by themselves are right as often as their confidence says. Those of a group are not independent: there the
    residuals found keep their sizes, and each group gets a sign of its own (Wu 1986, Jackknife, Bootstrap and Other
    Resampling Methods in Regression Analysis).
    """
    generator = np.random.default_rng(0)
    rows = max(1, _AT_ONCE // len(confidence))
    chunks = []
    for start in range(0, _DRAWN, rows):
        some = min(rows, _DRAWN - start)
        if grouped:
            signs = generator.choice([-1.0, 1.0], size=(some, int(members.max()) + 1))
            chunks.append((right - confidence) * signs[:, members])
        else:
            chunks.append((generator.random((some, len(confidence))) < confidence) - confidence)
    return chunks


def _share(hits: Array, members: Array) -> Score:
    """The share of ones among hits, with its interval by unit."""
    value, units = float(hits.mean()), len(np.unique(members))
    if units == len(hits):
        return _score(value, wilson(float(hits.sum()), len(hits)))
    names = tuple(map(str, members))
    known = Predictions(
        tuple(map(str, range(len(hits)))), np.zeros((len(hits), 2), np.float32), ("0", "1"), groups=names
    )
    drawn = [weights @ hits / weights.sum(axis=1) for weights in resampled_weights(known, resamples=500)]
    everything = np.ones(len(hits), dtype=bool)
    return _score(value, resampled_share(value, np.concatenate(drawn), units=groups_of(known, everything), n=len(hits)))


def _untempered(predictions: Predictions, temperature: float) -> Predictions:
    logits = (predictions.logits.astype(np.float64) * temperature).astype(np.float32)
    return Predictions(
        predictions.keys, logits, predictions.classes, predictions.labels, predictions.groups, predictions.thresholds
    )


def _losses(predictions: Predictions) -> dict[str, Score]:
    return {
        name: _score(float(values.mean()), mean(values, predictions)) for name, values in losses(predictions).items()
    }


def _score(value: float, interval: Interval | None) -> Score:
    low, high = interval or (None, None)
    return {"value": value, "low": low, "high": high}
