"""The frozen baseline of what was trained: on the same images, and from the bundle alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

from finetune import job, report
from finetune.bundle import Bundle
from finetune.diagnose import baseline, evidence, growth
from finetune.model import backbone
from finetune.scores.paired import differences
from finetune.scores.predictions import Predictions
from tests.conftest import draw_alike

Write = Callable[..., Path]


def silent(_: str) -> Callable[[int, int], None]:
    return lambda done, total: None


@pytest.fixture
def recipe(tmp_path: Path, write_recipe: Write) -> Path:
    """Trains all of a network whose weights lie in a file."""
    photos = draw_alike(tmp_path / "photos", {"blue": 16, "green": 16, "red": 16})
    network = backbone.create("test_resnet", seed=3)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    written = write_recipe(photos, schedule="{kind: full, epochs: 1, lr: 1.0e-3}")
    written.write_text(written.read_text().replace("{kind: random}", "{kind: file, path: weights.safetensors}"))
    return written


def told(bundle: Bundle) -> dict[str, object]:
    found: dict[str, object] = json.loads(bundle.read(baseline.NAME))
    return found


def test_a_head_on_the_frozen_network_answers_the_same_images(recipe: Path, tmp_path: Path) -> None:
    bundle = job.run(recipe, output=tmp_path / "run", overrides=["evidence=full"])
    found, test = told(bundle), bundle.predictions("test")
    answers = Predictions.from_bytes(bundle.read(baseline.ANSWERS), source=baseline.ANSWERS)
    assert answers.keys == test.keys
    assert found["images"] == bundle.facts["images"]["train"] + bundle.facts["images"]["validation"]
    assert found["accuracy"]["value"] == (answers.predicted == answers.labels).mean()  # type: ignore[index]
    assert found["difference"] == differences(answers, test)["accuracy"]
    assert bundle.has(growth.NAME)
    page = report.render(bundle)
    assert "A head on the frozen network" in page
    assert "Better than that by" in page


def test_its_answers_are_those_of_a_run_that_only_fits_a_head(recipe: Path, tmp_path: Path) -> None:
    bundle = job.run(recipe, output=tmp_path / "run", overrides=["evidence=full"])
    probed = job.run(recipe, output=tmp_path / "probed", overrides=["schedule={kind: probe}"]).predictions("test")
    answers = Predictions.from_bytes(bundle.read(baseline.ANSWERS), source=baseline.ANSWERS)
    assert answers.keys == probed.keys
    assert np.allclose(answers.logits, probed.logits, atol=1e-4)
    assert not np.allclose(answers.logits, bundle.predictions("test").logits, atol=1e-2)


def test_it_can_be_taken_later_and_is_the_same(recipe: Path, tmp_path: Path) -> None:
    whole = job.run(recipe, output=tmp_path / "whole", overrides=["evidence=full"])
    bundle = job.run(recipe, output=tmp_path / "run")
    assert not bundle.has(baseline.NAME)
    later = evidence.later(bundle.folder, check=silent)
    for name in (baseline.NAME, baseline.ANSWERS, growth.NAME):
        assert later.read(name) == whole.read(name), name


def test_weights_that_are_gone_are_a_reason_and_no_error(recipe: Path, tmp_path: Path) -> None:
    bundle = job.run(recipe, output=tmp_path / "run")
    (tmp_path / "weights.safetensors").unlink()
    later = evidence.later(bundle.folder, check=silent)
    assert "weights.safetensors" in str(told(later)["reason"])
    assert not later.has(baseline.ANSWERS)
    page = report.render(later)
    assert "A head on the frozen network</th>" not in page
    assert "What a head on the frozen network would score is not known: <bdi>" in page


def test_a_bundle_that_is_gone_is_a_reason_too(recipe: Path, tmp_path: Path) -> None:
    first = job.run(recipe, output=tmp_path / "first")
    of_bundle = f"backbone.weights={{kind: bundle, path: {first.folder}}}"
    bundle = job.run(recipe, output=tmp_path / "run", overrides=[of_bundle])
    shutil.rmtree(first.folder)
    assert "first" in str(told(evidence.later(bundle.folder, check=silent))["reason"])


@pytest.mark.parametrize("schedule", ["full", "probe"])
def test_there_is_none_of_random_weights_nor_of_what_is_frozen_itself(
    schedule: str, photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(photos, schedule=schedule)
    assert not job.run(recipe, output=tmp_path / "run", overrides=["evidence=full"]).has(baseline.NAME)
