"""Everything that is known of a data set before it is judged: what is listed, a look at each file, the split, and what
a run would refuse. Nothing stops it but a place without a single labelled image.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from finetune.audit.deep import Deep
from finetune.audit.look import Look, Looks, looks
from finetune.data import survey
from finetune.data.catalog import Catalog, LeftOut, Sample, must_be_few
from finetune.data.split import Split
from finetune.errors import DataError, UnreadableImage
from finetune.recipe.schema import Recipe


@dataclass(frozen=True, eq=False)
class Gathered:
    """What checks are given. By key: `looks` of the images that can be read, the reasons of the `unreadable`, and the
    `parts` (train, validation, test) that images are in.

    `catalog` holds all images as found. Where the data cannot be split, `parts` are the split folders as they are named
    on disk, if there are any; where every image is held out once, they are the folds, "fold 1" and so on; both times
    `is_split` is False. `refusals`: why a run would stop, each a whole message. `notes`: what the split has to say.
    `deep`: what a network says of the images, where one was asked.
    """

    catalog: Catalog
    looks: Mapping[str, Look]
    unreadable: Mapping[str, UnreadableImage]
    parts: Mapping[str, str]
    is_split: bool
    refusals: tuple[str, ...]
    notes: tuple[str, ...]
    deep: Deep | None = None

    @property
    def seen(self) -> tuple[Sample, ...]:
        """The samples that have a look, in order."""
        return tuple(sample for sample in self.catalog.samples if sample.key in self.looks)

    def part(self, key: str) -> str:
        """The part of the split that an image is in, or nothing."""
        return self.parts.get(key, "")


def gather(
    recipe: Recipe, *, memory: Looks | None = None, progress: Callable[[int, int], None] | None = None
) -> Gathered:
    """Lists the data of a recipe, takes a look at every file, and splits what can be read.

    Raises DataError where there is no labelled image at all. Writes nothing but the memory.
    """
    found, faults = survey.find_all(recipe)
    refusals = [str(fault) for fault in faults]
    seen, unreadable = looks(found, threads=os.cpu_count() or 1, known=memory, progress=progress)
    bad = [(s, LeftOut(s.key, str(unreadable[s.key]))) for s in found.samples if s.key in unreadable]
    parts = {sample.key: sample.split for sample in found.samples if sample.split}
    notes: tuple[str, ...] = ()
    is_split = False
    try:
        must_be_few(found, bad, on_bad_image=recipe.data.on_bad_image)
    except DataError as fault:
        refusals.append(str(fault))
    try:
        split = survey.divided(_readable(found, seen, bad), recipe)
        parts = {key: part for part, images in _named(split) for key in images.keys}
        notes, is_split = split.notes, not split.folds
    except DataError as fault:
        refusals.append(str(fault))
    return Gathered(
        catalog=replace(found, left_out=tuple(sorted((*found.left_out, *(b for _, b in bad)), key=lambda b: b.key))),
        looks=seen,
        unreadable=unreadable,
        parts=parts,
        is_split=is_split,
        refusals=tuple(refusals),
        notes=notes,
    )


def _readable(found: Catalog, seen: Mapping[str, Look], bad: list[tuple[Sample, LeftOut]]) -> Catalog:
    out = {sample.key for sample, _ in bad}
    kept = (sample for sample in found.samples if sample.key not in out)
    return replace(
        found,
        samples=tuple(replace(s, sha256=seen[s.key].sha256) if s.key in seen else s for s in kept),
    )


def _named(split: Split) -> Iterator[tuple[str, Catalog]]:
    if split.folds:
        yield from ((f"fold {number}", fold.test) for number, fold in enumerate(split.folds, start=1))
        return
    yield from (("train", split.train), ("validation", split.validation), ("test", split.test))
