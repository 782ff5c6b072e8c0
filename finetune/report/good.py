"""How good is it? The score with its interval, beside what costs nothing, and every other score."""

import math
from dataclasses import dataclass

from finetune.report import drifted, trials, words
from finetune.report import folds as in_folds
from finetune.report.evidence import Evidence
from finetune.report.records import Score, Scores
from finetune.report.section import ALL_RIGHT, Part, Section, answered_by, called, counted, section
from finetune.report.sourced import Value, at


@dataclass(frozen=True)
class Row:
    """A line of the table of scores."""

    name: str
    meaning: str
    score: Score
    beside: Score | None


def how_good_is_it(evidence: Evidence) -> Section:
    """One number, what it has to be compared with, and the rest; of new images first how they differ from the own."""
    parts = (headline(evidence), drifted.drift(evidence), against(evidence), scores(evidence), folds(evidence))
    return section("good", "How good is it?", "How good", *parts)


def headline(evidence: Evidence) -> Part:
    """How good it is: one number, its interval, and both in words."""
    scores = evidence.scores
    score = _main(scores)
    guess = _commonest(scores) if scores else None
    values = {
        "score": score,
        "places": words.digits(score) if score else 0,
        "part": evidence.part,
        "words": called(evidence),
        "folds": len(evidence.folds),
        "images": counted(evidence),
        "several": evidence.several,
        "guess": guess,
        "finished": evidence.finished,
        "epochs": len(evidence.epochs),
        "chose": any(epoch.best for epoch in evidence.epochs),
        "trains": bool(evidence.plan and evidence.plan.phases),
        "compared": max(len(evidence.heads), len(evidence.ways)),
        "other": answered_by(evidence),
        "seen": at(evidence.drift, "seen") if evidence.drift and evidence.drift.seen else None,
        "own": at(evidence.drift, "own") if evidence.drift and evidence.drift.own else None,
        "absent": _absent(scores) if scores and evidence.drift else [],
    }
    return Part("headline", "", values)


def against(evidence: Evidence) -> Part | None:
    """The score beside that of a head on the frozen network, where that is known, and of always saying one class."""
    scores = evidence.scores
    score, guess = _main(scores), _commonest(scores) if scores else None
    if scores is None or score is None or evidence.drift:
        return None
    untrained = not evidence.epochs or trials.undone(evidence)
    frozen = trials.shipped(evidence) == 0 if evidence.ways else bool(evidence.heads) and untrained
    values = {
        "score": score,
        "places": words.digits(score),
        "images": counted(evidence),
        "words": called(evidence),
        "guess": guess,
        "alone": _alone(scores),
        "same": evidence.baseline if evidence.baseline and evidence.baseline.accuracy and not frozen else None,
        "why": evidence.baseline.reason if evidence.baseline else "",
        "baseline": None if frozen else _baseline(evidence),
        "itself": frozen,
        "accuracy": ALL_RIGHT if evidence.several else "Accuracy",
    }
    return Part("against", "Against what costs nothing", values)


def scores(evidence: Evidence) -> Part | None:
    """Every score of the whole set, with its interval and what it means."""
    main = evidence.scores
    if main is None:
        return None
    own = evidence.test and not evidence.folds  # else what stands beside it is said of another model
    beside = (evidence.validation or evidence.out_of_fold) if own else None
    values = {
        "rows": [Row(name, meaning, score, _same(beside, name)) for name, meaning, score in _table(main)],
        "part": called(evidence),
        "beside": "" if beside is None else "validation" if evidence.validation else "out_of_fold",
        "images": counted(evidence, beside),
        "chose": any(epoch.best for epoch in evidence.epochs),
        "other": answered_by(evidence),
    }
    return Part("scores", "Every score", values)


def folds(evidence: Evidence) -> Part | None:
    """Where every image was held out: each fold, and how far they lie apart."""
    return Part("folds", "Fold by fold", in_folds.table(evidence)) if evidence.folds else None


def _main(scores: Scores | None) -> Score | None:
    return (scores.accuracy or scores.subset_accuracy) if scores else None


def _baseline(evidence: Evidence) -> tuple[Score | Value, Value] | None:
    """The accuracy of a head on the frozen network, out of fold, and of how many images; None where it is not known, or
    is what ships.
    """
    if evidence.ways:
        first = evidence.ways[0]
        return (at(first, "accuracy"), at(first, "images")) if trials.shipped(evidence) != 0 else None
    held = evidence.out_of_fold
    score = _main(held)
    began = bool(evidence.plan and evidence.plan.phases and evidence.heads)
    return (score, counted(evidence, held)) if held and score and began else None


def _commonest(scores: Scores) -> tuple[str, Value] | None:
    """The class that occurs most, the first of equals, and its share: what always saying it would score."""
    total = sum(row.support for row in scores.per_class)
    if scores.confusion is None or not total:
        return None
    most = max(scores.per_class, key=lambda row: row.support)
    return most.name, Value(most.support / total, f"majority({scores.origin}.per_class)")


def _alone(scores: Scores) -> bool:
    """Whether no other class occurs as often as the commonest."""
    counts = sorted(row.support for row in scores.per_class)
    return len(counts) < 2 or counts[-1] > counts[-2]


def _absent(scores: Scores) -> list[str]:
    """The classes, or labels, that no image has."""
    return [row.name for row in scores.per_class if not row.support]


def _table(scores: Scores) -> list[tuple[str, str, Score]]:
    count = len(scores.per_class)
    can_guess = count > 1 and scores.accuracy
    chance = f"; guessing gives {math.log(count):.2f}" if can_guess else ""
    flat = f"; guessing gives {1 - 1 / count:.2f}" if can_guess else ""
    found = [
        ("Accuracy", "images answered right", scores.accuracy),
        (ALL_RIGHT, "images whose labels are all answered right", scores.subset_accuracy),
        ("Balanced accuracy", "mean recall of the classes: each counts the same", scores.balanced_accuracy),
        ("Macro F1", "mean F1 of the classes: recall and precision in one", scores.macro_f1),
        ("Micro F1", "F1 over all answers together", scores.micro_f1),
        ("Macro AUROC", "how often an image with the label ranks above one without", scores.macro_auroc),
        ("Macro average precision", "mean area under precision and recall", scores.macro_average_precision),
        *((f"Top {k}", f"the true class is among the first {k}", top) for k, top in scores.top_k.items() if k != "1"),
        ("Log-loss", f"surprise at the truth, the lower the better{chance}", scores.log_loss),
        ("Brier score", f"squared error of the probabilities, the lower the better{flat}", scores.brier),
    ]
    return [(name, meaning, score) for name, meaning, score in found if score is not None]


def _same(scores: Scores | None, wanted: str) -> Score | None:
    return next((score for name, _, score in _table(scores) if name == wanted), None) if scores else None
