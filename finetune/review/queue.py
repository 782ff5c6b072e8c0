"""What there is to look at, in which order, and what is suggested: suspected labels, duplicates, outliers, files that
cannot be read. Values from values; it knows of no page and writes nothing.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from finetune.audit import duplicates, outliers
from finetune.audit.finding import Finding
from finetune.audit.gather import Gathered
from finetune.audit.labels import doubts, label_issues
from finetune.data.catalog import Sample
from finetune.errors import printable
from finetune.review.material import Material
from finetune.scores.predictions import EVEN, Predictions

Kind = Literal["label", "duplicates", "outlier", "unreadable"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Action = Literal["keep", "relabel", "exclude"]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Verdict:
    """What is suggested for an image, or decided: it stays as it is, gets these labels, or is left out."""

    action: Action
    labels: tuple[str, ...] = ()


KEEP, EXCLUDE = Verdict("keep"), Verdict("exclude")


@dataclass(frozen=True)
class Shown:
    """An image to look at. `part`: train, validation, test or nothing. `likely`: places of classes, the most probable
    first; empty where it was never held out.
    """

    sample: Sample
    part: str
    readable: bool
    suggested: Verdict
    likely: tuple[int, ...] = ()


@dataclass(frozen=True)
class Item:
    """One thing to look at: why, in words, and the image or images that it is about."""

    kind: Kind
    why: str
    images: tuple[Shown, ...]


@dataclass(frozen=True)
class Queue:
    """All items, in the order of KINDS, the worst of each first; `notes`: what could not be looked for."""

    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[Kind, int]:
        """How many items there are of each kind."""
        return {kind: sum(item.kind == kind for item in self.items) for kind in KINDS}


def queue(material: Material) -> Queue:
    """Everything in a bundle's data that is worth a look.

    Suspected labels come from `audit/labels.label_issues`; where an image may have several, each label is asked for by
    itself, there or not there. Duplicates: one picture under two labels first, then across parts, then other copies.
    Of copies the one with the most pixels is suggested to stay; where labels differ, one with the labels that were
    answered, and without such an answer nothing is suggested.
    """
    answers = _Answers(material)
    notes = []
    if material.held_out is None:
        notes.append(
            "the bundle holds no out-of-fold answers, so no label is suspected; schedules that begin with a probe "
            "(probe, lp_ft, auto) leave them"
        )
    found = [*_labels(answers), *_duplicates(answers), *_outliers(answers), *_unreadable(answers)]
    return Queue(tuple(found), tuple(notes))


class _Answers:
    """What is known of images, by key, and what was answered of those that were held out."""

    def __init__(self, material: Material) -> None:
        self.known: Gathered = material.known
        self.classes = material.known.catalog.classes
        self.samples: Mapping[str, Sample] = {sample.key: sample for sample in self.known.catalog.samples}
        self.held: Predictions | None = material.held_out
        self.probabilities: Mapping[str, Array] = {}
        if self.held is not None:
            self.probabilities = dict(zip(self.held.keys, self.held.probabilities, strict=True))

    def shown(self, key: str, suggested: Verdict) -> Shown:
        readable = key in self.known.looks
        return Shown(self.samples[key], self.known.part(key), readable, suggested, self._likely(key))

    def answered(self, keys: Sequence[str]) -> tuple[str, ...] | None:
        """The labels of what these images show, on average; None where none of them was held out."""
        asked = [self.probabilities[key] for key in keys if key in self.probabilities]
        if not asked or self.held is None:
            return None
        mean = np.mean(asked, axis=0)
        if not self.held.multilabel:
            return (self.held.classes[int(mean.argmax())],)
        above = mean > (EVEN if self.held.thresholds is None else self.held.thresholds)
        return tuple(sorted(self.held.classes[place] for place in np.flatnonzero(above)))

    def size(self, key: str) -> tuple[int, int]:
        look = self.known.looks[key]
        return look.width * look.height, look.file_size

    def _likely(self, key: str) -> tuple[int, ...]:
        if key not in self.probabilities or self.held is None:
            return ()
        places = {name: place for place, name in enumerate(self.classes)}
        order = np.argsort(-self.probabilities[key], kind="stable").tolist()
        return tuple(places[self.held.classes[column]] for column in order if self.held.classes[column] in places)


def _labels(answers: _Answers) -> Iterator[Item]:
    held = answers.held
    if held is None or held.labels is None or len(held.classes) < 2:
        return
    yield from _of_many(answers, held, held.labels) if held.multilabel else _of_one(answers, held, held.labels)


def _of_one(answers: _Answers, held: Predictions, labels: Array) -> Iterator[Item]:
    for issue in label_issues(held.probabilities, labels).issues:
        given, suggested = held.classes[issue.given], held.classes[issue.suggested]
        why = (
            f"a classifier that had not learnt from it gives {_name(suggested)} {_percent(issue.confidence)} and "
            f"{_name(given)}, its label, {_percent(issue.score)}"
        )
        key = held.keys[issue.index]
        if key in answers.samples:
            yield Item("label", why, (answers.shown(key, Verdict("relabel", (suggested,))),))


def _of_many(answers: _Answers, held: Predictions, labels: Array) -> Iterator[Item]:
    """Images with a label that is probably missing or too many, the surest first."""
    probabilities = held.probabilities
    for doubt in doubts(probabilities, labels)[0]:
        index, columns = doubt.index, sorted(doubt.scores)
        key, now = held.keys[index], labels[index].copy()
        now[columns] ^= True
        if key not in answers.samples:
            continue
        said = [_doubt(held.classes[c], probabilities[index, c], there=labels[index, c]) for c in columns]
        wanted = tuple(sorted(held.classes[place] for place in np.flatnonzero(now)))
        suggested = Verdict("relabel", wanted) if wanted else KEEP  # no correction says that there is nothing to see
        why = f"a classifier that had not learnt from it gives {', '.join(said)}"
        yield Item("label", why, (answers.shown(key, suggested),))


def _doubt(name: str, probability: float, *, there: bool) -> str:
    return f"{_name(name)}, which it {'has' if there else 'has not'}, {_percent(probability)}"


def _duplicates(answers: _Answers) -> Iterator[Item]:
    groups: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
    for finding in duplicates.check(answers.known):
        if finding.keys:
            groups[finding.keys].append(finding)
    for keys, findings in sorted(groups.items(), key=lambda group: min(map(_rank, group[1]))):
        kinds = {finding.kind for finding in findings}
        stays = None if kinds == {"near-copies"} else _stays(keys, answers)
        images = tuple(answers.shown(key, EXCLUDE if stays and key != stays else KEEP) for key in keys)
        yield Item("duplicates", "; ".join(finding.text for finding in findings), images)


def _rank(finding: Finding) -> tuple[int, int]:
    exact, _, what = finding.kind.partition("-")
    return ("two-labels", "across-parts", "copies").index(what), ("exact", "near").index(exact)


def _stays(keys: Sequence[str], answers: _Answers) -> str | None:
    """The key of the one that should stay of images that show the same; None where that cannot be told."""
    labels = {key: tuple(sorted(answers.samples[key].labels)) for key in keys}
    right = list(keys)
    if len(set(labels.values())) > 1:
        answered = answers.answered(keys)
        right = [key for key in keys if labels[key] == answered]
    return max(right, key=answers.size, default=None)  # the first of equals


def _outliers(answers: _Answers) -> Iterator[Item]:
    of_image: dict[str, list[Finding]] = defaultdict(list)
    for finding in outliers.check(answers.known):
        if len(finding.keys) == 1:  # and not a note on images of two kinds
            of_image[finding.keys[0]].append(finding)
    for key, findings in sorted(of_image.items(), key=lambda one: -max(map(_distance, one[1]))):
        blank = any(finding.kind == "blank" for finding in findings)
        why = "; ".join(finding.text for finding in findings)
        yield Item("outlier", why, (answers.shown(key, EXCLUDE if blank else KEEP),))


def _distance(finding: Finding) -> float:
    """How far from the others; an image with nothing on it comes first."""
    z = (finding.figures or {}).get("z")
    return abs(z) if isinstance(z, int | float) else float("inf")


def _unreadable(answers: _Answers) -> Iterator[Item]:
    for key, reason in answers.known.unreadable.items():
        yield Item("unreadable", f"cannot be read: {reason.reason}", (answers.shown(key, EXCLUDE),))


def _name(name: str) -> str:
    return repr(printable(name, limit=60))


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f} %" if 0.005 < probability < 0.995 else f"{100 * probability:.2g} %"
