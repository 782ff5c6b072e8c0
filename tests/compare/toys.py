"""Bundles that answer the same images, drawn up in a moment."""

import hashlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from finetune.bundle import Bundle
from finetune.data import ledger
from finetune.errors import cell
from finetune.recipe.plan import Phase, Plan
from finetune.recipe.planfile import to_json
from finetune.scores.metrics import scores
from finetune.scores.predictions import Predictions

CLASSES = ("ant", "bee", "cat")
RECIPE = """\
name: toy
data: {kind: folder, root: ../../photos}
backbone: {name: test_resnet, weights: {kind: random}}
schedule: {kind: full, epochs: 2, lr: 0.001}
train: {batch_size: 16}
"""
SHAPES: dict[str, Sequence[int]] = {"head.weight": (3, 4), "head.bias": (3,), "backbone.bn.running_mean": (100,)}


def answers(
    count: int = 60, *, wrong: Sequence[int] = (), classes: Sequence[str] = CLASSES, **changes: Any
) -> Predictions:
    """Answers to images that are of each class in turn, wrong for these: then the next class is said."""
    labels = np.arange(count) % len(classes)
    said = np.where(np.isin(np.arange(count), wrong), (labels + 1) % len(classes), labels)
    logits = np.random.default_rng(len(wrong)).normal(0, 0.3, (count, len(classes)))
    logits[np.arange(count), said] += 3
    keys = tuple(f"{classes[label]}/{number}.jpg" for number, label in enumerate(labels))
    given = {"keys": keys, "logits": logits.astype(np.float32), "classes": tuple(classes), "labels": labels}
    return Predictions(**given | changes)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def weights(shapes: dict[str, Sequence[int]] = SHAPES) -> bytes:
    """The header of a safetensors file of these tensors, and a few bytes."""
    tensors = {name: {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 4]} for name, shape in shapes.items()}
    header = json.dumps({"__metadata__": {"a": "b"}, **tensors}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0\0\0\0"


def bundle(
    folder: Path,
    predictions: Predictions | None = None,
    *,
    part: str = "test",
    hashes: Sequence[str] | None = None,
    recipe: str = RECIPE,
    model: bytes | None = None,
    facts: dict[str, Any] | None = None,
    files: dict[str, bytes] | None = None,
    sealed: bool = True,
) -> Bundle:
    """A bundle of these answers; the hash of an image is that of its key unless said."""
    made = Bundle.create(folder)
    predictions = predictions or answers()
    found = hashes or [digest(key) for key in predictions.keys]
    lines = [f"{cell(key)},{sha256},,,{part},\n" for key, sha256 in zip(predictions.keys, found, strict=True)]
    made.write("catalog.csv", "".join([",".join(ledger.COLUMNS) + "\n", *lines]).encode())
    made.write("recipe.yaml", recipe.encode())
    made.write("plan.json", to_json(Plan((Phase(("head",), 1, 1e-3, 1.0, "batch"),), ())).encode())
    made.write("model.safetensors", weights() if model is None else model)
    made.write("timings.jsonl", b'{"part": "all", "seconds": 61.5, "memory": 1234000000}\n')
    made.write(f"predictions/{part}.npz", predictions.to_bytes())
    made.write_json("metrics.json", {part: scores(predictions, resamples=50), "images": {part: len(predictions)}})
    for name, data in (files or {}).items():
        made.write(name, data)
    said = {
        "name": "toy",
        "classes": list(predictions.classes),
        "preprocessing": {},
        "backbone": {"name": "test_resnet", "tag": None},
        "head": {"kind": "linear"},
        "images": {"train": 200, part: len(predictions)},
    }
    if predictions.multilabel:
        said |= {"multi_label": True, "thresholds": [0.5] * len(predictions.classes)}
    made.describe(said | (facts or {}))
    if sealed:
        made.seal()
    return made
