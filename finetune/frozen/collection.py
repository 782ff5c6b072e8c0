"""Records of one kind in the store: missing, put, get. Each has a checksum of its bytes, its entry and its address."""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from finetune.bundle.durable import size
from finetune.data import database
from finetune.errors import OutOfResources, printable
from finetune.frozen import index as indices
from finetune.frozen.index import Index, Record, Row

Entry = tuple[str, str]  # SHA-256 of the image's bytes, and which view of it


class Absent(KeyError):
    """A record that is not there, or no longer whole: `missing` would have said so, or will when it is asked again."""


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

    def mend(self, error: Exception) -> None:
        """Gives up when the error says that the index is damaged; a full disk may have room again."""
        if database.is_damage(error):
            self.give_up(error)

    def why_not(self) -> str:
        """Why nothing can be read or written."""
        return self.notes[-1] if self.notes else f"the cache in {printable(str(self.folder))} is closed"


@dataclass
class _Seen:
    """What this process found to be whole: of each key the number of its record, or its place in the mapped file.

    Never changed to mean another file, so that a thread that works with one is not led astray.
    """

    file: str
    generation: int
    good: dict[bytes, int] = field(default_factory=dict)
    mapping: np.ndarray | None = None


class Collection:
    """Records of one dtype and shape, by entry. Made by `Store.collection`; threads may share it.

    A record that could not be kept on disk is kept in memory, so that `get` after `put` always works in one process.
    """

    def __init__(
        self, shelf: Shelf, *, address: str, facts: str, dtype: np.dtype, shape: tuple[int, ...], large: bool
    ) -> None:
        self.address, self.dtype, self.shape, self.large = address, dtype, shape, large
        self._facts, self._shelf = facts, shelf
        self._stride = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        self._addressed = hashlib.blake2b(address.encode(), digest_size=16)
        self._unkept: dict[bytes, bytes] = {}
        self._seen = _Seen("", shelf.generation)

    def missing(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of the entries that have no whole record, each once, in the order given; the others are now in use.

        The bytes of a record are checked when a process first asks for it.
        """
        if self._seen.generation != self._shelf.generation:
            self._forget()
        keys = {_key(entry): entry for entry in entries}
        self._look_up([key for key in keys if not self._has(key)])
        self._touch(list(keys))
        return [entry for key, entry in keys.items() if not self._has(key)]

    def put(self, entries: Sequence[Entry], values: np.ndarray) -> None:
        """Keeps a record for each entry, in place of any other. values: (n, *shape) of the collection's dtype.

        Raises OutOfResources when a large record cannot be written; a small one is then kept in memory.
        """
        assert values.dtype == self.dtype, (values.dtype, self.dtype)
        assert values.shape == (len(entries), *self.shape), (values.shape, self.shape)
        if not entries:
            return
        first: dict[bytes, int] = {}
        for place, entry in enumerate(entries):
            first.setdefault(_key(entry), place)
        rows = np.ascontiguousarray(values).reshape(len(entries), -1).view(np.uint8)
        keep = self._append if self.large else self._insert
        keep({key: rows[place] for key, place in first.items()})

    def get(self, entries: Sequence[Entry]) -> np.ndarray:
        """The records of the entries, (n, *shape), in their order; entries may repeat. Raises Absent."""
        keys = [_key(entry) for entry in entries]
        self._look_up([key for key in dict.fromkeys(keys) if not self._has(key)])
        seen = self._seen
        absent = sum(key not in seen.good and key not in self._unkept for key in keys)
        if absent:
            raise Absent(f"{absent} of {len(keys)} records")
        rows = self._from_file(seen, keys) if self.large else self._from_index(seen, keys)
        return rows.view(self.dtype).reshape(len(keys), *self.shape)

    def _forget(self) -> None:
        self._seen = _Seen("", self._shelf.generation)

    def _has(self, key: bytes) -> bool:
        return key in self._seen.good or key in self._unkept

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
            self._seen = _Seen(row.file, self._shelf.generation)
        seen, whole = self._seen, dict[bytes, int]()
        if found:
            whole = self._whole_in_file(seen, found) if self.large else self._whole_in_index(index, found)
        seen.good.update(whole)
        return set(whole)

    def _whole_in_index(self, index: Index, found: Mapping[bytes, Record]) -> dict[bytes, int]:
        keys = {record.id: key for key, record in found.items()}
        whole = {}
        for number, value in index.contents(list(keys)):
            key = keys[number]
            if len(value) == self._stride and self._checksum(key, value) == found[key].checksum:
                whole[key] = number
        return whole

    def _whole_in_file(self, seen: _Seen, found: Mapping[bytes, Record]) -> dict[bytes, int]:
        places = {key: record.place for key, record in found.items() if record.place is not None}
        mapping = self._mapped(seen, max(places.values(), default=-1) + 1)

        def is_whole(key: bytes) -> bool:
            row = mapping[places[key] : places[key] + 1]
            return len(row) == 1 and self._checksum(key, row.data) == found[key].checksum

        with ThreadPoolExecutor() as pool:  # hashing lets go of the interpreter lock
            return {key: places[key] for key, whole in zip(places, pool.map(is_whole, places), strict=True) if whole}

    def _mapped(self, seen: _Seen, places: int) -> np.ndarray:
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

    def _insert(self, rows: dict[bytes, np.ndarray]) -> None:
        index = self._shelf.index
        if index is not None and self._shelf.keeps:
            try:
                with index.writing():
                    row = index.ensure(self.address, facts=self._facts, large=False, stride=self._stride)
                    new = self._not_kept(index, row, rows)
                    numbers = index.add(row.id, new, [rows[key].data for key in new])
            except sqlite3.Error as error:
                self._shelf.give_up(error)
            else:
                self._seen.good.update(zip(new, numbers, strict=True))
                self._shelf.wrote = True
                return
        self._unkept.update((key, value.tobytes()) for key, value in rows.items())

    def _append(self, rows: dict[bytes, np.ndarray]) -> None:
        """Writes behind what is in the file, then says in the index where; both while no other process writes."""
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
                index.place(row.id, new, first=row.places)
        except (OSError, sqlite3.Error) as error:
            self._shelf.mend(error)
            raise OutOfResources(self._refusal(error, needed=len(rows) * self._stride)) from error
        if row.file == self._seen.file:
            self._seen.good.update((key, row.places + number) for number, key in enumerate(new))
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

    def _from_index(self, seen: _Seen, keys: Sequence[bytes]) -> np.ndarray:
        rows = np.empty((len(keys), self._stride), np.uint8)
        wanted: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            if key in self._unkept:
                rows[place] = np.frombuffer(self._unkept[key], np.uint8)
            else:
                wanted.setdefault(seen.good[key], []).append(place)
        try:
            for number, value in self._shelf.index.contents(list(wanted)) if self._shelf.index else ():
                rows[wanted.pop(number)] = np.frombuffer(value, np.uint8)
        except sqlite3.Error as error:
            self._shelf.give_up(error)
        if wanted:
            self._forget()
            raise Absent(f"{len(wanted)} of {len(keys)} records have gone")
        return rows

    def _from_file(self, seen: _Seen, keys: Sequence[bytes]) -> np.ndarray:
        places = np.array([seen.good[key] for key in keys], dtype=np.int64)
        mapping = self._mapped(seen, int(places.max(initial=-1)) + 1)
        if places.max(initial=-1) >= len(mapping):
            self._forget()
            raise Absent(f"the file of {len(keys)} records has gone")
        return mapping[places]

    def _checksum(self, key: bytes, value: bytes | memoryview) -> bytes:
        found = self._addressed.copy()
        found.update(key)
        found.update(value)
        return found.digest()

    def _refusal(self, error: Exception, *, needed: int) -> str:
        folder = self._shelf.folder
        return (
            f"cannot keep {size(needed)} of activations in {printable(str(folder))}: {printable(str(error))}; free "
            "some space, set FINETUNE_CACHE to another folder, or run `finetune cache clear`"
        )


def _key(entry: Entry) -> bytes:
    image, view = entry
    return hashlib.blake2b(f"{len(image)} {image} {view}".encode(), digest_size=20).digest()


def _created(path: str, _flags: int) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
