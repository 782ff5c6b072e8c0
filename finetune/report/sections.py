"""The sections of a report, in order: each turns the evidence into what its template shows, or into nothing.

A section is a function here and a template of the same name in templates/. Texts are given as they are; the page makes
them harmless.
"""

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby

from finetune.recipe.section import STAGES
from finetune.recipe.tiers import named
from finetune.report import curves, trials, words
from finetune.report import folds as in_folds
from finetune.report import labels as several_labels
from finetune.report.evidence import TILE, TILES_PER_ROW, ClassScores, Evidence, Score, Scores

SHOWN = 20  # of a list that may be long
PAIRS = 12
REASONS = 8
GAINS = 12
ALL_RIGHT = "All labels right"
PARTS = {"test": "test", "validation": "validation", "out_of_fold": "held-out"}
LARGEST_MATRIX = 100
ROOMY_MATRIX = 12
DIGITS_MATRIX = 30


@dataclass(frozen=True)
class Section:
    """A part of the page; `name` is that of its template and of its anchor."""

    name: str
    title: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class Row:
    """A line of the table of scores."""

    name: str
    meaning: str
    score: Score
    beside: Score | None


def headline(evidence: Evidence) -> Section:
    """How good it is: one number, its interval, and both in words."""
    scores = evidence.scores
    score = (scores.accuracy or scores.subset_accuracy) if scores else None
    part = evidence.part
    guess = _commonest(scores) if scores else None
    values = {
        "score": score,
        "places": words.digits(score) if score else 0,
        "part": part,
        "words": _called(evidence),
        "folds": len(evidence.folds),
        "images": _images(scores, evidence.facts.images.get(part, 0)),
        "several": evidence.several,
        "guess": guess,
        "finished": evidence.finished,
        "epochs": len(evidence.epochs),
        "trains": bool(evidence.plan and evidence.plan.phases),
        "compared": max(len(evidence.heads), len(evidence.ways)),
        "other": _answered_by(evidence),
    }
    return Section("headline", "Result", values)


def scores(evidence: Evidence) -> Section | None:
    """Every score of the whole set, with its interval and what it means."""
    main = evidence.scores
    if main is None:
        return None
    own = evidence.test and not evidence.folds  # else what stands beside it is said of another model
    beside = (evidence.validation or evidence.out_of_fold) if own else None
    values = {
        "rows": [Row(name, meaning, score, _same(beside, name)) for name, meaning, score in _table(main)],
        "part": _called(evidence),
        "beside": "" if beside is None else "validation" if evidence.validation else "out_of_fold",
        "images": _images(beside, 0),
        "epochs": len(evidence.epochs),
        "other": _answered_by(evidence),
    }
    return Section("scores", "Scores", values)


def folds(evidence: Evidence) -> Section | None:
    """Where every image was held out: each fold, and how far they lie apart."""
    return Section("folds", "Folds", in_folds.table(evidence)) if evidence.folds else None


def classes(evidence: Evidence) -> Section | None:
    """Recall, precision and F1 of every class, the weakest first."""
    if evidence.scores is None or evidence.several or not evidence.scores.per_class:
        return None
    rows = sorted(evidence.scores.per_class, key=_weakness)
    return Section("classes", "Classes", {"rows": rows, "long": len(rows) > SHOWN})


def labels(evidence: Evidence) -> Section | None:
    """Where an image may have several labels: the threshold of each, and its scores, the weakest first."""
    if evidence.scores is None or not evidence.several or not evidence.scores.per_class:
        return None
    long = len(evidence.scores.per_class) > SHOWN
    return Section("labels", "Labels", {**several_labels.table(evidence), "long": long})


def errors(evidence: Evidence) -> Section | None:
    """Which labels are missed and which are wrongly added, and what goes wrong in one image."""
    if evidence.scores is None or evidence.scores.errors is None:
        return None
    names = [row.name for row in evidence.scores.per_class]
    return Section("errors", "Missed and added", several_labels.together(evidence.scores.errors, names))


def confusion(evidence: Evidence) -> Section | None:
    """What is taken for what: the matrix, and its largest mistakes as a list."""
    if evidence.scores is None or evidence.scores.confusion is None:
        return None
    matrix = evidence.scores.confusion
    names = [row.name for row in evidence.scores.per_class]
    pairs = [
        (count, names[i], names[j], sum(row))
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
        "pairs": pairs[:PAIRS],
        "more": max(0, len(pairs) - PAIRS),
    }
    return Section("confusion", "Confusions", values)


