"""How many images each class has and what they are like, and classes with too few of them."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from finetune.audit.finding import Finding
from finetune.audit.gather import Gathered
from finetune.errors import printable

SMALLEST = 3  # different images of a class without which none can be held out (`data/split.py`)
FEW = 10  # different images below which a score of the class says little
IMBALANCE = 10  # times as many images in the largest class


def check(known: Gathered) -> Iterator[Finding]:
    """A warning for each class too small to hold an image out; notes for classes of few images, for imbalance of more
    than 10, and for classes that no test image has where there are test images.

    Images of equal pixels count once.
    """
    rows = table(known)
    for row in rows:
        name, count = printable(row["class"], limit=40), row["different"]
        figures = {"class": row["class"], "different": count}
        if count < SMALLEST:
            text = f"class {name!r} has {_images(count)}; {SMALLEST} different ones are needed to hold one out"
            keys = (sample.key for sample in known.seen if row["class"] in sample.labels)
            yield Finding("classes", "too-small", "warning", text, tuple(keys), figures)
        elif count < FEW:
            text = f"class {name!r} has only {_images(count)}; its own score will say little"
            yield Finding("classes", "few", "note", text, (), figures)
        if known.is_split and not row["test"] and any(other["test"] for other in rows):
            text = f"class {name!r} has no test image; how well it is told apart is not measured"
            yield Finding("classes", "not-tested", "note", text, (), figures)
    least, most = (choose(rows, key=lambda row: row["different"], default=None) for choose in (min, max))
    if least and most and most["different"] > IMBALANCE * max(1, least["different"]):
        ratio = most["different"] / max(1, least["different"])
        text = (
            f"class {printable(most['class'], limit=40)!r} has {ratio:.0f} times as many images as "
            f"{printable(least['class'], limit=40)!r}; look at balanced accuracy"
        )
        yield Finding("classes", "imbalance", "note", text, (), {"ratio": round(ratio, 1)})


def table(known: Gathered) -> list[dict[str, Any]]:
    """A row for each class, in the catalog's order: images, different ones, by part of the split, unreadable ones, and
    medians of width, height, brightness, blur and file size over those that can be read (None where there are none).
    """
    images: dict[str, list[str]] = defaultdict(list)
    for sample in known.catalog.samples:
        for label in sample.labels:
            images[label].append(sample.key)
    return [_row(known, name, images[name]) for name in known.catalog.classes]


def _row(known: Gathered, name: str, keys: list[str]) -> dict[str, Any]:
    looks = [known.looks[key] for key in keys if key in known.looks]
    parts = [known.part(key) for key in keys]
    medians = {
        what: round(float(np.median([getattr(look, what) for look in looks])), 4) if looks else None
        for what in ("width", "height", "brightness", "blur", "file_size")
    }
    return {
        "class": name,
        "images": len(keys),
        "different": len({look.pixels for look in looks}),
        **{part: parts.count(part) for part in ("train", "validation", "test")},
        "unreadable": sum(key in known.unreadable for key in keys),
        **medians,
    }


def _images(count: int) -> str:
    return "no image that can be read" if not count else "1 image" if count == 1 else f"{count} different images"
