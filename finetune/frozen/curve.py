"""How accuracy grows with the number of images, and what more of them would bring.

A trial is fitted to shares of the training images of every fold and asked about the fold. Nothing is chosen here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from finetune.errors import UsageError
from finetune.frozen.families import Trial, fit
from finetune.frozen.logistic import SEARCH
from finetune.scores.intervals import percentiles, wilson

Array = npt.NDArray[Any]
Check = Callable[[int, int], None]

SHARES = tuple(tenth / 10 for tenth in range(1, 11))
POWERS = np.linspace(0.1, 1.0, 37)  # of the number of images; no faster than one over it, as an average settles
_RESAMPLES = 500


@dataclass(frozen=True)
class Point:
    """The accuracy with so many images to learn from, 0..1, and its 95 % interval."""

    images: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Law:
    """error = floor + scale * images ** -power: what is left with any number of images, and how the rest falls.

    Cortes et al. 1994, Learning Curves: Asymptotic Values and Rate of Convergence, NIPS 6, section 2.
    """

    floor: float
    scale: float
    power: float

    def error(self, images: float) -> float:
        """The share of wrong answers, 0..1."""
        return min(1.0, float(self.floor + self.scale * images**-self.power))


@dataclass(frozen=True)
class Gain:
    """What `more` images would bring, in points of 100, with its 95 % interval; by the law it is never below 0."""

    more: int
    points: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Curve:
    """Which held-out images were right, by the number of images learnt from.

    images: (shares,) float, rising: the mean number over folds, of the class where `of_class` is one. right: (shares,
    repeats, n) bool. groups: (n,) int, from 0 without gaps, what is independent of what. total: how many images a head
    for use learns from. seed: of the bootstrap.
    """

    images: Array
    right: Array
    groups: Array
    total: int
    of_class: int | None
    seed: int

    @property
    def points(self) -> tuple[Point, ...]:
        """One for each share. Intervals are percentiles of `resampled_errors`."""
        units = int(self.groups.max()) + 1
        values, draws = self.right.mean(axis=(1, 2)), 1 - self.resampled_errors()
        return tuple(
            Point(float(images), float(value), *percentiles(drawn, value=value, otherwise=wilson(value * units, units)))
            for images, value, drawn in zip(self.images, values, draws.T, strict=True)
        )

    def resampled_errors(self) -> Array:
        """(resamples, shares): the share of wrong answers among images (or groups) and repeats drawn with replacement,
        the same for all shares.
        """
        generator = np.random.default_rng(self.seed)
        units, repeats = int(self.groups.max()) + 1, self.right.shape[1]
        errors = np.empty((_RESAMPLES, len(self.images)))
        for row in errors:
            times = np.bincount(generator.integers(0, units, units), minlength=units)[self.groups]
            right = self.right[:, generator.integers(0, repeats, repeats)].mean(axis=1)
            row[:] = 1 - right @ times / times.sum()
        return errors


def learning_curve(
    features: Array,
    labels: Array,
    trial: Trial,
    *,
    classes: int,
    folds: Array,
    groups: Sequence[str] | None = None,
    class_weights: Array | None = None,
    of_class: int | None = None,
    shares: Sequence[float] = SHARES,
    repeats: int = 3,
    seed: int,
    check: Check | None = None,
) -> Curve:
    """The accuracy at shares of the training images, or the recall of one class at shares of its images.

    features, labels, folds, groups, class_weights: as of `probe.probe`. Shares are of every class, at least one image
    of each, the smaller within the larger, in `repeats` random orders. With `of_class` all other classes stay whole,
    and what is left of the class counts for all of it: else its recall would rise with its mere frequency. check(done,
    total) is called after each fit and may raise to stop. Raises UsageError for shares that are not at least two
    numbers in 0..1, and for a class that is never held out.
    """
    shares = sorted(set(shares))
    if len(shares) < 2 or not 0 < shares[0] < shares[-1] <= 1:
        raise UsageError(f"shares must be at least two numbers above 0 and up to 1, but are {shares}")
    asked = (folds >= 0) & (of_class is None or labels == of_class)
    if not asked.any():
        raise UsageError(f"class {of_class} is never held out: nothing can be said of it")
    steps = list(product(range(len(shares)), range(repeats), np.unique(folds[asked]).tolist()))
    images, right = np.zeros((len(shares), len(steps))), np.zeros((len(shares), repeats, len(labels)), dtype=bool)
    weights = np.ones(classes) if class_weights is None else class_weights
    with threadpool_limits(limits=1, user_api="blas"):
        for number, (place, repeat, fold) in enumerate(steps):
            kept = _kept(labels, folds != fold, shares[place], of_class, np.random.default_rng([seed, repeat, fold]))
            left = np.bincount(labels[kept], minlength=classes) / np.bincount(labels[folds != fold], minlength=classes)
            own = weights if of_class is None else weights / left
            head = fit(features[:, kept], labels[kept], trial, classes=classes, class_weights=own, precision=SEARCH)
            inside = asked & (folds == fold)
            right[place, repeat, inside] = head.logits(features[0, inside]).argmax(axis=1) == labels[inside]
            images[place, number] = kept.sum() if of_class is None else (labels[kept] == of_class).sum()
            if check:
                check(number + 1, len(steps))
    numbers = np.arange(len(labels)) if groups is None else np.array(groups, dtype=object)
    return Curve(
        images=images.sum(axis=1) / (images > 0).sum(axis=1),
        right=right[:, :, asked],
        groups=np.unique(numbers[asked], return_inverse=True)[1],
        total=len(labels) if of_class is None else int((labels == of_class).sum()),
        of_class=of_class,
        seed=seed,
    )


def power_law(points: Sequence[Point]) -> Law:
    """The law nearest to the points: least squares, each point counting by its images, floor and scale not negative."""
    images = np.array([point.images for point in points])
    errors = np.array([[1 - point.accuracy for point in points]])
    floor, scale, power = _laws(images, errors)
    return Law(float(floor[0]), float(scale[0]), float(power[0]))


def gain(curve: Curve, *, more: int) -> Gain:
    """What so many more images (of the class, for a curve of one) would bring to a head that learns from all there are.

    The law is fitted anew to each resample of the curve, and the interval is that of what the laws say.
    """
    draws = 100 * _falls(curve, curve.resampled_errors(), more)
    value = float(100 * _falls(curve, 1 - curve.right.mean(axis=(1, 2))[None], more)[0])
    return Gain(more, value, *percentiles(draws, value=value, otherwise=(0.0, 100.0)))


def _kept(labels: Array, trained: Array, share: float, of_class: int | None, generator: np.random.Generator) -> Array:
    """bool (n,): this share of the training images of every class, or of one; one order, whatever the share."""
    order = generator.permutation(len(labels))
    kept = trained.copy()
    for label in np.unique(labels[trained]) if of_class is None else [of_class]:
        members = order[(labels == label)[order] & trained[order]]
        kept[members[max(1, round(share * len(members))) :]] = False
    return kept


def _falls(curve: Curve, errors: Array, more: int) -> Array:
    """(rows,): how much the error of each row's law falls from the images there are to `more` of them."""
    _, scale, power = _laws(curve.images, errors)
    return np.asarray(scale * (curve.total**-power - (curve.total + more) ** -power))


