import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from pydantic import TypeAdapter

import finetune
from finetune import job
from finetune.bundle import Bundle
from finetune.bundle.shelf import row
from finetune.choose import budget
from finetune.choose import heads as probes
from finetune.choose.course import Course
from finetune.data.store import Store
from finetune.data.survey import find, survey
from finetune.errors import BundleError, OutputTaken, Stopped, UsageError
from finetune.model import backbone, speed, weights
from finetune.recipe import file, planning
from finetune.recipe.cost import Costs
from finetune.recipe.network import HeadChoice
from finetune.recipe.plan import Chosen, ChosenTrial, Phase, Plan, Tier
from finetune.recipe.schedule import LpFt
from finetune.recipe.schedule import Probe as ProbeSchedule
from finetune.runtime import StopRequests, start
from finetune.scores.calibration import temperature
from finetune.scores.metrics import scores
from finetune.train.loop import Epoch, Step, Training
from finetune.train.setting import Setting
from tests.conftest import draw, draw_alike, draw_classes
from tests.laws import Crash, CutAfter, assert_same

Write = Callable[..., Path]


class Watching(job.Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.parts: set[str] = set()

    def say(self, text: str) -> None:
        self.said.append(text)

    def progress(self, what: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        self.parts.add(what)


def test_a_run_leaves_a_bundle_that_says_everything_of_itself(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    (photos / "red" / "notes.txt").write_text("x")
    watching = Watching()
    bundle = job.run(
        write_recipe(photos), output=tmp_path / "run", show=watching, command=["finetune", "run", "toy.yaml"]
    )
    assert bundle.complete
    bundle.verify()
    facts = bundle.facts
    assert facts["classes"] == ["blue", "green", "red"]
    assert facts["command"] == ["finetune", "run", "toy.yaml"]
    assert facts["images"] == {"train": 12, "validation": 6, "test": 6, "left_out": 1}
    assert facts["receipt"]["source"].startswith("random")
    assert facts["decided"]["threads"] >= 1
    assert "torch" in facts["versions"]
    assert set(bundle.metrics) == {"validation", "test", "images"}
    assert len(bundle.history) == 2
    assert [row["note"] for row in bundle.catalog if row["split"] == "left out"] != []
    assert {line["part"] for line in bundle.timings} >= {"reading images", "epoch 1", "epoch 2", "evaluation"}
    held = [line["memory"] for line in bundle.timings]
    assert held == sorted(held)
    assert 50e6 < held[-1] < 100e9
    assert not (bundle.folder / "checkpoints").exists()
    assert (bundle.folder / "report.html").stat().st_size > 1000
    assert any(
        line.startswith("12 training, 6 validation and 6 test images of 3 classes; 1 left out")
        for line in watching.said
    )
    assert watching.parts >= {"reading images", "validating", "test images"}


def test_the_recipe_in_the_bundle_is_the_one_that_ran(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    path = write_recipe(photos)
    bundle = finetune.run(path, output=tmp_path / "run", overrides=["train.batch_size=6"])
    recipe = file.load(bundle.folder / "recipe.yaml")
    assert recipe.train.batch_size == 6
    assert recipe == file.load(path, overrides=["train.batch_size=6"])
    again = finetune.run(bundle.folder / "recipe.yaml", output=tmp_path / "again", plan=bundle.plan)
    assert again.read("model.safetensors") == bundle.read("model.safetensors")
    assert again.metrics == bundle.metrics


def test_runs_are_numbered_below_the_name_of_the_recipe(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = file.load(write_recipe(photos, schedule="{kind: head, epochs: 1}", name="bees"))
    assert finetune.run(recipe).folder == Path("runs/bees/1")
    assert finetune.run(recipe, overrides=["seed=3"]).folder == Path("runs/bees/2")


def test_a_folder_runs_with_the_recipe_that_init_would_write(photos: Path, tmp_path: Path) -> None:
    overrides = ["backbone={name: test_resnet, weights: {kind: random}}", "schedule.budget=1h"]
    bundle = finetune.run(photos, output=tmp_path / "run", overrides=overrides)
    assert bundle.complete
    assert file.load(bundle.folder / "recipe.yaml").name == "photos"


def labelled_table(photos: Path) -> Path:
    path = photos.parent / "shots.csv"
    rows = [
        f"{image.relative_to(photos.parent).as_posix()},{image.parent.name}" for image in sorted(photos.rglob("*.png"))
    ]
    path.write_text("\n".join(["path,label", *rows]))
    return path


def test_a_table_runs_like_the_folder_it_names(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, schedule="head")
    data = f"data={{kind: table, file: {labelled_table(photos)}, root: {tmp_path}}}"
    bundle = job.run(recipe, output=tmp_path / "run", overrides=[data])
    folders = job.run(recipe, output=tmp_path / "other")
    assert [row["sha256"] for row in bundle.catalog] == [row["sha256"] for row in folders.catalog]
    assert [row["split"] for row in bundle.catalog] == [row["split"] for row in folders.catalog]
    assert job.resume(bundle.folder).complete
    assert file.load(bundle.folder / "recipe.yaml").data.kind == "table"


def test_a_catalog_from_python_is_kept_in_the_bundle_and_can_be_resumed(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    paths = sorted(photos.rglob("*.png"))
    catalog = finetune.from_paths(paths, [path.parent.name for path in paths], groups=[path.stem for path in paths])
    recipe = write_recipe(photos, schedule="head")
    recipe.write_text(recipe.read_text().replace("kind: stratified", "kind: grouped"))
    uncut, cut = tmp_path / "a" / "uncut", tmp_path / "a" / "cut"
    bundle = job.run(recipe, catalog=catalog, output=uncut)
    assert "images.jsonl" in bundle.facts["files"]
    assert str(tmp_path) not in bundle.read("images.jsonl").decode()
    kept = file.load(uncut / "recipe.yaml")
    assert kept.data.kind == "table"
    assert find(kept).keys == tuple(sorted(catalog.keys))
    with pytest.raises(Crash):
        job.run(recipe, catalog=catalog, output=cut, show=CutAfter(1))
    assert not job.resume(cut).facts["notes"]
    assert_same(uncut, cut)


def test_a_catalog_alone_runs_with_the_recipe_that_init_would_write(photos: Path, tmp_path: Path) -> None:
    overrides = ["backbone={name: test_resnet, weights: {kind: random}}", "schedule={kind: probe}"]
    paths = sorted(photos.rglob("*.png"))
    catalog = finetune.from_frame({"path": paths, "label": [path.parent.name for path in paths]})
    assert finetune.run(catalog, output=tmp_path / "run", overrides=overrides).complete
    with pytest.raises(UsageError, match="two catalogs are given"):
        finetune.run(catalog, catalog=catalog)


def test_a_path_that_is_not_there_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no"):
        finetune.run(tmp_path / "nowhere.yaml", output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_output_that_is_taken_is_refused(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    with pytest.raises(OutputTaken):
        job.run(write_recipe(photos), output=photos.parent)


def test_an_output_among_the_images_is_refused(
    photos: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="would lie among the images"):
        job.run(write_recipe(photos), output=photos / "red" / "run")
    monkeypatch.chdir(photos)
    with pytest.raises(UsageError, match="would lie among the images"):
        job.run(write_recipe(photos))
    assert not (photos / "runs").exists()


def test_trained_weights_are_tempered_by_validation_images(tmp_path: Path, write_recipe: Write) -> None:
    photos = draw_alike(tmp_path / "alike", {"a": 48, "b": 48})
    recipe = write_recipe(photos, schedule="{kind: full, epochs: 2, lr: 1.0e-2}")
    bundle = finetune.run(recipe, output=tmp_path / "run")
    heat, said = bundle.facts["temperature"], bundle.predictions("validation")
    assert said.labels is not None
    assert heat != 1
    assert temperature(said.logits, said.labels, smoothing=1 / (len(said) + 2)) == pytest.approx(1, abs=1e-3)
    told = bundle.metrics["test"]["calibration"]["temperature"]
    assert (told["value"], told["chosen_on"]) == (heat, "validation")
    assert told["before"]["log_loss"]["value"] != told["after"]["log_loss"]["value"]
    assert bundle.metrics["test"]["selective"]["risk"][-1] == pytest.approx(
        1 - bundle.metrics["test"]["accuracy"]["value"]
    )
    answers = finetune.load(bundle.folder).predict([photos / key for key in said.keys])
    np.testing.assert_array_equal(answers.logits, said.logits)


def test_without_test_images_the_validation_score_stands_alone(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(photos)
    bundle = job.run(recipe, output=tmp_path / "run", overrides=["split.test=0"])
    assert set(bundle.metrics) == {"validation", "images"}
    assert not bundle.has("predictions/test.npz")
    assert "optimistic" in (bundle.folder / "report.html").read_text()


def test_without_any_held_out_images_nothing_is_claimed(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    bundle = job.run(write_recipe(photos), output=tmp_path / "run", overrides=["split.test=0", "split.validation=0"])
    assert set(bundle.metrics) == {"images"}
    assert (bundle.folder / "report.html").exists()


def test_a_plan_of_ones_own_is_trained(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    own = Plan((Phase(("stage4", "head"), 1, 1e-3, 0.5, "batch"),), ("my own",))
    bundle = job.run(write_recipe(photos), output=tmp_path / "run", plan=own)
    assert bundle.plan == own
    assert [line["train"] for line in bundle.history] == [["stage4", "head"]]


def test_a_request_to_stop_says_how_to_go_on(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[StopRequests] = []
    real = StopRequests.check

    def check(self: StopRequests) -> None:
        asked.append(self)
        real(self)

    monkeypatch.setattr(StopRequests, "check", check)

    class After(job.Silent):
        def event(self, event: Step | Epoch, *, epochs: int) -> None:
            if isinstance(event, Epoch):
                asked[-1].note(15, None)

    with pytest.raises(
        Stopped, match="stopped by SIGTERM; 1 epoch is complete and kept; go on with\n    finetune resume"
    ) as stopped:
        job.run(write_recipe(photos), output=tmp_path / "run", show=After())
    assert stopped.value.exit_code == 143
    monkeypatch.undo()
    assert job.resume(tmp_path / "run").complete


def interrupted(recipe: Path, output: Path, *, steps: int) -> Path:
    with pytest.raises(Crash):
        job.run(recipe, output=output, show=CutAfter(steps))
    return output


@pytest.mark.parametrize("steps", [1, 5])
def test_resuming_refuses_images_that_have_changed(
    steps: int, photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    run = interrupted(write_recipe(photos), tmp_path / "run", steps=steps)
    draw(photos / "red" / "new.png", hue=(200, 0, 0), seed=99)
    with pytest.raises(BundleError, match=r"now:  red/new.png"):
        job.resume(run)
    (photos / "red" / "new.png").unlink()
    assert job.resume(run).complete


def test_resuming_refuses_weights_that_have_changed(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    def weights(number: int) -> None:
        tensors = backbone.create("test_resnet", seed=number).state_dict()
        (tmp_path / "w.safetensors").write_bytes(safetensors.torch.save(tensors))

    weights(1)
    recipe = write_recipe(photos)
    recipe.write_text(recipe.read_text().replace("{kind: random}", "{kind: file, path: w.safetensors}"))
    run = interrupted(recipe, tmp_path / "run", steps=1)
    weights(2)
    with pytest.raises(BundleError, match="the pretrained weights have changed since the run began"):
        job.resume(run)
    weights(1)
    assert job.resume(run).complete


def test_resuming_elsewhere_is_said_and_noted(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    run = interrupted(write_recipe(photos), tmp_path / "run", steps=5)
    bundle = Bundle.open(run)
    bundle.describe({**bundle.facts, "versions": {**bundle.facts["versions"], "torch": "1.0"}})
    watching = Watching()
    finished = job.resume(run, show=watching)
    assert any("torch 1.0 then" in line for line in watching.said)
    assert any("not bit for bit" in note for note in finished.facts["notes"])
    assert any("after epoch 1" in line for line in watching.said)


def test_a_complete_bundle_is_returned_as_it_is(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    bundle = job.run(write_recipe(photos), output=tmp_path / "run")
    drawn = (bundle.folder / "report.html").read_bytes()
    (bundle.folder / "report.html").unlink()  # as if it had been killed between the last two lines of a run
    (bundle.folder / "checkpoints").mkdir()
    watching = Watching()
    assert job.resume(bundle.folder, show=watching).facts == bundle.facts
    assert "nothing to resume" in watching.said[0]
    assert (bundle.folder / "report.html").read_bytes() == drawn
    assert not (bundle.folder / "checkpoints").exists()


def test_a_run_that_had_not_begun_cannot_be_resumed(tmp_path: Path) -> None:
    Bundle.create(tmp_path / "run")
    with pytest.raises(BundleError, match="cut off before it had begun"):
        job.resume(tmp_path / "run")


def test_the_most_memory_of_a_resumed_run_is_that_of_all_its_sittings(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (first, second) in enumerate([(9_000_000_000, 500_000_000), (500_000_000, 9_000_000_000)]):
        folder = tmp_path / str(number)
        monkeypatch.setattr("finetune.bundle.timings.most_held", lambda held=first: held)
        with pytest.raises(Crash):
            job.run(write_recipe(photos), output=folder, show=CutAfter(5))
        assert row(folder, "x").memory == first
        monkeypatch.setattr("finetune.bundle.timings.most_held", lambda held=second: held)
        bundle = job.resume(folder)
        assert row(folder, "x").memory == 9_000_000_000
        page = (bundle.folder / "report.html").read_text()
        assert "<dt>memory, at most</dt>" in page
        assert ">9.0 GB</span>" in page


def test_a_folder_that_is_no_bundle_cannot_be_resumed(photos: Path) -> None:
    with pytest.raises(BundleError):
        job.resume(photos)


def test_given_splits_are_scored_as_given(tmp_path: Path, write_recipe: Write) -> None:
    root = tmp_path / "set"
    for part, count in (("train", 6), ("val", 3)):
        draw_classes(root / part, {"a": count, "b": count})
    recipe = write_recipe(root)
    text = recipe.read_text().replace(
        "{kind: stratified, validation: 0.25, test: 0.25}", "{kind: given, test: val, validation: 0.3}"
    )
    recipe.write_text(text)
    bundle = job.run(recipe, output=tmp_path / "run")
    assert {key.split("/")[0] for key in bundle.predictions("test").keys} == {"val"}
    assert bundle.metrics["images"]["test"] == 6
    assert json.loads(bundle.read("reference/reference.json"))[0]["key"].startswith("val/")


# a probe


class Counting:
    """How often the network that is drawn here runs on images, and on how many in all."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> "Counting":
        self.hook = torch.nn.modules.module.register_module_forward_pre_hook(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        self.hook.remove()

    def _count(self, module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        self.calls += type(module).__name__ == "ResNet" and given[0].device.type != "meta"


def test_a_probe_leaves_its_evidence(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    bundle = job.run(write_recipe(photos, schedule="probe"), output=tmp_path / "run")
    bundle.verify()
    rows = json.loads(bundle.read("evidence/probe.json"))
    assert len(rows) > 50
    assert sum(row["chosen"] for row in rows) == 1
    assert {row["trial"]["family"] for row in rows} == {"ncm", "cosine", "lda", "logistic", "ridge", "knn"}
    (chosen,) = (row for row in rows if row["chosen"])
    held = bundle.predictions("out_of_fold")
    assert set(held.keys) == {row["key"] for row in bundle.catalog if row["split"] == "train"}
    assert bundle.metrics["out_of_fold"]["accuracy"]["value"] == chosen["accuracy"]
    assert bundle.metrics["out_of_fold"]["log_loss"]["value"] == pytest.approx(chosen["log_loss"], abs=1e-6)
    assert set(bundle.metrics) == {"test", "out_of_fold", "images"}
    assert not bundle.has("history.jsonl")
    assert bundle.plan.phases == ()
    assert bundle.facts["head"]["kind"] in ("linear", "cosine")
    assert "fitted" in bundle.facts["receipt"]["head"]
    assert (bundle.folder / "report.html").stat().st_size > 1000


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_what_ships_says_what_the_probe_says_of_features(head: str, tmp_path: Path, write_recipe: Write) -> None:
    photos = draw_alike(tmp_path / "photos", {"blue": 12, "green": 12, "red": 12})
    path = write_recipe(photos, schedule="probe")
    bundle = job.run(path, output=tmp_path / "run", overrides=[f"head={{kind: {head}}}"])
    recipe = file.load(path)
    network, _ = weights.network(recipe, classes=3)
    surveyed = survey(recipe, find(recipe))
    with Store.open() as store:
        runtime = start()
        setting = Setting.of(recipe, surveyed.split, bundle.plan, network=network, runtime=runtime, store=store)
        extractor = setting.extractor(network)
        given = probes.material(extractor, surveyed.split.train, stages=("stage4",), views=1, seed=recipe.seed)
        probe = probes.fit(given, head=TypeAdapter(HeadChoice).validate_python({"kind": head}), threads=1)
        features = extractor.pooled(surveyed.split.test.samples)[0]
    stored = bundle.predictions("test")
    assert stored.keys == surveyed.split.test.keys
    assert np.abs(probe.fitted.logits(features) - stored.logits).max() < 1e-5 * max(1, np.abs(stored.logits).max())
    assert bundle.facts["head"]["kind"] == head


@pytest.mark.parametrize("schedule", ["probe", "lp_ft"])
def test_a_second_run_computes_no_feature(
    schedule: str, photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    recipe = write_recipe(photos, schedule=schedule)
    with Counting() as first:
        job.run(recipe, output=tmp_path / "first")
    with Counting() as second:
        again = job.run(recipe, output=tmp_path / "second")
    assert again.metrics["images"]["test"] == 6
    if schedule == "probe":
        assert second.calls == 1  # the test images
    assert second.calls < first.calls


def test_validation_images_of_a_probe_are_learnt_from_and_that_is_said(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    watching = Watching()
    bundle = job.run(write_recipe(photos, schedule="probe"), output=tmp_path / "run", show=watching)
    assert bundle.metrics["images"] == {"train": 18, "validation": 0, "test": 6, "left_out": 0}
    note = "6 validation images are learnt from too: what ships is chosen on folds of all that is not for testing"
    assert note in bundle.facts["notes"]
    assert note in watching.said


def test_a_probe_without_any_held_out_images_is_scored_out_of_fold(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    bundle = job.run(
        write_recipe(photos, schedule="probe"),
        output=tmp_path / "run",
        overrides=["split.test=0", "split.validation=0"],
    )
    assert set(bundle.metrics) == {"out_of_fold", "images"}
    assert len(bundle.predictions("out_of_fold")) == 24
    assert "held-out" in (bundle.folder / "report.html").read_text()


# training from a probe


@pytest.mark.parametrize("validation", [0.0, 0.25])
def test_training_from_a_probe_with_validation_images_and_without(
    validation: float, tmp_path: Path, write_recipe: Write
) -> None:
    photos = draw_alike(tmp_path / "photos", {"blue": 16, "red": 16})
    recipe = write_recipe(photos, schedule="lp_ft")
    watching = Watching()
    bundle = job.run(recipe, output=tmp_path / "run", show=watching, overrides=[f"split.validation={validation}"])
    assert len(bundle.history) == 2
    assert (bundle.history[0]["validation_loss"] is None) == (validation == 0)
    assert set(bundle.metrics) == {"test", "out_of_fold", "images"} | ({"validation"} if validation else set())
    assert bundle.plan.probe_views == 8
    assert [phase.views for phase in bundle.plan.phases] == [8]
    assert bundle.has("evidence/probe.json")
    assert watching.parts >= {"features", "heads", "comparing with the probe"}
    assert finetune.load(bundle.folder).predict(photos / bundle.predictions("test").keys[0]).logits.shape == (1, 2)


def test_an_absurd_rate_ships_the_probe_and_says_so(tmp_path: Path, write_recipe: Write) -> None:
    photos = draw_alike(tmp_path / "photos", {"blue": 12, "red": 12})
    alike = {"more": ", views: 2", "schedule": "probe"}
    kept = job.run(write_recipe(photos, **alike), output=tmp_path / "kept", overrides=["split.validation=0"])
    alike["schedule"] = "{kind: lp_ft, train: [stage4, head], epochs: 1, lr: 10}"
    tuned = job.run(write_recipe(photos, **alike), output=tmp_path / "tuned", overrides=["split.validation=0"])
    assert tuned.facts["notes"] == [
        "training from the probe made it worse on the training images; the probe itself ships"
    ]
    assert tuned.history[0]["train_loss"] > 1
    assert tuned.read("model.safetensors") == kept.read("model.safetensors")
    assert tuned.predictions("test").to_bytes() == kept.predictions("test").to_bytes()


def test_a_part_of_the_way_is_noted_once_also_when_it_is_cut_off_after_it(tmp_path: Path, write_recipe: Write) -> None:
    photos = draw_alike(tmp_path / "photos", {"blue": 16, "red": 16})
    half = "{kind: lp_ft, train: [head], epochs: 1, lr: 1.0e-4, interpolate: 0.5}"
    recipe = write_recipe(photos, schedule=half)

    class Cut(job.Silent):
        def progress(self, what: str, done: int, total: int) -> None:
            if what == "test images":
                raise Crash

    with pytest.raises(Crash):
        job.run(recipe, output=tmp_path / "cut", show=Cut())
    notes = job.resume(tmp_path / "cut").facts["notes"]
    assert notes == ["what ships lies 0.5 of the way from the probe to the trained weights"]


def test_a_plan_that_begins_with_a_probe_runs_for_a_recipe_of_another_schedule(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    plan = job.run(write_recipe(photos, schedule="lp_ft"), output=tmp_path / "lp_ft").plan
    bundle = job.run(write_recipe(photos, schedule="head"), output=tmp_path / "head", plan=plan)
    assert bundle.plan == plan
    assert bundle.has("evidence/probe.json")
    assert [line["train"] for line in bundle.history] == [["stage4", "head"]] * 2


# auto


def only(monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    """`auto` plans tiers of these kinds and no others, and a short training."""
    real = planning.tiers

    def some(*given: Any, **named: Any) -> tuple[tuple[Tier, ...], tuple[str, ...]]:
        found, reasons = real(*given, **named)
        short = {"folds": 1, "epochs": 2}
        return tuple(
            tier.model_copy(update=short if tier.epochs else {}) for tier in found if tier.kind in kinds
        ), reasons

    monkeypatch.setattr(planning, "tiers", some)


def test_auto_chooses_trains_and_can_be_repeated_from_its_plan(tmp_path: Path, write_recipe: Write) -> None:
    photos = draw_alike(tmp_path / "photos", {"blue": 16, "red": 16})
    watching = Watching()
    recipe = write_recipe(photos, schedule="auto")
    more = ["train.batch_size=16"]
    bundle = job.run(recipe, output=tmp_path / "auto", show=watching, overrides=more)
    bundle.verify()
    assert bundle.plan.chosen is not None
    assert [row["kind"] for row in json.loads(bundle.read("evidence/choice.json"))] == [
        tier.kind for tier in bundle.plan.tiers
    ]
    assert set(bundle.metrics) == {"test", "out_of_fold", "images"}
    assert len(set(bundle.plan.reasons)) == len(bundle.plan.reasons)
    assert {"features", "heads", "training in folds: epoch"} <= watching.parts
    assert all(reason in watching.said for reason in bundle.plan.reasons[:2])
    again = job.run(recipe, output=tmp_path / "again", plan=bundle.plan, overrides=more)
    assert again.read("model.safetensors") == bundle.read("model.safetensors")
    assert again.predictions("test").to_bytes() == bundle.predictions("test").to_bytes()
    assert again.plan == bundle.plan
    assert not again.has("evidence/choice.json")
    assert again.has("evidence/probe.json")


def test_auto_that_chose_to_train_ships_what_it_trained_and_can_be_repeated(
    tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a search that takes the last stage, whatever was found of it."""
    real = Course.beats
    monkeypatch.setattr(
        Course,
        "beats",
        lambda self, tier, *others, **named: real(self, tier, *others, **named) | (tier.kind == "last_stage"),
    )
    photos = draw_alike(tmp_path / "photos", {"blue": 16, "red": 16})
    recipe = write_recipe(photos, schedule="auto")
    only(monkeypatch, "frozen", "last_stage")
    bundle = job.run(recipe, output=tmp_path / "auto")
    monkeypatch.undo()
    chosen = bundle.plan.chosen
    assert chosen is not None
    assert isinstance(chosen.schedule, LpFt)
    assert len(bundle.history) == chosen.schedule.epochs
    assert bundle.plan.phases[0].train == ("stage4", "head")
    assert any("of the way" in note or "the probe itself" in note for note in bundle.facts["notes"]) or (
        chosen.schedule.interpolate == 1
    )
    again = job.run(recipe, output=tmp_path / "again", plan=bundle.plan)
    assert again.read("model.safetensors") == bundle.read("model.safetensors")


@pytest.mark.parametrize(("went", "temperature"), [(0.5, 4.0), (0.25, 2.0), (0.0, 1.0)])
def test_what_went_half_as_far_as_was_chosen_is_tempered_half_as_much(
    went: float, temperature: float, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half as much in the exponent: at the probe itself, which is calibrated, nothing is left of the temperature."""
    photos = draw_alike(tmp_path / "photos", {"blue": 8, "red": 8})
    untempered = []

    def settled(training: Training, *others: Any, **named: Any) -> tuple[float, tuple[str, ...]]:
        untempered.append({name: tensor.clone() for name, tensor in training.classifier.head.state_dict().items()})
        return went, ()

    monkeypatch.setattr(job, "settle", settled)
    plan = job.run(write_recipe(photos, schedule="lp_ft"), output=tmp_path / "plan").plan
    way = LpFt(train=("stage4", "head"), epochs=2, lr=1e-3, interpolate=0.5)
    trial = ChosenTrial(family="logistic", scaling="standardised", strength=1.0)
    chosen = Chosen(fit="crop", flip=True, schedule=way, views=8, trial=trial, temperature=4.0)
    bundle = job.run(write_recipe(photos, schedule="auto"), output=tmp_path / "run", plan=replace(plan, chosen=chosen))
    shipped = safetensors.torch.load(bundle.read("model.safetensors"))
    for name, tensor in untempered[-1].items():
        torch.testing.assert_close(shipped[f"head.{name}"], tensor / temperature)
    assert bundle.facts["temperature_chosen_on"] == "out_of_fold"
    assert (bundle.facts["temperature"] == temperature) == (went > 0)  # else it is the probe's own


def test_a_fitted_head_says_what_its_temperature_changed(tmp_path: Path, write_recipe: Write) -> None:
    photos = draw_alike(tmp_path / "alike", {"a": 40, "b": 40})
    bundle = job.run(write_recipe(photos, schedule="probe"), output=tmp_path / "run")
    told, heat = bundle.metrics["test"]["calibration"]["temperature"], bundle.facts["temperature"]
    assert (told["value"], told["chosen_on"]) == (heat, "out_of_fold")
    assert heat != 1
    said = bundle.predictions("test")
    before = scores(replace(said, logits=(said.logits * np.float32(heat)).astype(np.float32)))
    assert told["before"]["log_loss"]["value"] == pytest.approx(before["log_loss"]["value"], rel=1e-4)
    assert told["after"]["log_loss"]["value"] == pytest.approx(scores(said)["log_loss"]["value"])


def test_the_size_that_was_chosen_is_that_of_what_ships(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    asked = write_recipe(photos, schedule="auto")
    asked.write_text(asked.read_text().replace("size: 32, ", ""))
    plan = job.run(asked, output=tmp_path / "plan", overrides=["schedule={kind: probe}"]).plan
    trial = ChosenTrial(family="logistic", scaling="standardised", strength=1.0)
    chosen = Chosen(size=64, fit="crop", flip=True, schedule=ProbeSchedule(), views=None, trial=trial)
    bundle = job.run(asked, output=tmp_path / "run", plan=replace(plan, chosen=chosen))
    assert bundle.facts["preprocessing"]["size"] == 64
    stored = bundle.predictions("test")
    assert np.array_equal(
        finetune.load(bundle.folder).predict([photos / key for key in stored.keys]).logits, stored.logits
    )


def test_a_budget_that_is_spent_ships_the_baseline_and_says_what_was_not_tried(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Costs(decode=0.1, forward=0.1, step=10.0, last=10.0)
    monkeypatch.setattr(speed, "costs", lambda *others: slow)
    bundle = job.run(write_recipe(photos, schedule="{kind: auto, budget: 10s}"), output=tmp_path / "run")
    assert bundle.plan.chosen is not None
    assert isinstance(bundle.plan.chosen.schedule, ProbeSchedule)
    assert [tier.kind for tier in bundle.plan.tiers] == ["frozen"]
    assert any("training all stages" in reason and "is not tried" in reason for reason in bundle.plan.reasons)


@pytest.mark.parametrize(("single", "named"), [(1, "c1"), (7, "c1, c2, c3, c4, c5 and 2 more")])
def test_classes_that_cannot_be_held_out_are_named(
    single: int, named: str, tmp_path: Path, write_recipe: Write
) -> None:
    photos = tmp_path / "photos"
    classes = [f"c{number}" for number in range(1, single + 1)]
    draw_classes(photos / "train", {"blue": 4, "green": 4, **dict.fromkeys(classes, 1)})
    draw_classes(photos / "test", {"blue": 3, "green": 3})
    for path in (photos / "test").glob("*/*"):
        draw(path, hue=(9, 9, 200), seed=int(path.stem) + 7000 + ord(path.parent.name[0]))
    given = ["split={kind: given, test: test}"]
    bundle = job.run(write_recipe(photos, schedule="probe"), output=tmp_path / "run", overrides=given)
    note = f"classes with one image or group each, which held-out scores say nothing of: {named}"
    assert note in bundle.facts["notes"]


def test_a_learning_curve_that_does_not_fit_into_the_budget_is_left_out(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(photos, schedule="{kind: auto, budget: 1m}")
    only(monkeypatch, "frozen")
    in_time = job.run(recipe, output=tmp_path / "in time")
    assert json.loads(in_time.read("evidence/curve.json"))["points"]
    monkeypatch.setattr(budget, "FINISH_SECONDS", 60)
    late = job.run(recipe, output=tmp_path / "late")
    assert late.complete
    assert not late.has("evidence/curve.json")
    assert late.has("predictions/test.npz")


def test_auto_chooses_among_backbones(tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "frozen", "backbone")
    photos = draw_alike(tmp_path / "photos", {"blue": 10, "red": 10})
    other = "{name: test_efficientnet, weights: {kind: random}}"
    recipe = write_recipe(photos, schedule=f"{{kind: auto, budget: 1h, candidates: [{other}]}}")
    bundle = job.run(recipe, output=tmp_path / "run")
    rows = json.loads(bundle.read("evidence/choice.json"))
    assert rows[1]["name"] == "backbone test_efficientnet"
    chosen = bundle.plan.chosen
    assert chosen is not None
    names = ("test_resnet", "test_efficientnet")
    assert bundle.facts["backbone"]["name"] == names[chosen.candidate]
    assert (rows[1]["verdict"] == "taken") == (chosen.candidate == 1)


# a cache that cannot be used


def spoil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "taken" / "cache"))


def test_without_a_cache_a_run_is_the_same_and_says_so(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(photos, schedule="probe")
    kept = job.run(recipe, output=tmp_path / "a" / "kept")
    spoil(tmp_path, monkeypatch)
    watching = Watching()
    job.run(recipe, output=tmp_path / "a" / "lost", show=watching)
    (said,) = (line for line in watching.said if "the cache in" in line)
    assert said.endswith("nothing is kept there")
    assert_same(kept.folder, tmp_path / "a" / "lost")


def test_without_a_cache_maps_are_kept_in_a_temporary_file(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(photos, schedule="lp_ft")
    kept = job.run(recipe, output=tmp_path / "a" / "kept")
    spoil(tmp_path, monkeypatch)
    watching = Watching()
    job.run(recipe, output=tmp_path / "a" / "lost", show=watching)
    (said,) = (line for line in watching.said if line.startswith("the cache in"))
    assert said.endswith("nothing is kept there")
    assert_same(kept.folder, tmp_path / "a" / "lost")


def test_without_a_cache_auto_leaves_nothing_out(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(tmp_path, monkeypatch)
    only(monkeypatch, "frozen", "last_stage")
    bundle = job.run(write_recipe(photos, schedule="auto"), output=tmp_path / "run")
    assert bundle.complete
    assert not any("is not tried" in line for line in bundle.plan.reasons)
