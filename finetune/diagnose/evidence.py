"""All evidence of a report that needs the images, at the end of a run or later for a finished bundle."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finetune.audit.look import Looks
from finetune.bundle import Bundle
from finetune.bundle.shelf import PARTS
from finetune.data.catalog import Catalog
from finetune.data.decode import Preprocessing
from finetune.diagnose import audited, baseline, corruptions, embedding, facts, growth, maps, tiles
from finetune.diagnose.asked import Asked
from finetune.errors import BundleError, printable
from finetune.model.classifier import Classifier
from finetune.predict import Check, load
from finetune.report.helps import NO_CURVE
from finetune.review import material
from finetune.review.material import Material
from finetune.runtime import Runtime
from finetune.scores.predictions import Predictions

Much = Literal["basic", "full"]
Files = dict[str, bytes]
FOLDED = "no corruptions: what ships has learnt from every image, and the models that had not are gone"
OUT_OF_TIME = "some evidence was left out for want of time; `finetune evaluate BUNDLE --evidence` takes it"


@dataclass(frozen=True)
class Source:
    """What evidence is taken from. `asked`: None where no image was held out. `check`: for a part of the work what is
    called as it goes on, and may raise to stop it. `material`: the data as the run knew it, read when it is asked for.
    `answers`: what was said of images that had not been learnt from, by part. `trained`: whether gradient steps were
    taken; `curve`: whether there is a learning curve already.
    """

    asked: Asked | None
    classifier: Classifier
    preprocessing: Preprocessing
    runtime: Runtime
    check: Callable[[str], Check]
    material: Callable[[Looks], Material]
    answers: Mapping[str, Predictions]
    trained: bool
    curve: bool


def taken(source: Source, memory: Looks, *, much: Much) -> Iterator[Files]:
    """The files of one part of the evidence after the other, what is quick first, by their names in the bundle.

    basic: what the network is not asked for again, which are tiles, facts and slices. full: maps, the embedding,
    corruptions, the frozen baseline of what was trained, and an audit, which asks no network but knows what was
    answered.
    """
    asked = source.asked
    if asked is not None:
        threads, shared = source.runtime.threads, (source.classifier, source.preprocessing)
        yield tiles.files(asked, threads=threads, check=source.check("tiles"))
        yield facts.files(asked, memory, threads=threads, check=source.check("facts"))
        if much == "full":
            yield maps.files(asked.predictions, asked.catalog, *shared)
            yield embedding.files(asked, *shared, source.runtime, check=source.check("embedding"))
        if much == "full" and asked.shipped:
            yield corruptions.files(asked, *shared, source.runtime, check=source.check("corruptions"))
    if much == "full":
        known, network = source.material(memory), source.classifier.cut.name
        if asked is not None and asked.shipped and source.trained:
            yield dict(baseline.files(known, asked, source.runtime, curve=not source.curve, check=source.check))
        yield audited.files(known, source.answers, network=network, threads=source.runtime.threads)


def later(folder: Path, *, check: Callable[[str], Check]) -> Bundle:
    """Takes all evidence for a finished bundle, whose images are found again by its recipe, adds it and seals anew.

    Nothing is written before all of it is there; notes of the run that no longer hold are taken out. Raises BundleError
    for an incomplete or damaged bundle, DataError, naming them, for images that have moved or changed.
    """
    predictor, bundle = load(folder), Bundle.open(folder)
    with Looks() as memory:
        found = material.read(bundle, memory=memory, progress=check("looking at images"))
        source = Source(
            asked=asked_of(bundle, found),
            classifier=predictor.classifier,
            preprocessing=predictor.preprocessing,
            runtime=predictor.runtime,
            check=check,
            material=lambda _: found,
            answers={part: bundle.predictions(part) for part in PARTS if bundle.has(f"predictions/{part}.npz")},
            trained=bundle.has("history.jsonl") and bool(bundle.history),
            curve=bundle.has(growth.NAME),
        )
        files = {name: data for part in taken(source, memory, much="full") for name, data in part.items()}
    settled = (OUT_OF_TIME, FOLDED, *((NO_CURVE,) if growth.NAME in files else ()))
    notes = [note for note in bundle.facts.get("notes", []) if not note.startswith(settled)]
    bundle.add(files, notes=[*notes, FOLDED] if source.asked and not source.asked.shipped else notes)
    return Bundle.open(folder)


def asked_of(bundle: Bundle, found: Material) -> Asked | None:
    """The asked images of a bundle, whose samples are those of the material; None where none was held out."""
    part = next((part for part in ("test", "validation") if bundle.has(f"predictions/{part}.npz")), None)
    if part is None:
        return None
    predictions = bundle.predictions(part)
    samples = {sample.key: sample for sample in found.known.catalog.samples}
    if missing := [key for key in predictions.keys if key not in samples]:
        raise BundleError(
            f"{printable(str(bundle.folder))}: {len(missing)} images were answered that its table does not have, such "
            f"as {printable(missing[0])!r}"
        )
    catalog = Catalog(tuple(samples[key] for key in predictions.keys), tuple(bundle.facts["classes"]))
    return Asked(part, predictions, catalog, shipped=not bundle.facts["images"].get("folds"))
