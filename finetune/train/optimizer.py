"""The optimizer of a phase: which parameters, at which rate, at which step."""

import math
from typing import assert_never

import torch

from finetune.model.classifier import Classifier
from finetune.recipe.plan import Phase, stage_lr
from finetune.recipe.schema import SGD, AdamW


def build(classifier: Classifier, phase: Phase, optimizer: AdamW | SGD) -> torch.optim.Optimizer:
    """A fresh optimizer over the parameters that the phase trains, a group for each stage and kind.

    Scales, shifts and biases (tensors of one dimension) are not decayed. Each group keeps its own peak rate in `peak`.
    """
    groups = []
    for stage in phase.train:
        parameters = [p for n, p in classifier.named_parameters() if classifier.stage_of(n) == stage]
        rate = stage_lr(phase, stage, classifier.cut.stages)
        for decayed in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) == decayed]
            decay = optimizer.weight_decay if decayed else 0.0
            if chosen:
                groups.append({"params": chosen, "lr": rate, "peak": rate, "weight_decay": decay})
    match optimizer:
        case AdamW():
            return torch.optim.AdamW(groups)
        case SGD():
            return torch.optim.SGD(groups, momentum=optimizer.momentum, nesterov=optimizer.momentum > 0)
        case _:
            assert_never(optimizer)


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Sets every group to `share` of its peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def rate_share(step: int, *, steps: int, warmup: float) -> float:
    """The share of the peak rate at a step of a phase: a linear rise over the first `warmup` of its steps, then half a
    cosine down towards zero (Loshchilov and Hutter 2017, equation 5, without restarts). In (0, 1] for 0 <= step <
    steps.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