def _laws(images: Array, errors: Array) -> tuple[Array, Array, Array]:
    """Floor, scale and power of the law of each row of errors: (rows, shares) -> three of (rows,)."""
    share = images / images.sum()
    best = np.full(len(errors), np.inf)
    found = np.zeros((3, len(errors)))
    for power in POWERS:
        curve = images**-power
        floor, scale = _line(curve, errors, share)
        squares = ((errors - floor[:, None] - scale[:, None] * curve) ** 2) @ share
        better = squares < best
        best[better] = squares[better]
        found[:, better] = np.stack([floor, scale, np.full_like(floor, power)])[:, better]
    return found[0], found[1], found[2]


def _line(x: Array, y: Array, share: Array) -> tuple[Array, Array]:
    """Of each row of y (rows, shares) the line floor + scale * x by weighted least squares, neither negative; level
    where x is the same for all.
    """
    mean, level = share @ x, y @ share
    if np.ptp(x) <= 1e-12 * mean:
        return level, np.zeros_like(level)
    scale = np.maximum(((y - level[:, None]) @ (share * (x - mean))) / (share @ (x - mean) ** 2), 0)
    floor = level - scale * mean
    through = y @ (share * x) / (share @ x**2)
    return np.where(floor < 0, 0, floor), np.where(floor < 0, through, scale)
