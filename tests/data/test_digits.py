"""The embedded digits are what data/README.md says they are."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from finetune.data.adapters import folder
from finetune.data.catalog import census
from finetune.data.decode import Preprocessing, read, working_image
from finetune.data.split import split
from finetune.recipe.dataset import FolderData

ROOT = Path(__file__).parents[2] / "data" / "digits"


def test_there_are_40_images_of_each_digit_and_nothing_else():
    found, notes = census(folder.read(FolderData(root=str(ROOT))), on_bad_image="error", threads=2)
    assert found.counts() == dict.fromkeys("0123456789", 40)
    assert found.left_out == ()
    assert notes == {}
    assert len({sample.sha256 for sample in found.samples}) == 400
    parts = split(found, None, seed=0)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (280, 60, 60)


def test_they_are_scikit_learns():
    digits = load_digits()
    as_they_are = Preprocessing(64, 64, "crop", "nearest", (0.5,) * 3, (0.5,) * 3)
    for number in range(10):
        names = [f"{index:04}" for index in np.flatnonzero(digits.target == number)[:40]]
        assert sorted(path.stem for path in (ROOT / str(number)).iterdir()) == names
        path = ROOT / str(number) / f"{names[0]}.png"
        grey = Image.fromarray(np.round(digits.images[int(names[0])] * (255 / 16)).astype(np.uint8))
        made = np.asarray(grey.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(working_image(read(path), as_they_are)[..., 0] - made).max() <= 1
