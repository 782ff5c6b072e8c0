"""How the stages of a network stand at one step of training: their gradients, what the step changes, what leaves them.

A step is looked at as it is taken, and nothing of it is changed. What it comes to in words, it does not know.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from finetune.model.classifier import Classifier
from finetune.train.loop import Health


@contextmanager
def looking(classifier: Classifier, step: int) -> Iterator[list[Health]]:
    """A list that is empty until the step inside has been taken, and then holds each stage that took part in it.

    Gradients are those before any clipping. The weights that train are copied once; what leaves a stage is only summed.
    """
    found: list[Health] = []
    learning = trained(classifier)
    before = {stage: [weight.detach().clone() for weight in its] for stage, its in learning.items()}
    with gradients(learning) as norms, leaving(classifier) as scales:
        yield found
    for stage in classifier.stages():
        if stage in norms or stage in scales:
            weights, update = _changed(before.get(stage, ()), learning.get(stage, ()))
            found.append(Health(step, stage, finite(norms.get(stage)), weights, update, finite(scales.get(stage))))


def trained(classifier: Classifier) -> dict[str, list[nn.Parameter]]:
    """The parameters that train, by stage, in the order of execution; stages without any are left out."""
    found: dict[str, list[nn.Parameter]] = {stage: [] for stage in classifier.stages()}
    for name, parameter in classifier.named_parameters():
        if parameter.requires_grad:
            found[classifier.stage_of(name)].append(parameter)
    return {stage: parameters for stage, parameters in found.items() if parameters}


@contextmanager
def gradients(parameters: Mapping[str, Sequence[nn.Parameter]]) -> Iterator[dict[str, float]]:
    """A mapping that holds, after the block, the norm of the gradient of each stage that one came to inside."""
    parts: dict[str, list[Tensor]] = {}
    norms: dict[str, float] = {}
    with ExitStack() as hooks:
        for stage, its in parameters.items():
            for parameter in its:

                def arrived(one: Tensor, stage: str = stage) -> None:
                    assert one.grad is not None, "it has just been accumulated"
                    parts.setdefault(stage, []).append(torch.linalg.vector_norm(one.grad))

                register: Any = parameter.register_post_accumulate_grad_hook  # torch gives it no type
                hooks.callback(register(arrived).remove)
        yield norms
    norms.update({stage: _norm(its) for stage, its in parts.items()})


@contextmanager
def leaving(classifier: Classifier) -> Iterator[dict[str, float]]:
    """A mapping that holds, after the block, the root mean square of what left each stage that ran inside: a map; of
    the last the features; of the head the logits.
    """
    scales: dict[str, Tensor] = {}
    result: dict[str, float] = {}

    def see(stage: str, left: Any) -> None:
        values = left.detach()
        scales[stage] = torch.linalg.vector_norm(values, dtype=torch.float32) / math.sqrt(values.numel())

    stem, *stages = classifier.cut.stages
    first, *others = (classifier.backbone.get_submodule(name) for name in classifier.cut.cut.ends)
    modules = dict(zip(stages, (first, *others), strict=True)) | {stages[-1]: classifier.backbone}
    modules |= {"head": classifier.head}
    with ExitStack() as hooks:
        hooks.callback(first.register_forward_pre_hook(lambda _, given: see(stem, given[0])).remove)
        for stage, module in modules.items():
            hooks.callback(module.register_forward_hook(lambda _, __, left, stage=stage: see(stage, left)).remove)
        yield result
    result.update({stage: float(scale) for stage, scale in scales.items()})


def finite(value: float | None) -> float | None:
    """The number, or None for one that is not finite."""
    return value if value is not None and math.isfinite(value) else None


def _changed(before: Sequence[Tensor], now: Sequence[nn.Parameter]) -> tuple[float | None, float | None]:
    """The norm of the weights before a step, and that of what it changed over it; None where nothing was."""
    if not before:
        return None, None
    norm = _norm([torch.linalg.vector_norm(one) for one in before])
    with torch.no_grad():
        change = _norm([torch.linalg.vector_norm(new - old) for old, new in zip(before, now, strict=True)])
    return finite(norm), finite(change / norm) if norm else None


def _norm(parts: Sequence[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack(list(parts))))
