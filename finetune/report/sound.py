"""Is the data sound? What was counted, left out and found, suspected labels, and the score without leaks."""

from collections import Counter
from dataclasses import dataclass
from itertools import groupby

from finetune.audit.finding import called as kind_called
from finetune.report import trials
from finetune.report.evidence import Evidence
from finetune.report.looked import Audited, Found
from finetune.report.section import SHOWN, Part, Section, called, missing, section
from finetune.report.sourced import Value, at

REASONS = 8
OF_A_KIND = 2  # findings shown
FINDINGS = 16
PICTURES = 4  # of a finding
SUSPECTED = 12
NAMED = 3  # kinds of findings in a sentence


@dataclass(frozen=True)
class Picture:
    """An image of a finding; `left` and `top` of its tile in pixels, where it has one."""

    key: str
    left: int | None
    top: int | None


def is_the_data_sound(evidence: Evidence) -> Section:
    """Counts, findings, suspected labels and leaks."""
    audited = evidence.audited
    how = {"how": "finetune check FOLDER"} if evidence.drift else {}
    nothing = missing("Its images were not looked through for copies, leaks, outliers and wrong labels.", **how)
    looked = (findings(evidence), suspected(evidence), leaks(evidence)) if audited else (nothing,)
    return section("sound", "Is the data sound?", "Data", verdict(evidence), images(evidence), *looked)


def verdict(evidence: Evidence) -> Part | None:
    """What the findings come to, in one sentence: what to look at before the score is believed."""
    audited = evidence.audited
    if audited is None:
        return None
    kinds = _kinds(audited)
    doubtful = [(name, count) for severity, name, count in kinds if severity != "note"]
    values = {
        "doubtful": doubtful[:NAMED],
        "more": len(doubtful) > NAMED,
        "notes": any(severity == "note" for severity, _, _ in kinds),
        "images": at(audited, "images"),
    }
    return Part("soundness", "", values)


def images(evidence: Evidence) -> Part | None:
    """How many images there were, what was left out and why, and what is worth knowing of the rest."""
    counts, left_out = evidence.facts.images, evidence.left_out
    elsewhere = trials.settlements(evidence)
    notes = [note for note in evidence.facts.notes if note not in elsewhere]
    if not (counts or notes or left_out):
        return None
    held = "folds" if counts.get("folds") else "test"
    names = ("train", *(("validation",) if counts.get("validation") else ()), held, "left_out")
    parts = [
        (
            called(evidence) if name == "test" else name.replace("_", " "),
            Value(counts[name], f"bundle.json:images.{name}"),
        )
        for name in names
        if name in counts
    ]
    reasons = sorted(left_out, key=lambda row: row[1])
    grouped = [(reason, [key for key, _ in rows]) for reason, rows in groupby(reasons, key=lambda row: row[1])]
    few = len(grouped) <= REASONS
    values = {"grouped": grouped if few else [], "single": [] if few else left_out, "shown": SHOWN}
    return Part("images", "Images", {"parts": parts, "notes": notes, **values})


def findings(evidence: Evidence) -> Part | None:
    """What the audit found, kind by kind, the worst first, with its images."""
    audited = evidence.audited
    if audited is None:
        return None
    seen: Counter[tuple[str, str]] = Counter()
    rows: list[tuple[Found, str, list[Picture]]] = []
    for one in audited.findings:
        seen[one.check, one.kind] += 1
        if one.check != "labels" and seen[one.check, one.kind] <= OF_A_KIND and len(rows) < FINDINGS:
            rows.append((one, kind_called(one.check, one.kind), _pictures(one, audited)))
    values = {
        "counts": [
            (severity, Value(count, f"{audited.origin}counts.{severity}")) for severity, count in audited.counts.items()
        ],
        "kinds": _kinds(audited),
        "rows": rows,
        "left": sum(one.check != "labels" for one in audited.findings) - len(rows),
        "images": at(audited, "images"),
    }
    return Part("findings", "What was found", values)


def suspected(evidence: Evidence) -> Part | None:
    """Images whose label is probably wrong, the likeliest first."""
    audited = evidence.audited
    if audited is None:
        return None
    issues = issues_of(audited)
    note = next((one for one in audited.findings if one.check == "labels" and one.kind != "label-issue"), None)
    values = {
        "rows": [(one, _pictures(one, audited), issue_figure(one)) for one in issues[:SUSPECTED]],
        "count": Value(len(issues), f"kinds({audited.origin}findings warning labels label-issue)"),
        "more": max(0, len(issues) - SUSPECTED),
        "note": note.text if note else "",
        "asked": note is not None or bool(issues),
        "side": audited.tiles.side if audited.tiles else 0,
    }
    return Part("suspected", "Suspected labels", values)


def leaks(evidence: Evidence) -> Part | None:
    """How many test images have a copy among the others, and what the score is without them."""
    audited = evidence.audited
    if audited is None:
        return None
    values = {
        "count": Value(len(audited.leaked), f"count({audited.origin}leaked)"),
        "tested": bool(evidence.test),
        "keys": audited.leaked[:SHOWN],
        "more": max(0, len(audited.leaked) - SHOWN),
        "leak": audited.deep.test if audited.deep else None,
    }
    return Part("leaks", "Leaks", values)


def issues_of(audited: Audited) -> list[Found]:
    """The findings on labels that are probably wrong, the likeliest first."""
    return [one for one in audited.findings if one.check == "labels" and one.kind == "label-issue" and one.keys]


def issue_figure(one: Found) -> Value | None:
    """How likely the suggested label is, with its source."""
    found = one.figures.get("probability_suggested")
    return Value(found, f"{one.origin}.figures.probability_suggested") if isinstance(found, float | int) else None


def _kinds(audited: Audited) -> list[tuple[str, str, Value]]:
    """Of each kind of finding, the worst first: how severe it is, what it is called, and how many there are."""
    counted = Counter((one.severity, one.check, one.kind) for one in audited.findings)
    return [
        (severity, kind_called(check, kind), Value(count, f"kinds({audited.origin}findings {severity} {check} {kind})"))
        for (severity, check, kind), count in counted.items()
    ]


def _pictures(one: Found, audited: Audited) -> list[Picture]:
    tiles = audited.tiles
    places = {key: place for place, key in enumerate(tiles.keys)} if tiles else {}
    found = []
    for key in one.keys[:PICTURES]:
        place = places.get(key)
        left, top = (None, None)
        if tiles and place is not None:
            left, top = tiles.side * (place % tiles.per_row), tiles.side * (place // tiles.per_row)
        found.append(Picture(key, left, top))
    return found
