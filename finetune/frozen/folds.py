"""Which images are held out together: stratified folds in which groups stay whole.

A function of labels, groups and the seed; the order of the images has no say. It knows nothing of features.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.data.stratify import dealt
from finetune.errors import DataError
from finetune.recipe.tiers import FEW

Array = npt.NDArray[Any]

_FIFTHS = 5


def folds(labels: Array, groups: Sequence[str], *, seed: int, every: bool = False) -> Array:
    """The fold in which each image is held out, int64 (n,) from 0; -1 for images that are always trained on.

    labels: (n,) int, or bool (n, classes) where images have any number. groups: what must stay together, one name per
    image: copies, scenes, patients, or the hash of the content. With ten groups or more in every class there are 5
    folds, with five to nine 3, with fewer as many as the smallest class has; above 2,000 images one fifth is fold 0 and
    all else is -1, but with `every` there are 5 folds of these too. Groups are ranked by size and SHA-256(seed, group),
    and each goes to the fold that has the least of its classes, or with any number of labels to the one that
    `stratify.dealt` says. A class that is one group cannot be held out and learnt: it is always trained on, and has no
    say in the number of folds. Every class has a training image outside every fold. Raises DataError when that leaves
    nothing to hold out.
    """
    members = _members(groups)
    always = _single(labels, members)
    free = [name for name in members if name not in always]
    number = _FIFTHS if len(labels) > FEW else _number(labels, [members[name] for name in free])
    ranked = sorted(free, key=lambda name: (-len(members[name]), _rank(name, seed)))
    assigned = _dealt(labels, members, ranked, number)
    _keep_for_training(labels, members, assigned)
    found = np.full(len(labels), -1, dtype=np.int64)
    for name, fold in assigned.items():
        if every or len(labels) <= FEW or fold == 0:
            found[members[name]] = fold
    held = found >= 0
    if not held.any():
        raise DataError(
            f"{len(labels)} images: nothing can be held out, for no class has two different images (or two groups)"
        )
    found[held] = np.unique(found[held], return_inverse=True)[1]  # none was left empty
    return found


def never_held_out(labels: Array, folds: Array) -> tuple[int, ...]:
    """The classes, by number, of which no image is in a fold: what is said of the others does not hold for them."""
    every = range(len(labels))
    return tuple(sorted(_present(labels, every) - _present(labels, np.flatnonzero(folds >= 0).tolist())))


def _members(groups: Sequence[str]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(groups):
        members[name].append(place)
    return members


def _present(labels: Array, places: Sequence[int]) -> set[int]:
    """The classes of these images."""
    chosen = labels[list(places)]
    return set((np.flatnonzero(chosen.any(axis=0)) if labels.ndim == 2 else chosen).tolist())


def _single(labels: Array, members: dict[str, list[int]]) -> set[str]:
    """The groups that are the only one of a class."""
    holders: dict[int, set[str]] = defaultdict(set)
    for name, places in members.items():
        for label in _present(labels, places):
            holders[label].add(name)
    return {name for found in holders.values() if len(found) == 1 for name in found}


def _number(labels: Array, groups: Sequence[list[int]]) -> int:
    counts = Counter(label for places in groups for label in _present(labels, places))
    smallest = min(counts.values(), default=2)
    return 5 if smallest >= 10 else 3 if smallest >= 5 else max(2, smallest)


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest()


def _dealt(labels: Array, members: dict[str, list[int]], ranked: Sequence[str], number: int) -> dict[str, int]:
    """Each group to the fold with the smallest part of its classes so far; of equals the emptiest, then the first."""
    if labels.ndim == 2:
        counts = np.array([labels[members[name]].sum(axis=0) for name in ranked]).reshape(-1, labels.shape[1])
        found = dealt(counts, np.array([len(members[name]) for name in ranked]), [1 / number] * number)
        return dict(zip(ranked, found.tolist(), strict=True))
    classes = int(labels.max(initial=0)) + 1
    totals = np.bincount(labels, minlength=classes)
    filled = np.zeros((number, classes))
    assigned = {}
    for name in ranked:
        present, counts = np.unique(labels[members[name]], return_counts=True)
        crowding = (filled[:, present] * (counts / totals[present] ** 2)).sum(axis=1)
        fold = int(np.lexsort((filled.sum(axis=1), crowding))[0])
        filled[fold, present] += counts
        assigned[name] = fold
    return assigned


def _keep_for_training(labels: Array, members: dict[str, list[int]], assigned: dict[str, int]) -> None:
    """Takes out of its fold what would leave a class without training images: groups of several classes can do so."""
    while True:
        homes: dict[int, set[int]] = defaultdict(set)
        for name, places in members.items():
            for label in _present(labels, places):
                homes[label].add(assigned.get(name, -1))
        lost = {label for label, found in homes.items() if len(found) == 1 and -1 not in found}
        if not lost:
            return
        for name in [name for name in assigned if lost & _present(labels, members[name])]:
            del assigned[name]
