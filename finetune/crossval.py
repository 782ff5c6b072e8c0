"""Every image answered by a model that has not seen it: the job done for each fold, with that fold held out.

Each fold leaves its answers and a line of evidence, beside the checkpoints, and nothing else; so a run that was cut off
goes on with the fold that it was in. What the job is, it is handed.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from finetune import record
from finetune.bundle import Bundle, Timings
from finetune.choose.budget import until
from finetune.data.survey import Survey
from finetune.recipe.plan import Plan
from finetune.recipe.section import STAGES
from finetune.scores.metrics import scores
from finetune.scores.predictions import Predictions
from finetune.train import checkpoint
from finetune.train.loop import Epoch, Step
from finetune.train.tracking import Trackers
from finetune.train.watching import Show
from finetune.underway import Job

Work = Callable[[Job, Plan, checkpoint.Checkpoint | None], Mapping[str, Predictions]]

_FOLDER = "checkpoints/folds"


def answered(job: Job, plan: Plan, work: Work) -> Predictions | None:
    """The answers to the held-out images of all folds, by key, each by the model of its fold: with its logits and,
    where an image may have several labels, by its thresholds. None where the split holds out no folds.

    `work` learns from a job and answers its test images. What a fold takes does not count against the budget of what
    ships. The lines of evidence are written to `evidence/folds.json`.
    """
    if not job.surveyed.folds:
        return None
    begun = time.monotonic()
    for number, surveyed in enumerate(job.surveyed.folds, start=1):
        if not job.bundle.has(_answers(number)):
            with job.timings.part(f"fold {number}"):
                _fold(job, plan, work, number, surveyed)
            job.timings.write_to(job.bundle)
    job.budget = replace(job.budget, ends=job.budget.ends + time.monotonic() - begun)
    numbers = range(1, len(job.surveyed.folds) + 1)
    job.bundle.write_json("evidence/folds.json", [job.bundle.read_json(_line(number)) for number in numbers])
    return _joined(job, [_read(job.bundle, number) for number in numbers])


def complete(bundle: Bundle, folds: int) -> int:
    """How many of the folds have been answered."""
    return sum(bundle.has(_answers(number)) for number in range(1, folds + 1))


def _fold(job: Job, plan: Plan, work: Work, number: int, surveyed: Survey) -> None:
    name = f"fold {number} of {len(job.surveyed.folds)}"
    job.show.say(f"{name}: {len(surveyed.split.train)} images to learn from, {len(surveyed.split.test)} held out")
    bundle, kept = _begun(job, plan, job.bundle.folder / _FOLDER / str(number), surveyed)
    within = replace(
        job,
        bundle=bundle,
        surveyed=surveyed,
        show=_Within(job.show, name),
        timings=Timings(),
        budget=until(job.recipe, surveyed, job.costs, begun=time.monotonic()),
        networks={},  # those of the job are still to be trained
        trackers=Trackers(),  # they are shown what ships
    )
    found = work(within, bundle.plan, kept)["test"]
    job.bundle.write_json(_line(number), _evidence(bundle, surveyed, number, found))
    job.bundle.write(_answers(number), found.to_bytes())  # from here on it is complete
    shutil.rmtree(bundle.folder)


def _begun(job: Job, plan: Plan, folder: Path, surveyed: Survey) -> tuple[Bundle, checkpoint.Checkpoint | None]:
    """The bundle of a fold, new or as far as it had come, with its checkpoint."""
    if (folder / "bundle.json").is_file():
        bundle = Bundle.open(folder)
        if "decided" in bundle.facts:
            return bundle, checkpoint.load(folder / "checkpoints")
    shutil.rmtree(folder, ignore_errors=True)
    bundle = Bundle.create(folder)
    record.opened(bundle, job.recipe, plan, surveyed, job.runtime, ())
    return bundle, None


def _evidence(bundle: Bundle, surveyed: Survey, number: int, answers: Predictions) -> dict[str, Any]:
    """What a fold was and how well it was answered, in plain JSON values."""
    found = scores(answers)
    heads = bundle.read_json("evidence/probe.json") if bundle.has("evidence/probe.json") else []
    phases = bundle.plan.phases
    return {
        "fold": number,
        "images": len(answers),
        "learnt_from": len(surveyed.split.train),
        "validation": len(surveyed.split.validation),
        "epochs": len(bundle.history) if bundle.has("history.jsonl") else 0,
        "trained": [stage for stage in STAGES if any(stage in phase.train for phase in phases)],
        "trial": next((head["trial"] for head in heads if head["chosen"]), None),
        "backbone": bundle.facts["backbone"]["name"],
        "notes": bundle.facts["notes"],
        "scores": {name: score for name, score in found.items() if isinstance(score, dict) and "value" in score},
    }


def _joined(job: Job, parts: list[Predictions]) -> Predictions:
    catalog = job.surveyed.split.held_out
    keys = [key for part in parts for key in part.keys]
    places = {key: place for place, key in enumerate(keys)}
    order = [places[key] for key in catalog.keys]
    several = catalog.multi_label
    thresholds = [np.broadcast_to(part.thresholds, part.logits.shape) for part in parts if part.thresholds is not None]
    groups = tuple(sample.group or sample.key for sample in catalog.samples)
    return Predictions(
        keys=catalog.keys,
        logits=np.concatenate([part.logits for part in parts])[order],
        classes=catalog.classes,
        labels=catalog.labels,
        groups=groups if any(sample.group for sample in catalog.samples) else None,
        thresholds=np.concatenate(thresholds)[order] if several else None,
    )


def _answers(number: int) -> str:
    return f"{_FOLDER}/{number}.npz"


def _line(number: int) -> str:
    return f"{_FOLDER}/{number}.json"


def _read(bundle: Bundle, number: int) -> Predictions:
    return Predictions.from_bytes(bundle.read(_answers(number)), source=str(bundle.folder / _answers(number)))


class _Within:
    """Shows a fold as part of the whole."""

    def __init__(self, show: Show, name: str) -> None:
        self._show, self._name = show, name

    def say(self, text: str) -> None:
        self._show.say(f"{self._name}: {text}")

    def progress(self, what: str, done: int, total: int) -> None:
        self._show.progress(f"{self._name}: {what}", done, total)

    def event(self, event: Step | Epoch, *, epochs: int) -> None:
        self._show.event(event, epochs=epochs)
