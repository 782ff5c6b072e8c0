"""Between the probe that a training started from and the weights that it came to: what ships lies on the line.

Weights between a start and what was tuned from it are often better than either (Wortsman et al. 2022, Robust
fine-tuning of zero-shot models, section 3), and the start itself is what no training may end below.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from finetune.data.catalog import Catalog
from finetune.errors import UsageError
from finetune.predict import Check, evaluate
from finetune.recipe.section import STAGES
from finetune.scores.metrics import log_loss
from finetune.scores.predictions import Predictions
from finetune.train.boundary import boundary
from finetune.train.loop import Training

_STEPS_BACK = 3  # halvings of the way before the start itself is taken


def settle(
    training: Training, start: Mapping[str, Tensor], *, share: float, check: Check | None = None
) -> tuple[float, tuple[str, ...]]:
    """Puts into the classifier the weights that lie `share` of the way from `start` to the best epoch, in 0…1.

    start: the trained tensors before the first step. Where the log-loss of the training images, or of the validation
    images, is above that of the start there, the way is halved, and in the end the start taken. Returns how far it
    went, and sentences on that.
    """
    end = dict(training.best)
    losses = _losses(training, check)
    _put(training, start)
    before = {part: loss() for part, loss in losses.items()}
    for halvings in range(_STEPS_BACK):
        went = share / 2**halvings
        _put(training, between(start, end, went))
        worse = [part for part, loss in losses.items() if not loss() <= before[part]]
        if not worse:
            return went, _said(went, share)
    _put(training, start)
    return 0.0, (
        f"training from the probe made it worse on the {' and the '.join(worse)} images; the probe itself ships",
    )


def between(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The tensors `share` of the way from `start` to `end`, at 1 exactly `end`; counters are those of the nearer."""
    return {name: _between(tensor, end[name], share) for name, tensor in start.items()}


def _between(start: Tensor, end: Tensor, share: float) -> Tensor:
    if not start.is_floating_point():
        return end if share > 0.5 else start
    return torch.lerp(start, end, share)


def _said(went: float, share: float) -> tuple[str, ...]:
    if went == share == 1:
        return ()
    shorter = "" if went == share else f", shorter than the {share:g} that was asked for, where it lost to the probe"
    return (f"what ships lies {went:g} of the way from the probe to the trained weights{shorter}",)


def _put(training: Training, tensors: Mapping[str, Tensor]) -> None:
    training.classifier.load_state_dict({**training.classifier.state_dict(), **tensors})


def _losses(training: Training, check: Check | None) -> dict[str, Callable[[], float]]:
    """How to find the log-loss on the images of each part, by their plain view."""
    setting = training.setting
    parts = {"training": setting.split.train, "validation": setting.split.validation}
    return {name: _loss(asking(training, part, check=check)) for name, part in parts.items() if len(part)}


def _loss(ask: Callable[[], Predictions]) -> Callable[[], float]:
    def loss() -> float:
        try:
            return log_loss(ask())
        except UsageError:  # weights were driven so far that their logits are not finite
            return math.inf

    return loss


def asking(training: Training, catalog: Catalog, *, check: Check | None = None) -> Callable[[], Predictions]:
    """How to get what the classifier says, as it then is, of the plain views of a catalog.

    Where every phase keeps views, it goes onward from below all that they train, which is filled now.
    """
    setting, classifier = training.setting, training.classifier
    phases = setting.plan.phases
    if any(phase.views is None for phase in phases):
        return lambda: evaluate(
            classifier,
            catalog,
            preprocessing=setting.preprocessing,
            runtime=setting.runtime,
            pixels=setting.pixels,
            check=check,
        )
    kept = boundary(
        classifier,
        min(phases, key=lambda phase: min(map(STAGES.index, phase.train))),
        catalog,
        extractor=setting.extractor(classifier.cut),
        runtime=setting.runtime,
        stored_as=setting.train.activations,
        views=1,
        check=check,
    )
    return lambda: Predictions(catalog.keys, kept.logits(len(catalog), check=check), catalog.classes, catalog.labels)
