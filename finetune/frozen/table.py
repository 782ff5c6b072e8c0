"""`finetune.features`: images -> a table of features beside their keys and labels, and its files."""

import contextlib
import csv
import importlib
import json
import os
import secrets
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from pydantic import ValidationError

from finetune.bundle import Bundle
from finetune.bundle.durable import TEMPORARY, worded
from finetune.data.adapters import folder
from finetune.data.catalog import Catalog, LeftOut, Sample, census, key_of
from finetune.data.decode import Fit, Preprocessing
from finetune.data.rows import is_table
from finetune.data.store import Store
from finetune.errors import BundleError, DataError, UsageError, cell, listing, printable
from finetune.frozen.extract import Extractor, Looks
from finetune.frozen.sources import InMemory, Source
from finetune.model import backbone as networks
from finetune.model import weights as loading
from finetune.model.backbone import Backbone
from finetune.model.pooling import Pool
from finetune.predict import Check, Picture, from_bundle, gather
from finetune.recipe import backbones
from finetune.recipe.network import BackboneChoice, Weights
from finetune.recipe.schema import Images
from finetune.recipe.section import Section
from finetune.recipe.sentences import sentences
from finetune.runtime import Precision, start
from finetune.starter import labelled

S = TypeVar("S", bound=Section)

SUFFIXES = (".npz", ".parquet", ".csv")

_ROWS = 1024  # that are written at a time


