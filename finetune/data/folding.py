"""In which fold each image is held out, where every image is: copies and groups stay together.

A function of content, labels, groups and the seed; names and order have no say but that of the groups.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from finetune.data import stratify
from finetune.data.catalog import Catalog
from finetune.data.dealing import rank, strata
from finetune.data.groups import of_samples
from finetune.errors import DataError, printable

Members = dict[str, list[int]]  # what must stay together -> places in the catalog

_NAMED = 5


def folds(catalog: Catalog, number: int, *, seed: int) -> npt.NDArray[np.int64]:
    """The fold of each image, int64 (n,) from 1 to `number`; 0 for images that are always learnt from.

    What must stay together (copies, a group) is a unit. The units of each class, in the order of SHA-256(seed, unit),
    are cut into `number` runs of equal length, and which fold the first run goes to is drawn by the class; so new
    images move but a few others. Of any number of labels it is the rarest that counts (`dealing.strata`). Where images
    have groups, `stratify.dealt` shares out each label in that order. A class that is one unit cannot be held out and
    learnt: it is always learnt from. Every class has images outside every fold, and every fold has images. Raises
    DataError where there are fewer units than folds.
    """
    units = of_samples(catalog.samples)
    members: Members = defaultdict(list)
    for place, unit in enumerate(units):
        members[unit].append(place)
    always = _single(catalog, members)
    ranked = sorted((unit for unit in members if unit not in always), key=lambda unit: rank(unit, seed))
    if any(sample.group for sample in catalog.samples):
        assigned = _shared(catalog, members, ranked, number)
    else:
        assigned = _cut(catalog, members, ranked, number, seed=seed)
    _keep_for_training(catalog, members, assigned)
    if len(assigned) < number:
        raise DataError(
            f"split.folds is {number}, but only {len(assigned)} different images (or groups) can be held out; write "
            + (f"folds: {len(assigned)}" if len(assigned) > 1 else "another kind of split")
        )
    _fill(assigned, number)
    return np.array([assigned.get(unit, -1) + 1 for unit in units], dtype=np.int64)


def remarks(catalog: Catalog, found: npt.NDArray[np.int64]) -> Iterator[str]:
    """Sentences on the folds of a catalog: how large they are, what is in none, and which classes some of them lack."""
    sizes = np.bincount(found)[1:]
    span = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
    yield f"each image is held out in one of {len(sizes)} folds of {span} images, and learnt from in the others"
    inside: dict[str, set[int]] = {name: set() for name in catalog.classes}
    for fold, sample in zip(found.tolist(), catalog.samples, strict=True):
        for label in sample.labels:
            inside[label].add(fold)
    always = int((found == 0).sum())
    never = [name for name, places in inside.items() if places == {0}]
    if always:
        images = "1 image is" if always == 1 else f"{always} images are"
        why = f"; nothing is measured of {_some(never)}" if never else ""
        yield f"{images} in no fold, but always learnt from, for a class would have no other image (or group){why}"
    lacking = [name for name, places in inside.items() if places != {0} and len(places - {0}) < len(sizes)]
    if lacking:
        yield f"some folds have no image of {len(lacking)} of {len(inside)} classes: {_some(lacking)}"


def _single(catalog: Catalog, members: Members) -> set[str]:
    """The units that are the only one of a class."""
    holders: dict[str, set[str]] = defaultdict(set)
    for unit, places in members.items():
        for label in _labels(catalog, places):
            holders[label].add(unit)
    return {unit for found in holders.values() if len(found) == 1 for unit in found}


def _cut(catalog: Catalog, members: Members, ranked: Sequence[str], number: int, *, seed: int) -> dict[str, int]:
    classes = strata({unit: _labels(catalog, members[unit]) for unit in ranked})
    first = {label: int.from_bytes(rank(f"class {label}", seed)[:8], "big") for label in classes}
    return {
        unit: (place * number // len(units) + first[label]) % number
        for label, units in classes.items()
        for place, unit in enumerate(units)
    }


def _shared(catalog: Catalog, members: Members, ranked: Sequence[str], number: int) -> dict[str, int]:
    if not ranked:
        return {}
    column = {label: place for place, label in enumerate(catalog.classes)}
    counts = np.zeros((len(ranked), len(column)), dtype=np.int64)
    for row, unit in enumerate(ranked):
        for place in members[unit]:
            counts[row, [column[label] for label in catalog.samples[place].labels]] += 1
    sizes = np.array([len(members[unit]) for unit in ranked])
    return dict(zip(ranked, stratify.dealt(counts, sizes, [1 / number] * number).tolist(), strict=True))


def _keep_for_training(catalog: Catalog, members: Members, assigned: dict[str, int]) -> None:
    """Takes out of its fold what would leave a class without images outside: units of several classes can do so."""
    while True:
        homes: dict[str, set[int]] = defaultdict(set)
        for unit, places in members.items():
            for label in _labels(catalog, places):
                homes[label].add(assigned.get(unit, -1))
        lost = {label for label, found in homes.items() if len(found) == 1 and -1 not in found}
        if not lost:
            return
        del assigned[next(unit for unit in assigned if lost & _labels(catalog, members[unit]))]


def _fill(assigned: dict[str, int], number: int) -> None:
    """Moves the last unit of the fold with most of them into a fold that has none."""
    for empty in sorted({*range(number)} - {*assigned.values()}):
        counts = np.bincount([*assigned.values()], minlength=number)
        fullest = int(counts.argmax())
        assigned[next(unit for unit in reversed(assigned) if assigned[unit] == fullest)] = empty


def _labels(catalog: Catalog, places: Sequence[int]) -> set[str]:
    return {label for place in places for label in catalog.samples[place].labels}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(printable(name)) for name in names[:_NAMED]) + more
