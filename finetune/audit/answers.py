"""What a fact's cells tell of classes: who is asked, and what a classifier that knows only the cell answers.

It takes cells and labels and knows nothing of files, facts or luck.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.audit.cells import Cells

Array = npt.NDArray[Any]

_FOLDS = 5
_NUMBERS = 2_000_000  # of counts at a time, 16 MB


@dataclass(frozen=True, eq=False)
class Asked:
    """The images that are asked about, in the order of their groups' names, and what can change labels as a whole.

    images: places (m,). labels: (units,), numbered among `classes`. units: (m,), the unit of each image: the images of
    one group and label. folds: (m,).
    """

    images: Array
    labels: Array
    units: Array
    folds: Array
    classes: Array

    @classmethod
    def of(cls, labels: Array, groups: Sequence[str], classes: int) -> "Asked":
        """Of all images those whose class has two groups or more. labels: (n,) int in 0..classes - 1."""
        names, numbers = np.unique(np.array(groups, dtype=object), return_inverse=True)
        held = np.unique(np.stack([labels, numbers]), axis=1)[0]  # a label for every group that has it
        kept = np.flatnonzero(np.bincount(held, minlength=classes) >= 2)
        images = np.flatnonzero(np.isin(labels, kept))
        images = images[np.lexsort((labels[images], numbers[images]))]
        pairs = np.stack([numbers[images], np.searchsorted(kept, labels[images])])
        found, units = np.unique(pairs, axis=1, return_inverse=True)
        ranked = sorted(set(pairs[0].tolist()), key=lambda place: _rank(str(names[place])))
        fold = np.zeros(len(names), dtype=np.int64)
        fold[ranked] = np.arange(len(ranked)) % _FOLDS
        return cls(images, found[1], units.reshape(-1), fold[pairs[0]], kept)

    @property
    def sizes(self) -> Array:
        """(classes,): images of each class that is asked for."""
        return np.bincount(self.labels[self.units], minlength=len(self.classes))


class Table:
    """How often each class occurs in each cell and fold, for many dealings of the labels at once."""

    def __init__(self, cells: Cells, asked: Asked) -> None:
        self._asked, self._cells = asked, cells
        self._leaves, self._classes = int(cells.leaf.max()) + 1, len(asked.classes)
        self._folds = int(asked.folds.max()) + 1
        self._place = asked.folds * self._leaves + cells.leaf
        self.at_once = max(1, _NUMBERS // (self._folds * self._leaves * self._classes))  # dealings

    @property
    def trivial(self) -> bool:
        """Whether all images are in one cell."""
        return self._leaves == 1

    def counts(self, labels: Array) -> Array:
        """(rows, folds, leaves, classes) float64, of labels (rows, units)."""
        shape = (len(labels), self._folds, self._leaves, self._classes)
        places = np.arange(len(labels))[:, None] * (self._folds * self._leaves) + self._place
        flat = places * self._classes + labels[:, self._asked.units]
        return np.bincount(flat.ravel(), minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)

    def recalls(self, held: Array) -> Array:
        """(rows, classes): the recall of each class on held-out images, of `counts`.

        The answer in a cell is the class that is most frequent there by the other folds, shared among equals.
        """
        density = self._density(held.sum(axis=1, keepdims=True) - held)
        best = density == density.max(axis=3, keepdims=True)
        credit = best / best.sum(axis=3, keepdims=True)
        return np.asarray((held * credit).sum(axis=(1, 2)) / held.sum(axis=(1, 2)))

    def against_rest(self, held: Array) -> Array:
        """(rows, classes): the balanced accuracy of the question whether a held-out image is of the class or of any
        other, of `counts`. The answer in a cell is the class where it is more frequent there than all others together.
        """
        learnt = held.sum(axis=1, keepdims=True) - held
        own, rest = self._density(learnt), self._density(learnt.sum(axis=3, keepdims=True) - learnt)
        yes = (own > rest) + 0.5 * (own == rest)
        others = held.sum(axis=3, keepdims=True) - held
        recall = (held * yes).sum(axis=(1, 2)) / held.sum(axis=(1, 2))
        return np.asarray((recall + (others * (1 - yes)).sum(axis=(1, 2)) / others.sum(axis=(1, 2))) / 2)

    def _density(self, learnt: Array) -> Array:
        """Of the images in each cell and last column, drawn towards that of all images step by step: of that shape."""
        above = learnt.sum(axis=2, keepdims=True)
        sizes = np.bincount(self._cells.leaf).astype(np.float64)
        larger, before = sizes.sum(keepdims=True), np.zeros(1, dtype=np.int64)
        density = np.ones_like(above)
        for step, starts in enumerate(self._cells.starts, 1):
            up = np.searchsorted(before, starts, side="right") - 1
            inside, size = np.add.reduceat(learnt, starts, axis=2), np.add.reduceat(sizes, starts)
            weight = float(step**2)  # finer cells are believed less
            share = (weight * size / larger[up])[:, None]
            density = density[:, :, up] * (inside + share) / (above[:, :, up] + weight)
            above, larger, before = inside, size, starts
        return np.asarray(density)


def _rank(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
