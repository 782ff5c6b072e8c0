"""Logistic regression with an L2 penalty, multinomial or a binary one for each label: one fit, and a path of them from
strong to weak penalty.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SEARCH, EXACT = 1e-4, 1e-11  # about the share of the loss by which it may be above its minimum when a fit ends
_ATTAINABLE = 1e-7  # in float32: sums are no more exact than that
_STEPS = 500
_MEMORY = 10
_SUFFICIENT = 1e-4  # of the decrease that the slope promises


def path(
    rows: Array,
    labels: Array,
    weights: Array,
    *,
    classes: int,
    strengths: Iterable[float],
    precision: float = SEARCH,
) -> Iterator[Array]:
    """The parameters at each strength in turn, each fit begun where the last one ended; as `logistic`."""
    start = None
    for strength in strengths:
        start = logistic(rows, labels, weights, classes=classes, strength=strength, start=start, precision=precision)
        yield start


def logistic(
    rows: Array,
    labels: Array,
    weights: Array,
    *,
    classes: int,
    strength: float,
    start: Array | None = None,
    precision: float = EXACT,
) -> Array:
    """The parameters that minimise `strength` * sum(weights * log-loss) + |W|² / 2: (classes, r + 1) float64, the
    intercepts, which are not penalised, in the last column.

    rows: (m, r) float32 or float64, about centred. labels: (m,) int. weights: (m,) float. start: parameters to begin
    from. The optimum is unique but for a constant added to all intercepts. Parameters are scaled by the root of the
    Hessian's diagonal at the start, which saves half to two thirds of the steps.
    """
    truth = np.zeros((classes, len(rows)), dtype=rows.dtype)
    truth[labels, np.arange(len(rows))] = 1
    return _least(rows, truth, weights, _softmax_losses, strength=strength, start=start, precision=precision)


def label_path(
    rows: Array,
    labels: Array,
    weights: Array,
    *,
    classes: int,
    strengths: Iterable[float],
    precision: float = SEARCH,
) -> Iterator[Array]:
    """As `path`, for labels bool (m, classes): of every label its own regression, which knows nothing of the others.

    A label that all rows have, or none, gets no weights and the intercept log((k + 1/2) / (m - k + 1/2)) of the k rows
    with it (Krichevsky and Trofimov 1981, The Performance of Universal Encoding).
    """
    counts = labels.sum(axis=0)
    differ = (counts > 0) & (counts < len(labels))
    truth = np.ascontiguousarray(labels[:, differ].T, dtype=rows.dtype)
    found = np.zeros((classes, rows.shape[1] + 1))
    found[:, -1] = np.log((counts + 0.5) / (len(labels) - counts + 0.5))
    start = None
    for strength in strengths:
        if differ.any():
            start = _least(rows, truth, weights, _sigmoid_losses, strength=strength, start=start, precision=precision)
            found[differ] = start
        yield found.copy()


def _least(
    rows: Array,
    truth: Array,
    weights: Array,
    losses: Callable[[Array, Array], tuple[Array, Array]],
    *,
    strength: float,
    start: Array | None,
    precision: float,
) -> Array:
    """The parameters at which the penalised losses are least; truth: (classes, m) 0 or 1. losses: logits (classes, m)
    and truth -> probabilities (classes, m), and the loss of each row (m,).
    """
    total = float(weights.sum())
    share = (weights / total).astype(rows.dtype)
    penalty = 1 / (strength * total)
    first = np.zeros((len(truth), rows.shape[1] + 1)) if start is None else start
    scale = _scale(rows, losses(_logits(rows, first), truth)[0], share, penalty)

    def loss(scaled: Array) -> tuple[float, Array]:
        parameters = scaled / scale
        probabilities, each = losses(_logits(rows, parameters), truth)
        value = float(np.einsum("m,m->", each, share, dtype=np.float64))
        value += penalty / 2 * float(np.vdot(parameters[:, :-1], parameters[:, :-1]))
        probabilities -= truth
        probabilities *= share
        gradient = np.empty_like(parameters)
        # BLAS is three to seven times slower at `probabilities @ rows`, the same product
        gradient[:, :-1] = (rows.T @ np.ascontiguousarray(probabilities.T)).T
        gradient[:, :-1] += penalty * parameters[:, :-1]
        gradient[:, -1] = probabilities.sum(axis=1)
        return value, gradient / scale

    return (
        minimum(loss, first * scale, precision=max(precision, _ATTAINABLE if rows.dtype == np.float32 else 0)) / scale
    )


def minimum(loss: Callable[[Array], tuple[float, Array]], start: Array, *, precision: float) -> Array:
    """Where a smooth convex function is at its least, by L-BFGS from `start`.

    loss: a point -> value, above 0, and gradient, of the point's shape; scaled so that a step of the gradient is about
    right. Ends where the decrease that is left by the quadratic model is below `precision` of the value, or where no
    step brings one.
    Liu and Nocedal 1989, On the Limited Memory BFGS Method for Large Scale Optimization, Mathematical Programming 45.
    """
    point, (value, gradient) = start, loss(start)
    pairs: deque[tuple[Array, Array, float]] = deque(maxlen=_MEMORY)
    for _ in range(_STEPS):
        direction = _direction(gradient, pairs)
        slope = float(np.vdot(gradient, direction))
        if -slope / 2 < precision * value:
            break
        step = 1.0
        while (found := loss(point + step * direction))[0] > value + _SUFFICIENT * step * slope and step > 1e-6:
            step /= 2
        if found[0] >= value:
            break
        moved, bent = step * direction, found[1] - gradient
        if (curvature := float(np.vdot(moved, bent))) > 0:
            pairs.append((moved, bent, curvature))
        point, (value, gradient) = point + moved, found
    return point


def _direction(gradient: Array, pairs: deque[tuple[Array, Array, float]]) -> Array:
    """Minus the gradient times the inverse Hessian that the last steps speak of (the two-loop recursion)."""
    direction = -gradient
    shares = []
    for moved, bent, curvature in reversed(pairs):
        shares.append(float(np.vdot(moved, direction)) / curvature)
        direction -= shares[-1] * bent
    if pairs:
        _, bent, curvature = pairs[-1]
        direction *= curvature / float(np.vdot(bent, bent))
    for (moved, bent, curvature), share in zip(pairs, reversed(shares), strict=True):
        direction += (share - float(np.vdot(bent, direction)) / curvature) * moved
    return direction


def _logits(rows: Array, parameters: Array) -> Array:
    """(classes, m): classes first, for sums over them are then sums of rows."""
    logits = np.ascontiguousarray((rows @ np.ascontiguousarray(parameters[:, :-1].T, dtype=rows.dtype)).T)
    logits += parameters[:, -1:].astype(rows.dtype)
    return logits


def _softmax_losses(logs: Array, truth: Array) -> tuple[Array, Array]:
    logs -= logs.max(axis=0)
    powers = np.exp(logs)
    sums = powers.sum(axis=0)
    logs -= np.log(sums)
    powers /= sums
    return powers, -np.einsum("km,km->m", truth, logs)


def _sigmoid_losses(logits: Array, truth: Array) -> tuple[Array, Array]:
    small = np.exp(-np.abs(logits))  # never overflows
    each = np.maximum(logits, 0) - truth * logits + np.log1p(small)
    probabilities = np.where(logits >= 0, 1, small)
    probabilities /= 1 + small
    return probabilities, each.sum(axis=0)


def _scale(rows: Array, probabilities: Array, share: Array, penalty: float) -> Array:
    """(r + 1,): the root of the Hessian's diagonal, averaged over the classes."""
    spread = max(float((probabilities * (1 - probabilities)).mean()), 1e-6)
    squares = np.einsum("mr,mr,m->r", rows, rows, share, dtype=np.float64)
    return np.asarray(np.sqrt(np.append(spread * squares + penalty, spread)))
