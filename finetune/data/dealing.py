"""Which images are held out: shares of the different contents of each class, or of whole groups.

Both are functions of content, labels, groups and the seed; names and order have no say but that of the groups.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from finetune.data.catalog import Catalog

Parts = tuple[set[int], set[int], set[int]]  # places in the catalog: training, validation, test


def by_content(
    catalog: Catalog, contents: Sequence[str], places: Iterable[int], *, validation: float, test: float, seed: int
) -> Parts:
    """Shares of the different contents at these places, class by class, or stratum by stratum (`strata`) where images
    have any number of labels.

    In each the contents are ranked by SHA-256(seed, content); the first are for testing, the next for validation.
    """
    labels: dict[str, set[str | tuple[str, ...]]] = defaultdict(set)
    copies: dict[str, set[int]] = defaultdict(set)
    for place in places:
        labels[contents[place]].add(catalog.samples[place].label)
        copies[contents[place]].add(place)
    certain = {content: _labels(catalog, copies[content]) for content, found in labels.items() if len(found) == 1}
    held: dict[str, set[str]] = {"test": set(), "validation": set()}
    for members in strata(certain).values():
        ranked = sorted(members, key=lambda content: rank(content, seed))
        testing, validating = _sizes(len(ranked), validation=validation, test=test)
        held["test"].update(ranked[:testing])
        held["validation"].update(ranked[testing : testing + validating])
    return _parts(catalog, copies, held)


def strata(labels: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """What is shared out together, in the order given: that of one class, or where there is any number of labels of one
    rarest label; of equally rare ones that whose name comes first, and "" has what has no label.

    New images change few strata, so that shares of them move few others. After Sechidis, Tsoumakas and Vlahavas 2011,
    On the Stratification of Multi-Label Data, section 3, who share out the rarest label first.
    """
    counts = Counter(label for found in labels.values() for label in found)
    shared: dict[str, list[str]] = defaultdict(list)
    for name, found in labels.items():
        shared[min(found, key=lambda label: (counts[label], label), default="")].append(name)
    return shared


def rank(name: str, seed: int) -> bytes:
    """What decides who comes first: SHA-256(seed, name)."""
    return hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest()


def by_group(
    catalog: Catalog, units: Sequence[str], places: Iterable[int], *, validation: float, test: float, seed: int
) -> Parts:
    """Shares of the images of each class at these places, in whole units: what must stay together, one name per image.

    Units are asked in the order of SHA-256(seed, unit). One is for testing, or else for validation, where that brings
    the counts of its classes nearer to their shares, on the mean over its images. What would leave a class without
    training images is taken back, and units with one content under several labels are for training.
    """
    members: dict[str, set[int]] = defaultdict(set)
    for place in places:
        members[units[place]].add(place)
    asked = {unit: found for unit, found in members.items() if not _torn(catalog, found)}
    images = Counter(label for found in members.values() for place in found for label in catalog.samples[place].labels)
    shares = {"test": test, "validation": validation}
    held: dict[str, set[str]] = {part: set() for part in shares}
    filled: dict[str, Counter[str]] = {part: Counter() for part in shares}
    for unit in sorted(asked, key=lambda name: rank(name, seed)):
        counts = Counter(label for place in members[unit] for label in catalog.samples[place].labels)
        for part, share in shares.items():
            if share and _nearer(counts, filled[part], images, share=share):
                held[part].add(unit)
                filled[part].update(counts)
                break
    return _parts(catalog, members, held)


def _torn(catalog: Catalog, places: Iterable[int]) -> bool:
    """Whether a content among these images is there under several labels."""
    labels: dict[str | None, set[str | tuple[str, ...]]] = defaultdict(set)
    for place in places:
        labels[catalog.samples[place].sha256].add(catalog.samples[place].label)
    return any(len(found) > 1 for found in labels.values())


def _nearer(counts: Mapping[str, int], filled: Mapping[str, int], images: Mapping[str, int], *, share: float) -> bool:
    """Whether a unit with these counts brings a part nearer to its share of each class."""
    gain = 0.0
    for label, count in counts.items():
        lacking = share * images[label] - filled[label]
        gain += count / images[label] * (abs(lacking) - abs(lacking - count))
    return gain > 0


def _sizes(images: int, *, validation: float, test: float) -> tuple[int, int]:
    """How many of a class's different images are for testing and for validation."""
    if images < 3:
        return 0, 0
    testing = max(1, math.floor(test * images + 0.5)) if test else 0
    validating = max(1 if images > 3 or not test else 0, math.floor(validation * images + 0.5)) if validation else 0
    testing = min(testing, images - 1)
    return testing, min(validating, images - 1 - testing)


def _parts(catalog: Catalog, members: dict[str, set[int]], held: dict[str, set[str]]) -> Parts:
    """The places of what is held out, but for what training cannot do without, and of the rest."""
    _keep_for_training(catalog, members, held)
    test, validation = ({place for name in held[part] for place in members[name]} for part in ("test", "validation"))
    return {place for found in members.values() for place in found} - test - validation, validation, test


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
