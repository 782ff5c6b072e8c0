"""Shortcuts: does one plain fact about the images (their size, their encoder, their colours) tell the class by itself?

A fact is cut into cells without a look at the labels, and a classifier that knows only the cell is cross-validated;
permuted labels say what it reaches by luck. It takes values, and knows nothing of files, images or networks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from finetune.audit.answers import Asked, Table
from finetune.audit.cells import cut
from finetune.errors import UsageError, printable
from finetune.scores.paired import holm

Array = npt.NDArray[Any]
Kind = Literal["acquisition", "content"]

SIGNIFICANT = 0.05  # after Holm
MARGIN = 0.15  # above chance: what acquisition is flagged from
PART = 0.5  # of the probe's skill: what content is flagged from

_DRAWS = 999  # permutations, or more where there are many facts
_ENOUGH = 10  # permutations as good as the labels: then it is known that they are nothing special
_MANY = 100  # classes, above which only what may be flagged is compared with permutations
_TOGETHER = 32  # permutations at a time


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
    the same after Holm over everything that was asked of all facts. flagged: whether this is to be looked at. reason:
    why nothing could be asked, else empty; then all numbers are NaN and nothing is flagged. one: of acquisition where
    there are three classes or more, how well it tells one of them from all others.

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
    one: "OneClass | None" = None

    @property
    def skill(self) -> float:
        """The balanced accuracy above chance."""
        return self.accuracy - self.chance


@dataclass(frozen=True)
class OneClass:
    """How well a fact tells a class from all others together: by place in the classes; the balanced accuracy of the
    two, whose chance is a half; p and adjusted as of `Shortcut`, of any class being told as well.
    """

    label: int
    accuracy: float
    p: float
    adjusted: float

    @property
    def flagged(self) -> bool:
        """Whether this alone is enough for acquisition to be looked at."""
        return self.adjusted <= SIGNIFICANT and self.accuracy - 0.5 >= MARGIN - 1e-12


def shortcuts(
    facts: Sequence[Fact],
    labels: Array,
    groups: Sequence[str],
    *,
    classes: int,
    probe_skill: float | None = None,
    families: int = 1,
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
    permutations end after the tenth that does as well (Besag and Clifford 1991).

    What tells one class of ten raises the balanced accuracy by a tenth at most, however plainly it does. So acquisition
    is asked of each class against all others together too, and p is how often any class is told as well, by its
    accuracy above a half in units of what a class of its size varies by (Westfall and Young 1993, Resampling-Based
    Multiple Testing, section 2.3); reported is the clearest class, of those that would be flagged if there are any.
    Acquisition is flagged from 0.15 above chance in either question, content from half of the probe's skill and never
    without it; any of it only where p after Holm (1979) over all questions is at most 0.05. Above 100 classes
    permutations take long: then p is 1 of what reaches too little to be flagged, which makes no other p smaller. So it
    is where this is one of several `families` of questions, each asked by a call: then p after Holm is multiplied by
    their number too (Bonferroni), and there are as many more permutations. The
    order of the images does not matter, nor do the numbers of the classes, but for the luck of permutations where
    groups have several labels.

    Raises UsageError for arrays that do not fit together.
    """
    _refuse(facts, labels, groups, classes)
    asked = Asked.of(labels, groups, classes)
    if len(asked.classes) < 2:
        reason = "there are no two classes of two images each that could be held out and learnt"
        return tuple(_nothing(fact, classes, reason) for fact in facts)
    tables = [Table(cut(fact.values[asked.images]), asked) for fact in facts]
    held = [table.counts(asked.labels[None]) for table in tables]
    recalls = [table.recalls(counts)[0] for table, counts in zip(tables, held, strict=True)]
    singles = {
        place: _clearest(table.against_rest(held[place])[0], asked)
        for place, table in enumerate(tables)
        if facts[place].kind == "acquisition" and len(asked.classes) > 2
    }
    few = len(asked.classes) <= _MANY and families == 1
    needed = [_needed(fact, probe_skill) for fact in facts]
    skills = [float(one.mean()) - 1 / len(asked.classes) for one in recalls]
    questions = [
        _Question(table, float(one.mean()), drawn=few or skill >= least)
        for table, one, skill, least in zip(tables, recalls, skills, needed, strict=True)
    ]
    questions += [
        _Question(tables[place], clear, drawn=few or accuracy - 0.5 >= MARGIN - 1e-12, sizes=asked.sizes)
        for place, (_, accuracy, clear) in singles.items()
    ]
    p = _significance(questions, asked, families=families, seed=seed)
    adjusted = tuple(min(1.0, families * one) for one in holm(p))
    ones = {
        place: OneClass(int(asked.classes[label]), accuracy, p[number], adjusted[number])
        for number, (place, (label, accuracy, _)) in enumerate(singles.items(), start=len(facts))
    }
    found = []
    for place, (fact, one) in enumerate(zip(facts, recalls, strict=True)):
        everywhere = np.full(classes, np.nan)
        everywhere[asked.classes] = one
        accuracy, chance, single = float(one.mean()), 1 / len(asked.classes), ones.get(place)
        flagged = bool(adjusted[place] <= SIGNIFICANT and skills[place] >= needed[place])
        flagged = flagged or (single is not None and single.flagged)
        shortcut = Shortcut(
            fact.name, fact.kind, accuracy, chance, everywhere, p[place], adjusted[place], flagged, one=single
        )
        found.append(shortcut)
    return tuple(found)