def mistakes(evidence: Evidence) -> Section | None:
    """The most confident wrong answers, as thumbnails."""
    if not evidence.mistakes:
        return None
    tiles = [
        (one, TILE * (one.place % TILES_PER_ROW), TILE * (one.place // TILES_PER_ROW), words.number(one.probability, 2))
        for one in evidence.mistakes
    ]
    values = {"tiles": tiles, "part": _called(evidence), "several": evidence.several}
    return Section("mistakes", "Worst mistakes", values)


def more(evidence: Evidence) -> Section | None:
    """How accuracy grew with the number of images, and what more images of each class may bring."""
    curve = evidence.curve
    if curve is None or not (curve.points or curve.gains):
        return None
    gains = sorted(curve.gains, key=lambda gain: -gain.points)
    rows = [(gain, words.gained(gain.points, gain.low, gain.high)) for gain in gains[:GAINS]]
    values = {"growth": curves.growth(curve), "gains": rows, "left": len(gains) - len(rows)}
    return Section("more", "What would help", values)


def choice(evidence: Evidence) -> Section | None:
    """The ways and the heads that were compared, and which of them ships."""
    if not (evidence.ways or evidence.heads):
        return None
    ships, taken = trials.shipped(evidence), trials.taken_head(evidence)
    values = {
        "guard": trials.guard(evidence),
        "ways": [(way, trials.said(way), place == ships) for place, way in enumerate(evidence.ways)],
        "not_tried": trials.not_tried(evidence) if evidence.ways else [],
        "heads": [
            (head, trials.family(head.trial), trials.setting(head.trial), head is taken)
            for head in trials.leaders(evidence.heads, taken)
        ],
        "compared": trials.COMPARED,
        "count": len(evidence.heads),
        "taken": trials.family(taken.trial) if taken else "",
        "began": bool(evidence.plan and evidence.plan.phases),
        "accuracy": ALL_RIGHT if evidence.several else "Accuracy",
        "several": evidence.several,
    }
    return Section("choice", "How it was chosen", values)


def learning(evidence: Evidence) -> Section | None:
    """Loss and accuracy by epoch, and which stages trained when."""
    title = ALL_RIGHT if evidence.several else "Accuracy"
    drawn = (curves.loss(evidence.epochs), curves.accuracy(evidence.epochs, title=title))
    charts = [chart for chart in drawn if chart]
    if not charts:
        return None
    best = next((epoch.epoch for epoch in reversed(evidence.epochs) if epoch.best), None)
    values = {
        "charts": charts,
        "phases": [(band, stages(band.train)) for band in curves.bands(evidence.epochs)],
        "best": best if any(chart.best for chart in charts) else None,
        "validation": any(line.kind == "validation" for chart in charts for line in chart.lines),
    }
    return Section("learning", "Learning", values)


def views(evidence: Evidence) -> Section | None:
    """A few training images, plain and varied, as the network saw them."""
    if evidence.views is None:
        return None
    places = [TILE * column for column in range(evidence.views.tiles)]
    rows = [(key, [(left, TILE * row) for left in places]) for row, key in enumerate(evidence.views.keys)]
    return Section("views", "What it was shown", {"rows": rows})


def images(evidence: Evidence) -> Section | None:
    """How many images there were, what was left out and why, and what is worth knowing of the rest."""
    counts, left_out = evidence.facts.images, evidence.left_out
    elsewhere = trials.settlements(evidence)
    notes = [note for note in evidence.facts.notes if note not in elsewhere]
    if not (counts or notes or left_out):
        return None
    held = "folds" if counts.get("folds") else "test"
    names = ("train", *(("validation",) if counts.get("validation") else ()), held, "left_out")
    parts = [(name.replace("_", " "), counts[name]) for name in names if name in counts]
    reasons = sorted(left_out, key=lambda row: row[1])
    grouped = [(reason, [key for key, _ in rows]) for reason, rows in groupby(reasons, key=lambda row: row[1])]
    few = len(grouped) <= REASONS
    values = {"grouped": grouped if few else [], "single": [] if few else left_out, "shown": SHOWN}
    return Section("images", "Images", {"parts": parts, "notes": notes, **values})


def plan(evidence: Evidence) -> Section | None:
    """The phases that were planned, or the ways that are yet to be tried, and why these."""
    if evidence.plan is None:
        return None
    ran = {
        band.number: sum(epoch.phase == band.number for epoch in evidence.epochs)
        for band in curves.bands(evidence.epochs)
    }
    rows = [
        (number, phase, stages(phase.train), ran.get(number, 0)) for number, phase in enumerate(evidence.plan.phases, 1)
    ]
    tiers = [] if evidence.plan.chosen else [(named(tier), tier) for tier in evidence.plan.tiers]
    values = {
        "rows": rows,
        "tiers": tiers,
        "probe_views": evidence.plan.probe_views,
        "reasons": trials.reasons(evidence),
    }
    return Section("plan", "Plan", values)


def weights(evidence: Evidence) -> Section | None:
    """Where the weights came from, what of them was used, and which file holds the result."""
    facts = evidence.facts
    if facts.receipt is None:
        return None
    values = {"receipt": facts.receipt, "backbone": facts.backbone, "model": facts.files.get("model.safetensors")}
    return Section("weights", "Weights", values)


def recipe(evidence: Evidence) -> Section | None:
    """The recipe with every default filled in."""
    return Section("recipe", "Recipe", {"lines": evidence.recipe.splitlines()}) if evidence.recipe.strip() else None


def repeat(evidence: Evidence) -> Section:
    """The command, the versions and the machine's settings that lead to this bundle again, and how long it took."""
    facts = evidence.facts
    seconds: dict[str, float] = {}
    for part, taken in evidence.seconds:
        name = "epochs" if part.startswith("epoch ") else part
        seconds[name] = seconds.get(name, 0.0) + taken
    values = {
        "command": shlex.join(facts.command),
        "commit": facts.commit,
        "settings": _pairs(facts.decided) + _pairs(facts.preprocessing),
        "versions": _pairs(facts.versions),
        "seconds": [(name, words.duration(taken)) for name, taken in seconds.items()],
        "total": words.duration(sum(seconds.values())) if seconds else "",
    }
    return Section("repeat", "Repeat", values)


SECTIONS: tuple[Callable[[Evidence], Section | None], ...] = (
    headline,
    scores,
    folds,
    classes,
    labels,
    confusion,
    errors,
    mistakes,
    more,
    choice,
    learning,
    views,
    images,
    weights,
    plan,
    recipe,
    repeat,
)


def stages(names: tuple[str, ...]) -> str:
    """'head', 'all stages', 'stage3 to head'."""
    known = [name for name in STAGES if name in names]
    if len(known) != len(names) or len(known) < 3:
        return ", ".join(known if len(known) == len(names) else names)
    if len(known) == len(STAGES):
        return "all stages"
    unbroken = STAGES.index(known[-1]) - STAGES.index(known[0]) == len(known) - 1
    return f"{known[0]} to {known[-1]}" if unbroken else ", ".join(known)


def _images(scores: Scores | None, otherwise: int) -> int:
    if scores and scores.errors:
        return scores.errors.images
    return sum(map(sum, scores.confusion)) if scores and scores.confusion is not None else otherwise


def _called(evidence: Evidence) -> str:
    """What to call the images whose scores speak."""
    return "held-out" if evidence.folds else PARTS[evidence.part]


def _answered_by(evidence: Evidence) -> str:
    """Whose out-of-fold answers were kept, where they are not those of what ships."""
    if not (evidence.plan and evidence.plan.phases):
        return ""
    if not evidence.ways:
        return "the head that training began from"
    return "the trained weights" if trials.shipped(evidence) is None else ""


def _commonest(scores: Scores) -> tuple[str, float] | None:
    """The class that occurs most, and its share: what always saying it would score."""
    total = sum(row.support for row in scores.per_class)
    if scores.confusion is None or not total:
        return None
    most = max(scores.per_class, key=lambda row: row.support)
    return most.name, most.support / total


def _table(scores: Scores) -> list[tuple[str, str, Score]]:
    count = len(scores.per_class)
    chance = f"; guessing gives {math.log(count):.2f}" if count > 1 and scores.accuracy else ""
    flat = f"; guessing gives {1 - 1 / count:.2f}" if count > 1 and scores.accuracy else ""
    found = [
        ("Accuracy", "images answered right", scores.accuracy),
        (ALL_RIGHT, "images whose labels are all answered right", scores.subset_accuracy),
        ("Balanced accuracy", "mean recall of the classes: each counts the same", scores.balanced_accuracy),
        ("Macro F1", "mean F1 of the classes: recall and precision in one", scores.macro_f1),
        ("Micro F1", "F1 over all answers together", scores.micro_f1),
        ("Macro AUROC", "how often an image with the label ranks above one without", scores.macro_auroc),
        ("Macro average precision", "mean area under precision and recall", scores.macro_average_precision),
        *((f"Top {k}", f"the true class is among the first {k}", top) for k, top in scores.top_k.items() if k != "1"),
        ("Log-loss", f"surprise at the truth, 0 is best{chance}", scores.log_loss),
        ("Brier score", f"squared error of the probabilities, 0 is best{flat}", scores.brier),
    ]
    return [(name, meaning, score) for name, meaning, score in found if score is not None]


def _same(scores: Scores | None, wanted: str) -> Score | None:
    return next((score for name, _, score in _table(scores) if name == wanted), None) if scores else None


def _weakness(row: ClassScores) -> tuple[bool, float, int]:
    return row.recall.value is None, row.recall.value or 0.0, -row.support


def _shade(count: int, total: int) -> float:
    """How dark a cell is, 0..1; the root makes single mistakes visible."""
    return round(math.sqrt(count / total), 2) if count > 0 and total > 0 else 0.0


def _pairs(values: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), _plain(value)) for name, value in values.items()]


def _plain(value: object) -> str:
    return ", ".join(map(_plain, value)) if isinstance(value, list) else "not set" if value is None else str(value)
