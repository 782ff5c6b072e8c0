"""Rows of numbers that need not fit into memory: kept in unnamed files that are gone when nobody holds them.

What is written there goes past the memory of this process, so that it does not grow with the number of rows.
"""

from collections.abc import Sequence
from mmap import mmap
from typing import Protocol

import numpy as np

from finetune.data.kept import Entry
from finetune.data.scratch import unnamed, write

LARGE = 16 * 10**6  # bytes of a result from which on it is a file


class Records(Protocol):
    """Records of one kind by entry: (SHA-256 of an image, name of a view)."""

    def missing(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of the entries whose record is not there, each once."""

    def make_room(self, records: int, *, beside: int = 0) -> None:
        """Before so many records are put, beside bytes that others were promised. Raises OutOfResources where there is
        none.
        """

    def put(self, entries: Sequence[Entry], values: np.ndarray) -> None:
        """Keeps `values` (n, *shape), one record for each entry."""

    def get(self, entries: Sequence[Entry]) -> np.ndarray:
        """The records (n, *shape) in the order of the entries, which are all there and may repeat."""


class Result:
    """An array of a known shape (views, images, …), filled in any order; above LARGE bytes it is a mapped file."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        bytes_needed = 4 * int(np.prod(shape))
        self._array = np.empty(shape, np.float32) if bytes_needed <= LARGE else None
        self._file = None if bytes_needed <= LARGE else unnamed(self)

    def write(self, view: int, start: int, values: np.ndarray) -> None:
        """Puts the rows `values`, float32, at `start` and after of one view."""
        if self._array is not None:
            self._array[view, start : start + len(values)] = values
        elif self._file is not None and len(values):
            row = values[:1].nbytes
            write(self._file, values, place=(view * self._shape[1] + start) * row)

    def array(self) -> np.ndarray:
        """The array, when all of it is written. A plain one: a memmap would go to other processes by the name that its
        file has not.
        """
        if self._array is None and self._file is not None:
            self._array = np.frombuffer(mmap(self._file.fileno(), 0), np.float32).reshape(self._shape)
        assert self._array is not None
        return self._array
