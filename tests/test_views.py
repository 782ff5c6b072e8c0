import hashlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.decode import Preprocessing
from finetune.recipe import transforms
from finetune.recipe.images import Augment
from finetune.views import TrainingViews, _trivial, evaluation_view

KINDS = ("none", "light", "standard", "strong", "trivial", "custom")
ROOT = Path(__file__).parents[1]
LISTED = (
    transforms.Rotate(limit=(-30.0, 30.0)),
    transforms.RandomResizedCrop(),
    transforms.GaussNoise(),
    transforms.CoarseDropout(),
)
RAMP = np.stack(np.broadcast_arrays(*np.ix_(np.arange(40), np.arange(60)), 7), axis=-1).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def preprocessing(size=32, working=40, *, fit="crop", interpolation="bilinear"):
    return Preprocessing(size, working, fit, interpolation, (0.5,) * 3, (0.5,) * 3)


def views(kind="standard", *, flip=True, seed=0, **options):
    listed = LISTED if kind == "custom" else None
    return TrainingViews(Augment(kind=kind, flip=flip, transforms=listed), preprocessing(**options), seed=seed)


def of_keys(maker, keys, *, epoch=0, working=NOISE):
    return np.stack([maker.view(working, epoch=epoch, key=key) for key in keys])


def test_the_evaluation_view_is_the_centre_of_the_working_image():
    view = evaluation_view(RAMP, preprocessing())
    assert view.shape == (32, 32, 3)
    assert (view == RAMP[4:36, 14:46]).all()
    assert view.flags.c_contiguous


@pytest.mark.parametrize(("side", "top"), [(40, 4), (41, 4), (42, 5), (43, 6)])
def test_an_odd_rest_is_rounded_as_torchvision_does(side, top):
    assert (
        evaluation_view(
            np.arange(side, dtype=np.uint8)[:, None, None] * np.ones((1, side, 3), np.uint8), preprocessing()
        )[0, 0, 0]
        == top
    )


def test_a_padded_image_is_its_own_view():
    square = NOISE[:, :40]
    assert (evaluation_view(square, preprocessing(40, fit="pad")) == square).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_every_view_has_the_size_and_type_of_the_network_input(kind, interpolation):
    for shape in ((40, 60, 3), (60, 40, 3), (40, 40, 3), (40, 400, 3)):
        view = views(kind, interpolation=interpolation).view(np.zeros(shape, np.uint8), epoch=0, key="a")
        assert view.shape == (32, 32, 3)
        assert view.dtype == np.uint8
        assert view.flags.c_contiguous


@pytest.mark.parametrize("fit", ["pad", "squash"])
@pytest.mark.parametrize("kind", KINDS)
def test_square_working_images_have_views_too(kind, fit):
    assert views(kind, size=40, fit=fit).view(NOISE[:, :40], epoch=0, key="a").shape == (40, 40, 3)


def test_none_is_the_evaluation_view_and_flip_mirrors_half_of_them():
    centre = evaluation_view(NOISE, preprocessing())
    keys = [str(n) for n in range(400)]
    assert (of_keys(views("none", flip=False), keys[:20]) == centre).all()
    flipped = [(view == centre[:, ::-1]).all() for view in of_keys(views("none"), keys)]
    assert 160 < sum(flipped) < 240
    kept = [(view == centre).all() for view in of_keys(views("none"), keys)]
    assert [not one for one in flipped] == kept


@pytest.mark.parametrize("kind", ["light", "standard"])
def test_without_flip_no_view_is_mirrored(kind):
    for view in of_keys(views(kind, flip=False), map(str, range(50)), working=RAMP).astype(int):
        assert (np.diff(view[..., 1], axis=1) >= 0).all()  # the ramp still rises to the right


def test_light_zooms_into_a_square_anywhere_in_the_image():
    left, right, top = [], [], []
    for view in of_keys(views("light", flip=False), map(str, range(200)), working=RAMP).astype(int):
        left.append(view[..., 1].min())
        right.append(view[..., 1].max())
        top.append(view[..., 0].min())
    width = np.array(right) - np.array(left) + 1
    assert width.min() >= np.floor(40 * np.sqrt(0.7)) - 2
    assert width.max() <= 40
    assert min(left) <= 3
    assert max(right) >= 56
    assert len(set(top)) > 3


