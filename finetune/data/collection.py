"""Records of one dtype and shape in the store: missing, put, get."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from finetune.data.index import Index, Record
from finetune.data.kept import Entry, Kept, Seen, Shelf, key_of
from finetune.data.scratch import Scratch
from finetune.errors import OutOfResources


class Absent(KeyError):
    """A record that is not there, or no longer whole: `missing` would have said so, or will when it is asked again."""


class Collection(Kept):
    """Records of one dtype and shape, by entry. Made by `Store.collection`; threads may share it.

    A record that cannot be kept in the store is kept in a temporary file, so that `get` after `put`
    always works in one process.
    """

    def __init__(
        self,
        shelf: Shelf,
        *,
        address: str,
        facts: str,
        dtype: np.dtype,
        shape: tuple[int, ...],
        large: bool,
        make_room: Callable[[int], None],
    ) -> None:
        super().__init__(
            shelf,
            address=address,
            facts=facts,
            large=large,
            stride=dtype.itemsize * int(np.prod(shape, dtype=np.int64)),
        )
        self.dtype, self.shape = dtype, shape
        self._make_room = make_room
        self._aside: Scratch | None = None
        self._keeps = True

    def missing(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of the entries that have no whole record, each once, in the order given; the others are now in use.

        The bytes of a record are checked when a process first asks for it.
        """
        if self._seen.generation != self._shelf.generation:
            self._forget()
        keys = {key_of(entry): entry for entry in entries}
        self._look_up([key for key in keys if not self._has(key)])
        self._touch(list(keys))
        return [entry for key, entry in keys.items() if not self._has(key)]

    def put(self, entries: Sequence[Entry], values: np.ndarray) -> None:
        """Keeps a record for each entry, in place of any other. values: (n, *shape) of the collection's dtype.

        Raises OutOfResources when neither the store nor the temporary folder can take them.
        """
        assert values.dtype == self.dtype, (values.dtype, self.dtype)
        assert values.shape == (len(entries), *self.shape), (values.shape, self.shape)
        if not entries:
            return
        first: dict[bytes, int] = {}
        for place, entry in enumerate(entries):
            first.setdefault(key_of(entry), place)
        rows = np.ascontiguousarray(values).reshape(len(entries), -1).view(np.uint8)
        keep = self._append_or_not if self.large else self._insert
        if not keep({key: rows[place] for key, place in first.items()}):
            places = list(first.values())
            self._spare().put(list(first), rows[places])

    def make_room(self, records: int, *, beside: int = 0) -> None:
        """Before so many records more are put, beside bytes that others were promised; it may evict others. Where the
        store cannot have them, a note says so, and they go to a temporary file. Raises OutOfResources where there is no
        room for that either.
        """
        if self._shelf.index is not None and self._shelf.keeps:
            try:
                self._make_room(records * self._stride + beside)
                return
            except OutOfResources as error:
                self._keeps = False
                self._shelf.notes.append(f"{error}; a temporary file is used instead")
        self._spare().make_room(records, beside=beside)

    def get(self, entries: Sequence[Entry]) -> np.ndarray:
        """The records of the entries, (n, *shape), in their order; entries may repeat. Raises Absent."""
        keys = [key_of(entry) for entry in entries]
        self._look_up([key for key in dict.fromkeys(keys) if not self._has(key)])
        seen = self._seen
        absent = sum(not self._has(key) for key in keys)
        if absent:
            raise Absent(f"{absent} of {len(keys)} records")
        aside = [place for place, key in enumerate(keys) if key not in seen.good]
        kept = [key for key in keys if key in seen.good]
        rows = self._from_file(seen, kept) if self.large else self._from_index(seen, kept)
        if aside:
            every = np.empty((len(keys), self._stride), np.uint8)
            every[[place for place, key in enumerate(keys) if key in seen.good]] = rows
            every[aside] = self._spare().get([keys[place] for place in aside])
            rows = every
        return rows.view(self.dtype).reshape(len(keys), *self.shape)

    def _has(self, key: bytes) -> bool:
        return key in self._seen.good or (self._aside is not None and key in self._aside)

    def _spare(self) -> Scratch:
        if self._aside is None:
            self._aside = Scratch(dtype=np.dtype(np.uint8), shape=(self._stride,))
        return self._aside

    def _whole(self, index: Index, seen: Seen, found: Mapping[bytes, Record]) -> dict[bytes, int]:
        if self.large:
            return super()._whole(index, seen, found)
        keys = {record.id: key for key, record in found.items()}
        whole = {}
        for number, value in index.contents(list(keys)):
            key = keys[number]
            if len(value) == self._stride and self._checksum(key, value) == found[key].checksum:
                whole[key] = number
        return whole

    def _append_or_not(self, rows: dict[bytes, np.ndarray]) -> bool:
        if self._shelf.index is None or not (self._shelf.keeps and self._keeps):
            return False
        try:
            self._append(rows)
        except OutOfResources as error:
            self._shelf.stop(f"{error}; nothing more is kept")
            return False
        return True

    def _insert(self, rows: dict[bytes, np.ndarray]) -> bool:
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
                return True
        return False

    def _from_index(self, seen: Seen, keys: Sequence[bytes]) -> np.ndarray:
        rows = np.empty((len(keys), self._stride), np.uint8)
        wanted: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
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

    def _from_file(self, seen: Seen, keys: Sequence[bytes]) -> np.ndarray:
        places = np.array([seen.good[key] for key in keys], dtype=np.int64)
        mapping = self._mapped(seen, int(places.max(initial=-1)) + 1)
        if places.max(initial=-1) >= len(mapping):
            self._forget()
            raise Absent(f"the file of {len(keys)} records has gone")
        return mapping[places]
