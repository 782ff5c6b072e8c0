"""What a page shows where an image may have several labels: each with its threshold, and which go wrong together."""

from collections.abc import Iterator, Sequence

from finetune.report.evidence import Evidence
from finetune.report.records import ClassScores, Errors
from finetune.report.sourced import Value, at

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
    rows = [
        (name, _of(errors, "missed", place, place), _of(errors, "added", place, place))
        for place, name in enumerate(names)
    ]
    rows.sort(key=lambda row: -_whole(row[1]) - _whole(row[2]))
    wrong = [row for row in rows if row[1].number or row[2].number]
    pairs = []
    for kind, what, other in (("swapped", "missed", "added"), ("missed",) * 3, ("added",) * 3):
        for i, j in _pairs(getattr(errors, kind), same=what == other):
            count, total = _of(errors, kind, i, j), _of(errors, what, i, i)
            pairs.append((count, names[i], what, names[j], other, total))
    pairs.sort(key=lambda pair: (-_whole(pair[0]), _whole(pair[5])))
    return {
        "images": at(errors, "images"),
        "rows": wrong[:PAIRS],
        "left": max(0, len(wrong) - PAIRS),
        "pairs": pairs[:PAIRS],
        "more": max(0, len(pairs) - PAIRS),
    }


def _pairs(table: Sequence[Sequence[int]], *, same: bool) -> Iterator[tuple[int, int]]:
    """The pairs that occur; of two errors of a kind each pair once."""
    for i, row in enumerate(table):
        for j, count in enumerate(row):
            if count and (not same or i < j):
                yield i, j


def _of(errors: Errors, what: str, row: int, column: int) -> Value:
    return Value(getattr(errors, what)[row][column], f"{errors.origin}.{what}.{row}.{column}")


def _whole(value: Value) -> int:
    return int(value.number or 0)


def _weakness(row: ClassScores) -> tuple[bool, float, int]:
    return row.f1.value is None, row.f1.value or 0.0, -row.support
