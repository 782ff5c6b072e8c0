"""A bundle and the images that it names -> what a review is about: the labels and parts that the run knew, what is
known of each file now, and what was answered of images while they were held out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from finetune.audit.gather import Gathered, gather
from finetune.audit.look import Looks
from finetune.bundle import Bundle
from finetune.data import ledger
from finetune.data.catalog import Catalog
from finetune.data.corrections import SEPARATOR
from finetune.errors import DataError, cell, listing, printable
from finetune.recipe import file
from finetune.recipe.schema import Recipe
from finetune.scores.predictions import Predictions

HELD_OUT = "predictions/out_of_fold.npz"


@dataclass(frozen=True)
class Material:
    """`recipe` is the bundle's, `catalog` its data without any correction. `known` is what the run knew: the labels and
    the parts that it had, without what its recipe left out. `held_out`: what was answered of images that had not been
    learnt from, None where the run asked for no such answers.
    """

    name: str
    recipe: Recipe
    catalog: Catalog
    known: Gathered
    held_out: Predictions | None


def read(
    bundle: Bundle, *, memory: Looks | None = None, progress: Callable[[int, int], None] | None = None
) -> Material:
    """Takes a look at every image of a bundle's data.

    Raises BundleError for a damaged bundle, and DataError, naming them, for images that have moved or changed since.
    """
    recipe = file.loads(bundle.recipe_text, source=str(bundle.folder / "recipe.yaml"), folder=bundle.folder)
    rows = {row["key"]: row for row in bundle.catalog}
    try:
        found = gather(recipe.model_copy(update={"corrections": None}), memory=memory, progress=progress)
    except DataError as error:
        raise DataError(f"the images of {_shown(bundle.folder)} are not where they were: {error}") from error
    _must_be_as_they_were(rows, found, bundle.folder)
    return Material(recipe.name, recipe, found.catalog, _as_the_run_knew(found, rows), _held_out(bundle))


def _must_be_as_they_were(rows: Mapping[str, Mapping[str, str]], found: Gathered, folder: Path) -> None:
    keys = {cell(sample.key): sample.key for sample in found.catalog.samples}
    lines, used = [], [row for row in rows.values() if row["split"] in ledger.PARTS]
    for row in used:
        key = keys.get(row["key"])
        if key is None:
            lines.append(f"{printable(row['key'])}: not there")
        elif key in found.unreadable:
            lines.append(f"{printable(key)}: {found.unreadable[key]}")
        elif key in found.looks and row["sha256"] and found.looks[key].sha256 != row["sha256"]:
            lines.append(f"{printable(key)}: changed")
    if lines:
        raise DataError(
            f"{len(lines)} of {len(used)} images of {_shown(folder)} are not what they were when it was made; put them "
            f"back, or run again{listing(lines)}"
        )


def _as_the_run_knew(found: Gathered, rows: Mapping[str, Mapping[str, str]]) -> Gathered:
    """Labels that its corrections gave, parts as they were; without the images that its corrections excluded."""
    parts, samples = {}, []
    for sample in found.catalog.samples:
        row = rows.get(cell(sample.key))
        if row is not None and row["split"] in ledger.PARTS:
            parts[sample.key] = row["split"]
            samples.append(replace(sample, label=_label(row["label"], found.catalog)))
        elif row is None or sample.key in found.unreadable:
            samples.append(sample)
    kept = {sample.key for sample in samples}
    return replace(
        found,
        catalog=replace(found.catalog, samples=tuple(samples)),
        looks={key: look for key, look in found.looks.items() if key in kept},
        parts=parts,
        is_split=True,
    )


def _label(text: str, catalog: Catalog) -> str | tuple[str, ...]:
    """The label, or labels, that a bundle's table spells so. Raises DataError for one that is no class."""
    spelt = {**{cell(name): name for name in catalog.classes}, **{name: name for name in catalog.classes}}
    words = [word for word in text.split(SEPARATOR) if word] if catalog.multi_label else [text]
    if strange := [word for word in words if word not in spelt]:
        raise DataError(f"the bundle has a label that is none of the classes of its data: {printable(strange[0])!r}")
    labels = tuple(spelt[word] for word in words)
    return labels if catalog.multi_label else labels[0]


def _held_out(bundle: Bundle) -> Predictions | None:
    if not bundle.has(HELD_OUT):
        return None
    answers = bundle.predictions("out_of_fold")
    if not bundle.facts.get("multi_label") or "thresholds" not in bundle.facts:
        return answers
    return replace(answers, thresholds=np.array(bundle.facts["thresholds"], dtype=np.float64))


def _shown(path: Path) -> str:
    return repr(printable(str(path)))
