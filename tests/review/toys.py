"""A data set with something to review, and the bundle of a run on it."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from finetune import job
from tests.audit.toys import scene

HUES = {"blue": (60, 80, 220), "green": (40, 160, 60), "red": (220, 60, 40)}


def draw_doubtful(photos: Path) -> None:
    """Three classes that are easily told apart by colour. Wrong: one red image among the blue, one green image that is
    blue too; a copy among the red; a white image among the green.
    """
    for place, (name, hue) in enumerate(HUES.items()):
        (photos / name).mkdir(parents=True)
        for number in range(14):
            pixels = np.asarray(scene(100 * place + number)) * 0.5 + np.array(hue) * 0.5
            Image.fromarray(pixels.astype(np.uint8)).save(photos / name / f"{chr(97 + number)}.png")
    shutil.move(photos / "red" / "a.png", photos / "blue" / "was red.png")
    shutil.copy(photos / "green" / "d.png", photos / "blue" / "green too.png")
    shutil.copy(photos / "red" / "c.png", photos / "red" / "copy.png")
    Image.new("RGB", (160, 120), "white").save(photos / "green" / "white.png")


def write_doubtful(folder: Path) -> Path:
    """The recipe of a probe on these images."""
    draw_doubtful(folder / "photos")
    recipe = folder / "toy.yaml"
    recipe.write_text(
        "data: {kind: folder, root: photos}\nbackbone: {name: test_resnet, weights: {kind: random}}\n"
        "schedule: {kind: probe}\nimages: {size: 64}\n"
    )
    return recipe


def run_doubtful(folder: Path) -> Path:
    """The bundle of a run of that recipe."""
    return job.run(write_doubtful(folder), output=folder / "run").folder
