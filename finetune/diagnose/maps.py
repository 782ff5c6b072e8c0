"""Where in an image a classifier sees its answer: class-activation maps; the only importer of captum.

A map says what speaks for a class as far as the last stage knows of places. It is no proof of what was learnt.
"""

import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from PIL import Image

from finetune.bundle import Bundle
from finetune.data import decode
from finetune.data.catalog import Catalog
from finetune.data.decode import Preprocessing
from finetune.diagnose import mistakes
from finetune.diagnose.mistakes import PER_ROW, SIDE
from finetune.errors import UsageError
from finetune.model.classifier import Classifier
from finetune.model.cut import STAGES
from finetune.predict import Check, to_device
from finetune.runtime import Runtime
from finetune.scores.predictions import Predictions
from finetune.views import evaluation_view

STAGE = "stage4"
METHOD = "Grad-CAM (Selvaraju et al. 2017)"

_BATCH = 8
_COLOUR = np.array([255.0, 60.0, 0.0])
_STRENGTH = 0.65  # of the colour where a map is highest
_CROPPED = 0.5  # how far what the network was not shown fades to white


def maps(
    classifier: Classifier, images: np.ndarray, classes: Sequence[int] | np.ndarray, *, stage: str = STAGE
) -> np.ndarray:
    """What in each image speaks for a class (above 0) and against it (below 0): float32 (n, h, w), in no unit.

    images: uint8 (n, h, w, 3), as the classifier is given them; classes: (n,) int, places in its logits. The map of
    what leaves the last module of a stage, each channel weighed by its mean gradient, brought up to the image
    bilinearly. Selvaraju et al. 2017, Grad-CAM, section 3, before its last step, which takes everything below 0 for 0.
    The classifier is put in evaluation mode. Raises UsageError for a stage that a classifier has no map of, and where
    the head does not see what leaves it.
    """
    if stage not in STAGES[1:]:
        raise UsageError(f"no map of {stage!r}; choose from {', '.join(STAGES[1:])}")
    device = next(classifier.parameters()).device
    layer = classifier.backbone.get_submodule(classifier.cut.cut.ends[STAGES.index(stage) - 1])
    classifier.eval()
    method = LayerGradCam(classifier, layer)
    found = []
    for start in range(0, len(images), _BATCH):
        some = torch.from_numpy(images[start : start + _BATCH]).permute(0, 3, 1, 2).to(device)
        target = torch.as_tensor(np.asarray(classes[start : start + _BATCH], dtype=np.int64), device=device)
        given = some.float().requires_grad_()  # a gradient flows, whatever of the classifier is frozen
        coarse = method.attribute(given, target=target, attr_dim_summation=True)
        fine = LayerAttribution.interpolate(coarse.detach(), tuple(images.shape[1:3]), "bilinear")
        found.append(fine[:, 0].float().cpu().numpy())
    return np.concatenate(found) if found else np.zeros(images.shape[:3], dtype=np.float32)
