"""A finished bundle on other labelled images: how these differ from its own, and all that a report shows of them.

Nothing of it is written into the bundle.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.audit.look import Looks
from finetune.bundle import Bundle, Unwritten
from finetune.bundle.facts import dump
from finetune.data import ledger
from finetune.diagnose import embedding, facts, maps, mistakes, tiles
from finetune.diagnose.asked import Asked
from finetune.predict import Check, Predictor, Score
from finetune.report.looked import Known
from finetune.report.reading import read
from finetune.scores.drift import drift
from finetune.scores.reliability import trust
from finetune.scores.slices import slices

DRIFT = "drift.json"
NEW = "test"  # the part that new images stand for in what a report reads

_OWN = ("test", "validation", "out_of_fold")
_LEARNT = ("train", "validation")
_KEPT = ("plan.json", "recipe.yaml", "history.jsonl", "evidence/choice.json", "evidence/probe.json")  # how it was made


@dataclass(frozen=True)
class Elsewhere:
    """New images beside the bundle's own: `drift` as `scores.drift` has it with `part`, that of the own images, None
    where the bundle was scored on none; `lacking`: facts of the new images that nothing is known of among its own;
    `facts`: those of the new images; `seen`, `own`: keys of new images that the bundle was trained or chosen on, and
    that it was scored on, byte for byte.
    """

    asked: Asked
    drift: dict[str, Any] | None
    lacking: tuple[str, ...]
    facts: dict[str, list[facts.Fact]]
    seen: tuple[str, ...]
    own: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What takes from the scores, in sentences."""
        said = []
        if self.seen:
            said.append(
                f"{_counted(self.seen)} among those that the bundle was trained or chosen on, byte for byte: "
                "the scores are optimistic"
            )
        if self.own:
            said.append(
                f"{_counted(self.own)} among those that the bundle was scored on when it was made, byte for byte"
            )
        return tuple(said)


def compared(bundle: Bundle, predictor: Predictor, result: Score, *, check: Check | None = None) -> Elsewhere:
    """How images that a bundle was scored on now differ from those that it was scored on when it was made.

    Raises BundleError for a damaged bundle.
    """
    asked = Asked(NEW, result.predictions, result.catalog)
    with Looks() as memory:
        found = facts.taken(asked, memory, threads=predictor.runtime.threads, check=check)
    known = {name: values for name, values in found.items() if name != "group"}
    met = (_met(bundle, result, _LEARNT), _met(bundle, result, ("test",)))
    part = next((part for part in _OWN if bundle.has(f"predictions/{part}.npz")), None)
    if part is None:
        return Elsewhere(asked, None, tuple(known), found, *met)
    own = bundle.predictions(part)
    before = _own_facts(bundle, part, own.keys)
    said = drift(own, asked.predictions, before, known, own_scores=bundle.metrics[part], new_scores=result.scores)
    folds = bundle.facts.get("images", {}).get("folds", 0)
    lacking = tuple(name for name in known if name not in before)
    return Elsewhere(asked, {"part": part, "folds": folds, **said}, lacking, found, *met)


def evaluation(
    bundle: Bundle,
    predictor: Predictor,
    result: Score,
    found: Elsewhere,
    *,
    command: Sequence[str],
    source: Path,
    check: Callable[[str], Check],
) -> Bundle:
    """What a report on the new images is drawn from, in memory: their answers and scores under the names that those of
    test images have in a bundle, with thumbnails, maps, embedding, facts and slices, and `drift.json`.

    command, source: what was typed, and the folder or table of the images. Raises UnreadableImage.
    """
    asked, runtime = found.asked, predictor.runtime
    shared = (predictor.classifier, predictor.preprocessing)
    files = {name: bundle.read(name) for name in _KEPT if bundle.has(name)}
    files |= mistakes.files(asked.predictions, asked.catalog)
    files |= tiles.files(asked, threads=runtime.threads, check=check("tiles"))
    files |= maps.files(asked.predictions, asked.catalog, *shared)
    files |= embedding.files(asked, *shared, runtime, check=check("embedding"))
    files["evidence/slices.json"] = dump(slices(asked.predictions, found.facts))
    files[f"predictions/{NEW}.npz"] = asked.predictions.to_bytes()
    files["catalog.csv"] = ledger.written({NEW: result.catalog}, result.catalog.left_out).encode()
    files["metrics.json"] = dump(_metrics(bundle, result))
    met = {"seen": len(found.seen), "own": len(found.own)}
    files[DRIFT] = dump({"source": source.name, "lacking": list(found.lacking), "compared": found.drift, **met})
    return Unwritten(bundle.folder, _facts(bundle, predictor, result, found, command), files)


def _met(bundle: Bundle, result: Score, parts: Sequence[str]) -> tuple[str, ...]:
    """The keys of new images that are, byte for byte, in these parts of the bundle's split."""
    there = {row["sha256"] for row in bundle.catalog if row["split"] in parts}
    return tuple(sample.key for sample in result.catalog.samples if sample.sha256 in there)


def _own_facts(bundle: Bundle, part: str, keys: Sequence[str]) -> dict[str, list[facts.Fact]]:
    """Those that the bundle was left with, of its own images in order; none where none were taken."""
    known = read(Known, bundle, "evidence/facts.json")
    if known is None or known.part != part or set(known.keys) != set(keys):
        return {}
    places = {key: place for place, key in enumerate(known.keys)}
    return {
        name: [values[places[key]] for key in keys]
        for name, values in known.facts.items()
        if name != "group" and len(values) == len(places)
    }


def _metrics(bundle: Bundle, result: Score) -> dict[str, Any]:
    """The new scores; bounds for answers come from images that the bundle kept apart, as when it was made."""
    folded = bundle.facts.get("images", {}).get("folds")
    parts = ("test",) if folded else ("validation", "out_of_fold")
    chooser = next((bundle.predictions(part) for part in parts if bundle.has(f"predictions/{part}.npz")), None)
    heat = {"temperature": bundle.facts.get("temperature", 1.0), "chosen_on": bundle.facts.get("temperature_chosen_on")}
    own = bundle.metrics
    kept = {"thresholds": own["thresholds"]} if "thresholds" in own else {}
    return {NEW: result.scores | trust(result.predictions, **heat, chooser=chooser), **kept}


def _facts(
    bundle: Bundle, predictor: Predictor, result: Score, found: Elsewhere, command: Sequence[str]
) -> dict[str, Any]:
    """What bundle.json says of the classifier, and what is so of these images."""
    notes = list(found.notes)
    without = [row["class"] for row in result.scores["per_class"] if not row["support"]]
    if without:
        notes.append(f"classes without images here: {', '.join(without)}")
    return {
        **bundle.facts,
        "command": list(command),
        "decided": {**predictor.runtime.to_dict(), "precision": "float32"},
        "images": {NEW: len(result.catalog), "left_out": len(result.catalog.left_out)},
        "notes": notes,
    }


def _counted(keys: Sequence[str]) -> str:
    return f"{len(keys)} of these images {'is' if len(keys) == 1 else 'are'}"
