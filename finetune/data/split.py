"""Catalog -> training, validation and test images: a function of the images' content, the recipe and the seed.

It knows nothing of files and decodes nothing; content is the hash that the census took.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np

from finetune.data import dealing, folding
from finetune.data.catalog import TRAIN, Catalog
from finetune.data.dealing import Parts
from finetune.data.groups import of_samples
from finetune.data.ledger import PARTS
from finetune.data.remarks import remarks
from finetune.errors import DataError, cell, listing, printable, suggestion
from finetune.recipe.splits import Folds, Given, Grouped, SplitChoice, Stored, Stratified


@dataclass(frozen=True)
class Split:
    """Disjoint catalogs over the same classes, and what is worth knowing of how they came about.

    folds: where every image is held out, the splits whose test images are those of one fold each; what ships learns
    from all images and has no test images of its own.
    """

    train: Catalog
    validation: Catalog
    test: Catalog
    notes: tuple[str, ...]
    folds: tuple["Split", ...] = ()

    @property
    def held_out(self) -> Catalog:
        """The test images, or those of all folds, by key."""
        samples = [sample for part in self.folds or (self,) for sample in part.test.samples]
        return Catalog(tuple(sorted(samples, key=lambda sample: sample.key)), self.train.classes)


def split(
    catalog: Catalog,
    choice: SplitChoice | None,
    *,
    seed: int,
    default: Stratified | None = None,
    before: Sequence[Mapping[str, str]] = (),
    learn_from_validation: bool = False,
) -> Split:
    """Divides a catalog whose census has been taken, and in which groups are named; None is `default` (`Stratified()`),
    grouped where there are groups, where there are no split folders. With `learn_from_validation` the validation images
    join the training images once they are found.

    stratified: in each class the different images are ranked by SHA-256(seed, content) and the first are for testing,
    the next for validation: their shares, rounded half up. A class of one or two images is for training; from three on
    there is at least one test image, from four on one validation image, if any were asked for; at least one image is
    left to train on. Where images have any number of labels, those of one rarest label are taken for a class
    (`dealing.strata`). Copies of a file stay together; files of one content under several labels are for training.

    grouped: shares of about that size, in which no group lies on two sides.

    given: split folders as found; `validation` may be a share of the training images, taken as above.

    folds: every image is a test image once, as `folding.folds` has it; `validation` is a share of those that are learnt
    from, taken as above.

    stored: as in the rows `before` (see `ledger`), by content; what they do not have is for training, unless it is of a
    group of theirs.

    Raises DataError for split folders that the recipe says nothing of, for a folder that is not there, for groups that
    shares would tear and for groups that are not there, for a class without training images, when shares were asked
    for and nothing can be held out, for more folds than there are units, and for the stored split of a run in folds.
    """
    folders = sorted({sample.split for sample in catalog.samples if sample.split})
    if all(_is_training(name) for name in folders):
        folders = []
    contents = _contents(catalog)
    grouped = any(sample.group for sample in catalog.samples)
    if folders and not isinstance(choice, Given):
        raise DataError(_ways_to_choose(catalog, folders) if choice is None else _beside(choice, catalog, folders))
    match choice:
        case None:
            parts = _shares(catalog, contents, default or Stratified(), seed=seed)
        case Stratified() if grouped:
            raise DataError(
                "split: {kind: stratified} would put images of one group on two sides, which makes a score too good; "
                "say kind: grouped, or leave the groups out of data"
            )
        case Grouped() if not grouped:
            raise DataError(
                "split: {kind: grouped}, but nothing names groups; add a pattern, such as '(patient\\d+)_', or a "
                "column of groups in data"
            )
        case Stratified() | Grouped():
            parts = _shares(catalog, contents, choice, seed=seed)
        case Folds():
            parts = _without(catalog, contents, set(), validation=_validation(choice, default), seed=seed)
        case Stored():
            parts = _stored(catalog, contents, before)
        case Given():
            parts = _given(catalog, contents, choice, folders, seed=seed)
        case _:
            assert_never(choice)
    learnt_from = len(parts[1]) if learn_from_validation else 0
    parts = _learnt(parts, learn_from_validation)
    train, validation, test = (catalog.select(sorted(places)) for places in parts)
    untrained = [name for name, images in train.counts().items() if not images]
    if untrained:
        raise DataError(f"classes without a training image; every class needs one{listing(_quoted(untrained))}")
    notes = remarks(catalog, parts, before=before, learnt_from=learnt_from)
    whole = Split(train=train, validation=validation, test=test, notes=tuple(notes))
    if not isinstance(choice, Folds):
        return whole
    found, share = folding.folds(catalog, choice.folds, seed=seed), _validation(choice, default)
    folds = []
    for number in range(1, choice.folds + 1):
        held = set(np.flatnonzero(found == number).tolist())
        parts = _learnt(_without(catalog, contents, held, validation=share, seed=seed), learn_from_validation)
        train, validation, test = (catalog.select(sorted(places)) for places in parts)
        folds.append(Split(train=train, validation=validation, test=test, notes=()))
    return replace(whole, notes=(*folding.remarks(catalog, found), *whole.notes), folds=tuple(folds))


def _learnt(parts: Parts, learn_from_validation: bool) -> Parts:
    return (parts[0] | parts[1], set(), parts[2]) if learn_from_validation else parts


def _validation(choice: Folds, default: Stratified | None) -> float:
    return (default or Stratified()).validation if choice.validation is None else choice.validation


def _without(catalog: Catalog, contents: Sequence[str], held: set[int], *, validation: float, seed: int) -> Parts:
    """What is learnt from, chosen by and tested on where these images are held out."""
    rest = sorted(set(range(len(catalog))) - held)
    train, chosen_by, _ = _divide(catalog, contents, rest, validation=validation, test=0.0, seed=seed)
    return train, chosen_by, held


def _contents(catalog: Catalog) -> list[str]:
    unknown = [sample.key for sample in catalog.samples if sample.sha256 is None]
    if unknown:
        raise DataError(f"{len(unknown)} images without a hash; take the census before the split{listing(unknown)}")
    return [sample.sha256 or "" for sample in catalog.samples]


def _shares(catalog: Catalog, contents: Sequence[str], choice: Stratified | Grouped, *, seed: int) -> Parts:
    parts = _divide(catalog, contents, range(len(catalog)), validation=choice.validation, test=choice.test, seed=seed)
    if (choice.validation or choice.test) and not (parts[1] or parts[2]):
        groups, images = len({sample.group for sample in catalog.samples if sample.group}), f"{len(catalog)} images"
        if groups:
            number = "1 group" if groups == 1 else f"{groups} groups"
            raise DataError(f"{images} in {number}: none can be held out whole and leave every class some")
        most = max(catalog.counts().values(), default=0)
        raise DataError(
            f"{images} of {len(catalog.classes)} classes, at most {most} in a class: too few to hold any out; three "
            "different images of a class are needed"
        )
    return parts


def _divide(
    catalog: Catalog, contents: Sequence[str], places: Iterable[int], *, validation: float, test: float, seed: int
) -> Parts:
    """Shares of the images at these places; of whole groups where there are any."""
    shares = {"validation": validation, "test": test}
    if any(sample.group for sample in catalog.samples):
        return dealing.by_group(catalog, of_samples(catalog.samples), places, seed=seed, **shares)
    return dealing.by_content(catalog, contents, places, seed=seed, **shares)


def _stored(catalog: Catalog, contents: Sequence[str], before: Sequence[Mapping[str, str]]) -> Parts:
    """Images of the same name and content where they were, then those of the same content, then of the same group."""
    by_name = {(row["key"], row["sha256"]): row["split"] for row in before}
    by_content, by_group = _sides(before, "sha256"), _sides(before, "group")
    if any(row["note"].startswith("fold ") for row in before):
        raise DataError(
            "split: {kind: stored}, but that run held out every image in folds and has no test images; split: {kind: "
            "folds} with as many folds and the same seed holds out the same"
        )
    if not set(contents) & set(by_content):
        raise DataError("split: {kind: stored}, but none of the images is in that split; it was made for others")
    parts: Parts = (set(), set(), set())
    for place, (sample, content) in enumerate(zip(catalog.samples, contents, strict=True)):
        group = cell(sample.group or "")
        side = by_name.get((cell(sample.key), content)) or by_content.get(content) or by_group.get(group, "train")
        parts[PARTS.index(side)].add(place)
    return parts


def _sides(before: Sequence[Mapping[str, str]], column: str) -> dict[str, str]:
    """The part in which each content, or group, was; what was in several is learnt from already."""
    sides: dict[str, str] = {}
    for row in before:
        if row[column]:
            known = sides.setdefault(row[column], row["split"])
            sides[row[column]] = known if known == row["split"] else "train"
    return sides


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


def _beside(choice: SplitChoice, catalog: Catalog, folders: Sequence[str]) -> str:
    return (
        f"split: {{kind: {choice.kind}}} beside split folders on disk ({_counted(catalog, folders)}); "
        "say `pool: true` in data to put them together first, or choose split: {kind: given, …}"
    )


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
