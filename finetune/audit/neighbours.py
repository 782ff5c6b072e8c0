"""Images that a network finds alike: near copies that hashes miss, and test images nearest to another label."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from finetune.audit import alike, duplicates
from finetune.audit.deep import Array, Deep
from finetune.audit.finding import Finding
from finetune.audit.gather import Gathered
from finetune.data.catalog import Sample
from finetune.errors import printable

COMPARED = 0.45  # cosine of features about their mean, from which on neighbours are compared closely
ALIKE = 0.85  # from which on they are told of whatever the comparison says

_NEIGHBOURS = 3  # of each image, the nearest
_MOST = 2000  # pairs compared closely, the nearest first
_BLOCK = 1024


@dataclass(frozen=True)
class Pair:
    """Two images that a network finds alike, by the cosine of their features; `correlation` of their details where that
    says that they are nearly the same picture, else None.
    """

    one: Sample
    other: Sample
    cosine: float
    correlation: float | None


@dataclass(frozen=True)
class Nearest:
    """A test image, and the image of another label that is nearest to it, by the cosine of their features."""

    test: Sample
    nearest: Sample
    cosine: float


def check(known: Gathered) -> Iterator[Finding]:
    """Of a deep look: near copies as `duplicates` finds them, of pairs that it had not found; notes,
    `embedding-neighbours`, for pairs as near in features whose details do not agree; one note,
    `nearest-of-another-label`, for all test images whose nearest neighbour is learnt from under another label: its keys
    are an image and that neighbour by turns, the nearest first.
    """
    if known.deep is None:
        return
    found = pairs(known, known.deep)
    for group in copies(found):
        yield from duplicates.findings(known, group)
    for pair in found:
        if pair.correlation is None:
            text, figures = "2 images look alike to a network; their details do not agree", {"cosine": pair.cosine}
            yield Finding("neighbours", "embedding-neighbours", "note", text, (pair.one.key, pair.other.key), figures)
    yield from _contradicted(known, nearest_of_another_label(known, known.deep))


def copies(found: Sequence[Pair]) -> list[duplicates.Group]:
    """The pairs that are nearly the same picture."""
    return [duplicates.Group((one.one, one.other), one.correlation) for one in found if one.correlation is not None]


def pairs(known: Gathered, deep: Deep) -> list[Pair]:
    """Pairs of images that are near by features and whose details agree as those of near copies do, and from a cosine
    of 0.85 about the mean of all images those whose details do not; the nearest first, at most 2,000 compared, without
    those that `duplicates` finds already.

    Of 200 near copies planted among flowers (seeds 0 to 4) 197 had their original as the nearest neighbour, at cosines
    from 0.48 on, where other images reach 0.8 too: so the cosine only nominates, and details decide, as in `alike`.
    """
    samples = {sample.key: sample for sample in known.seen}
    place = {key: number for number, key in enumerate(deep.keys)}
    links = alike.Links(len(place))
    groups, looked = duplicates.copies(known)
    for group in groups:
        for sample in group.samples[1:]:
            links.link(place[group.samples[0].key], place[sample.key])
    new = [(cosine, (one, other)) for cosine, one, other in deep.near if not links.linked(one, other)]
    greys = [np.stack([_small(known, deep, places[side]) for _, places in new]) for side in (0, 1)] if new else []
    similar = (alike.likeness(*greys) >= alike.SIMILAR).tolist() if new else []
    compared = {place for place, _ in zip(np.flatnonzero(similar).tolist(), range(_MOST), strict=False)}
    found = []
    for number, (cosine, places) in enumerate(new):
        if number not in compared and cosine < ALIKE:
            continue
        one, other = (samples[deep.keys[place]] for place in places)
        agreed = alike.near([0, 0], np.stack([_small(known, deep, place) for place in places])).pairs
        same = bool(agreed) and agreed[0].correlation >= looked.same
        if same or cosine >= ALIKE:
            correlation = min(agreed[0].correlation, 0.9999) if same else None
            found.append(Pair(one, other, round(cosine, 3), correlation))
    return found


def near(features: Array) -> tuple[tuple[float, int, int], ...]:
    """Cosine, at least 0.45, and places of the pairs of images of which one is among the three nearest of the other by
    features, float32 (n, d), about their mean; the nearest first.
    """
    if len(features) < 2:
        return ()
    units = _units(features)
    found: set[tuple[float, int, int]] = set()
    for start in range(0, len(units), _BLOCK):
        cosines = units[start : start + _BLOCK] @ units.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -1
        nearest = np.argpartition(-cosines, min(_NEIGHBOURS, cosines.shape[1]) - 1, axis=1)[:, :_NEIGHBOURS]
        for row, columns in enumerate(nearest.tolist(), start=start):
            for column in columns:
                if (cosine := float(cosines[row - start, column])) >= COMPARED:
                    found.add((round(cosine, 6), min(row, column), max(row, column)))
    return tuple(sorted(found, key=lambda pair: (-pair[0], pair[1:])))


def nearest_of_another_label(known: Gathered, deep: Deep) -> list[Nearest]:
    """The test images whose nearest neighbour by features, of all that are learnt or chosen from, has another label;
    the nearest first. Where classes are hard to tell apart there are many.
    """
    samples = {sample.key: sample for sample in known.seen}
    test, learnt = (
        [number for number, key in enumerate(deep.keys) if known.part(key) in parts]
        for parts in (("test",), ("train", "validation"))
    )
    if not test or not learnt or not deep.features.shape[1]:
        return []
    units = _units(deep.features)
    found = []
    for start in range(0, len(test), _BLOCK):
        block = test[start : start + _BLOCK]
        cosines = units[block] @ units[learnt].T
        for row, (number, column) in enumerate(zip(block, cosines.argmax(axis=1).tolist(), strict=True)):
            one, other = (samples[deep.keys[place]] for place in (number, learnt[column]))
            if one.labels != other.labels:
                found.append(Nearest(one, other, round(float(cosines[row, column]), 3)))
    return sorted(found, key=lambda pair: (-pair.cosine, pair.test.key))


def _small(known: Gathered, deep: Deep, place: int) -> Array:
    return known.looks[deep.keys[place]].small


def _contradicted(known: Gathered, found: Sequence[Nearest]) -> Iterator[Finding]:
    """All of them in one sentence, with the two labels that meet most often."""
    if not found:
        return
    images = sum(known.part(sample.key) == "test" for sample in known.seen)
    met = Counter(tuple(" ".join(sample.labels) for sample in (pair.test, pair.nearest)) for pair in found)
    (label, other), count = min(met.items(), key=lambda item: (-item[1], item[0]))
    names = [repr(printable(name, limit=40)) for name in (label, other)]
    have = "image is" if len(found) == 1 else "images are"
    text = f"{len(found)} of {images} test {have} nearest, to a network, to a training image of another label"
    often = f"; most often, {count} times, labelled {names[0]} and nearest to {names[1]}" if count > 1 else ""
    figures = {"images": len(found), "test_images": images, "share": round(len(found) / images, 3)}
    keys = tuple(sample.key for pair in found for sample in (pair.test, pair.nearest))
    yield Finding("neighbours", "nearest-of-another-label", "note", text + often, keys, figures)


def _units(features: Array) -> Array:
    """float32 (n, d), about their mean and of length 1."""
    centred = features - features.mean(axis=0, dtype=np.float64).astype(np.float32)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))
