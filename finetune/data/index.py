"""The index of the store, in sqlite: which records there are and where their bytes lie; small records are in it whole.

It moves rows and judges nothing; every method may raise sqlite3.Error.
"""

import contextlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from finetune.data import database

NAME = "index.sqlite"
VALUES = ".values"
PATIENCE = 30.0  # seconds to wait while another process writes

_VERSION = 1
_AT_ONCE = 500  # keys in one question
_COLUMNS = "id, address, facts, large, stride, file, places, used"
_SCHEMA = """
CREATE TABLE collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT, address TEXT NOT NULL UNIQUE, facts TEXT NOT NULL, large INTEGER NOT NULL,
    stride INTEGER NOT NULL, file TEXT NOT NULL, places INTEGER NOT NULL DEFAULT 0, used REAL NOT NULL);
CREATE TABLE records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, key BLOB NOT NULL, checksum BLOB NOT NULL,
    place INTEGER, used REAL NOT NULL, UNIQUE (collection, key));
CREATE TABLE contents (record INTEGER PRIMARY KEY, value BLOB NOT NULL);
"""


@dataclass(frozen=True)
class Row:
    """A collection of records of `stride` bytes; `used` in seconds since 1970.

    Of a large one also the `file`, and how many `places` of `stride` bytes are taken of it.
    """

    id: int
    address: str
    facts: str
    large: int
    stride: int
    file: str
    places: int
    used: float

    def __post_init__(self) -> None:
        """Raises sqlite3.DatabaseError for what only a damaged file can hold."""
        numbers, texts = (self.large, self.stride, self.places, self.used), (self.address, self.facts, self.file)
        right = all(isinstance(each, int | float) for each in numbers) and all(isinstance(each, str) for each in texts)
        if not right or self.stride < 1 or self.places < 0 or Path(self.file).name != self.file:
            raise sqlite3.DatabaseError("it is damaged")


@dataclass(frozen=True)
class Record:
    """One record: its number, which is never given twice, and its place in the file of a large collection."""

    id: int
    checksum: bytes
    place: int | None

    def __post_init__(self) -> None:
        """Raises sqlite3.DatabaseError for what only a damaged file can hold."""
        if not isinstance(self.place, int | None):
            raise sqlite3.DatabaseError("it is damaged")


