import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.data.catalog import Catalog, Sample
from finetune.diagnose import tiles
from finetune.diagnose.asked import Asked
from finetune.errors import UnreadableImage
from tests.conftest import HUES
from tests.diagnose import toys


def sheet(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def photograph(seed: int, side: int) -> np.ndarray:
    """A tile with as much in it as one of a photograph: sizes 1/f, as natural images have them (Field 1987)."""
    generator = np.random.default_rng(seed)
    away = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    away[0, 0] = np.inf
    grey = np.fft.ifft2(np.fft.fft2(generator.normal(size=(side, side))) / away).real
    colours = generator.normal(128, 30, (1, 1, 3)) + 55 * grey[..., None] / grey.std()
    return colours.clip(0, 255).astype(np.uint8)


def many(root: Path, n: int, *, wrong: set[int]) -> Asked:
    """Images that are all of one file."""
    root.mkdir()
    Image.new("RGB", (8, 8), (200, 10, 10)).save(root / "one.png")
    samples = tuple(Sample(f"{number:05d}", root / "one.png", "ab"[number % 2]) for number in range(n))
    catalog = Catalog(samples, ("a", "b"))
    answers = [1 - label if place in wrong else label for place, label in enumerate(catalog.labels)]
    return Asked("validation", toys.told(catalog, answers), catalog)


def test_every_asked_image_has_its_tile_at_its_place(photos: Path) -> None:
    Image.new("RGB", (90, 45), HUES[3]).save(photos / "green" / "003.png")
    given = toys.asked(photos)
    found = tiles.files(given, threads=2)
    said = json.loads(found["evidence/tiles.json"])
    assert said == {"part": "test", "side": 64, "per_row": 40, "keys": list(given.catalog.keys)}
    picture = sheet(found["evidence/tiles.jpg"])
    assert picture.size == (24 * 64, 64)
    for place, sample in enumerate(given.catalog.samples):
        tile = np.asarray(picture.crop((64 * place, 0, 64 * place + 64, 64)), dtype=float)
        with Image.open(sample.file) as image:
            expected = np.asarray(image, dtype=float).mean(axis=(0, 1))
        assert np.abs(tile[24:40, 8:56].mean(axis=(0, 1)) - expected).max() < 15, sample.key


def test_a_wide_image_is_whole_in_its_tile_and_centred(tmp_path: Path) -> None:
    pixels = np.zeros((20, 80, 3), dtype=np.uint8)
    pixels[:, :20], pixels[:, 60:] = (255, 0, 0), (0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    (tile,) = tiles.drawn([Sample("wide", tmp_path / "wide.png", "a")], 64, threads=1)
    assert tile.shape == (64, 64, 3)
    assert tile.dtype == np.uint8
    assert tile[32, 4].tolist() == [255, 0, 0]
    assert tile[32, 60].tolist() == [0, 0, 255]
    edge = tile[0, 0]
    assert (tile[:23] == edge).all()
    assert (tile[41:] == edge).all()
    assert edge.tolist() not in tile[32].tolist() or edge.tolist() == [0, 0, 0]


def test_tiles_fill_rows_from_the_left() -> None:
    given = [np.full((16, 16, 3), 10 * number, dtype=np.uint8) for number in range(23)]
    picture = np.asarray(sheet(tiles.sprite(given, 16, per_row=5)))
    assert picture.shape == (5 * 16, 5 * 16, 3)
    for number in range(23):
        row, column = divmod(number, 5)
        assert np.abs(picture[16 * row + 8, 16 * column + 8].astype(int) - 10 * number).max() <= 3
    assert (picture[64:, 48:] > 250).all()
    assert sheet(tiles.sprite(given[:3], 16, per_row=5)).size == (48, 16)


def test_nothing_of_a_file_but_its_pixels_comes_along(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0110] = "secret", "secret camera"
    exif.get_ifd(0x8825)[1] = "N"
    path = tmp_path / "set" / "a" / "1.jpg"
    path.parent.mkdir(parents=True)
    (tmp_path / "set" / "b").mkdir()
    Image.new("RGB", (50, 50), (9, 200, 9)).save(path, exif=exif, comment=b"secret", dpi=(301, 301))
    Image.new("RGB", (50, 50), (9, 9, 200)).save(tmp_path / "set" / "b" / "1.jpg", exif=exif)
    data = tiles.files(toys.asked(tmp_path / "set"), threads=1)["evidence/tiles.jpg"]
    assert b"secret" not in data
    assert b"Exif" not in data
    with sheet(data) as picture:
        assert not picture.getexif()
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize(("n", "side"), [(1, 64), (1000, 64), (1001, 48), (2500, 48), (2501, 32), (5000, 32)])
def test_the_more_images_the_smaller_are_their_tiles(tmp_path: Path, n: int, side: int) -> None:
    found = tiles.files(many(tmp_path / "set", n, wrong=set()), threads=1)
    said = json.loads(found["evidence/tiles.json"])
    assert (said["side"], len(said["keys"]), said["part"]) == (side, n, "validation")
    assert sheet(found["evidence/tiles.jpg"]).size == (side * min(40, n), side * -(-n // 40))


def test_of_more_than_five_thousand_all_that_are_wrong_are_shown(tmp_path: Path) -> None:
    wrong = set(range(0, 5600, 7))
    said = json.loads(tiles.files(many(tmp_path / "set", 5600, wrong=wrong), threads=1)["evidence/tiles.json"])
    assert len(said["keys"]) == 5000
    assert {int(key) for key in said["keys"]} >= wrong


def test_five_thousand_photographs_are_within_two_and_a_half_megabytes() -> None:
    for n, side in ((1000, 64), (2500, 48), (5000, 32)):
        different = [photograph(seed, side) for seed in range(200)]
        data = tiles.sprite([different[number % 200] for number in range(n)], side, per_row=tiles.PER_ROW)
        assert len(data) <= 2_500_000, n
        assert len(data) > 500 * n / 5, n  # they are still pictures
        found = np.asarray(sheet(data).crop((0, 0, side, side)), dtype=float)
        assert np.corrcoef(found.ravel(), different[0].ravel())[0, 1] > 0.95


def test_even_noise_is_within_what_is_allowed() -> None:
    generator = np.random.default_rng(0)
    different = [generator.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(100)]
    data = tiles.sprite([different[number % 100] for number in range(5000)], 32, per_row=tiles.PER_ROW)
    assert len(data) <= 2_500_000


def test_a_picture_has_the_best_quality_that_fits() -> None:
    given = [photograph(seed, 64) for seed in range(40)]
    sizes = [len(tiles.sprite(given, 64, per_row=10, most=most)) for most in (10**9, 60_000, 40_000)]
    assert sizes[0] > 60_000 >= sizes[1] > 40_000 >= sizes[2]


def test_progress_is_told_and_an_image_that_is_gone_is_named(photos: Path) -> None:
    given, heard = toys.asked(photos), []
    tiles.drawn(given.catalog.samples, 16, threads=1, check=lambda done, total: heard.append((done, total)))
    assert heard == [(24, 24)]
    (photos / "red" / "002.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableImage):
        tiles.files(given, threads=1)
