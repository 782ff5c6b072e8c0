"""Bundles -> Comparison: each beside the first, on the same images."""

import string
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune.compare.classes import by_class
from finetune.compare.flips import Flip, flips
from finetune.compare.recipes import Change, changes
from finetune.compare.same import aligned
from finetune.compare.side import Score, Side, metric, read
from finetune.errors import UsageError, printable
from finetune.scores import paired
from finetune.scores.predictions import Predictions

SCHEMA = 1
LETTERS = string.ascii_uppercase
DIFFERS = 0.05


@dataclass(frozen=True, eq=False)
class Pair:
    """The second of two bundles beside the first, by their places; differences are the second minus the first.

    differences: by the name of the score, {"value", "low", "high"} with the 95 % interval. lost, gained: how many
    images only the first, only the second has right. p: the chance of as uneven a split where neither is better, by the
    exact McNemar test, or by_group by its counterpart for images in groups; p_holm: corrected for the number of pairs;
    differs: whether that is below 0.05. per_class: as `classes.by_class` has it.
    """

    first: int
    second: int
    differences: dict[str, Score]
    lost: int
    gained: int
    p: float
    by_group: bool
    p_holm: float
    differs: bool
    per_class: tuple[dict[str, Any], ...]
    flips: tuple[Flip, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Bundles on the same images. `pairs`: each of the others beside the first; `recipe`: the keys that differ."""

    sides: tuple[Side, ...]
    part: str
    images: int
    groups: int | None
    classes: tuple[str, ...]
    several: bool
    metric: str
    pairs: tuple[Pair, ...]
    recipe: tuple[Change, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values. The schema is stable: `schema` grows when a name goes or changes its meaning."""
        return {
            "schema": SCHEMA,
            "part": self.part,
            "images": self.images,
            "groups": self.groups,
            "classes": list(self.classes),
            "several_labels": self.several,
            "metric": self.metric,
            "bundles": [self._bundle(place) for place in range(len(self.sides))],
            "pairs": [_pair(pair) for pair in self.pairs],
            "recipe": [{"key": change.key, "values": list(change.values)} for change in self.recipe],
        }

    def _bundle(self, place: int) -> dict[str, Any]:
        side = self.sides[place]
        row = side.row
        return {
            "letter": LETTERS[place],
            "folder": str(side.bundle.folder),
            "name": row.name,
            "scores": side.scores,
            "calibration": {"ece": side.calibration.ece, "ece_band": list(side.calibration.band)},
            "learnt_from": side.learnt_from,
            "schedule": row.schedule,
            "tier": row.tier,
            "backbone": row.backbone,
            "tag": row.tag,
            "seconds": row.seconds,
            "memory_bytes": row.memory,
            "device_memory_bytes": row.device_memory,
            "model_bytes": side.size,
            "parameters": side.parameters,
        }


def compare(folders: Sequence[Path]) -> Comparison:
    """The bundles in these folders beside each other, each of the later ones against the first.

    Raises UsageError for fewer than two, for one that is named twice, and, with a sentence that says how they differ,
    where they were not asked about the same images with the same labels; BundleError for one that is damaged.
    """
    _must_be_several(folders)
    sides = [read(folder) for folder in folders]
    answers = aligned(sides)
    return Comparison(
        sides=tuple(sides),
        part=sides[0].part,
        images=len(answers[0]),
        groups=None if answers[0].groups is None else len(set(answers[0].groups)),
        classes=answers[0].classes,
        several=answers[0].multilabel,
        metric=metric(answers[0]),
        pairs=_pairs(answers, sides[0].hashes),
        recipe=tuple(changes([side.bundle for side in sides])),
    )


def _must_be_several(folders: Sequence[Path]) -> None:
    if len(folders) < 2:
        raise UsageError("a comparison needs two bundles or more; name them one after the other")
    if len(folders) > len(LETTERS):
        raise UsageError(f"at most {len(LETTERS)} bundles can be compared at once, but {len(folders)} are named")
    places = [folder.resolve() for folder in folders]
    for place, folder in enumerate(folders):
        if places[place] in places[:place]:
            raise UsageError(f"{printable(str(folder))!r} is named twice; name each bundle once")


def _pairs(answers: Sequence[Predictions], hashes: Sequence[str]) -> tuple[Pair, ...]:
    first, *others = answers
    tests = [paired.mcnemar(first, other) for other in others]
    corrected = paired.holm([test.p for test in tests])
    return tuple(
        Pair(
            first=0,
            second=place,
            differences=paired.differences(first, other),
            lost=test.lost,
            gained=test.won,
            p=test.p,
            by_group=test.by_group,
            p_holm=p_holm,
            differs=p_holm < DIFFERS,
            per_class=by_class(first, other),
            flips=flips(first, other, hashes),
        )
        for place, (other, test, p_holm) in enumerate(zip(others, tests, corrected, strict=True), start=1)
    )


def _pair(pair: Pair) -> dict[str, Any]:
    found = {**vars(pair), "per_class": list(pair.per_class), "flips": [asdict(flip) for flip in pair.flips]}
    return {**found, "letters": [LETTERS[pair.first], LETTERS[pair.second]]}
