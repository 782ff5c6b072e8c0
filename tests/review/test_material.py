import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune import job
from finetune.bundle import Bundle
from finetune.errors import DataError
from finetune.review.material import read
from tests.conftest import draw
from tests.review.toys import write_doubtful

Write = Callable[..., Path]


@pytest.fixture
def bundle(photos: Path, write_recipe: Write, tmp_path: Path) -> Bundle:
    return job.run(write_recipe(photos, schedule="probe"), output=tmp_path / "run")


def test_labels_and_parts_are_those_of_the_run(doubtful: Path) -> None:
    found = read(Bundle.open(doubtful))
    rows = {row["key"]: (row["label"], row["split"]) for row in Bundle.open(doubtful).catalog}
    samples = found.known.catalog.samples
    assert {sample.key: (sample.label, found.known.part(sample.key)) for sample in samples} == rows
    assert found.held_out is not None
    assert set(found.held_out.keys) <= set(rows)


def test_images_that_moved_or_changed_are_named(bundle: Bundle, photos: Path) -> None:
    draw(photos / "red" / "000.png", hue=(0, 0, 0), seed=5)
    (photos / "blue" / "001.png").unlink()
    (photos / "blue" / "002.png").write_bytes(b"<html>")
    with pytest.raises(DataError) as error:
        read(bundle)
    assert str(error.value).startswith(f"3 of 24 images of '{bundle.folder}' are not what they were when it was made")
    first, second, third = [line.strip() for line in str(error.value).splitlines()[1:]]
    assert (first, third) == ("blue/001.png: not there", "red/000.png: changed")
    assert second.startswith("blue/002.png: web-page")
    shutil.move(photos, photos.with_name("elsewhere"))
    with pytest.raises(DataError, match=r"the images of '.*run' are not where they were: .*photos"):
        read(bundle)


def test_new_images_are_looked_at_too(bundle: Bundle, photos: Path) -> None:
    shutil.copy(photos / "red" / "000.png", photos / "red" / "new.png")
    found = read(bundle)
    assert "red/new.png" in found.known.looks
    assert found.known.part("red/new.png") == ""


def test_what_the_corrections_of_a_run_did_is_known(tmp_path: Path) -> None:
    recipe = write_doubtful(tmp_path)
    (tmp_path / "c.csv").write_text("path,action,label\nblue/was red.png,relabel,red\nred/copy.png,exclude,\n")
    recipe.write_text(recipe.read_text() + "corrections: c.csv\n")
    found = read(job.run(recipe, output=tmp_path / "run"))
    labels = {sample.key: sample.label for sample in found.known.catalog.samples}
    assert labels["blue/was red.png"] == "red"
    assert "red/copy.png" not in labels
    assert "red/copy.png" not in found.known.looks
    assert "red/copy.png" in found.catalog.keys
