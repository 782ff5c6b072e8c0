"""Plain and residual networks of 20 and 56 layers on CIFAR-10, trained by `finetune run`: python benchmarks/residual.py

`residual.py FOLDER` trains them on a part of CIFAR-10's images, which lie in FOLDER as train/ and test/ with a folder
for each class, and adds a line of JSON for each network to `residual.jsonl`: its history, with the gradients, updates
and activations of its stages, and its test accuracy. `residual.py` alone draws, from these lines and nothing else,
`docs/residual-connections.svg` and `docs/residual-connections.md`; of lines of one network, seed and rate
the last counts.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import residual_page
from measure import ROOT, commit

HERE = Path(__file__).parent
NETWORKS = ("cifar_plain20", "cifar_resnet20", "cifar_plain56", "cifar_resnet56")
IMAGES, HELD_OUT, EPOCHS, BATCH = 250, 50, 10, 32  # images of a class to learn from, for validation and for the test
RATE = 0.1 * BATCH / 128  # the paper's, for batches of 128, as Goyal et al. 2017, section 2.1, scale it
RECIPE = """\
name: {name}
seed: {seed}
data: {{kind: folder, root: images}}
split: {{kind: given, validation: val, test: test}}
backbone: {{name: {network}, weights: {{kind: random}}}}
schedule: {{kind: full, epochs: {epochs}, lr: {rate}}}
images: {{augment: {{kind: light, flip: true}}}}
train:
  batch_size: {batch}
  optimizer: {{kind: sgd, momentum: 0.9, weight_decay: 1.0e-4}}
  warmup: 0.0
  clip_norm: null
  batch_norm: batch
"""

Row = dict[str, Any]


def main() -> None:
    given = _options().parse_args()
    if given.data:
        with tempfile.TemporaryDirectory() as place:
            part(given.data, Path(place) / "images")
            for network in given.networks:
                row = measured(network, given.seed, Path(place), rate=given.rate)
                print(json.dumps({key: value for key, value in row.items() if key != "history"}), flush=True)
                with given.rows.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    else:
        residual_page.write(read(given.rows), given.output, rate=given.rate)


def read(file: Path) -> list[Row]:
    """The lines of a file, of those of one network, seed and rate the last."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return list({(line["network"], line["seed"], line["rate"]): line for line in lines}.values())


def part(data: Path, target: Path) -> None:
    """The first images of every class, by name: those to learn from of train/, the others of test/."""
    for found in sorted((data / "train").iterdir()):
        held_out = sorted((data / "test" / found.name).iterdir())[: 2 * HELD_OUT]
        parts = {"train": sorted(found.iterdir())[:IMAGES], "val": held_out[:HELD_OUT], "test": held_out[HELD_OUT:]}
        for name, files in parts.items():
            (target / name / found.name).mkdir(parents=True)
            for file in files:
                shutil.copy(file, target / name / found.name)


def measured(network: str, seed: int, place: Path, *, rate: float = RATE) -> Row:
    """Trains a network by a recipe; what the bundle says of it."""
    name = f"{network}-{seed}-{rate:g}".replace(".", "_")
    recipe = place / f"{name}.yaml"
    recipe.write_text(RECIPE.format(name=name, network=network, seed=seed, epochs=EPOCHS, rate=rate, batch=BATCH))
    command = [sys.executable, "-m", "finetune", "run", str(recipe), "--output", str(place / name), "--json"]
    begun = time.perf_counter()
    env = {**os.environ, "FINETUNE_CACHE": str(place / "cache")}
    subprocess.run(command, check=True, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    facts = json.loads((place / name / "bundle.json").read_text())
    scores = json.loads((place / name / "metrics.json").read_text())["test"]["accuracy"]
    return {
        "network": network,
        "seed": seed,
        "images": facts["images"],
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "rate": rate,
        "decided": {key: facts["decided"][key] for key in ("device", "precision", "threads")},
        "versions": {key: facts["versions"][key] for key in ("torch", "timm", "numpy")},
        "seconds": round(time.perf_counter() - begun, 1),
        "test": {key: scores[key] for key in ("value", "low", "high")},
        "history": [json.loads(line) for line in (place / name / "history.jsonl").read_text().splitlines()],
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
    }


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", nargs="?", type=Path, help="CIFAR-10 as train/ and test/ with class folders")
    options.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--rate", type=float, default=RATE)
    options.add_argument("--rows", type=Path, default=HERE / "residual.jsonl")
    options.add_argument("--output", type=Path, default=ROOT / "docs", help="the folder of the page")
    return options


if __name__ == "__main__":
    main()
