"""Near duplicates are found and others are not, however many there are."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from finetune.audit import alike
from finetune.audit.alike import Found, Links, by_chance, candidates, likeness, near
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
    found = near(hashes(greys), greys)
    pairs = {(one.first, one.second) for one in found.pairs}
    assert (found.untried, found.same) == (0, alike.SAME)
    assert len(pairs & {(n, 120 + n) for n in range(40)}) >= 38
    assert pairs <= {(n, 120 + n) for n in range(40)}
    assert all(alike.SAME <= one.correlation <= 1.001 for one in found.pairs)


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
    assert near(hashes(stacked), stacked).pairs == ()


def ring(seed: int) -> Image.Image:
    """A bright ring on a dark ground, as every 0 of a set of digits is, and no two of them the same."""
    generator = np.random.default_rng(seed)
    picture = Image.new("L", (64, 64), 0)
    draw = ImageDraw.Draw(picture)
    left, top = (32 - generator.uniform(8, 24, 2)).tolist()
    right, bottom = (32 + generator.uniform(8, 24, 2)).tolist()
    draw.ellipse((left, top, right, bottom), outline=int(generator.integers(180, 256)), width=8)
    return picture.filter(ImageFilter.GaussianBlur(2))


def test_where_different_images_are_very_alike_more_is_asked() -> None:
    greys = np.stack([small(ring(seed)) for seed in range(150)])
    _, firsts, seconds = candidates(hashes(greys))
    tried = np.full(len(firsts), np.nan, np.float32)
    at_first, _ = alike._linked(greys, firsts, seconds, tried, same=alike.SAME, links=Links(150))
    found = near(hashes(greys), greys)
    assert len(at_first) > 50
    assert found.pairs == ()
    assert 0.95 < found.same < 1


def test_frames_of_a_few_scenes_are_linked_for_all_that_they_are_alike() -> None:
    greys = np.stack([small(changed(scene(n % 5, size=(240, 180)), n)) for n in range(100)])
    found = near(hashes(greys), greys)
    links = Links(100)
    for one in found.pairs:
        links.link(one.first, one.second)
    assert found.same == alike.SAME
    assert len([group for group in links.groups() if len(group) > 15]) == 5
    assert all(len({place % 5 for place in group}) == 1 for group in links.groups())


def test_the_more_images_the_more_is_expected_by_chance() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(400, 32, 32)).astype(np.float32)
    common = noise + 3 * generator.normal(size=(32, 32)).astype(np.float32)
    assert by_chance(noise, np.arange(19)) == 0
    assert 0 < by_chance(noise, np.arange(40)) < by_chance(noise, np.arange(400)) < 0.5
    assert by_chance(common, np.arange(400)) > 0.9


def test_alignment_is_the_best_of_all_crops_of_either_image() -> None:
    generator = np.random.default_rng(1)
    one, other = generator.normal(size=(2, 3, 32, 32)).astype(np.float32)
    expected = []
    for a, b in zip(one, other, strict=True):
        found = []
        for cropped, whole in ((a, b), (b, a)):
            for rows in alike._STRETCHED:
                for columns in alike._STRETCHED:
                    part = rows @ cropped @ columns.T
                    found.append((part * whole).sum() / np.linalg.norm(part) / np.linalg.norm(whole))
        expected.append(max(found))
    assert alike._aligned(one, other) == pytest.approx(expected, abs=1e-5)


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
    found = near(hashes(greys), greys)
    links = Links(50)
    for one in found.pairs:
        links.link(one.first, one.second)
    assert links.groups() == [list(range(50))]
    assert len(found.pairs) == 49
    assert found.untried == 0


def test_what_was_not_tried_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alike, "MOST", 3)
    monkeypatch.setattr(alike, "_BATCH", 2)
    greys = np.stack([small(changed(scene(seed), seed + 7 * turn)) for seed in range(6) for turn in range(2)])
    found = near(hashes(greys), greys)
    assert found.untried > 0
    assert len(found.pairs) < 6


def test_nothing_and_flat_images_are_no_errors() -> None:
    none = np.zeros((0, 32, 32), np.uint8)
    assert near([], none) == Found((), 0, alike.SAME)
    flat = np.full((4, 32, 32), 9, np.uint8)
    assert near(hashes(flat), flat) == Found((), 0, alike.SAME)
    assert likeness(flat[:2], flat[2:]).tolist() == [0, 0]


def test_likeness_is_the_correlation_of_grey() -> None:
    one, other = small(scene(0)), small(scene(1))
    found = likeness(np.stack([one, one]), np.stack([one, other]))
    assert found == pytest.approx([1, np.corrcoef(one.ravel(), other.ravel())[0, 1]], abs=1e-5)
