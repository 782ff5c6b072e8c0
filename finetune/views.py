"""Training and evaluation views of a working image; the only importer of albumentations.

It knows nothing of files: what it is given and what it returns are arrays.
"""

import contextlib
import math
import os
import random
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, assert_never

import cv2
import numpy as np

from finetune.data.decode import Preprocessing
from finetune.recipe.transforms import CROPS, RandomCrop
from finetune.runtime import number_from

if TYPE_CHECKING:
    from finetune.recipe.images import Augment
    from finetune.recipe.transforms import Transform


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

    strong: 8 to 100 % of the area, in four of five views colours changed by up to 40 % and hues by a tenth of the
    circle, one of five grey (Chen et al. 2020, A Simple Framework for Contrastive Learning, appendix A, at strength 0.5
    and without blur), and in half of the views a rectangle of noise (Zhong et al. 2020, Random Erasing Data
    Augmentation). trivial: the crop of standard, then one of 14 changes at a strength drawn evenly (Müller and Hutter
    2021, TrivialAugment, the wide space; movements are the same share of any input, and sharpness is albumentations'
    sharpening or a small blur). custom: the transforms of the recipe in their order, a random crop before them where
    none of them crops.
    """

    def __init__(self, augment: "Augment", preprocessing: Preprocessing, *, seed: int) -> None:
        self.augment = augment
        self._preprocessing = preprocessing
        self._seed = seed
        listed = augment.transforms or ()
        alone = (
            listed[0] if len(listed) == 1 else None
        )  # without a pipeline, which takes ten times as long at 32 pixels
        self._padding = alone.padding if isinstance(alone, RandomCrop) else 0
        self._of_thread = threading.local()  # one pipeline shared by two threads gives wrong views
        cv2.setNumThreads(0)  # views are made by several threads already; OpenCV's own would only compete with them

    def view(self, working: np.ndarray, *, epoch: int, key: str) -> np.ndarray:
        """A view for training, uint8 (size, size, 3), of a working image, uint8 (h, w, 3)."""
        number = number_from(self._seed, "view", epoch, key)
        if self._padding:
            return _padded_crop(working, number, self._padding, self._preprocessing, flip=self.augment.flip)
        pipeline = self._pipeline()
        # One generator for all steps: set_random_seed would give each the same draws, and zoom would decide brightness.
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

    def zoom(least: float) -> Any:
        return albumentations.RandomResizedCrop(
            size, scale=(least, 1), ratio=(3 / 4, 4 / 3), interpolation=interpolation
        )

    steps: list[Any]
    match augment.kind:
        case "none":
            steps = []
        case "light":
            square = albumentations.RandomCrop(side, side)
            whole = albumentations.RandomResizedCrop(size, scale=(0.7, 1), ratio=(1, 1), interpolation=interpolation)
            steps = [square, whole]
        case "standard":
            steps = [zoom(0.35), albumentations.ColorJitter(0.2, 0.2, 0.2, 0, p=0.8)]
        case "strong":
            colours = albumentations.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8)
            erased = albumentations.Erasing(scale=(0.02, 0.33), ratio=(0.3, 3.3), fill="random", p=0.5)
            steps = [zoom(0.08), colours, albumentations.ToGray(p=0.2), erased]
        case "trivial":
            steps = [zoom(0.35), albumentations.OneOf(_trivial(interpolation), p=1)]
        case "custom":
            steps = [_listed(transform, preprocessing) for transform in augment.transforms or ()]
            if not any(isinstance(transform, CROPS) for transform in augment.transforms or ()):
                steps.insert(0, albumentations.RandomCrop(*size))
        case _:
            assert_never(augment.kind)
    if augment.flip:
        steps.append(albumentations.HorizontalFlip(p=0.5))
    return albumentations.Compose(steps)


def _trivial(interpolation: int) -> list[Any]:
    """The 14 changes of the wide space, equally likely."""
    same, wide = (1.0, 1.0), (0.01, 1.99)
    angle = math.degrees(math.atan(0.99))  # of a shear by 0.99 pixels in each row

    def colours(**changed: tuple[float, float]) -> Any:
        kept = {"brightness": same, "contrast": same, "saturation": same, "hue": (0.0, 0.0)}
        return albumentations.ColorJitter(**{**kept, **changed})

    def moved(**changed: Any) -> Any:
        return albumentations.Affine(interpolation=interpolation, **changed)

    return [
        albumentations.NoOp(),
        albumentations.AutoContrast(),
        albumentations.Equalize(),
        albumentations.Rotate(limit=(-135, 135), interpolation=interpolation),
        albumentations.Solarize(threshold_range=(0, 1)),
        albumentations.Posterize(num_bits=(2, 7)),
        colours(brightness=wide),
        colours(contrast=wide),
        colours(saturation=wide),
        albumentations.OneOf([albumentations.Sharpen(alpha=(0, 0.99), lightness=same), albumentations.Blur(3)]),
        moved(shear={"x": (-angle, angle), "y": (0.0, 0.0)}),
        moved(shear={"x": (0.0, 0.0), "y": (-angle, angle)}),
        moved(translate_percent={"x": (-32 / 224, 32 / 224), "y": (0.0, 0.0)}),
        moved(translate_percent={"x": (0.0, 0.0), "y": (-32 / 224, 32 / 224)}),
    ]


def _listed(transform: "Transform", preprocessing: Preprocessing) -> Any:
    """A transform of the closed list; how large a crop is, and how pixels are interpolated, the network says."""
    size, more = preprocessing.size, dict[str, object]()
    if transform.name == "RandomCrop":
        return _random_crop(transform.padding, preprocessing)
    if transform.name == "CenterCrop":
        more = {"height": size, "width": size}
    elif transform.name == "RandomResizedCrop":
        more = {"size": (size, size)}
    elif transform.name == "Erasing":
        more = {"fill": "random"}
    if transform.name in ("RandomResizedCrop", "Rotate", "Affine", "Perspective"):
        more["interpolation"] = _INTERPOLATION[preprocessing.interpolation]
    return getattr(albumentations, transform.name)(**transform.model_dump(exclude={"name"}), **more)


def _padded_crop(
    working: np.ndarray, number: int, padding: int, preprocessing: Preprocessing, *, flip: bool
) -> np.ndarray:
    """A square of the working image with so many pixels of the canvas around it, half of them mirrored: where it lies
    and whether it is mirrored says the number, in 0…2^63.
    """
    size, (height, width) = preprocessing.size, working.shape[:2]
    number, down = divmod(number, height + 2 * padding - size + 1)
    number, across = divmod(number, width + 2 * padding - size + 1)
    top, left = down - padding, across - padding
    view = np.empty((size, size, 3), np.uint8)
    view[:] = preprocessing.canvas
    rows, columns = slice(max(0, top), min(height, top + size)), slice(max(0, left), min(width, left + size))
    view[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = working[rows, columns]
    return np.ascontiguousarray(view[:, ::-1]) if flip and number % 2 else view


def _random_crop(padding: int, preprocessing: Preprocessing) -> Any:
    crop = albumentations.RandomCrop(preprocessing.size, preprocessing.size)
    if not padding:
        return crop
    around = albumentations.Pad(padding, fill=preprocessing.canvas, border_mode=cv2.BORDER_CONSTANT)
    return albumentations.Sequential([around, crop], p=1)
