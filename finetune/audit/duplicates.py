"""Images that are there more than once: the same pixels, or nearly the same picture, and where that does harm."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from finetune.audit import alike
from finetune.audit.finding import Finding
from finetune.audit.gather import Gathered
from finetune.data.catalog import Sample
from finetune.errors import printable


@dataclass(frozen=True)
class Group:
    """Images that show the same, in the catalog's order; `correlation`: how well the least alike of the pairs that link
    them agree, 1 where all pixels are equal.
    """

    samples: tuple[Sample, ...]
    correlation: float


def check(known: Gathered) -> Iterator[Finding]:
    """A finding for each group of images that show the same.

    Kinds: `exact-` (equal pixels, whatever the file) or `near-` (resized, compressed again, slightly cropped or
    brightened; pictures of one burst too), followed by what it does: `across-parts` of the split or `two-labels`, both
    warnings, or `copies`, a note. A group that does both has a finding for each.
    """
    groups, found = copies(known)
    for group in groups:
        yield from findings(known, group)
    if found.untried:
        text = f"{found.untried} pairs of images that look alike from afar were not compared closely; the nearest were"
        yield Finding("duplicates", "not-all-compared", "note", text, (), {"pairs": found.untried})
    if found.same > alike.SAME:
        asked = math.floor(1000 * found.same) / 1000
        text = (
            f"the images are so alike that only those that agree by more than {asked:.3f}, not by {alike.SAME}, are "
            "called nearly the same; copies that were changed more are not found"
        )
        yield Finding("duplicates", "all-alike", "note", text, (), {"correlation": asked})


def findings(known: Gathered, group: Group) -> Iterator[Finding]:
    """What `check` says of one group."""
    exact = "exact" if group.correlation == 1 else "near"
    keys = tuple(sample.key for sample in group.samples)
    same = "show exactly the same" if exact == "exact" else "are nearly the same picture"
    figures = {"images": len(keys), "correlation": round(group.correlation, 3)}
    parts = sorted({known.part(key) for key in keys} - {""}, key=_order)
    labels = sorted({sample.labels for sample in group.samples})
    if len(parts) > 1:
        text = f"{len(keys)} images in {_listed(parts)} {same}"
        yield Finding("duplicates", f"{exact}-across-parts", "warning", text, keys, figures)
    if len(labels) > 1:
        named = _listed([repr(printable(" ".join(label), limit=40)) for label in labels])
        text = f"{len(keys)} images under the labels {named} {same}"
        yield Finding("duplicates", f"{exact}-two-labels", "warning", text, keys, figures)
    if len(parts) < 2 and len(labels) < 2:
        yield Finding("duplicates", f"{exact}-copies", "note", f"{len(keys)} images {same}", keys, figures)


@lru_cache(maxsize=1)  # several checks ask for the same
def copies(known: Gathered) -> tuple[list[Group], alike.Found]:
    """All groups, those of equal pixels first, and how it was looked for those that are nearly the same.

    Images of equal pixels stand as one where it is asked what is nearly the same, and join the group that this one is
    in, beside being a group of their own.
    """
    same: dict[str, list[Sample]] = defaultdict(list)
    for sample in known.seen:
        same[known.looks[sample.key].pixels].append(sample)
    contents = list(same.values())
    looks = [known.looks[samples[0].key] for samples in contents]
    found = alike.near([look.phash for look in looks], _stack([look.small for look in looks]))
    links = alike.Links(len(looks))
    for pair in found.pairs:
        links.link(pair.first, pair.second)
    least: dict[int, float] = {}
    for pair in found.pairs:
        root = links.root(pair.first)
        least[root] = min(pair.correlation, least.get(root, 1.0))
    exact = [Group(tuple(samples), 1.0) for samples in contents if len(samples) > 1]
    near = [
        Group(tuple(sample for place in group for sample in contents[place]), min(least[links.root(group[0])], 0.9999))
        for group in links.groups()
    ]
    return [*exact, *near], found


def leaked(findings: Sequence[Finding], parts: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of test images that have a copy, exact or near, among the images that are learnt or chosen from, or, of
    images in folds, in another fold.
    """
    across = [f.keys for f in findings if f.check == "duplicates" and f.kind.endswith("across-parts")]
    return tuple(sorted({key for keys in across for key in keys if _is_tested(parts.get(key, ""))}))


def _is_tested(part: str) -> bool:
    return part == "test" or part.startswith("fold ")


def _stack(greys: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(greys) if greys else np.zeros((0, 32, 32), np.uint8)


def _order(part: str) -> tuple[int, str]:
    named = ("train", "validation", "test")
    return (named.index(part) if part in named else len(named), part)


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
