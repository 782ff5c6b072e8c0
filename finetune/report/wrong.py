"""Where is it wrong? What is taken for what, class by class, and the worst mistakes."""

import math

from finetune.report import labels as several_labels
from finetune.report.evidence import Evidence
from finetune.report.pictured import TILE, TILES_PER_ROW
from finetune.report.records import ClassScores
from finetune.report.section import SHOWN, Part, Section, called, missing, section
from finetune.report.sourced import Value

PAIRS = 12
LARGEST_MATRIX = 100
ROOMY_MATRIX = 12
DIGITS_MATRIX = 30


def where_is_it_wrong(evidence: Evidence) -> Section:
    """Confusions, classes and single images."""
    parts = (confusion(evidence), errors(evidence), classes(evidence), labels(evidence), mistakes(evidence))
    nothing = None if any(parts) else missing("There are no answers to images kept apart, so no mistake is known.", "")
    return section("wrong", "Where is it wrong?", "Where wrong", *parts, nothing)


def classes(evidence: Evidence) -> Part | None:
    """Recall, precision and F1 of every class, the weakest first."""
    if evidence.scores is None or evidence.several or not evidence.scores.per_class:
        return None
    rows = sorted(evidence.scores.per_class, key=_weakness)
    return Part("classes", "Class by class", {"rows": rows, "long": len(rows) > SHOWN})


def labels(evidence: Evidence) -> Part | None:
    """Where an image may have several labels: the threshold of each, and its scores, the weakest first."""
    if evidence.scores is None or not evidence.several or not evidence.scores.per_class:
        return None
    long = len(evidence.scores.per_class) > SHOWN
    return Part("labels", "Label by label", {**several_labels.table(evidence), "long": long})


def errors(evidence: Evidence) -> Part | None:
    """Which labels are missed and which are wrongly added, and what goes wrong in one image."""
    if evidence.scores is None or evidence.scores.errors is None:
        return None
    names = [row.name for row in evidence.scores.per_class]
    return Part("errors", "Missed and added", several_labels.together(evidence.scores.errors, names))


def confusion(evidence: Evidence) -> Part | None:
    """What is taken for what: the matrix, and its largest mistakes as a list."""
    scores = evidence.scores
    if scores is None or scores.confusion is None:
        return None
    matrix = scores.confusion
    names = [row.name for row in scores.per_class]
    pairs = [
        (count, names[i], names[j], sum(row), f"{scores.origin}.confusion.{i}", j)
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if count and i != j
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[3]))
    size = len(names)
    values = {
        "names": names,
        "rows": [
            (name, [(count, _shade(count, sum(row))) for count in row]) for name, row in zip(names, matrix, strict=True)
        ],
        "kind": "roomy" if size <= ROOMY_MATRIX else "tight" if size <= DIGITS_MATRIX else "tiny",
        "short": max(map(len, names), default=0) <= 3,
        "drawn": size <= LARGEST_MATRIX,
        "source": f"{scores.origin}.confusion",
        "pairs": [
            (Value(count, f"{place}.{j}"), actual, said, Value(total, f"sum({place})"))
            for count, actual, said, total, place, j in pairs[:PAIRS]
        ],
        "more": max(0, len(pairs) - PAIRS),
        "clickable": evidence.gallery is not None and size <= LARGEST_MATRIX,
    }
    return Part("confusion", "What is taken for what", values)


def mistakes(evidence: Evidence) -> Part | None:
    """The most confident wrong answers, as thumbnails, with what of the picture spoke for the answer."""
    if not evidence.mistakes:
        return None
    tiles = [
        (one, TILE * (one.place % TILES_PER_ROW), TILE * (one.place // TILES_PER_ROW)) for one in evidence.mistakes
    ]
    maps = evidence.maps if evidence.maps and _same_places(evidence) else None
    values = {
        "tiles": tiles,
        "part": called(evidence),
        "several": evidence.several,
        "folds": len(evidence.folds),
        "maps": maps and maps.maps,
    }
    return Part("mistakes", "Worst mistakes", values)


def _same_places(evidence: Evidence) -> bool:
    """Whether the maps are those of the thumbnails."""
    keys = evidence.maps.maps.keys if evidence.maps else []
    return keys == [one.key for one in evidence.mistakes]


def _weakness(row: ClassScores) -> tuple[bool, float, int]:
    return row.recall.value is None, row.recall.value or 0.0, -row.support


def _shade(count: int, total: int) -> float:
    """How dark a cell is, 0..1; the root makes single mistakes visible."""
    return round(math.sqrt(count / total), 2) if count > 0 and total > 0 else 0.0
