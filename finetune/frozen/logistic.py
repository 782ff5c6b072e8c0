"""Multinomial logistic regression with an L2 penalty: one fit, and a path of them from strong to weak penalty."""

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
    total = float(weights.sum())
    share = (weights / total).astype(rows.dtype)
    penalty = 1 / (strength * total)
    truth = np.zeros((classes, len(rows)), dtype=rows.dtype)
    truth[labels, np.arange(len(rows))] = 1
    first = np.zeros((classes, rows.shape[1] + 1)) if start is None else start
    scale = _scale(rows, _softmax(rows, first)[0], share, penalty)

    def loss(scaled: Array) -> tuple[float, Array]:
        parameters = scaled / scale
        probabilities, logs = _softmax(rows, parameters)
        value = -float(np.einsum("km,km,m->", truth, logs, share, dtype=np.float64))
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


def _softmax(rows: Array, parameters: Array) -> tuple[Array, Array]:
    """Probabilities and their logarithms, (classes, m): classes first, for sums over them are then sums of rows."""
    logs = np.ascontiguousarray((rows @ np.ascontiguousarray(parameters[:, :-1].T, dtype=rows.dtype)).T)
    logs += parameters[:, -1:].astype(rows.dtype)
    logs -= logs.max(axis=0)
    powers = np.exp(logs)
    sums = powers.sum(axis=0)
    logs -= np.log(sums)
    powers /= sums
    return powers, logs


def _scale(rows: Array, probabilities: Array, share: Array, penalty: float) -> Array:
    """(r + 1,): the root of the Hessian's diagonal, averaged over the classes."""
    spread = max(float((probabilities * (1 - probabilities)).mean()), 1e-6)
    squares = np.einsum("mr,mr,m->r", rows, rows, share, dtype=np.float64)
    return np.asarray(np.sqrt(np.append(spread * squares + penalty, spread)))
