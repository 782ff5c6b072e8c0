"""A comparison as one HTML page that opens anywhere, offline: no script, no link to elsewhere, no unescaped data."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.compare import verdict
from finetune.compare.comparison import LETTERS, Comparison, Pair
from finetune.compare.flips import Flip
from finetune.compare.pictures import Sprite, sprite
from finetune.compare.side import METRICS
from finetune.errors import size
from finetune.recipe.cost import duration
from finetune.report import words
from finetune.report.evidence import Score
from finetune.report.page import environment

SHOWN = 60  # flipped images of a kind
MEANINGS = {
    "accuracy": ("Accuracy", "images answered right"),
    "subset_accuracy": ("All labels right", "images whose labels are all answered right"),
    "macro_f1": ("Macro F1", "mean F1 of the classes: recall and precision in one"),
    "log_loss": ("Log-loss", "surprise at the truth, 0 is best"),
    "brier": ("Brier score", "squared error of the probabilities, 0 is best"),
}
CLASS_SCORES = {"recall": "Recall", "f1": "F1"}  # those of `classes.by_class`
SECTIONS = {
    "result": "Result",
    "scores": "Scores",
    "classes": "Classes",
    "flips": "Flipped images",
    "confidence": "Confidence",
    "cost": "Cost",
    "recipe": "Recipe",
}


@dataclass(frozen=True)
class _Tile:
    """A flipped image; `answers`: place of the bundle, what it said, how probable it found that ("" where unknown)."""

    key: str
    labels: str
    answers: tuple[tuple[int, str, str], ...]
    left: int | None
    top: int | None


def render(comparison: Comparison) -> str:
    """The page of a comparison, with thumbnails of the images that flipped where a bundle has them; the same bundles
    give the same text. Raises BundleError for pictures that are damaged.
    """
    shown = [flip.sha256 for pair in comparison.pairs for kind in _kinds(pair) for flip in kind[:SHOWN]]
    pictures = sprite(comparison.sides, shown)
    values = {
        "title": " and ".join(dict.fromkeys(side.row.name or "a run" for side in comparison.sides)),
        "letters": LETTERS,
        "part": verdict.called(comparison),
        "images": comparison.images,
        "groups": comparison.groups,
        "classes": comparison.classes,
        "several": comparison.several,
        "sections": list(SECTIONS.items()),
        "runs": [{"folder": str(side.bundle.folder), "learnt": verdict.learnt(side)} for side in comparison.sides],
        "deeper": "h4" if len(comparison.pairs) > 1 else "h3",  # below the heading of a pair, if it has one
        "notes": verdict.notes(comparison),
        "scores": _scores(comparison),
        "pairs": [_pair(comparison, pair, pictures) for pair in comparison.pairs],
        "sprite": pictures.jpeg,
        "any_flips": bool(shown),
        "confidence": confidence(comparison),
        "cost": cost(comparison),
        "recipe": [(change.key, [_plain(value) for value in change.values]) for change in comparison.recipe],
    }
    return environment().get_template("compared.html").render(it=values)


def cost(comparison: Comparison) -> list[tuple[str, str, list[str]]]:
    """Rows of what the runs and their models cost: a name, what it is, and a cell for each bundle."""
    sides = comparison.sides
    rows = [
        ("Time", "of the whole run", [_shown(side.row.seconds, duration) for side in sides]),
        ("Memory", "the most that the run held", [_shown(side.row.memory, size) for side in sides]),
        ("Accelerator", "the most of its memory", [_shown(side.row.device_memory, size) for side in sides]),
        ("Model file", "on the disk", [_shown(side.size, size) for side in sides]),
        ("Parameters", "millions", [_shown(side.parameters, lambda count: f"{count / 1e6:.2f}") for side in sides]),
        ("Learnt from", "training images", [_shown(side.learnt_from, lambda count: f"{count:,}") for side in sides]),
    ]
    return [row for row in rows if any(cell != words.NOTHING for cell in row[2])]


def confidence(comparison: Comparison) -> list[tuple[str, str]]:
    """How far the confidence of each bundle is from its accuracy, and within what a calibrated model's would lie."""
    found = [side.calibration for side in comparison.sides]
    return [(words.number(one.ece), f"calibrated: {one.band[0]:.3f}–{one.band[1]:.3f}") for one in found]


