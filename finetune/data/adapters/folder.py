"""A folder of class folders -> Catalog, with or without train/, val/ and test/ above them.

It decides by names alone: no file is opened here. Everything found that is not used is in `left_out` with its reason.
"""

import contextlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.data.catalog import TRAIN, Catalog, LeftOut, Sample, key_of
from finetune.data.formats import FORMATS, SUFFIXES
from finetune.errors import DataError, UsageError, listing, printable, suggestion
from finetune.recipe.machine import cache_folder

if TYPE_CHECKING:
    from finetune.recipe.dataset import FolderData

_SPLITS = frozenset({TRAIN, "val", "valid", "validation", "test"})
_SYSTEM = frozenset(
    {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "ehthumbs.db", "desktop.ini"}
)
_OTHER_FORMATS = frozenset({".gif", ".avif", ".heic", ".heif", ".jxl", ".jp2", ".svg", ".eps", ".psd", ".ico", ".ppm"})
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz", ".7z", ".rar")

Parts = tuple[str, ...]


@dataclass(frozen=True)
class _Tree:
    """What is below a root: image files and folders as parts of their paths, what is neither, and what may not be."""

    files: tuple[Parts, ...]
    folders: tuple[Parts, ...]
    left_out: tuple[LeftOut, ...]
    fault: DataError | None


@dataclass(frozen=True)
class _Place:
    """Where a file or folder stands: the split folder it is in, if there are any, and its path inside that."""

    parts: Parts
    split: str | None
    inner: Parts

    @property
    def label(self) -> str:
        """The class of a file: the folders between the split folder and it."""
        return key_of(self.inner[:-1])


def read(data: "FolderData") -> Catalog:
    """The images below `data.root`, sorted by key, and their classes, sorted by name.

    A class is a folder that holds images; with `nested` folders inside folders are classes too, named by their path
    ("cats/siamese"). Where train/ stands above the class folders, val/ (or valid/, validation/) and test/ beside it, in
    any capitals, each sample has the name of its split folder, and the classes are those of train/; `pool` takes all
    of them as one. Raises DataError, naming all that is wrong of a kind: nothing there, a class without images, fewer
    than two classes, a class that training lacks, names that differ in capitals only, links that lead outside.
    """
    catalog, faults = examine(data)
    if faults:
        raise faults[0]
    return catalog


def examine(data: "FolderData", *, least: int = 2) -> tuple[Catalog, tuple[DataError, ...]]:
    """What `read` gives, as far as there is any, and everything for which it refuses the folder; `least`: so many
    classes are needed. Where it does, classes that training lacks are among the classes. Raises DataError where nobody
    can tell which folders are the classes, and UsageError where the cache folder lies among the images.
    """
    root = _checked_root(Path(data.root))
    _check_cache(root)
    tree = _walk(root)
    faults = [tree.fault] if tree.fault else []

    @contextlib.contextmanager
    def noted() -> Iterator[None]:
        try:
            yield
        except DataError as fault:
            faults.append(fault)

    try:
        splits = _split_folders(tree, root)
    except DataError as fault:
        raise tree.fault or fault from None
    with noted():
        if data.pool and not splits:
            raise DataError(
                f"{_shown(root)}: pool: true has no effect, there are no folders train, val or test; leave it out"
            )
    places = [place for parts in tree.files if (place := _place(parts, splits))]
    images = [place for place in places if len(place.inner) > 1]
    if not images:
        raise faults[0] if faults else _nothing(places, tree, root)
    training: set[str | None] = {name for name in splits if data.pool or name.casefold() == TRAIN}
    training = training or {None}
    classes = sorted({image.label for image in images if image.split in training})
    with noted():
        if not data.nested:
            _check_depth(images, root)
    with noted():
        _check_names(images, root)
    with noted():
        _check_no_empty_class(images, tree, splits, training, root=root, nested=data.nested)
    with noted():
        if len(classes) < least:
            raise DataError(
                f"{_shown(root)}: only one class, {classes[0]!r}; a classifier needs two or more class folders"
            )
        _check_known(images, classes, root)
    if faults:
        classes = sorted({image.label for image in images})
    samples = [
        Sample(key_of(image.parts), root.joinpath(*image.parts), image.label, split=None if data.pool else image.split)
        for image in images
    ]
    loose = [LeftOut(key_of(place.parts), "beside the class folders") for place in places if len(place.inner) == 1]
    left_out = [*tree.left_out, *loose, *_beside(tree, splits)]
    catalog = Catalog(
        samples=tuple(sorted(samples, key=lambda sample: sample.key)),
        classes=tuple(classes),
        left_out=tuple(sorted(left_out, key=lambda item: item.key)),
    )
    return catalog, tuple(faults)


