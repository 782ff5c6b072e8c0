"""Can its confidence be used? Whether probabilities mean what they say, and what it costs to answer only when sure."""

from finetune.report import plots
from finetune.report.evidence import Evidence
from finetune.report.records import Bin, Scores
from finetune.report.section import Part, Section, called, counted, missing, section
from finetune.report.sourced import Value, at

PARTS = {"validation": "the validation images", "out_of_fold": "images held out in turn"}
DIFFERS = 0.05  # after Holm
HIGH = 0.98  # the accuracy that the sentence prefers to speak of


def can_its_confidence_be_used(evidence: Evidence) -> Section:
    """When to believe it, and how far its probabilities are from the truth."""
    scores = evidence.scores
    name, title, short = "trusted", "Can its confidence be used?", "Confidence"
    if scores is None:
        return section(name, title, short, missing("There are no answers to images kept apart.", ""))
    parts = (selective(evidence, scores), calibration(evidence, scores))
    why = "How far its confidence can be trusted was not measured: "
    why += (
        "images may have several labels." if evidence.several else "an older finetune wrote the bundle; run it again."
    )
    return section(name, title, short, *(parts if any(parts) else (missing(why, ""),)))


def selective(evidence: Evidence, scores: Scores) -> Part | None:
    """Above which confidence to answer, and what comes of it; the thresholds are of other images than these."""
    found = scores.selective
    if found is None or not (found.targets or found.coverage):
        return None
    reached = [one for one in found.targets if one.threshold is not None and one.coverage and one.selective_accuracy]
    leading = sorted(reached, key=lambda one: (abs(one.accuracy - HIGH), -one.accuracy))[:1]
    temperature = scores.calibration.temperature if scores.calibration else None
    values = {
        "leading": leading[0] if leading else None,
        "reached": sorted(reached, key=lambda one: one.accuracy),
        "unreached": [one for one in found.targets if one not in reached],
        "plot": plots.risk(found),
        "words": called(evidence),
        "images": counted(evidence),
        "chosen_on": PARTS.get(temperature.chosen_on or "", "") if temperature else "",
    }
    return Part("selective", "When to believe it", values)


def calibration(evidence: Evidence, scores: Scores) -> Part | None:
    """Whether of the answers given with 0.8 about 8 in 10 are right, before and after the temperature."""
    found = scores.calibration
    if found is None:
        return None
    temperature, band = found.temperature, found.ece_band
    inside = None
    if band and found.ece is not None:
        inside = "above" if found.ece > band[1] else "below" if found.ece < band[0] else "within"
    rows, worse = [], False
    if temperature and temperature.chosen_on and temperature.before and temperature.after:
        before, after = temperature.before, temperature.after
        rows = [("Log-loss", before.log_loss, after.log_loss), ("Brier score", before.brier, after.brier)]
        worse = (after.log_loss.value or 0.0) > (before.log_loss.value or 0.0)
    values = {
        "plot": plots.reliability(found),
        "bins": [one for one in found.bins if one.images],
        "astray": [(one, _too_sure(one)) for one in found.bins if one.p_holm is not None and one.p_holm <= DIFFERS],
        "too_sure": _too_sure(*found.bins),
        "ece": at(found, "ece") if found.ece is not None else None,
        "band": [Value(edge, f"{found.origin}.ece_band.{place}") for place, edge in enumerate(band or ())],
        "inside": inside,
        "temperature": temperature,
        "chosen_on": PARTS.get(temperature.chosen_on or "", "") if temperature else "",
        "rows": rows,
        "worse": worse,
        "words": called(evidence),
        "folds": len(evidence.folds),
    }
    return Part("calibration", "What its probabilities mean", values)


def _too_sure(*bins: Bin) -> bool:
    """Whether the answers of these bins are given with more confidence than is right, on average."""
    known = [(one.images, one.confidence, one.accuracy.value) for one in bins if one.accuracy]
    return sum(count * ((said or 0.0) - (right or 0.0)) for count, said, right in known) > 0
