"""Cross-entropy and its relatives; the shape of the labels decides which."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

MOST = 10.0  # times that a positive answer counts as much as a negative one, and the other way round


def loss(logits: Tensor, labels: Tensor, *, smoothing: float = 0.0, class_weights: Tensor | None = None) -> Tensor:
    """The mean loss of a batch, float32, on logits (n, classes).

    labels int64 (n,): softmax cross-entropy. labels bool (n, classes): the mean over images and classes of the binary
    cross-entropies (multi-label). `smoothing` in [0, 1) moves that share of each target to the uniform one (Szegedy et
    al. 2016, section 7). With `class_weights` (classes,) each image counts by the weight of its class, and the sum is
    divided by the sum of the weights; in the multi-label case the weights are those of the positive answers.
    """
    logits = logits.float()
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels, weight=class_weights, label_smoothing=smoothing)
    targets = labels.to(logits.dtype) * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=class_weights)


def balanced_weights(labels: np.ndarray, *, classes: int) -> Tensor:
    """Weights (classes,) float32, inversely proportional to how often a class occurs, with a mean of 1 over images.

    labels: int64 (n,), or bool (n, classes), where the weight of a class is its negatives per positive, so that both
    count the same (King and Zeng 2001, Logistic Regression in Rare Events Data, section 3.2), within 1/10 and 10: by
    the whole inverse frequency a few images of rare classes would steer every step (Cui et al. 2019, Class-Balanced
    Loss Based on Effective Number of Samples, section 1). A class that does not occur gets weight 1.
    """
    if labels.ndim == 2:
        positives = labels.sum(axis=0)
        ratio = np.clip((len(labels) - positives) / np.maximum(positives, 1), 1 / MOST, MOST)
        weights = np.where(positives > 0, ratio, 1.0)
    else:
        counts = np.bincount(labels, minlength=classes)
        weights = np.where(counts > 0, len(labels) / ((counts > 0).sum() * np.maximum(counts, 1)), 1.0)
    return torch.tensor(weights, dtype=torch.float32)
