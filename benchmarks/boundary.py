"""Training the last stage from kept activations against full fine-tuning: python benchmarks/boundary.py

Both take the same batches of the same images in the same precision, decoded before the clock starts. Images per second
of whole training steps, in turns, medians of the rounds; and after how many epochs the filling of the store has paid,
against training the same stage with the frozen ones computed each time. A line of JSON per row goes to
`boundary.jsonl`. The weights are random: speed does not depend on them.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import commit
from PIL import Image

from finetune.data.catalog import Catalog, Sample
from finetune.data.split import Split
from finetune.data.store import Store
from finetune.model import backbone, heads
from finetune.model.classifier import Classifier, set_training
from finetune.predict import to_device
from finetune.recipe.images import Augment, Images
from finetune.recipe.network import Linear
from finetune.recipe.plan import Phase, Plan
from finetune.recipe.section import STAGES
from finetune.recipe.training import Train
from finetune.runtime import start
from finetune.train import loop, optimizer
from finetune.train.batches import Batch
from finetune.train.boundary import boundary
from finetune.train.setting import Setting
from finetune.views import TrainingViews

HERE = Path(__file__).parent
IMAGES, BATCH, VIEWS = 64, 32, 2
WHOLE = Phase(STAGES, 1, 1e-4, 1.0, "pretrained")
LIVE = Phase(("stage4", "head"), 1, 1e-4, 1.0, "pretrained")
KEPT = Phase(("stage4", "head"), 1, 1e-4, 1.0, "pretrained", VIEWS)


def main() -> None:
    given = _options().parse_args()
    for name in given.networks:
        for precision in ("float32", "bf16"):
            with tempfile.TemporaryDirectory() as place:
                row = measure(name, precision, Path(place), given.rounds)
            print(json.dumps(row), flush=True)
            with given.output.open("a") as file:
                file.write(json.dumps(row) + "\n")


def measure(name: str, precision: Any, place: Path, rounds: int) -> dict[str, Any]:
    """Rates in images a second, and what follows from them."""
    runtime = start(precision)
    network = backbone.build(name, size=224)
    pixels = network.contract.preprocessing(Images(size=224))
    catalog = draw(place / "images")
    nothing = catalog.select([])
    with Store.open(place / "cache") as store:
        classifier = Classifier(network, heads.build(Linear(), features=network.features, classes=2), pixels)
        setting = Setting(
            plan=Plan((), ()),
            split=Split(catalog, nothing, nothing, ()),
            preprocessing=pixels,
            views=TrainingViews(Augment(), pixels, seed=0),
            train=Train(batch_size=BATCH),
            seed=0,
            runtime=runtime,
            store=store,
        )
        training = loop.Training(classifier, setting)
        begun = time.perf_counter()
        kept = boundary(
            classifier, KEPT, catalog, extractor=setting.extractor(network), runtime=runtime, stored_as="float16"
        )
        filling = time.perf_counter() - begun
        pictures = np.random.default_rng(0).integers(0, 256, (BATCH, 224, 224, 3), dtype=np.uint8)
        labels = torch.zeros(BATCH, dtype=torch.int64)

        def whole() -> Iterator[Batch]:
            for _ in range(IMAGES // BATCH):
                yield Batch(to_device(pictures, runtime), labels, ("",) * BATCH)

        def stored() -> Iterator[Batch]:
            return kept.batches(catalog, epoch=1, seed=0, batch_size=BATCH)

        ways: dict[str, tuple[Phase, torch.nn.Module, Callable[[], Iterator[Batch]]]] = {
            "whole": (WHOLE, classifier, whole),
            "live": (LIVE, classifier, whole),
            "kept": (KEPT, kept.network, stored),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(rounds + 1):
            for way, (phase, module, batches) in ways.items():
                seconds = epoch(training, phase, module, batches)
                if number:
                    rates[way].append(IMAGES / seconds)
    middle = {way: statistics.median(found) for way, found in rates.items()}
    saved = IMAGES / middle["live"] - IMAGES / middle["kept"]
    return {
        "network": name, "precision": precision, "batch": BATCH, "threads": runtime.threads,
        **{f"{way}_images_per_second": round(rate, 1) for way, rate in middle.items()},
        "kept_against_whole": round(middle["kept"] / middle["whole"], 2),
        "lowest": round(min(k / w for k, w in zip(rates["kept"], rates["whole"], strict=True)), 2),
        "highest": round(max(k / w for k, w in zip(rates["kept"], rates["whole"], strict=True)), 2),
        "filling_seconds_per_view": round(filling / VIEWS / IMAGES, 4),
        "paid_after_epochs": {str(views): round(views * filling / VIEWS / saved, 1) for views in (1, 2, 8)},
        "rounds": rounds, "cores": os.cpu_count(),
        "date": datetime.now(UTC).date().isoformat(), "commit": commit(),
    }  # fmt: skip


def epoch(
    training: loop.Training, phase: Phase, module: torch.nn.Module, batches: Callable[[], Iterator[Batch]]
) -> float:
    """Seconds for one pass of training steps."""
    set_training(training.classifier, phase.train, batch_norm=phase.batch_norm)
    if phase.views is not None:
        module.follow()  # type: ignore[operator]
    training.optimizer = optimizer.build(training.classifier, phase, training.setting.train.optimizer)
    begun = time.perf_counter()
    for batch in batches():
        loop._step(training, module, batch, share=1.0, weights=None, where="benchmark")
    return time.perf_counter() - begun


def draw(folder: Path) -> Catalog:
    """Images of noise, of two classes."""
    generator, samples = np.random.default_rng(0), []
    for number in range(IMAGES):
        label = "ab"[number % 2]
        path = folder / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(path)
        samples.append(Sample(f"{label}/{number}.png", path, label))
    return Catalog(tuple(samples), ("a", "b"))


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"])
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--output", type=Path, default=HERE / "boundary.jsonl")
    return options


if __name__ == "__main__":
    main()
