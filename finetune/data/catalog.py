"""Which images exist, and their labels: `Sample`, `Catalog`, and the census that reads each file once.

A catalog holds names and labels, never pixels. It knows nothing of folders or tables (adapters make catalogs), and
nothing of training and test (split divides them).
"""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from finetune.data.fingerprints import Fingerprint, Fingerprints, examine
from finetune.errors import DataError, UnreadableImage, listing, printable

TRAIN = "train"  # the split folder that classes come from, in any capitals
BAD_SHARE = 0.05
_CHUNK = 1024  # files under way at a time, so that a large set is streamed


@dataclass(frozen=True, slots=True)
class Sample:
    """An image and its label.

    `key` is printable, unique and stable (for files: the path below the root, odd characters escaped). `label` is a
    class, or a tuple of classes where an image may have many. `split` is the name of the split folder it was found in,
    `sha256` the hash of the file's bytes, known after the census.
    """

    key: str
    path: Path | None
    label: str | tuple[str, ...]
    group: str | None = None
    split: str | None = None
    sha256: str | None = None

    @property
    def file(self) -> Path:
        """The path, of a sample that is a file. Raises DataError for one that is not."""
        if self.path is None:
            raise DataError(f"{self.key} is not a file")
        return self.path

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the image, also when there is only one."""
        return (self.label,) if isinstance(self.label, str) else self.label


@dataclass(frozen=True)
class LeftOut:
    """Something found beside the images that will be used, and why it is not among them."""

    key: str
    reason: str


@dataclass(frozen=True)
class Catalog:
    """Samples in a fixed order and the ordered names of their classes, which always come from training images.

    Raises DataError for a repeated key, for a label that is no class, and for samples with one label beside others
    with tuples of labels.
    """

    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()

    def __post_init__(self) -> None:
        repeated = [key for key, count in Counter(self.keys).items() if count > 1]
        if repeated:
            raise DataError(f"{len(repeated)} keys occur more than once in a catalog{listing(repeated)}")
        unknown = sorted({label for sample in self.samples for label in sample.labels} - set(self.classes))
        if unknown:
            raise DataError(f"labels that are not among the {len(self.classes)} classes{listing(unknown)}")
        if len({isinstance(sample.label, str) for sample in self.samples}) > 1:
            raise DataError("some images have one label and some a tuple of labels; give all of them tuples")

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def keys(self) -> tuple[str, ...]:
        """The key of every sample, in order."""
        return tuple(sample.key for sample in self.samples)

    @property
    def multi_label(self) -> bool:
        """Whether an image may have any number of classes."""
        return any(not isinstance(sample.label, str) for sample in self.samples)

    @property
    def labels(self) -> np.ndarray:
        """int64 (n,), places in `classes`; or bool (n, classes) where images have tuples of labels."""
        place = {name: number for number, name in enumerate(self.classes)}
        if not self.multi_label:
            return np.array([place[sample.labels[0]] for sample in self.samples], dtype=np.int64)
        table = np.zeros((len(self), len(self.classes)), dtype=np.bool_)
        for row, sample in enumerate(self.samples):
            table[row, [place[label] for label in sample.labels]] = True
        return table

    def counts(self) -> dict[str, int]:
        """How many images each class has, in the order of `classes`."""
        found = Counter(label for sample in self.samples for label in sample.labels)
        return {name: found[name] for name in self.classes}

    def select(self, indices: Sequence[int] | np.ndarray) -> "Catalog":
        """The samples at these places, in this order, over the same classes; what was left out stays with the whole."""
        return Catalog(samples=tuple(self.samples[index] for index in indices), classes=self.classes)


def key_of(parts: Sequence[str]) -> str:
    """The parts of a path as a key: printable, and one to one, for a backslash of a name itself is doubled."""
    return "/".join(printable(part.replace("\\", "\\\\"), limit=10_000) for part in parts)


def census(
    catalog: Catalog,
    *,
    on_bad_image: Literal["skip", "error"],
    threads: int,
    known: Fingerprints | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Catalog, dict[str, int]]:
    """The catalog with every file's hash and without unreadable images, and how often each note on an image was made.

    Every file is read once and decoded whole, but for those that are `known` and unchanged. `skip` leaves unreadable
    images out, up to 5 % of each class (of a small class one) and never a whole class; more, or any with `error`, raise
    DataError naming them.
    `progress(done, total)` is called from this thread. Samples that are not files are kept as they are.
    """
    kept: list[Sample] = []
    bad: list[tuple[Sample, LeftOut]] = []
    notes: Counter[str] = Counter()
    with contextlib.closing(_examined(catalog.samples, known, threads=threads)) as examined:
        for done, (sample, found) in enumerate(examined, start=1):
            if isinstance(found, UnreadableImage):
                bad.append((sample, LeftOut(sample.key, str(found))))
            else:
                kept.append(replace(sample, sha256=found.sha256) if found else sample)
                notes.update(found.notes if found else ())
            if progress:
                progress(done, len(catalog))
    must_be_few(catalog, bad, on_bad_image=on_bad_image)
    left_out = tuple(sorted((*catalog.left_out, *(item for _, item in bad)), key=lambda item: item.key))
    return Catalog(samples=tuple(kept), classes=catalog.classes, left_out=left_out), dict(sorted(notes.items()))


def must_be_few(
    catalog: Catalog, bad: Sequence[tuple[Sample, LeftOut]], *, on_bad_image: Literal["skip", "error"]
) -> None:
    """Raises DataError where more of the catalog's images cannot be read than may be left out."""
    if not bad:
        return
    lines = [f"{item.key}: {item.reason}" for _, item in bad]
    summary = f"{len(bad)} of {len(catalog)} images cannot be read"
    if on_bad_image == "error":
        raise DataError(f"{summary}; mend or remove them, or say on_bad_image: skip{listing(lines)}")
    images = catalog.counts()
    unreadable = Counter(label for sample, _ in bad for label in sample.labels)
    over = [
        f"{unreadable[name]} of {images[name]} of class {printable(name)!r}"
        for name in catalog.classes
        if unreadable[name] > max(1, math.floor(BAD_SHARE * images[name])) or 0 < unreadable[name] == images[name]
    ]
    if over:
        raise DataError(
            f"{summary}, too many to leave out (at most 5 % of a class, or one image, never a whole class)"
            f"{listing(over)}"
            f"\n  mend or remove them{listing(lines)}"
        )


Examination = Fingerprint | UnreadableImage | None


def _examined(
    samples: Sequence[Sample], known: Fingerprints | None, *, threads: int
) -> Generator[tuple[Sample, Examination], None, None]:
    pool = ThreadPoolExecutor(threads)
    try:
        for start in range(0, len(samples), _CHUNK):
            chunk = samples[start : start + _CHUNK]
            yield from zip(chunk, pool.map(lambda sample: _examine(sample, known), chunk), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)  # interrupted: what has not begun does not begin


def _examine(sample: Sample, known: Fingerprints | None) -> Examination:
    if sample.path is None:
        return None
    try:
        return examine(sample.path, known)
    except UnreadableImage as error:
        return error
