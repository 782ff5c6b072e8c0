"""One cell of a table -> a path, a word, the labels of an image; what it cannot be is a sentence.

A cell may come from a text file, from Parquet or from a frame. It knows nothing of rows and files.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

from finetune.errors import printable

LONGEST = 4096  # characters of a cell

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}

Labels = str | tuple[str, ...]


class BadCell(Exception):
    """What is wrong with a cell, as a sentence; who knows its place makes a DataError of it."""


def labels(cell: object, separator: str | None) -> Labels:
    """The label in a cell; a tuple of labels, maybe none, where the cell is a list or there is a separator."""
    if isinstance(cell, list | tuple) or getattr(cell, "ndim", 0) == 1:
        return _distinct([word(one, "label") for one in cast(Iterable[object], cell)])
    if separator is not None:
        text = word(cell, "label", empty=True)
        parts = [part.strip() for part in text.split(separator)] if text else []
        if not all(parts):
            raise BadCell(f"an empty label in {printable(text)!r}")
        return _distinct(parts)
    text = word(cell, "label")
    if "|" in text:
        raise BadCell(
            f"label {printable(text)!r} has a | in it; where an image may have several labels, say separator: '|' in "
            "data, else rename the class"
        )
    return text


def flag(cell: object, name: str) -> bool:
    """Whether the cell of a column of 0 and 1 says 1; true and false say the same."""
    text = word(cell, name, empty=True)
    if text.casefold() not in _FLAGS:
        raise BadCell(f"column {printable(name)!r} holds {printable(text)!r}, and a column of classes holds 0 and 1")
    return _FLAGS[text.casefold()]


def is_flag(cell: object) -> bool:
    """Whether `flag` takes the cell."""
    try:
        flag(cell, "")
    except BadCell:
        return False
    return True


def path_of(cell: object) -> str:
    """A cell as a path, with the spaces that it has; no address, and without control characters."""
    text = _plain(cell, "path")
    if not text.strip():
        raise BadCell("no path")
    if _ADDRESS.match(text):
        raise BadCell(f"{printable(text)!r} is an address, not a path; download the images first")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise BadCell(f"path {printable(text)!r} has control characters in it")
    return text


def word(cell: object, what: str, *, empty: bool = False) -> str:
    """A cell as a word without spaces around it: a label, a split, a group."""
    text = _plain(cell, what).strip()
    if not text and not empty:
        raise BadCell(f"no {what}")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise BadCell(f"{what} {printable(text)!r} has line breaks or control characters in it")
    return text


def _distinct(labels: Sequence[str]) -> tuple[str, ...]:
    repeated = [label for label, count in Counter(labels).items() if count > 1]
    if repeated:
        raise BadCell(f"label {printable(repeated[0])!r} twice")
    barred = [label for label in labels if "|" in label]
    if barred:
        raise BadCell(f"label {printable(barred[0])!r} has a | in it, which stands between labels elsewhere; rename it")
    return tuple(labels)


def _plain(cell: object, what: str) -> str:
    """A cell as text: whole numbers as they are written, nothing for what is missing."""
    if hasattr(cell, "item") and getattr(cell, "ndim", 1) == 0:
        cell = cell.item()  # a number of NumPy
    if cell is None or type(cell).__name__ in ("NAType", "NaTType") or (isinstance(cell, float) and cell != cell):
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # whole numbers with gaps between them, as pandas holds them
    if isinstance(cell, os.PathLike):
        cell = os.fsdecode(cell)
    if not isinstance(cell, str | int):
        kind = f"the number {cell!r}" if isinstance(cell, float) else f"a {type(cell).__name__}"
        raise BadCell(f"{what} is {kind}; it has to be text")
    text = str(cell)
    if len(text) > LONGEST:
        raise BadCell(f"{what} has {len(text)} characters; at most {LONGEST} are read")
    return text
