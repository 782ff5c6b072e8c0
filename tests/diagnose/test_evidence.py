import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import finetune
from finetune import job, report
from finetune.bundle import Bundle
from finetune.choose.budget import OutOfTime
from finetune.diagnose import evidence
from finetune.diagnose.maps import maps
from finetune.errors import DataError
from tests.conftest import draw_classes

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


def alike(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in Bundle.open(folder).facts["files"].items() if name.startswith("evidence/")}


@pytest.mark.parametrize(
    ("split", "schedule", "lacks"),
    [
        ("{kind: folds, folds: 2}", "probe", "corruptions.json"),
        ("{kind: stratified, validation: 0.3, test: 0}", "head", None),
        ("{kind: stratified, validation: 0, test: 0}", "probe", "tiles.json"),
    ],
)
def test_evidence_is_taken_of_whatever_was_held_out(
    photos: Path, tmp_path: Path, write_recipe: Write, split: str, schedule: str, lacks: str | None
) -> None:
    recipe = write_recipe(photos, schedule=schedule)
    recipe.write_text(recipe.read_text().replace("{kind: stratified, validation: 0.25, test: 0.25}", split))
    full = job.run(recipe, output=tmp_path / "full", overrides=["evidence=full"])
    basic = job.run(recipe, output=tmp_path / "basic")
    later = evidence.later(basic.folder, check=lambda _: lambda done, total: None)
    assert alike(later.folder) == alike(full.folder)
    assert later.facts["notes"] == full.facts["notes"]
    assert later.has("evidence/audit.json")
    assert lacks is None or not later.has(f"evidence/{lacks}")
    assert "--evidence</code> does it" not in report.render(later)  # nothing is left that it would take


def test_evidence_of_groups_and_several_labels_in_a_table_is_the_same_later(
    tmp_path: Path, write_recipe: Write
) -> None:
    draw_classes(tmp_path / "photos", {"blue": 12, "green": 12})
    lines = [
        f"photos/{name}/{n:03d}.png,{name}{'|odd' if n % 2 else ''},{name}{n // 2}"
        for name in ("blue", "green")
        for n in range(12)
    ]
    (tmp_path / "shots.csv").write_text("\n".join(["path,labels,shoot", *lines]) + "\n")
    recipe = write_recipe(tmp_path / "photos", schedule="probe")
    data = f"{{kind: table, file: {tmp_path / 'shots.csv'}, label: labels, separator: '|', group: shoot}}"
    text = recipe.read_text().replace(f"{{kind: folder, root: {tmp_path / 'photos'}}}", data)
    recipe.write_text(text.replace("{kind: stratified, validation: 0.25, test: 0.25}", "{kind: grouped, test: 0.4}"))
    full = job.run(recipe, output=tmp_path / "full", overrides=["evidence=full"])
    basic = job.run(recipe, output=tmp_path / "basic")
    later = evidence.later(basic.folder, check=lambda _: lambda done, total: None)
    assert alike(later.folder) == alike(full.folder)
    assert later.has("evidence/corruptions.json")
    assert "images with all labels right" in report.render(later)
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(DataError, match="are not where they were"):
        evidence.later(basic.folder, check=lambda _: lambda done, total: None)


def test_a_note_on_evidence_that_was_left_out_goes_when_it_is_taken(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object, **__: object) -> Iterator[dict[str, bytes]]:
        raise OutOfTime
        yield {}

    with monkeypatch.context() as patched:
        patched.setattr(evidence, "taken", late)
        bundle = job.run(write_recipe(photos, schedule="probe"), output=tmp_path / "run")
    assert evidence.OUT_OF_TIME in bundle.facts["notes"]
    later = evidence.later(bundle.folder, check=lambda _: lambda done, total: None)
    assert evidence.OUT_OF_TIME not in later.facts["notes"]
    assert [note for note in bundle.facts["notes"] if note != evidence.OUT_OF_TIME] == later.facts["notes"]
    later.verify()
