import colorsys
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from finetune.data import decode
from finetune.diagnose import corruptions
from finetune.diagnose.asked import Asked
from finetune.diagnose.corruptions import CORRUPTIONS, corrupted
from finetune.runtime import start
from finetune.scores.predictions import Predictions
from finetune.views import evaluation_view
from tests.diagnose import toys

KINDS = {one.kind: one for one in CORRUPTIONS}
ALL = [pytest.param(one, id=one.kind) for one in CORRUPTIONS]

# make_imagenet_c.py of github.com/hendrycks/robustness, all five severities
PUBLISHED = {
    "noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "blur": (1, 2, 3, 4, 6),
    "jpeg": (25, 18, 15, 10, 7),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    "resolution": (0.6, 0.5, 0.4, 0.3, 0.25),
}


def picture(seed: int = 0, *, size: tuple[int, int] = (300, 240)) -> np.ndarray:
    """Things of every size, the larger the stronger, as in a photograph."""
    generator, layers = np.random.default_rng(seed), np.full((size[1], size[0], 3), 128.0)
    for cells, strength in ((300, 6), (150, 8), (70, 12), (30, 18), (12, 25), (5, 40)):
        coarse = generator.normal(128, strength, (cells, cells, 3)).clip(0, 255).astype(np.uint8)
        layers += np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)) - 128.0
    return np.clip(layers, 0, 255).astype(np.uint8)


def spoilt(kind: str, severity: int, image: np.ndarray, *, side: int = 224, key: str = "x") -> np.ndarray:
    return corrupted(image, KINDS[kind], severity, side=side, key=key)


def away(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def test_severities_are_the_first_third_and_fifth_that_were_published() -> None:
    assert set(KINDS) == {*PUBLISHED, "rotation", "occlusion"}
    for kind, values in PUBLISHED.items():
        assert KINDS[kind].parameters == values[::2], kind


@pytest.mark.parametrize("one", ALL)
@pytest.mark.parametrize("size", [(300, 240), (37, 32), (32, 61), (33, 33)])
def test_an_image_keeps_its_shape_and_is_not_written_to(one: corruptions.Corruption, size: tuple[int, int]) -> None:
    image = picture(size=size)
    before = image.copy()
    image.flags.writeable = False
    for severity in (1, 2, 3):
        found = corrupted(image, one, severity, side=32, key="x")
        assert found.shape == image.shape
        assert found.dtype == np.uint8
    assert not np.array_equal(found, before)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("one", ALL)
def test_a_higher_severity_changes_more(one: corruptions.Corruption) -> None:
    changes = [
        np.mean([away(picture(seed), corrupted(picture(seed), one, s, side=224, key=str(seed))) for seed in range(3)])
        for s in (1, 2, 3)
    ]
    assert changes[0] < 0.95 * changes[1] < 0.9 * changes[2]


@pytest.mark.parametrize("one", ALL)
def test_an_image_is_spoilt_the_same_way_whenever_it_is_asked(one: corruptions.Corruption) -> None:
    image = picture()
    first = [corrupted(image, one, severity, side=224, key="a/1.jpg") for severity in (1, 2, 3)]
    corrupted(image, one, 1, side=224, key="b")
    assert all(
        np.array_equal(known, corrupted(image, one, severity, side=224, key="a/1.jpg"))
        for severity, known in enumerate(first, start=1)
    )
    keys = [corrupted(image, one, 2, side=224, key=str(number)).tobytes() for number in range(8)]
    assert (len(set(keys)) > 1) == (one.kind in ("noise", "rotation", "occlusion"))


def test_noise_has_the_spread_of_its_severity() -> None:
    grey = np.full((200, 200, 3), 128, dtype=np.uint8)
    for severity, spread in ((1, 0.08), (2, 0.18)):
        noise = spoilt("noise", severity, grey).astype(float) - 128
        assert abs(noise.mean()) < 1
        # rounded, and cut where the bytes end: of a normal distribution at 0.18 that is 2.7 spreads away
        assert noise.std() / 255 == pytest.approx(spread, rel=0.02)
        assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.03


@pytest.mark.parametrize("side", [224, 112])
def test_blur_is_a_gaussian_that_grows_with_the_view(side: int) -> None:
    image = picture()
    for severity, sigma in enumerate((1.0, 3.0, 6.0), start=1):
        own = sigma * side / 224
        peer = gaussian_filter(image.astype(float), (own, own, 0), mode="nearest")
        found = spoilt("blur", severity, image, side=side)
        assert away(found, peer) < 0.1 * away(image, peer) + 0.6  # bytes are rounded
        edge = np.full((80, 120, 3), 255, dtype=np.uint8) * (np.arange(120) > 60)[None, :, None].astype(np.uint8)
        kernel = np.diff(spoilt("blur", severity, edge, side=side)[40, :, 0].astype(float)) / 255
        assert np.sqrt(kernel @ (np.arange(119) - 60) ** 2) == pytest.approx(own, rel=0.05)


def test_jpeg_is_that_of_its_quality() -> None:
    image = picture()
    for severity, quality in enumerate((25, 15, 7), start=1):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        with Image.open(stream) as again:
            assert np.array_equal(spoilt("jpeg", severity, image), np.asarray(again.convert("RGB")))


def test_brightness_raises_the_value_and_keeps_hue_and_saturation() -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    image[0, 0], image[0, 1], image[0, 2] = 0, 255, (10, 0, 0)
    for severity, more in enumerate((0.1, 0.3, 0.5), start=1):
        found = spoilt("brightness", severity, image)
        for pixel, now in zip(image.reshape(-1, 3), found.reshape(-1, 3), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
            peer = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, min(1, value + more)))
            assert np.abs(now - peer).max() <= 0.5001


