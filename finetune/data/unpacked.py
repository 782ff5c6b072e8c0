"""Published data sets in the cache folder: fetched, or written out as image files, whole or not at all.

A set of image files that were written out is a table beside them. All of it can be fetched again.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from finetune.data.adapters import table
from finetune.data.catalog import Catalog, LeftOut
from finetune.errors import OutOfResources, printable
from finetune.recipe.dataset import TableData
from finetune.recipe.machine import cache_folder

TABLE = "images.jsonl"

_SETS = "sets"
_LEFT_OUT = "left_out.json"
_TEMPORARY = ".tmp-"


def place(kind: str, name: str, facts: Mapping[str, Any] | None = None) -> Path:
    """The folder in the cache for a set, another one for other facts. Raises UsageError where there is no cache."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)
    digest = hashlib.sha256(json.dumps([name, facts], sort_keys=True).encode()).hexdigest()[:12] if facts else ""
    return cache_folder() / _SETS / kind / "-".join(filter(None, (cleaned, digest)))


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` when all went well, and is removed otherwise.

    Of several processes at the same moment one is kept. Raises OutOfResources when the disk or a permission does not
    allow it.
    """
    temporary = folder.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
    try:
        with _worded(folder):
            temporary.mkdir(parents=True)
        yield temporary
        with _worded(folder):
            if hasattr(os, "sync"):
                os.sync()  # once, and not for each of many thousand files
            _rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class Writer:
    """Writes image files and the table of them into a folder; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows = 0
        self._left_out: list[tuple[str, str]] = []

    def __enter__(self) -> "Writer":
        self._file = open(self._folder / TABLE, "x", encoding="utf-8")  # closed by __exit__
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._left_out:
            (self._folder / _LEFT_OUT).write_text(json.dumps(self._left_out), encoding="utf-8")

    def leave_out(self, key: str, reason: str) -> None:
        """Something that is not among the images, and why."""
        self._left_out.append((key, reason))

    def add(self, data: bytes, suffix: str, *, label: str | tuple[str, ...], split: str) -> None:
        """One image: its file's bytes, its label or labels, the part that it is in."""
        name = f"{split}/{self._rows // 1000:04d}/{self._rows:07d}{suffix}"
        path = self._folder / name
        with _worded(path):
            if self._rows % 1000 == 0 or not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            self._file.write(json.dumps({"path": name, "label": label, "split": split}) + "\n")
        self._rows += 1


def read(folder: Path, *, pool: bool) -> Catalog:
    """The catalog of a set that `Writer` wrote; one with a single part has no splits."""
    parts = sum(path.is_dir() for path in folder.iterdir())
    catalog = table.read(TableData(file=str(folder / TABLE), split="split", pool=pool or parts == 1))
    left_out = folder / _LEFT_OUT
    items = json.loads(left_out.read_bytes()) if left_out.exists() else []
    return replace(catalog, left_out=tuple(LeftOut(key, reason) for key, reason in items))


def usage() -> tuple[int, int]:
    """How many sets are kept, and in how many bytes. Raises UsageError where there is no cache folder."""
    sets = [path for path in (cache_folder() / _SETS).glob("*/*") if path.is_dir()]
    return len(sets), sum(path.stat().st_size for one in sets for path in one.rglob("*") if path.is_file())


def clear() -> int:
    """Removes all sets; returns the bytes freed. Raises UsageError where there is no cache folder."""
    _, before = usage()
    shutil.rmtree(cache_folder() / _SETS, ignore_errors=True)
    return before - usage()[1]


def _rename(temporary: Path, folder: Path) -> None:
    """Renames a folder; where another process was faster its folder stays."""
    try:
        os.rename(temporary, folder)
    except OSError:
        if not folder.is_dir():
            raise


@contextlib.contextmanager
def _worded(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutOfResources(f"cannot write {printable(str(path))!r}: {error.strerror or error}") from error
