"""How often the intervals of scores hold the truth on simulated problems: python benchmarks/problems.py --help

A problem is a population of 200,000 images with 2 to 10 classes and two classifiers that look at the same images: what
an image lacks is partly common to both, and to the images of a group where there are groups. Test sets are drawn from
the population, images or whole groups with replacement, and scored by the package; the truth is the score of the whole
population. Counted is how often it lies within, of the first classifier's scores and of the paired differences. The
claim: 93 to 97 times in 100, over 1,000 test sets with groups and over 1,000 without. A line of JSON for each of the
two is written to `problems.jsonl`, with the coverage at test sets with few and with many wrong answers too.
"""

import argparse
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from measure import commit

from finetune.scores.metrics import scores, statistics
from finetune.scores.paired import differences
from finetune.scores.predictions import Predictions

HERE = Path(__file__).parent
POPULATION = 200_000
NAMES = ("accuracy", "macro_f1", "log_loss", "brier")
FEW = 10  # wrong answers that a test set is expected to hold


@dataclass(frozen=True)
class Problem:
    """Two classifiers of one population; `sizes` are those of groups, all 1 without groups."""

    labels: np.ndarray
    logits: tuple[np.ndarray, np.ndarray]
    starts: np.ndarray
    sizes: np.ndarray
    units: int

    def drawn(self, generator: np.random.Generator) -> tuple[Predictions, Predictions]:
        """A test set, answered by both."""
        chosen = generator.integers(0, len(self.sizes), self.units)
        rows = np.concatenate([np.arange(self.starts[g], self.starts[g] + self.sizes[g]) for g in chosen])
        groups = np.repeat(np.arange(self.units), self.sizes[chosen]) if self.sizes.max() > 1 else None
        return self._answers(0, rows, groups), self._answers(1, rows, groups)

    def truth(self) -> list[dict[str, float]]:
        """The scores of both on the whole population."""
        everything = np.ones((1, len(self.labels)))
        tables = [statistics(self._answers(one, np.arange(len(self.labels)), None))(everything) for one in (0, 1)]
        return [{name: float(table[name][0, 0]) for name in NAMES} for table in tables]

    def _answers(self, classifier: int, rows: np.ndarray, groups: np.ndarray | None) -> Predictions:
        classes = tuple(map(str, range(self.logits[0].shape[1])))
        names = None if groups is None else tuple(map(str, groups))
        keys = tuple(map(str, range(len(rows))))
        return Predictions(keys, self.logits[classifier][rows], classes, self.labels[rows], names)


def main() -> None:
    given = _options().parse_args()
    rows = [
        measured(grouped, problems=given.problems, sets=given.sets, resamples=given.resamples, seed=given.seed)
        for grouped in (False, True)
    ]
    given.output.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        print("by group" if row["grouped"] else "by image", json.dumps(row["held"]), json.dumps(row["held_few_wrong"]))


def measured(grouped: bool, *, problems: int, sets: int, resamples: int, seed: int) -> dict[str, Any]:
    """The share of intervals that hold the truth, by score, of one classifier and of the difference of two."""
    held: dict[str, list[bool]] = {f"{kind}{name}": [] for kind in ("", "difference of ") for name in NAMES}
    wrong: list[float] = []
    for number in range(problems):
        generator = np.random.default_rng([seed, grouped, number])
        problem = posed(generator, grouped=grouped)
        one, other = problem.truth()
        for _ in range(sets):
            first, second = problem.drawn(generator)
            wrong.append((1 - one["accuracy"]) * len(first))
            alone, apart = scores(first, resamples=resamples), differences(first, second, resamples=resamples)
            for name in NAMES:
                held[name].append(_holds(alone[name], one[name]))
                held[f"difference of {name}"].append(_holds(apart[name], other[name] - one[name]))
    few = np.array(wrong) < FEW
    return {
        "grouped": grouped,
        "held": {name: round(float(np.mean(found)), 4) for name, found in held.items()},
        "held_few_wrong": {name: round(float(np.array(found)[few].mean()), 4) for name, found in held.items()},
        "held_more_wrong": {name: round(float(np.array(found)[~few].mean()), 4) for name, found in held.items()},
        "few_wrong": int(few.sum()),
        "problems": problems,
        "sets": sets,
        "resamples": resamples,
        "seed": seed,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
    }


def posed(generator: np.random.Generator, *, grouped: bool) -> Problem:
    """A problem at random: 2 to 10 classes, 80 to 800 images in a test set, accuracies from about 0.6 to 0.98."""
    classes = int(generator.integers(2, 11))
    size = generator.integers(2, 9) if grouped else 1
    images = round(float(np.exp(generator.uniform(np.log(80), np.log(800)))))
    sizes = 1 + generator.poisson(size - 1, POPULATION // size) if grouped else np.ones(POPULATION, dtype=np.int64)
    member = np.repeat(np.arange(len(sizes)), sizes)
    labels = generator.integers(0, classes, len(member))
    alike = generator.uniform(0.1, 0.7) if grouped else 0.0
    common = generator.normal(size=(len(sizes), classes))[member] * np.sqrt(alike)
    common += generator.normal(size=(len(member), classes)) * np.sqrt(1 - alike)
    margin, better = generator.uniform(1.5, 3.5), generator.uniform(0.95, 1.2)
    logits = []
    for reach in (margin, margin * better):
        noise = 0.8 * common + generator.uniform(0.3, 0.8) * generator.normal(size=common.shape)
        logits.append(((reach * np.eye(classes)[labels] + noise) * generator.uniform(1, 3)).astype(np.float32))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return Problem(labels, (logits[0], logits[1]), starts, sizes, max(15, images // size) if grouped else images)


def _holds(score: dict[str, Any], truth: float) -> bool:
    return bool(score["low"] <= truth <= score["high"])


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--problems", type=int, default=1000)
    options.add_argument("--sets", type=int, default=1, help="test sets of each problem")
    options.add_argument("--resamples", type=int, default=500)
    options.add_argument("--seed", type=int, default=100)
    options.add_argument("--output", type=Path, default=HERE / "problems.jsonl")
    return options


if __name__ == "__main__":
    main()
