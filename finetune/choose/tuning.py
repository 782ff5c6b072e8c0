"""Gradient training from a probe's head, tried in folds: what it says of images that it was not trained on."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from finetune.choose import heads
from finetune.choose.heads import Material
from finetune.frozen.probe import Probe
from finetune.model.backbone import Backbone
from finetune.model.classifier import Classifier
from finetune.predict import Check
from finetune.recipe.plan import Phase, Plan
from finetune.train.loop import Epoch, Step, Training, fit
from finetune.train.setting import Setting
from finetune.train.settle import asking, between

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the way from the probe to the tuned weights, that are asked about
Watch = Callable[[Step | Epoch], None]


@dataclass(frozen=True, eq=False)
class Tuned:
    """Logits float32 (n, classes) for each share of the way, NaN where no fold that was tried holds the image."""

    logits: Mapping[float, np.ndarray]

    @property
    def asked(self) -> np.ndarray:
        """bool (n,)"""
        return np.asarray(np.isfinite(self.logits[1.0]).all(axis=1))


def tuned(
    network: Backbone,
    given: Material,
    probe: Probe,
    phase: Phase,
    *,
    setting: Setting,
    folds: Sequence[int],
    watch: Watch,
    check: Check | None = None,
    enough: Callable[[Tuned], bool],
) -> Tuned:
    """Trains `phase` from the probe's head without one fold after the other and asks about the images of that fold.

    The head is fitted again without them each time, and the network is as it was afterwards. After every fold `enough`
    says whether to stop there. setting: of the whole run; its split and plan are replaced. Raises Diverged, and
    UsageError where what it says in the end is not finite.
    """
    shape = (len(given.labels), given.classes)
    found = {share: np.full(shape, np.nan, dtype=np.float32) for share in SHARES}
    for fold in folds:
        inside = np.flatnonzero(given.folds == fold)
        with _restored(network):
            for share, rows in _of_fold(network, given, probe, phase, setting, fold, watch, check):
                found[share][inside] = rows
        if enough(Tuned(found)):
            break
    return Tuned(found)


def _of_fold(
    network: Backbone,
    given: Material,
    probe: Probe,
    phase: Phase,
    setting: Setting,
    fold: int,
    watch: Watch,
    check: Check | None,
) -> Iterator[tuple[float, np.ndarray]]:
    catalog = given.catalog
    nothing = catalog.select([])
    split = replace(
        setting.split, train=catalog.select(np.flatnonzero(given.folds != fold)), validation=nothing, test=nothing
    )
    own = replace(setting, split=split, plan=Plan((phase,), ()))
    head = heads.module(given.fitted_without(fold, probe))
    classifier = Classifier(network, head, setting.preprocessing).to(setting.runtime.device)
    training = Training(classifier, own)
    start = training.trained
    for event in fit(training, check=check):
        watch(event)
    end = training.trained
    ask = asking(training, catalog.select(np.flatnonzero(given.folds == fold)), check=check)
    for share in SHARES:
        classifier.load_state_dict({**classifier.state_dict(), **between(start, end, share)})
        yield share, ask().logits


@contextlib.contextmanager
def _restored(network: Backbone) -> Iterator[None]:
    """Leaves the tensors of a network as they were, also when it is interrupted."""
    before: dict[str, Tensor] = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    try:
        yield
    finally:
        with torch.no_grad():
            network.module.load_state_dict(before)
