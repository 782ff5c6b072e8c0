"""A table file -> rows of cells under named columns, each with its place: CSV, TSV, JSON lines, Parquet.

Text stays text: no cell of a text file becomes a number, so that 007 and 1e3 are what they were. It knows nothing of
images and labels.
"""

import csv
import importlib
import io
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.errors import DataError, listing, printable, suggestion

SUFFIXES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet")

_MOST_BYTES = 512 * 10**6
_MOST_ROWS = 1_000_000
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_DELIMITERS = {".csv": ",;\t", ".tsv": "\t", ".tab": "\t"}


@dataclass(frozen=True)
class Rows:
    """Cells under named columns. `source` is what messages call the table, `counted` what they call the place of a
    row: "{source}:{number}" for a line of a text file.

    A cell is text in what was read from a text file, else whatever Python makes of it; None where there is none.
    """

    source: str
    columns: tuple[str, ...]
    cells: Sequence[Sequence[object]]
    numbers: Sequence[int]
    counted: str = field(default="{source}:{number}", kw_only=True)

    def __len__(self) -> int:
        return len(self.cells)

    def place(self, row: int) -> str:
        """Where a row is, as a message begins with it."""
        return self.counted.format(source=self.source, number=self.numbers[row])

    def column(self, name: str) -> list[object]:
        """The cells of a column."""
        place = self.columns.index(name)
        return [cells[place] for cells in self.cells]

    def check_columns(self, wanted: Mapping[str, str]) -> None:
        """Raises DataError for columns that are not there, or there twice. wanted: name -> what it is named as."""
        count = Counter(self.columns)
        faults = [
            f"no column {printable(name)!r} ({use}){suggestion(name, self.columns)}"
            for name, use in wanted.items()
            if not count[name]
        ]
        there = ", ".join(printable(name, limit=40) for name in self.columns[:20]) or "none"
        if faults:
            uses = dict.fromkeys(use for name, use in wanted.items() if not count[name])
            said = f"{self.source}: {'; '.join(faults)}; the columns are {there}"
            raise DataError(f"{said}; rename one of them, or name the one that is meant as {' and '.join(uses)}")
        repeated = [name for name in wanted if count[name] > 1]
        if repeated:
            raise DataError(f"{self.source}: column {printable(repeated[0])!r} is there {count[repeated[0]]} times")


def is_table(path: Path) -> bool:
    """Whether a path is named like a table file."""
    return path.suffix.lower() in SUFFIXES


def read(path: Path, *, known: Iterable[str] = ()) -> Rows:
    """The rows of a table file, every line of which makes sense. Raises DataError as `examine`, and for lines."""
    rows, faults = examine(path, known=known)
    if faults:
        raise faults[0]
    return rows


def examine(path: Path, *, known: Iterable[str] = ()) -> tuple[Rows, tuple[DataError, ...]]:
    """The rows of a table file that make sense, and an error that names all the lines that do not.

    known: column names by which to tell what separates the columns of a .csv file. Text files are UTF-8, with or
    without a byte order mark, with any line ends; their lines are counted from 1, and quoted cells may hold line ends.
    Names of columns, and cells of CSV and TSV, lose spaces around them. In JSON lines each line is an object; numbers
    are taken as they are written. Lines that make no sense have more or fewer cells than the first, quotes that do not
    close, or are not JSON. Raises DataError where there is no row at all: no such file, another suffix or encoding,
    more than 512 MB or 1,000,000 rows, no first line with names; for Parquet without pyarrow, and for a damaged file.
    """
    suffix = path.suffix.lower()
    shown = _shown(path)
    if suffix not in SUFFIXES:
        raise DataError(f"{shown} is none of {', '.join(SUFFIXES)}, the tables that are read")
    data = _bytes(path)
    faults: list[str] = []
    if suffix == ".parquet":
        rows = _parquet(data, shown)
    elif suffix in _DELIMITERS:
        rows, faults = _delimited(_text(data, shown), shown, _DELIMITERS[suffix], known)
    else:
        rows, faults = _objects(data, shown)
    if not len(rows):
        raise _unreadable(faults, shown) if faults else DataError(f"{shown}: no rows")
    if len(rows) > _MOST_ROWS:
        raise DataError(f"{shown}: {len(rows)} rows; a table of images has at most {_MOST_ROWS}")
    return rows, (_unreadable(faults, shown),) if faults else ()


def json_lines(data: bytes, *, source: str) -> Rows:
    """The rows of JSON lines; the columns are the keys in the order in which they first occur. Raises as `read`."""
    shown = _shown(Path(source))
    rows, faults = _objects(data, shown)
    if faults:
        raise _unreadable(faults, shown)
    return rows


