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
from finetune.model.cut import STAGES
from finetune.train.loop import Health


@contextmanager
def looking(classifier: Classifier, step: int) -> Iterator[list[Health]]:
    """A list that is empty until the step inside has been taken, and then holds each stage that took part in it.

    Gradients are those before any clipping. The weights that train are copied once; what leaves a stage is only summed.
    """
    found: list[Health] = []
    weights = trained(classifier)
    before = {stage: [weight.detach().clone() for weight in its] for stage, its in weights.items()}
    with gradients(weights) as norms, leaving(classifier) as scales:
        yield found
    for stage in classifier.stages():
        update = _update(before[stage], weights[stage]) if stage in weights else None
        if stage in norms or stage in scales:
            found.append(Health(step, stage, _finite(norms.get(stage)), update, _finite(scales.get(stage))))


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
    stage4 the features; of the head the logits.
    """
    scales: dict[str, Tensor] = {}
    result: dict[str, float] = {}

    def see(stage: str, left: Any) -> None:
        values = left.detach()
        scales[stage] = torch.linalg.vector_norm(values, dtype=torch.float32) / math.sqrt(values.numel())

    ends = dict(zip(STAGES[1:-1], classifier.cut.cut.ends, strict=False))
    first = classifier.backbone.get_submodule(classifier.cut.cut.ends[0])
    modules = {stage: classifier.backbone.get_submodule(name) for stage, name in ends.items()}
    modules |= {STAGES[-1]: classifier.backbone, "head": classifier.head}
    with ExitStack() as hooks:
        hooks.callback(first.register_forward_pre_hook(lambda _, given: see(STAGES[0], given[0])).remove)
        for stage, module in modules.items():
            hooks.callback(module.register_forward_hook(lambda _, __, left, stage=stage: see(stage, left)).remove)
        yield result
    result.update({stage: float(scale) for stage, scale in scales.items()})


def _update(before: Sequence[Tensor], weights: Sequence[nn.Parameter]) -> float | None:
    """The norm of what was changed over that of what was there; None where nothing was, or it ran off."""
    norm = _norm([torch.linalg.vector_norm(one) for one in before])
    with torch.no_grad():
        changed = [torch.linalg.vector_norm(now - then) for then, now in zip(before, weights, strict=True)]
    return _finite(_norm(changed) / norm) if norm else None


def _norm(parts: Sequence[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack(list(parts))))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