def test_standard_changes_colours_and_light_does_not():
    grey = np.full((40, 60, 3), 128, np.uint8)
    keys = [str(n) for n in range(100)]
    assert (of_keys(views("light"), keys, working=grey) == 128).all()
    means = of_keys(views("standard"), keys, working=grey).mean(axis=(1, 2, 3))
    assert 100 <= means.min() < 115
    assert 141 < means.max() <= 156
    assert 5 <= (means == 128).sum() <= 40  # about one in five keeps its colours


def test_zoom_does_not_decide_brightness():
    bright = np.full((40, 60, 3), 128, np.uint8)
    bright[..., 1] = np.arange(60)
    maker = views("standard", flip=False)
    found = of_keys(maker, map(str, range(400)), working=bright).astype(float)
    zoom = found[..., 1].max(axis=(1, 2)) - found[..., 1].min(axis=(1, 2))
    zoom /= found[..., 0].mean(axis=(1, 2))
    assert abs(np.corrcoef(zoom, found[..., 0].mean(axis=(1, 2)))[0, 1]) < 0.2


PADDED = transforms.RandomCrop(padding=4)
UNCHANGED = transforms.ColorJitter(brightness=(1.0, 1.0), contrast=(1.0, 1.0), saturation=(1.0, 1.0), p=0.01)


@pytest.mark.parametrize("listed", [(PADDED,), (PADDED, UNCHANGED)], ids=["alone", "in a pipeline"])
def test_a_padded_crop_lies_anywhere_in_the_mean_colour_around_the_image(listed):
    square = NOISE[:32, :32]
    pixels = Preprocessing(32, 32, "squash", "bilinear", (0.2, 0.4, 0.6), (0.5,) * 3)
    framed = np.full((40, 40, 3), (51, 102, 153), np.uint8)
    framed[4:36, 4:36] = square
    crops = {
        (framed[top : top + 32, left : left + 32][:, ::side]).tobytes(): (top, left, side)
        for top in range(9)
        for left in range(9)
        for side in (1, -1)
    }
    maker = TrainingViews(Augment(kind="custom", transforms=listed), pixels, seed=0)
    found = [crops[maker.view(square, epoch=1, key=str(key)).tobytes()] for key in range(3240)]
    counts = np.array([found.count(place) for place in crops.values()])
    assert len(counts) == 162
    assert counts.min() > 3
    assert counts.max() < 45  # 20 of each are expected
    assert np.abs((np.array(framed[0, 0]) / 255 - pixels.mean) / pixels.std).max() < 0.01  # as good as zeros
    plain = TrainingViews(Augment(kind="custom", flip=False, transforms=listed), pixels, seed=0)
    sides = {crops[plain.view(square, epoch=1, key=str(key)).tobytes()][2] for key in range(200)}
    assert sides == {1}


def test_a_padded_crop_of_an_oblong_image_may_show_either_end():
    maker = TrainingViews(Augment(kind="custom", flip=False, transforms=(PADDED,)), preprocessing(), seed=0)
    found = of_keys(maker, map(str, range(600)), working=RAMP)
    canvas = preprocessing().canvas[1]
    assert (found[:, :, 0, 1] == canvas).any()
    assert (found[:, :, -1, 1] == canvas).any()
    inside = [view for view in found if (view[..., 2] == 7).all()]
    assert {int(view[0, 0, 1]) for view in inside} == set(range(29))
    assert {int(view[0, 0, 0]) for view in inside} == set(range(9))


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_is_a_function_of_seed_epoch_and_key(kind):
    keys = [f"class/{n}.jpg" for n in range(24)]
    first = of_keys(views(kind), keys)
    assert (of_keys(views(kind), keys) == first).all()
    for other in (
        of_keys(views(kind, seed=1), keys),
        of_keys(views(kind), keys, epoch=1),
        of_keys(views(kind), keys[::-1]),
    ):
        assert (other != first).any()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.permutations(range(12)), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3))
def test_order_batches_and_threads_do_not_matter(order, batch, threads, epoch):
    maker, alone = views(), views()
    expected = {key: alone.view(NOISE, epoch=epoch, key=str(key)) for key in range(12)}
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, 12, batch):
            keys = order[start : start + batch]
            for key, view in zip(
                keys, pool.map(lambda key: maker.view(NOISE, epoch=epoch, key=str(key)), keys), strict=True
            ):
                assert (view == expected[key]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_two_threads_at_once_make_the_views_of_one(kind):
    maker, keys = views(kind), [str(n) for n in range(200)]
    expected = of_keys(views(kind), keys)
    found = {}
    both = threading.Barrier(2)

    def work(part):
        both.wait()
        for key in keys[part::2]:
            found[key] = maker.view(NOISE, epoch=0, key=key)

    threads = [threading.Thread(target=work, args=(part,)) for part in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[key] == view).all() for key, view in zip(keys, expected, strict=True))


