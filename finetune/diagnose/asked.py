"""The images whose scores speak, with what was answered of them, and some of them where all would be too many."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from finetune.data.catalog import Catalog
from finetune.runtime import number_from
from finetune.scores.predictions import Predictions


@dataclass(frozen=True)
class Asked:
    """Images in the order of their predictions. `part`: that of the bundle's predictions, "test" or "validation".

    `shipped`: whether the model that ships answered; images that were held out in folds were answered by others, and
    the one that ships has learnt from them.
    """

    part: str
    predictions: Predictions
    catalog: Catalog
    shipped: bool = True

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """bool (n,): the images that are answered right, of several labels with all of them."""
        return right(self.predictions)

    def select(self, places: Sequence[int] | np.ndarray) -> "Asked":
        """The images at these places, in this order."""
        return replace(self, predictions=selected(self.predictions, places), catalog=self.catalog.select(places))

    def few(self, most: int, *, mistakes_first: bool = False) -> "Asked":
        """At most so many, in order: a sample that depends on nothing but how many there are. mistakes_first: all that
        were answered wrong are in it, as far as they fit.
        """
        if len(self.catalog) <= most:
            return self
        generator = np.random.default_rng(number_from("asked", len(self.catalog), most))
        order = generator.permutation(len(self.catalog))
        if mistakes_first:
            order = order[np.argsort(self.right[order], kind="stable")]
        return self.select(np.sort(order[:most]))


def right(predictions: Predictions) -> npt.NDArray[np.bool_]:
    """bool (n,): what is answered right, of several labels with all of them."""
    answered = np.asarray(predictions.predicted == predictions.labels)
    return np.asarray(answered.all(axis=1) if predictions.multilabel else answered)


def selected(predictions: Predictions, places: Sequence[int] | np.ndarray) -> Predictions:
    """The predictions at these places, in this order."""
    chosen = np.asarray(places, dtype=np.int64)
    thresholds = predictions.thresholds
    return replace(
        predictions,
        keys=tuple(predictions.keys[place] for place in chosen),
        logits=predictions.logits[chosen],
        labels=None if predictions.labels is None else predictions.labels[chosen],
        groups=None if predictions.groups is None else tuple(predictions.groups[place] for place in chosen),
        thresholds=thresholds[chosen] if thresholds is not None and thresholds.ndim == 2 else thresholds,
    )
