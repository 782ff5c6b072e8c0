"""Groups of images that belong together and yet lie on both sides of a split: series, bursts, one camera's minute."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from finetune.audit import alike
from finetune.audit.finding import Finding
from finetune.audit.gather import Gathered
from finetune.data.catalog import Sample
from finetune.errors import printable

SECONDS = 3.0  # between two pictures of one burst
ALIKE = 0.8  # plain correlation of neighbours in a numbered series that show one scene
BY_CHANCE = 0.1  # of the neighbours that are called one scene, that may be expected to look alike as others do
FEWEST = 4  # series without which a pattern in names is taken for chance
LARGEST = 0.25  # of its class, that a series may be; a larger one is a numbering and no group

_NUMBERED = re.compile(r"(.*?)(\d{1,18})\D*", re.DOTALL)
_OF_A_SERIES = re.compile(r".*\d\D*?[_\-. ()]+([a-zA-Z]{1,12}[_\-. ]?)?", re.DOTALL)  # patient12_, video5-frame
_PAIRS = 2000
_MANY = 40_000
_BATCH = 2000  # pairs
_SURE = 4.0  # standard errors

Pair = tuple[str, str]


def check(known: Gathered) -> Iterator[Finding]:
    """Warnings for groups with images in more than one part of the split.

    `group`: the data's own groups. `time`: pictures of one camera within 3 seconds of each other, by EXIF. `burst`:
    neighbours in a numbered series, such as IMG_0012 and IMG_0013, that show one scene: they look alike as others of
    their class do not. `series`: names that begin alike, with a number of their own (patient12_1, patient12_2), all of
    them in one finding; only a note where images of a series are not more alike than others of their class.
    """
    if len({known.part(sample.key) for sample in known.catalog.samples}) < 2:
        return
    yield from _by_group(known)
    for keys in _joined(known, _in_time(known)):
        camera = printable(known.looks[keys[0]].header.camera, limit=40)
        text = f"{len(keys)} pictures of one camera ({camera}), seconds apart, are in {_parts(known, keys)}"
        yield Finding("leaks", "time", "warning", text, keys, {"images": len(keys), "camera": camera})
    for keys in _joined(known, _in_number(known)):
        text = f"{len(keys)} pictures numbered one after another, of one scene, are in {_parts(known, keys)}"
        yield Finding("leaks", "burst", "warning", text, keys, {"images": len(keys)})
    yield from _by_series(known)


def series(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Samples whose names begin alike up to their last number, where that beginning has a number of its own and holds
    at most a quarter of a class; nothing where fewer than four such series have two images or more.
    """
    samples = list(samples)
    sizes: dict[tuple[str, ...], int] = defaultdict(int)
    found: dict[tuple[str, tuple[str, ...]], list[Sample]] = defaultdict(list)
    for sample in samples:
        sizes[sample.labels] += 1
        folder, stem, _ = _number(sample)
        if _OF_A_SERIES.fullmatch(stem):
            found[f"{folder}/{stem}", sample.labels].append(sample)
    kept: dict[str, list[Sample]] = defaultdict(list)
    for (stem, labels), members in found.items():
        if len(members) <= max(2, LARGEST * sizes[labels]):
            kept[stem] += members
    kept = {stem: members for stem, members in kept.items() if len(members) > 1}
    return kept if len(kept) >= FEWEST else {}


def _by_group(known: Gathered) -> Iterator[Finding]:
    groups: dict[str, list[str]] = defaultdict(list)
    for sample in known.catalog.samples:
        if sample.group is not None and known.part(sample.key):
            groups[sample.group].append(sample.key)
    for name, keys in groups.items():
        if len({known.part(key) for key in keys}) > 1:
            text = f"{len(keys)} images of group {printable(name, limit=40)!r} are in {_parts(known, keys)}"
            yield Finding("leaks", "group", "warning", text, tuple(keys), {"images": len(keys), "group": name})


def _in_time(known: Gathered) -> Iterator[Pair]:
    cameras: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for key, look in known.looks.items():
        if look.header.camera and look.header.taken is not None:
            cameras[look.header.camera].append((look.header.taken, key))
    for shots in cameras.values():
        for (before, one), (after, other) in pairwise(sorted(shots)):
            if after - before <= SECONDS:
                yield one, other


