"""What a plan depends on besides the recipe. Values only; the survey of the images counts them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """How many images and classes there are, and what training starts from.

    `train`, `validation`, `test`, `smallest_class` and `largest_class` (both of the training images) count images.
    `folds`: in how many every image is held out beside what ships, 0 where it is not. `short_side`: the median of the
    images' shorter sides in pixels, None where nobody has asked.
    """

    train: int
    validation: int
    test: int
    classes: int
    smallest_class: int
    largest_class: int
    pretrained: bool
    batch_size: int
    folds: int = 0
    short_side: int | None = None
