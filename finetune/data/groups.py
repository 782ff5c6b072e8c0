"""What must stay together: copies of one content, and images of one group (a patient, a burst, a place)."""

import re
from collections.abc import Sequence
from dataclasses import replace

from finetune.data.catalog import Catalog, Sample
from finetune.errors import DataError, listing


def matched(catalog: Catalog, pattern: str) -> Catalog:
    """The catalog with each image in the group that a regular expression finds in its key: what its parentheses match,
    or without any all that it matches.

    Raises DataError where the data names groups by itself, for images in which nothing is found, and where every image
    would be a group of its own.
    """
    if any(sample.group for sample in catalog.samples):
        raise DataError("split.pattern has no effect: the data names the groups itself; leave one of the two out")
    finder = re.compile(pattern)
    named = [(sample, _name(finder.search(sample.key))) for sample in catalog.samples]
    without = [sample.key for sample, name in named if not name]
    if without:
        raise DataError(
            f"split.pattern {pattern!r} finds no group in {len(without)} of {len(catalog)} images{listing(without)}"
        )
    if len({name for _, name in named}) == len(named):
        raise DataError(
            f"split.pattern {pattern!r} makes every image a group of its own, such as {named[0][1]!r} of "
            f"{named[0][0].key}; let it match what images of one group have in common"
        )
    samples = tuple(replace(sample, group=name) for sample, name in named)
    return Catalog(samples=samples, classes=catalog.classes, left_out=catalog.left_out)


def together(images: Sequence[tuple[str, str | None]]) -> tuple[str, ...]:
    """The name of what each image belongs to: copies are together, and groups, and groups that share a copy.

    images: of each its content and its group, if it has one. The name is the first of the groups by name, or else the
    content; the order of the images has no say.
    """
    home: dict[str, str] = {}

    def first(name: str) -> str:
        while (other := home.setdefault(name, name)) != name:
            name = other
        return name

    names = [(f"content {content}", f"group {group}" if group else None) for content, group in images]
    for content, group in names:
        if group:
            home[first(content)] = first(group)
    called: dict[str, str] = {}
    for content, group in names:
        root = first(content)
        called[root] = min(called.get(root, group or content), group or content, key=_groups_first)
    return tuple(called[first(content)] for content, _ in names)


def of_samples(samples: Sequence[Sample]) -> tuple[str, ...]:
    """The same of samples, by their hashes, or by their keys where these are not known."""
    return together([(sample.sha256 or sample.key, sample.group) for sample in samples])


def _groups_first(name: str) -> tuple[bool, str]:
    return not name.startswith("group "), name


def _name(found: re.Match[str] | None) -> str:
    if found is None:
        return ""
    return "/".join(part for part in found.groups() if part) if found.re.groups else found.group()
