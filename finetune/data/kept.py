"""What the records of one address in the store have in common: found whole or not at all, written behind each other.

Each has a checksum of its bytes, its entry and its address. Large records stand in one growing file: its bytes are
written first, then the index says where they are.
"""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from finetune.data import database
from finetune.data import index as indices
from finetune.data.index import Index, Record, Row
from finetune.errors import OutOfResources, printable, size

Entry = tuple[str, str]  # SHA-256 of the image's bytes, and which view of it


@dataclass
class Shelf:
    """Where the collections of an open store stand, and what went wrong there.

    `keeps` is whether writing is still tried, `wrote` whether anything was written; `generation` grows when records may
    have been evicted.
    """

    folder: Path
    index: Index | None
    keeps: bool = True
    wrote: bool = False
    generation: int = 0
    notes: list[str] = field(default_factory=list)

    def give_up(self, error: Exception) -> None:
        """Writes no more, and says so once; an index that is damaged is removed, for the next process to begin anew."""
        if self.keeps:
            where = printable(str(self.folder))
            self.notes.append(f"the cache in {where} cannot be used: {printable(str(error))}; nothing is kept there")
        self.keeps = False
        if database.is_damage(error):
            database.remove(self.folder / indices.NAME)

    def stop(self, note: str) -> None:
        """Writes no more, and says so once."""
        if self.keeps:
            self.notes.append(note)
        self.keeps = False

    def mend(self, error: Exception) -> None:
        """Gives up when the error says that the index is damaged; a full disk may have room again."""
        if database.is_damage(error):
            self.give_up(error)

    def why_not(self) -> str:
        """Why nothing can be read or written."""
        return self.notes[-1] if self.notes else f"the cache in {printable(str(self.folder))} is closed"


@dataclass
class Seen:
    """What this process found to be whole: of each key the number of its record, or its place in the mapped file.

    Never changed to mean another file, so that a thread that works with one is not led astray.
    """

    file: str
    generation: int
    good: dict[bytes, int] = field(default_factory=dict)
    mapping: np.ndarray | None = None


