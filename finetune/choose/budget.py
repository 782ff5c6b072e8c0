"""How long `auto` may take, and what of that is left."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from finetune.data.survey import Survey
from finetune.model import speed
from finetune.model.backbone import Backbone
from finetune.predict import Check
from finetune.recipe.cost import Costs
from finetune.recipe.schedule import Auto
from finetune.recipe.schema import Recipe
from finetune.recipe.share import each
from finetune.recipe.tiers import FINISH_SECONDS
from finetune.runtime import Runtime

_SCORING = 1.3  # times the measured cost of test images that is kept back for them


class OutOfTime(Exception):
    """The time for something that can be left out has ended in the middle of it."""


@dataclass(frozen=True)
class Budget:
    """When a run has to be done but for closing its bundle, on the monotonic clock, and how many seconds before that
    belong to the test images. As it stands there is no end.
    """

    ends: float = float("inf")
    scoring: float = 0.0

    def left_to_choose(self) -> float:
        """Seconds for choosing and training."""
        return self.ends - self.scoring - time.monotonic()

    def over(self) -> bool:
        return time.monotonic() > self.ends


def ending(check: Check, over: Callable[[], bool]) -> Check:
    """The same check, which raises OutOfTime when its time is over."""

    def both(done: int, total: int) -> None:
        check(done, total)
        if over():
            raise OutOfTime

    return both


def budget(
    recipe: Recipe, surveyed: Survey, network: Backbone, runtime: Runtime, *, begun: float
) -> tuple[Budget, Costs | None]:
    """What `auto` may take from `begun`, and what an image costs here, measured; for other schedules no end and no
    costs.
    """
    if not isinstance(recipe.schedule, Auto):
        return Budget(), None
    files = [sample.file for sample in surveyed.split.train.samples]
    costs = speed.costs(network, network.contract.preprocessing(recipe.images), runtime, files)
    return until(recipe, surveyed, costs, begun=begun), costs


def until(recipe: Recipe, surveyed: Survey, costs: Costs | None, *, begun: float) -> Budget:
    """The same where costs are known: of a recipe that is run several times the part of each of them."""
    schedule = each(recipe).schedule
    if not isinstance(schedule, Auto) or costs is None:
        return Budget()
    scoring = _SCORING * len(surveyed.split.test) * (costs.decode + costs.forward)
    return Budget(begun + schedule.seconds - FINISH_SECONDS, scoring)
