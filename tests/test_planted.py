"""The faults that benchmarks plant: they lie where it is said, and are as strong as it is said."""

import io
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

planted = pytest.importorskip("benchmarks.planted", reason="benchmarks are not part of a source distribution")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two splits of two classes of twelve smooth JPEG photographs."""
    for place, part in enumerate(("train", "val")):
        for label in range(2):
            folder = tmp_path / "data" / part / "ab"[label]
            folder.mkdir(parents=True)
            for number in range(12):
                smooth(100 * place + 50 * label + number).save(folder / f"{number:02}.jpg", quality=90)
    return tmp_path / "data"


def smooth(seed: int, size: tuple[int, int] = (200, 160)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(60, 190, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_share_of_the_labels_is_moved_to_each_other_class_alike() -> None:
    labels = np.arange(10_000) % 5
    found = planted.flipped(labels, classes=5, share=0.2, seed=3)
    wrong = found != labels
    assert wrong.sum() == 2000
    steps = Counter(((found - labels) % 5)[wrong].tolist())
    assert sorted(steps) == [1, 2, 3, 4]
    assert min(steps.values()) > 400
    assert np.array_equal(found, planted.flipped(labels, classes=5, share=0.2, seed=3))
    assert not np.array_equal(found, planted.flipped(labels, classes=5, share=0.2, seed=4))


def test_copies_lie_in_the_other_split_under_their_class(root: Path) -> None:
    before = contents(root)
    found = planted.copies(root, source="train", target="val", exact=6, near=6, seed=1)
    after = contents(root)
    assert Counter(one.made for one in found) == {"bytes": 3, "pixels": 3, "near": 6}
    assert len({one.original for one in found}) == 12
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {one.copy for one in found}
    for one in found:
        assert one.original.split("/")[:2] == ["train", one.copy.split("/")[1]]
        assert one.copy.startswith("val/")
        if one.made == "bytes":
            assert after[one.copy] == before[one.original]
        elif one.made == "pixels":
            assert after[one.copy] != before[one.original]
            assert np.array_equal(pixels(root / one.copy), pixels(root / one.original))


def test_near_copies_are_as_strong_as_they_say(root: Path) -> None:
    found = planted.copies(root, source="train", target="val", exact=0, near=20, seed=2)
    for one in found:
        assert 0.6 <= one.scale <= 0.9
        assert 50 <= one.quality <= 80
        assert 0.9 <= one.brightness <= 1.1
        copy, original = pixels(root / one.copy).astype(float), pixels(root / one.original).astype(float)
        assert copy.shape[1] == round(one.scale * 190)
        assert copy.shape[0] == round(one.scale * 152)
        assert copy.mean() / original.mean() == pytest.approx(one.brightness, abs=0.04)
        aligned = np.asarray(Image.fromarray(copy.astype(np.uint8)).resize((190, 152)).convert("L")).ravel()
        middle = np.asarray(Image.fromarray(original[4:156, 5:195].astype(np.uint8)).convert("L")).ravel()
        assert np.corrcoef(aligned, middle)[0, 1] > 0.8
    assert len({one.scale for one in found}) == 20


def test_the_same_seed_plants_the_same_files(root: Path, tmp_path: Path) -> None:
    again = shutil.copytree(root, tmp_path / "again")
    for place in (root, again):
        planted.copies(place, source="train", target="val", exact=4, near=4, seed=5)
        planted.shortcut(place, label="b", trace="border", seed=5, splits=("train", "val"), share=0.5)
    assert contents(root) == contents(again)


@pytest.mark.parametrize("trace", ["encode", "resize", "border"])
def test_a_trace_is_left_in_a_share_of_one_class_and_nowhere_else(root: Path, trace: str) -> None:
    before = contents(root)
    found = planted.shortcut(root, label="a", trace=trace, seed=7, splits=("train", "val"), share=0.75)
    after = contents(root)
    low, high = planted.TRACES[trace]
    assert low <= found.strength <= high
    assert len(found.files) == 18
    assert {name for name in after if after[name] != before[name]} == set(found.files)
    assert {name.split("/")[1] for name in found.files} == {"a"}
    assert set(after) == set(before)


def test_each_trace_is_what_it_says() -> None:
    image = smooth(0)
    with Image.open(io.BytesIO(planted.traced(image, "encode", 40.0))) as encoded:
        reference = io.BytesIO()
        image.save(reference, "JPEG", quality=40)
        assert encoded.quantization == Image.open(reference).quantization
        assert encoded.size == image.size
    with Image.open(io.BytesIO(planted.traced(image, "resize", 0.7))) as resized:
        assert resized.size == (140, 112)
    with Image.open(io.BytesIO(planted.traced(image, "border", 0.05))) as framed:
        assert framed.size == (216, 176)
        values = np.asarray(framed)
        assert values[:6].max() < 16
        assert values[:, -6:].max() < 16
        assert values[12:-12, 12:-12].min() > 30
