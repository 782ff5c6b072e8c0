"""A table with a row for each image -> Catalog.

It opens no image. What is wrong with rows is told all at once, each with its place; nothing is skipped.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.data import rows as tables
from finetune.data.catalog import TRAIN, Catalog, Sample, key_of
from finetune.data.cells import BadCell, Labels, flag, labels, path_of, word
from finetune.data.rows import Rows
from finetune.errors import DataError, listing, printable, suggestion

if TYPE_CHECKING:
    from finetune.recipe.dataset import TableData

LABEL = "label"  # the column of labels where none is named


@dataclass(frozen=True)
class _Entry:
    """A row that makes sense by itself; `written` is its path as it stands there."""

    row: int
    path: Path
    written: str
    key: str
    label: Labels
    split: str | None
    group: str | None

    @property
    def labels(self) -> tuple[str, ...]:
        """Its labels, also when there is only one."""
        return (self.label,) if isinstance(self.label, str) else self.label


def read(data: "TableData") -> Catalog:
    """The images that the rows of `data.file` name, sorted by key, and their classes.

    Relative paths start from `data.root`, or else from the table's folder, and neither a path nor a link leads out of
    it; a key is the path below that, or what the column `id` says. With `separator`, with lists as labels, or with
    columns of 0 and 1 as `classes`, images have tuples of labels, maybe none. Classes are those of rows whose split is
    train (in any capitals), of all where there is no such column or with `pool`, sorted by name but for `classes`,
    which keep their order. Raises DataError, naming file and line of all that is wrong of a kind: columns, cells that
    are empty or no text, addresses, a file named twice, files outside of the root or not there, labels that differ in
    capitals only, splits without train, labels that training lacks, fewer than two classes.
    """
    catalog, faults = examine(data)
    if faults:
        raise faults[0]
    return catalog


def examine(data: "TableData", *, least: int = 2) -> tuple[Catalog, tuple[DataError, ...]]:
    """What `read` gives, as far as there is any, and everything for which it refuses the table; `least`: so
    many classes are needed. Where it does, rows that cannot be used are left out, and labels that training lacks are
    among the classes. Raises DataError where nobody can tell which images are meant.
    """
    file = Path(data.file)
    named = [name for name in _wanted(data) if name not in (data.classes or ())]
    root = Path(data.root) if data.root else file.parent
    found, faults = tables.examine(file, known=named)
    if not os.path.isdir(root):
        shown = printable(str(root), limit=1000)
        raise DataError(f"{found.source}: its paths start from {shown!r}, and there is no such folder; mend data.root")
    catalog, more = _examined(found, data, root=root, least=least)
    return catalog, (*faults, *more)


def listed(rows: Rows, data: "TableData", *, root: Path) -> Catalog:
    """The catalog of rows that have been read, as `read`; paths start from `root`."""
    catalog, faults = _examined(rows, data, root=root, least=2)
    if faults:
        raise faults[0]
    return catalog


def _examined(rows: Rows, data: "TableData", *, root: Path, least: int) -> tuple[Catalog, tuple[DataError, ...]]:
    rows.check_columns(_wanted(data))
    root = Path(os.path.abspath(root))
    entries, faults = _entries(rows, data, root)
    entries, outside = _inside(entries, rows, root)
    entries, missing = _there(entries, rows, root)
    faults += [*outside, *missing]
    if not entries:
        raise faults[0]
    spelt = ((label, entry.row) for entry in entries for label in entry.labels)
    faults += _of_one_form(entries, rows)
    faults += _spellings(spelt, "labels", rows)
    faults += _spellings(((entry.split, entry.row) for entry in entries if entry.split), "splits", rows)
    training, untrained = _training(entries, data, rows)
    classes, uncertain = _classes(training, data, rows, least=least)
    faults += [*untrained, *uncertain, *_unknown(entries, classes, rows)]
    if faults:
        classes = tuple(dict.fromkeys((*classes, *sorted({label for entry in entries for label in entry.labels}))))
    several = any(not isinstance(entry.label, str) for entry in entries)
    samples = [
        Sample(
            entry.key,
            entry.path,
            tuple(name for name in classes if name in entry.labels) if several else entry.labels[0],
            group=entry.group,
            split=None if data.pool else entry.split,
        )
        for entry in entries
    ]
    return Catalog(tuple(sorted(samples, key=lambda sample: sample.key)), classes), tuple(faults)


def _wanted(data: "TableData") -> dict[str, str]:
    """The columns that are named, and as what."""
    named = {"path": data.path, "split": data.split, "group": data.group, "id": data.id}
    if data.classes is None:
        named["label"] = data.label or LABEL
    wanted = {name: use for use, name in named.items() if name is not None}
    return {**wanted, **dict.fromkeys(data.classes or (), "one of classes")}


def _entries(rows: Rows, data: "TableData", root: Path) -> tuple[list[_Entry], list[DataError]]:
    """Rows as entries, and all that is wrong of rows one by one, and of files named twice."""
    columns = {name: rows.column(name) for name in _wanted(data)}
    label = _labels_of(data, columns)
    entries: list[_Entry] = []
    faults: list[str] = []
    seen: dict[Path, _Entry] = {}
    keys: dict[str, int] = {}
    for row in range(len(rows)):
        try:
            written = path_of(columns[data.path][row])
            path = Path(os.path.abspath(root / written))
            key = printable(word(columns[data.id][row], "id"), limit=10_000) if data.id else _key(path, written, root)
            split = word(columns[data.split][row], "split") if data.split else None
            group = word(columns[data.group][row], "group", empty=True) or None if data.group else None
            entry = _Entry(row, path, written, key, label(row), split, group)
            if path in seen:
                raise BadCell(_twice(entry, seen[path], rows))
            if entry.key in keys:
                raise BadCell(f"id {key!r} is that of {rows.place(keys[entry.key])} too")
        except BadCell as fault:
            faults.append(f"{rows.place(row)}: {fault}")
            continue
        seen[path] = entry
        keys[entry.key] = row
        entries.append(entry)
    if len(faults) > 1:
        faults = [f"{rows.source}: {len(faults)} of {len(rows)} rows cannot be used{listing(faults)}"]
    return entries, [DataError(fault) for fault in faults]


def _labels_of(data: "TableData", columns: dict[str, list[object]]) -> Callable[[int], Labels]:
    """What gives the labels of a row."""
    if data.classes is not None:
        flags = {name: columns[name] for name in data.classes}
        return lambda row: tuple(name for name, cells in flags.items() if flag(cells[row], name))
    cells = columns[data.label or LABEL]
    return lambda row: labels(cells[row], data.separator)


def _key(path: Path, written: str, root: Path) -> str:
    """The path below the root; of a file elsewhere, which is refused later, the path as it is written."""
    return key_of(path.relative_to(root).parts) if path.is_relative_to(root) else printable(written)


def _twice(entry: _Entry, before: _Entry, rows: Rows) -> str:
    where = f"{printable(entry.written)!r} is the file of {rows.place(before.row)} too"
    if entry.label == before.label:
        return f"{where}; remove one of them"
    here, there = (printable("|".join(one.labels)) for one in (entry, before))
    several = "; the labels of an image stand in one row, with a separator" if isinstance(entry.label, str) else ""
    return f"{where}, with another label: {here!r} here and {there!r} there{several}"


def _inside(entries: list[_Entry], rows: Rows, root: Path) -> tuple[list[_Entry], list[DataError]]:
    """The entries whose files lie below the root, wherever links lead: what is drawn from a table that someone else
    wrote shall show nothing but its images.
    """
    real_root = Path(os.path.realpath(root))
    real_folder = cache(os.path.realpath)
    outside: dict[int, str] = {}
    for entry in entries:
        shown = repr(printable(entry.written, limit=1000))
        if not entry.path.is_relative_to(root):
            outside[entry.row] = shown
            continue
        is_link = os.path.islink(entry.path)
        real = os.path.realpath(entry.path) if is_link else real_folder(entry.path.parent)
        if not Path(real).is_relative_to(real_root):
            outside[entry.row] = f"{shown}, by a link"
    if not outside:
        return entries, []
    lines = [f"{rows.place(row)}: {shown}" for row, shown in outside.items()]
    fault = DataError(
        f"{rows.source}: {len(outside)} of {len(rows)} rows lead out of {printable(str(root), limit=1000)!r}, the "
        "folder that paths start from; give as root (in a recipe, data.root) a folder that holds all images, and write "
        f"relative paths from there{listing(lines)}"
    )
    return [entry for entry in entries if entry.row not in outside], [fault]


def _there(entries: list[_Entry], rows: Rows, root: Path) -> tuple[list[_Entry], list[DataError]]:
    """The entries whose files are there."""
    missing = [entry for entry in entries if not os.path.isfile(entry.path)]
    if not missing:
        return entries, []
    slashes = "; in a path names are separated by /" if any("\\" in entry.written for entry in missing) else ""
    lines = [f"{rows.place(entry.row)}: {printable(entry.written, limit=1000)!r}" for entry in missing]
    fault = DataError(
        f"{rows.source}: {len(missing)} of {len(rows)} rows name files that are not there; "
        f"paths start from {printable(str(root), limit=1000)!r}{slashes}{listing(lines)}"
    )
    gone = {entry.row for entry in missing}
    return [entry for entry in entries if entry.row not in gone], [fault]


def _of_one_form(entries: Sequence[_Entry], rows: Rows) -> Iterator[DataError]:
    several = next((entry.row for entry in entries if not isinstance(entry.label, str)), None)
    single = next((entry.row for entry in entries if isinstance(entry.label, str)), None)
    if several is not None and single is not None:
        yield DataError(
            f"{rows.place(several)}: a list of labels, and a single one at {rows.place(single)}; give all images lists"
        )


def _spellings(found: Iterable[tuple[str, int]], what: str, rows: Rows) -> Iterator[DataError]:
    """What differs in capitals, or in how accents are stored, is hardly meant to be two things."""
    spellings: dict[str, dict[str, int]] = {}
    for spelt, row in found:
        spellings.setdefault(unicodedata.normalize("NFC", spelt).casefold(), {}).setdefault(spelt, row)
    same = [
        " and ".join(f"{spelt!a} ({rows.place(row)})" for spelt, row in sorted(forms.items()))
        for _, forms in sorted(spellings.items())
        if len(forms) > 1
    ]
    if same:
        yield DataError(
            f"{rows.source}: {what} that differ only in capitals or in how accents are stored; write them alike"
            f"{listing(same)}"
        )


def _training(entries: list[_Entry], data: "TableData", rows: Rows) -> tuple[list[_Entry], list[DataError]]:
    """The entries that classes come from; all of them where none is for training."""
    if data.split is None or data.pool:
        return entries, []
    training = [entry for entry in entries if entry.split is not None and entry.split.casefold() == TRAIN]
    if training:
        return training, []
    found = Counter(entry.split or "" for entry in entries)
    counted = ", ".join(f"{printable(name)}: {count}" for name, count in sorted(found.items())[:20])
    fault = DataError(
        f"{rows.source}: column {printable(data.split)!r} says train of no row ({counted}), and classes come from "
        "training images; write train, or say pool: true to split anew"
    )
    return entries, [fault]


def _classes(
    training: Sequence[_Entry], data: "TableData", rows: Rows, *, least: int
) -> tuple[tuple[str, ...], list[DataError]]:
    found = {label for entry in training for label in entry.labels}
    faults = []
    never = [repr(printable(name)) for name in data.classes or () if name not in found]
    if never:
        words = f"{rows.source}: columns of classes without a 1 among the training images{listing(never)}"
        faults.append(DataError(words))
    classes = data.classes or tuple(sorted(found))
    if len(classes) < least:
        only = f"only one class, {printable(classes[0])!r}" if classes else "no class at all"
        faults.append(DataError(f"{rows.source}: {only}; a classifier needs two or more"))
    return classes, faults


def _unknown(entries: Sequence[_Entry], classes: Sequence[str], rows: Rows) -> Iterator[DataError]:
    known = set(classes)
    unknown: dict[tuple[str, str], list[int]] = {}
    for entry in entries:
        for label in entry.labels:
            if label not in known:
                unknown.setdefault((label, entry.split or ""), []).append(entry.row)
    if unknown:
        lines = [
            f"{printable(label)!r} in {printable(split)}: {len(found)} rows, the first at {rows.place(found[0])}"
            f"{suggestion(label, classes)}"
            for (label, split), found in sorted(unknown.items())
        ]
        yield DataError(f"{rows.source}: labels that no training image has; mend or remove these rows{listing(lines)}")
