import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.audit.look import Looks
from finetune.diagnose import facts
from finetune.scores.intervals import wilson
from tests.conftest import draw
from tests.diagnose import toys

NUMBERS = ("width", "height", "aspect", "brightness", "contrast", "sharpness", "file_size")


def photo(path: Path, *, size: tuple[int, int], value: int, camera: str = "") -> None:
    """A grey photograph with a little noise."""
    pixels = np.random.default_rng(value).normal(value, 6, (size[1], size[0], 1)).clip(0, 255)
    exif = Image.Exif()
    if camera:
        exif[0x010F], exif[0x0110] = camera.split()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8).repeat(3, axis=2)).save(path, quality=95, exif=exif)
    os.utime(path, ns=(time.time_ns() - 60 * 10**9,) * 2)  # younger files are not remembered


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    """75 images of two classes: those of an Acme are dark and upright, those of a Zeta light and wide."""
    for number in range(75):
        dark = number % 5 < 2
        size, camera = ((40, 64), "Acme One") if dark else ((96, 48), "Zeta Two")
        value = (60 if dark else 180) + number
        photo(tmp_path / "grey" / "ab"[number // 38] / f"{number:02d}.jpg", size=size, value=value, camera=camera)
    return tmp_path / "grey"


def taken(root: Path, *, wrong: list[int] | None = None) -> tuple[dict[str, object], list[dict[str, object]]]:
    with Looks() as memory:
        found = facts.files(toys.asked(root, wrong=wrong or []), memory, threads=1)
    assert sorted(found) == ["evidence/facts.json", "evidence/slices.json"]
    return json.loads(found["evidence/facts.json"]), json.loads(found["evidence/slices.json"])


def test_facts_are_those_of_the_pixels_and_of_the_file(grey: Path) -> None:
    said, _ = taken(grey)
    assert said["part"] == "test"
    for place, key in enumerate(said["keys"]):  # type: ignore[arg-type, var-annotated]
        own = {name: values[place] for name, values in said["facts"].items()}  # type: ignore[attr-defined]
        data = (grey / key).read_bytes()
        with Image.open(grey / key) as image:
            pixels = np.asarray(image.convert("L"), dtype=np.float64) / 255
        assert (own["height"], own["width"]) == pixels.shape
        assert own["aspect"] == pytest.approx(pixels.shape[1] / pixels.shape[0])
        assert own["brightness"] == pytest.approx(pixels.mean(), abs=1e-6)
        assert own["contrast"] == pytest.approx(pixels.std(), abs=1e-6)
        assert own["file_size"] == len(data)
        assert own["camera"] == ("Acme One" if pixels.shape == (64, 40) else "Zeta Two")
        assert own["group"] is None
        assert own["sharpness"] > 0
    assert list(said["facts"]) == [*NUMBERS, "camera", "group"]  # type: ignore[call-overload]


def test_an_upright_picture_is_told_as_it_is_seen(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    draw(tmp_path / "p" / "a" / "1.png", hue=(1, 2, 3), seed=1)
    (tmp_path / "p" / "b").mkdir()
    Image.new("RGB", (60, 30)).save(tmp_path / "p" / "b" / "1.jpg", exif=exif)
    said, _ = taken(tmp_path / "p")
    assert said["facts"]["width"] == [48, 30]  # type: ignore[index]
    assert said["facts"]["height"] == [40, 60]  # type: ignore[index]
    assert said["facts"]["camera"] == [None, None]  # type: ignore[index]


def test_slices_are_the_scores_of_images_that_have_a_fact_in_common(grey: Path) -> None:
    dark = [number for number in range(75) if number % 5 < 2]
    _, slices = taken(grey, wrong=dark[:12])
    cameras = {one["slice"]: one for one in slices if one["fact"] == "camera"}
    assert set(cameras) == {"Acme One", "Zeta Two"}
    acme = cameras["Acme One"]
    assert acme["images"] == 30
    low, high = wilson(18, 30)
    assert acme["accuracy"] == {"value": 18 / 30, "low": pytest.approx(low), "high": pytest.approx(high)}
    assert acme["rest"]["value"] == 1  # type: ignore[index]
    assert acme["difference"]["value"] == pytest.approx(-0.4)  # type: ignore[index]
    assert acme["differs"]
    assert {one["fact"] for one in slices} >= {"width", "aspect", "brightness", "camera"}
    assert not any(one["differs"] for one in taken(grey)[1])


def test_an_image_that_is_gone_has_no_facts_but_its_group(grey: Path) -> None:
    given = toys.asked(grey)
    (grey / "a" / "03.jpg").write_bytes(b"no picture")
    with Looks() as memory:
        found = facts.files(given, memory, threads=2)
    own = {name: values[3] for name, values in json.loads(found["evidence/facts.json"])["facts"].items()}
    assert set(own.values()) == {None}
    assert len(json.loads(found["evidence/facts.json"])["facts"]["width"]) == 75


def test_looks_are_taken_once_and_give_the_same(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, heard = toys.asked(grey), []
    with Looks() as memory:
        first = facts.files(given, memory, threads=1, check=lambda done, total: heard.append((done, total)))
        assert heard == [(done, 75) for done in range(1, 76)]

        def never(*_: object, **__: object) -> None:
            raise AssertionError("a look was taken twice")

        monkeypatch.setattr("finetune.audit.look.look", never)
        assert facts.files(given, memory, threads=2) == first
    monkeypatch.undo()
    with Looks(tmp_path / "elsewhere") as memory:
        assert facts.files(given, memory, threads=1) == first
