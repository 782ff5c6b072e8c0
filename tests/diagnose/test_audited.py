import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune import job, report
from finetune.bundle import Bundle
from finetune.diagnose import audited
from tests.conftest import draw_classes

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes whose hues tell them apart; three images that are learnt from are under the other label, and three
    test images are copies of others that are learnt from.
    """
    root = tmp_path_factory.mktemp("planted")
    draw_classes(root / "train", {"green": 20, "red": 20})
    draw_classes(root / "other", {"green": 40, "red": 40})
    for name in ("green", "red"):
        (root / "test" / name).mkdir(parents=True)
        for number in range(24, 34):
            shutil.move(root / "other" / name / f"{number:03d}.png", root / "test" / name / f"{number:03d}.png")
    shutil.rmtree(root / "other")
    for number in range(3):
        shutil.move(root / "train" / "red" / f"00{number}.png", root / "train" / "green" / f"wrong {number}.png")
        shutil.copy(root / "train" / "green" / f"01{number}.png", root / "test" / "green" / f"copy {number}.png")
    return root


@pytest.fixture(scope="module")
def bundle(planted: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A probe of these images, with all evidence."""
    recipe = tmp_path_factory.mktemp("recipe") / "toy.yaml"
    recipe.write_text(
        f"data: {{kind: folder, root: {planted}}}\nsplit: {{kind: given, test: test}}\nevidence: full\n"
        "backbone: {name: test_resnet, weights: {kind: random}}\nschedule: {kind: probe}\nimages: {size: 32}\n"
    )
    return job.run(recipe, output=recipe.parent / "bundle")


def test_a_run_suspects_the_labels_that_are_wrong(bundle: Bundle) -> None:
    said = json.loads(bundle.read("evidence/audit.json"))
    issues = [one for one in said["findings"] if one["kind"] == "label-issue"]
    assert {one["keys"][0] for one in issues} == {f"train/green/wrong {number}.png" for number in range(3)}
    assert {one["figures"]["suggested"] for one in issues} == {"red"}


def test_a_run_tells_its_score_without_leaks(bundle: Bundle) -> None:
    leak = json.loads(bundle.read("evidence/audit.json"))["deep"]["test"]
    predictions, score = bundle.predictions("test"), bundle.metrics["test"]["accuracy"]
    assert leak["all"] == {name: pytest.approx(score[name], abs=1e-4) for name in ("value", "low", "high")}
    clean = np.array(["copy" not in key for key in predictions.keys])
    assert (leak["images"], leak["leaked"]) == (23, 3)
    right = predictions.predicted == predictions.labels
    assert leak["without_leaked"]["value"] == pytest.approx(right[clean].mean(), abs=1e-4)
    assert leak["difference"]["value"] == pytest.approx(right.mean() - right[clean].mean(), abs=1e-4)


def test_the_report_shows_both(bundle: Bundle) -> None:
    page = report.write(bundle).read_text()
    assert "the label is probably wrong, by what a model that had not learnt from them says" in page
    assert "without leaked ones" in page
    assert "Whether labels are wrong was not asked" not in page


def test_pictures_are_those_of_the_images_that_findings_name(bundle: Bundle, planted: Path) -> None:
    said = json.loads(bundle.read("evidence/audit.json"))
    tiles = said["tiles"]
    named = {key for one in said["findings"] for key in one["keys"]}
    assert set(tiles["keys"]) <= named
    assert (tiles["side"], tiles["per_row"]) == (audited.SIDE, audited.PER_ROW)
    with Image.open(io.BytesIO(bundle.read("evidence/audit.jpg"))) as picture:
        pixels = np.asarray(picture, dtype=float)
    assert pixels.shape == (96 * -(-len(tiles["keys"]) // 10), 96 * min(10, len(tiles["keys"])), 3)
    for place, key in enumerate(tiles["keys"]):
        row, column = divmod(place, 10)
        tile = pixels[96 * row + 24 : 96 * row + 72, 96 * column + 8 : 96 * column + 88]
        with Image.open(planted / key) as image:
            assert np.abs(tile.mean(axis=(0, 1)) - np.asarray(image).mean(axis=(0, 1))).max() < 15, key


def test_every_finding_has_its_first_pictures_before_any_has_its_later_ones(bundle: Bundle) -> None:
    said = json.loads(bundle.read("evidence/audit.json"))
    first = {key for one in said["findings"] for key in one["keys"][:2]}
    shown = said["tiles"]["keys"]
    assert set(shown[: len(first)]) == first
    assert len(shown) == len(set(shown)) <= audited.MOST


def test_more_images_than_are_drawn_are_cut(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.diagnose import evidence

    monkeypatch.setattr(audited, "MOST", 2)
    later = evidence.later(bundle.folder, check=lambda _: lambda done, total: None)
    assert len(json.loads(later.read("evidence/audit.json"))["tiles"]["keys"]) == 2


def test_a_trained_run_is_asked_about_the_images_that_it_held_out(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    found = job.run(write_recipe(photos, schedule="full"), output=tmp_path / "b", overrides=["evidence=full"])
    deep = json.loads(found.read("evidence/audit.json"))["deep"]
    assert deep["held_out"] == len(found.predictions("test")) + len(found.predictions("validation")) == 12
    assert deep["test"] is None


def test_images_of_folds_are_all_asked(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    overrides = ["evidence=full", "split={kind: folds, folds: 2}"]
    found = job.run(write_recipe(photos, schedule="probe"), output=tmp_path / "b", overrides=overrides)
    deep = json.loads(found.read("evidence/audit.json"))["deep"]
    assert deep["held_out"] == 24
    assert deep["accuracy"]["value"] == pytest.approx(found.metrics["test"]["accuracy"]["value"], abs=1e-4)
