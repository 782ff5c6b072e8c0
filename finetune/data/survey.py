"""From a recipe to the images of its split: list, read every file once, split, and say what was left out.

It opens every image that it has not seen before and keeps none; it knows nothing of networks.
"""

import csv
import io
import os
from collections.abc import Callable
from dataclasses import dataclass

from finetune.data import catalog as catalogs
from finetune.data.adapters import folder
from finetune.data.catalog import Catalog, LeftOut
from finetune.data.fingerprints import Fingerprints
from finetune.data.split import Split, split
from finetune.errors import DataError, cell
from finetune.recipe.facts import Facts
from finetune.recipe.network import Random
from finetune.recipe.schedule import Auto, Probe, starts_from_probe
from finetune.recipe.schema import Recipe, Stratified


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
    def parts(self) -> dict[str, Catalog]:
        return {"train": self.split.train, "validation": self.split.validation, "test": self.split.test}

    def counts(self) -> dict[str, int]:
        """Images in each part of the split, and how many were left out."""
        return {**{name: len(part) for name, part in self.parts.items()}, "left_out": len(self.left_out)}

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
        )

    def to_csv(self) -> str:
        """Every image with its SHA-256, label and part of the split, sorted by key; then what was left out, and why."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["key", "sha256", "label", "group", "split", "note"])
        parts = {sample.key: (part, sample) for part, found in self.parts.items() for sample in found.samples}
        for key, (part, sample) in sorted(parts.items()):
            label = "|".join(sample.labels)
            writer.writerow([cell(key), sample.sha256, cell(label), cell(sample.group or ""), part, ""])
        for left in self.left_out:
            writer.writerow([cell(left.key), "", "", "", "left out", left.reason])
        return table.getvalue()


def find(recipe: Recipe) -> Catalog:
    """The images that the recipe's data names, listed and not yet opened. Raises DataError."""
    return folder.read(recipe.data)


def find_all(recipe: Recipe) -> tuple[Catalog, tuple[DataError, ...]]:
    """What `find` gives, as far as there is any, and everything for which it would refuse. Raises DataError where there
    is no labelled image at all.
    """
    return folder.examine(recipe.data)


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
    return Survey(split=parts, left_out=readable.left_out, notes=(*parts.notes, *counted))


def divided(readable: Catalog, recipe: Recipe) -> Split:
    """The split of a catalog whose census has been taken, as the recipe asks for it. Raises DataError."""
    return split(
        readable,
        recipe.split,
        seed=recipe.seed,
        default=_default(recipe),
        learn_from_validation=isinstance(recipe.schedule, Probe | Auto),
    )


def _default(recipe: Recipe) -> Stratified:
    """The shares where the recipe gives none: a probe chooses by cross-validation and needs no validation images."""
    return Stratified(validation=0.0) if starts_from_probe(recipe.schedule) else Stratified()
