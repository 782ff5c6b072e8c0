"""What the tests of choosing share: features that are drawn, and images that resemble each other."""

from pathlib import Path

import numpy as np
import torch

from finetune.choose.heads import Material
from finetune.data.catalog import Catalog, Sample
from finetune.data.groups import of_samples
from finetune.frozen.folds import folds

CLASSES = ("blue", "green", "red")
LABELS = np.arange(60) % 3
CATALOG = Catalog(
    tuple(
        Sample(f"{number:02d}.png", Path(f"{number:02d}.png"), CLASSES[label], sha256=f"{number:064d}")
        for number, label in enumerate(LABELS)
    ),
    CLASSES,
)


def features(apart: float, *, views: int = 1, width: int = 12, noise: int = 0) -> np.ndarray:
    """float32 (views, 60, width): classes that lie `apart` in units of the spread of their images; the same `noise`
    stands for the same images, and views resemble each other.
    """
    generator = np.random.default_rng(noise)
    centres = np.eye(3, width)[LABELS]
    own = apart * centres + generator.normal(size=(60, width))
    return (own + 0.1 * np.random.default_rng(noise + 1).normal(size=(views, 60, width))).astype(np.float32)


def material(apart: float = 2.0, *, views: int = 1) -> Material:
    groups = of_samples(CATALOG.samples)
    return Material(CATALOG, features(apart, views=views), LABELS, groups, folds(LABELS, groups, seed=0))


def of_module(module: torch.nn.Module, rows: np.ndarray) -> np.ndarray:
    """What a head says of features (n, width): float32 (n, classes)."""
    with torch.no_grad():
        said: np.ndarray = module.eval()(torch.from_numpy(rows)).numpy()
    return said
