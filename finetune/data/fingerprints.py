"""What image files were found to be, remembered between processes, so that a file is read and decoded once.

A file is known again by path, size, times and inode, and a remembered answer is only ever as good as those: it is taken
when all are the same, and was kept only when the file had been left alone for two seconds before it was read, since a
file that changes twice within the grain of a clock looks unchanged. It knows nothing of labels and splits.
"""

import contextlib
import functools
import hashlib
import inspect
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import PIL
from PIL import ImageFile

from finetune.data import database, decode, formats
from finetune.errors import UsageError
from finetune.recipe.machine import cache_folder

NAME = "files.sqlite"
HASHES = "hashes.sqlite"  # of files that were read and not decoded whole

_SETTLED = 2_000_000_000  # nanoseconds; the grain of FAT's clock
_PATIENCE = 2.0  # seconds
_AT_ONCE = 500  # answers written together
_AT_MOST = 1_000_000  # files, about 300 MB
_VERSION = 1
_SCHEMA = """
CREATE TABLE files (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, stamp TEXT NOT NULL, sha256 TEXT NOT NULL,
    notes TEXT NOT NULL, checksum BLOB NOT NULL);
"""


@dataclass(frozen=True)
class Fingerprint:
    """What the census finds out by reading and decoding a whole file."""

    sha256: str
    notes: tuple[str, ...]


class Fingerprints:
    """The open memory; a context manager, and threads may share it.

    Where it cannot be used, for whatever reason, it is as if nothing were remembered.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection | None) -> None:
        self._path = path
        self._connection = connection
        self._turn = threading.Lock()
        self._waiting: dict[bytes, tuple[str, str, str, bytes]] = {}  # what is not yet written, by name

    @classmethod
    def open(cls, folder: Path | None = None, *, name: str = NAME) -> "Fingerprints":
        """The memory in a file of this name in a folder, by default the cache folder."""
        path = Path(name)
        with contextlib.suppress(OSError, sqlite3.Error, UsageError):
            path = (folder or cache_folder()) / name
            _reader()
            return cls(path, database.connect(path, schema=_SCHEMA, version=_VERSION, patience=_PATIENCE))
        return cls(path, None)

    def __enter__(self) -> "Fingerprints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Writes what still waits to be written."""
        with self._turn:
            self._write()
            self._stop()

    def known(self, path: Path) -> Fingerprint | None:
        """What the file was found to be; None when it has changed or was not seen. Opens nothing."""
        if self._connection is None or ImageFile.LOAD_TRUNCATED_IMAGES:  # with which no file is read, so none is known
            return None
        try:
            named, stamp = _name(path), _stamp(os.stat(path))
        except (OSError, ValueError):  # ValueError: a NUL in the name
            return None
        found = self._waiting.get(named)
        found = found or self._one("SELECT stamp, sha256, notes, checksum FROM files WHERE path = ?", named)
        if found is None or found[0] != stamp or found[3] != _checksum(named, *found[:3]):
            return None
        return Fingerprint(found[1], tuple(json.loads(found[2])))

    def remember(self, path: Path, status: os.stat_result, fingerprint: Fingerprint, *, begun: int) -> None:
        """Keeps what a file was found to be, unless it had changed within two seconds before it was read.

        status: of the opened file, before it was read; begun: the clock before that, in nanoseconds since 1970.
        """
        if self._connection is None or begun - status.st_mtime_ns <= _SETTLED:
            return
        named, stamp, notes = _name(path), _stamp(status), json.dumps(fingerprint.notes)
        with self._turn:
            checksum = _checksum(named, stamp, fingerprint.sha256, notes)
            self._waiting[named] = (stamp, fingerprint.sha256, notes, checksum)
            if len(self._waiting) >= _AT_ONCE:
                self._write()

    def count(self) -> int:
        """How many files are remembered on disk."""
        found = self._one("SELECT COUNT(*) FROM files")
        return int(found[0]) if found else 0

    def _one(self, question: str, *values: object) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = None
        with self._turn, self._forgiving():
            if self._connection is not None:
                found = self._connection.execute(question, values).fetchone()
        return found

    def _write(self) -> None:
        """One transaction, so that no other process waits while images are decoded."""
        rows = [(named, *row) for named, row in self._waiting.items()]
        if self._connection is None or not rows:
            return
        with self._forgiving():
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT OR REPLACE INTO files (path, stamp, sha256, notes, checksum) VALUES (?, ?, ?, ?, ?)", rows
            )
            self._connection.execute("DELETE FROM files WHERE id <= (SELECT MAX(id) FROM files) - ?", (_AT_MOST,))
            self._connection.execute("COMMIT")
        self._waiting.clear()

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        """What fails once is not tried again; a file that is damaged is removed, for the next process to begin anew."""
        try:
            yield
        except sqlite3.Error as error:
            self._stop()
            if database.is_damage(error):
                database.remove(self._path)

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def examine(path: Path, known: Fingerprints | None = None) -> Fingerprint:
    """The fingerprint of a file: as it is remembered, or by reading and decoding all of it, which then is remembered.

    Raises UnreadableImage, and that is not remembered.
    """
    found = known.known(path) if known is not None else None
    if found is not None:
        return found
    begun = time.time_ns()
    data, status = decode.read_with_status(path)
    decoded = decode.decode(data)
    named = formats.SUFFIXES.get(path.suffix.lower())
    mismatch = () if named == decoded.format else ("suffix of another format",)
    fingerprint = Fingerprint(hashlib.sha256(data).hexdigest(), (*decoded.notes, *mismatch))
    if known is not None:
        known.remember(path, status, fingerprint, begun=begun)
    return fingerprint


def usage(folder: Path | None = None, *, name: str = NAME) -> tuple[int, int]:
    """How many files are remembered, and in how many bytes. Raises UsageError where there is no cache folder."""
    path = (folder or cache_folder()) / name
    there = database.files_of(path)
    if not there:
        return 0, 0
    with Fingerprints.open(folder, name=name) as known:
        return known.count(), sum(file.stat().st_size for file in there)


def clear(folder: Path | None = None, *, name: str = NAME) -> int:
    """Forgets every file; returns the bytes freed. Raises UsageError where there is no cache folder."""
    return database.remove((folder or cache_folder()) / name)


@functools.cache
def decoder(*more: ModuleType) -> str:
    """The version of Pillow, and that of our decoder: a hash of its source, and of that of more modules.

    Raises OSError where there is no source.
    """
    source = "".join(inspect.getsource(module) for module in (decode, formats, *more))
    return f"{PIL.__version__} {hashlib.sha256(source.encode()).hexdigest()[:16]}"


def _name(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))


def _stamp(status: os.stat_result) -> str:
    """What is the same as long as the file is, and what reads it. The ctime tells of an mtime that was set back."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino} {_reader()}"


def _reader() -> str:
    return decoder(sys.modules[__name__])


def _checksum(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()
