"""How robust is it? The accuracy on the same images, made worse in eight ways."""

from finetune.report import plots
from finetune.report.evidence import Evidence
from finetune.report.looked import Corruption
from finetune.report.section import Part, Section, called, missing, section, untaken
from finetune.report.sourced import at

FOLDED = "What ships has learnt from every image, and the models that had not are gone."


def how_robust_is_it(evidence: Evidence) -> Section:
    """What noise, blur and the like cost."""
    why = "No image was corrupted to see what that costs."
    nothing = missing(f"{why} {FOLDED}", "") if evidence.folds else untaken(evidence, why)
    return section("robust", "How robust is it?", "Robustness", corruptions(evidence) or nothing)


def corruptions(evidence: Evidence) -> Part | None:
    """Each corruption at each strength: accuracy, and how far it falls, with intervals."""
    found = evidence.corruptions
    if found is None or not found.rows:
        return None
    kinds = plots.by_kind(found.rows)
    strongest = [rows[-1] for _, rows in kinds]
    known = [row for row in strongest if row.drop.value is not None]
    ranked = sorted(known, key=lambda row: -(row.drop.value or 0.0))
    values = {
        "plots": plots.robustness(found),
        "rows": kinds,
        "clean": found.clean.accuracy,
        "images": at(found, "images"),
        "worst": ranked[0] if ranked and _falls(ranked[0]) else None,
        "unharmed": [kind for kind, rows in kinds if not any(map(_falls, rows))],
        "words": called(evidence),
        "accuracy": "images with all labels right" if evidence.several else "accuracy",
    }
    return Part("corruptions", "", values)


def _falls(row: Corruption) -> bool:
    """Whether the interval of the drop lies above nothing."""
    return row.drop.low is not None and row.drop.low > 0