def _shown(value: Any, shown: Callable[[Any], str]) -> str:
    return words.NOTHING if value is None else shown(value)


def _scores(comparison: Comparison) -> list[dict[str, Any]]:
    rows = []
    for name in (comparison.metric, *METRICS):
        differences = [pair.differences[name] for pair in comparison.pairs]
        rows.append(
            {
                "name": MEANINGS[name][0],
                "meaning": MEANINGS[name][1],
                "scores": [Score(**side.scores[name]) for side in comparison.sides],
                "differences": [(Score(**one), _apart(one)) for one in differences],
            }
        )
    return rows


def _apart(difference: Mapping[str, Any]) -> bool:
    """Whether an interval leaves out 0."""
    low, high = difference["low"], difference["high"]
    return low is not None and (low > 0 or high < 0)


def _pair(comparison: Comparison, pair: Pair, pictures: Sprite) -> dict[str, Any]:
    main = Score(**pair.differences[comparison.metric])
    found = {
        "first": pair.first,
        "second": pair.second,
        "main": main,
        "verdict": verdict.verdict(comparison, pair),
        "test": verdict.test(comparison, pair),
        "class_scores": list(CLASS_SCORES.values()),
        "classes": _classes(comparison, pair),
        "flipped": [_flipped(pair, kind, pictures) for kind in _kinds(pair) if kind],
    }
    return found | (_axis(main) if main.value is not None else {})


def _axis(main: Score) -> dict[str, Any]:
    """The interval on an axis with 0 in its middle, in percent of its length."""
    low, high = main.low or 0.0, main.high or 0.0
    reach = 1.25 * max(abs(low), abs(high), 0.01)
    low, at, high = (50 + 50 * share / reach for share in (low, main.value or 0.0, high))
    span = f"{verdict.points(main.low or 0.0)} to {verdict.points(main.high or 0.0)}"
    return {"left": low, "width": high - low, "at": at, "points": verdict.points(main.value or 0.0), "span": span}


def _classes(comparison: Comparison, pair: Pair) -> list[dict[str, Any]]:
    """The classes with the largest difference in recall first; those without images last."""
    beside = [comparison.sides[place].per_class for place in (pair.first, pair.second)]
    rows = [
        {
            "name": row["class"],
            "images": row["support"],
            "scores": [
                (*(known[row["class"]][name]["value"] for known in beside), Score(**row[name]), _apart(row[name]))
                for name in CLASS_SCORES
            ],
            "value": row["recall"]["value"],
        }
        for row in pair.per_class
    ]
    return sorted(rows, key=lambda row: (row["value"] is None, -abs(row["value"] or 0.0)))


def _kinds(pair: Pair) -> list[list[Flip]]:
    """What was lost, and what was gained."""
    return [[flip for flip in pair.flips if flip.gained is gained] for gained in (False, True)]


def _flipped(pair: Pair, flips: Sequence[Flip], pictures: Sprite) -> dict[str, Any]:
    first, second = LETTERS[pair.first], LETTERS[pair.second]
    right, wrong = (second, first) if flips[0].gained else (first, second)
    return {
        "title": f"{words.counted(len(flips), 'image', 'images')} right in {right} and wrong in {wrong}",
        "shown": [_tile(pair, flip, pictures) for flip in flips[:SHOWN]],
        "more": max(0, len(flips) - SHOWN),
    }


def _tile(pair: Pair, flip: Flip, pictures: Sprite) -> _Tile:
    left, top = pictures.places.get(flip.sha256, (None, None))
    said = [", ".join(answer) or "no label" for answer in flip.answers]
    sure = [words.number(share, 2) if share else "" for share in flip.sure]
    answers = tuple(zip((pair.first, pair.second), said, sure, strict=True))
    return _Tile(flip.key, ", ".join(flip.labels) or "no label", answers, left, top)


def _plain(value: Any) -> str | None:
    """A value of a recipe as one would write it."""
    return value if isinstance(value, str) or value is None else json.dumps(value)
