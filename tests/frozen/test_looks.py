from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.data.catalog import Sample
from finetune.data.decode import Preprocessing
from finetune.data.pixels import Pixels
from finetune.errors import DataError
from finetune.frozen.looks import Job, Look, Looks, decoded
from finetune.frozen.sources import hashes
from finetune.recipe.images import Augment
from finetune.recipe.transforms import Rotate
from finetune.runtime import Runtime
from finetune.views import TrainingViews, evaluation_view
from tests.conftest import draw

PIXELS = Preprocessing(size=32, working=36, fit="crop", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
WORKING = np.random.default_rng(0).integers(0, 256, (36, 48, 3)).astype(np.uint8)
RUNTIME = Runtime(device=torch.device("cpu"), precision="float32", threads=2)


def test_view_0_is_the_one_that_is_evaluated_and_the_others_are_training_views_of_the_content() -> None:
    looks = Looks(PIXELS, Augment(kind="standard"), seed=3)
    assert np.array_equal(looks.pixels(WORKING, (0, False), key="f0"), evaluation_view(WORKING, PIXELS))
    expected = TrainingViews(Augment(kind="standard"), PIXELS, seed=3).view(WORKING, epoch=2, key="f0")
    assert np.array_equal(looks.pixels(WORKING, (2, False), key="f0"), expected)
    assert np.array_equal(looks.pixels(WORKING, (2, True), key="f0"), expected[:, ::-1])
    assert not np.array_equal(looks.pixels(WORKING, (2, False), key="f1"), expected)


def test_a_name_holds_everything_that_decides_a_view() -> None:
    names = {
        Looks(PIXELS, Augment(kind=kind, flip=flip), seed).name(view, mirrored=mirrored)
        for kind in ("light", "standard") for flip in (True, False) for seed in (0, 1)
        for view in (1, 2) for mirrored in (True, False)
    }  # fmt: skip
    assert len(names) == 2**5
    assert (
        Looks(PIXELS, Augment(kind="light"), 1).name(0) == Looks(PIXELS, Augment(kind="standard"), 2).name(0) == "plain"
    )


def test_the_name_of_a_listed_view_holds_the_whole_list() -> None:
    one = Augment(kind="custom", transforms=(Rotate(limit=(-9.0, 9.0)),))
    other = Augment(kind="custom", transforms=(Rotate(limit=(-9.0, 8.0)),))
    names = {Looks(PIXELS, augment).name(1) for augment in (one, other, Augment(kind="strong"), Augment())}
    assert len(names) == 4
    assert Looks(PIXELS, one).name(1) == ('custom [{"limit": [-9.0, 9.0], "name": "Rotate", "p": 0.5}] flip 1 seed 0')


def test_views_that_are_the_same_pixels_have_one_name() -> None:
    still = Looks(PIXELS, Augment(kind="none", flip=False))
    assert list(still.names(4)) == ["plain"]
    assert list(still.names(4, mirrored=True)) == ["plain", "plain mirrored"]
    assert np.array_equal(still.pixels(WORKING, (3, False), key=""), still.pixels(WORKING, (0, False), key=""))
    assert list(Looks(PIXELS).names(2, mirrored=True)) == [
        "plain", "plain mirrored", "light flip 1 seed 0", "light flip 1 seed 0 mirrored",
    ]  # fmt: skip


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    for number in range(5):
        draw(tmp_path / f"{number}.png", hue=(9, 9, 9), seed=number)
    samples = [Sample(f"{number}.png", tmp_path / f"{number}.png", "a") for number in range(5)]
    found = hashes(samples, preprocessing=PIXELS, threads=1)
    views = Looks(PIXELS).names(3)
    return [
        Job(place, sample, sha256, views) for place, (sample, sha256) in enumerate(zip(samples, found, strict=True))
    ]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_views_come_in_order_whether_decoded_in_rounds_or_ahead(
    jobs: list[Job], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.frozen.looks._MEMORY", 3 * 3 * 32**2 * 2)  # two images at a time
    runtime = Runtime(device=torch.device(device), precision="float32", threads=3)
    found = list(decoded(jobs, Looks(PIXELS), runtime, Pixels()))
    assert [(look.place, look.entry) for look in found] == [
        (job.place, (job.sha256, name)) for job in jobs for name in job.views
    ]
    again = [look for job in jobs for look in decoded([job], Looks(PIXELS), RUNTIME, Pixels())]
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(found, again, strict=True))


def test_what_cannot_be_used_is_named_after_all_that_can_be_had(jobs: list[Job]) -> None:
    first, last = jobs[0].source, jobs[-1].source
    assert isinstance(first, Sample)
    assert isinstance(last, Sample)
    first.file.unlink()
    draw(last.file, hue=(1, 1, 1), seed=77)
    had: list[Look] = []
    with pytest.raises(
        DataError, match=r"2 images cannot be used\n    0.png: missing.*\n    4.png: changed: the file is not"
    ):
        had.extend(decoded(jobs, Looks(PIXELS), RUNTIME, Pixels()))
    assert {look.place for look in had} == {1, 2, 3}
