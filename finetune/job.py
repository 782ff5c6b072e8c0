"""The whole job, top to bottom: from a recipe to a finished bundle. The file to read first.

Nothing here is clever: each line calls the room that knows how.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import safetensors.torch
from torch import Tensor

from finetune import crossval, record, report, starter
from finetune.audit.look import Looks
from finetune.bundle import Bundle, Timings, sameness
from finetune.choose import heads as probes
from finetune.choose.budget import OutOfTime, budget, ending
from finetune.choose.course import Surroundings
from finetune.choose.heads import Material
from finetune.choose.search import search
from finetune.data.adapters import frames
from finetune.data.catalog import Catalog
from finetune.data.pixels import Pixels
from finetune.data.store import Store
from finetune.data.survey import find, pinned, survey
from finetune.diagnose import evidence, examples, growth, health, mistakes, reference
from finetune.diagnose.asked import Asked
from finetune.errors import BundleError, OutputTaken, Stopped, UsageError, printable
from finetune.frozen.probe import Probe, Trial
from finetune.model import heads, weights
from finetune.model.backbone import Backbone
from finetune.model.classifier import Classifier
from finetune.predict import evaluate
from finetune.recipe import file as recipe_file
from finetune.recipe import planning
from finetune.recipe.machine import versions
from finetune.recipe.network import HeadChoice, Linear
from finetune.recipe.plan import Plan
from finetune.recipe.schedule import LpFt
from finetune.recipe.schema import Recipe
from finetune.report import card
from finetune.report.helps import NO_CURVE
from finetune.review import material
from finetune.runtime import generators_kept, seed, start, stop_requests
from finetune.scores.calibration import temperature
from finetune.scores.metrics import scores
from finetune.scores.predictions import Predictions
from finetune.scores.reliability import FEWEST, trust
from finetune.scores.thresholds import Thresholds
from finetune.train import checkpoint
from finetune.train.loop import Epoch, Training, fit
from finetune.train.setting import Setting
from finetune.train.settle import settle
from finetune.train.tracking import must_be_installed, tracked
from finetune.train.watching import Show, Silent, checking
from finetune.underway import Job, make_room

__all__ = ["Show", "Silent", "resume", "run"]


def run(
    source: Recipe | str | Path | Catalog,
    *,
    catalog: Catalog | None = None,
    output: str | Path | None = None,
    overrides: Sequence[str] = (),
    plan: Plan | None = None,
    show: Show | None = None,
    command: Sequence[str] = (),
) -> Bundle:
    """Runs a recipe or its file; a folder or table of images, or a catalog, with the recipe that `init` would write.

    Returns the bundle. catalog: images from Python, as `from_frame` gives them, instead of those that the recipe's data
    names; the bundle keeps the table of them and its recipe names that, so that it can be resumed. output: the folder
    of the bundle, which must be new or empty; by default `runs/<name>/<number>`. overrides: lines such as
    "train.batch_size=64", applied before the recipe is checked. plan: phases to train instead of those the recipe
    plans. Raises a FinetuneError for everything that the caller can mend; its `exit_code` says of what kind it is.
    """
    begun = time.monotonic()
    show = show or Silent()
    if isinstance(source, Catalog) and catalog is not None:
        raise UsageError("two catalogs are given; hand over one, as the source or beside a recipe")
    recipe = starter.recipe_of(source, overrides)
    must_be_installed(recipe.track)
    catalog = source if isinstance(source, Catalog) else catalog
    given = None if catalog is None else frames.handed(catalog, recipe.data)
    recipe = pinned(recipe) if given is None else recipe.model_copy(update={"data": given.data})
    found = find(recipe) if given is None else given.catalog
    target = Path(output) if output else Path("runs") / recipe.name
    starter.must_lie_outside(target, recipe.data)
    if output and target.is_dir() and any(target.iterdir()):
        raise OutputTaken(f"{printable(str(target))} is not empty; a run needs a folder of its own")
    with stop_requests() as stop, generators_kept(), Store.open() as store:
        timings = Timings()
        with timings.part("weights"):
            network, receipt = weights.network(recipe, classes=len(found.classes))
        with timings.part("reading images"):
            surveyed = survey(recipe, found, progress=checking(show, stop, "reading images"))
        runtime = start(recipe.train.precision, depthwise=network.depthwise)
        timings.on_device = runtime.most_memory
        allowed, costs = budget(recipe, surveyed, network, runtime, begun=begun)
        decided = plan or planning.plan(recipe, surveyed.facts(recipe), costs)
        planning.must_fit(decided, recipe)
        pixels = Pixels(store, where=recipe.images.store if recipe.decodes_again else "none")
        make_room(pixels, recipe, surveyed, network, must=True)
        bundle = Bundle.create(target) if output else Bundle.next(target)
        with bundle.locked():
            if given:
                recipe = record.images(bundle, recipe, given)
            job = Job(recipe, bundle, surveyed, runtime, store, pixels, stop, show, timings, allowed, costs)
            job.networks[recipe.backbone.model_dump_json()] = network, receipt
            record.opened(bundle, recipe, decided, surveyed, runtime, command)
            timings.write_to(bundle)
            job.say_start(decided)
            _work(job, decided)
    return Bundle.open(bundle.folder)


def resume(folder: str | Path, *, show: Show | None = None) -> Bundle:
    """Goes on with a run that was stopped or killed, from its last complete epoch; returns the finished bundle.

    On the same machine with the same versions and threads the bundle is the one that an uncut run leaves, bit for bit
    (times aside, and what `auto` has no time left for). A complete bundle is returned as it is. Raises BundleError when
    the images, the weights or the checkpoint are not those of the run.
    """
    begun = time.monotonic()
    show = show or Silent()
    bundle = Bundle.open(Path(folder))
    if bundle.complete:
        show.say(f"{printable(str(folder))} is complete: there is nothing to resume")
        if not bundle.has("report.html"):
            report.write(bundle)
        if not bundle.has(card.CARD):
            card.write(bundle)
        shutil.rmtree(bundle.folder / "checkpoints", ignore_errors=True)
        return bundle
    if "decided" not in bundle.facts:
        raise BundleError(
            f"{printable(str(folder))}: this run was cut off before it had begun, so there is nothing to go on from; "
            "delete the folder and run the recipe again"
        )
    recipe = recipe_file.load(bundle.folder / "recipe.yaml")
    must_be_installed(recipe.track)
    with stop_requests() as stop, generators_kept(), bundle.locked(), Store.open() as store:
        timings = Timings(bundle)
        surveyed = survey(recipe, find(recipe), progress=checking(show, stop, "reading images"))
        sameness.same_images(bundle, surveyed.to_csv())
        decided = bundle.facts["decided"]
        runtime = start(decided["precision"], threads=decided["threads"])
        timings.on_device = runtime.most_memory
        if note := sameness.differences(bundle, runtime.to_dict(), versions()):
            record.notes(bundle, [note])
            show.say(note)
        pixels = Pixels(store, where=recipe.images.store if recipe.decodes_again else "none")
        job = Job(recipe, bundle, surveyed, runtime, store, pixels, stop, show, timings)
        make_room(pixels, recipe, surveyed, job.network(recipe)[0], must=True)
        job.budget, job.costs = budget(recipe, surveyed, job.network(recipe)[0], runtime, begun=begun)
        kept = checkpoint.load(bundle.folder / "checkpoints")
        done = len(kept.state["history"]) if kept else 0
        folds = f"fold {crossval.complete(bundle, len(surveyed.folds))} and " if surveyed.folds else ""
        show.say(f"resuming {printable(str(folder))} after {folds}epoch {done}")
        _work(job, bundle.plan, kept)
    return Bundle.open(bundle.folder)


def _work(job: Job, plan: Plan, kept: checkpoint.Checkpoint | None = None) -> None:
    """From the plan to the sealed bundle: every fold, where the images are held out in folds, then what ships."""
    try:
        with tracked(job.recipe, job.bundle.folder) as job.trackers:
            folds = crossval.answered(job, plan, _held_out)
            training, probed = _trained(job, plan, kept)
            _finish(job, training, probed, folds)
    except Stopped as stopped:
        raise Stopped(
            f"{stopped}; {_done(job)} complete and kept; go on with\n"
            f"    finetune resume {printable(str(job.bundle.folder))}",
            signal=stopped.signal,
        ) from None


def _done(job: Job) -> str:
    folds = len(job.surveyed.folds)
    if (answered := crossval.complete(job.bundle, folds)) < folds:
        return f"{answered} of {folds} folds {'is' if answered == 1 else 'are'}"
    epochs = len(job.bundle.history) if job.bundle.has("history.jsonl") else 0
    return f"{epochs} {'epoch is' if epochs == 1 else 'epochs are'}"


def _trained(job: Job, plan: Plan, kept: checkpoint.Checkpoint | None) -> "tuple[Training, _Probed | None]":
    """Choose, if that is asked for, fit the head, train, settle: the weights that ship, and the probe before them."""
    job.say_of_cache()
    if plan.tiers and plan.chosen is None:
        plan = _choose(job, plan)
    recipe = plan.chosen.applied(job.recipe) if plan.chosen else job.recipe
    network, receipt = job.network(recipe)
    sameness.same_weights(job.bundle, receipt.sha256)
    setting = job.setting(recipe, network, plan)
    probed = _probed(job, recipe, setting, network) if plan.probe_views is not None else None
    classifier, head = _classifier(recipe, setting, network, probed)
    job.show.say(record.model(job.bundle, classifier, head, receipt, setting))
    job.say_of_maps(setting, network)
    training = Training(classifier, setting)
    start = training.trained if plan.probe_views is not None else {}
    if kept is not None:
        training.restore(kept)
        record.history(job.bundle, training)
        job.trackers.epochs(training.history)
    _train(job, training)
    went = _settle(job, recipe, training, start, plan) if start and plan.phases else float(bool(plan.phases))
    if probed and not went:
        record.temperature(job.bundle, probed[1].temperature, part="out_of_fold")
    _temper(job, training)
    return training, probed


def _held_out(job: Job, plan: Plan, kept: checkpoint.Checkpoint | None) -> dict[str, Predictions]:
    """What the model of one fold says of each part."""
    training, _ = _trained(job, plan, kept)
    return _answers(job, training)[0]


def _choose(job: Job, plan: Plan) -> Plan:
    """Tries the tiers of a plan, and leaves the plan of what was chosen, with the evidence, in the bundle."""
    facts = job.surveyed.facts(job.recipe)
    epochs = max((tier.epochs for tier in plan.tiers), default=0)
    around = Surroundings(
        catalog=job.surveyed.split.train,
        facts=facts,
        network=lambda recipe: job.network(recipe)[0],
        setting=job.setting,
        left=job.budget.left_to_choose,
        say=job.show.say,
        watch=lambda event: _watched(job, event, epochs),
        check=job.check,
    )
    with job.timings.part("choosing"):
        found = search(job.recipe, plan.tiers, around)
    decided = planning.plan(found.chosen.applied(job.recipe), facts)
    reasons = tuple(dict.fromkeys((*plan.reasons, *found.reasons, *decided.reasons)))
    decided = replace(decided, reasons=reasons, tiers=plan.tiers, chosen=found.chosen)
    record.choice(job.bundle, found, job.surveyed.split.train)
    record.plan(job.bundle, decided)
    return decided


def _watched(job: Job, event: object, epochs: int) -> None:
    if isinstance(event, Epoch):
        job.show.progress("training in folds: epoch", event.epoch, epochs)
    job.stop.check()


_Probed = tuple[Material, Probe]


def _classifier(
    recipe: Recipe, setting: Setting, network: Backbone, probed: _Probed | None
) -> tuple[Classifier, HeadChoice]:
    """The classifier before any step: with that of a probe, or with a new head."""
    if probed:
        choice, head = probes.described(probed[1], recipe.head), probes.module(probed[1])
    else:
        choice = recipe.head or Linear()
        seed(recipe.seed, "head")
        classes = len(setting.split.train.classes)
        head = heads.build(choice, features=network.width(recipe.stages), classes=classes)
    classifier = Classifier(network, head, setting.preprocessing, recipe.stages)
    return classifier.to(setting.runtime.device), choice


def _probed(job: Job, recipe: Recipe, setting: Setting, network: Backbone) -> _Probed:
    """The features and the head that the evidence speaks for, or that was chosen on them before."""
    with job.timings.part("probe"):
        given = probes.material(
            setting.extractor(network),
            setting.split.train,
            stages=recipe.stages,
            views=setting.plan.probe_views or 1,
            seed=recipe.seed,
            check=job.check("features"),
        )
        chosen = setting.plan.chosen
        trials = [Trial(**chosen.trial.model_dump())] if chosen else None
        threads = setting.runtime.threads
        probe = probes.fit(given, head=recipe.head, threads=threads, trials=trials, check=job.check("heads"))
    job.say_never_held_out(given)
    if not job.bundle.has("evidence/choice.json"):  # else the evidence is that of the choice
        record.probe(job.bundle, probe, setting.split.train)
    return given, probe


def _train(job: Job, training: Training) -> None:
    bundle = job.bundle
    epochs = sum(phase.epochs for phase in training.setting.plan.phases)
    begun = time.monotonic()
    for event in fit(training, check=job.check("validating"), look=health.looking):
        if isinstance(event, Epoch):
            folder = bundle.folder / "checkpoints"
            checkpoint.save(folder, training.checkpoint(), epoch=event.epoch, frozen=lambda: training.frozen)
            record.history(bundle, training)
            job.trackers.epochs(training.history)
            job.timings.add(f"epoch {event.epoch}", time.monotonic() - begun)
            job.timings.write_to(bundle)
            begun = time.monotonic()
        job.show.event(event, epochs=epochs)
        job.stop.check()
    training.take_best()


def _settle(job: Job, recipe: Recipe, training: Training, start: dict[str, Tensor], plan: Plan) -> float:
    """What ships lies between the probe and the tuned weights, and never below the probe on the training images.
    Returns how far from the probe, 0..1.
    """
    share = recipe.schedule.interpolate if isinstance(recipe.schedule, LpFt) else 1.0
    went, notes = settle(training, start, share=share, check=job.check("comparing with the probe"))
    if plan.chosen and went:
        found = plan.chosen.temperature ** (went / share)  # 1 where the probe is
        heads.temper(training.classifier.head, found)
        record.temperature(job.bundle, found, part="out_of_fold")
    job.note(*notes)
    return went


def _answers(job: Job, training: Training) -> tuple[dict[str, Predictions], Thresholds | None]:
    """What is said of each part by the weights that ship: test images are touched here, once."""
    split, held_out = job.surveyed.split, None
    if job.bundle.has("predictions/out_of_fold.npz"):
        held_out = job.bundle.predictions("out_of_fold")
    with job.timings.part("evaluation"):
        validation = _predict(job, training, split.validation, "validation")
        thresholds = _thresholds(job, validation, held_out)  # before any test image is looked at
        test = _predict(job, training, split.test, "test")
    asked = {"validation": validation, "test": test, "out_of_fold": held_out}
    measured = {name: predictions for name, predictions in asked.items() if predictions is not None}
    if thresholds:
        measured = {name: thresholds.applied(predictions) for name, predictions in measured.items()}
    return measured, thresholds


def _finish(job: Job, training: Training, probed: "_Probed | None", folds: Predictions | None) -> None:
    """Everything after training, from the weights that ship; `folds` are what is said of images held out in folds."""
    bundle, timings = job.bundle, job.timings
    job.say_of_cache()
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in training.classifier.state_dict().items()}
    bundle.write("model.safetensors", safetensors.torch.save(state))
    measured, thresholds = _answers(job, training)
    _evidence(job, training, measured, folds)
    measured |= {"test": folds} if folds else {}
    for name, predictions in measured.items():
        bundle.write(f"predictions/{name}.npz", predictions.to_bytes())
    metrics = {name: scores(predictions) for name, predictions in measured.items()}
    heated = (
        () if folds else ("validation", "test")
    )  # else each fold has its own temperature, and so has each held-out part
    heat, chosen_on = bundle.facts.get("temperature", 1.0), bundle.facts.get("temperature_chosen_on")
    chooser = None if folds else measured.get("validation", measured.get("out_of_fold"))
    for name, predictions in measured.items():
        beside = chooser if name == "test" else None
        known = {"temperature": heat, "chosen_on": chosen_on} if name in heated else {}
        metrics[name] |= trust(predictions, **known, chooser=beside)
    more = {"thresholds": thresholds.to_dict(job.surveyed.classes)} if thresholds else {}
    bundle.write_json("metrics.json", {**metrics, **more, "images": job.surveyed.counts()})
    job.trackers.scores(metrics, epochs=len(training.history))
    if probed:
        _learning_curve(job, *probed)
    _more_evidence(job, training, measured, folded=folds is not None)
    timings.write_to(bundle)
    bundle.seal()
    report.write(bundle)  # drawn from the sealed bundle, as it will be whenever it is drawn again
    card.write(bundle)
    shutil.rmtree(bundle.folder / "checkpoints", ignore_errors=True)


def _temper(job: Job, training: Training) -> None:
    """Divides the logits of what was trained by the temperature that validation images ask for; a head that was fitted
    or chosen is tempered by its out-of-fold answers already.
    """
    plan, validation = training.setting.plan, job.surveyed.split.validation
    if not plan.phases or plan.chosen or len(validation) < FEWEST:
        return
    with job.timings.part("evaluation"):
        said = _predict(job, training, validation, "validation")
    assert said is not None
    assert said.labels is not None
    found = temperature(said.logits, said.labels, smoothing=1 / (len(said) + 2))
    heads.temper(training.classifier.head, found)
    record.temperature(job.bundle, found, part="validation")


def _evidence(job: Job, training: Training, measured: dict[str, Predictions], folds: Predictions | None) -> None:
    """The worst mistakes on images that were held out, answers of what ships to compare with, and views."""
    split = job.surveyed.split
    own, images = measured.get("test", measured.get("validation")), split.test if len(split.test) else split.validation
    shown = mistakes.files(folds, split.held_out) if folds else mistakes.files(own, images) if own else {}
    for name, data in shown.items():
        job.bundle.write(name, data)
    if folds:
        images = reference.few(split.train)
        own = _predict(job, training, images, "reference")
    if own:
        reference.write(job.bundle, own, images, training.setting.preprocessing)
    examples.write(job.bundle, training.setting)


def _more_evidence(job: Job, training: Training, measured: dict[str, Predictions], *, folded: bool) -> None:
    """What else a report shows of the asked images; `auto` leaves out what its time is over for."""
    split, much = job.surveyed.split, job.recipe.evidence
    images = split.held_out if folded else split.test if len(split.test) else split.validation
    part = "test" if "test" in measured else "validation"
    source = evidence.Source(
        asked=Asked(part, measured[part], images, shipped=not folded) if part in measured else None,
        classifier=training.classifier,
        preprocessing=training.setting.preprocessing,
        runtime=training.setting.runtime,
        check=lambda what: ending(job.check(what), job.budget.over),
        material=lambda memory: material.read(job.bundle, memory=memory),
        answers=measured,
        trained=bool(training.history),
        curve=job.bundle.has(growth.NAME),
    )
    with job.timings.part("evidence"), Looks() as memory:
        try:
            for files in evidence.taken(source, memory, much=much):
                for name, data in files.items():
                    job.bundle.write(name, data)
        except OutOfTime:
            job.note(evidence.OUT_OF_TIME)
    if folded and much == "full":
        job.note(evidence.FOLDED)


def _learning_curve(job: Job, given: Material, probe: Probe) -> None:
    """What more images would bring; `auto` leaves it out when its time is over before the curve is whole."""
    check = ending(job.check("learning curve"), job.budget.over)
    with job.timings.part("learning curve"):
        try:
            found, why_not = growth.files(given, probe, seed=job.recipe.seed, check=check)
        except OutOfTime:
            found, why_not = {}, f"{NO_CURVE}there is no time left within the budget"
    for name, data in found.items():
        job.bundle.write(name, data)
    if why_not:
        job.note(why_not)


def _predict(job: Job, training: Training, catalog: Catalog, name: str) -> Predictions | None:
    if not len(catalog):
        return None
    setting = training.setting
    return evaluate(
        training.classifier,
        catalog,
        preprocessing=setting.preprocessing,
        runtime=setting.runtime,
        pixels=setting.pixels if name == "validation" else None,
        check=job.check(f"{name} images"),
    )


def _thresholds(job: Job, validation: Predictions | None, held_out: Predictions | None) -> Thresholds | None:
    """Above which each label is answered, where an image may have several."""
    classes = job.surveyed.classes
    if not job.surveyed.split.train.multi_label:
        return None
    found = Thresholds.of({"validation": validation, "out_of_fold": held_out}, classes=len(classes))
    record.thresholds(job.bundle, found)
    for note in found.notes(classes):
        job.show.say(note)
    return found