def _in_number(known: Gathered) -> list[Pair]:
    """Neighbours in number, in one folder and under one label, that look alike."""
    numbered: dict[tuple[str, tuple[str, ...]], list[tuple[int, str]]] = defaultdict(list)
    for sample in known.seen:
        folder, stem, number = _number(sample)
        if number is not None:
            numbered[f"{folder}/{stem}", sample.labels].append((number, sample.key))
    pairs = [
        (one, other)
        for members in numbered.values()
        for (first, one), (second, other) in pairwise(sorted(members))
        if second - first == 1
    ]
    values = _likeness(known, pairs)
    neighbours = {frozenset(pair) for pair in pairs}
    others = [pair for pair in _strangers(known, _MANY) if frozenset(pair) not in neighbours]
    least = _telling(values, _likeness(known, others))
    return [pair for pair, value in zip(pairs, values, strict=True) if value >= least]


def _telling(values: np.ndarray, others: np.ndarray) -> float:
    """The likeness, 0.8 or more, from which on at most a tenth of `values` are expected by chance; infinite where there
    is none. `others` say what chance is, and one more of them than there are, so that the highest of all is no proof.
    """
    for least in np.sort(values[values >= ALIKE]).tolist():
        expected = len(values) * ((others >= least).sum() + 1) / (len(others) + 1)
        if expected <= BY_CHANCE * (values >= least).sum():
            return float(least)
    return math.inf


def _by_series(known: Gathered) -> Iterator[Finding]:
    found = series(sample for sample in known.seen if known.part(sample.key))
    torn = {
        stem: [member.key for member in members]
        for stem, members in found.items()
        if len({known.part(member.key) for member in members}) > 1
    }
    if not torn:
        return
    inside = [pair for keys in torn.values() for pair in pairwise(keys)][:_PAIRS]
    within, others = _likeness(known, inside), _likeness(known, _strangers(known, _PAIRS))
    error = np.sqrt(within.var() / max(1, len(within)) + others.var() / max(1, len(others)))
    sure = len(others) > 0 and within.mean() - others.mean() > _SURE * error
    name = printable(min(torn), limit=40)
    text = f"{len(torn)} of {len(found)} series of names, such as {name}…, have images in more than one part"
    figures = {
        "series": len(found),
        "torn": len(torn),
        "likeness": round(float(within.mean()), 3),
        "of_others": round(float(others.mean()), 3) if len(others) else None,
    }
    keys = tuple(key for members in torn.values() for key in members)
    yield Finding("leaks", "series", "warning" if sure else "note", text, keys, figures)


def _strangers(known: Gathered, most: int) -> list[Pair]:
    """At most so many pairs of images of one class, drawn at random, always the same."""
    classes: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for sample in known.seen:
        classes[sample.labels].append(sample.key)
    generator = np.random.default_rng(0)
    turns = math.ceil(most / max(1, len(known.seen)))
    pairs = []
    for keys in classes.values():
        order = [keys[place] for place in generator.permutation(len(keys)).tolist()]
        for turn in range(1, min(turns, len(keys) // 2) + 1):
            pairs += list(zip(order, order[turn:] + order[:turn], strict=True))
    return pairs[:: math.ceil(len(pairs) / most)] if pairs else []


def _likeness(known: Gathered, pairs: Sequence[Pair]) -> np.ndarray:
    found = [np.zeros(0, np.float32)]
    for start in range(0, len(pairs), _BATCH):
        batch = pairs[start : start + _BATCH]
        one, other = (np.stack([known.looks[pair[side]].small for pair in batch]) for side in (0, 1))
        found.append(alike.likeness(one, other))
    return np.concatenate(found)


def _joined(known: Gathered, pairs: Iterable[Pair]) -> Iterator[tuple[str, ...]]:
    """Chains of pairs with images in more than one part of the split, each in the catalog's order."""
    keys = list(known.looks)
    place = {key: number for number, key in enumerate(keys)}
    links = alike.Links(len(keys))
    for one, other in pairs:
        links.link(place[one], place[other])
    for group in links.groups():
        members = tuple(keys[number] for number in group)
        if len({known.part(key) for key in members} - {""}) > 1:
            yield members


def _number(sample: Sample) -> tuple[str, str, int | None]:
    """The folder, below the split folder if there is one; the name up to its last number; the number."""
    folder, _, name = sample.key.rpartition("/")
    if sample.split is not None:
        folder = folder.partition("/")[2]
    stem = name.rpartition(".")[0] or name
    found = _NUMBERED.fullmatch(stem)
    return (folder, found[1], int(found[2])) if found else (folder, stem, None)


def _parts(known: Gathered, keys: Sequence[str]) -> str:
    named = sorted({known.part(key) for key in keys} - {""}, key=lambda part: (part != "train", part))
    return f"{', '.join(named[:-1])} and {named[-1]}"
