"""What was tried before something shipped, and what came of it: ways to learn, and heads, as rows and in words."""

import math
import re
from collections.abc import Iterable

from finetune.report.course import Head, Trial, Way
from finetune.report.evidence import Evidence

COMPARED = ("ridge", "knn")  # families that make no head: they are there to compare with
FAMILIES = {
    "ncm": "nearest class mean",
    "cosine": "cosine to the class means",
    "lda": "linear discriminants",
    "logistic": "logistic regression",
    "ridge": "ridge regression",
    "knn": "nearest neighbours",
}
SCALINGS = {
    "raw": "features as they are",
    "standardised": "standardised features",
    "l2": "features of length 1",
    "centred l2": "centred features of length 1",
}
TAKEN = "taken"  # the verdict on a way that became the best so far
LEADERS = 8

_PART_OF_THE_WAY = re.compile(", [0-9.]+ of the way$")
_NOT_TRIED = " is not tried: "
_GAVE_UP = "; the probe itself ships"


def guard(evidence: Evidence) -> str:
    """What ships after ways were compared: the baseline, what beat it, or weights in between; "" where none were."""
    settled = "".join(f" {_capital(note)}." for note in settlements(evidence))
    if not evidence.ways:
        return settled.strip()
    place = _last_taken(evidence)
    name = said(evidence.ways[place])
    if shipped(evidence) is None:
        return f"{_capital(name)} did best on images held out, but it does not ship.{settled}"
    if place:
        way = _PART_OF_THE_WAY.sub("", name) if settled else name
        return f"What ships did better on images held out than what was best before it: {way}.{settled}"
    others = "nothing that was tried beat it on images held out" if evidence.ways[1:] else "nothing else was tried"
    return f"What ships is the frozen baseline, {name}: {others}."


def shipped(evidence: Evidence) -> int | None:
    """The place of the way that ships; None where there is none, or training was undone in the end."""
    return _last_taken(evidence) if evidence.ways and not undone(evidence) else None


def undone(evidence: Evidence) -> bool:
    """Whether training was undone in the end: the head that it began from ships."""
    return any(note.endswith(_GAVE_UP) for note in settlements(evidence))


def said(way: Way) -> str:
    """The name of a way; all of the way needs no mention."""
    return way.name.removesuffix(", 1 of the way")


def settlements(evidence: Evidence) -> list[str]:
    """The notes on where between the probe and the trained weights that lies which ships."""
    return [note for note in evidence.facts.notes if note.startswith("what ships lies ") or note.endswith(_GAVE_UP)]


def reasons(evidence: Evidence) -> list[str]:
    """What the plan says, each once, but for what was not tried where that stands elsewhere."""
    found = dict.fromkeys(evidence.plan.reasons if evidence.plan else ())
    return [reason for reason in found if not (evidence.ways and _NOT_TRIED in reason)]


def not_tried(evidence: Evidence) -> list[tuple[str, str]]:
    """The ways that were not tried, and why."""
    split = [reason.partition(_NOT_TRIED) for reason in (evidence.plan.reasons if evidence.plan else ())]
    return [(name, why) for name, parted, why in split if parted]


def leaders(heads: Iterable[Head], taken: Head | None) -> list[Head]:
    """The best heads, one of each family and scaling, with the best of those that only compare, and the one taken."""
    ranked = sorted(heads, key=lambda head: head.log_loss)
    best = {(head.trial.family, head.trial.scaling): head for head in reversed(ranked)}.values()
    others = {head.trial.family: head for head in reversed(ranked) if head.trial.family in COMPARED}.values()
    shown = [*sorted(best, key=lambda head: head.log_loss)[:LEADERS], *others]
    return [head for head in ranked if head is taken or any(head is one for one in shown)]


def taken_head(evidence: Evidence) -> Head | None:
    """The head that was taken: the one that says so, or whose log-loss is that of the out-of-fold predictions."""
    if marked := next((head for head in evidence.heads if head.chosen), None):
        return marked
    score = evidence.out_of_fold.log_loss if evidence.out_of_fold else None
    if score is None or score.value is None:
        return None
    alike = (head for head in evidence.heads if math.isclose(head.log_loss, score.value, rel_tol=1e-9))
    return next((head for head in alike if head.trial.family not in COMPARED), None)


def family(trial: Trial) -> str:
    """The family of a head in words."""
    return FAMILIES.get(trial.family, trial.family)


def setting(trial: Trial) -> str:
    """'features of length 1, C = 0.1': what a head is fitted to, and how strongly it is held back."""
    scaling = SCALINGS.get(trial.scaling, trial.scaling)
    if trial.strength is None:
        return f"{scaling}, shrinkage of Ledoit and Wolf" if trial.family == "lda" else scaling
    strength = {"logistic": "C =", "lda": "shrinkage", "ridge": "penalty", "knn": "the nearest"}
    return f"{scaling}, {strength.get(trial.family, 'strength')} {trial.strength:.3g}"


def _last_taken(evidence: Evidence) -> int:
    return max((place for place, way in enumerate(evidence.ways) if way.verdict == TAKEN), default=0)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
