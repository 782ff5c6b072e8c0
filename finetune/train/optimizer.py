"""The optimizer of a phase: which parameters, at which rate, at which step."""

import math
from collections.abc import Sequence
from typing import assert_never

import torch

from finetune.model.classifier import Classifier
from finetune.recipe.plan import Phase, stage_lr
from finetune.recipe.rates import ConstantRate, CosineRate, PlateauRate, Rate, SteppedRate
from finetune.recipe.training import SGD, Adam, AdamW, Optimizer


def build(classifier: Classifier, phase: Phase, optimizer: Optimizer) -> torch.optim.Optimizer:
    """A fresh optimizer over the parameters that the phase trains, a group for each stage and kind.

    Scales, shifts and biases (tensors of one dimension) are decayed only where the recipe says so. Each group keeps its
    own peak rate in `peak`.
    """
    groups = []
    for stage in phase.train:
        parameters = [p for n, p in classifier.named_parameters() if classifier.stage_of(n) == stage]
        rate = stage_lr(phase, stage, classifier.cut.stages)
        for weights in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) == weights]
            decay = optimizer.weight_decay if weights or optimizer.decayed == "all" else 0.0
            if chosen:
                groups.append({"params": chosen, "lr": rate, "peak": rate, "weight_decay": decay})
    match optimizer:
        case AdamW():
            return torch.optim.AdamW(groups)
        case Adam():
            return torch.optim.Adam(groups)
        case SGD():
            return torch.optim.SGD(groups, momentum=optimizer.momentum, nesterov=optimizer.nesterov)
        case _:
            assert_never(optimizer)


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Sets every group to `share` of its peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def rate_share(
    rate: Rate, step: int, *, epochs: int, steps: int, warmup: float, peak: float, losses: Sequence[float | None] = ()
) -> float:
    """The share of the peak rate at a step of a phase of `epochs` with `steps` each, in (0, 1]: a linear rise over the
    first `warmup` of them, then what the curve says.

    cosine: half a cosine down towards zero (Loshchilov and Hutter 2017, equation 5, without restarts). plateau: after
    the validation losses of the phase's epochs so far; those in which the rate rises do not count.
    """
    rising = round(warmup * epochs * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    match rate:
        case CosineRate():
            return 0.5 * (1 + math.cos(math.pi * (step - rising) / (epochs * steps - rising)))
        case ConstantRate():
            return 1.0
        case SteppedRate():
            return math.prod(factor for at, factor in zip(rate.at, rate.factors, strict=True) if at * steps <= step)
        case PlateauRate():
            counted = [loss for loss in losses[math.ceil(rising / steps) :] if loss is not None]
            return max(rate.factor ** _plateaus(counted, patience=rate.patience), min(1.0, rate.lowest / peak))
        case _:
            assert_never(rate)


def _plateaus(losses: Sequence[float], *, patience: int) -> int:
    """How often the lowest loss so far was not bettered for `patience` epochs since it was set, or since the last
    time.
    """
    found, waited, lowest = 0, 0, math.inf
    for loss in losses:
        waited = 0 if loss < lowest else waited + 1
        lowest = min(lowest, loss)
        if waited == patience:
            found, waited = found + 1, 0
    return found
