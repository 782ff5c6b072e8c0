"""About how long a run takes on this machine, from multiply-adds of the network and the rates that were measured here;
and about how much memory a frozen network takes.
"""

from dataclasses import dataclass

from finetune.recipe import backbones
from finetune.recipe.backbones import BackboneFacts
from finetune.recipe.facts import Facts
from finetune.recipe.machine import EVALUATION_BATCH, Rates
from finetune.recipe.network import BackboneChoice
from finetune.recipe.plan import Phase, Plan
from finetune.recipe.schema import Recipe
from finetune.recipe.section import STAGES, Stage

# the share of a forward pass that each stage costs in ResNets of 18 to 152 layers, and in those for CIFAR, roughly
SHARES: dict[Stage, float] = {"stem": 0.05, "stage1": 0.20, "stage2": 0.25, "stage3": 0.30, "stage4": 0.20, "head": 0.0}
SHARES_OF_THREE: dict[Stage, float] = {"stem": 0.01, "stage1": 0.33, "stage2": 0.33, "stage3": 0.33, "head": 0.0}
PROBE_SECONDS = 1.0  # the cross-validation of a head, and 1 s more for every so many rows of features
PROBE_ROWS = 1500
# convolutions keep reordered copies while they run, and what is freed is not at once of use: measured 1.5 to 2.5
WORKING = 2.0


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
    work = gmacs(recipe, backbone)
    step = work / rates.training_gmacs
    stages: tuple[Stage, ...] = (*backbones.entry((backbone or recipe.backbone).name).stages, "head")
    last = shares(stages[-2:], stages)[1] * step
    return Costs(1 / rates.decode_images, work / rates.forward_gmacs, step, last)


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


def estimate(plan: Plan, facts: Facts, costs: Costs | None, stages: tuple[Stage, ...] = STAGES) -> list[float | None]:
    """About how many seconds each phase takes; None where the costs are unknown. stages: the network's, and the head.

    A stage below everything that trains costs one forward pass; a stage that trains costs three such passes (forward,
    gradient of its input, gradient of its weights), which is what a training step measures; a frozen stage above one
    that trains costs two thirds of that. In each epoch every image is decoded once, and every validation image passed
    forward. Where views are kept, what lies below is computed once for each of them instead. How the cost is spread
    over the stages is that of ResNets, whatever the network: an estimate, and no more.
    """
    return [None if costs is None else _seconds(phase, facts, costs, stages) for phase in plan.phases]


def gmacs(recipe: Recipe, backbone: BackboneChoice | None = None) -> float:
    """1e9 multiply-adds of one image, which grow with the square of its side: of the recipe's backbone or another."""
    choice = backbone or recipe.backbone
    network = backbones.entry(choice.name)
    return network.macs / 1e9 * (image_size(recipe, choice) / network.measured_at) ** 2


def _seconds(phase: Phase, facts: Facts, costs: Costs, stages: tuple[Stage, ...]) -> float:
    below, above = shares(phase.train, stages)
    forward, step = below * costs.forward, above * costs.step
    validating = phase.epochs * facts.validation * (costs.decode + costs.forward)
    if phase.views is None:
        return phase.epochs * facts.train * (costs.decode + forward + step) + validating
    filling = facts.train * (costs.decode + phase.views * forward)
    return filling + phase.epochs * facts.train * step + validating


def shares(train: tuple[Stage, ...], stages: tuple[Stage, ...] = STAGES) -> tuple[float, float]:
    """The share of a forward pass that lies below all stages that train, and that of a training step from there on.

    stages: the network's, from the stem up, and the head.
    """
    each = SHARES if stages == STAGES else SHARES_OF_THREE
    lowest = min(stages.index(stage) for stage in train)
    below = sum(each[stage] for stage in stages[:lowest])
    return below, sum(each[stage] * (1 if stage in train else 2 / 3) for stage in stages[lowest:])


def memory(network: BackboneFacts) -> int:
    """About how many bytes taking features with an architecture needs, beside what Python and torch hold themselves.

    That is float32 on a processor, `EVALUATION_BATCH` images of `measured_at` pixels at once: the parameters, and
    `WORKING` times the activations that are alive together.
    """
    return 4 * network.parameters + round(WORKING * EVALUATION_BATCH * network.activations)


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
