"""About how long a run takes on this machine: multiply-adds of the network, and the rates that were measured here."""

from dataclasses import dataclass

from finetune.recipe import backbones
from finetune.recipe.facts import Facts
from finetune.recipe.machine import Rates
from finetune.recipe.network import BackboneChoice
from finetune.recipe.plan import Phase, Plan
from finetune.recipe.schema import Recipe
from finetune.recipe.section import STAGES, Stage

# the share of a forward pass that each stage costs in ResNets of 18 to 152 layers, roughly
SHARES: dict[Stage, float] = {"stem": 0.05, "stage1": 0.20, "stage2": 0.25, "stage3": 0.30, "stage4": 0.20, "head": 0.0}


@dataclass(frozen=True)
class Costs:
    """Seconds for one image: from its file to pixels, one forward pass, one training step of all stages (which is about
    three passes).
    """

    decode: float
    forward: float
    step: float


def costs(recipe: Recipe, rates: Rates | None, *, backbone: BackboneChoice | None = None) -> Costs | None:
    """What one image costs on a machine of these rates, with the recipe's backbone or another one; None where rates or
    the network's cost are unknown. The multiply-adds of one image grow with the square of its side.
    """
    network = backbones.entry((backbone or recipe.backbone).name)
    if rates is None or network.macs is None:
        return None
    gmacs = network.macs / 1e9 * (image_size(recipe) / network.input_size) ** 2
    return Costs(1 / rates.decode_images, gmacs / rates.forward_gmacs, gmacs / rates.training_gmacs)


def estimate(plan: Plan, facts: Facts, costs: Costs | None) -> list[float | None]:
    """About how many seconds each phase takes; None where the costs are unknown.

    A stage below everything that trains costs one forward pass; a stage that trains costs three such passes (forward,
    gradient of its input, gradient of its weights), which is what a training step measures; a frozen stage above one
    that trains costs two thirds of that. In each epoch every image is decoded once, and every validation image passed
    forward. Where views are kept, what lies below is computed once for each of them instead. How the cost is spread
    over the stages is that of ResNets, whatever the network: an estimate, and no more.
    """
    return [None if costs is None else _seconds(phase, facts, costs) for phase in plan.phases]


def _seconds(phase: Phase, facts: Facts, costs: Costs) -> float:
    below, above = shares(phase.train)
    forward, step = below * costs.forward, above * costs.step
    validating = phase.epochs * facts.validation * (costs.decode + costs.forward)
    if phase.views is None:
        return phase.epochs * facts.train * (costs.decode + forward + step) + validating
    filling = facts.train * (costs.decode + phase.views * forward)
    return filling + phase.epochs * facts.train * step + validating


def shares(train: tuple[Stage, ...]) -> tuple[float, float]:
    """The share of a forward pass that lies below all stages that train, and that of a training step from there on."""
    lowest = min(STAGES.index(stage) for stage in train)
    below = sum(SHARES[stage] for stage in STAGES[:lowest])
    return below, sum(SHARES[stage] * (1 if stage in train else 2 / 3) for stage in STAGES[lowest:])


def image_size(recipe: Recipe) -> int:
    """The side in pixels of the network's input: the recipe's, or what its weights were trained or tested with."""
    tag = backbones.entry(recipe.backbone.name).tag(recipe.backbone.tag)
    tested = tag.test_input_size if recipe.images.contract == "test" else None
    return recipe.images.size or tested or tag.input_size
