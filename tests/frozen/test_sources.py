import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.data import decode
from finetune.data.catalog import Sample
from finetune.data.decode import Preprocessing, working_image
from finetune.data.pixels import Pixels
from finetune.errors import DataError
from finetune.frozen.sources import InMemory, hashes, working
from tests.conftest import draw

PIXELS = Preprocessing(size=32, working=36, fit="crop", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    draw(tmp_path / "one.png", hue=(1, 2, 3), seed=0)
    return Sample("one.png", tmp_path / "one.png", "a")


def hashed(*sources: Sample | InMemory) -> list[str]:
    return hashes(sources, preprocessing=PIXELS, threads=2)


def test_a_file_has_the_hash_of_its_bytes_and_one_that_is_known_is_not_read(sample: Sample) -> None:
    known = Sample("gone.png", sample.file.with_name("gone.png"), "a", sha256="f" * 64)
    assert hashed(known) == ["f" * 64]
    assert hashed(sample, known) == [hashlib.sha256(sample.file.read_bytes()).hexdigest(), "f" * 64]


def test_a_picture_in_memory_has_the_hash_of_its_working_image(sample: Sample) -> None:
    pixels = np.asarray(Image.open(sample.file))
    picture, array = InMemory("x", Image.open(sample.file)), InMemory("y", pixels)
    other = InMemory("z", 255 - pixels)
    found = hashed(picture, array, other)
    assert found[0] == found[1] != found[2]
    assert np.array_equal(working(array, found[1], PIXELS, Pixels()), working_image(pixels, PIXELS))


def test_all_sources_that_cannot_be_read_are_named(sample: Sample, tmp_path: Path) -> None:
    gone = Sample("gone.png", tmp_path / "gone.png", "a")
    tiny = InMemory("tiny", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(
        DataError, match=r"2 images cannot be used\n    gone.png: missing.*\n    tiny: too-small"
    ) as error:
        hashed(gone, sample, tiny)
    assert "    one.png" not in str(error.value)


def test_a_file_that_has_changed_since_it_was_hashed_is_refused(sample: Sample) -> None:
    [found] = hashed(sample)
    assert np.array_equal(working(sample, found, PIXELS, Pixels()), working_image(sample.file.read_bytes(), PIXELS))
    draw(sample.file, hue=(1, 2, 3), seed=1)
    with pytest.raises(DataError, match="changed: the file is not what it was"):
        working(sample, found, PIXELS, Pixels())


def test_a_file_that_was_read_before_is_not_read_again_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    draw(path, hue=(1, 2, 3), seed=0)
    os.utime(path, (1e9, 1e9))  # what has just changed is not remembered
    sample = Sample("a.png", path, "a")
    opened: list[Path] = []
    real = decode.read_with_status
    monkeypatch.setattr(decode, "read_with_status", lambda file: opened.append(file) or real(file))
    first, again = (hashes([sample], preprocessing=PIXELS, threads=1) for _ in range(2))
    assert first == again == [hashlib.sha256(path.read_bytes()).hexdigest()]
    assert opened == [path]
    draw(path, hue=(9, 2, 3), seed=1)
    assert hashes([sample], preprocessing=PIXELS, threads=1) != first
