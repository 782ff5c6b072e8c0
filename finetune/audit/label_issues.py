"""Label issues: images whose label is probably wrong, by what a probe that has not learnt from them says."""

from collections.abc import Iterator

import numpy as np

from finetune.audit.deep import Deep, Measured
from finetune.audit.finding import Finding
from finetune.audit.gather import Gathered
from finetune.audit.labels import doubts, label_issues
from finetune.errors import printable


def check(known: Gathered) -> Iterator[Finding]:
    """A warning, `label-issue`, for each image whose label is probably wrong, the worst first, with the label that is
    suggested; and a note, `expected`, on how many are expected to be. Nothing without a deep look.

    Where an image may have any number of labels each is asked for by itself, there or not there, and all labels that
    are suggested stand together, with | between them. A note, `not-asked`, where there was nothing to ask,
    or what was asked does no better than chance.
    """
    deep = known.deep
    if deep is None:
        return
    if not deep.held_out.any() or deep.guesses:
        why = _guessed(deep, deep.told) if deep.told and deep.guesses else deep.reason
        text = f"whether labels are wrong was not asked: {why}"
        yield Finding("labels", "not-asked", "note", text)
        return
    if known.catalog.multi_label:
        yield from _of_many(known, deep)
        return
    classes = known.catalog.classes
    place = {name: number for number, name in enumerate(classes)}
    given = {sample.key: place[sample.labels[0]] for sample in known.seen}
    found = label_issues(deep.probabilities, np.array([given[key] for key in deep.keys], dtype=np.int64))
    for rank, issue in enumerate(found.issues, start=1):
        old, new = (printable(classes[label], limit=40) for label in (issue.given, issue.suggested))
        text = f"labelled {old!r}, and looks like {new!r}: {issue.confidence:.2f} against {issue.score:.2f}"
        figures: dict[str, float | int | str | None] = {
            "given": classes[issue.given],
            "suggested": classes[issue.suggested],
            "probability_given": round(issue.score, 4),
            "probability_suggested": round(issue.confidence, 4),
            "rank": rank,
        }
        yield Finding("labels", "label-issue", "warning", text, (deep.keys[issue.index],), figures)
    yield _expected(found.expected, asked=len(found.ranking), left_out=len(found.left_out))


def _of_many(known: Gathered, deep: Deep) -> Iterator[Finding]:
    classes, samples = known.catalog.classes, {sample.key: sample for sample in known.seen}
    given = np.array([[name in samples[key].labels for name in classes] for key in deep.keys], dtype=bool)
    found, expected = doubts(deep.probabilities, given)
    for rank, doubt in enumerate(found, start=1):
        now = given[doubt.index].copy()
        now[list(doubt.scores)] ^= True
        old, new = ("|".join(np.array(classes)[there].tolist()) for there in (given[doubt.index], now))
        said = [
            f"{'too much' if given[doubt.index, column] else 'missing'}: {printable(classes[column], limit=40)!r} "
            f"{deep.probabilities[doubt.index, column]:.2f}"
            for column in sorted(doubt.scores)
        ]
        text = f"labelled {_several(old)}, and looks like {_several(new)} ({', '.join(said)})"
        figures: dict[str, float | int | str | None] = {
            "given": old,
            "suggested": new,
            "probability_given": round(doubt.score, 4),
            "probability_suggested": round(1 - doubt.score, 4),
            "rank": rank,
        }
        yield Finding("labels", "label-issue", "warning", text, (deep.keys[doubt.index],), figures)
    asked = int(deep.held_out.sum())
    yield _expected(expected, asked=asked * len(classes), left_out=len(deep.keys) - asked)


def _guessed(deep: Deep, told: Measured) -> str:
    name = "mean AUROC of the labels" if deep.auroc else "balanced accuracy"
    said = f"{name} {told.value:.2f} [{told.low:.2f}, {told.high:.2f}], by chance {deep.by_chance:.2f}"
    return f"on held-out images {deep.network} is not shown to do better than chance ({said})"


def _several(labels: str) -> str:
    return repr(printable(labels, limit=60)) if labels else "nothing"


def _expected(expected: float, *, asked: int, left_out: int) -> Finding:
    """How many labels are expected to be wrong; of any number of labels each that is there or not there counts."""
    text = f"about {expected:.0f} of {asked} labels are expected to be wrong ({100 * expected / asked:.1f} %)"
    text += "; where classes look alike, or are told apart badly, that is an overestimate"
    figures = {"expected": round(expected, 1), "asked": asked, "left_out": left_out}
    return Finding("labels", "expected", "note", text, (), figures)
