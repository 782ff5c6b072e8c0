"""A small sqlite file in the cache folder: remembered between processes, and at any time it may be lost.

What is kept in one carries checksums of its own: nothing here vouches for the bytes that come back.
"""

import contextlib
import sqlite3
import time
from pathlib import Path

_RETRY = 0.02  # seconds


def connect(path: Path, *, schema: str, version: int, patience: float) -> sqlite3.Connection:
    """A connection to an sqlite file in WAL mode, usable from any thread, one at a time, with no implied transactions.

    schema: statements that end with semicolons. A file that is new, damaged, or of another version is made anew.
    patience: seconds to wait for other writers. Raises OSError and sqlite3.Error when there can be no such file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _opened(path, schema, version, patience)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if not is_damage(error):
            raise
        remove(path)
        return _opened(path, schema, version, patience)


def is_damage(error: Exception) -> bool:
    """Whether the file itself is no good, and not only locked, full or out of reach.

    UnicodeDecodeError is what Python makes of an sqlite error that quotes damaged text.
    """
    damaged = isinstance(error, sqlite3.DatabaseError | UnicodeDecodeError)
    return damaged and not isinstance(error, sqlite3.OperationalError)


def files_of(path: Path) -> list[Path]:
    """The file and the two that sqlite keeps beside it, those that are there."""
    return [
        file for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")) if file.exists()
    ]


def remove(path: Path) -> int:
    """Deletes the file and what belongs to it, as far as that is allowed; returns how many bytes that freed."""
    freed = 0
    for file in files_of(path):
        with contextlib.suppress(OSError):  # gone already, or Windows, where a file that is open stays
            size = file.stat().st_size
            file.unlink()
            freed += size
    return freed


def _opened(path: Path, schema: str, version: int, patience: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    connection.text_factory = _text
    try:
        if _version(connection) != version:
            _patiently(connection, "PRAGMA page_size = 16384", patience)  # a feature of 2,048 numbers fits into a page
            _patiently(connection, "PRAGMA auto_vacuum = INCREMENTAL", patience)
            _patiently(connection, "PRAGMA journal_mode = WAL", patience)
            _create(connection, schema, version)
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")  # what is damaged is for the reader to find


def _patiently(connection: sqlite3.Connection, statement: str, patience: float) -> None:
    """Several processes may make the file at once, and sqlite itself does not wait when it switches to WAL."""
    until = time.monotonic() + patience
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(_RETRY)


def _create(connection: sqlite3.Connection, schema: str, version: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    found = _version(connection)
    if found not in (0, version):
        raise sqlite3.DatabaseError(f"version {found}, not {version}")
    if found == 0:
        for statement in schema.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
