"""Runs with their trackers: what TensorBoard's own reader and MLflow's own client find afterwards."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from finetune import job, runtime
from finetune.bundle import Bundle
from finetune.errors import UsageError
from finetune.train import tracking
from tests.laws import Crash, CutAfter, contents, steps_of

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.setenv(name, "true")


def scalars(bundle: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(bundle / "track" / "tensorboard")).Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def in_mlflow(bundle: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, str]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(bundle / "track" / "mlflow").as_uri())
    (run,) = [run for one in client.search_experiments() for run in client.search_runs([one.experiment_id])]
    assert run.info.status == "FINISHED"
    found = {
        name: sorted((one.step, one.value) for one in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }
    return found, run.data.params


def must_be_told(found: dict[str, list[tuple[int, float]]], bundle: Bundle) -> None:
    """Every epoch of the history once, and the scores of metrics.json with their intervals."""
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr"):
        steps, values = zip(*found[name], strict=True)
        assert list(steps) == [line["epoch"] for line in bundle.history]
        assert values == pytest.approx([line[name] for line in bundle.history], rel=1e-6)
    for name in ("gradient", "update", "activation"):
        values = [value for _, value in found[f"{name}/stem"]]
        expected = [[one[name] for one in line["health"] if one["stage"] == "stem"][-1] for line in bundle.history]
        assert values == pytest.approx(expected, rel=1e-6)
    for part in ("test", "validation"):
        score = bundle.metrics[part]["accuracy"]
        for end, key in (("", "value"), ("_low", "low"), ("_high", "high")):
            assert found[f"{part}/accuracy{end}"] == [(len(bundle.history), pytest.approx(score[key], rel=1e-6))]


def test_tensorboard_has_every_epoch_the_scores_and_the_recipe(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(photos)
    bundle = job.run(recipe, output=tmp_path / "b", overrides=["track=[tensorboard]"])
    must_be_told(scalars(bundle.folder), bundle)
    assert list((bundle.folder / "track" / "tensorboard").glob("*/hparams.yml"))
    bundle.verify()
    assert not any(name.startswith("track/") for name in bundle.facts["files"])


def test_a_run_is_the_same_with_and_without_a_tracker(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos)
    without = contents(job.run(recipe, output=tmp_path / "a").folder)
    tracked = contents(job.run(recipe, output=tmp_path / "b", overrides=["track=[tensorboard]"]).folder)
    same = {name for name in without if without[name] == tracked.get(name)}
    assert {"model.safetensors", "history.jsonl", "metrics.json", "predictions/test.npz", "plan.json"} <= same


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_a_resumed_run_goes_on_in_the_same_tracker_run_and_writes_no_epoch_twice(
    kind: str, photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    if kind == "mlflow":
        pytest.importorskip("mlflow")
    recipe, asked = write_recipe(photos), [f"track=[{kind}]"]
    steps = steps_of(lambda show: job.run(recipe, output=tmp_path / "counted", show=show))
    with pytest.raises(Crash):
        job.run(recipe, output=tmp_path / "cut", overrides=asked, show=CutAfter(steps))
    begun = (tmp_path / "cut" / "track" / f"{kind}.run").read_text()
    bundle = job.resume(tmp_path / "cut")
    assert (tmp_path / "cut" / "track" / f"{kind}.run").read_text() == begun
    must_be_told(scalars(bundle.folder) if kind == "tensorboard" else in_mlflow(bundle.folder)[0], bundle)


def test_mlflow_has_the_recipe_in_a_store_inside_the_bundle(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    bundle = job.run(write_recipe(photos), output=tmp_path / "b", overrides=["track=[mlflow]"])
    found, parameters = in_mlflow(bundle.folder)
    must_be_told(found, bundle)
    assert parameters["train.batch_size"] == "4"
    assert parameters["backbone.name"] == "test_resnet"
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None
    assert not (tmp_path / "mlruns").exists()


def test_mlflow_writes_to_the_store_that_the_user_names(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "own").as_uri())
    bundle = job.run(write_recipe(photos, schedule="head"), output=tmp_path / "b", overrides=["track=[mlflow]"])
    assert list((tmp_path / "own").glob("*/*/metrics/train_loss"))
    assert not (bundle.folder / "track" / "mlflow").exists()


def test_a_run_of_ones_own_in_mlflow_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "own").as_uri())
    with mlflow.start_run() as own:
        with (
            pytest.raises(UsageError, match=r"mlflow\.end_run"),
            runtime.tracked_run("mlflow", tmp_path, name="a", earlier=None),
        ):
            pass
        assert mlflow.active_run().info.run_id == own.info.run_id


def test_a_tracker_that_is_not_installed_is_refused_before_any_work(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "has_tracker", lambda kind: kind != "mlflow")
    with pytest.raises(UsageError, match=r"pip install 'finetune-vision\[mlflow\]'"):
        job.run(write_recipe(photos), output=tmp_path / "b", overrides=["track=[tensorboard, mlflow]"])
    assert not (tmp_path / "b").exists()


def test_a_run_without_trackers_leaves_no_folder_for_them(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    assert not (job.run(write_recipe(photos, schedule="head"), output=tmp_path / "b").folder / "track").exists()