class Kept:
    """Records of one address; threads may share it. `stride`: bytes of a place, which a record has one or more of."""

    def __init__(self, shelf: Shelf, *, address: str, facts: str, large: bool, stride: int) -> None:
        self.address, self.large = address, large
        self._facts, self._shelf, self._stride = facts, shelf, stride
        self._addressed = hashlib.blake2b(address.encode(), digest_size=16)
        self._seen = Seen("", shelf.generation)

    def _forget(self) -> None:
        self._seen = Seen("", self._shelf.generation)

    def _look_up(self, keys: Sequence[bytes]) -> None:
        """Finds the records of keys, reads them, and remembers those that are whole."""
        index = self._shelf.index
        if index is None or not keys:
            return
        try:
            row = index.collection(self.address)
            if row is not None:
                self._find_whole(index, row, index.records(row.id, keys))
        except (OSError, sqlite3.Error) as error:
            self._shelf.give_up(error)

    def _touch(self, keys: Sequence[bytes]) -> None:
        index = self._shelf.index
        if index is None or not self._shelf.keeps:
            return
        with contextlib.suppress(sqlite3.Error), index.writing():  # a matter of eviction only
            row = index.collection(self.address)
            if row is not None:
                index.touch(row.id, [] if self.large else keys)

    def _find_whole(self, index: Index, row: Row, found: Mapping[bytes, Record]) -> set[bytes]:
        """The keys of those records whose bytes are right, which is remembered."""
        if row.file != self._seen.file:
            self._seen = Seen(row.file, self._shelf.generation)
        seen, whole = self._seen, dict[bytes, int]()
        if found:
            whole = self._whole(index, seen, found)
        seen.good.update(whole)
        return set(whole)

    def _whole(self, index: Index, seen: Seen, found: Mapping[bytes, Record]) -> dict[bytes, int]:
        """Of those records that are whole, by key, where they are: here the place in the file."""
        places = {key: record.place for key, record in found.items() if record.place is not None}

        def is_whole(key: bytes) -> bool:
            value = self._record(seen, places[key])
            return value is not None and self._checksum(key, value.data) == found[key].checksum

        if len(places) == 1:
            return {key: place for key, place in places.items() if is_whole(key)}
        with ThreadPoolExecutor() as pool:  # hashing lets go of the interpreter lock
            return {key: places[key] for key, whole in zip(places, pool.map(is_whole, places), strict=True) if whole}

    def _record(self, seen: Seen, place: int) -> np.ndarray | None:
        """The bytes of the record at a place of the file, uint8; None when the file ends before it does."""
        mapping = self._mapped(seen, place + 1)
        return mapping[place] if 0 <= place < len(mapping) else None

    def _mapped(self, seen: Seen, places: int) -> np.ndarray:
        """The file, uint8 (its places, stride), mapped anew when it has grown; empty when it is not there."""
        if seen.mapping is not None and len(seen.mapping) >= places:
            return seen.mapping
        path = self._shelf.folder / seen.file
        there = path.stat().st_size // self._stride if path.is_file() else 0
        shape = (there, self._stride)
        seen.mapping = (
            np.memmap(path, np.uint8, "r", shape=shape).view(np.ndarray) if there else np.empty(shape, np.uint8)
        )
        return seen.mapping

    def _append(self, rows: Mapping[bytes, np.ndarray]) -> None:
        """Writes behind what is in the file, then says in the index where; both while no other process writes.

        rows: the bytes of records by key, each of whole places.
        """
        index = self._shelf.index
        if index is None or not self._shelf.keeps:
            raise OutOfResources(self._shelf.why_not())
        try:
            with index.writing():
                row = self._row_with_file(index)
                new = self._not_kept(index, row, rows)
                with open(self._shelf.folder / row.file, "r+b", opener=_created) as file:
                    # never through the mapping, where a full disk is no error but a signal
                    file.seek(row.places * self._stride)
                    file.writelines(rows[key].data for key in new)
                places = index.place(row.id, new, [len(rows[key]) // self._stride for key in new], first=row.places)
        except (OSError, sqlite3.Error) as error:
            self._shelf.mend(error)
            raise OutOfResources(self._refusal(error, needed=sum(map(len, rows.values())))) from error
        if row.file == self._seen.file:
            self._seen.good.update(zip(new, places, strict=True))
        self._shelf.wrote = True

    def _not_kept(self, index: Index, row: Row, rows: Mapping[bytes, np.ndarray]) -> dict[bytes, bytes]:
        """The checksums of those rows that are not there already, as when another process computed the same."""
        checksums = {key: self._checksum(key, value.data) for key, value in rows.items()}
        found = index.records(row.id, list(rows))
        alike = {key: record for key, record in found.items() if record.checksum == checksums[key]}
        whole = self._find_whole(index, row, alike)
        return {key: checksum for key, checksum in checksums.items() if key not in whole}

    def _row_with_file(self, index: Index) -> Row:
        """The collection's row; a new one where its file has gone, so that an old place never stands for new bytes."""
        row = index.ensure(self.address, facts=self._facts, large=True, stride=self._stride)
        if row.places and not (self._shelf.folder / row.file).is_file():
            index.drop(row.id)
            row = index.ensure(self.address, facts=self._facts, large=True, stride=self._stride)
        return row

    def _checksum(self, key: bytes, value: bytes | memoryview) -> bytes:
        found = self._addressed.copy()
        found.update(key)
        found.update(value)
        return found.digest()

    def _refusal(self, error: Exception, *, needed: int) -> str:
        folder = self._shelf.folder
        return (
            f"cannot keep {size(needed)} in {printable(str(folder))}: {printable(str(error))}; free "
            "some space, set FINETUNE_CACHE to another folder, or run `finetune cache clear`"
        )


def key_of(entry: Entry) -> bytes:
    """What an entry is called in the index."""
    image, view = entry
    return hashlib.blake2b(f"{len(image)} {image} {view}".encode(), digest_size=20).digest()


def _created(path: str, _flags: int) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