def images_below(folder: Path) -> list[Path]:
    """The image files of a folder at any depth, sorted by key. Raises DataError when there are none."""
    root = _checked_root(folder)
    tree = _walk(root)
    if tree.fault:
        raise tree.fault
    if not tree.files:
        raise DataError(f"{_shown(root)}: no images{_summary(tree.left_out)}; {FORMATS} are read, at any depth")
    return [root.joinpath(*parts) for parts in sorted(tree.files, key=key_of)]


def _check_cache(root: Path) -> None:
    """Nothing is to be written among the images."""
    try:
        cache = cache_folder()
    except UsageError:  # there is none, so that nothing is kept
        return
    if cache.resolve().is_relative_to(root.resolve()):
        raise UsageError(
            f"the cache folder {printable(str(cache))} lies among the images in {_shown(root)}; set FINETUNE_CACHE "
            "to a folder outside of it"
        )


def _checked_root(root: Path) -> Path:
    if os.path.isdir(root):
        return root
    if os.path.isfile(root) and root.name.lower().endswith(ARCHIVES):
        raise DataError(f"{_shown(root)} is an archive; extract it first and name the folder")
    if os.path.exists(root):
        raise DataError(f"{_shown(root)} is not a folder; name the folder that holds the class folders")
    whole = Path(os.path.abspath(root))
    nearest = next(parent for parent in whole.parents if os.path.isdir(parent))
    missing = printable(whole.relative_to(nearest).parts[0])
    try:
        with os.scandir(nearest) as entries:
            near = suggestion(missing, [printable(entry.name) for entry in entries if entry.is_dir()])
    except OSError as error:
        raise DataError(f"{_shown(root)}: {_shown(nearest)} cannot be read ({error.strerror})") from error
    raise DataError(f"no folder {_shown(root)}: there is {_shown(nearest)}, but no {missing!r} in it{near}")


def _walk(root: Path) -> _Tree:
    """Everything below the root; links are never followed into folders, and hidden folders are not entered."""
    files: list[Parts] = []
    folders: list[Parts] = []
    left_out: list[LeftOut] = []
    refused: list[str] = []
    real_root = Path(os.path.realpath(root))
    waiting: list[Parts] = [()]
    while waiting:
        parent = waiting.pop()
        try:
            with os.scandir(root.joinpath(*parent)) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            refused.append(f"{key_of(parent) or '.'}: the folder cannot be read ({error.strerror})")
            continue
        for entry in found:
            parts = (*parent, entry.name)
            if not _is_hidden(entry.name) and entry.is_symlink() and _leads_outside(entry, real_root):
                refused.append(f"{key_of(parts)}: a link that leads outside")
            elif reason := _unusable(entry):
                left_out.append(LeftOut(key_of(parts), reason))
            elif entry.is_dir():
                folders.append(parts)
                waiting.append(parts)
            else:
                files.append(parts)
    said = f"{_shown(root)}: {len(refused)} of the things in it cannot be used{listing(sorted(refused))}"
    fault = DataError(said) if refused else None
    return _Tree(files=tuple(files), folders=tuple(folders), left_out=tuple(left_out), fault=fault)


def _leads_outside(entry: "os.DirEntry[str]", real_root: Path) -> bool:
    try:
        return not Path(os.path.realpath(entry.path, strict=True)).is_relative_to(real_root)
    except OSError:
        return False  # it leads nowhere: a loop, or its target is gone


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _SYSTEM


def _unusable(entry: "os.DirEntry[str]") -> str | None:
    """Why an entry is neither an image file nor a folder to look into; None when it is one of them."""
    if _is_hidden(entry.name):
        return "hidden or system name"
    suffix = os.path.splitext(entry.name)[1].lower()
    if entry.is_symlink() and not os.path.exists(entry.path):
        return "a link that leads nowhere"
    if entry.is_dir():
        if entry.is_symlink():
            return "a link to a folder, not followed"
        return "a folder with an image's name" if suffix in SUFFIXES else None
    if not entry.is_file():
        return "not a regular file"
    if suffix in _OTHER_FORMATS:
        return f"format not allowed ({suffix}); {FORMATS} are read"
    return None if suffix in SUFFIXES else "not an image suffix"


def _split_folders(tree: _Tree, root: Path) -> list[str]:
    """The names of the split folders as found; none where the folders at the top are classes."""
    top = {parts[0] for parts in tree.files if len(parts) > 1}
    named = sorted(name for name in top if name.casefold() in _SPLITS)
    above_classes = {parts[0] for parts in tree.files if len(parts) > 2}
    has_train = any(name.casefold() == TRAIN for name in named)
    if not named or not (has_train or top == set(named)):
        return []
    if not above_classes.intersection(named):
        if top == set(named):
            raise DataError(
                f"{_shown(root)}: {_quoted(named)} hold images but no class folders; "
                f"put the images of each class in a folder of its own, such as {printable(named[0])}/cat/1.jpg"
            )
        return []
    if not has_train:
        raise DataError(f"{_shown(root)}: {_quoted(named)} but no images in 'train'; classes come from training images")
    repeated = [name for name in named if sum(other.casefold() == name.casefold() for other in named) > 1]
    if repeated:
        raise DataError(f"{_shown(root)}: split folders that differ in capitals only: {_quoted(repeated)}; rename one")
    return named


