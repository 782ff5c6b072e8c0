"""New images beside those that a bundle was scored on: what differs, in words, and as a part of their report."""

from dataclasses import dataclass

from finetune.errors import printable
from finetune.report.evidence import Evidence
from finetune.report.looked import Compared, Difference, Shares, Shift
from finetune.report.section import Part
from finetune.report.words import number, signed, significant

NAMES = {"test": "test", "validation": "validation", "out_of_fold": "held-out"}
SHOWN = 8  # names of a fact
TOLD = 3  # facts of the sentence

_WORDS = {  # of what is below, and above
    "width": ("narrower", "wider"),
    "height": ("less high", "higher"),
    "aspect": ("more upright", "more oblong"),
    "brightness": ("darker", "brighter"),
    "contrast": ("of less contrast", "of more contrast"),
    "sharpness": ("more blurred", "sharper"),
    "file_size": ("smaller as files", "larger as files"),
    "confidence": ("less sure", "surer"),
}


@dataclass(frozen=True)
class Said:
    """A fact that differs, in a word such as 'darker'."""

    shift: Shift
    word: str

    @property
    def name(self) -> str:
        return self.shift.fact.replace("_", " ")


def drift(evidence: Evidence) -> Part | None:
    """How the new images differ from those that the bundle was scored on; None in the report of a run."""
    if evidence.drift is None:
        return None
    found = evidence.drift.compared
    values = {
        "found": found,
        "lacking": [name.replace("_", " ") for name in evidence.drift.lacking],
        "own": called(found) if found else "",
        "told": told(found)[:TOLD] if found else [],
        "more": found is not None and len(told(found)) > TOLD,
        "sure": sure(found) if found else None,
        "moved": moved(found) if found else [],
        "rows": [(one, said(one)) for one in ranked(found)] if found else [],
        "shown": SHOWN,
        "kinds": "labels" if evidence.several else "classes",
        "accuracy": "The share with all labels right" if evidence.several else "Accuracy",
    }
    return Part("drift", "Beside the images that it was scored on", values)


def called(found: Compared) -> str:
    """What to call the bundle's own images."""
    return "held-out" if found.folds else NAMES.get(found.part, found.part)


def ranked(found: Compared) -> list[Shift]:
    """Facts that differ first, the further apart the earlier."""
    return sorted(found.facts, key=lambda one: (not one.differs, -_apart(one)))


def told(found: Compared) -> list[Said]:
    """The facts of the images that differ, the most first, as far as there is a word; confidence is not of images."""
    differ = [one for one in ranked(found) if one.differs and one.fact != "confidence"]
    return [Said(one, word) for one in differ if (word := said(one))]


def sure(found: Compared) -> Said | None:
    """Whether the classifier is surer or less sure; None where that does not differ."""
    return next((Said(one, said(one)) for one in found.facts if one.fact == "confidence" and one.differs), None)


def moved(found: Compared) -> list[Shares]:
    """Classes, cameras and the like whose shares differ."""
    return [one for one in found.shares if one.differs]


def said(one: Shift) -> str:
    """'darker', '' for what there is no word for, or is not above and not below."""
    if one.above is None or one.above.value is None or one.above.value == 0.5:
        return ""
    return _WORDS.get(one.fact, ("", ""))[one.above.value > 0.5]


def differing(found: Compared) -> list[str]:
    """What differs of the images, of the confidence and of the shares of classes, in plain sentences."""
    lines = []
    parts = [
        f"{one.word} (median {one.name} {significant(one.shift.new)} against {significant(one.shift.own)})"
        for one in told(found)[:TOLD]
    ]
    if parts:
        more = ", and differ in more" if len(told(found)) > TOLD else ""
        lines.append(f"these images are {_listed(parts)}{more}")
    if one := sure(found):
        medians = f"{number(one.shift.new)} against {number(one.shift.own)}"
        lines.append(f"the classifier is {one.word} of its answers (median confidence {medians})")
    kinds = "classes" if found.score == "accuracy" else "labels"
    for shares in moved(found):
        first = shares.rows[0]
        lines.append(
            f"{kinds if shares.fact == 'class' else f'{shares.fact}s'} have other shares, most of all "
            f"{printable(first.name, limit=40)}: {number(first.new.value)} against {number(first.own.value)}"
        )
    return lines or [f"nothing that is known of these images is shown to differ from the {called(found)} images"]


def scored(found: Compared) -> list[str]:
    """How the score differs, and how much of that other shares of classes make, in plain sentences."""
    change = found.difference
    if change is None:
        return []
    what = "accuracy" if found.score == "accuracy" else "the share with all labels right"
    verdict = "these images are answered differently" if change.differs else f"no difference of {what} is shown"
    lines = [
        f"against the bundle's own {called(found)} images ({number(found.own.value)}): {_change(change)}\n{verdict}"
    ]
    mix = found.mix
    if mix and mix.expected and mix.difference and any(one.fact == "class" for one in moved(found)):
        lines.append(
            f"with the shares that classes have here its own images would make {number(mix.expected.value)}; what that "
            f"does not explain: {_change(mix.difference)}"
        )
    elif not mix and any(one.fact == "class" for one in moved(found)):
        lines.append("other shares of labels alone make another score")
    return lines


def _change(change: Difference) -> str:
    return "{} [{}, {}]".format(
        *(signed(value or 0.0).replace("−", "-") for value in (change.value, change.low, change.high))
    )


def _listed(parts: list[str]) -> str:
    """'a, b and c'."""
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def _apart(one: Shift) -> float:
    return abs(one.above.value - 0.5) if one.above and one.above.value is not None else 0.0
