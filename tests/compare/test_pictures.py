"""Thumbnails of images that are named, from whichever bundle has them."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from finetune.compare.pictures import SIDE, Sprite, sprite
from finetune.compare.side import Side, read
from finetune.errors import BundleError
from tests.compare.toys import answers, bundle, digest

COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30))


def tiles(count: int, side: int, per_row: int) -> bytes:
    """Tiles of one colour each, in the order of COLOURS."""
    picture = Image.new("RGB", (side * min(count, per_row), side * -(-count // per_row)))
    for place in range(count):
        row, column = divmod(place, per_row)
        picture.paste(COLOURS[place], (side * column, side * row, side * column + side, side * row + side))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95)
    return stream.getvalue()


def side(folder: Path, **evidence: Any) -> Side:
    files = {
        f"evidence/{name.replace('_', '.')}": data if isinstance(data, bytes) else json.dumps(data).encode()
        for name, data in evidence.items()
    }
    return read(bundle(folder, answers(6), files=files).folder)


def colour(found: Sprite, digest: str) -> int:
    """The nearest of COLOURS in the middle of the thumbnail."""
    left, top = found.places[digest]
    red, green, blue = Image.open(io.BytesIO(found.jpeg)).getpixel((left + SIDE // 2, top + SIDE // 2))  # type: ignore[misc]
    return min(range(4), key=lambda n: sum((a - b) ** 2 for a, b in zip(COLOURS[n], (red, green, blue), strict=True)))


def test_a_thumbnail_comes_from_the_first_bundle_that_has_one(tmp_path: Path) -> None:
    keys = answers(6).keys
    mistakes = side(tmp_path / "1", thumbnails_json=[keys[4]], thumbnails_jpg=tiles(1, 96, 10))
    said = {"part": "test", "side": 40, "per_row": 3, "keys": [keys[0], keys[4], keys[2], keys[3]]}
    all_of_them = side(tmp_path / "2", tiles_json=said, tiles_jpg=tiles(4, 40, 3))
    found = sprite([mistakes, all_of_them], [digest(keys[place]) for place in (3, 4, 5, 3)])
    assert list(found.places) == [digest(keys[3]), digest(keys[4])]
    assert colour(found, digest(keys[3])) == 3
    assert colour(found, digest(keys[4])) == 0
    other = sprite([all_of_them], [digest(keys[2]), digest(keys[4])])
    assert [colour(other, digest(keys[place])) for place in (2, 4)] == [2, 1]


def test_without_pictures_there_is_no_sprite(tmp_path: Path) -> None:
    assert sprite([side(tmp_path / "1")], [digest("ant/0.jpg")]) == Sprite(b"", {})


@pytest.mark.parametrize(
    ("json_said", "jpg", "reason"),
    [
        (3, tiles(1, 96, 10), "it must say side, per_row"),
        ({"side": True, "per_row": 3, "keys": ["a"]}, tiles(1, 96, 10), "it must say side"),
        ({"side": 40, "per_row": 3, "keys": [3]}, tiles(1, 96, 10), "it must say side"),
        ({"side": 40, "per_row": 3, "keys": ["a"]}, b"GIF89a", "it is not a JPEG picture"),
        ({"side": 40, "per_row": 3, "keys": ["a"]}, tiles(2, 96, 10)[:200], "it is not a JPEG picture"),
        ({"side": 40, "per_row": 3, "keys": ["a", "b", "c", "d"]}, tiles(4, 40, 10), "too small for 4 tiles"),
    ],
)
def test_pictures_that_do_not_fit_what_is_said_of_them_are_named(
    json_said: object, jpg: bytes, reason: str, tmp_path: Path
) -> None:
    one = side(tmp_path / "1", tiles_json=json_said, tiles_jpg=jpg)
    with pytest.raises(BundleError, match=reason):
        sprite([one], [digest("ant/0.jpg")])


def test_a_picture_of_too_many_pixels_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.compare.pictures._LARGEST", 100)
    one = side(tmp_path / "1", tiles_json={"side": 40, "per_row": 3, "keys": ["a"]}, tiles_jpg=tiles(1, 40, 3))
    with pytest.raises(BundleError, match="too large"):
        sprite([one], [])
