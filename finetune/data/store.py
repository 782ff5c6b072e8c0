"""The content-addressed cache of what was computed from images. It knows nothing of networks and of decoding.

A record belongs to an entry, which is an image's content and a view of it, within a collection, which is everything
else that decides the numbers. Small records stand in sqlite, large ones and those of several sizes in one growing file
per collection. Each has a checksum: a process killed at any moment, a full disk or a damaged file may cost a record and
never make a wrong one.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from finetune.data import database, eviction
from finetune.data.collection import Absent, Collection
from finetune.data.hold import Hold
from finetune.data.index import NAME, PATIENCE, Index
from finetune.data.kept import Entry, Shelf
from finetune.data.pictures import Pictures
from finetune.errors import FinetuneError, OutOfResources, OutputTaken, UsageError, byte_count, printable, size
from finetune.recipe.machine import cache_folder

__all__ = ["FOLDER", "Absent", "Collection", "Entry", "Holding", "Inventory", "Pictures", "Store"]

FOLDER = "frozen"
LIMIT = 10_000_000_000  # bytes


@dataclass(frozen=True)
class Holding:
    """A collection as it lies on disk. `used`: when one of its records last was, in seconds since 1970."""

    address: str
    facts: dict[str, Any]
    large: bool
    records: int
    bytes: int
    used: float


@dataclass(frozen=True)
class Inventory:
    """What a store holds, and what it may. `bytes`: on disk, the index included; `limit`: bytes."""

    folder: Path
    limit: int
    bytes: int
    holdings: tuple[Holding, ...]


class Store:
    """The open store; a context manager. While it is open no other process evicts anything.

    Where the folder cannot be used it is as if nothing were kept: `notes` then says why, and collections work on
    in temporary files.
    """

    def __init__(self, shelf: Shelf, hold: Hold | None, *, limit: int) -> None:
        self.limit = limit
        self._shelf = shelf
        self._hold = hold
        self._pictures: dict[str, Pictures] = {}

    @classmethod
    def open(cls, folder: Path | None = None, *, limit: int | None = None) -> "Store":
        """The store in `frozen/` of a folder, by default of the cache folder.

        limit: bytes that it may keep when it is closed, by default $FINETUNE_CACHE_LIMIT (such as 20G or 500M), or 10
        GB. Raises UsageError for a limit that is none.
        """
        limit = _limit() if limit is None else limit
        shelf = Shelf(Path(FOLDER), None)
        try:
            shelf.folder = (folder or cache_folder()).absolute() / FOLDER
            hold = Hold(shelf.folder, patience=PATIENCE)
        except (OSError, sqlite3.Error, UsageError) as error:
            shelf.give_up(error)
            return cls(shelf, None, limit=limit)
        try:
            shelf.index = Index(shelf.folder)
        except (OSError, sqlite3.Error) as error:
            shelf.give_up(error)
        return cls(shelf, hold, limit=limit)

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Writes what waits to be written, evicts down to the limit if anything was written, and closes the files.

        What is only in temporary files stays.
        """
        for pictures in self._pictures.values():
            pictures.write()
        if self._shelf.wrote:
            self.shrink()
        if self._shelf.index is not None:
            self._shelf.index.close()
        if self._hold is not None:
            self._hold.close()
        self._shelf.index = self._hold = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What went wrong with the files, in words, and did not stop the work."""
        return tuple(self._shelf.notes)

    def collection(
        self, facts: Mapping[str, object], *, dtype: np.dtype, shape: tuple[int, ...], large: bool
    ) -> Collection:
        """The records of `dtype` and `shape` that these facts decide, together with image and view.

        facts: everything else that the numbers depend on, as JSON has it; equal facts are one collection. dtype: of
        fixed size, structured ones too. large: records of tens of kilobytes and more, in a file of their own.
        """
        assert not dtype.hasobject
        assert dtype.itemsize * math.prod(shape) > 0
        text, address = _addressed(facts, [np.lib.format.dtype_to_descr(dtype), shape, large])
        return Collection(
            self._shelf, address=address, facts=text, dtype=dtype, shape=shape, large=large, make_room=self.make_room
        )

    def pictures(self, facts: Mapping[str, object]) -> Pictures:
        """The pictures that these facts decide, together with the image; the same object for equal facts."""
        text, address = _addressed(facts, ["pictures"])
        return self._pictures.setdefault(address, Pictures(self._shelf, address=address, facts=text))

    def info(self) -> Inventory:
        """What is there. Raises OutOfResources where the folder cannot be used."""
        with self._worded() as index:
            counts = index.counts()
            found = [(row, *counts.get(row.id, (0, row.used))) for row in index.collections()]
        holdings = tuple(
            Holding(
                address=row.address,
                facts=_facts(row.facts),
                large=bool(row.large),
                records=count,
                bytes=(row.places if row.large else count) * row.stride,
                used=max(used, row.used),
            )
            for row, count, used in found
        )
        return Inventory(self._shelf.folder, self.limit, sum(eviction.sizes(self._shelf.folder).values()), holdings)

    def shrink(self) -> int:
        """Evicts what was longest not used until the limit is kept; returns the bytes freed.

        Nothing is evicted while another process, or another store of this one, is open.
        """
        return self._shrink_to(self.limit)

    def make_room(self, needed: int) -> None:
        """Evicts until `needed` more bytes can be kept; to be asked before `missing`, for it may evict anything.

        Raises OutOfResources when they are more than the limit allows, or than the disk has.
        """
        with self._worded():
            free = shutil.disk_usage(self._shelf.folder).free
        folder = printable(str(self._shelf.folder))
        if needed > self.limit:
            raise OutOfResources(
                f"{size(needed)} are needed in {folder}, and {size(self.limit)} are allowed; set "
                f"FINETUNE_CACHE_LIMIT to {math.ceil(needed / 1e9)}G or more"
            )
        free += self._shrink_to(self.limit - needed)
        if needed > free:
            raise OutOfResources(
                f"{size(needed)} are needed in {folder}, and the disk has {size(free)} free; free some space, or set "
                "FINETUNE_CACHE to another folder"
            )

    def clear(self) -> int:
        """Removes everything; returns the bytes freed. Raises OutputTaken while another process has the store open."""
        with self._worded() as index, self._alone() as alone:
            if not alone:
                raise OutputTaken(
                    f"{printable(str(self._shelf.folder))} is in use by another process: wait for it, or stop it"
                )
            before = sum(eviction.sizes(self._shelf.folder).values())
            index.close()
            database.remove(self._shelf.folder / NAME)
            for path in eviction.files(self._shelf.folder):
                path.unlink(missing_ok=True)
            self._shelf.index = Index(self._shelf.folder)
            return before

    def _shrink_to(self, limit: int) -> int:
        index, freed = self._shelf.index, 0
        if index is not None:
            with contextlib.suppress(OSError, sqlite3.Error), self._alone() as alone:
                freed = eviction.evict(index, self._shelf.folder, limit=limit) if alone else 0
        return freed

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no one else has the store open; if so, none can meanwhile."""
        assert self._hold is not None
        try:
            yield self._hold.alone()
        finally:
            self._shelf.generation += 1  # what was found whole may be gone
            with contextlib.suppress(sqlite3.Error):
                self._hold.share()

    @contextlib.contextmanager
    def _worded(self) -> Iterator[Index]:
        """The index, and errors of using it in words."""
        if self._shelf.index is None:
            raise OutOfResources(self._shelf.why_not())
        try:
            yield self._shelf.index
        except FinetuneError:
            raise
        except (OSError, sqlite3.Error) as error:
            self._shelf.mend(error)
            folder = printable(str(self._shelf.folder))
            raise OutOfResources(f"the cache in {folder} cannot be used: {printable(str(error))}") from error


def _addressed(facts: Mapping[str, object], kind: object) -> tuple[str, str]:
    """The facts as text, and the address of what is of this kind and decided by them."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text, hashlib.sha256(f"{text}\n{json.dumps(kind)}".encode()).hexdigest()


def _facts(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        return {}  # damaged, which its records then are too


def _limit() -> int:
    given = os.environ.get("FINETUNE_CACHE_LIMIT", "").strip()
    return byte_count(given, what="FINETUNE_CACHE_LIMIT") if given else LIMIT