def _needed(fact: Fact, probe_skill: float | None) -> float:
    """The skill that a fact is flagged from."""
    least = MARGIN if fact.kind == "acquisition" else np.inf if probe_skill is None else PART * probe_skill
    return least - 1e-12


# One class


def _clearest(accuracies: Array, asked: Asked) -> tuple[int, float, float]:
    """Of the class to report its number, its balanced accuracy against the rest, and how clear that is."""
    clear = _clear(accuracies, asked.sizes)
    enough = accuracies - 0.5 >= MARGIN - 1e-12
    label = int(np.where(enough, clear, -np.inf).argmax() if enough.any() else clear.argmax())
    return label, float(accuracies[label]), float(clear[label])


def _clear(accuracies: Array, sizes: Array) -> Array:
    """Balanced accuracies above a half, in units of what they vary by where a class of this size is told by luck."""
    return np.asarray((accuracies - 0.5) / np.sqrt(1 / sizes + 1 / (sizes.sum() - sizes)))


# Luck


@dataclass(frozen=True, eq=False)
class _Question:
    """What permutations are compared with: the balanced accuracy of all classes, or where their sizes are given the
    clearest of each class against the rest. drawn: whether there are permutations, else p is 1.
    """

    table: Table
    observed: float
    drawn: bool
    sizes: Array | None = None

    def reached(self, held: Array) -> Array:
        """bool (rows,): which permutations do as well."""
        if self.sizes is None:
            return np.asarray(self.table.recalls(held).mean(axis=1) >= self.observed - 1e-12)
        return np.asarray(_clear(self.table.against_rest(held), self.sizes).max(axis=1) >= self.observed - 1e-12)


def _significance(questions: Sequence[_Question], asked: Asked, *, families: int, seed: int) -> tuple[float, ...]:
    """For every question the share of permutations that do as well, among them the labels themselves."""
    draws = max(_DRAWS, 40 * families * len(questions) - 1)
    p = [1.0] * len(questions)
    better = [0] * len(questions)
    open_ = [place for place, question in enumerate(questions) if question.drawn and not question.table.trivial]
    for done, dealt in _dealings(asked.labels, draws, seed):
        reached: dict[int, list[Array]] = {place: [] for place in open_}
        for table in dict.fromkeys(questions[place].table for place in open_):
            for part in np.array_split(dealt, -(-len(dealt) // table.at_once)):
                held = table.counts(part)
                for place in open_:
                    if questions[place].table is table:
                        reached[place].append(questions[place].reached(held))
        for place in open_:
            count = better[place] + np.cumsum(np.concatenate(reached[place]))
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
