"""Heads that are fitted and not trained: features and labels in, one linear or cosine layer out.

Whatever a family works on (scaled, centred, normalised, rotated), the layer that comes out holds all of it. This module
chooses nothing: it fits the trial it is given.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import numpy as np
import numpy.typing as npt

from finetune.errors import UsageError
from finetune.frozen import logistic
from finetune.frozen.design import SCALINGS, Design, Fitted, Scaling, normalised

__all__ = ["SCALINGS", "Design", "Family", "Fitted", "Scaling", "Trial", "fit", "heads", "votes"]

Array = npt.NDArray[Any]
Family = Literal["ncm", "cosine", "lda", "logistic", "ridge", "knn"]

_FLOOR = 1e-6  # of a variance, against 1 for all features, where the images of each class are all equal
_TINY = 1e-12


@dataclass(frozen=True)
class Trial:
    """What a head is fitted with.

    family: "ncm", the nearest class mean (Mensink et al. 2013, Distance-Based Image Classification); "cosine",
    normalised class means (Gidaris and Komodakis 2018, section 3.2); "lda", linear discriminants with a shrunk
    covariance; "logistic", multinomial with an L2 penalty, or where images have any number of labels a binary one for
    each of them: the one family that there is then; for comparison only "ridge", least squares on 0 and 1, and
    "knn", votes of the nearest images.
    scaling: "raw" shifts by the mean and divides by one number, "standardised" by one for each feature, "l2" brings
    every image to length 1, "centred l2" after taking off the mean. All of them end with a mean square of 1 about the
    mean, so that a strength means about the same whatever the network's units.
    strength: of logistic its C, of lda the shrinkage in 0..1 (None: Ledoit and Wolf's), of ridge the penalty in units
    of the features' mean variance, of knn how many vote, else None.
    """

    family: Family
    scaling: Scaling
    strength: float | None = None


def fit(
    features: Array,
    labels: Array,
    trial: Trial,
    *,
    classes: int,
    temperature: float = 1.0,
    class_weights: Array | None = None,
    precision: float = logistic.EXACT,
) -> Fitted:
    """The head of a trial, its logits divided by `temperature`.

    features: float32 (views, n, d). labels: (n,) int in 0..classes - 1, or bool (n, classes). class_weights: (classes,)
    float by which an image of each class counts; None counts every image once. precision: at which a search for the
    best parameters ends.
    """
    design = Design.of(features, labels, trial.scaling, classes=classes, class_weights=class_weights)
    (fitted,) = heads(design, trial.family, [trial.strength], precision=precision)
    return fitted.tempered(temperature)


def heads(
    design: Design, family: Family, strengths: Iterable[float | None], *, precision: float = logistic.SEARCH
) -> Iterator[Fitted]:
    """A head for each strength, in that order; what they share is worked out once. Raises UsageError for a family that
    makes no head of such labels.
    """
    if design.labels.ndim == 2 and family != "logistic":
        raise UsageError(f"{family} has one class for each image; with any number of labels there is logistic alone")
    match family:
        case "ncm":
            yield from (_nearest_mean(design) for _ in strengths)
        case "cosine":
            yield from (_cosine(design) for _ in strengths)
        case "lda":
            yield from _discriminants(design, strengths)
        case "logistic":
            yield from _logistic(design, [strength for strength in strengths if strength is not None], precision)
        case "knn":
            raise UsageError("nearest neighbours are for comparison: they make no head")
        case "ridge":
            yield from _ridge(design, [strength for strength in strengths if strength is not None])
        case _:
            assert_never(family)


def votes(design: Design, features: Array, *, neighbours: int) -> Array:
    """float32 (n, classes): the logarithm of the share of each class among the nearest training images (plain views),
    one vote more divided among all classes.
    """
    rows, labels = design.rows[: design.images], design.labels[: design.images]
    distances = np.einsum("mr,mr->m", rows, rows) - 2 * design.scaled(features) @ rows.T
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :neighbours]
    counts = np.eye(design.classes)[labels[nearest]].sum(axis=1)
    return np.asarray(np.log((counts + 1 / design.classes) / (neighbours + 1)), dtype=np.float32)


def _nearest_mean(design: Design) -> Fitted:
    """Half the negative squared distance, but for what all classes share."""
    means = design.class_means()
    bias = -(means**2).sum(axis=1) / 2
    size = design.size(means, bias)
    return design.folded(means / size, bias / size)


def _cosine(design: Design) -> Fitted:
    """The cosine of the angle between an image and a class's mean: on lengths of 1 a product of two vectors."""
    assert design.normalise, "a cosine head is one of normalised features"
    means = normalised(design.unscaled(design.class_means()))
    # in rows' own coordinates, for the size of the scores alone: features beyond the rows' span still count
    stretched = design.stretched(means)
    turned = stretched if design.basis is None else stretched @ design.basis
    size = design.size(turned, means @ design.mean)
    return design.layer(means / size, np.zeros(len(means)))


def _discriminants(design: Design, strengths: Iterable[float | None]) -> Iterator[Fitted]:
    """Linear discriminants with the covariance (1 - s) S + s trace(S) / d I within classes, weighted priors.

    Ledoit and Wolf 2004, A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices.
    """
    means = design.class_means()
    within = design.rows - means.astype(design.rows.dtype)[design.labels]
    share = design.weights / design.weights.sum()
    covariance = ((within * share[:, None].astype(within.dtype)).T @ within).astype(np.float64)
    variance = float(np.trace(covariance)) / design.width
    priors = np.bincount(design.labels, design.weights, minlength=design.classes)
    log_priors = np.log(np.maximum(priors / priors.sum(), _TINY))
    values, vectors = np.linalg.eigh(covariance)
    turned = means @ vectors
    for strength in strengths:
        shrinkage = _ledoit_wolf(within, share, covariance, design) if strength is None else strength
        # not quite 0 where all images of each class are equal
        shrunk = (1 - shrinkage) * np.maximum(values, 0) + shrinkage * variance + _FLOOR
        weight = (turned / shrunk) @ vectors.T
        yield design.folded(weight, log_priors - (weight * means).sum(axis=1) / 2)


def _ledoit_wolf(within: Array, share: Array, covariance: Array, design: Design) -> float:
    """The shrinkage of lemma 3.3 and section 3.2, where the sample is the images: their views are not independent."""
    width = design.width
    fourth = float(share @ np.einsum("mr,mr->m", within, within, dtype=np.float64) ** 2)
    squared = float((covariance**2).sum())
    error = (fourth - squared) / design.images
    distance = squared - float(np.trace(covariance)) ** 2 / width
    return min(1.0, max(error, 0.0) / distance) if distance > 0 else 1.0


def _logistic(design: Design, strengths: Sequence[float], precision: float) -> Iterator[Fitted]:
    fitted = logistic.label_path if design.labels.ndim == 2 else logistic.path
    parameters = fitted(
        design.rows,
        design.labels,
        design.weights,
        classes=design.classes,
        strengths=strengths,
        precision=precision,
    )
    for found in parameters:
        yield design.folded(found[:, :-1], found[:, -1])


def _ridge(design: Design, strengths: Sequence[float]) -> Iterator[Fitted]:
    """Least squares on 1 for the own class and 0 for the others: one eigendecomposition for all strengths."""
    share = design.weights / design.weights.sum()
    truth = np.eye(design.classes)[design.labels]
    centre, level = share @ design.rows, share @ truth
    rows = design.rows - centre.astype(design.rows.dtype)
    weighted = rows * share[:, None].astype(rows.dtype)
    values, vectors = np.linalg.eigh((weighted.T @ rows).astype(np.float64))
    turned = vectors.T @ (weighted.T @ (truth - level).astype(rows.dtype)).astype(np.float64)
    for strength in strengths:
        weight = (vectors @ (turned / (np.maximum(values, 0) + strength)[:, None])).T
        bias = level - weight @ centre
        size = design.size(weight, bias)
        yield design.folded(weight / size, bias / size)