def test_contrast_is_a_share_of_what_it_was_about_the_mean_of_each_colour() -> None:
    image = picture()
    for severity, share in enumerate((0.4, 0.2, 0.05), start=1):
        found = spoilt("contrast", severity, image).astype(float)
        assert found.mean(axis=(0, 1)) == pytest.approx(image.mean(axis=(0, 1)), abs=0.3)
        assert found.std(axis=(0, 1)) == pytest.approx(share * image.std(axis=(0, 1)), abs=0.3)


def test_resolution_leaves_so_many_pixels_a_side() -> None:
    image = picture(size=(240, 200))
    for severity, share in enumerate((0.6, 0.4, 0.25), start=1):
        found = spoilt("resolution", severity, image)
        assert len(np.unique(found[:, :, 0], axis=0)) <= round(200 * share)
        assert len(np.unique(found[:, :, 0], axis=1).T) <= round(240 * share)
    blocks = image.reshape(50, 4, 60, 4, 3).mean(axis=(1, 3)).repeat(4, axis=0).repeat(4, axis=1)
    assert np.abs(found - blocks).max() <= 1


@pytest.mark.parametrize(("severity", "share"), [(1, 0.1), (2, 0.2), (3, 0.4)])
@pytest.mark.parametrize("size", [(300, 240), (225, 224)])
def test_occlusion_covers_its_share_of_the_view_with_one_grey_square(
    severity: int, share: float, size: tuple[int, int]
) -> None:
    image = np.full((size[1], size[0], 3), 200, dtype=np.uint8)
    corners = set()
    for number in range(30):
        whole = spoilt("occlusion", severity, image, key=str(number))
        top, left = round((size[1] - 224) / 2), round((size[0] - 224) / 2)
        covered = (whole[top : top + 224, left : left + 224] == 127).all(axis=2)
        assert covered.mean() == pytest.approx(share, abs=0.005)
        rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
        assert len(rows) == len(columns) == round(224 * np.sqrt(share))
        assert covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert (whole == 127).all(axis=2).sum() == covered.sum()
        corners.add((rows[0], columns[0]))
    assert len(corners) > 20


@pytest.mark.parametrize(("severity", "degrees"), [(1, 5), (2, 15), (3, 30)])
def test_rotation_turns_about_the_centre_to_either_side(severity: int, degrees: int) -> None:
    image = np.zeros((201, 201, 3), dtype=np.uint8)
    image[98:103, 160:165] = 255
    angles = []
    for number in range(12):
        found = spoilt("rotation", severity, image, key=str(number))[..., 0].astype(float)
        down, right = (found * np.arange(201)[:, None]).sum(), (found * np.arange(201)).sum()
        down, right = down / found.sum() - 100, right / found.sum() - 100
        assert np.hypot(down, right) == pytest.approx(62, abs=1)
        angles.append(np.degrees(np.arctan2(down, right)))
    assert np.abs(angles) == pytest.approx(degrees, abs=0.7)
    assert len(set(np.sign(angles))) == 2


@pytest.mark.parametrize("size", [(400, 100), (100, 400), (100, 100), (101, 100)])
def test_a_turned_view_has_no_black_corners(size: tuple[int, int]) -> None:
    white = np.full((size[1], size[0], 3), 255, dtype=np.uint8)
    for number in range(4):
        found = spoilt("rotation", 3, white, side=100, key=str(number))
        top, left = round((size[1] - 100) / 2), round((size[0] - 100) / 2)
        assert found[top : top + 100, left : left + 100].min() == 255


