"""What a report of many images takes to draw: python benchmarks/reporting.py --help

Draws up a bundle with everything that can be looked at, of simulated answers and drawn pictures, and then its report in
a process of its own: time, memory and the size of the page. A line of JSON for each goes to `reporting.jsonl`.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from measure import ROOT, commit, measured

from finetune.bundle import Bundle
from finetune.recipe import planfile
from finetune.recipe.plan import Plan
from finetune.scores.metrics import scores
from finetune.scores.predictions import Predictions

HERE = Path(__file__).parent
GRAIN = 12  # patches along a tile: with these the tiles take about as much as they may, 2.5 MB
NAME = "{:02d} a class of many words"


def main() -> None:
    given = _options().parse_args()
    with tempfile.TemporaryDirectory() as place:
        bundle = drawn_up(Path(place) / "bundle", images=given.images, classes=given.classes)
        row = report(bundle, images=given.images, classes=given.classes)
    print(json.dumps(row), flush=True)
    with given.output.open("a") as file:
        file.write(json.dumps(row) + "\n")


def drawn_up(folder: Path, *, images: int, classes: int) -> Bundle:
    """A sealed bundle of so many answers, with every file of evidence."""
    sys.path.insert(0, str(ROOT))
    taken = importlib.import_module("tests.report.taken")
    tried = importlib.import_module("tests.report.tried")
    facts_of = importlib.import_module("tests.report.conftest").facts_of
    predictions = answers(images, classes)
    bundle = Bundle.create(folder)
    bundle.describe(facts_of("many images", predictions.classes, {"test": images}, ()))
    bundle.write("model.safetensors", b"weights")
    bundle.write("plan.json", planfile.to_json(Plan((), ("the backbone is frozen whole",), probe_views=1)).encode())
    bundle.write("predictions/test.npz", predictions.to_bytes())
    found = scores(predictions, resamples=50)
    found |= {"calibration": taken.calibration(predictions), "selective": taken.selective(predictions)}
    bundle.write_json("metrics.json", {"test": found, "images": {"test": images}})
    wrong = np.flatnonzero(predictions.predicted != predictions.labels)[:40]
    bundle.write("evidence/thumbnails.jpg", taken.mosaic(len(wrong), 96, 10))
    bundle.write_json("evidence/thumbnails.json", [predictions.keys[row] for row in wrong])
    bundle.write_json("evidence/probe.json", tried.HEADS)
    taken.write(bundle, predictions, grain=GRAIN)
    bundle.seal()
    return bundle


def answers(images: int, classes: int) -> Predictions:
    """Simulated answers, three in four right."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes, images)
    logits = generator.normal(size=(images, classes))
    logits[np.arange(images), labels] += 3.4
    names = tuple(NAME.format(number) for number in range(classes))
    keys = tuple(f"{names[label]}/image_{number:06d}.jpg" for number, label in enumerate(labels))
    return Predictions(keys, logits.astype(np.float32), names, labels.astype(np.int64))


def report(bundle: Bundle, *, images: int, classes: int) -> dict[str, Any]:
    """What it takes to draw the report of a bundle, imports and all, as the line it leaves."""
    took = measured([sys.executable, "-m", "finetune", "report", str(bundle.folder)], env=dict(os.environ))
    return {
        "images": images,
        "classes": classes,
        "seconds": round(took.seconds, 2),
        "peak_mb": round(took.largest / 1e6, 1),
        "page_mb": round((bundle.folder / "report.html").stat().st_size / 1e6, 2),
        "tiles_mb": round((bundle.folder / "evidence" / "tiles.jpg").stat().st_size / 1e6, 2),
        "load": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
    }


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--output", type=Path, default=HERE / "reporting.jsonl")
    return parser


if __name__ == "__main__":
    main()
