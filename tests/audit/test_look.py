"""A look is taken in one reading and remembered, and what it says of pixels is what they are."""

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.audit.look import Look, Looks, look, looks, perceptual_hash
from finetune.data import decode
from finetune.data.catalog import Catalog, Sample
from finetune.data.fingerprints import Fingerprints, examine
from finetune.errors import UnreadableImage
from tests.audit.toys import encoded, scene, seen


def aged(path: Path, image: Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    os.utime(path, ns=(time.time_ns() - 60 * 10**9,) * 2)
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read, in order."""
    seen: list[Path] = []
    read = decode.read_with_status
    monkeypatch.setattr(decode, "read_with_status", lambda path: seen.append(path) or read(path))
    return seen


def test_a_look_says_what_the_pixels_are() -> None:
    half = Image.new("RGB", (100, 50), "black")
    half.paste((255, 255, 255), (0, 0, 50, 50))
    found = seen(half)
    assert (found.width, found.height, found.mode, found.format, found.notes) == (100, 50, "RGB", "PNG", ())
    assert (found.brightness, found.contrast, found.entropy) == pytest.approx((0.5, 0.5, 1.0))
    assert found.colour == pytest.approx((0.5, 0.5, 0.5))
    assert (found.histogram[0], found.histogram[-1], sum(found.histogram)) == (512, 512, 1024)
    assert found.small[:, :15].min() == 255
    assert found.small[:, 17:].max() == 0
    assert found.suffix_is_right
    assert not found.animated
    assert found.file_size == len(encoded(half))


def test_one_colour_has_no_contrast_no_detail_and_no_information() -> None:
    flat = seen(Image.new("RGB", (40, 40), (10, 200, 30)))
    assert (flat.contrast, flat.blur, flat.entropy) == pytest.approx((0, 0, 0))
    assert flat.histogram[0 * 16 + 3 * 4 + 0] == 1024


def test_blur_is_less_in_a_blurred_image_of_any_size() -> None:
    sharp = scene(1, size=(600, 400))
    noise = np.random.default_rng(0).integers(-60, 60, (400, 600, 1))
    grainy = Image.fromarray((np.asarray(sharp).astype(int) + noise).clip(0, 255).astype(np.uint8))
    assert seen(sharp.resize((60, 40)).resize((600, 400))).blur < seen(sharp).blur < seen(grainy).blur
    assert seen(grainy).blur == pytest.approx(seen(grainy.crop((0, 0, 300, 200)).resize((600, 400))).blur, rel=3)


def test_the_same_pixels_have_the_same_hash_whatever_the_file() -> None:
    image = scene(2)
    png, bmp = seen(image), look(encoded(image, "BMP"), suffix=".bmp")
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = look(encoded(turned, "PNG", exif=exif), suffix=".png")
    assert png.pixels == bmp.pixels == upright.pixels
    assert (upright.width, upright.height, upright.header.orientation) == (160, 120, 6)
    assert len({png.sha256, bmp.sha256, upright.sha256}) == 3
    assert png.sha256 == hashlib.sha256(encoded(image)).hexdigest()
    tall = Image.new("RGB", (20, 40))
    assert seen(tall).pixels != seen(tall.rotate(90, expand=True)).pixels


def test_the_perceptual_hash_stays_when_an_image_is_resized_compressed_and_brightened() -> None:
    def distance(one: Look, other: Look) -> int:
        return (one.phash ^ other.phash).bit_count()

    for seed in range(5):
        image = scene(seed, size=(320, 240))
        changed = image.resize((200, 150)).point(lambda value: min(255, int(value * 1.1)))
        assert distance(seen(image), seen(changed, "JPEG", quality=50)) <= 8
        assert distance(seen(image), seen(scene(seed + 100))) > 16
    assert 0 <= perceptual_hash(np.zeros((32, 32), np.uint8)) < 2**64


def test_a_look_survives_its_text() -> None:
    one = seen(scene(3), "JPEG", quality=70)
    assert Look.from_json(one.to_json()) == one


def test_a_file_is_read_once_and_known_to_the_census_too(tmp_path: Path, opened: list[Path]) -> None:
    path = aged(tmp_path / "photos" / "1.png", scene(4))
    with Looks(tmp_path / "cache") as memory:
        first = memory.look(path)
    with Looks(tmp_path / "cache") as memory:
        assert memory.look(path) == first
    with Fingerprints.open(tmp_path / "cache") as known:
        assert examine(path, known).sha256 == first.sha256
    assert opened == [path]


def test_a_file_that_changed_is_looked_at_again(tmp_path: Path, opened: list[Path]) -> None:
    path = aged(tmp_path / "1.png", scene(4))
    with Looks(tmp_path / "cache") as memory:
        first = memory.look(path)
    scene(5).save(path)
    with Looks(tmp_path / "cache") as memory:
        assert memory.look(path).pixels != first.pixels
        memory.look(path)  # too young to be remembered
    assert len(opened) == 3


def test_looks_of_other_code_are_not_taken(tmp_path: Path, opened: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = aged(tmp_path / "1.png", scene(4))
    for version in ("one", "one", "other"):
        monkeypatch.setattr("finetune.audit.look._version", lambda version=version: version)
        with Looks(tmp_path / "cache") as memory:
            memory.look(path)
    assert len(opened) == 2


def test_what_cannot_be_read_has_its_reason_and_nothing_else_is_lost(tmp_path: Path) -> None:
    samples = [Sample(f"{n}.png", aged(tmp_path / f"{n}.png", scene(n)), "a") for n in range(4)]
    samples[1].file.write_bytes(samples[1].file.read_bytes()[:99])
    samples[2].file.write_bytes(b"<html>")
    told: list[tuple[int, int]] = []
    found, unreadable = looks(
        Catalog((*samples, Sample("memory", None, "a")), ("a",)), threads=2, progress=lambda *at: told.append(at)
    )
    assert list(found) == ["0.png", "3.png"]
    assert {key: reason.kind for key, reason in unreadable.items()} == {"1.png": "truncated", "2.png": "web-page"}
    assert told == [(n, 4) for n in range(1, 5)]
    with pytest.raises(UnreadableImage):
        look(b"", suffix=".png")