@dataclass(frozen=True, eq=False)
class Features:
    """The features of images: values float32 (n, width), of pool "none" (n, channels, h, w).

    `keys` names the images; `labels` are the names of their classes (of several classes with | between), or None, and
    `classes` all names in order; `left_out` is what was found beside the images, and why it is not among them, `notes`
    what went wrong with the cache and did not stop the work.
    """

    values: np.ndarray
    keys: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def save(self, path: str | Path) -> None:
        """Writes a file of the kind that its suffix says, in place of one that is there, whole or not at all.

        .npz: arrays values, keys, labels, classes. .parquet and .csv: a row per image, with the columns key, label, f0,
        f1, … Raises UsageError for another suffix, for maps in a table, and for .parquet without pyarrow;
        OutOfResources when the disk or a permission does not allow it.
        """
        path = Path(path)
        check_suffix(path)
        suffix = path.suffix.lower()
        if self.values.ndim != 2 and suffix != ".npz":
            raise UsageError(f"maps are no table, and {suffix} holds one; save them as .npz, or pool them")
        write = {".npz": self._write_npz, ".parquet": self._write_parquet, ".csv": self._write_csv}[suffix]
        temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
        with worded(path, needed=self.values.nbytes):
            try:
                write(temporary)
                os.replace(temporary, path)
            finally:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def _write_npz(self, path: Path) -> None:
        texts = {"keys": self.keys, "labels": self.labels, "classes": self.classes}
        arrays = {name: np.array(text, dtype=np.str_) for name, text in texts.items() if text is not None}
        with zipfile.ZipFile(path, "x") as file:
            for name, array in {"values": self.values, **arrays}.items():
                with file.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:  # dated 1980
                    np.lib.format.write_array(member, array, allow_pickle=False)

    def _write_csv(self, path: Path) -> None:
        with open(path, "x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self._columns())
            for part in self._parts():
                for place, row in zip(range(part.start, part.stop), self.values[part].tolist(), strict=True):
                    texts = [self.keys[place], *([self.labels[place]] if self.labels is not None else [])]
                    writer.writerow([*map(cell, texts), *(f"{value:.9g}" for value in row)])

    def _write_parquet(self, path: Path) -> None:
        arrow, parquet = _arrow()
        kinds = [(name, arrow.string() if name in ("key", "label") else arrow.float32()) for name in self._columns()]
        schema = arrow.schema(kinds, metadata={"classes": json.dumps(self.classes)})
        with parquet.ParquetWriter(path, schema) as writer:
            for part in self._parts():
                columns: list[Any] = [self.keys[part], *([self.labels[part]] if self.labels is not None else [])]
                columns += list(np.ascontiguousarray(self.values[part].T))
                arrays = [arrow.array(column, kind) for column, (_, kind) in zip(columns, kinds, strict=True)]
                writer.write_batch(arrow.record_batch(arrays, schema=schema))

    def _columns(self) -> list[str]:
        label = ["label"] if self.labels is not None else []
        return ["key", *label, *(f"f{place}" for place in range(self.values.shape[1]))]

    def _parts(self) -> Iterator[slice]:
        return (slice(start, min(start + _ROWS, len(self))) for start in range(0, len(self), _ROWS))


def check_suffix(path: Path) -> None:
    """Raises UsageError unless `Features.save` can write a file of this name."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{printable(str(path))!r} is none of {', '.join(SUFFIXES)}, the files of features")
    if suffix == ".parquet":
        _arrow()


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UsageError(
            ".parquet needs pyarrow: pip install 'finetune-vision[parquet]'; or write .npz or .csv"
        ) from None


def features(
    backbone: str | Path | Backbone,
    images: Catalog | Picture | Sequence[Picture],
    *,
    weights: Weights | Mapping[str, Any] | None = None,
    stage: str | Sequence[str] | None = None,
    pool: Pool | None = None,
    size: int | None = None,
    fit: Fit | None = None,
    mirrored: bool = False,
    precision: Precision = "float32",
    cache: bool = True,
    check: Check | None = None,
) -> Features:
    """What a network makes of images, up to a stage: one row of numbers for each.

    backbone: a name that `finetune backbones` lists, the folder of a bundle (with its weights and preprocessing), or a
    Backbone as it is. images: a folder (of class folders, which give the labels, or of images alone), a table with a
    row for each image, a path, a PIL image, an array (h, w, 3) uint8, a sequence of these, or a Catalog. weights: as in
    a recipe, such as {"kind": "package", "name": …}; None: from the hub. stage: one of stem, stage1 … stage4, or
    several, side by side; None: the last. pool: None, after the last the classifier's input and of others the mean; or
    avg, avgmax, gem, none. size: pixels of the side, by default what the weights were trained with; fit: crop, pad or
    squash. mirrored: the mean over each image and its mirror image. cache: what was computed before is taken from the
    user's cache folder, and new features are kept there. check(done, total) may raise to stop. Memory does not grow
    with the number of images: above 16 MB the values are a memory-mapped file. Files of a folder, a table or a catalog
    that cannot be read are left out and named, as many as a run may leave out; of others they are an error. Raises
    UsageError, DataError, WeightsError, BundleError or Offline.
    """
    given = _given(images)
    built, preprocessing = network(backbone, weights, size=size, fit=fit)
    stages = (stage,) if isinstance(stage, str) else stage and tuple(stage)
    store: AbstractContextManager[Store | None] = Store.open() if cache else nullcontext()
    with store as kept:
        extractor = Extractor(built, looks=Looks(preprocessing), runtime=start(), store=kept, precision=precision)

        def of(sources: Sequence[Source]) -> np.ndarray:
            every_view = extractor.pooled(sources, stages=stages, pool=pool, mirrored=mirrored, check=check)
            return np.asarray(every_view[0])

        try:
            found = of(given.sources)
        except DataError:
            if given.catalog is None:
                raise
            given = _readable(given, given.catalog)
            found = of(given.sources)
    catalog = given.catalog if given.labelled else None
    return Features(
        values=found,
        keys=tuple(source.key for source in given.sources),
        labels=tuple("|".join(sample.labels) for sample in catalog.samples) if catalog else None,
        classes=catalog.classes if catalog else None,
        left_out=given.catalog.left_out if given.catalog else (),
        notes=kept.notes if kept else (),
    )


def sources(pictures: Sequence[Picture]) -> list[Source]:
    """The pictures as sources of features, in order, each with a key that can be printed; files are not opened."""
    return [
        InMemory(f"image {place}", picture)
        if isinstance(picture, Image.Image | np.ndarray)
        else _sample(Path(picture), str(picture))
        for place, picture in enumerate(pictures)
    ]


def network(
    backbone: str | Path | Backbone,
    weights: Weights | Mapping[str, Any] | None = None,
    *,
    size: int | None = None,
    fit: Fit | None = None,
) -> tuple[Backbone, Preprocessing]:
    """The network that `features` means by these arguments, with its weights, and what images become for it."""
    if isinstance(backbone, str) and (backbone in backbones.names() or not Path(backbone).is_dir()):
        return _named(backbone, weights, size=size, fit=fit)
    idle = {"weights": weights, "size": size, **({} if isinstance(backbone, Backbone) else {"fit": fit})}
    if given := [name for name, value in idle.items() if value is not None]:
        raise UsageError(f"{' and '.join(given)} would have no effect: the backbone that is given has its own")
    if isinstance(backbone, Backbone):
        return backbone, backbone.contract.preprocessing(_judged(Images, {"fit": fit or "crop"}))
    bundle = Bundle.open(Path(backbone))
    if not bundle.complete:
        shown = printable(str(backbone))
        raise BundleError(f"{shown}: this run is not complete; `finetune resume {shown}` finishes it")
    return from_bundle(bundle).cut, Preprocessing.from_dict(bundle.facts["preprocessing"])


@dataclass(frozen=True)
class _Given:
    """The images that are meant; the catalog that they are of, if any, and whether it has their labels."""

    sources: Sequence[Source]
    catalog: Catalog | None = None
    labelled: bool = False


def _given(images: Catalog | Picture | Sequence[Picture]) -> _Given:
    if isinstance(images, str | Path) and Path(images).is_dir():
        root = Path(images)
        paths = folder.images_below(root)
        if all(path.parent == root for path in paths):  # a folder without folders has no classes
            alone = tuple(Sample(key_of([path.name]), path, printable(root.name)) for path in paths)
            return _Given(alone, Catalog(alone, (printable(root.name),)))
        images = labelled(root, least=1)
    elif isinstance(images, str | Path) and is_table(Path(images)):
        images = labelled(Path(images))
    if isinstance(images, Catalog):
        return _Given(images.samples, images, labelled=True)
    return _Given(sources(gather(images)))


def _readable(given: _Given, catalog: Catalog) -> _Given:
    """The same without the files that cannot be read. Raises DataError where they are too many."""
    readable, _ = census(catalog, on_bad_image="skip", threads=os.cpu_count() or 1)
    return replace(given, sources=readable.samples, catalog=readable)


def _sample(path: Path, name: str) -> Sample:
    return Sample(printable(name, limit=4096), path, "")


class _Asked(Section):
    """What is asked of the network, judged as in a recipe."""

    backbone: BackboneChoice
    images: Images


def _named(
    name: str, weights: Weights | Mapping[str, Any] | None, *, size: int | None, fit: Fit | None
) -> tuple[Backbone, Preprocessing]:
    """The network of that name with its weights. Raises UsageError for a name, weights or pixels that cannot be."""
    chosen = weights.model_dump(mode="json") if isinstance(weights, Section) else weights or {"kind": "hub"}
    written = {"backbone": {"name": name, "weights": chosen}, "images": {"size": size, "fit": fit or "crop"}}
    asked = _judged(_Asked, written)
    network = networks.build(name, size=size, tag=asked.backbone.tag)
    loading.load(network, asked.backbone.weights, seed=0, classes=0)
    return network, network.contract.preprocessing(asked.images)


def _judged(kind: type[S], written: Mapping[str, Any]) -> S:
    """What is written as a section, judged as in a recipe."""
    try:
        return kind.model_validate_json(json.dumps(written, default=str))
    except ValidationError as error:
        faults = [text for _, text in sentences(error, kind)]
        raise UsageError(faults[0] if len(faults) == 1 else f"features cannot be made so{listing(faults)}") from None
