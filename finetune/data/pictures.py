"""Pictures of any size in the store: uint8 (h, w, 3), one behind the other in a file that is mapped into memory."""

import contextlib
import sqlite3
import struct
import threading
from collections.abc import Sequence

import numpy as np

from finetune.data.kept import Kept, Seen, Shelf, key_of
from finetune.errors import OutOfResources

_HEAD = struct.Struct("<II")  # height and width, before the pixels
_VIEW = "working"
_TOGETHER = 2**24  # bytes of pictures that are written at once: each time costs about as much as decoding one


class Pictures(Kept):
    """Pictures by the content of their image. Made by `Store.pictures`; threads may share it.

    What was put is there at once. It is written together with others: a process that is killed may lose the last 16
    MiB. Where nothing can be written, a note of the store says so, and nothing is kept.
    """

    def __init__(self, shelf: Shelf, *, address: str, facts: str) -> None:
        super().__init__(shelf, address=address, facts=facts, large=True, stride=1)
        self._turn = threading.Lock()
        self._waiting: dict[bytes, np.ndarray] = {}
        self._bytes = 0
        self._touch([])

    def get(self, sha256: str) -> np.ndarray | None:
        """The picture of the image of that hash, uint8 (h, w, 3), read-only; None where there is none that is whole.

        The bytes of a picture are checked when a process first asks for it.
        """
        key = key_of((sha256, _VIEW))
        waiting = self._waiting.get(key)
        if waiting is not None:
            return _pixels(waiting)
        if self._seen.generation != self._shelf.generation:
            self._forget()
        if key not in self._seen.good:
            self._look_up([key])
        seen = self._seen
        record = self._record(seen, seen.good[key]) if key in seen.good else None
        return None if record is None else _pixels(record)

    def put(self, sha256: str, picture: np.ndarray) -> None:
        """Keeps a picture, uint8 (h, w, 3)."""
        assert picture.dtype == np.uint8, picture.dtype
        assert picture.shape[2:] == (3,), picture.shape
        row = np.empty(_HEAD.size + picture.size, np.uint8)
        _HEAD.pack_into(row.data, 0, *picture.shape[:2])
        row[_HEAD.size :] = picture.reshape(-1)
        with self._turn:
            if self._shelf.keeps and self._shelf.index is not None:
                self._waiting[key_of((sha256, _VIEW))] = row
                self._bytes += len(row)
            if self._bytes >= _TOGETHER:
                self._write()

    def known(self, sha256s: Sequence[str]) -> set[str]:
        """Those of the images that have a picture, whole or not."""
        keys = {key_of((sha256, _VIEW)): sha256 for sha256 in sha256s}
        found = {sha256 for key, sha256 in keys.items() if key in self._waiting}
        index = self._shelf.index
        with contextlib.suppress(sqlite3.Error):
            row = index.collection(self.address) if index else None
            if index and row:
                found |= {keys[key] for key in index.records(row.id, list(keys))}
        return found

    def write(self) -> None:
        """Writes what waits to be written."""
        with self._turn:
            self._write()

    def _write(self) -> None:
        try:
            if self._waiting:
                self._append(self._waiting)
        except OutOfResources as error:
            self._shelf.stop(f"{error}; nothing more is kept")
        self._waiting, self._bytes = {}, 0

    def _record(self, seen: Seen, place: int) -> np.ndarray | None:
        mapping = self._mapped(seen, place + _HEAD.size)
        if not 0 <= place <= len(mapping) - _HEAD.size:
            return None
        height, width = _HEAD.unpack_from(mapping.data, place)
        end = place + _HEAD.size + 3 * height * width
        mapping = self._mapped(seen, end)  # another process may have been about to write the rest
        return mapping[place:end, 0] if end <= len(mapping) else None


def _pixels(record: np.ndarray) -> np.ndarray:
    pixels = record[_HEAD.size :].reshape(*_HEAD.unpack_from(record.data), 3)
    pixels.flags.writeable = False
    return pixels
