"""Images with any number of labels dealt into parts, so that each label is shared out as was asked.

A function of counts and of an order alone: it knows nothing of files, and draws nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def dealt(counts: Array, sizes: Array, shares: Sequence[float]) -> Array:
    """The part, int64 (units,) from 0, to which each unit goes; a unit is what must stay together.

    counts: (units, labels) int, the images of each unit with each label. sizes: (units,) int, all its images. shares:
    of each part, adding up to 1. Units are in the order in which they are dealt among equals: by the hash of their
    content, it is they that decide and not where they stood. One label after the other, always the one with the fewest
    images left, goes unit by unit to the part that lacks most of it; of equal parts to the one that lacks most images,
    then the first. Units without labels come last.
    Sechidis, Tsoumakas and Vlahavas 2011, On the Stratification of Multi-Label Data, algorithm 1, with a rule where
    theirs draws lots.
    """
    wanted = np.asarray(shares, dtype=np.float64)
    lacking, room = np.outer(wanted, counts.sum(axis=0)), wanted * sizes.sum()
    left, part = counts.sum(axis=0).astype(np.float64), np.full(len(counts), -1, dtype=np.int64)
    while (left > 0).any():
        label = int(np.where(left > 0, left, np.inf).argmin())
        for unit in np.flatnonzero((part < 0) & (counts[:, label] > 0)).tolist():
            part[unit] = _neediest(lacking[:, label], room)
            lacking[part[unit]] -= counts[unit]
            room[part[unit]] -= sizes[unit]
            left -= counts[unit]
    for unit in np.flatnonzero(part < 0).tolist():
        part[unit] = int(_rounded(room).argmax())
        room[part[unit]] -= sizes[unit]
    return part


def _neediest(lacking: Array, room: Array) -> int:
    return int(np.lexsort((-_rounded(room), -_rounded(lacking)))[0])


def _rounded(numbers: Array) -> Array:
    """Differences that are but those of rounding do not decide."""
    return np.round(numbers, 9)
