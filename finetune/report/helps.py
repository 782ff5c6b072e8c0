"""What would help? How accuracy grew with the number of images, and which labels to look at first."""

from finetune.report import curves, trials, words
from finetune.report.course import Gain
from finetune.report.evidence import Evidence
from finetune.report.section import Part, Section, missing, section
from finetune.report.sound import issue_figure, issues_of
from finetune.report.sourced import at, shown

GAINS = 12
FIRST = 10
NO_CURVE = "no learning curve: "  # as the notes of a run begin that say why


def what_would_help(evidence: Evidence) -> Section:
    """More images, and labels put right."""
    drawn = more(evidence)
    known = next((note for note in evidence.facts.notes if note.startswith(NO_CURVE)), "")
    other = "it comes with a schedule that fits heads to frozen features (probe, lp_ft, auto), or later, of pretrained "
    other += "weights, with finetune evaluate BUNDLE --evidence"
    why = f"No learning curve was taken: {known.removeprefix(NO_CURVE) or other}."
    return section(
        "helps", "What would help?", "What helps", drawn or missing(why, ""), check_first(evidence), untried(evidence)
    )


def more(evidence: Evidence) -> Part | None:
    """How accuracy grew with the number of images, and what more images of each class may bring."""
    curve = evidence.curve
    if curve is None or not (curve.points or curve.gains):
        return None
    gains = sorted(curve.gains, key=lambda gain: -gain.points)
    rows = [
        (gain, shown(words.gained(gain.points, gain.low, gain.high), *_ends(gain), verb="percent"))
        for gain in gains[:GAINS]
    ]
    values = {"growth": curves.growth(curve), "gains": rows, "left": len(gains) - len(rows)}
    return Part("more", "More images", values)


def check_first(evidence: Evidence) -> Part | None:
    """The labels that are most worth a look: those that the audit suspects, or else those of the worst mistakes."""
    audited = evidence.audited
    issues = issues_of(audited) if audited else []
    wrong = [] if issues else evidence.mistakes[:FIRST]
    if not (issues or wrong):
        return None
    values = {
        "issues": [(one, issue_figure(one)) for one in issues[:FIRST]],
        "more": max(0, len(issues) - FIRST),
        "mistakes": wrong,
    }
    return Part("check_first", "Labels to check first", values)


def untried(evidence: Evidence) -> Part | None:
    """The ways of learning that a search had no time for."""
    names = [name for name, _ in trials.not_tried(evidence)] if evidence.ways else []
    return Part("untried", "More time", {"names": names}) if names else None


def _ends(gain: Gain) -> tuple[str, str, str]:
    return at(gain, "points").source, at(gain, "low").source, at(gain, "high").source
