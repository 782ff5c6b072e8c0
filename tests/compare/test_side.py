"""What one bundle brings into a comparison."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from finetune.bundle import Bundle
from finetune.compare.side import read
from finetune.errors import BundleError, UsageError
from tests.compare.toys import answers, bundle, digest, weights


def test_a_side_has_the_answers_the_hashes_and_what_the_run_cost(tmp_path: Path) -> None:
    side = read(bundle(tmp_path / "1").folder)
    assert side.part == "test"
    assert side.hashes[0] == digest("ant/0.jpg")
    assert len(side.hashes) == len(side.predictions) == 60
    assert (side.row.seconds, side.row.memory, side.row.schedule) == (61.5, 1_234_000_000, "full")
    assert side.parameters == 3 * 4 + 3  # what BatchNorm counts is no parameter
    assert side.size == len(weights())


def test_a_key_that_a_table_must_guard_is_found_in_the_catalog(tmp_path: Path) -> None:
    given = answers(3)
    odd = answers(3, keys=("=1+1.jpg", *given.keys[1:]))
    assert read(bundle(tmp_path / "1", odd).folder).hashes[0] == digest("=1+1.jpg")


def test_validation_images_speak_where_there_are_no_test_images(tmp_path: Path) -> None:
    assert read(bundle(tmp_path / "1", part="validation").folder).part == "validation"


def test_a_run_that_is_not_finished_cannot_be_compared(tmp_path: Path) -> None:
    unfinished = bundle(tmp_path / "1", sealed=False)
    with pytest.raises(UsageError, match="is not finished"):
        read(unfinished.folder)


def test_a_run_without_scores_cannot_be_compared(tmp_path: Path) -> None:
    made = bundle(tmp_path / "1", sealed=False)
    made.write_json("metrics.json", {"images": {}})
    made.seal()
    with pytest.raises(UsageError, match="was scored on no image"):
        read(made.folder)


def test_answers_without_labels_or_without_a_hash_are_damage(tmp_path: Path) -> None:
    made = bundle(tmp_path / "1", sealed=False)
    given = answers()
    made.write("predictions/test.npz", answers(labels=None).to_bytes())
    made.seal()
    with pytest.raises(BundleError, match="have no labels"):
        read(made.folder)
    other = bundle(tmp_path / "2", hashes=["", *map(digest, given.keys[1:])])
    with pytest.raises(BundleError, match=r"no hash of 1 images that were answered, 'ant/0.jpg'"):
        read(other.folder)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{]",
        struct.pack("<Q", 9) + b'{"a": {}}',
        struct.pack("<Q", 22) + b'{"a": {"shape": [-1]}}',
        struct.pack("<Q", 24) + b'{"a": {"shape": ["xx"]}}',
        struct.pack("<Q", 21) + b'{"a": {"shape": 1.5}}',
    ],
)
def test_weights_that_are_no_safetensors_file_are_named(data: bytes, tmp_path: Path) -> None:
    made = bundle(tmp_path / "1", model=data)
    with pytest.raises(BundleError, match=r"model.safetensors' is damaged: it is not a safetensors file"):
        read(made.folder)


def test_a_bundle_without_weights_can_be_compared(tmp_path: Path) -> None:
    made = bundle(tmp_path / "1", sealed=False)
    (made.folder / "model.safetensors").unlink()
    made.seal()
    side = read(made.folder)
    assert (side.parameters, side.size) == (None, None)
    assert np.isfinite(side.predictions.logits).all()


def test_the_folder_may_have_moved(tmp_path: Path) -> None:
    made = bundle(tmp_path / "1")
    shutil.move(made.folder, tmp_path / "moved")
    assert Bundle.open(tmp_path / "moved").complete
    assert read(tmp_path / "moved").shown == repr(str(tmp_path / "moved"))


@pytest.mark.parametrize(
    "change",
    [
        {"macro_f1": None},
        {"log_loss": {"value": "high", "low": 0, "high": 1}},
        {"brier": {"value": True, "low": 0, "high": 1}},
        {"per_class": []},
        {"per_class": [{"class": "ant"}]},
        {"per_class": 3},
    ],
)
def test_scores_that_do_not_fit_the_answers_are_damage(change: dict[str, object], tmp_path: Path) -> None:
    made = bundle(tmp_path / "1", sealed=False)
    metrics = made.metrics
    metrics["test"] |= change
    made.write_json("metrics.json", metrics)
    made.seal()
    with pytest.raises(BundleError, match="test has not the scores of its answers"):
        read(made.folder)
