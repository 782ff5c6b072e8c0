"""A data set on the Hugging Face hub -> Catalog, by way of `datasets`, which is loaded only here and only when asked.

Its images are written once into the cache folder, each with its own bytes, and read from there from then on. No code
of a set is run: `datasets` from version 4 on has no way to.
"""

import contextlib
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.data import formats, unpacked
from finetune.data.catalog import Catalog
from finetune.errors import DataError, Offline, UnreadableImage, printable, suggestion
from finetune.recipe.dataset import HuggingfaceData

_COMMIT = re.compile("[0-9a-f]{40}")
_LISTS = ("LargeList", "List", "Sequence")
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}

Labels = str | tuple[str, ...]


def read(data: HuggingfaceData) -> Catalog:
    """The images of the set, each part under its name as their split, with the names that its classes have.

    A column that holds lists of classes gives images tuples of labels. Parts whose images have no labels are left out,
    and said to be. Raises DataError without `datasets`, for a set, configuration or column that is not there or not to
    be told from others, and for what `datasets` cannot read; Offline when the network is needed and not there;
    OutOfResources when the disk or a permission does not allow it.
    """
    data = pinned(data)
    asked = data.model_dump(include={"config", "revision", "image", "label"})
    folder = unpacked.place("huggingface", data.name, asked)
    if not folder.is_dir():
        with unpacked.whole(folder) as temporary:
            _write(data, temporary)
    return unpacked.read(folder, pool=data.pool)


def pinned(data: HuggingfaceData) -> HuggingfaceData:
    """The same with the commit as its revision, so that it names these images for ever. Raises as `read`."""
    if data.revision is not None and _COMMIT.fullmatch(data.revision):
        return data
    with _worded(data):
        builder = _datasets().load_dataset_builder(data.name, data.config, revision=data.revision)
    commit = str(getattr(builder, "hash", ""))
    return data.model_copy(update={"revision": commit}) if _COMMIT.fullmatch(commit) else data


def _write(data: HuggingfaceData, folder: Path) -> None:
    """The images of a set as files, and a table of them."""
    datasets = _datasets()
    with _worded(data), unpacked.Writer(folder) as writer:
        parts = datasets.load_dataset(data.name, data.config, revision=data.revision)
        for split, part in parts.items():
            image, label = _columns(part.features, data)
            names = _names(part.features[label], data)
            unlabelled = 0
            for row in part.select_columns([image, label]).cast_column(image, datasets.Image(decode=False)):
                found = names(row[label])
                if found is None:
                    unlabelled += 1
                    continue
                content, suffix = _file(row[image], data)
                writer.add(content, suffix, label=found, split=str(split))
            if unlabelled:
                writer.leave_out(str(split), f"{unlabelled} images without a label")


def _columns(features: Mapping[str, Any], data: HuggingfaceData) -> tuple[str, str]:
    """The columns of images and of labels."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    classes = [name for name, feature in features.items() if type(_inner(feature)).__name__ == "ClassLabel"]
    texts: list[str] = [name for name in ("label", "labels") if name in kinds and not classes]
    image = _chosen("image", data.image, images, kinds, data)
    return image, _chosen("label", data.label, classes or texts, kinds, data)


def _chosen(what: str, named: str | None, found: list[str], kinds: Mapping[str, str], data: HuggingfaceData) -> str:
    there = ", ".join(f"{printable(name)} ({kind})" for name, kind in kinds.items())
    if named is not None:
        if named not in kinds:
            raise DataError(f"{data.name}: no column {named!r}{suggestion(named, kinds)}; the columns are {there}")
        return named
    if len(found) != 1:
        count = "several columns" if found else "no column"
        raise DataError(f"{data.name}: {count} of {what}s; say {what}: NAME in data; the columns are {there}")
    return found[0]


def _inner(feature: Any) -> Any:
    """The feature of the items of a list; any other as it is."""
    return feature.feature if type(feature).__name__ in _LISTS else feature


def _names(feature: Any, data: HuggingfaceData) -> Callable[[Any], Labels | None]:
    """What gives the labels of a cell; None: it has no label."""
    inner = _inner(feature)
    one = _name_of(inner, data)
    if inner is feature:
        return one

    def several(cell: Any) -> Labels | None:
        return None if cell is None else tuple(dict.fromkeys(name for item in cell if (name := one(item)) is not None))

    return several


def _name_of(feature: Any, data: HuggingfaceData) -> Callable[[Any], str | None]:
    if type(feature).__name__ == "ClassLabel":
        names = list(feature.names)
        return lambda cell: None if cell is None or int(cell) < 0 else str(names[int(cell)])
    kind = str(getattr(feature, "dtype", type(feature).__name__))
    if kind in ("string", "large_string", "bool") or kind.startswith(("int", "uint")):
        return lambda cell: None if cell is None or cell == "" else str(cell).lower() if kind == "bool" else str(cell)
    raise DataError(f"{data.name}: labels of kind {printable(kind)}; they have to be classes, text or whole numbers")


def _file(cell: Any, data: HuggingfaceData) -> tuple[bytes, str]:
    """The bytes of an image's file and the suffix that its first bytes ask for."""
    if not isinstance(cell, Mapping):
        raise DataError(f"{data.name}: an image is missing, or the column holds none; say image: NAME in data")
    content, path = cell.get("bytes"), str(cell.get("path") or "")
    if content is None:
        content = Path(path).read_bytes()
    try:
        return content, _SUFFIXES[str(formats.reader(content).format)]
    except UnreadableImage:  # which the census will say, and the recipe decides what of it
        own = Path(path).suffix
        return content, own if re.fullmatch(r"\.\w{1,8}", own, re.ASCII) else ""


def _datasets() -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError:
        raise DataError(
            "data of kind 'huggingface' needs datasets: pip install 'finetune-vision[huggingface]'"
        ) from None


@contextlib.contextmanager
def _worded(data: HuggingfaceData) -> Iterator[None]:
    """Turns what goes wrong in `datasets` into errors that say what to do."""
    own: type[Exception] = _datasets().exceptions.DatasetsError
    try:
        yield
    except ConnectionError as error:
        raise Offline(
            f"{data.name} has to be fetched from the hub, and it cannot be reached ({printable(str(error))})"
        ) from error
    except (OSError, ValueError, RuntimeError, own) as error:
        reason = printable(str(error)) or type(error).__name__
        raise DataError(f"{data.name}: datasets says: {reason}") from error
