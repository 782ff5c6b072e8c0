"""What all sections share: a section is a question and its parts, a part is what one template shows."""

from collections.abc import Mapping
from dataclasses import dataclass

from finetune.report import trials
from finetune.report.evidence import Evidence
from finetune.report.records import Scores
from finetune.report.sourced import Value, at

SHOWN = 20  # of a list that may be long
ALL_RIGHT = "All labels right"
PARTS = {"test": "test", "validation": "validation", "out_of_fold": "held-out"}


@dataclass(frozen=True)
class Part:
    """A piece of a section; `name` is that of its template, `title` its heading where it has one of its own."""

    name: str
    title: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class Section:
    """A question and what answers it; `name` is its anchor, `short` what leads to it."""

    name: str
    title: str
    short: str
    parts: tuple[Part, ...]


def section(name: str, title: str, short: str, *parts: Part | None) -> Section:
    """A section of those parts that there are."""
    return Section(name, title, short, tuple(part for part in parts if part))


def missing(what: str, how: str = "finetune evaluate BUNDLE --evidence") -> Part:
    """A line that says what was not taken, and the command by which it is."""
    return Part("missing", "", {"what": what, "how": how})


def untaken(evidence: Evidence, what: str) -> Part:
    """A line that says what was not taken of the images whose scores speak, and the command by which it is; where no
    images were kept apart there is none.
    """
    if evidence.test or evidence.validation:
        return missing(what)
    why = "no test or validation images" if evidence.finished else "no answers yet"
    return missing(f"{what} There are {why}.", "")


def called(evidence: Evidence) -> str:
    """What to call the images whose scores speak."""
    if evidence.drift:
        return "new"
    return "held-out" if evidence.folds else PARTS[evidence.part]


def answered_by(evidence: Evidence) -> str:
    """Whose out-of-fold answers were kept, where they are not those of what ships."""
    if not (evidence.plan and evidence.plan.phases):
        return ""
    if not evidence.ways:
        return "the head that training began from"
    return "the trained weights" if trials.shipped(evidence) is None else ""


def counted(evidence: Evidence, scores: Scores | None = None) -> Value:
    """How many images the scores are of: those that speak, unless others are given."""
    of = scores or evidence.scores
    if of and of.errors:
        return at(of.errors, "images")
    if of and of.confusion is not None:
        return Value(sum(map(sum, of.confusion)), f"sum({of.origin}.confusion)")
    return Value(evidence.facts.images.get(evidence.part, 0), f"bundle.json:images.{evidence.part}")
