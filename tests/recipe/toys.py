"""A recipe and the facts of its images, as tests of plans need them."""

import json
from typing import Any

from finetune.recipe import planning
from finetune.recipe.cost import SHARES, Costs
from finetune.recipe.facts import Facts
from finetune.recipe.machine import Rates
from finetune.recipe.plan import Plan
from finetune.recipe.schema import Recipe

GMACS = 4.087136256  # of a ResNet-50 at 224 pixels
RATES = Rates(forward_gmacs=100.0, training_gmacs=25.0, decode_images=200.0, measured="2026-01-31", threads=2)
COSTS = Costs(decode=1 / 200, forward=GMACS / 100, step=GMACS / 25, last=SHARES["stage4"] * (GMACS / 25))


def recipe(**keys: Any) -> Recipe:
    """A recipe of ResNet-50, with these sections."""
    given = {"name": "x", "data": {"root": "photos"}, "backbone": {"name": "resnet50"}, **keys}
    return Recipe.model_validate_json(json.dumps(given))


def facts(**keys: Any) -> Facts:
    """2,000 training images in five classes, with these changes."""
    known = {"train": 2000, "validation": 400, "test": 400, "classes": 5, "smallest_class": 300, "largest_class": 500}
    return Facts(**{**known, "pretrained": True, "batch_size": 32, **keys})


def planned(schedule: Any = None, known: Facts | None = None, **keys: Any) -> Plan:
    """What a schedule plans for the facts."""
    return planning.plan(recipe(schedule=schedule or {"kind": "full"}, **keys), known or facts())
