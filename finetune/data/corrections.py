"""Labels that are put right and images that are left out by a file beside the data, which itself stays as it is."""

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from finetune.data.catalog import Catalog, LeftOut, Sample
from finetune.errors import DataError, cell, listing, printable, suggestion

COLUMNS = ("path", "action", "label")
SEPARATOR = "|"  # between the labels of an image that has several

Action = Literal["relabel", "exclude"]


@dataclass(frozen=True)
class Correction:
    """What is to be done with one image. `path` is its key; `label` is empty for `exclude`; `line` is where it
    stands in its file, 0 where it stands in none.
    """

    path: str
    action: Action
    label: str = ""
    line: int = field(default=0, compare=False)


def read(path: Path) -> dict[str, Correction]:
    """The corrections of a CSV file with the columns path, action and label, by path as it is written there.

    Raises DataError with every fault at its line: other columns, an unknown action, a relabelling without a label, an
    exclusion with one, a path that is there twice.
    """
    shown = printable(str(path))
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"no corrections can be read from {shown!r}: {(error.strerror or str(error)).lower()}"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"no corrections can be read from {shown!r}: it is not UTF-8 text") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if tuple(header) != COLUMNS:
            named = printable(", ".join(header)) or "nothing"
            raise DataError(f"{shown}:1: the columns must be {', '.join(COLUMNS)}, not {named}")
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{shown}:{reader.line_num}: not a table: {error}") from error
    faults: list[str] = []
    found: dict[str, Correction] = {}
    for line, row in rows:
        wrong = _wrong(row, found)
        if wrong:
            faults.append(f"{shown}:{line}: {wrong}")
        else:
            path_, action, label = row
            found[path_] = Correction(path_, action, label, line)  # type: ignore[arg-type]
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise DataError(f"{count} in the corrections{listing(faults)}")
    return found


def written(corrections: Iterable[Correction]) -> str:
    """The text of a CSV file that `read` reads, sorted by path, and that no spreadsheet computes."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted([cell(one.path), one.action, cell(one.label)] for one in corrections))
    return table.getvalue()


def applied(catalog: Catalog, corrections: Mapping[str, Correction], *, source: str) -> Catalog:
    """The catalog with its images relabelled and left out; the classes stay.

    Raises DataError, with all of them, for paths that are no image of the catalog and labels that are none of its
    classes, and for a class that would have no image left.
    """
    names = {sample.key for sample in catalog.samples}
    spelt = {key: one for key in names if (one := corrections.get(key) or corrections.get(cell(key)))}
    met = {one.path for one in spelt.values()}
    faults = [_unknown(one, names) for path, one in corrections.items() if path not in met]
    faults += [fault for one in spelt.values() if (fault := _strange(one, catalog))]
    if faults:
        lines = [f"{source}:{line}: {words}" if line else words for line, words in sorted(faults)]
        count = "1 correction does" if len(lines) == 1 else f"{len(lines)} corrections do"
        raise DataError(f"{source}: {count} not fit the images{listing(lines)}")
    kept = tuple(
        _relabelled(sample, spelt.get(sample.key), catalog) for sample in catalog.samples if _stays(sample, spelt)
    )
    excluded = [LeftOut(key, f"excluded by {source}") for key, one in spelt.items() if one.action == "exclude"]
    left_out = tuple(sorted((*catalog.left_out, *excluded), key=lambda item: item.key))
    corrected = Catalog(samples=kept, classes=catalog.classes, left_out=left_out)
    emptied = [name for name, count in corrected.counts().items() if not count and catalog.counts()[name]]
    if emptied:
        count = "1 class" if len(emptied) == 1 else f"{len(emptied)} classes"
        raise DataError(f"{source} leaves no image of {count}{listing([printable(n) for n in emptied])}")
    return corrected


def remarks(corrections: Mapping[str, Correction], *, source: str) -> Iterator[str]:
    """How many images each action touched, in words."""
    counts = Counter(one.action for one in corrections.values())
    said = {"relabel": ("image has", "images have", "another label"), "exclude": ("image is", "images are", "left out")}
    for action, (one, several, what) in said.items():
        if count := counts[action]:  # type: ignore[index]
            yield f"{count} {one if count == 1 else several} {what} by {source}"


def _wrong(row: Sequence[str], found: Mapping[str, Correction]) -> str:
    if len(row) != len(COLUMNS):
        return f"{len(row)} cells, where {', '.join(COLUMNS)} are {len(COLUMNS)}"
    path, action, label = row
    if action not in get_args(Action):
        return f"the action must be relabel or exclude, not {printable(action)!r}{suggestion(action, get_args(Action))}"
    if path in found:
        return f"{printable(path)} is there already"
    if not path:
        return "the path is empty"
    if action == "relabel" and not label:
        return f"{printable(path)} is to be relabelled, but there is no label"
    if action == "exclude" and label:
        return f"{printable(path)} is to be left out, so it has no label"
    return ""


def _unknown(one: Correction, names: Collection[str]) -> tuple[int, str]:
    near = suggestion(one.path, names)
    example = f"; images are named as {min(names)!r} is" if names and not near else ""
    return one.line, f"{printable(one.path)!r} is none of the images{near or example}"


def _strange(one: Correction, catalog: Catalog) -> tuple[int, str] | None:
    wrong = [label for label in _labels(one, catalog) if label not in catalog.classes]
    if one.action == "exclude" or not wrong:
        return None
    near = suggestion(wrong[0], catalog.classes)
    there = f"; there are {', '.join(map(printable, catalog.classes[:20]))}"
    return one.line, f"{printable(one.path)}: the label {printable(wrong[0])!r} is none of the classes{near or there}"


def _stays(sample: Sample, spelt: Mapping[str, Correction]) -> bool:
    return sample.key not in spelt or spelt[sample.key].action == "relabel"


def _relabelled(sample: Sample, one: Correction | None, catalog: Catalog) -> Sample:
    if one is None:
        return sample
    labels = _labels(one, catalog)
    return replace(sample, label=labels[0] if isinstance(sample.label, str) else tuple(sorted(set(labels))))


def _labels(one: Correction, catalog: Catalog) -> list[str]:
    """As the classes are called; one whose name a spreadsheet would compute is known by its cell too."""
    labels = one.label.split(SEPARATOR) if catalog.multi_label else [one.label]
    spelt = {cell(name): name for name in catalog.classes}
    return [label if label in catalog.classes else spelt.get(label, label) for label in labels]
