"""Near duplicates are found and others are not, however many there are."""

import numpy as np
import pytest
from PIL import Image

from finetune.audit import alike
from finetune.audit.alike import Links, candidates, likeness, near
from finetune.audit.look import perceptual_hash
from tests.audit.toys import scene


def small(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BOX))


def hashes(greys: np.ndarray) -> list[int]:
    return [perceptual_hash(grey) for grey in greys]


def changed(image: Image.Image, seed: int) -> Image.Image:
    """Cropped by 5 % in total, resized by 0.6 to 0.9 and brightened or darkened by up to 10 %."""
    generator = np.random.default_rng(seed)
    left, top = (generator.uniform(0, 0.05) * side for side in image.size)
    box = (left, top, left + 0.95 * image.width, top + 0.95 * image.height)
    share = generator.uniform(0.6, 0.9)
    size = round(image.width * share), round(image.height * share)
    light = generator.uniform(0.9, 1.1)
    return image.resize(size, Image.Resampling.BICUBIC, box=box).point(lambda value: min(255, round(value * light)))


def test_changed_copies_are_found_among_others_and_only_they() -> None:
    images = [scene(seed, size=(240, 180)) for seed in range(120)]
    greys = np.stack([small(image) for image in (*images, *(changed(images[n], n) for n in range(40)))])
    found, untried = near(hashes(greys), greys)
    pairs = {(one.first, one.second) for one in found}
    assert untried == 0
    assert len(pairs & {(n, 120 + n) for n in range(40)}) >= 38
    assert pairs <= {(n, 120 + n) for n in range(40)}
    assert all(alike.SAME <= one.correlation <= 1.001 for one in found)


def test_simple_shapes_on_one_ground_are_not_taken_for_each_other() -> None:
    greys = []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        picture = Image.new("L", (96, 96), 20)
        for _ in range(3):
            x, y, side = generator.integers(5, 60, 3).tolist()
            picture.paste(int(generator.integers(120, 255)), (x, y, x + side // 2 + 4, y + side // 3 + 4))
        greys.append(small(picture))
    stacked = np.stack(greys)
    assert near(hashes(stacked), stacked)[0] == []


def test_candidates_are_all_pairs_within_the_distance() -> None:
    generator = np.random.default_rng(0)
    words = generator.integers(0, 2**63, 60).tolist()
    words += [
        word ^ int(sum(1 << int(bit) for bit in generator.choice(64, n % 20, replace=False)))
        for n, word in enumerate(words)
    ]
    expected = {
        (first, second)
        for first in range(120)
        for second in range(first + 1, 120)
        if (words[first] ^ words[second]).bit_count() <= alike.BITS
    }
    distances, firsts, seconds = candidates(words)
    assert set(zip(firsts.tolist(), seconds.tolist(), strict=True)) == expected
    assert distances.tolist() == [
        (words[one] ^ words[two]).bit_count() for one, two in zip(firsts.tolist(), seconds.tolist(), strict=True)
    ]
    assert len(expected) > 30


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [(n % 7) << n % 50 for n in range(90)]
    monkeypatch.setattr(alike, "NEIGHBOURS", 100)
    whole = [part.tolist() for part in candidates(words)]
    monkeypatch.setattr(alike, "_BLOCK", 11)
    assert [part.tolist() for part in candidates(words)] == whole


def test_of_one_image_the_nearest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "NEIGHBOURS", 2)
    distances, firsts, seconds = candidates([0, 0b111, 0b1, 0b11])
    found = list(zip(firsts.tolist(), seconds.tolist(), distances.tolist(), strict=True))
    assert [pair for pair in found if pair[0] == 0] == [(0, 2, 1), (0, 3, 2)]


def test_many_copies_of_one_image_are_one_chain() -> None:
    greys = np.stack([small(scene(0))] * 50)
    found, untried = near(hashes(greys), greys)
    links = Links(50)
    for one in found:
        links.link(one.first, one.second)
    assert links.groups() == [list(range(50))]
    assert len(found) == 49
    assert untried == 0


def test_what_was_not_tried_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "MOST", 3)
    monkeypatch.setattr(alike, "_BATCH", 2)
    greys = np.stack([small(changed(scene(seed), seed + 7 * turn)) for seed in range(6) for turn in range(2)])
    found, untried = near(hashes(greys), greys)
    assert untried > 0
    assert len(found) < 6


def test_nothing_and_flat_images_are_no_errors() -> None:
    none = np.zeros((0, 32, 32), np.uint8)
    assert near([], none) == ([], 0)
    flat = np.full((4, 32, 32), 9, np.uint8)
    assert near(hashes(flat), flat) == ([], 0)
    assert likeness(flat[:2], flat[2:]).tolist() == [0, 0]


def test_likeness_is_the_correlation_of_grey() -> None:
    one, other = small(scene(0)), small(scene(1))
    found = likeness(np.stack([one, one]), np.stack([one, other]))
    assert found == pytest.approx([1, np.corrcoef(one.ravel(), other.ravel())[0, 1]], abs=1e-5)
