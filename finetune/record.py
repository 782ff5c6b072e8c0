"""What a run writes into its bundle as it goes: what was asked and decided, what the model is, what was found out.

Nothing here decides or computes; the values are those of the job.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

import finetune
from finetune.bundle import Bundle
from finetune.choose.search import Found
from finetune.data.adapters.frames import FILE, Handed
from finetune.data.catalog import Catalog
from finetune.data.survey import Survey
from finetune.frozen.probe import Probe
from finetune.model.classifier import Classifier
from finetune.model.weights import Receipt
from finetune.recipe import file, planfile
from finetune.recipe.machine import versions
from finetune.recipe.network import HeadChoice
from finetune.recipe.plan import Plan
from finetune.recipe.schema import Recipe
from finetune.runtime import Runtime
from finetune.scores.predictions import Predictions
from finetune.scores.thresholds import Thresholds
from finetune.train.loop import Training
from finetune.train.setting import Setting


def opened(
    bundle: Bundle, recipe: Recipe, decided: Plan, surveyed: Survey, runtime: Runtime, command: Sequence[str]
) -> None:
    """All that is known before anything is computed, so that a crash leaves a trace and can be resumed."""
    bundle.write("recipe.yaml", file.dump(recipe, relative_to=bundle.folder).encode())
    plan(bundle, decided)
    bundle.write("catalog.csv", surveyed.to_csv().encode())
    bundle.describe(
        {
            "name": recipe.name,
            "created_by": f"finetune {finetune.__version__}",
            "classes": list(surveyed.classes),
            "multi_label": surveyed.split.train.multi_label,
            "decided": runtime.to_dict(),
            "versions": versions(),
            "command": list(command),
            "images": surveyed.counts(),
            "notes": list(surveyed.notes),
        }
    )


def images(bundle: Bundle, recipe: Recipe, given: Handed) -> Recipe:
    """The table of images that came from Python; returns the recipe that names it."""
    bundle.write(FILE, given.lines)
    return recipe.model_copy(update={"data": given.at(bundle.folder.absolute() / FILE)})


def plan(bundle: Bundle, decided: Plan) -> None:
    """The plan, in place of an earlier one."""
    bundle.write("plan.json", planfile.to_json(decided).encode())


def choice(bundle: Bundle, found: Found, catalog: Catalog) -> None:
    """Every way that was tried and what came of it; the head and the out-of-fold answers of the best."""
    bundle.write_json("evidence/choice.json", [asdict(outcome) for outcome in found.outcomes])
    _trials(bundle, found.probe)
    _held_out(bundle, catalog, found.held.logits)


def probe(bundle: Bundle, found: Probe, catalog: Catalog) -> None:
    """The heads that were tried, and the out-of-fold answers of the best."""
    _trials(bundle, found)
    _held_out(bundle, catalog, found.logits)


def model(bundle: Bundle, classifier: Classifier, head: HeadChoice, receipt: Receipt, setting: Setting) -> str:
    """What the model is; returns it as a line for people."""
    fitted = setting.plan.probe_views is not None
    said = replace(receipt, head=receipt.head.replace("new", "fitted")) if fitted else receipt
    bundle.describe(
        {
            **bundle.facts,
            "preprocessing": setting.preprocessing.to_dict(),
            "stages": classifier.stages(),
            "backbone": {"name": classifier.cut.name, "tag": receipt.tag},
            "head": head.model_dump(mode="json"),
            "receipt": asdict(said),
        }
    )
    return said.describe()


def history(bundle: Bundle, training: Training) -> None:
    """A line for every epoch so far."""
    lines = [json.dumps(asdict(epoch), allow_nan=False) + "\n" for epoch in training.history]
    bundle.write("history.jsonl", "".join(lines).encode())


def notes(bundle: Bundle, more: Sequence[str]) -> None:
    """Sentences worth knowing, beside those that are there."""
    known = bundle.facts["notes"]
    bundle.describe({**bundle.facts, "notes": [*known, *(note for note in more if note not in known)]})


def temperature(bundle: Bundle, chosen: float, *, part: str) -> None:
    """What the logits of the weights that ship were divided by, in their head, and on which part that was chosen."""
    bundle.describe({**bundle.facts, "temperature": chosen, "temperature_chosen_on": part})


def thresholds(bundle: Bundle, chosen: Thresholds) -> None:
    """The probabilities above which labels are answered, and what is worth knowing of them."""
    bundle.describe({**bundle.facts, "thresholds": list(chosen.values)})
    notes(bundle, chosen.notes(bundle.facts["classes"]))


def _trials(bundle: Bundle, found: Probe) -> None:
    rows = [{**asdict(row), "chosen": row.trial == found.trial} for row in found.table]
    bundle.write_json("evidence/probe.json", rows)


def _held_out(bundle: Bundle, catalog: Catalog, logits: np.ndarray) -> None:
    """What was said of each training image by a classifier that had not learnt from it; NaN: it was not asked."""
    places = np.flatnonzero(np.isfinite(logits).all(axis=1))
    asked = catalog.select(places)
    groups = tuple(sample.group or sample.key for sample in asked.samples)
    grouped = any(sample.group for sample in asked.samples)
    predictions = Predictions(asked.keys, logits[places], asked.classes, asked.labels, groups if grouped else None)
    bundle.write("predictions/out_of_fold.npz", predictions.to_bytes())
