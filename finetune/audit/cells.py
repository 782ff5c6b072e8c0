"""A fact about images, cut into cells in which it is nearly the same, without a look at the labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

HALVINGS = 6
MOST = 2**HALVINGS  # cells of what is known
SMALLEST = 5  # images in a cell


@dataclass(frozen=True, eq=False)
class Cells:
    """A fact cut into cells, and these into smaller ones, step by step.

    leaf: (n,) int64 from 0, the last cell of each image. starts: for each step an int64 array, the first leaf of each
    of its cells, ascending: the cells of a step are runs of leaves, and those of the last step are the leaves.
    """

    leaf: Array
    starts: tuple[Array, ...]


def cut(values: Array) -> Cells:
    """The cells of a fact; the order of the images does not matter.

    values: (n,) or (n, columns) numbers: the rows with a NaN are a cell, the others are halved six times, by each
    column in turn, as near to the middle as equal values allow; a half has at least five images. (n,) texts: a cell for
    each of the 63 most frequent that five images have, and one for all others; None is the empty text. n is at least 1.
    """
    return _halved(values) if values.dtype.kind in "fiub" else _named(values)


def _named(values: Array) -> Cells:
    texts = np.array(["" if value is None else str(value) for value in values])
    names, numbers, counts = np.unique(texts, return_inverse=True, return_counts=True)
    frequent = [place for place in np.argsort(-counts, kind="stable")[: MOST - 1] if counts[place] >= SMALLEST]
    own = np.full(len(names), len(frequent))
    own[frequent] = np.arange(len(frequent))
    present, leaf = np.unique(own[numbers], return_inverse=True)
    return Cells(leaf, (np.arange(len(present)),))


def _halved(values: Array) -> Cells:
    columns = values.reshape(len(values), -1).astype(np.float64)
    unknown = np.asarray(np.isnan(columns).any(axis=1))
    cells = [members for members in (np.flatnonzero(unknown), np.flatnonzero(~unknown)) if len(members)]
    splits = []  # of each halving: the first part of each cell that there was before
    for halving in range(HALVINGS):
        parts = [[one] if unknown[one[0]] else _parts(columns, one, first=halving) for one in cells]
        splits.append(np.cumsum([0, *map(len, parts[:-1])]))
        cells = [part for found in parts for part in found]
    leaf = np.empty(len(values), dtype=np.int64)
    for number, members in enumerate(cells):
        leaf[members] = number
    starts = [np.arange(len(cells))]
    for split in reversed(splits):
        starts.append(starts[-1][split])
    return Cells(leaf, tuple(reversed(starts)))


def _parts(columns: Array, members: Array, *, first: int) -> list[Array]:
    """The halves of a cell by the first column, counted from `first` on, that can be halved; else the cell itself."""
    for offset in range(columns.shape[1]):
        column = columns[members, (first + offset) % columns.shape[1]]
        values, counts = np.unique(column, return_counts=True)
        below = np.cumsum(counts)[:-1]
        if not len(below):
            continue
        place = int(np.abs(2 * below - len(members)).argmin())
        if SMALLEST <= below[place] <= len(members) - SMALLEST:
            low = column <= values[place]
            return [members[low], members[~low]]
    return [members]
