"""Features in the units in which heads are fitted, and the way back: a head that holds all of it."""

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Scaling = Literal["raw", "standardised", "l2", "centred l2"]

SCALINGS: tuple[Scaling, ...] = ("raw", "standardised", "l2", "centred l2")
DIRECTIONS: tuple[Scaling, ...] = ("l2", "centred l2")  # of length 1
_FLAT = 1e-6  # a feature that varies less than this, against all others, does not vary
_FEW = 0.5  # rows for each feature, up to which it is quicker to rotate them
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Fitted:
    """A head that needs nothing beside the features.

    linear: x Wᵀ + b. cosine: (x - centre) / |x - centre| Wᵀ + b, without a centre where that is None.
    weight: float32 (classes, d). bias: float32 (classes,). centre: float32 (d,) or None.
    """

    kind: Literal["linear", "cosine"]
    weight: Array
    bias: Array
    centre: Array | None

    def logits(self, features: Array) -> Array:
        """float32 (n, classes) of float32 (n, d)."""
        if self.kind == "cosine":
            features = normalised(features if self.centre is None else features - self.centre)
        return np.asarray(features @ self.weight.T + self.bias)

    def tempered(self, temperature: float) -> Self:
        """The head whose logits are divided by the temperature."""
        weight, bias = self.weight / np.float32(temperature), self.bias / np.float32(temperature)
        return replace(self, weight=weight, bias=bias)


@dataclass(frozen=True, eq=False)
class Design:
    """Training rows, all views of all images, in the units that families are fitted in.

    rows: (m, r), a view of all images before the next: float32, or where they are few against the features rotated into
    the span that they have, float64, which changes no solution (Hastie and Tibshirani 2004, Efficient Quadratic
    Regularization for Expression Arrays, section 2).
    labels: (m,), or bool (m, classes) where images have any number. weights: (m,) float64, adding up to 1 for an image
    of weight 1. images: how many there are.
    """

    rows: Array
    labels: Array
    weights: Array
    classes: int
    images: int
    normalise: bool
    centre: Array | None
    mean: Array
    deviation: Array
    basis: Array | None

    @classmethod
    def of(
        cls, features: Array, labels: Array, scaling: Scaling, *, classes: int, class_weights: Array | None = None
    ) -> Self:
        """features: float32 (views, n, d), all finite; labels: (n,) int or (n, classes) bool; class_weights: (classes,)
        or None.
        """
        views, images, width = features.shape
        rows = features.reshape(-1, width)
        normalise = scaling in DIRECTIONS
        centre = rows.mean(axis=0, dtype=np.float64).astype(np.float32) if scaling == "centred l2" else None
        if normalise:
            rows = normalised(rows if centre is None else rows - centre)
        mean = rows.mean(axis=0, dtype=np.float64)
        deviation = _deviation(rows, each=scaling == "standardised")
        basis = None
        if len(rows) <= _FEW * width:
            rows, basis = _rotated((rows - mean) / deviation)
        else:
            rows = (rows - mean.astype(np.float32)) / deviation.astype(np.float32)
        return cls(
            rows=rows,
            labels=np.concatenate([labels] * views),
            weights=np.tile(image_weights(labels, class_weights) / views, views),
            classes=classes,
            images=images,
            normalise=normalise,
            centre=centre,
            mean=mean,
            deviation=deviation,
            basis=basis,
        )

    @property
    def width(self) -> int:
        """How many features there are."""
        return len(self.mean)

    def folded(self, weight: Array, bias: Array) -> Fitted:
        """The head on features that is (classes, r) and (classes,) on rows."""
        weight = (weight if self.basis is None else weight @ self.basis.T) / self.deviation
        return self.layer(weight, bias - weight @ self.mean)

    def layer(self, weight: Array, bias: Array) -> Fitted:
        """The head that is (classes, d) and (classes,) on features (of length 1 where they are normalised)."""
        kind: Literal["linear", "cosine"] = "cosine" if self.normalise else "linear"
        return Fitted(kind, weight.astype(np.float32), bias.astype(np.float32), self.centre)

    def scaled(self, features: Array) -> Array:
        """float32 (n, d) features as rows: (n, r)."""
        if self.normalise:
            features = normalised(features if self.centre is None else features - self.centre)
        rows = ((features - self.mean) / self.deviation).astype(self.rows.dtype)
        return rows if self.basis is None else rows @ self.basis

    def unscaled(self, rows: Array) -> Array:
        """Rows as features (of length about 1 where they are normalised), float64."""
        return self.stretched(rows if self.basis is None else rows @ self.basis.T) + self.mean

    def stretched(self, rows: Array) -> Array:
        """(n, d) times the deviation, 0 for features that do not vary."""
        return np.asarray(rows * np.where(np.isfinite(self.deviation), self.deviation, 0))

    def class_means(self) -> Array:
        """(classes, r) float64, weighted; 0 for a class without images."""
        share = np.zeros((self.classes, len(self.labels)))
        share[self.labels, np.arange(len(self.labels))] = self.weights
        share /= np.maximum(share.sum(axis=1, keepdims=True), _TINY)
        return np.asarray((share.astype(self.rows.dtype) @ self.rows).astype(np.float64))

    def size(self, weight: Array, bias: Array) -> float:
        """The root mean square of the rows' scores about their mean over the classes: what scores without a scale of
        their own are divided by, so that a temperature within bounds can give them one.
        """
        scores = self.rows @ weight.T.astype(self.rows.dtype) + bias.astype(self.rows.dtype)
        scores -= scores.mean(axis=1, keepdims=True)
        return max(float(np.sqrt((scores**2).mean(dtype=np.float64))), _TINY)


def image_weights(labels: Array, class_weights: Array | None) -> Array:
    """(n,) float64: by how much each image counts, as `class_weights` say of its class; 1 where an image has any number
    of labels, each of which counts the same.
    """
    if class_weights is None or labels.ndim == 2:
        return np.ones(len(labels))
    return np.asarray(class_weights[labels])


def normalised(rows: Array) -> Array:
    """Rows (m, d) divided by their lengths; a row of zeros stays one."""
    lengths = np.sqrt(np.einsum("md,md->m", rows, rows))
    return np.asarray(rows / np.maximum(lengths, _TINY)[:, None])


def _deviation(rows: Array, *, each: bool) -> Array:
    """(d,) float64: what rows are divided by; infinite for a feature that does not vary, which so drops out."""
    variances = rows.var(axis=0, dtype=np.float64)
    usual = float(np.sqrt(variances.mean()))
    deviation = np.sqrt(variances) if each else np.full(len(variances), usual)
    return np.asarray(np.where(deviation > max(_FLAT * usual, _TINY), deviation, np.inf))


def _rotated(rows: Array) -> tuple[Array, Array]:
    """Rows (m, r) in an orthonormal basis (d, r) of the span that they have, by the eigenvectors of their products."""
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = values > max(values[-1] * _FLAT**2, _TINY)
    kept[-1] = True  # rows that are all zero have a basis of nothing
    lengths = np.sqrt(np.maximum(values[kept], _TINY))
    return vectors[:, kept] * lengths, rows.T @ (vectors[:, kept] / lengths)