class Index:
    """The open index. Threads take turns."""

    def __init__(self, folder: Path) -> None:
        self._connection = database.connect(folder / NAME, schema=_SCHEMA, version=_VERSION, patience=PATIENCE)
        self._turn = threading.RLock()

    def close(self) -> None:
        with self._turn:
            self._connection.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction, and no other process writes meanwhile: all of it is kept, or nothing."""
        with self._turn:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def collections(self) -> list[Row]:
        """All collections, oldest first."""
        return [Row(*row) for row in self._rows(f"SELECT {_COLUMNS} FROM collections ORDER BY id")]

    def collection(self, address: str) -> Row | None:
        """The collection of that address, if there is one."""
        found = self._rows(f"SELECT {_COLUMNS} FROM collections WHERE address = ?", address)
        return Row(*found[0]) if found else None

    def ensure(self, address: str, *, facts: str, large: bool, stride: int) -> Row:
        """The collection of that address, made if it is not there. Within `writing`."""
        file = f"{address[:16]}-{secrets.token_hex(4)}{VALUES}" if large else ""  # never the name of one that is gone
        self._rows(
            "INSERT OR IGNORE INTO collections (address, facts, large, stride, file, used) VALUES (?, ?, ?, ?, ?, ?)",
            address, facts, large, stride, file, time.time(),
        )  # fmt: skip
        found = self.collection(address)
        if found is None:
            raise sqlite3.DatabaseError("it is damaged")
        return found

    def records(self, collection: int, keys: Sequence[bytes]) -> dict[bytes, Record]:
        """Those of the keys that the collection has."""
        found: dict[bytes, Record] = {}
        for some in _parts(keys):
            question = f"SELECT key, id, checksum, place FROM records WHERE collection = ? AND key IN ({_marks(some)})"
            found.update({row[0]: Record(*row[1:]) for row in self._rows(question, collection, *some)})
        return found

    def contents(self, records: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """The bytes of those of the records that are there, in no order."""
        for some in _parts(records):
            yield from self._rows(f"SELECT record, value FROM contents WHERE record IN ({_marks(some)})", *some)

    def add(self, collection: int, checksums: Mapping[bytes, bytes], values: Sequence[memoryview]) -> list[int]:
        """Records by key with their bytes, in place of those that have these keys; returns their numbers.

        Within `writing`.
        """
        numbers = self._replace(collection, checksums, [None] * len(checksums))
        self._connection.executemany("INSERT INTO contents VALUES (?, ?)", zip(numbers, values, strict=True))
        return numbers

    def place(
        self, collection: int, checksums: Mapping[bytes, bytes], lengths: Sequence[int], *, first: int
    ) -> list[int]:
        """Records by key whose bytes stand at `first` and after it in the collection's file; returns their places.

        lengths: in places. Within `writing`.
        """
        *places, after = accumulate(lengths, initial=first)
        self._replace(collection, checksums, places)
        self._rows("UPDATE collections SET places = ?, used = ? WHERE id = ?", after, time.time(), collection)
        return places

    def touch(self, collection: int, keys: Sequence[bytes]) -> None:
        """Notes that the collection, and those of the keys that it has, are in use. Within `writing`."""
        now = time.time()
        self._rows("UPDATE collections SET used = ? WHERE id = ?", now, collection)
        for some in _parts(keys):
            question = f"UPDATE records SET used = ? WHERE collection = ? AND key IN ({_marks(some)})"
            self._rows(question, now, collection, *some)

    def counts(self) -> dict[int, tuple[int, float]]:
        """Of each collection that has records: how many, and when one of them was last used."""
        counted = self._rows("SELECT collection, COUNT(*), MAX(used) FROM records GROUP BY collection")
        return {row[0]: (row[1], row[2]) for row in counted}

    def ages(self) -> list[tuple[float, int, int]]:
        """Records that stand in the index whole: (used, collection, how many of it were last used then)."""
        return self._rows(
            "SELECT used, collection, COUNT(*) FROM records WHERE place IS NULL GROUP BY used, collection"
        )

    def forget(self, collection: int, *, used: float, at_most: int) -> None:
        """Removes so many of a collection's records that were last used then. Within `writing`."""
        chosen = "SELECT id FROM records WHERE collection = ? AND used = ? ORDER BY id LIMIT ?"
        self._rows(f"DELETE FROM contents WHERE record IN ({chosen})", collection, used, at_most)
        self._rows(f"DELETE FROM records WHERE id IN ({chosen})", collection, used, at_most)

    def drop(self, collection: int) -> None:
        """Removes a collection and its records. Within `writing`."""
        self._rows("DELETE FROM contents WHERE record IN (SELECT id FROM records WHERE collection = ?)", collection)
        self._rows("DELETE FROM records WHERE collection = ?", collection)
        self._rows("DELETE FROM collections WHERE id = ?", collection)

    def drop_empty(self) -> None:
        """Removes small collections that have no record left. Within `writing`."""
        self._rows("DELETE FROM collections WHERE NOT large AND id NOT IN (SELECT collection FROM records)")

    def give_back(self) -> None:
        """Returns the room of what was removed to the disk."""
        with self._turn:  # as a script, for that goes through all steps of a statement that gives no rows
            self._connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")

    def _replace(self, collection: int, checksums: Mapping[bytes, bytes], places: Sequence[int | None]) -> list[int]:
        old = [record.id for record in self.records(collection, list(checksums)).values()]
        for some in _parts(old):
            self._rows(f"DELETE FROM contents WHERE record IN ({_marks(some)})", *some)
            self._rows(f"DELETE FROM records WHERE id IN ({_marks(some)})", *some)
        statement = "INSERT INTO records (collection, key, checksum, place, used) VALUES (?, ?, ?, ?, ?)"
        now = time.time()
        rows = [(collection, *pair, place, now) for pair, place in zip(checksums.items(), places, strict=True)]
        return [self._connection.execute(statement, row).lastrowid or 0 for row in rows]

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._turn:
            return self._connection.execute(statement, values).fetchall()


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))


def _marks(items: Sequence[Any]) -> str:
    return ",".join("?" * len(items))
