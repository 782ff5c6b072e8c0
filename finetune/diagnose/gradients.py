"""What skip connections do for the gradients of a network, on the first batch of a run: nothing is trained.

The network is compared with itself without them, at the same random weights, and with itself as the run will start it.
"""

import contextlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune.data.survey import Survey
from finetune.diagnose.health import finite, gradients, trained
from finetune.errors import Offline, UsageError
from finetune.model import backbone, heads, weights
from finetune.model.backbone import Backbone
from finetune.model.classifier import Classifier
from finetune.model.skips import WithoutSkips, layers_behind
from finetune.recipe.network import Linear
from finetune.recipe.plan import Plan
from finetune.recipe.schedule import starts_from_probe
from finetune.recipe.schema import Recipe
from finetune.runtime import Runtime, generators_kept, seed
from finetune.train.batches import Batch, training_batches
from finetune.train.losses import loss
from finetune.train.setting import Setting

Norms = Mapping[str, float | None]  # by stage; None where it is not finite


@dataclass(frozen=True)
class Probed:
    """Norms of the gradient by stage, of the mean loss of `images` images of a side of `size` pixels.

    `layers`: on the longest way through the network, `skips`: how many connections were left out. `with_skips` and
    `without_skips` are of the same random weights; `as_it_starts` of those that the recipe names, None where these are
    out of reach; `weights` says which, or why not. `fits_head`: whether the run fits its head before its first step:
    then it starts with another head than is asked here, which is drawn at random.
    """

    backbone: str
    images: int
    size: int
    layers: int
    skips: int
    with_skips: Norms
    without_skips: Norms
    as_it_starts: Norms | None
    weights: str
    fits_head: bool = False


def probe(recipe: Recipe, surveyed: Survey, runtime: Runtime) -> Probed:
    """The gradients of a recipe's network on the first batch of its first epoch, with and without its skip connections.

    Random weights are drawn as `he` does; BatchNorm is in training mode and nothing is dropped. Raises UsageError for a
    network without such connections, or that torch cannot follow; otherwise as `weights.network` does, but where the
    hub is out of reach.
    """
    chosen, images = recipe.backbone, recipe.images
    network = backbone.build(chosen.name, size=images.size, tag=chosen.tag, contract=images.contract)
    setting = Setting.of(recipe, surveyed.split, Plan((), ()), network=network, runtime=runtime)
    with generators_kept(), contextlib.closing(_batches(setting)) as batches:
        batch = next(batches)
        he(network.module, seed=recipe.seed)
        classifier = _classifier(recipe, network, setting)
        skips = WithoutSkips(batch.images)
        without, layers = _norms(classifier, batch, skips)
        _must_have_skips(chosen.name, skips.skips, layers)
        whole, _ = _norms(classifier, batch)
        own, said = _as_it_starts(recipe, setting, batch)
    return Probed(
        backbone=chosen.name,
        images=len(batch.keys),
        size=setting.preprocessing.size,
        layers=layers or 0,
        skips=skips.skips,
        with_skips=whole,
        without_skips=without,
        as_it_starts=own,
        weights=said,
        fits_head=starts_from_probe(recipe.schedule),
    )


def he(network: nn.Module, *, seed: int) -> None:
    """Draws the weights of a network anew, from `seed` alone: normal, of the variance 2 over the inputs of each output
    (He et al. 2015, Delving Deep into Rectifiers, equation 10); scales 1, shifts 0.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.numel() == max(parameter.shape, default=1):  # a scale, also of a whole branch
            nn.init.ones_(parameter)
        else:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)


def _batches(setting: Setting) -> Generator[Batch]:
    yield from training_batches(
        setting.split.train,
        setting.views,
        preprocessing=setting.preprocessing,
        epoch=1,
        seed=setting.seed,
        batch_size=setting.train.batch_size,
        runtime=setting.runtime,
    )


def _classifier(recipe: Recipe, network: Backbone, setting: Setting) -> Classifier:
    """With a new head, as a run has it; statistics of batches, and nothing dropped."""
    seed(recipe.seed, "head")
    classes = len(setting.split.train.classes)
    head = heads.build(recipe.head or Linear(), features=network.width(recipe.stages), classes=classes)
    classifier = Classifier(network, head, setting.preprocessing, recipe.stages).to(setting.runtime.device)
    for module in classifier.modules():
        module.training = isinstance(module, _BatchNorm)
    head.training = True  # it is asked about the whole batch at once
    return classifier


def _norms(
    classifier: Classifier, batch: Batch, mode: contextlib.AbstractContextManager[object] | None = None
) -> tuple[Norms, int | None]:
    """The norms of the gradient by stage, in the order of execution, and the layers behind the logits where `mode`
    follows them.
    """
    classifier.zero_grad(set_to_none=True)
    with mode or contextlib.nullcontext():
        logits = classifier(batch.images)
    learning = trained(classifier)
    with gradients(learning) as norms:
        torch.autograd.backward(loss(logits, batch.labels))
    return {stage: finite(norms.get(stage)) for stage in learning}, layers_behind(logits)


def _must_have_skips(name: str, skips: int, layers: int | None) -> None:
    if layers is None:
        raise UsageError(
            f"backbone {name!r} runs a function that torch cannot follow, so that its skip connections are not known"
        )
    if not skips:
        raise UsageError(
            f"backbone {name!r} has no skip connections that add what comes a shorter way, so there is nothing to "
            "compare it with; ResNets, RegNets, ConvNeXts and EfficientNets have them, DenseNets and plain networks do "
            "not"
        )


def _as_it_starts(recipe: Recipe, setting: Setting, batch: Batch) -> tuple[Norms | None, str]:
    """The gradients at the weights that a recipe names, and which these are, or why there are none."""
    try:
        network, receipt = weights.network(recipe, classes=len(setting.split.train.classes))
    except Offline as error:
        return None, str(error).splitlines()[0].partition("; other ways")[0]
    return _norms(_classifier(recipe, network, setting), batch)[0], receipt.source
