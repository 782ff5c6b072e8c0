"""Shortcuts: does one plain fact about the images (their size, their encoder, their colours) tell the class by itself?

A fact is cut into cells without a look at the labels, and a classifier that knows only the cell is cross-validated;
permuted labels say what it reaches by luck. It takes values, and knows nothing of files, images or networks.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from finetune.audit.cells import Cells, cut
from finetune.errors import UsageError, printable

Array = npt.NDArray[Any]
Kind = Literal["acquisition", "content"]

SIGNIFICANT = 0.05  # after Holm
MARGIN = 0.15  # above chance: what acquisition is flagged from
PART = 0.5  # of the probe's skill: what content is flagged from

_FOLDS = 5
_DRAWS = 999  # permutations, or more where there are many facts
_ENOUGH = 10  # permutations as good as the labels: then it is known that they are nothing special
_TOGETHER = 32  # permutations at a time
_NUMBERS = 2_000_000  # of their counts at a time, 16 MB


@dataclass(frozen=True, eq=False)
class Fact:
    """Something known of every image that is not its label.

    kind: "acquisition" is how an image came about (size, quality, encoder, camera, time), "content" what it shows
    (colours, brightness). values: (n,) or (n, columns) numbers, a row with a NaN is unknown; or (n,) texts, where the
    empty text or None is unknown. What is unknown is a fact too.
    """

    name: str
    kind: Kind
    values: Array


@dataclass(frozen=True, eq=False)
class Shortcut:
    """How well a fact alone tells the class.

    accuracy: balanced, 0..1, of held-out images. chance: 1 over the number of classes that were asked for. recalls:
    (classes,) float64, NaN for classes that were not. p: how often labels dealt out by lot are told as well; adjusted:
    the same after Holm over all facts. flagged: whether this is to be looked at. reason: why nothing could be asked,
    else empty; then all numbers are NaN and nothing is flagged.

    There is no interval: those of Wilson and of the linearised mean over groups held the expected accuracy of a weak
    fact in 86 % of simulations and not in 95, for cells learnt from other images vary too. p does hold.
    """

    fact: str
    kind: Kind
    accuracy: float
    chance: float
    recalls: Array
    p: float
    adjusted: float
    flagged: bool
    reason: str = ""

    @property
    def skill(self) -> float:
        """The balanced accuracy above chance."""
        return self.accuracy - self.chance


def shortcuts(
    facts: Sequence[Fact],
    labels: Array,
    groups: Sequence[str],
    *,
    classes: int,
    probe_skill: float | None = None,
    seed: int = 0,
) -> tuple[Shortcut, ...]:
    """Each fact with its skill, in the order that is given.

    labels: (n,) int in 0..classes - 1. groups: what belongs together, one name per image: of a scene, or of the image
    alone. A class of which there are fewer than two groups is not asked for, and its images have no part in anything.
    probe_skill: the balanced accuracy of the probe of the same images above chance, where there is one.

    The cells are halves of halves of the values, 64 at most; in each class the share of a cell within the one above it
    is drawn towards that of all images (a Pólya tree, Lavine 1992, Annals of Statistics 20), and the class in whose
    images a cell is most frequent is the answer, as if all classes were equally large. It is asked of images whose
    group was held out, in five folds that do not depend on labels. Whole groups change labels, and everything is
    fitted anew for every permutation, which makes p exact where a group has one label (Phipson and Smyth 2010);
    permutations end after the tenth that does as well (Besag and Clifford 1991). Acquisition is flagged from 0.15 above
    chance, content from half of the probe's skill and never without it; either only where p after Holm (1979) over all
    facts is at most 0.05. The order of the images does not matter, nor do the numbers of the classes, but for the luck
    of permutations where groups have several labels.

    Raises UsageError for arrays that do not fit together.
    """
    _refuse(facts, labels, groups, classes)
    asked = _asked(labels, groups, classes)
    if len(asked.classes) < 2:
        reason = "there are no two classes of two images each that could be held out and learnt"
        return tuple(_nothing(fact, classes, reason) for fact in facts)
    tables = [_Table(cut(fact.values[asked.images]), asked) for fact in facts]
    observed = [table.recalls(asked.labels[None])[0] for table in tables]
    p = _significance(tables, [recalls.mean() for recalls in observed], asked, seed)
    found = []
    for fact, recalls, value, adjusted in zip(facts, observed, p, holm(p), strict=True):
        everywhere = np.full(classes, np.nan)
        everywhere[asked.classes] = recalls
        accuracy, chance = float(recalls.mean()), 1 / len(asked.classes)
        needed = MARGIN if fact.kind == "acquisition" else np.inf if probe_skill is None else PART * probe_skill
        flagged = bool(adjusted <= SIGNIFICANT and accuracy - chance >= needed - 1e-12)
        found.append(Shortcut(fact.name, fact.kind, accuracy, chance, everywhere, value, adjusted, flagged))
    return tuple(found)


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """The same p-values, each as large as it has to be for all of them to be looked at together, in the given order.

    Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6.
    """
    order = sorted(range(len(p)), key=lambda place: p[place])
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return tuple(adjusted)


# Who is asked


@dataclass(frozen=True, eq=False)
class _Asked:
    """The images that are asked about, in the order of their groups' names, and what can change labels as a whole.

    images: places (m,). labels: (units,), numbered among `classes`. units: (m,), the unit of each image: the images of
    one group and label. folds: (m,).
    """

    images: Array
    labels: Array
    units: Array
    folds: Array
    classes: Array


def _asked(labels: Array, groups: Sequence[str], classes: int) -> _Asked:
    names, numbers = np.unique(np.array(groups, dtype=object), return_inverse=True)
    held = np.unique(np.stack([labels, numbers]), axis=1)[0]  # a label for every group that has it
    kept = np.flatnonzero(np.bincount(held, minlength=classes) >= 2)
    images = np.flatnonzero(np.isin(labels, kept))
    images = images[np.lexsort((labels[images], numbers[images]))]
    pairs = np.stack([numbers[images], np.searchsorted(kept, labels[images])])
    found, units = np.unique(pairs, axis=1, return_inverse=True)
    ranked = sorted(set(pairs[0].tolist()), key=lambda place: _rank(str(names[place])))
    fold = np.zeros(len(names), dtype=np.int64)
    fold[ranked] = np.arange(len(ranked)) % _FOLDS
    return _Asked(images, found[1], units.reshape(-1), fold[pairs[0]], kept)


def _rank(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()


# What a cell tells


class _Table:
    """How often each class occurs in each cell and fold, for many dealings of the labels at once."""

    def __init__(self, cells: Cells, asked: _Asked) -> None:
        self._asked, self._cells = asked, cells
        self._leaves, self._classes = int(cells.leaf.max()) + 1, len(asked.classes)
        self._folds = int(asked.folds.max()) + 1
        self._place = asked.folds * self._leaves + cells.leaf
        self.at_once = max(1, min(_TOGETHER, _NUMBERS // (self._folds * self._leaves * self._classes)))

    @property
    def trivial(self) -> bool:
        """Whether all images are in one cell."""
        return self._leaves == 1

    def recalls(self, labels: Array) -> Array:
        """(rows, classes): the recall of each class on held-out images. labels: (rows, units)."""
        held = self._counts(labels)
        return np.asarray((held * self._credit(held)).sum(axis=(1, 2)) / held.sum(axis=(1, 2)))

    def _counts(self, labels: Array) -> Array:
        """(rows, folds, leaves, classes) float64."""
        shape = (len(labels), self._folds, self._leaves, self._classes)
        places = np.arange(len(labels))[:, None] * (self._folds * self._leaves) + self._place
        flat = places * self._classes + labels[:, self._asked.units]
        return np.bincount(flat.ravel(), minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)

    def _credit(self, held: Array) -> Array:
        """The same shape: 1 where the class is the answer in the cell by the other folds, shared among equals."""
        learnt = held.sum(axis=1, keepdims=True) - held
        above = learnt.sum(axis=2, keepdims=True)
        sizes = np.bincount(self._cells.leaf).astype(np.float64)
        larger, before = sizes.sum(keepdims=True), np.zeros(1, dtype=np.int64)
        density = np.ones_like(above)
        for step, starts in enumerate(self._cells.starts, 1):
            up = np.searchsorted(before, starts, side="right") - 1
            inside, size = np.add.reduceat(learnt, starts, axis=2), np.add.reduceat(sizes, starts)
            weight = float(step**2)  # finer cells are believed less
            usual = (weight * size / larger[up])[:, None]
            density = density[:, :, up] * (inside + usual) / (above[:, :, up] + weight)
            above, larger, before = inside, size, starts
        best = density == density.max(axis=3, keepdims=True)
        return np.asarray(best / best.sum(axis=3, keepdims=True))


# Luck


def _significance(tables: Sequence[_Table], observed: Sequence[float], asked: _Asked, seed: int) -> tuple[float, ...]:
    """For every table the share of permutations that do as well, among them the labels themselves."""
    draws = max(_DRAWS, 40 * len(tables) - 1)
    p = [1.0] * len(tables)
    better = [0] * len(tables)
    open_ = [place for place, table in enumerate(tables) if not table.trivial]
    for done, dealt in _dealings(asked.labels, draws, seed):
        for place in open_:
            table = tables[place]
            parts = np.array_split(dealt, -(-len(dealt) // table.at_once))
            reached = np.concatenate([table.recalls(part).mean(axis=1) for part in parts]) >= observed[place] - 1e-12
            count = better[place] + np.cumsum(reached)
            better[place] = int(count[-1])
            p[place] = (
                _ENOUGH / (done + 1 + int(np.argmax(count >= _ENOUGH)))
                if better[place] >= _ENOUGH
                else (better[place] + 1) / (draws + 1)
            )
        open_ = [place for place in open_ if better[place] < _ENOUGH]
        if not open_:
            break
    return tuple(p)


def _dealings(labels: Array, draws: int, seed: int) -> Iterator[tuple[int, Array]]:
    """Permutations of the labels of the units, (some, units) at a time, and how many there were before."""
    generator = np.random.Generator(np.random.PCG64(seed))
    for done in range(0, draws, _TOGETHER):
        rows = min(_TOGETHER, draws - done)
        yield done, generator.permuted(np.tile(labels, (rows, 1)), axis=1)


def _nothing(fact: Fact, classes: int, reason: str) -> Shortcut:
    nan = float("nan")
    return Shortcut(fact.name, fact.kind, nan, nan, np.full(classes, nan), nan, nan, False, reason)


def _refuse(facts: Sequence[Fact], labels: Array, groups: Sequence[str], classes: int) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or ((labels < 0) | (labels >= classes)).any():
        raise UsageError(f"labels must be whole numbers from 0 to {classes - 1}, one per image")
    if len(groups) != len(labels):
        raise UsageError(f"groups must be one per image, but are {len(groups)} for {len(labels)} images")
    for fact in facts:
        numbers, texts = fact.values.dtype.kind in "fiub", fact.values.dtype.kind in "UO" and fact.values.ndim == 1
        if fact.values.shape[:1] != labels.shape or not (texts or (numbers and fact.values.ndim in (1, 2))):
            raise UsageError(
                f"fact {printable(fact.name)!r} must have numbers of shape ({len(labels)},) or "
                f"({len(labels)}, columns), or texts of shape ({len(labels)},), "
                f"but has {fact.values.dtype} of shape {fact.values.shape}"
            )
