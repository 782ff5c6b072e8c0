"""Tables and lists that are in memory -> Catalog, and a catalog from Python -> a table that a recipe can name.

A frame is whatever has named columns that can be gone through: of pandas, of polars, a table of pyarrow, a dict of
lists. None of these packages is imported.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from finetune.data import rows as tables
from finetune.data.adapters import table
from finetune.data.catalog import Catalog, Sample
from finetune.data.rows import Rows
from finetune.errors import UsageError, listing, printable
from finetune.recipe.dataset import TableData
from finetune.recipe.sentences import sentences

FILE = "images.jsonl"

PathLike = str | os.PathLike[str]


def from_frame(
    frame: Any,
    *,
    path: str = "path",
    label: str | None = None,
    classes: Sequence[str] | None = None,
    separator: str | None = None,
    split: str | None = None,
    group: str | None = None,
    id: str | None = None,
    root: PathLike | None = None,
) -> Catalog:
    """The catalog of a frame with a row for each image: of pandas or polars, a pyarrow table, or a dict of lists.

    The columns mean what they mean in a recipe with `data: {kind: table}`: `label` is "label" unless told otherwise;
    its cells may be lists, with `separator` texts such as "cat|outdoor"; `classes` are columns of 0 and 1. Relative
    paths start from `root`, and none leads out of it; keys are paths below that. By default it is the working folder,
    or where some files lie elsewhere the folder that holds them all. Hand the catalog to `finetune.run` or
    `finetune.features`.
    Raises UsageError for what is no frame, DataError for what a table file is refused for.
    """
    asked = {"path": path, "label": label, "separator": separator, "split": split, "group": group, "id": id}
    data = _columns(**asked, classes=None if classes is None else list(classes))
    found = _column_names(frame)
    names = tuple(str(name) for name in found)
    single = {name: _cells(frame, name) for name in found if found.count(name) == 1}
    count = len(next(iter(single.values()), ()))
    columns = [single.get(name, [None] * count) for name in found]
    if any(len(column) != count for column in columns):
        raise UsageError("the columns of the frame have different lengths")
    if not count:
        raise UsageError("the frame has no rows")
    return _listed(names, list(zip(*columns, strict=True)), data, source="the frame", root=root)


def from_paths(
    paths: Iterable[PathLike],
    labels: Iterable[object],
    *,
    splits: Iterable[str] | None = None,
    groups: Iterable[object] | None = None,
    root: PathLike | None = None,
) -> Catalog:
    """The catalog of image files and their labels, in step: names or whole numbers, or lists of them where an image may
    have several. `splits` says train, val or test of each, `groups` what must not be torn apart; `root` is that of
    `from_frame`. Raises UsageError for lists of different lengths, DataError for what a table file is refused for.
    """
    given = {"path": paths, "label": labels, "split": splits, "group": groups}
    columns = {name: list(values) for name, values in given.items() if values is not None}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{count} {name}s" for name, count in lengths.items())
        raise UsageError(f"paths and what is said of them have to be in step, and there are {counted}")
    if not lengths["path"]:
        raise UsageError("there are no paths")
    data = _columns(**{name: name for name in ("split", "group") if name in columns})
    return _listed(tuple(columns), list(zip(*columns.values(), strict=True)), data, source="the list", root=root)


@dataclass(frozen=True)
class Handed:
    """A catalog from Python as a table: the bytes of its file, how a recipe names it, and the catalog that this gives.

    `catalog` is read from `lines`, so that it is the same whenever the file is read again.
    """

    lines: bytes
    data: TableData
    catalog: Catalog

    def at(self, file: Path) -> TableData:
        """How a recipe names the table when it lies there."""
        return self.data.model_copy(update={"file": str(file)})


def handed(catalog: Catalog, asked: Any) -> Handed:
    """The catalog as a table of JSON lines; `asked` is the data of the recipe, whose `pool` and `on_bad_image` hold.

    Keys, labels, splits and groups are those of the catalog; classes are those that training images have, in the order
    of their names. Raises UsageError where samples are no files, or their folder has a name that no recipe can hold.
    """
    samples = catalog.samples
    if not samples:
        raise UsageError("the catalog has no images")
    lacking = [sample.key for sample in samples if sample.path is None]
    if lacking:
        raise UsageError(f"{len(lacking)} images of the catalog are no files{listing(lacking)}")
    files = [os.path.abspath(sample.file) for sample in samples]
    root = _common(files)
    lines = "".join(
        json.dumps(_row(sample, os.path.relpath(file, root) if root else file)) + "\n"
        for sample, file in zip(samples, files, strict=True)
    ).encode()
    names = [name for name in ("split", "group") if any(getattr(sample, name) for sample in samples)]
    data = _columns(
        **{name: name for name in names},
        id="id",
        root=root,
        pool=asked.pool and "split" in names,
        on_bad_image=asked.on_bad_image,
    )
    found = table.listed(tables.json_lines(lines, source=FILE), data, root=Path(root or ""))
    return Handed(lines, data, found)


def _row(sample: Sample, path: str) -> dict[str, object]:
    return {
        "id": sample.key,
        "path": path,
        "label": sample.label,
        **{name: value for name in ("split", "group") if (value := getattr(sample, name)) is not None},
    }


def _common(files: Sequence[str]) -> str | None:
    """The folder that holds all files; none where they lie on different drives."""
    try:
        found = os.path.commonpath(files)
    except ValueError:
        return None
    return os.path.dirname(found) if found in files else found


def _listed(
    names: Sequence[str], cells: Sequence[Sequence[object]], data: TableData, *, source: str, root: PathLike | None
) -> Catalog:
    found = Rows(source, tuple(names), cells, range(len(cells)), counted="{source}, row {number} (the first is 0)")
    if root is None and data.path in found.columns:
        place = found.columns.index(data.path)
        files = [os.path.abspath(cell) for row in cells if isinstance(cell := row[place], str | os.PathLike)]
        common = _common(files) if files else None
        if common is not None and not Path(common).is_relative_to(Path.cwd()):
            return table.listed(replace(found, cells=_absolute(cells, place)), data, root=Path(common))
    return table.listed(found, data, root=Path(root or "."))


def _absolute(cells: Sequence[Sequence[object]], place: int) -> list[list[object]]:
    """The rows with whole paths; what is no path, or an address, is left for others to refuse."""
    rows = [list(row) for row in cells]
    for row in rows:
        cell = row[place]
        if isinstance(cell, os.PathLike) or (isinstance(cell, str) and cell.strip() and "://" not in cell):
            row[place] = os.path.abspath(cell)
    return rows


def _columns(**named: Any) -> TableData:
    """Columns as a recipe names them. Raises UsageError in the words of a recipe's faults."""
    try:
        return TableData.model_validate_json(json.dumps({"file": FILE, **named}))
    except ValidationError as error:
        faults = [text for _, text in sentences(error, TableData)]
        raise UsageError(faults[0] if len(faults) == 1 else f"no columns of images{listing(faults)}") from None


def _column_names(frame: Any) -> tuple[Any, ...]:
    lazy = hasattr(frame, "collect") and not hasattr(frame, "to_dict")
    names = frame.keys() if isinstance(frame, Mapping) else None
    for way in ("column_names", "columns"):
        if names is None and not lazy:
            names = getattr(frame, way, None)
    if names is None or not hasattr(frame, "__getitem__"):
        kind = type(frame).__name__
        more = "; collect it first" if lazy else ""
        raise UsageError(f"a {printable(kind)} is no frame{more}; give one of pandas or polars, or a dict of lists")
    return tuple(names)


def _cells(frame: Any, name: Any) -> list[object]:
    """The cells of a column as Python has them."""
    column = frame[name]
    for way in ("to_list", "to_pylist"):
        if hasattr(column, way):
            return list(getattr(column, way)())
    return list(column)
