"""Training and evaluation views of a working image; the only importer of albumentations.

It knows nothing of files: what it is given and what it returns are arrays.
"""

import contextlib
import os
import random
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, assert_never

import cv2
import numpy as np

from finetune.data.decode import Preprocessing
from finetune.runtime import number_from

if TYPE_CHECKING:
    from finetune.recipe.schema import Augment


@contextlib.contextmanager
def _without_update_check() -> Iterator[None]:
    """albumentations asks the network for a newer version of itself when it is imported, unless told not to."""
    before = os.environ.get("NO_ALBUMENTATIONS_UPDATE")
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    try:
        yield
    finally:
        del os.environ["NO_ALBUMENTATIONS_UPDATE"]
        if before is not None:
            os.environ["NO_ALBUMENTATIONS_UPDATE"] = before


with _without_update_check():
    import albumentations

_INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}


def evaluation_view(working: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The view that is scored and predicted on: uint8 (h, w, 3) working image -> uint8 (size, size, 3), its centre."""
    size = preprocessing.size
    height, width = working.shape[:2]
    top, left = round((height - size) / 2), round((width - size) / 2)
    return np.ascontiguousarray(working[top : top + size, left : left + size])


class TrainingViews:
    """Random views for training: which one is a function of (seed, epoch, key) and of the working image alone.

    none: the evaluation view. light: a square of 70 to 100 % of the area of the largest that fits, anywhere in the
    image. standard: 35 to 100 % of the area in a shape between 3:4 and 4:3 (Szegedy et al. 2014, Going Deeper with
    Convolutions, section 6, with a larger least area), then in four of five views brightness, contrast and saturation
    changed by up to 20 %. `flip` mirrors half of the views of any kind. Threads may share one object.
    """

    def __init__(self, augment: "Augment", preprocessing: Preprocessing, *, seed: int) -> None:
        self.augment = augment
        self._preprocessing = preprocessing
        self._seed = seed
        self._of_thread = threading.local()  # one pipeline shared by two threads gives wrong views
        cv2.setNumThreads(0)  # views are made by several threads already; OpenCV's own would only compete with them

    def view(self, working: np.ndarray, *, epoch: int, key: str) -> np.ndarray:
        """A view for training, uint8 (size, size, 3), of a working image, uint8 (h, w, 3)."""
        pipeline = self._pipeline()
        # One generator for all steps: set_random_seed would give each the same draws, and zoom would decide brightness.
        number = number_from(self._seed, "view", epoch, key)
        pipeline.set_random_state(np.random.default_rng(number), random.Random(number))
        image = evaluation_view(working, self._preprocessing) if self.augment.kind == "none" else working
        return np.ascontiguousarray(pipeline(image=image)["image"])

    def _pipeline(self) -> Any:
        if not hasattr(self._of_thread, "pipeline"):
            self._of_thread.pipeline = _pipeline(self.augment, self._preprocessing)
        return self._of_thread.pipeline


def _pipeline(augment: "Augment", preprocessing: Preprocessing) -> Any:
    size, side = (preprocessing.size, preprocessing.size), preprocessing.working
    interpolation = _INTERPOLATION[preprocessing.interpolation]
    steps: list[Any]
    match augment.kind:
        case "none":
            steps = []
        case "light":
            square = albumentations.RandomCrop(side, side)
            zoom = albumentations.RandomResizedCrop(size, scale=(0.7, 1), ratio=(1, 1), interpolation=interpolation)
            steps = [square, zoom]
        case "standard":
            zoom = albumentations.RandomResizedCrop(
                size, scale=(0.35, 1), ratio=(3 / 4, 4 / 3), interpolation=interpolation
            )
            colours = albumentations.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0, p=0.8)
            steps = [zoom, colours]
        case _:
            assert_never(augment.kind)
    if augment.flip:
        steps.append(albumentations.HorizontalFlip(p=0.5))
    return albumentations.Compose(steps)