def _place(parts: Parts, splits: Sequence[str]) -> _Place | None:
    """None for what is in a folder beside the split folders."""
    if not splits or len(parts) == 1:
        return _Place(parts, None, parts)
    return _Place(parts, parts[0], parts[1:]) if parts[0] in splits else None


def _nothing(loose: Sequence[_Place], tree: _Tree, root: Path) -> DataError:
    if not loose:
        example = printable(str(root / "cat" / "1.jpg"))
        return DataError(
            f"{_shown(root)}: no images{_summary(tree.left_out)}; {FORMATS} are read, in a folder for each class, such "
            f"as {example}"
        )
    where = printable(str(root.joinpath(*loose[0].parts[:-1])))
    return DataError(
        f"{_shown(root)}: {_images(len(loose))} but no class folders; name the folder that holds the folders of the "
        f"classes, such as {where} with {where}/cat/1.jpg and {where}/dog/1.jpg"
    )


def _check_depth(images: Sequence[_Place], root: Path) -> None:
    deep = Counter(key_of(image.parts[:-1]) for image in images if len(image.inner) > 2)
    if not deep:
        return
    lines = [f"{folder}: {_images(count)}" for folder, count in sorted(deep.items())]
    tops = {image.parts[0] for image in images}
    deeper = f", or set root to {_shown(root / min(tops))}" if len(tops) == 1 else ""
    raise DataError(
        f"{_shown(root)}: folders of images inside class folders; say `nested: true` to make each a class of its own, "
        f"or move the images up{deeper}{listing(lines)}"
    )


def _check_names(images: Sequence[_Place], root: Path) -> None:
    """Names that one file system keeps apart and another does not would be other classes on another machine."""
    spellings: dict[str, set[str]] = {}
    for name in {image.label for image in images}:
        spellings.setdefault(unicodedata.normalize("NFC", name).casefold(), set()).add(ascii(name))
    same = [" and ".join(sorted(names)) for _, names in sorted(spellings.items()) if len(names) > 1]
    if same:
        raise DataError(
            f"{_shown(root)}: classes that differ only in capitals or in how accents are stored; rename one"
            f"{listing(same)}"
        )


def _check_no_empty_class(
    images: Sequence[_Place], tree: _Tree, splits: Sequence[str], training: set[str | None], *, root: Path, nested: bool
) -> None:
    filled = {
        image.inner[:depth] for image in images if image.split in training for depth in range(1, len(image.inner))
    }
    folders = [place for parts in tree.folders if (place := _place(parts, splits)) and place.split in training]
    empty = [place for place in folders if place.inner not in filled and (nested or len(place.inner) == 1)]
    if empty:
        lines = [key_of(place.parts) + _summary(_inside(tree.left_out, place.parts)) for place in empty]
        raise DataError(f"{_shown(root)}: class folders without images; fill or remove them{listing(sorted(lines))}")


def _inside(left_out: Iterable[LeftOut], folder: Parts) -> list[LeftOut]:
    return [item for item in left_out if item.key.startswith(key_of(folder) + "/")]


def _check_known(images: Sequence[_Place], classes: Sequence[str], root: Path) -> None:
    unknown = Counter((image.split or "", image.label) for image in images if image.label not in classes)
    if unknown:
        lines = [
            f"{split}/{name}: {_images(count)}{suggestion(name, classes)}"
            for (split, name), count in sorted(unknown.items())
        ]
        raise DataError(
            f"{_shown(root)}: classes that 'train' does not have; rename, move or remove them{listing(lines)}"
        )


def _beside(tree: _Tree, splits: Sequence[str]) -> Iterator[LeftOut]:
    images = Counter(parts[0] for parts in tree.files if len(parts) > 1)
    for parts in tree.folders:
        if splits and len(parts) == 1 and parts[0] not in splits:
            yield LeftOut(key_of(parts), f"a folder beside the split folders ({_images(images[parts[0]])})")


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _summary(left_out: Sequence[LeftOut]) -> str:
    reasons = Counter(item.reason for item in left_out).most_common(3)
    return (
        f" ({len(left_out)} left out: {'; '.join(f'{count} x {reason}' for reason, count in reasons)})"
        if reasons
        else ""
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(printable(name)) for name in names)


def _shown(path: Path) -> str:
    return repr(printable(str(path), limit=1000))
