"""Images with answers, and an untrained network that is always the same."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from finetune.data.adapters import folder
from finetune.data.catalog import Catalog, census
from finetune.data.decode import Preprocessing
from finetune.diagnose.asked import Asked
from finetune.model import backbone, heads
from finetune.model.classifier import Classifier
from finetune.recipe.dataset import FolderData
from finetune.recipe.network import Linear
from finetune.scores.predictions import Predictions

PIXELS = Preprocessing(
    size=32, working=36, fit="crop", interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


def classifier(classes: int = 3) -> Classifier:
    """An untrained network with a head that answers every class now and then."""
    torch.manual_seed(0)
    network = backbone.build("test_resnet", size=32)
    head = heads.build(Linear(), features=network.features, classes=classes)
    torch.nn.init.normal_(head[-1].weight if isinstance(head, torch.nn.Sequential) else head.weight)
    return Classifier(network, head, PIXELS).eval()


def of_folder(root: Path) -> Catalog:
    """The images of class folders with their hashes."""
    return census(folder.read(FolderData(root=str(root))), on_bad_image="error", threads=1)[0]


def told(
    catalog: Catalog, answers: Sequence[int] | np.ndarray, *, groups: tuple[str, ...] | None = None
) -> Predictions:
    """Predictions with one answer for each image."""
    logits = 3 * np.eye(len(catalog.classes), dtype=np.float32)[np.asarray(answers)]
    return Predictions(catalog.keys, logits, catalog.classes, catalog.labels, groups)


def asked(root: Path, *, wrong: Sequence[int] = ()) -> Asked:
    """All images of class folders, answered right but for those at some places."""
    catalog = of_folder(root)
    answers = catalog.labels.copy()
    answers[list(wrong)] = (answers[list(wrong)] + 1) % len(catalog.classes)
    return Asked("test", told(catalog, answers), catalog)
