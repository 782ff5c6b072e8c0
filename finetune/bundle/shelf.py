"""The bundles in a folder, a row for each: how good, on which images, how long, how it learnt.

Reads a few small files of each bundle and none of its weights or predictions. A bundle that cannot be read is a line of
its own with the reason, and keeps nobody from the others.
"""

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from finetune.bundle.facts import FACTS
from finetune.bundle.folder import Bundle
from finetune.errors import BundleError, RecipeError, printable
from finetune.recipe import grammar
from finetune.recipe.fault import source

Order = Literal["score", "time", "name", "date"]

PARTS = ("test", "validation", "out_of_fold")
BEST_TAKEN = "taken"  # the verdict of `auto` on a way that became the best so far


@dataclass(frozen=True)
class Row:
    """One bundle. `place` is its path below the folder that was looked through, with forward slashes.

    score, low, high: accuracy with its 95 % interval, or where an image may have several labels the share of images
    with all of them right (`metric` says which); None where nothing was measured. part: whose images the score rests
    on, "test", "validation", "out_of_fold" or "folds", and how many (`images`). seconds: of the whole run. memory,
    device_memory: the most that it held, in bytes, of an accelerator too; None where that is not known. written: when
    bundle.json was last written, in seconds since 1970. schedule: the recipe's kind; tier: what `auto` took.
    epochs: complete ones.
    """

    place: str
    name: str
    finished: bool
    metric: str | None
    score: float | None
    low: float | None
    high: float | None
    part: str | None
    images: int | None
    seconds: float | None
    memory: int | None
    device_memory: int | None
    written: float
    schedule: str | None
    tier: str | None
    epochs: int
    backbone: str | None
    tag: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Damaged:
    """A bundle that cannot be read, and why."""

    place: str
    reason: str


def rows(folder: Path) -> tuple[list[Row], list[Damaged]]:
    """Every bundle in `folder` or below it, by name, and those that are damaged; links are not followed.

    What lies within a bundle is its own, such as the folds of an unfinished run.
    """
    found, damaged = [], []
    for place in _bundles(folder):
        below = place.relative_to(folder).as_posix()
        shown = folder.absolute().name if below == "." else below
        try:
            found.append(row(place, shown))
        except BundleError as error:
            damaged.append(Damaged(shown, str(error)))
    return ordered(found, "name"), sorted(damaged, key=lambda one: _natural(one.place))


def row(folder: Path, place: str) -> Row:
    """The row of the bundle in `folder`; raises BundleError for one that cannot be read."""
    bundle = Bundle.open(folder)
    facts, recipe = bundle.facts, _recipe(bundle)
    part, metric, score = _score(bundle)
    network = facts.get("backbone") or recipe.get("backbone") or {}
    lines = bundle.timings if bundle.has("timings.jsonl") else []
    return Row(
        place=place,
        name=str(facts.get("name", "")),
        finished=bundle.complete,
        metric=metric,
        score=score.get("value"),
        low=score.get("low"),
        high=score.get("high"),
        part="folds" if part == "test" and facts.get("images", {}).get("folds") else part,
        images=_images(bundle, part),
        seconds=_total(bundle, lines) if lines else None,
        memory=_most(bundle, lines, "memory"),
        device_memory=_most(bundle, lines, "device_memory"),
        written=(folder / FACTS).stat().st_mtime,
        schedule=_text(recipe, "schedule", "kind"),
        tier=_tier(bundle),
        epochs=len(bundle.history) if bundle.has("history.jsonl") else 0,
        backbone=_text({"backbone": network}, "backbone", "name"),
        tag=_text({"backbone": network}, "backbone", "tag"),
    )


def ordered(found: Iterable[Row], by: Order) -> list[Row]:
    """By score, the highest first; by time, the shortest first; by date, the newest first; or by name, where 10 comes
    after 9. What has none of it comes last.
    """
    named = sorted(found, key=lambda one: _natural(one.place))
    match by:
        case "score":
            return sorted(named, key=lambda one: (one.score is None, -(one.score or 0.0)))
        case "time":
            return sorted(named, key=lambda one: (one.seconds is None, one.seconds or 0.0))
        case "date":
            return sorted(named, key=lambda one: -one.written)
        case "name":
            return named