def _objects(data: bytes, shown: str) -> tuple[Rows, list[str]]:
    """The rows of the lines that are objects, and what is wrong with the others."""
    objects: list[dict[str, object]] = []
    numbers: list[int] = []
    faults: list[str] = []
    for number, line in enumerate(_text(data, shown).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_unrepeated)
        except (ValueError, RecursionError) as error:
            faults.append(f"{shown}:{number}: not JSON ({getattr(error, 'msg', None) or error})")
            continue
        if not isinstance(found, dict):
            faults.append(f'{shown}:{number}: not a JSON object, such as {{"path": "1.jpg", "label": "cat"}}')
            continue
        objects.append(found)
        numbers.append(number)
    columns = tuple(dict.fromkeys(key for found in objects for key in found))
    return Rows(shown, columns, [[found.get(key) for key in columns] for found in objects], numbers), faults


def _unrepeated(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"key {printable(repeated[0])!r} occurs twice")
    return dict(pairs)


def _bytes(path: Path) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{_shown(path)} is not a file; name the table")
        if status.st_size > _MOST_BYTES:
            raise DataError(f"{_shown(path)}: {status.st_size // 10**6} MB; a table of images has at most 512 MB")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"no file {_shown(path)}{_near(path)}") from None
    except OSError as error:
        raise DataError(f"{_shown(path)} cannot be read ({error.strerror})") from error


def _near(path: Path) -> str:
    try:
        return suggestion(path.name, [printable(entry.name) for entry in path.parent.iterdir()])
    except OSError:
        return ""


def _text(data: bytes, shown: str) -> str:
    """The text of a file of UTF-8. Raises DataError naming the line, and what the encoding may be instead."""
    if data.startswith(_BYTE_ORDER_MARKS) or data[:200].count(0) > len(data[:200]) // 4:
        raise DataError(f"{shown}:1: the text is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{shown}:{line}: the text is not UTF-8 (byte 0x{data[error.start]:02x}), perhaps Latin-1 or Windows-1252; "
            "save it as UTF-8"
        ) from None


def _delimited(text: str, shown: str, delimiters: str, known: Iterable[str]) -> tuple[Rows, list[str]]:
    """The rows of CSV or TSV; of several delimiters the first under which the header has a column that is known."""
    wanted = set(known)
    tried = [_header(text, delimiter) for delimiter in delimiters]
    chosen = next((place for place, names in enumerate(tried) if wanted & set(names)), 0)
    return _separated(text, shown, delimiters[chosen])


def _header(text: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(_reader(text, delimiter), [])]
    except csv.Error:
        return []


def _separated(text: str, shown: str, delimiter: str) -> tuple[Rows, list[str]]:
    """The rows that have a cell for each name of the first line, and what is wrong with the others."""
    reader = _reader(text, delimiter)
    cells: list[list[str]] = []
    numbers: list[int] = []
    faults: list[str] = []
    columns: tuple[str, ...] | None = None
    line = 1
    try:
        for row in reader:
            begun, line = line, reader.line_num + 1
            if not row:
                continue
            if columns is None:
                columns = tuple(name.strip() for name in row)
                continue
            if len(row) != len(columns):
                count = f"{len(row)} {'cell' if len(row) == 1 else 'cells'}"
                faults.append(f"{shown}:{begun}: {count} where the first line has {len(columns)}")
                continue
            cells.append([cell.strip() for cell in row])
            numbers.append(begun)
    except csv.Error as error:
        faults.append(f"{shown}:{line}: {_said(error)}")
    if columns is None:
        faults = faults or [f"{shown}:1: no first line with the names of columns, such as path,label"]
        raise _unreadable(faults, shown)
    return Rows(shown, columns, cells, numbers), faults


def _reader(text: str, delimiter: str) -> Any:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)


def _said(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote that begins here or below is never closed"
    if "field limit" in str(error):
        return f"a cell of more than {csv.field_size_limit()} characters; perhaps a quote is not closed"
    return f"not to be read as a table ({error})"


def _parquet(data: bytes, shown: str) -> Rows:
    arrow, parquet = _arrow(shown)
    try:
        table = parquet.read_table(io.BytesIO(data))
    except (OSError, arrow.ArrowException) as error:
        raise DataError(f"{shown}: no Parquet file, or a damaged one ({printable(str(error))})") from None
    columns = [column.to_pylist() for column in table.columns]
    cells = [list(row) for row in zip(*columns, strict=True)]
    return Rows(shown, tuple(table.column_names), cells, range(1, len(cells) + 1), counted="{source}, row {number}")


def _arrow(shown: str) -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(
            f"{shown}: Parquet needs pyarrow: pip install 'finetune-vision[parquet]'; or save the table as .csv"
        ) from None


def _unreadable(faults: Sequence[str], shown: str) -> DataError:
    if len(faults) == 1:
        return DataError(faults[0])
    return DataError(f"{shown}: {len(faults)} lines cannot be read{listing(faults)}")


def _shown(path: Path) -> str:
    return printable(str(path), limit=1000)
