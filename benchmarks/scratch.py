"""CIFAR-10 from random weights by the project's own recipe: python benchmarks/scratch.py FOLDER

FOLDER holds train/ and test/ with a folder for each class. Without --epochs it is the whole run of the recipe. With
them it is the first of its epochs, at the rates that the recipe has in them; the row says so, and what the whole run
would take at that pace. A line of JSON for each run is added to `scratch.jsonl`.
"""

import argparse
import json
import os
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from measure import ROOT, commit, measured

from finetune.recipe import file

RECIPE = ROOT / "recipes" / "cifar10_resnet20.yaml"
PAPER = 0.9125  # He et al. 2015, table 6, of 20 layers


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", type=Path)
    options.add_argument("--epochs", type=int, help="fewer than the recipe's, for a machine on which all take days")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "scratch.jsonl")
    given = options.parse_args()
    row = run(given.data, epochs=given.epochs, seed=given.seed, threads=given.threads)
    print(json.dumps({key: value for key, value in row.items() if key != "history"}))
    with given.output.open("a") as rows:
        rows.write(json.dumps(row) + "\n")


def run(data: Path, *, epochs: int | None, seed: int, threads: int) -> dict[str, Any]:
    """Trains by the recipe, in a process of its own with an empty cache; the row of it."""
    recipe = file.load(RECIPE)
    whole, at = recipe.phases[0].epochs, recipe.train.rate.at
    some = epochs or whole
    with tempfile.TemporaryDirectory() as place:
        changed = [f"data={{kind: folder, root: {data.absolute()}}}", f"seed={seed}"]
        if some != whole:
            steps = [one for one in at if one < some]
            rate = f"train.rate.at={steps}" if steps else "train.rate={kind: constant}"
            changed += [f"schedule.epochs={some}", rate]
        command = [sys.executable, "-m", "finetune", "run", str(RECIPE), "--output", f"{place}/bundle", "--json"]
        command += [part for one in changed for part in ("--set", one)]
        env = {**os.environ, "FINETUNE_CACHE": f"{place}/cache", "OMP_NUM_THREADS": str(threads)}
        took = measured(command, env=env)
        bundle = Path(place) / "bundle"
        facts = json.loads((bundle / "bundle.json").read_text())
        timings = [json.loads(line) for line in (bundle / "timings.jsonl").read_text().splitlines()]
        seconds = sum(line["seconds"] for line in timings if line["part"].startswith("epoch "))
        score = json.loads((bundle / "metrics.json").read_text())["test"]["accuracy"]
        return {
            "recipe": RECIPE.name,
            "whole": some == whole,
            "epochs": some,
            "of": whole,
            "seed": seed,
            "images": facts["images"],
            "device": facts["decided"]["device"],
            "threads": threads,
            "seconds": round(took.seconds, 1),
            "cpu_seconds": round(took.cpu_seconds, 1),
            "epoch_seconds": round(seconds / some, 1),
            "projected_hours": round(seconds / some * whole / 3600, 2),
            "projected_cpu_hours": round(took.cpu_seconds / some * whole / 3600, 2),
            "test": {key: score[key] for key in ("value", "low", "high")},
            "history": [json.loads(line) for line in (bundle / "history.jsonl").read_text().splitlines()],
            "date": date.today().isoformat(),
            "commit": commit(),
        }


if __name__ == "__main__":
    main()
