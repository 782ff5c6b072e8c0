"""What a plan depends on besides the recipe. Values only; the survey of the images counts them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """How many images and classes there are, and what training starts from.

    `train`, `validation`, `test`, `smallest_class` and `largest_class` (both of the training images) count images.
    """

    train: int
    validation: int
    test: int
    classes: int
    smallest_class: int
    largest_class: int
    pretrained: bool
    batch_size: int