def asked(metrics: Mapping[str, Any]) -> str | None:
    """Whose scores speak: the test images', where there are none the validation images', then those answered out of
    fold; None where nothing was measured.
    """
    return next((part for part in PARTS if part in metrics), None)


def _bundles(folder: Path) -> list[Path]:
    found = []
    for path, folders, files in os.walk(folder):
        if FACTS in files:
            found.append(Path(path))
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".")]
    return found


def _score(bundle: Bundle) -> tuple[str | None, str | None, dict[str, Any]]:
    """The part that is asked, the name of its score, and the score; raises BundleError where it is none."""
    metrics = bundle.metrics if bundle.has("metrics.json") else {}
    part = asked(metrics)
    if part is None:
        return None, None, {}
    scores = metrics[part] if isinstance(metrics[part], dict) else {}
    metric = next((name for name in ("accuracy", "subset_accuracy") if name in scores), None)
    score = scores[metric] if metric else None
    if not isinstance(score, dict) or not all(_is_share(score.get(name)) for name in ("value", "low", "high")):
        raise BundleError(f"{_shown(bundle, 'metrics.json')} is damaged: {part} has no accuracy with its interval")
    return part, metric, score


def _images(bundle: Bundle, part: str | None) -> int | None:
    """How many images were answered; of those in folds and out of fold, as many as the scores count."""
    if part is None:
        return None
    scores = bundle.metrics[part]
    try:
        count = scores["errors"]["images"] if "errors" in scores else sum(map(sum, scores["confusion"]))
    except (KeyError, TypeError):
        count = None
    if type(count) is not int:
        raise BundleError(f"{_shown(bundle, 'metrics.json')} is damaged: {part} does not say how many images it counts")
    return count


def _total(bundle: Bundle, lines: list[dict[str, Any]]) -> float:
    seconds = [line.get("seconds") for line in lines]
    if not all(_is_number(one) for one in seconds):
        raise BundleError(f"{_shown(bundle, 'timings.jsonl')} is damaged: seconds must be numbers")
    return round(math.fsum(one for one in seconds if one is not None), 3)


def _most(bundle: Bundle, lines: list[dict[str, Any]], name: str) -> int | None:
    """The largest of these numbers of bytes; lines of an older run have none."""
    counts = [line[name] for line in lines if name in line]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise BundleError(f"{_shown(bundle, 'timings.jsonl')} is damaged: {name} must be a number of bytes")
    return max(counts, default=None)


def _recipe(bundle: Bundle) -> Mapping[str, Any]:
    """What the recipe says, without a check of its values: an older one may have other keys."""
    if not bundle.has("recipe.yaml"):
        return {}
    text, name = bundle.recipe_text, str(bundle.folder / "recipe.yaml")
    try:
        data = grammar.document(text, source(text, name)).data
    except RecipeError as error:
        raise BundleError(str(error)) from error
    return data if isinstance(data, dict) else {}


def _tier(bundle: Bundle) -> str | None:
    """The kind of the last way that `auto` took, else of its baseline."""
    if not bundle.has("evidence/choice.json"):
        return None
    ways = bundle.read_json("evidence/choice.json")
    if not isinstance(ways, list) or not all(isinstance(way, dict) for way in ways):
        raise BundleError(f"{_shown(bundle, 'evidence/choice.json')} is damaged: it is not a list of objects")
    taken = [way for way in ways if way.get("verdict") == BEST_TAKEN] or ways[:1]
    return _text({"way": taken[-1]}, "way", "kind") if taken else None


def _text(data: Mapping[str, Any], section: str, key: str) -> str | None:
    value = data.get(section)
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return _is_number(value) and -1e-6 <= value <= 1 + 1e-6  # a weighted mean may miss 1 by a rounding


def _natural(place: str) -> list[tuple[bool, int, str]]:
    """A key by which run/10 comes after run/9."""
    parts = re.split("([0-9]+)", place)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _shown(bundle: Bundle, name: str) -> str:
    return repr(printable(str(bundle.folder / name)))
