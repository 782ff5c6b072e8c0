"""The classification sets that torchvision has: their parts, how large they are, where their files lie.

Sizes are those of the papers and pages that published the sets; what has fewer images was cut off on its way.
"""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Part:
    """A part of a set: what it is asked for with, and how many images it has."""

    arguments: tuple[tuple[str, Any], ...]
    images: int


@dataclass(frozen=True)
class Published:
    """A set: its parts by the name of their split, its classes, and the folder of its files below the root.

    `kept`: whether it keeps image files that are used as they are, or pixels, which are written out as PNG files.
    `by_hand`: nobody may download it, so that its files have to be put there.
    """

    parts: dict[str, Part]
    classes: int
    folder: str
    kept: Literal["files", "pixels"] = "files"
    by_hand: bool = False


def _split(**images: int) -> dict[str, Part]:
    return {name: Part((("split", name),), count) for name, count in images.items()}


def _train(train: int, test: int) -> dict[str, Part]:
    return {"train": Part((("train", True),), train), "test": Part((("train", False),), test)}


def _whole(images: int) -> dict[str, Part]:
    return {"train": Part((), images)}


SETS: dict[str, Published] = {
    "CIFAR10": Published(_train(50_000, 10_000), 10, "cifar-10-batches-py", "pixels"),
    "CIFAR100": Published(_train(50_000, 10_000), 100, "cifar-100-python", "pixels"),
    "CLEVRClassification": Published(_split(train=70_000, val=15_000), 8, "clevr"),
    "Caltech101": Published(_whole(8_677), 101, "caltech101"),
    "Caltech256": Published(_whole(30_607), 257, "caltech256"),
    "Country211": Published(_split(train=31_650, valid=10_550, test=21_100), 211, "country211"),
    "DTD": Published(_split(train=1_880, val=1_880, test=1_880), 47, "dtd"),
    "EuroSAT": Published(_whole(27_000), 10, "eurosat"),
    "FER2013": Published(_split(train=28_709, test=7_178), 7, "fer2013", "pixels", by_hand=True),
    "FGVCAircraft": Published(_split(train=3_334, val=3_333, test=3_333), 100, "fgvc-aircraft-2013b"),
    "FashionMNIST": Published(_train(60_000, 10_000), 10, "FashionMNIST/raw", "pixels"),
    "Flowers102": Published(_split(train=1_020, val=1_020, test=6_149), 102, "flowers-102"),
    "Food101": Published(_split(train=75_750, test=25_250), 101, "food-101"),
    "GTSRB": Published(_split(train=26_640, test=12_630), 43, "gtsrb", "pixels"),
    "Imagenette": Published(_split(train=9_469, val=3_925), 10, "imagenette2"),
    "KMNIST": Published(_train(60_000, 10_000), 10, "KMNIST/raw", "pixels"),
    "MNIST": Published(_train(60_000, 10_000), 10, "MNIST/raw", "pixels"),
    "OxfordIIITPet": Published(
        {"train": Part((("split", "trainval"),), 3_680), "test": Part((("split", "test"),), 3_669)},
        37,
        "oxford-iiit-pet",
    ),
    "PCAM": Published(_split(train=262_144, val=32_768, test=32_768), 2, "pcam", "pixels"),
    "QMNIST": Published(_train(60_000, 60_000), 10, "QMNIST/raw", "pixels"),
    "RenderedSST2": Published(_split(train=6_920, val=872, test=1_821), 2, "rendered-sst2"),
    "SEMEION": Published(_whole(1_593), 10, "", "pixels"),
    "STL10": Published(_split(train=5_000, test=8_000), 10, "stl10_binary", "pixels"),
    "SUN397": Published(_whole(108_754), 397, "SUN397"),
    "SVHN": Published(_split(train=73_257, test=26_032), 10, "", "pixels"),
    "StanfordCars": Published(_split(train=8_144, test=8_041), 196, "stanford_cars", by_hand=True),
    "USPS": Published(_train(7_291, 2_007), 10, "", "pixels"),
}
