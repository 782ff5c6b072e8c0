"""Records that last as long as the object that holds them: in unnamed files, which are gone when nobody holds them.

What is written there goes past the memory of this process, so that it does not grow with the number of records.
"""

import contextlib
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from finetune.errors import OutOfResources, printable, size

K = TypeVar("K", bound=Hashable)


class Scratch:
    """Records by any key; threads may share it. What stands in for the store where nothing is to be kept."""

    def __init__(self, *, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self._record = np.dtype((dtype, shape))
        self._file = unnamed(self)
        self._places: dict[Hashable, int] = {}
        self._next = 0
        self._turn = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._places

    def missing(self, entries: Sequence[K]) -> list[K]:
        """Those of the entries that have no record, each once."""
        return [entry for entry in dict.fromkeys(entries) if entry not in self._places]

    def make_room(self, records: int, *, beside: int = 0) -> None:
        """Raises OutOfResources where the temporary folder has no room for so many records, beside bytes that others
        were promised.
        """
        _must_fit(records * self._record.itemsize + beside)

    def put(self, entries: Sequence[Hashable], values: np.ndarray) -> None:
        """Keeps `values` (n, *shape), one record for each entry. Raises OutOfResources where they cannot be written."""
        with self._turn:
            places = range(self._next, self._next + len(entries))
            write(self._file, values, place=places.start * self._record.itemsize)
            self._places.update(zip(entries, places, strict=True))
            self._next = places.stop

    def get(self, entries: Sequence[Hashable]) -> np.ndarray:
        """The records (n, *shape) in the order of the entries, which are all there and may repeat."""
        found = np.empty(len(entries), self._record)
        with self._turn:
            for place, entry in enumerate(entries):
                self._file.seek(self._places[entry] * self._record.itemsize)
                found[place] = np.frombuffer(self._file.read(self._record.itemsize), self._record)[0]
        return found


def unnamed(owner: object) -> IO[bytes]:
    """A file that is closed, and thereby gone, with its owner. Raises OutOfResources where there can be none."""
    with _worded(0):
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # it lives as long as its owner
    weakref.finalize(owner, file.close)
    return file


def write(file: IO[bytes], values: np.ndarray, *, place: int) -> None:
    """Writes the bytes of an array at a place of the file. Raises OutOfResources where that is not possible."""
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    with _worded(len(data)):
        file.seek(place)
        while data:
            data = data[file.write(data) :]  # it may take a part of them


def _must_fit(needed: int) -> None:
    with _worded(needed):
        free = shutil.disk_usage(tempfile.gettempdir()).free
    if needed > free:
        raise OutOfResources(_refusal(needed, f"{size(free)} are free"))


@contextlib.contextmanager
def _worded(needed: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutOfResources(_refusal(needed, error.strerror or str(error))) from error


def _refusal(needed: int, why: str) -> str:
    folder = printable(str(Path(tempfile.gettempdir())))
    variable = "TEMP" if os.name == "nt" else "TMPDIR"
    return (
        f"cannot write {size(needed)} to the temporary folder {folder!r}: {why}; free some space, set {variable} to "
        "another folder, or keep fewer views or images"
    )
