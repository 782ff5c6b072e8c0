"""For whom is it worse? Images that have a fact in common, against all others."""

from finetune.report.evidence import Evidence
from finetune.report.section import Part, Section, section, untaken
from finetune.report.sourced import Value


def for_whom_is_it_worse(evidence: Evidence) -> Section:
    """Differences between kinds of images that chance does not explain, and those that it may."""
    nothing = untaken(evidence, "The answers were not compared by size, brightness, camera or group of the images.")
    return section("worse", "For whom is it worse?", "For whom", slices(evidence) or nothing)


def slices(evidence: Evidence) -> Part | None:
    """Every slice that was asked about, the worst first; those that differ by themselves."""
    if evidence.slices is None:
        return None
    ranked = sorted(evidence.slices, key=lambda one: (not one.differs, one.difference.value or 0.0))
    values = {
        "differ": [one for one in ranked if one.differs],
        "others": [one for one in ranked if not one.differs],
        "count": Value(len(ranked), "count(evidence/slices.json:)"),
        "facts": list(dict.fromkeys(one.fact for one in evidence.slices)),
    }
    return Part("slices", "", values)
