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
LAST_STAGE = STAGES[-2:]
PROBE_SECONDS = 1.0  # the cross-validation of a head, and 1 s more for every so many rows of features
PROBE_ROWS = 1500


@dataclass(frozen=True)
class Costs:
    """Seconds for one image: from its file to pixels, one forward pass, one training step of all stages (which is about
    three passes), one of the last stage alone from what enters it.
    """

    decode: float
    forward: float
    step: float
    last: float


def costs(recipe: Recipe, rates: Rates | None, *, backbone: BackboneChoice | None = None) -> Costs | None:
    """What one image costs on a machine of these rates, with the recipe's backbone or another one; None where the rates
    are unknown.
    """
    if rates is None:
        return None
    each = gmacs(recipe, backbone)
    step = each / rates.training_gmacs
    return Costs(1 / rates.decode_images, each / rates.forward_gmacs, step, shares(LAST_STAGE)[1] * step)


def with_backbone(costs: Costs, recipe: Recipe, backbone: BackboneChoice) -> Costs:
    """What an image costs with another backbone, from what it costs with the recipe's: as their multiply-adds are."""
    return _times(costs, gmacs(recipe, backbone) / gmacs(recipe))


def with_size(costs: Costs, recipe: Recipe, size: int) -> Costs:
    """What an image of `size` pixels costs, from what it costs at the recipe's size."""
    return _times(costs, (size / image_size(recipe)) ** 2)


def _times(costs: Costs, ratio: float) -> Costs:
    return Costs(costs.decode, costs.forward * ratio, costs.step * ratio, costs.last * ratio)


def passing(images: int, costs: Costs | None, *, views: int = 1) -> float | None:
    """About how many seconds it takes to decode images once and to pass so many views of each forward."""
    return None if costs is None else images * (costs.decode + views * costs.forward)


def fitting(rows: int) -> float:
    """About how many seconds the cross-validation of a head takes on so many rows of features."""
    return PROBE_SECONDS + rows / PROBE_ROWS


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


def duration(seconds: float | None) -> str:
    """Seconds in the unit of their size, such as 40 s, 3 min, 1 h 40 min or 5 days."""
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes, days = round(seconds / 60), round(seconds / 86400)
    if minutes < 100:
        return f"{minutes} min"
    if days < 4:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{days} days" if days < 1000 else "999+ days"


def image_size(recipe: Recipe, backbone: BackboneChoice | None = None) -> int:
    """The side in pixels of the network's input: the recipe's, or what its weights (those of `backbone`, if that is
    given) were trained or tested with.
    """
    choice = backbone or recipe.backbone
    tag = backbones.entry(choice.name).tag(choice.tag)
    tested = tag.test_input_size if recipe.images.contract == "test" else None
    return recipe.images.size or tested or tag.input_size


def gmacs(recipe: Recipe, backbone: BackboneChoice | None = None) -> float:
    """1e9 multiply-adds of one image, which grow with the square of its side, with the recipe's backbone or another."""
    network = backbones.entry((backbone or recipe.backbone).name)
    return network.macs / 1e9 * (image_size(recipe, backbone) / network.input_size) ** 2
