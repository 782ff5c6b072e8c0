"""Every image with its hash, label, group and part, as a table: what a run leaves, and a later one may keep to."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.errors import DataError, cell, listing, printable

if TYPE_CHECKING:
    from finetune.data.catalog import Catalog, LeftOut

COLUMNS = ("key", "sha256", "label", "group", "split", "note")
LEFT_OUT = "left out"
PARTS = ("train", "validation", "test")


def written(
    parts: Mapping[str, "Catalog"], left_out: Iterable["LeftOut"], notes: Mapping[str, str] | None = None
) -> str:
    """CSV: the images of all parts, sorted by key, their labels joined by "|", with a note where their key has one;
    then what was left out, and why.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    places = {sample.key: (part, sample) for part, found in parts.items() for sample in found.samples}
    for key, (part, sample) in sorted(places.items()):
        label = "|".join(sample.labels)
        writer.writerow(
            [cell(key), sample.sha256, cell(label), cell(sample.group or ""), part, (notes or {}).get(key, "")]
        )
    for left in left_out:
        writer.writerow([cell(left.key), "", "", "", LEFT_OUT, left.reason])
    return table.getvalue()


def rows(text: str) -> list[dict[str, str]]:
    """A row per image, in the order of the table, by the names of COLUMNS. Raises ValueError, saying what is wrong."""
    try:
        header, *found = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"is not a table: {error}") from error
    if tuple(header) != COLUMNS:
        raise ValueError(f"must have the columns {', '.join(COLUMNS)}")
    for number, row in enumerate(found, start=2):
        if len(row) != len(header):
            raise ValueError(f"does not fit: row {number} must have {len(header)} cells, but has {len(row)}")
    return [dict(zip(header, row, strict=True)) for row in found]


def read(path: Path) -> list[dict[str, str]]:
    """The rows that a run left: `path` is its folder or the table itself. Raises DataError, naming the file, for
    anything else, and for a table without images.
    """
    place = path / "catalog.csv" if path.is_dir() else path
    shown = repr(printable(str(place)))
    try:
        found = rows(place.read_text("utf-8"))
    except OSError as error:
        raise DataError(
            f"no split can be taken from {shown}: {error.strerror}; name the folder of a run, or its catalog.csv"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"no split can be taken from {shown}: it is not UTF-8 text") from error
    except ValueError as error:
        raise DataError(f"no split can be taken from {shown}: it {error}") from error
    odd = sorted({row["split"] for row in found} - {*PARTS, LEFT_OUT})
    if odd:
        raise DataError(
            f"no split can be taken from {shown}: it has parts that are none of {', '.join(PARTS)}{listing(odd)}"
        )
    images = [row for row in found if row["split"] in PARTS]
    if not images:
        raise DataError(f"no split can be taken from {shown}: it has no images")
    return images
