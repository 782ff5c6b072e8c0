import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch

import finetune
from finetune import job
from finetune.bundle import Bundle
from finetune.errors import BundleError, OutputTaken, Stopped, UsageError
from finetune.model import backbone
from finetune.recipe import file
from finetune.recipe.plan import Phase, Plan
from finetune.runtime import StopRequests
from finetune.train.loop import Epoch, Step
from tests.conftest import draw, draw_classes
from tests.laws import Crash, CutAfter

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
