"""How often the interval of accuracy holds the truth when images come in groups: python benchmarks/coverage.py --help

Test sets are drawn in which the images of a group (a patient, a burst) are right or wrong alike: the chance of a group
to be right is beta-distributed about the truth, with the intraclass correlation of the setting. Each is scored by the
package with its groups and without; what is counted is how often the truth lies within. A line of JSON for each setting
is written to `coverage.jsonl`.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from measure import commit

from finetune.scores.metrics import scores
from finetune.scores.predictions import Predictions

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Setting:
    """Test sets of so many groups; `images` is the mean size of a group, `alike` the intraclass correlation, `varied`
    whether sizes vary (1 + Poisson) or are all the same.
    """

    groups: int
    images: int
    accuracy: float
    alike: float
    varied: bool = False


# such that Wilson's interval, for images by themselves, holds the truth about 86 times in 100
SETTINGS = (
    Setting(15, 8, 0.9, 0.11),
    Setting(20, 5, 0.9, 0.19),
    Setting(40, 5, 0.9, 0.19),
    Setting(40, 5, 0.8, 0.19),
    Setting(40, 5, 0.9, 0.16, varied=True),
    Setting(100, 5, 0.9, 0.19),
    Setting(60, 3, 0.95, 0.38),
)


def main() -> None:
    given = _options().parse_args()
    rows = [measured(setting, sets=given.sets, resamples=given.resamples, seed=given.seed) for setting in SETTINGS]
    given.output.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        print(
            f"{row['groups']:4} groups of {row['images']}{'±' if row['varied'] else ' '} accuracy {row['accuracy']} "
            f"alike {row['alike']}: by image {row['by_image']:.3f}, by group {row['by_group']:.3f}"
        )


def measured(setting: Setting, *, sets: int, resamples: int, seed: int) -> dict[str, Any]:
    """How often the intervals of accuracy hold the truth, of images by themselves and by group."""
    generator = np.random.default_rng([seed, *(round(1000 * float(value)) for value in asdict(setting).values())])
    held = {"by_image": 0, "by_group": 0}
    for _ in range(sets):
        drawn = draw(setting, generator)
        for name, groups in (("by_image", None), ("by_group", drawn.groups)):
            known = Predictions(drawn.keys, drawn.logits, drawn.classes, drawn.labels, groups)
            found = scores(known, resamples=resamples if groups else 1)["accuracy"]
            held[name] += found["low"] <= setting.accuracy <= found["high"]
    shares = {name: round(count / sets, 4) for name, count in held.items()}
    when = datetime.now(UTC).date().isoformat()
    return {**asdict(setting), **shares, "sets": sets, "resamples": resamples, "date": when, "commit": commit()}


def draw(setting: Setting, generator: np.random.Generator) -> Predictions:
    """A test set of one class or another, in groups of which each has its own chance to be right."""
    count, mean = setting.groups, setting.images
    sizes = 1 + generator.poisson(mean - 1, count) if setting.varied else np.full(count, mean)
    spread = (1 - setting.alike) / setting.alike
    chance = generator.beta(setting.accuracy * spread, (1 - setting.accuracy) * spread, count)
    member = np.repeat(np.arange(count), sizes)
    labels = generator.integers(0, 2, len(member))
    shown = np.where(generator.random(len(member)) < chance[member], labels, 1 - labels)
    keys = tuple(map(str, range(len(member))))
    return Predictions(keys, np.eye(2, dtype=np.float32)[shown], ("a", "b"), labels, tuple(map(str, member)))


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--sets", type=int, default=2000, help="test sets of each setting")
    options.add_argument("--resamples", type=int, default=300)
    options.add_argument("--seed", type=int, default=100)
    options.add_argument("--output", type=Path, default=HERE / "coverage.jsonl")
    return options


if __name__ == "__main__":
    main()
