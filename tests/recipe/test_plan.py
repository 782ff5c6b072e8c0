"""Phases, tiers and what `auto` chose, as values."""

from typing import Any

import pytest
from pydantic import ValidationError

from finetune.errors import RecipeError
from finetune.recipe.network import Multilayer
from finetune.recipe.plan import Chosen, ChosenTrial, Phase, Tier, stage_lr
from finetune.recipe.schedule import LpFt, Probe
from finetune.recipe.section import STAGES
from tests.recipe.toys import recipe

TRIAL = ChosenTrial(family="logistic", scaling="l2", strength=1.0)
IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"train": ()}, "train needs at least 1 item, not 0"),
    ({"train": ("layer4",)}, "item 1 of train must be stem, stage1, stage2, stage3, stage4 or head, not 'layer4'"),
    ({"train": ("head", "head")}, "'head' is listed twice"),
    ({"epochs": 0}, "epochs must be at least 1, not 0"),
    ({"epochs": True}, "epochs must be a whole number, not true"),
    ({"lr": 0.0}, "lr must be above 0, not 0.0"),
    ({"lr": float("nan")}, "lr must be a finite number, not nan"),
    ({"lr_decay": 1.5}, "lr_decay must be at most 1, not 1.5"),
    ({"batch_norm": "frozen"}, "batch_norm must be pretrained or batch, not 'frozen'"),
    ({"views": 0}, "views must be at least 1, not 0"),
    ({"views": 65}, "views must be at most 64, not 65"),
    ({"views": 2, "train": ("stem", "head")}, "views are kept below stages that train, and here the stem trains"),
]


def phase(**keys: Any) -> dict[str, Any]:
    return {"train": ("head",), "epochs": 1, "lr": 0.1, "lr_decay": 1.0, "batch_norm": "batch", **keys}


def test_the_rate_falls_by_stage_from_the_head_down() -> None:
    falling = Phase(STAGES, 1, 0.8, 0.5, "batch")
    assert [stage_lr(falling, stage, STAGES[:-1]) for stage in STAGES] == [0.025, 0.05, 0.1, 0.2, 0.4, 0.8]
    assert stage_lr(Phase(("stage1", "head"), 1, 0.8, 0.5, "batch"), "stage1", STAGES[:-1]) == 0.05
    assert {stage_lr(Phase(STAGES, 1, 0.8, 1.0, "batch"), stage, STAGES[:-1]) for stage in STAGES} == {0.8}


@pytest.mark.parametrize(("keys", "message"), IMPOSSIBLE)
def test_a_phase_that_is_impossible_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Phase(**phase(**keys))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("train", "boundary"),
    [
        (("head",), "stage4"),
        (("stage4", "head"), "stage3"),
        (("head", "stage2"), "stage1"),
        (("stage1", "head"), "stem"),
        (STAGES, None),
        (("stem", "head"), None),
    ],
)
def test_what_is_below_all_that_trains_ends_at_the_boundary(train: tuple[Any, ...], boundary: str | None) -> None:
    assert Phase(**phase(train=train)).boundary(STAGES[:-1]) == boundary


def test_the_boundary_and_the_rates_are_those_of_the_networks_own_stages() -> None:
    three = ("stem", "stage1", "stage2", "stage3")
    assert Phase(**phase(train=("head",))).boundary(three) == "stage3"
    assert Phase(**phase(train=("head", "stage3"))).boundary(three) == "stage2"
    assert Phase(**phase(train=(*three, "head"))).boundary(three) is None
    falling = Phase((*three, "head"), 1, 0.8, 0.5, "batch")
    assert [stage_lr(falling, stage, three) for stage in (*three, "head")] == [0.05, 0.1, 0.2, 0.4, 0.8]


def test_a_phase_keeps_views_where_the_stem_is_frozen() -> None:
    assert Phase(**phase(train=("stage1", "head"), views=64)).views == 64
    assert Phase(**phase(train=STAGES, views=None)).views is None


@pytest.mark.parametrize(
    "keys", [{"kind": "ensemble"}, {"candidate": -1}, {"folds": 0}, {"views": 0}, {"seconds": -1.0}, {"more": 1}]
)
def test_a_tier_that_is_impossible_is_refused(keys: dict[str, Any]) -> None:
    assert Tier(kind="frozen", gain="")
    with pytest.raises(ValidationError):
        Tier(**{"kind": "frozen", "gain": "", **keys})


def test_a_choice_becomes_the_recipe_that_says_it_at_once() -> None:
    asked = recipe(
        schedule={"kind": "auto", "candidates": [{"name": "resnet18", "weights": {"kind": "random"}}]},
        images={"size": 96, "augment": {"kind": "standard", "flip": True}},
        train={"batch_size": 8, "activations": "int8"},
    )
    chosen = Chosen(
        candidate=1,
        fit="squash",
        flip=False,
        head=Multilayer(stages=("stage3", "stage4")),
        schedule=LpFt(train=("stage4", "head"), interpolate=0.5),
        views=6,
        trial=TRIAL,
        temperature=1.3,
    )
    made = chosen.applied(asked)
    assert (made.backbone.name, made.stages, made.schedule.kind) == ("resnet18", ("stage3", "stage4"), "lp_ft")
    assert (made.images.fit, made.images.augment.flip, made.train.views) == ("squash", False, 6)
    assert (made.name, made.seed, made.data) == (asked.name, asked.seed, asked.data)
    assert (made.images.size, made.images.augment.kind) == (96, "standard")
    assert (made.train.batch_size, made.train.activations) == (8, "int8")
    assert asked.schedule.kind == "auto"


def test_what_ships_unchanged_needs_no_head_and_no_views() -> None:
    own = recipe(schedule={"kind": "auto"})
    chosen = Chosen(fit="crop", flip=True, schedule=Probe(), views=None, trial=TRIAL)
    assert chosen.applied(own) == own.model_copy(update={"schedule": Probe()})
    assert chosen.model_copy(update={"size": 128}).applied(own).images.size == 128
    with pytest.raises(ValidationError):
        Chosen(**{**chosen.model_dump(), "temperature": 0.0})
    with pytest.raises(RecipeError, match="made for candidate 1 of schedule 'auto', and recipe 'x' has 0"):
        chosen.model_copy(update={"candidate": 1}).applied(own)
