"""A classification set that torchvision has -> Catalog. It downloads and reads the set; nothing else here loads torch.

Sets of image files are used as they are. Sets of pixels are written once as PNG files into the cache folder, and read
from there, without torch, from then on.
"""

import contextlib
import inspect
import io
import os
import shutil
import tarfile
import urllib.error
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.data import unpacked
from finetune.data.adapters import table
from finetune.data.catalog import Catalog
from finetune.data.rows import Rows
from finetune.errors import DataError, Offline, OutOfResources, printable
from finetune.recipe.dataset import TableData, TorchvisionData
from finetune.recipe.published import SETS, Part, Published

_RAW = "raw"  # what was downloaded, until its pixels are written out
_TROUBLE = (
    AttributeError, EOFError, ImportError, KeyError, RuntimeError, TypeError, ValueError,
    tarfile.TarError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read(data: TorchvisionData) -> Catalog:
    """The images of the set, those of each part under its name as their split, and its classes, sorted by name.

    It is fetched into `data.root`, or into the cache folder, whole or not at all. Raises Offline when the network is
    not there, DataError when torchvision cannot get or read the set, saying where its files go by hand, and when a part
    has not as many images as were published; OutOfResources when the disk or a permission does not allow it.
    """
    known = SETS[data.name]
    root = None if data.root is None else Path(os.path.abspath(data.root))
    if root is None and known.by_hand:
        raise DataError(f"{data.name} cannot be downloaded by a program; {_by_hand(data.name)}")
    if known.kept == "pixels":
        folder = unpacked.place("torchvision", data.name, {"root": root and str(root)})
        if not folder.is_dir():
            with unpacked.whole(folder) as temporary:
                _write(data.name, root or temporary / _RAW, temporary)
        return unpacked.read(folder, pool=data.pool)
    if root is None:
        root = unpacked.place("torchvision", data.name)
        if not root.is_dir():
            with unpacked.whole(root) as temporary:
                _parts(data.name, temporary)
    return _listed(data, root)


def _write(name: str, root: Path, folder: Path) -> None:
    """The pixels of a set as PNG files and a table of them."""
    with unpacked.Writer(folder) as writer:
        for split, dataset in _parts(name, root).items():
            with _worded(name, root):
                for place in range(len(dataset)):
                    picture, target = dataset[place]
                    label = _label(dataset, target, name=name, split=split)
                    file = io.BytesIO()
                    picture.save(file, format="PNG")
                    writer.add(file.getvalue(), ".png", label=label, split=split)
    shutil.rmtree(folder / _RAW, ignore_errors=True)


def _listed(data: TorchvisionData, root: Path) -> Catalog:
    """The catalog of a set of files, as if a table named them."""
    cells = []
    for split, dataset in _parts(data.name, root).items():
        with _worded(data.name, root):
            for path, target in _files(dataset):
                cells.append((str(path), _label(dataset, target, name=data.name, split=split), split))
    columns = ("path", "label", "split")
    counted = "{source}, image {number}"
    rows = Rows(f"torchvision's {data.name}", columns, cells, range(1, len(cells) + 1), counted=counted)
    single = len(SETS[data.name].parts) == 1
    return table.listed(rows, TableData(file=data.name, split="split", pool=data.pool or single), root=root)


def _parts(name: str, root: Path) -> dict[str, Any]:
    """The data sets of torchvision by the name of their split, downloaded if they are not there."""
    known, found = SETS[name], {}
    for split, part in known.parts.items():
        with _worded(name, root):
            found[split] = _opened(name, known, part, root)
        if len(found[split]) != part.images:
            raise DataError(
                f"{name}: {len(found[split])} images in part {split!r}, and {part.images} were published; the download "
                f"was cut off, or its files are others; remove {printable(str(root / known.folder))!r} and run again"
            )
    return found


def _opened(name: str, known: Published, part: Part, root: Path) -> Any:
    import torchvision

    kind = getattr(torchvision.datasets, name)
    arguments = dict(part.arguments)
    if not known.by_hand:
        arguments["download"] = True  # which does nothing where the files are there
    if known.kept == "files" and "loader" in inspect.signature(kind).parameters:
        arguments["loader"] = _itself
    return kind(str(root), **arguments)


def _itself(path: str | Path) -> str | Path:
    """What loads an image, so that a data set answers with the path instead."""
    return path


def _files(dataset: Any) -> Iterator[tuple[str | Path, Any]]:
    """The files of a set and their targets."""
    if hasattr(dataset, "_images"):  # OxfordIIITPet, whose pictures have forgotten their files
        yield from zip(dataset._images, dataset._labels, strict=True)
        return
    for place in range(len(dataset)):
        picture, target = dataset[place]
        if isinstance(picture, str | Path):
            yield picture, target
        else:  # Caltech101 and Caltech256 open the file, and no more than that
            with picture:
                yield picture.filename, target


def _label(dataset: Any, target: Any, *, name: str, split: str) -> str:
    """The name of a class, or its number where classes have no names."""
    if target is None:
        raise DataError(f"{name}: the images of part {split!r} have no labels in these files; get the whole set")
    classes = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    if classes is None:
        return str(int(target))
    named = classes[int(target)]
    return str(named if isinstance(named, str) else named[0])  # Imagenette lists several names of a class


@contextlib.contextmanager
def _worded(name: str, root: Path) -> Iterator[None]:
    """Turns what goes wrong in torchvision into errors that say what to do."""
    try:
        yield
    except urllib.error.HTTPError as error:
        raise DataError(f"{name}: the server answers {error.code}; {_by_hand(name)}") from error
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        raise Offline(f"{name} has to be downloaded, and the network is not there; {_by_hand(name)}") from error
    except OSError as error:
        reason = error.strerror or printable(str(error))
        raise OutOfResources(f"{name}: {reason} ({printable(str(error.filename or root))})") from error
    except _TROUBLE as error:
        reason = printable(str(error)) or type(error).__name__
        kind = Offline if "urlopen error" in reason else DataError
        raise kind(f"{name}: torchvision says: {reason}; {_by_hand(name)}") from error


def _by_hand(name: str) -> str:
    place = "/".join(filter(None, ("FOLDER", SETS[name].folder)))
    return f"get its files by hand, put them into {place} and say root: FOLDER in data"
