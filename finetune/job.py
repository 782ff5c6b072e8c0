"""The whole job, top to bottom: from a recipe to a finished bundle. The file to read first.

Nothing here is clever: each line calls the room that knows how.
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import safetensors.torch

import finetune
from finetune import report, starter
from finetune.bundle import Bundle, Timings
from finetune.data.catalog import Catalog
from finetune.data.survey import Survey, find, survey
from finetune.diagnose import mistakes, reference
from finetune.errors import BundleError, OutputTaken, Stopped, UsageError, listing, printable
from finetune.model import backbone, heads, weights
from finetune.model.backbone import InputContract
from finetune.model.classifier import Classifier
from finetune.predict import Check, evaluate
from finetune.recipe import file as recipe_file
from finetune.recipe import plan as planning
from finetune.recipe.machine import versions
from finetune.recipe.plan import Plan
from finetune.recipe.schema import Recipe
from finetune.runtime import Runtime, StopRequests, generators_kept, seed, start, stop_requests
from finetune.scores.metrics import scores
from finetune.scores.predictions import Predictions
from finetune.train import checkpoint
from finetune.train.loop import Epoch, Setting, Step, Training, fit
from finetune.views import TrainingViews


class Show(Protocol):
    """How a run is watched: the command line draws it, a program may ignore it."""

    def say(self, text: str) -> None:
        """A line for people."""

    def progress(self, what: str, done: int, total: int) -> None:
        """How far a part of the run is."""

    def event(self, event: Step | Epoch, *, epochs: int) -> None:
        """A step or an epoch of training, of at most `epochs`."""


class Silent:
    """Watches nothing."""

    def say(self, text: str) -> None: ...
    def progress(self, what: str, done: int, total: int) -> None: ...
    def event(self, event: Step | Epoch, *, epochs: int) -> None: ...


@dataclass(frozen=True)
class _Job:
    """What a run and its resumption have in common."""

    recipe: Recipe
    bundle: Bundle
    surveyed: Survey
    training: Training
    stop: StopRequests
    show: Show


def run(
    source: Recipe | str | Path,
    *,
    output: str | Path | None = None,
    overrides: Sequence[str] = (),
    plan: Plan | None = None,
    show: Show | None = None,
    command: Sequence[str] = (),
) -> Bundle:
    """Runs a recipe, its file, or a folder of images with the recipe that `init` would write; returns the bundle.

    output: the folder of the bundle, which must be new or empty; by default `runs/<name>/<number>`. overrides: lines
    such as "train.batch_size=64", applied before the recipe is checked. plan: phases to train instead of those the
    recipe plans. Raises a FinetuneError for everything that the caller can mend; its `exit_code` says of what kind it
    is.
    """
    show = show or Silent()
    recipe = starter.recipe_of(source, overrides)
    found = find(recipe)
    target = Path(output) if output else Path("runs") / recipe.name
    _must_lie_outside(target, Path(recipe.data.root))
    if output and target.is_dir() and any(target.iterdir()):
        raise OutputTaken(f"{printable(str(target))} is not empty; a run needs a folder of its own")
    with stop_requests() as stop, generators_kept():
        timings = Timings()
        with timings.part("weights"):
            network = _network(recipe)
            receipt = weights.load(network, recipe.backbone.weights, seed=recipe.seed, classes=len(found.classes))
        with timings.part("reading images"):
            surveyed = survey(recipe, found, progress=_watch(show, stop, "reading images"))
        decided = plan or planning.plan(recipe, surveyed.facts(recipe))
        runtime = start(recipe.train.precision)
        setting = _setting(recipe, surveyed, decided, runtime, network.contract)
        classifier = _classifier(recipe, network, setting)
        bundle = Bundle.create(target) if output else Bundle.next(target)
        with bundle.locked():
            _open(bundle, recipe, surveyed, setting, classifier, receipt, command)
            timings.write_to(bundle)
            job = _Job(recipe, bundle, surveyed, Training(classifier, setting), stop, show)
            _say_start(job, receipt)
            _train_and_finish(job, timings)
    return Bundle.open(bundle.folder)


def resume(folder: str | Path, *, show: Show | None = None) -> Bundle:
    """Goes on with a run that was stopped or killed, from its last complete epoch; returns the finished bundle.

    On the same machine with the same versions and threads the bundle is the one that an uncut run leaves, bit for bit
    (times aside). A complete bundle is returned as it is. Raises BundleError when the images or the checkpoint are not
    those of the run.
    """
    show = show or Silent()
    bundle = Bundle.open(Path(folder))
    if bundle.complete:
        show.say(f"{printable(str(folder))} is complete: there is nothing to resume")
        if not bundle.has("report.html"):
            report.write(bundle)
        shutil.rmtree(bundle.folder / "checkpoints", ignore_errors=True)
        return bundle
    if "decided" not in bundle.facts:
        raise BundleError(
            f"{printable(str(folder))}: this run was cut off before it had begun, so there is nothing to go on from; "
            "delete the folder and run the recipe again"
        )
    recipe = recipe_file.load(bundle.folder / "recipe.yaml")
    with stop_requests() as stop, generators_kept(), bundle.locked():
        timings = Timings(bundle)
        surveyed = survey(recipe, find(recipe), progress=_watch(show, stop, "reading images"))
        _must_be_the_same_images(bundle, surveyed)
        decided = bundle.facts["decided"]
        runtime = start(decided["precision"], threads=decided["threads"])
        _say_differences(bundle, runtime, show)
        network = _network(recipe)
        kept = checkpoint.load(bundle.folder / "checkpoints")
        if kept is None:
            receipt = weights.load(network, recipe.backbone.weights, seed=recipe.seed, classes=len(surveyed.classes))
            _must_be_the_same_weights(bundle, receipt)
        setting = _setting(recipe, surveyed, bundle.plan, runtime, network.contract)
        training = Training(_classifier(recipe, network, setting), setting)
        if kept is not None:
            training.restore(kept)
            _write_history(bundle, training)
        show.say(f"resuming {printable(str(folder))} after epoch {len(training.history)}")
        _train_and_finish(_Job(recipe, bundle, surveyed, training, stop, show), timings)
    return Bundle.open(bundle.folder)


def _network(recipe: Recipe) -> backbone.Backbone:
    chosen, images = recipe.backbone, recipe.images
    return backbone.build(chosen.name, size=images.size, tag=chosen.tag, contract=images.contract)


def _setting(recipe: Recipe, surveyed: Survey, plan: Plan, runtime: Runtime, contract: InputContract) -> Setting:
    pixels = contract.preprocessing(recipe.images)
    return Setting(
        plan=plan,
        split=surveyed.split,
        preprocessing=pixels,
        views=TrainingViews(recipe.images.augment, pixels, seed=recipe.seed),
        train=recipe.train,
        seed=recipe.seed,
        runtime=runtime,
    )


def _classifier(recipe: Recipe, network: backbone.Backbone, setting: Setting) -> Classifier:
    seed(recipe.seed, "head")
    head = heads.build(recipe.head, features=network.features, classes=len(setting.split.train.classes))
    return Classifier(network, head, setting.preprocessing).to(setting.runtime.device)


def _open(
    bundle: Bundle,
    recipe: Recipe,
    surveyed: Survey,
    setting: Setting,
    classifier: Classifier,
    receipt: weights.Receipt,
    command: Sequence[str],
) -> None:
    """Writes all that is known before training, so that a crash leaves a trace and can be resumed."""
    bundle.write("recipe.yaml", recipe_file.dump(recipe, relative_to=bundle.folder).encode())
    bundle.write("plan.json", planning.to_json(setting.plan).encode())
    bundle.write("catalog.csv", surveyed.to_csv().encode())
    bundle.describe(
        {
            "name": recipe.name,
            "created_by": f"finetune {finetune.__version__}",
            "classes": list(setting.split.train.classes),
            "preprocessing": setting.preprocessing.to_dict(),
            "stages": classifier.stages(),
            "backbone": {"name": classifier.cut.name, "tag": receipt.tag},
            "head": recipe.head.model_dump(mode="json"),
            "receipt": asdict(receipt),
            "decided": setting.runtime.to_dict(),
            "versions": versions(),
            "command": list(command),
            "images": surveyed.counts(),
            "notes": list(surveyed.notes),
        }
    )


def _train_and_finish(job: _Job, timings: Timings) -> None:
    try:
        _train(job, timings)
        _finish(job, timings)
    except Stopped as stopped:
        folder = printable(str(job.bundle.folder))
        done = len(job.training.history)
        raise Stopped(
            f"{stopped}; {done} {'epoch is' if done == 1 else 'epochs are'} complete and kept; go on with\n"
            f"    finetune resume {folder}",
            signal=stopped.signal,
        ) from None


def _train(job: _Job, timings: Timings) -> None:
    training, bundle = job.training, job.bundle
    epochs = sum(phase.epochs for phase in training.setting.plan.phases)
    begun = time.monotonic()
    for event in fit(training, check=_watch(job.show, job.stop, "validating")):
        if isinstance(event, Epoch):
            folder = bundle.folder / "checkpoints"
            checkpoint.save(folder, training.checkpoint(), epoch=event.epoch, frozen=lambda: training.frozen)
            _write_history(bundle, training)
            timings.add(f"epoch {event.epoch}", time.monotonic() - begun)
            timings.write_to(bundle)
            begun = time.monotonic()
        job.show.event(event, epochs=epochs)
        job.stop.check()
    training.take_best()


def _finish(job: _Job, timings: Timings) -> None:
    """Everything after training, from the weights that ship: test images are touched here, once."""
    training, bundle, split = job.training, job.bundle, job.surveyed.split
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in training.classifier.state_dict().items()}
    bundle.write("model.safetensors", safetensors.torch.save(state))
    with timings.part("evaluation"):
        validation = _predict(job, split.validation, "validation")
        test = _predict(job, split.test, "test")
    if evidence := test or validation:
        mistakes.write(bundle, evidence, split.test if test else split.validation)
        reference.write(bundle, evidence, split.test if test else split.validation, training.setting.preprocessing)
    measured = {"validation": validation, "test": test}
    metrics = {name: scores(predictions) for name, predictions in measured.items() if predictions is not None}
    bundle.write_json("metrics.json", {**metrics, "images": job.surveyed.counts()})
    timings.write_to(bundle)
    bundle.seal()
    report.write(bundle)  # drawn from the sealed bundle, as it will be whenever it is drawn again
    shutil.rmtree(bundle.folder / "checkpoints", ignore_errors=True)


def _predict(job: _Job, catalog: Catalog, name: str) -> Predictions | None:
    if not len(catalog):
        return None
    setting = job.training.setting
    predictions = evaluate(
        job.training.classifier,
        catalog,
        preprocessing=setting.preprocessing,
        runtime=setting.runtime,
        check=_watch(job.show, job.stop, f"{name} images"),
    )
    job.bundle.write(f"predictions/{name}.npz", predictions.to_bytes())
    return predictions


def _write_history(bundle: Bundle, training: Training) -> None:
    lines = [json.dumps(asdict(epoch), allow_nan=False) + "\n" for epoch in training.history]
    bundle.write("history.jsonl", "".join(lines).encode())


def _must_lie_outside(target: Path, images: Path) -> None:
    if target.resolve().is_relative_to(images.resolve()):
        raise UsageError(
            f"the output {printable(str(target))} would lie among the images in {printable(str(images))}; name a "
            "folder outside of it with --output, or start from elsewhere"
        )


def _must_be_the_same_images(bundle: Bundle, surveyed: Survey) -> None:
    before, now = bundle.read("catalog.csv").decode(), surveyed.to_csv()
    if before != now:
        then, here = dict.fromkeys(before.splitlines()), dict.fromkeys(now.splitlines())
        gone = [f"then: {line}" for line in then if line not in here]
        new = [f"now:  {line}" for line in here if line not in then]
        raise BundleError(
            "the images are not those that the run began with, so it cannot go on exactly; put them back, or run the "
            f"recipe again into a new folder{listing([*gone, *new])}"
        )


def _must_be_the_same_weights(bundle: Bundle, receipt: weights.Receipt) -> None:
    before = bundle.facts["receipt"]["sha256"]
    if receipt.sha256 != before:
        raise BundleError(
            f"the pretrained weights have changed since the run began: SHA-256 {before} then, {receipt.sha256} now; "
            "put the file back, or run the recipe again into a new folder"
        )


def _say_differences(bundle: Bundle, runtime: Runtime, show: Show) -> None:
    before = {**bundle.facts["decided"], **bundle.facts["versions"]}
    now = {**runtime.to_dict(), **versions()}
    changed = [f"{name} {before[name]} then, {now.get(name)} now" for name in before if before[name] != now.get(name)]
    if changed:
        note = f"resumed elsewhere, so not bit for bit what an uncut run leaves: {'; '.join(changed)}"
        bundle.describe({**bundle.facts, "notes": [*bundle.facts["notes"], note]})
        show.say(note)


def _say_start(job: _Job, receipt: weights.Receipt) -> None:
    counts = job.surveyed.counts()
    job.show.say(
        f"{counts['train']} training, {counts['validation']} validation and {counts['test']} test images of "
        f"{len(job.surveyed.classes)} classes; {counts['left_out']} left out"
    )
    for note in job.surveyed.notes:
        job.show.say(note)
    job.show.say(receipt.describe())
    job.show.say(f"bundle: {printable(str(job.bundle.folder))}")


def _watch(show: Show, stop: StopRequests, what: str) -> Check:
    def check(done: int, total: int) -> None:
        show.progress(what, done, total)
        stop.check()

    return check
