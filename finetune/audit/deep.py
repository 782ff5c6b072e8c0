"""What a network says of the images of an audit, as values: computed below the torch line, judged above it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Measured:
    """A score with its 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """As JSON holds it."""
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


@dataclass(frozen=True)
class LeakEffect:
    """The accuracy on test images with and without those that have a copy among the others, by what has learnt from the
    others: of how many images, of how many of them leaked, and how much the leaked ones raise it. Where all
    of them have leaked nothing is left without.
    """

    images: int
    leaked: int
    whole: Measured
    without: Measured | None
    difference: Measured | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        scores = {"all": self.whole, "without_leaked": self.without, "difference": self.difference}
        shown = {name: None if one is None else one.to_dict() for name, one in scores.items()}
        return {"images": self.images, "leaked": self.leaked, **shown}


@dataclass(frozen=True, eq=False)
class Deep:
    """What the recipe's network makes of the images that have a look, and what a probe on that knows of their labels.
    Where a run's own answers are known, what answered them stands in the probe's place.

    network: its name. keys: the images, in the catalog's order. features: float32 (n, d), of width 0 where none were
    asked for. near: cosine and places of pairs of images whose features are near, the nearest first. probabilities:
    float64 (n, classes) of a probe that has not learnt from the image, nor from one that it belongs together with; NaN
    for images that were never held out so.
    Of any number of labels each has its own. accuracy, balanced_accuracy: of the probe on held-out images, None where
    nothing could be held out and where images have any number of labels; auroc: then the mean of theirs. chance: that
    of the balanced accuracy; of the AUROC it is 0.5. reason: why there is no probe, else empty. leak: where there are
    test images and some have a copy among the others.
    """

    network: str
    keys: tuple[str, ...]
    features: Array
    near: tuple[tuple[float, int, int], ...]
    probabilities: Array
    accuracy: Measured | None = None
    balanced_accuracy: Measured | None = None
    chance: float = float("nan")
    auroc: Measured | None = None
    reason: str = ""
    leak: LeakEffect | None = None

    @property
    def skill(self) -> float | None:
        """The probe's balanced accuracy above chance, where it is known."""
        return None if self.balanced_accuracy is None else self.balanced_accuracy.value - self.chance

    @property
    def told(self) -> Measured | None:
        """What says whether it does better than chance: the balanced accuracy, or the AUROC."""
        return self.auroc or self.balanced_accuracy

    @property
    def by_chance(self) -> float:
        """What that would be by chance."""
        return 0.5 if self.auroc else self.chance

    @property
    def guesses(self) -> bool:
        """Whether what was asked is not shown to do better than chance: then it knows nothing of labels."""
        return self.told is not None and self.told.low <= self.by_chance

    @property
    def held_out(self) -> Array:
        """bool (n,): the images that something is said of."""
        return np.asarray(np.isfinite(self.probabilities).all(axis=1))

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "network": self.network,
            "images": len(self.keys),
            "held_out": int(self.held_out.sum()),
            "reason": self.reason,
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
            "balanced_accuracy": None if self.balanced_accuracy is None else self.balanced_accuracy.to_dict(),
            "auroc": None if self.auroc is None else self.auroc.to_dict(),
            "test": None if self.leak is None else self.leak.to_dict(),
        }
