import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import finetune
from finetune import job
from finetune.bundle import Bundle
from finetune.diagnose import evidence
from finetune.diagnose.maps import maps
from finetune.errors import DataError

Write = Callable[..., Path]
BASIC = ("tiles.jpg", "tiles.json", "facts.json", "slices.json")
FULL = ("embedding.json", "corruptions.json", "corruptions.npz", "audit.json")


def test_full_evidence_of_a_run_is_what_is_taken_later(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, schedule="probe")
    basic = job.run(recipe, output=tmp_path / "a" / "basic")
    full = job.run(recipe, output=tmp_path / "a" / "full", overrides=["evidence=full"])
    assert all(basic.has(f"evidence/{name}") for name in BASIC)
    assert not any(basic.has(f"evidence/{name}") for name in FULL)
    later = evidence.later(basic.folder, check=lambda _: lambda done, total: None)
    later.verify()
    for name in (name for name in full.facts["files"] if name.startswith("evidence/")):
        assert later.read(name) == full.read(name), name
    rows = json.loads(full.read("evidence/corruptions.json"))["rows"]
    with np.load(io.BytesIO(full.read("evidence/corruptions.npz"))) as members:
        assert members["right"].mean(axis=1).tolist() == pytest.approx([row["accuracy"]["value"] for row in rows])


def test_evidence_is_refused_for_images_that_have_changed(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    bundle = job.run(write_recipe(photos, schedule="probe"), output=tmp_path / "bundle")
    before = (bundle.folder / "bundle.json").read_bytes()
    Image.new("RGB", (40, 40), (1, 2, 3)).save(photos / "red" / "000.png")
    with pytest.raises(DataError, match="changed"):
        evidence.later(bundle.folder, check=lambda _: lambda done, total: None)
    assert (bundle.folder / "bundle.json").read_bytes() == before


def test_a_cut_addition_leaves_a_whole_bundle(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune.bundle import folder

    bundle = job.run(write_recipe(photos, schedule="probe"), output=tmp_path / "bundle")
    whole = folder.write_atomically

    def cut(place: Path, data: bytes) -> None:
        if place.name == "two":
            raise KeyboardInterrupt
        whole(place, data)

    monkeypatch.setattr(folder, "write_atomically", cut)
    with pytest.raises(KeyboardInterrupt):
        bundle.add({"evidence/one": b"1", "evidence/two": b"2"})
    monkeypatch.undo()
    again = Bundle.open(bundle.folder)
    again.verify()
    assert not again.has("evidence/one")
    again.add({"evidence/two": b"2"})
    Bundle.open(bundle.folder).verify()
    assert not (bundle.folder / "evidence" / "one").exists()


def test_a_map_has_the_shape_of_the_image(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    classifier = finetune.load(job.run(write_recipe(photos, schedule="probe"), output=tmp_path / "b").folder).classifier
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = maps(classifier, images, [0, 1, 2])
    assert found.shape == (3, 32, 32)
    assert found.dtype == np.float32
    assert np.ptp(found) > 0