def test_another_process_makes_the_same_views():
    code = (
        "import hashlib, sys\n"
        "from tests.test_views import KINDS, of_keys, views\n"
        "for kind in KINDS:\n"
        "    print(hashlib.sha256(of_keys(views(kind), map(str, range(30))).tobytes()).hexdigest())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    here = [hashlib.sha256(of_keys(views(kind), map(str, range(30))).tobytes()).hexdigest() for kind in KINDS]
    assert done.stdout.split() == here


def test_strong_erases_rectangles_and_leaves_some_views_grey():
    found = of_keys(views("strong", flip=False), map(str, range(300)), working=RAMP).astype(int)
    grey = (found[..., 0] == found[..., 2]).all(axis=(1, 2)).mean()
    assert 0.05 < grey < 0.15  # of the half that has no noise
    flat = np.full((40, 60, 3), 128, np.uint8)
    spread = of_keys(views("strong"), map(str, range(300)), working=flat).std(axis=(1, 2)).max(axis=1)
    assert 0.35 < (spread > 10).mean() < 0.65  # noise in half of them


def test_trivial_makes_one_change_to_an_image_at_a_time_each_as_often():
    names = [step.__class__.__name__ for step in _trivial(cv2.INTER_LINEAR)]
    assert len(names) == 14
    flat = np.full((40, 60, 3), (60, 120, 180), np.uint8)
    found = of_keys(views("trivial", flip=False), map(str, range(1400)), working=flat)
    untouched = (found == flat[:32, :32]).all(axis=(1, 2, 3)).mean()
    # of one colour, nothing changes by: no operation, blur or sharpening
    assert 2 / 14 - 0.05 < untouched < 6 / 14 + 0.05
    moved = ((found == 0).all(axis=3).any(axis=(1, 2))).mean()
    assert 0.2 < moved < 0.45  # five of 14 bring black into view, nearly always
    assert len({view.tobytes() for view in found}) > 400


def test_custom_does_what_is_listed_in_its_order_and_crops_by_itself():
    pipeline = Augment(kind="custom", flip=False, transforms=(transforms.InvertImg(p=1.0),))
    view = TrainingViews(pipeline, preprocessing(), seed=0).view(RAMP, epoch=0, key="a")
    top, left = 255 - view[0, 0, 0], 255 - view[0, 0, 1]
    assert (view == 255 - RAMP[top : top + 32, left : left + 32]).all()
    bits = transforms.Posterize(num_bits=(1, 1), p=1.0)
    first = Augment(kind="custom", flip=False, transforms=(transforms.InvertImg(p=1.0), bits, transforms.CenterCrop()))
    last = Augment(kind="custom", flip=False, transforms=(bits, transforms.InvertImg(p=1.0), transforms.CenterCrop()))
    one, other = (TrainingViews(each, preprocessing(), seed=0).view(NOISE, epoch=0, key="a") for each in (first, last))
    assert set(np.unique(one)) == {0, 128}
    assert set(np.unique(other)) == {127, 255}


def test_no_two_epochs_and_no_two_keys_share_their_views():
    maker = views(flip=False)
    seen = {maker.view(NOISE, epoch=epoch, key=key).tobytes() for epoch in range(10) for key in ("a", "b", "c")}
    assert len(seen) == 30


def test_global_generators_are_neither_read_nor_moved():
    maker = views()
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = maker.view(NOISE, epoch=0, key="a")
    assert (np.random.get_state()[1] == before).all()
    np.random.seed(1)
    assert (maker.view(NOISE, epoch=0, key="a") == first).all()


def test_the_working_image_is_not_changed():
    before = NOISE.copy()
    of_keys(views(), map(str, range(20)))
    assert (before == NOISE).all()


@pytest.mark.parametrize("setting", [None, "0"])
def test_importing_views_asks_no_network_and_leaves_the_environment_as_it_was(setting):
    code = (
        "import os, sys\n"
        "asked = []\n"
        "sys.addaudithook(lambda event, _: event.startswith('socket.') and asked.append(event))\n"
        "before = os.environ.get('NO_ALBUMENTATIONS_UPDATE')\n"
        "import finetune.views\n"
        "assert os.environ.get('NO_ALBUMENTATIONS_UPDATE') == before\n"
        "assert not [event for event in asked if event in ('socket.connect', 'socket.getaddrinfo')], asked\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    if setting is not None:
        environment["NO_ALBUMENTATIONS_UPDATE"] = setting
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
