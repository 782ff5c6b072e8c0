"""What the store holds is brought down to its limit, oldest use first: as measured on the disk."""

import contextlib
import math
from pathlib import Path

from finetune.data import database
from finetune.data.index import NAME, VALUES, Index


def files(folder: Path) -> list[Path]:
    """The files of the store in this folder."""
    return [*database.files_of(folder / NAME), *folder.glob(f"*{VALUES}")]


def sizes(folder: Path) -> dict[str, int]:
    """The bytes of each file, by name."""
    found = {}
    for file in files(folder):
        with contextlib.suppress(FileNotFoundError):
            found[file.name] = file.stat().st_size
    return found


def evict(index: Index, folder: Path, *, limit: int) -> int:
    """Until the files take at most `limit` bytes, or nothing is left to evict; returns the bytes freed.

    Nobody else may have the store open. May raise OSError and sqlite3.Error.
    """
    _give_back(index, folder)
    before = now = sum(sizes(folder).values())
    more = 1  # pages of the index that lose some of their records stay, so that it may take several rounds
    while now > limit and _drop_oldest(index, folder, more * (now - limit)):
        _give_back(index, folder)
        now, more = sum(sizes(folder).values()), 2 * more
    return before - now


def _drop_oldest(index: Index, folder: Path, excess: int) -> bool:
    """Drops what takes so many bytes on the disk; returns whether there was anything.

    Large collections go whole, small ones record by record, each counted with its part of the index.
    """
    rows = {row.id: row for row in index.collections()}
    ages = [(used, number, count) for used, number, count in index.ages() if number in rows]
    found = sizes(folder)
    indexed = sum(size for name, size in found.items() if not name.endswith(VALUES))
    share = max(1.0, indexed / max(1, sum(count * rows[number].stride for _, number, count in ages)))
    large = [(row.used, row.id, 1, float(found.get(row.file, 0))) for row in rows.values() if row.large]
    small = [(used, number, count, rows[number].stride * share) for used, number, count in ages]
    left = float(excess)
    with index.writing():
        for used, number, count, each in sorted(large + small):
            if left <= 0:
                break
            if rows[number].large:
                index.drop(number)
                left -= each
            else:
                records = min(count, math.ceil(left / each))
                index.forget(number, used=used, at_most=records)
                left -= records * each
        index.drop_empty()
    return bool(large or small)


def _give_back(index: Index, folder: Path) -> None:
    """To the disk, what no collection has: evicted now, or left by a process that was killed."""
    named = {row.file for row in index.collections()}
    for path in folder.glob(f"*{VALUES}"):
        if path.name not in named:
            path.unlink(missing_ok=True)
    index.give_back()
