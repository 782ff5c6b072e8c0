"""What is worth knowing of a split: copies and groups on both sides, classes that a part lacks, what is not used."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from finetune.data.catalog import Catalog, Sample
from finetune.data.dealing import Parts
from finetune.errors import cell, printable


def remarks(
    catalog: Catalog, parts: Parts, *, before: Sequence[Mapping[str, str]] = (), learnt_from: int = 0
) -> Iterator[str]:
    """Sentences on the parts of a catalog whose census has been taken, in a fixed order.

    before: the rows of the stored split that was kept to. learnt_from: how many validation images joined the others.
    """
    contents = [sample.sha256 or "" for sample in catalog.samples]
    train, validation, test = (catalog.select(sorted(places)) for places in parts)
    used = set().union(*parts)
    yield from _on_copies(catalog, contents, parts)
    yield from _on_groups(train, validation=validation, test=test)
    yield from _on_stored(catalog, contents, before)
    yield from _on_classes(train, validation=validation, test=test)
    yield from _on_folders(sample for place, sample in enumerate(catalog.samples) if place not in used)
    yield from _on_validation(learnt_from)


def _on_copies(catalog: Catalog, contents: Sequence[str], parts: Parts) -> Iterator[str]:
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


def _on_groups(train: Catalog, *, validation: Catalog, test: Catalog) -> Iterator[str]:
    """Groups on two sides, as only split folders can have them."""
    learnt = {sample.group for sample in train.samples}
    for name, part in (("test", test), ("validation", validation)):
        held = {sample.group for sample in part.samples if sample.group}
        if shared := sorted(group for group in held if group in learnt):
            yield f"{len(shared)} of {len(held)} groups of {name} images also have training images: {_some(shared)}"


def _on_stored(catalog: Catalog, contents: Sequence[str], before: Sequence[Mapping[str, str]]) -> Iterator[str]:
    known, here = {row["sha256"] for row in before}, set(contents)
    new = sum(content not in known for content in contents)
    if before and new:
        yield f"{new} {'image is' if new == 1 else 'images are'} new since the split was made"
    for part in ("test", "validation"):
        were = [row for row in before if row["split"] == part]
        gone = [row["key"] for row in were if row["sha256"] not in here]
        if gone:
            count = f"{len(gone)} of the {len(were)} {part} images"
            yield f"{count} of the stored split are not there any more, such as {gone[0]}"
    labels = {(row["key"], row["sha256"]): row["label"] for row in before}
    other = [
        sample.key
        for sample, content in zip(catalog.samples, contents, strict=True)
        if (cell(sample.key), content) in labels and labels[cell(sample.key), content] != cell("|".join(sample.labels))
    ]
    if other:
        yield f"{len(other)} images have another label than when the split was made, such as {other[0]}"


def _on_classes(train: Catalog, *, validation: Catalog, test: Catalog) -> Iterator[str]:
    for name, part in (("test", test), ("validation", validation)):
        lacking = [label for label, images in part.counts().items() if not images]
        if lacking and len(part):
            yield f"no {name} images of {len(lacking)} of {len(part.classes)} classes: {_some(lacking)}"
    single = [label for label, images in train.counts().items() if images == 1]
    if single:
        yield f"only one training image of {len(single)} of {len(train.classes)} classes: {_some(single)}"


def _on_folders(unused: Iterable[Sample]) -> Iterator[str]:
    images: dict[str, int] = defaultdict(int)
    for sample in unused:
        images[sample.split or ""] += 1
    for name, count in sorted(images.items()):
        yield f"{count} images of part {printable(name)!r} are not used: split names neither test nor validation so"


def _on_validation(learnt_from: int) -> Iterator[str]:
    if learnt_from:
        images = "1 validation image is" if learnt_from == 1 else f"{learnt_from} validation images are"
        yield f"{images} learnt from too: what ships is chosen on folds of all that is not for testing"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(repr(printable(name)) for name in names[:5]) + more
