"""From a recipe to the images of its split: list, read every file once, split, and say what was left out.

It opens every image that it has not seen before and keeps none; it knows nothing of networks.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import assert_never

from finetune.data import catalog as catalogs
from finetune.data import corrections, decode, ledger
from finetune.data.adapters import folder, huggingface, table, torchvision
from finetune.data.catalog import Catalog, LeftOut
from finetune.data.fingerprints import Fingerprints
from finetune.data.groups import matched
from finetune.data.split import Split, split
from finetune.errors import DataError, UnreadableImage
from finetune.recipe.dataset import FolderData, HuggingfaceData, TableData, TorchvisionData
from finetune.recipe.facts import Facts
from finetune.recipe.network import Random
from finetune.recipe.schedule import Auto, Probe, starts_from_probe
from finetune.recipe.schema import Recipe
from finetune.recipe.splits import Folds, Grouped, Stored, Stratified

_ASKED = 128  # files whose headers say how large images are


@dataclass(frozen=True)
class Survey:
    """What there is to learn from: the split, what is not in it and why, and what is worth saying of the rest."""

    split: Split
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.split.train.classes

    @property
    def folds(self) -> tuple["Survey", ...]:
        """The same with the images of one fold after the other held out; nothing where every image is not."""
        return tuple(Survey(fold, self.left_out, ()) for fold in self.split.folds)

    @property
    def parts(self) -> dict[str, Catalog]:
        return {"train": self.split.train, "validation": self.split.validation, "test": self.split.test}

    def counts(self) -> dict[str, int]:
        """Images in each part of the split, and how many were left out; the folds, where every image is held out."""
        folds = {"folds": len(self.split.folds)} if self.split.folds else {}
        return {**{name: len(part) for name, part in self.parts.items()}, "left_out": len(self.left_out), **folds}

    def facts(self, recipe: Recipe) -> Facts:
        """What a plan depends on."""
        return Facts(
            train=len(self.split.train),
            validation=len(self.split.validation),
            test=len(self.split.test),
            classes=len(self.classes),
            smallest_class=min(self.split.train.counts().values()),
            largest_class=max(self.split.train.counts().values()),
            pretrained=not isinstance(recipe.backbone.weights, Random),
            batch_size=recipe.train.batch_size,
            folds=len(self.split.folds),
            short_side=_short_side(self.split.train) if isinstance(recipe.schedule, Auto) else None,
        )

    def to_csv(self) -> str:
        """Every image with its SHA-256, label, part of the split and fold, sorted by key; then what was left out, and
        why.
        """
        folds = enumerate(self.split.folds, start=1)
        notes = {key: f"fold {number}" for number, fold in folds for key in fold.test.keys}
        return ledger.written(self.parts, self.left_out, notes)


def _short_side(images: Catalog) -> int | None:
    """The median of the shorter sides in pixels, by the headers of at most 128 files."""
    files = [sample.path for sample in images.samples if sample.path]
    found = []
    for file in files[:: max(1, len(files) // _ASKED)][:_ASKED]:
        with contextlib.suppress(UnreadableImage):  # who needs the image will say so
            found.append(decode.short_side(decode.read(file)))
    return round(median(found)) if found else None


def find(recipe: Recipe) -> Catalog:
    """The images that the recipe's data names, corrected, listed and not yet opened.

    Sets that are published are fetched if they are not in the cache folder. Raises DataError, Offline, OutOfResources.
    """
    found, faults = find_all(recipe)
    if faults:
        raise faults[0]
    return found


def find_all(recipe: Recipe) -> tuple[Catalog, tuple[DataError, ...]]:
    """What `find` gives, as far as there is any, and everything for which it would refuse. Raises as `find` where
    nobody can tell which images there are.
    """
    found, faults = _listed(recipe)
    if recipe.corrections is None:
        return found, faults
    path = Path(recipe.corrections)
    try:
        return corrections.applied(found, corrections.read(path), source=path.name), faults
    except DataError as fault:
        return found, (*faults, fault)


def _listed(recipe: Recipe) -> tuple[Catalog, tuple[DataError, ...]]:
    match recipe.data:
        case FolderData():
            return folder.examine(recipe.data)
        case TableData():
            return table.examine(recipe.data)
        case TorchvisionData():
            return torchvision.read(recipe.data), ()
        case HuggingfaceData():
            return huggingface.read(recipe.data), ()
        case _:
            assert_never(recipe.data)


def pinned(recipe: Recipe) -> Recipe:
    """The recipe with the commit of a set on the hub, which may have others later. Raises as `find`."""
    if not isinstance(recipe.data, HuggingfaceData):
        return recipe
    return recipe.model_copy(update={"data": huggingface.pinned(recipe.data)})


def survey(recipe: Recipe, found: Catalog, *, progress: Callable[[int, int], None] | None = None) -> Survey:
    """Opens the files of `found` that it has not seen before, leaves out what cannot be read (if the recipe lets it),
    and splits the rest.
    """
    with Fingerprints.open() as known:
        readable, remarks = catalogs.census(
            found, on_bad_image=recipe.data.on_bad_image, threads=os.cpu_count() or 1, known=known, progress=progress
        )
    parts = divided(readable, recipe)
    counted = tuple(f"{count} {'image' if count == 1 else 'images'}: {what}" for what, count in sorted(remarks.items()))
    return Survey(split=parts, left_out=readable.left_out, notes=(*parts.notes, *_corrected(recipe), *counted))


def divided(readable: Catalog, recipe: Recipe) -> Split:
    """The split of a catalog whose census has been taken, as the recipe asks for it. Raises DataError."""
    choice = recipe.split
    if isinstance(choice, Grouped | Folds) and choice.pattern is not None:
        readable = matched(readable, choice.pattern)
    return split(
        readable,
        choice,
        seed=recipe.seed,
        default=_default(recipe),
        before=ledger.read(Path(choice.of)) if isinstance(choice, Stored) else (),
        learn_from_validation=isinstance(recipe.schedule, Probe | Auto),
    )


def _corrected(recipe: Recipe) -> Iterator[str]:
    if recipe.corrections is not None:
        path = Path(recipe.corrections)
        yield from corrections.remarks(corrections.read(path), source=path.name)


def _default(recipe: Recipe) -> Stratified:
    """The shares where the recipe gives none: a probe chooses by cross-validation and needs no validation images."""
    return Stratified(validation=0.0) if starts_from_probe(recipe.schedule) else Stratified()
