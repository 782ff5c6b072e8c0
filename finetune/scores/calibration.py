"""Temperature: one number by which logits are divided so that probabilities mean what they say."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.errors import UsageError

Array = npt.NDArray[Any]

COLDEST, HOTTEST = 0.01, 100.0
_STEPS = 60
_PRECISION = 1e-7  # of the logarithm of the temperature
_FLAT = 500.0  # a logit beyond which a probability is 0 or 1 in any case


def temperature(logits: Array, labels: Array, weights: Array | None = None, *, smoothing: float = 0.0) -> float:
    """The T in 0.01..100 that minimises the weighted mean log-loss of softmax(logits / T), or where images may have
    several labels of sigmoid(logits / T).

    logits: (n, classes) float, finite. labels: (n,) int, or bool (n, classes). weights: (n,) float, not negative; None
    counts every image once. smoothing: the share of each label that is spread over all classes; above 0 it keeps T away
    from 0 where every answer is right, which `1 / (n + 2)` does as one wrong answer more would (Platt 1999,
    Probabilistic Outputs for Support Vector Machines, section 2.2). The loss is convex in 1/T, and its derivative is
    followed to 0 by Newton's steps within a bracket. Raises UsageError without images or with weights that are all 0.
    Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2.
    """
    if len(logits) == 0 or (weights is not None and not np.sum(weights) > 0):
        raise UsageError("no image to take a temperature from: there must be at least one that counts")
    scores = np.ascontiguousarray(logits.T, dtype=np.float64)
    if labels.ndim == 2:
        own = (scores * (labels.T * (1 - smoothing) + smoothing / 2)).mean(axis=0)
        slope_at = _label_slope
    else:
        scores -= scores.mean(axis=0)
        own = scores[labels, np.arange(len(labels))] * (1 - smoothing)  # the mean over classes is 0
        slope_at = _slope
    share = np.full(len(labels), 1 / len(labels)) if weights is None else weights / np.sum(weights)
    low, high = -math.log(HOTTEST), -math.log(COLDEST)
    if slope_at(scores, own, share, math.exp(low))[0] >= 0:
        return HOTTEST
    if slope_at(scores, own, share, math.exp(high))[0] <= 0:
        return COLDEST
    place = 0.0
    for _ in range(_STEPS):
        slope, curvature = slope_at(scores, own, share, math.exp(place))
        low, high = (place, high) if slope < 0 else (low, place)
        # Newton in 1/T, written as a step of its logarithm
        step = math.log1p(max(-slope / max(curvature * math.exp(place), 1e-300), -0.9))
        if abs(step) < _PRECISION:
            break
        place = place + step if low < place + step < high else (low + high) / 2
    return math.exp(-place)


def tempered(logits: Array, temperature: float) -> Array:
    """The logits divided by the temperature, in their own type."""
    return np.asarray(logits / logits.dtype.type(temperature))


def _slope(scores: Array, own: Array, share: Array, sharpness: float) -> tuple[float, float]:
    """First and second derivative of the mean log-loss by 1/T; scores: (classes, n), means of 0 over the classes."""
    powers = sharpness * scores
    powers -= powers.max(axis=0)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=0)
    expected = np.einsum("kn,kn->n", powers, scores)
    squares = np.einsum("kn,kn,kn->n", powers, scores, scores)
    return float(share @ (expected - own)), float(share @ (squares - expected**2))


def _label_slope(scores: Array, own: Array, share: Array, sharpness: float) -> tuple[float, float]:
    """The same of the mean over labels of the binary log-losses; scores: (classes, n) as they are."""
    chances = 1 / (1 + np.exp(-np.clip(sharpness * scores, -_FLAT, _FLAT)))
    expected = (chances * scores).mean(axis=0)
    squares = (chances * (1 - chances) * scores**2).mean(axis=0)
    return float(share @ (expected - own)), float(share @ squares)