def test_what_is_written_is_what_the_network_says_of_each_spoilt_view(photos: Path) -> None:
    network, given = toys.classifier(), toys.asked(photos, wrong=[1, 9])
    heard: list[tuple[int, int]] = []
    found = corruptions.files(
        given, network, toys.PIXELS, start("float32", threads=1), check=lambda done, total: heard.append((done, total))
    )
    said = json.loads(found["evidence/corruptions.json"])
    with np.load(io.BytesIO(found["evidence/corruptions.npz"])) as members:
        table = members["right"]
    assert heard[-1] == (24 * 24, 24 * 24)
    assert table.shape == (24, 24)
    assert said["keys"] == list(given.catalog.keys)
    assert (said["part"], said["images"]) == ("test", 24)
    assert said["clean"]["accuracy"]["value"] == pytest.approx(22 / 24)
    labels = given.catalog.labels
    for place, row in enumerate(said["rows"]):
        kind, severity = row["kind"], row["severity"]
        views = []
        for sample in given.catalog.samples:
            working = decode.working_image(decode.read(sample.file), toys.PIXELS)
            views.append(evaluation_view(spoilt(kind, severity, working, side=32, key=sample.key), toys.PIXELS))
        with torch.inference_mode():
            logits = network(torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)).numpy()
        top = np.sort(logits, axis=1)
        sure = top[:, -1] - top[:, -2] > 1e-3
        assert np.array_equal(table[place][sure], (logits.argmax(axis=1) == labels)[sure])
        assert row["parameter"] == KINDS[kind].parameters[severity - 1]
        assert row["accuracy"]["value"] == pytest.approx(table[place].mean())
        assert row["drop"]["value"] == pytest.approx(22 / 24 - table[place].mean())
    assert [(row["kind"], row["severity"]) for row in said["rows"]] == [(k, s) for k in KINDS for s in (1, 2, 3)]
    assert 0 < table.mean() < 1
    again = corruptions.files(given, network, toys.PIXELS, start("float32", threads=1))
    assert again == found


def scored(clean: np.ndarray, row: np.ndarray, *, groups: tuple[str, ...] | None = None) -> dict[str, dict[str, float]]:
    n = len(clean)
    logits = np.eye(2, dtype=np.float32)[1 - clean.astype(int)]
    predictions = Predictions(tuple(map(str, range(n))), logits, ("a", "b"), np.zeros(n, dtype=np.int64), groups)
    found = corruptions.rows(predictions, clean, np.tile(row, (24, 1)))
    first, *others = found["rows"]  # type: ignore[misc]
    assert all(other["drop"] == first["drop"] for other in others)
    return {"clean": found["clean"]["accuracy"], "accuracy": first["accuracy"], "drop": first["drop"]}  # type: ignore[index]


def test_a_drop_is_surer_where_the_same_images_fall() -> None:
    generator = np.random.default_rng(0)
    clean = generator.random(400) < 0.8
    within = clean & (generator.random(400) < 0.9)
    paired, apart = scored(clean, within), scored(clean, generator.permutation(within))
    assert paired["drop"]["value"] == pytest.approx(apart["drop"]["value"]) == clean.mean() - within.mean()
    lost = clean.astype(float) - within
    spread = 1.96 * lost.std() / np.sqrt(400)
    assert paired["drop"]["high"] - paired["drop"]["value"] == pytest.approx(spread, rel=0.15)
    widths = [one["drop"]["high"] - one["drop"]["low"] for one in (paired, apart)]
    assert widths[0] < 0.7 * widths[1]


def test_intervals_of_groups_are_wider() -> None:
    generator = np.random.default_rng(0)
    clean, hit = (np.repeat(generator.random(60) < share, 5) for share in (0.8, 0.6))
    alone, together = scored(clean, hit), scored(clean, hit, groups=tuple(str(n // 5) for n in range(300)))
    for name in ("clean", "accuracy", "drop"):
        widths = [one[name]["high"] - one[name]["low"] for one in (alone, together)]
        assert widths[1] > 1.7 * widths[0], name
        assert together[name]["low"] <= together[name]["value"] <= together[name]["high"]


def test_an_image_with_several_labels_is_right_with_all_of_them(photos: Path) -> None:
    given = toys.asked(photos)
    labels = np.eye(3, dtype=bool)[given.catalog.labels]
    predictions = Predictions(given.catalog.keys, given.predictions.logits, given.catalog.classes, labels)
    given = Asked("test", predictions, given.catalog)
    found = corruptions.files(given, toys.classifier(), toys.PIXELS, start("float32", threads=1))
    said = json.loads(found["evidence/corruptions.json"])
    with np.load(io.BytesIO(found["evidence/corruptions.npz"])) as members:
        table = members["right"]
    assert said["clean"]["accuracy"]["value"] == given.right.mean()
    assert [row["accuracy"]["value"] for row in said["rows"]] == pytest.approx(table.mean(axis=1).tolist())
