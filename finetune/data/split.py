"""Catalog -> training, validation and test images: a function of the images' content, the recipe and the seed.

It knows nothing of files and decodes nothing; content is the hash that the census took.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from finetune.data.catalog import TRAIN, Catalog, Sample
from finetune.data.stratify import dealt
from finetune.errors import DataError, listing, printable, suggestion
from finetune.recipe.schema import Given, Stratified


@dataclass(frozen=True)
class Split:
    """Disjoint catalogs over the same classes, and what is worth knowing of how they came about."""

    train: Catalog
    validation: Catalog
    test: Catalog
    notes: tuple[str, ...]


def split(
    catalog: Catalog,
    choice: Stratified | Given | None,
    *,
    seed: int,
    default: Stratified | None = None,
    learn_from_validation: bool = False,
) -> Split:
    """Divides a catalog whose census has been taken; None is `default` (`Stratified()`) where there are no split
    folders. With `learn_from_validation` the validation images join the training images once they are found.

    stratified: in each class the different images are ranked by SHA-256(seed, content) and the first are for testing,
    the next for validation: their shares, rounded half up. A class of one or two images is for training; from three on
    there is at least one test image, from four on one validation image, if any were asked for; at least one image is
    left to train on. Where images have any number of labels, `stratify.dealt` shares out each label, in that order of
    the images. Copies of a file stay together; files of one content under several labels are for training.

    given: split folders as found; `validation` may be a share of the training images, taken as above.

    Raises DataError for split folders that the recipe says nothing of, for a folder that is not there, for a class
    without training images, and when shares were asked for and every class is too small for them.
    """
    folders = sorted({sample.split for sample in catalog.samples if sample.split})
    if all(_is_training(name) for name in folders):
        folders = []
    contents = _contents(catalog)
    match choice:
        case None if folders:
            raise DataError(_ways_to_choose(catalog, folders))
        case None:
            parts = _stratified(catalog, contents, default or Stratified(), seed=seed)
        case Stratified() if folders:
            raise DataError(
                f"split: {{kind: stratified}} beside split folders on disk ({_counted(catalog, folders)}); "
                "say `pool: true` in data to put them together first, or choose split: {kind: given, …}"
            )
        case Stratified():
            parts = _stratified(catalog, contents, choice, seed=seed)
        case Given():
            parts = _given(catalog, contents, choice, folders, seed=seed)
        case _:
            assert_never(choice)
    learnt_from = len(parts[1]) if learn_from_validation else 0
    if learnt_from:
        parts = (parts[0] | parts[1], set(), parts[2])
    train, validation, test = (catalog.select(sorted(places)) for places in parts)
    untrained = [name for name, images in train.counts().items() if not images]
    if untrained:
        raise DataError(f"classes without a training image; every class needs one{listing(_quoted(untrained))}")
    used = set().union(*parts)
    notes = (
        *_notes_on_copies(catalog, contents, parts),
        *_notes_on_classes(train, validation=validation, test=test),
        *_notes_on_folders(sample for place, sample in enumerate(catalog.samples) if place not in used),
        *_notes_on_validation(learnt_from),
    )
    return Split(train=train, validation=validation, test=test, notes=notes)


Parts = tuple[set[int], set[int], set[int]]  # places in the catalog: training, validation, test


def _contents(catalog: Catalog) -> list[str]:
    unknown = [sample.key for sample in catalog.samples if sample.sha256 is None]
    if unknown:
        raise DataError(f"{len(unknown)} images without a hash; take the census before the split{listing(unknown)}")
    return [sample.sha256 or "" for sample in catalog.samples]


def _stratified(catalog: Catalog, contents: Sequence[str], choice: Stratified, *, seed: int) -> Parts:
    places = range(len(catalog))
    parts = _divide(catalog, contents, places, validation=choice.validation, test=choice.test, seed=seed)
    if (choice.validation or choice.test) and not (parts[1] or parts[2]):
        most = max(catalog.counts().values(), default=0)
        raise DataError(
            f"{len(catalog)} images of {len(catalog.classes)} classes, at most {most} in a class: too few to hold any "
            "out; three different images of a class are needed"
        )
    return parts


def _given(catalog: Catalog, contents: Sequence[str], choice: Given, folders: Sequence[str], *, seed: int) -> Parts:
    named = {"test": choice.test, "validation": choice.validation if isinstance(choice.validation, str) else None}
    faults = [fault for key, name in named.items() if name is not None and (fault := _fault(key, name, folders))]
    if faults:
        raise DataError("\n".join(faults))
    inside = defaultdict(set)
    for place, sample in enumerate(catalog.samples):
        inside[sample.split].add(place)
    train = {place for place, sample in enumerate(catalog.samples) if sample.split and _is_training(sample.split)}
    test = inside[choice.test] if choice.test is not None else set()
    if isinstance(choice.validation, str):
        return train, inside[choice.validation], test
    train, validation, _ = _divide(
        catalog, contents, sorted(train), validation=choice.validation or 0.0, test=0.0, seed=seed
    )
    return train, validation, test


def _fault(key: str, name: str, folders: Sequence[str]) -> str | None:
    if name in folders:
        return None
    found = f"the split folders are {', '.join(_quoted(folders))}" if folders else "there are no split folders"
    return f"split.{key} is {printable(name)!r}, but {found}{suggestion(name, folders)}"


def _divide(
    catalog: Catalog, contents: Sequence[str], places: Iterable[int], *, validation: float, test: float, seed: int
) -> Parts:
    """Shares of the different contents at these places, class by class (all at once where images have any number)."""
    labels: dict[str, set[str | tuple[str, ...]]] = defaultdict(set)
    copies: dict[str, set[int]] = defaultdict(set)
    for place in places:
        labels[contents[place]].add(catalog.samples[place].label)
        copies[contents[place]].add(place)
    strata: dict[str, list[str]] = defaultdict(list)
    for content, found in labels.items():
        if len(found) == 1:
            (label,) = found
            strata[label if isinstance(label, str) else ""].append(content)
    held: dict[str, set[str]] = {"test": set(), "validation": set()}
    for members in strata.values():
        ranked = sorted(members, key=lambda content: hashlib.sha256(f"{seed} {content}".encode()).digest())
        if catalog.multi_label:
            own = catalog.select([min(copies[content]) for content in ranked]).labels.astype(np.int64)
            shares = {"test": test, "validation": validation, "": 1 - test - validation}
            parts = dealt(own, np.ones(len(ranked), dtype=np.int64), tuple(shares.values()))
            for number, part in enumerate(held):
                held[part].update(content for content, to in zip(ranked, parts, strict=True) if to == number)
            continue
        testing, validating = _sizes(len(ranked), validation=validation, test=test)
        held["test"].update(ranked[:testing])
        held["validation"].update(ranked[testing : testing + validating])
    _keep_for_training(catalog, copies, held)
    of_test = {place for content in held["test"] for place in copies[content]}
    of_validation = {place for content in held["validation"] for place in copies[content]}
    return {place for found in copies.values() for place in found} - of_test - of_validation, of_validation, of_test


def _sizes(images: int, *, validation: float, test: float) -> tuple[int, int]:
    """How many of a class's different images are for testing and for validation."""
    if images < 3:
        return 0, 0
    testing = max(1, math.floor(test * images + 0.5)) if test else 0
    validating = max(1 if images > 3 or not test else 0, math.floor(validation * images + 0.5)) if validation else 0
    testing = min(testing, images - 1)
    return testing, min(validating, images - 1 - testing)


