"""What a page shows where an image may have several labels: each with its threshold, and which go wrong together."""

from collections.abc import Iterator, Sequence

from finetune.report.evidence import ClassScores, Errors, Evidence

PAIRS = 12
CHOSEN_ON = {"validation": "the validation images", "out_of_fold": "images held out in turn"}


def table(evidence: Evidence) -> dict[str, object]:
    """Every label with its threshold and its scores, the one with the least F1 first."""
    scores, chosen = evidence.scores, evidence.thresholds
    rows = sorted(scores.per_class if scores else (), key=_weakness)
    thresholds = {one.name: one for one in chosen.per_class} if chosen else {}
    return {
        "rows": [(row, thresholds.get(row.name)) for row in rows],
        "chosen_on": CHOSEN_ON.get(chosen.part, "") if chosen else "",
        "same": bool(chosen and chosen.part == evidence.part),
        "kept": [(one.name, one.reason) for one in thresholds.values() if one.reason],
    }


def together(errors: Errors, names: Sequence[str]) -> dict[str, object]:
    """How often labels are missed or wrongly added, and which errors come in one image, the most frequent first.

    pairs: (images, label, what of it, other label, what of that, images with an error of the first).
    """
    missed, added = ([row[place] for place, row in enumerate(table)] for table in (errors.missed, errors.added))
    rows = sorted(zip(names, missed, added, strict=True), key=lambda row: -row[1] - row[2])
    pairs = [
        *_pairs(errors.swapped, "missed", "added", names),
        *_pairs(errors.missed, "missed", "missed", names),
        *_pairs(errors.added, "added", "added", names),
    ]
    alone = {"missed": dict(zip(names, missed, strict=True)), "added": dict(zip(names, added, strict=True))}
    found = [(*pair, alone[pair[2]][pair[1]]) for pair in pairs]
    found.sort(key=lambda pair: (-pair[0], pair[5]))
    wrong = [row for row in rows if row[1] or row[2]]
    return {
        "images": errors.images,
        "rows": wrong[:PAIRS],
        "left": max(0, len(wrong) - PAIRS),
        "pairs": found[:PAIRS],
        "more": max(0, len(found) - PAIRS),
    }


def _pairs(
    table: Sequence[Sequence[int]], what: str, other: str, names: Sequence[str]
) -> Iterator[tuple[int, str, str, str, str]]:
    """The pairs that occur; of two errors of a kind each pair once."""
    for i, row in enumerate(table):
        for j, count in enumerate(row):
            if count and (what != other or i < j):
                yield count, names[i], what, names[j], other


def _weakness(row: ClassScores) -> tuple[bool, float, int]:
    return row.f1.value is None, row.f1.value or 0.0, -row.support
