"""Whether bundles were asked about the same images, and their answers in one order.

Images are the same by the hash of their bytes, for their keys differ by where a data set lies. A copy counts as often
as it is there.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from finetune.compare.side import Side
from finetune.errors import UsageError, listing, printable
from finetune.scores.predictions import Predictions

PARTS = {"test": "test", "validation": "validation", "out_of_fold": "held-out"}

_HINT = "score both on one test set: split: {kind: stored, of: BUNDLE} in a recipe keeps to the split of a run"


def aligned(sides: Sequence[Side]) -> list[Predictions]:
    """The answers of all sides to the same images, in the order, with the keys and the order of classes of the first.

    Groups are those of all sides together: images that any of them keeps together are kept together. Raises UsageError
    with a sentence that says how the test sets differ, where they do.
    """
    first = sides[0]
    for other in sides[1:]:
        if faults := _differences(first, other):
            raise UsageError(
                f"{first.shown} and {other.shown} cannot be compared, for their answers are not to the same question"
                f"{listing(faults)}\n{_HINT}"
            )
    orders = [_order(side) for side in sides]
    back = np.argsort(orders[0])
    answers = [_arranged(side, order[back], first.predictions) for side, order in zip(sides, orders, strict=True)]
    groups = _joined([one.groups for one in answers])
    return [replace(one, keys=first.predictions.keys, groups=groups) for one in answers]


def _differences(first: Side, other: Side) -> list[str]:
    """How the images, labels and classes of two sides differ, a sentence each."""
    if first.predictions.multilabel != other.predictions.multilabel:
        several = first if first.predictions.multilabel else other
        return [f"only in {several.shown} an image may have several labels"]
    faults = []
    if first.part != other.part:
        faults.append(f"one is scored on {PARTS[first.part]} images, the other on {PARTS[other.part]} images")
    for side, beside in ((first, other), (other, first)):
        mine, theirs = side.predictions.classes, set(beside.predictions.classes)
        if only := [name for name in mine if name not in theirs]:
            faults.append(f"{len(only)} of the {len(mine)} classes only in {side.shown}: {_few(only)}")
    images = [Counter(side.hashes) for side in (first, other)]
    both = (images[0] & images[1]).total()
    if both < max(image.total() for image in images):
        faults.append(
            f"of {images[0].total()} images of {first.shown} and {images[1].total()} of {other.shown} {both} are in "
            f"both, {images[0].total() - both} only in the first and {images[1].total() - both} only in the second"
        )
    labelled = [Counter(zip(side.hashes, _labels(side), strict=True)) for side in (first, other)]
    if relabelled := both - (labelled[0] & labelled[1]).total():
        faults.append(f"{relabelled} of the {both} images that are in both have another label in each")
    return faults


def _few(names: Sequence[str]) -> str:
    shown = [repr(printable(name, limit=40)) for name in names[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _labels(side: Side) -> list[tuple[str, ...]]:
    """The names of the labels of each image, sorted."""
    predictions = side.predictions
    assert predictions.labels is not None
    if predictions.multilabel:
        names = np.array(predictions.classes, dtype=object)
        return [tuple(sorted(names[row])) for row in predictions.labels]
    return [(predictions.classes[label],) for label in predictions.labels]


def _order(side: Side) -> np.ndarray:
    """(n,) int64: the places of the images by hash, of copies by label."""
    labels, keys = _labels(side), side.predictions.keys
    by = sorted(range(len(keys)), key=lambda place: (side.hashes[place], labels[place], keys[place]))
    return np.array(by, dtype=np.int64)


def _arranged(side: Side, order: np.ndarray, like: Predictions) -> Predictions:
    """The predictions of a side with its images in this order and the classes of `like`."""
    mine = side.predictions
    assert mine.labels is not None
    assert like.labels is not None
    columns = np.array([mine.classes.index(name) for name in like.classes])
    thresholds = mine.thresholds
    if thresholds is not None:
        thresholds = thresholds[order][:, columns] if thresholds.ndim == 2 else thresholds[columns]
    return Predictions(
        keys=tuple(mine.keys[place] for place in order),
        logits=np.ascontiguousarray(mine.logits[order][:, columns]),
        classes=like.classes,
        labels=like.labels,
        groups=None if mine.groups is None else tuple(mine.groups[place] for place in order),
        thresholds=thresholds,
    )


def _joined(groupings: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """Groups of which each holds every group of all these that touches it; names of the first where nothing differs."""
    known = [groups for groups in groupings if groups is not None]
    if not known:
        return None
    numbers = np.unique(np.array(known[0], dtype=object), return_inverse=True)[1].astype(np.int64)
    while True:  # the least number spreads through what is together, until nothing moves
        before = numbers.copy()
        for groups in known:
            together = np.unique(np.array(groups, dtype=object), return_inverse=True)[1]
            least = np.full(int(together.max()) + 1, len(numbers), dtype=np.int64)
            np.minimum.at(least, together, numbers)
            numbers = least[together]
        if np.array_equal(numbers, before):
            break
    names: dict[int, str] = {}
    return tuple(names.setdefault(int(number), group) for number, group in zip(numbers, known[0], strict=True))