def _keep_for_training(catalog: Catalog, copies: dict[str, set[int]], held: dict[str, set[str]]) -> None:
    """Takes back images of a class that would have none left to train on: with many labels, ranks do not see to it."""
    out = {content for part in held.values() for content in part}
    trained = {label for content in copies if content not in out for label in _labels(catalog, copies[content])}
    for content in sorted(out):
        found = _labels(catalog, copies[content])
        if not found <= trained:
            trained |= found
            for part in held.values():
                part.discard(content)


def _labels(catalog: Catalog, places: Collection[int]) -> set[str]:
    return {label for place in places for label in catalog.samples[place].labels}


def _notes_on_copies(catalog: Catalog, contents: Sequence[str], parts: Parts) -> Iterator[str]:
    labels: dict[str, set[str | tuple[str, ...]]] = defaultdict(set)
    for content, sample in zip(contents, catalog.samples, strict=True):
        labels[content].add(sample.label)
    torn = [sample.key for content, sample in zip(contents, catalog.samples, strict=True) if len(labels[content]) > 1]
    if torn:
        yield f"{len(torn)} images have an exact copy under another label, such as {torn[0]} and {torn[1]}"
    names = ("training", "validation", "test")
    for first, second in ((0, 2), (0, 1), (1, 2)):
        seen = {contents[place] for place in parts[first]}
        count = sum(contents[place] in seen for place in parts[second])
        if count:
            yield f"{count} of {len(parts[second])} {names[second]} images are exact copies of {names[first]} images"


def _notes_on_classes(train: Catalog, *, validation: Catalog, test: Catalog) -> Iterator[str]:
    for name, part in (("test", test), ("validation", validation)):
        lacking = [label for label, images in part.counts().items() if not images]
        if lacking and len(part):
            yield f"no {name} images of {len(lacking)} of {len(part.classes)} classes: {_some(lacking)}"
    single = [label for label, images in train.counts().items() if images == 1]
    if single:
        yield f"only one training image of {len(single)} of {len(train.classes)} classes: {_some(single)}"


def _notes_on_folders(unused: Iterable[Sample]) -> Iterator[str]:
    images: dict[str, int] = defaultdict(int)
    for sample in unused:
        images[sample.split or ""] += 1
    for name, count in sorted(images.items()):
        yield f"{count} images in folder {printable(name)!r} are not used: split names neither test nor validation so"


def _notes_on_validation(learnt_from: int) -> Iterator[str]:
    if learnt_from:
        images = "1 validation image is" if learnt_from == 1 else f"{learnt_from} validation images are"
        yield f"{images} learnt from too: what ships is chosen on folds of all that is not for testing"


def _ways_to_choose(catalog: Catalog, folders: Sequence[str]) -> str:
    others = [name for name in folders if not _is_training(name)]
    test = next((name for name in others if name.casefold() == "test"), others[0])
    validation = next((name for name in others if name != test), 0.15)
    return (
        f"split folders on disk ({_counted(catalog, folders)}), and the recipe does not say what they are for; add\n"
        f"    split: {{kind: given, test: {test}, validation: {validation}}}\n"
        "or\n"
        "    pool: true    # in data: all folders are put together and split anew"
    )


def _counted(catalog: Catalog, folders: Sequence[str]) -> str:
    return ", ".join(f"{printable(name)}: {sum(s.split == name for s in catalog.samples)}" for name in folders)


def _is_training(name: str) -> bool:
    return name.casefold() == TRAIN


def _quoted(names: Iterable[str]) -> list[str]:
    return [repr(printable(name)) for name in names]


def _some(names: Sequence[str]) -> str:
    return ", ".join(_quoted(names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
