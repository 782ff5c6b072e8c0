"""What a recipe means for the images that there are: phases, probes and what `auto` tries, with reasons."""

from typing import Any

import pytest

from finetune.recipe import planning
from finetune.recipe.plan import Phase
from finetune.recipe.schema import Recipe
from finetune.recipe.section import STAGES
from tests.recipe.toys import COSTS, facts, planned, recipe

RANDOM = {"name": "resnet50", "weights": {"kind": "random"}}
LAST = ("stage4", "head")


def reasons(asked: Recipe, **keys: Any) -> str:
    return "\n".join(planning.plan(asked, facts(**keys)).reasons)


def test_a_schedule_becomes_phases() -> None:
    (phase,) = planned({"kind": "full", "epochs": 3, "lr": 0.01, "lr_decay": 0.5}).phases
    assert phase == Phase(STAGES, 3, 0.01, 0.5, "batch")
    assert [p.train[0] for p in planned({"kind": "gradual", "stages": 1}).phases] == ["head", "stage4"]


@pytest.mark.parametrize("kind", ["head", "full", "gradual"])
def test_a_new_head_has_no_probe_and_nothing_to_try(kind: str) -> None:
    made = planned({"kind": kind})
    assert (made.probe_views, made.tiers, made.chosen) == (None, (), None)
    assert {phase.views for phase in made.phases} == {None}


@pytest.mark.parametrize(
    ("keys", "policy", "reason"),
    [
        ({}, "batch", "there are 2000 training images in batches of 32, enough for its own"),
        ({"train": 999}, "pretrained", "keeps the pretrained statistics: 999 training images are fewer than 1000"),
        ({"train": 1000}, "batch", "enough for its own"),
        ({"batch_size": 15}, "pretrained", "batches of 15 are smaller than 16"),
        ({"batch_size": 16}, "batch", "enough for its own"),
        ({"train": 5, "batch_size": 4}, "pretrained", "5 training images are fewer than 1000 and batches of 4 are"),
        (
            {"train": 5, "batch_size": 4, "pretrained": False},
            "batch",
            "the weights are random, so there are none to keep",
        ),
    ],
)
@pytest.mark.parametrize("schedule", ["full", "lp_ft"])
def test_batch_norm_is_decided_from_the_images(schedule: str, keys: dict[str, Any], policy: str, reason: str) -> None:
    made = planned({"kind": schedule}, facts(**keys))
    assert {phase.batch_norm for phase in made.phases} == {policy}
    assert reason in made.reasons[0]


def test_what_the_recipe_says_of_batch_norm_counts() -> None:
    made = planned(train={"batch_norm": "pretrained"})
    assert made.phases[0].batch_norm == "pretrained"
    assert "BatchNorm uses pretrained statistics: the recipe says so" in made.reasons
    phases = [
        {"train": ["head", "stage4"], "epochs": 1, "lr": 0.1, "batch_norm": "pretrained"},
        {"train": ["head", "stage4"], "epochs": 1, "lr": 0.1},
    ]
    made = planned({"kind": "phases", "phases": phases})
    assert [phase.batch_norm for phase in made.phases] == ["pretrained", "batch"]
    made = planned({"kind": "phases", "phases": phases[:1]})
    assert [phase.batch_norm for phase in made.phases] == ["pretrained"]
    assert not any("BatchNorm" in reason for reason in made.reasons)


def test_a_backbone_that_is_frozen_whole_keeps_its_statistics() -> None:
    made = planned({"kind": "head"})
    assert made.phases[0].batch_norm == "pretrained"
    assert made.reasons == ("the backbone is frozen whole and keeps its BatchNorm statistics",)


def test_what_deserves_a_remark_gets_one() -> None:
    full = recipe(schedule={"kind": "full"})
    assert "half the rate of the one before" in reasons(recipe(schedule={"kind": "gradual"}))
    assert "half the rate" not in reasons(full)
    assert "no validation images" in reasons(full, validation=0)
    assert "optimistic" in reasons(full, test=0)
    assert "optimistic" not in reasons(full, test=0, validation=0)
    assert "the smallest class has 1 training image:" in reasons(full, smallest_class=1)
    assert "the smallest class has 9 training images:" in reasons(full, smallest_class=9)
    assert "smallest" not in reasons(full, smallest_class=10)


@pytest.mark.parametrize(
    ("schedule", "rate", "said"),
    [
        ("full", {"kind": "constant"}, "the rate stays at its peak to the end"),
        ("full", {"kind": "steps", "at": [5]}, "the rate steps down from 0.001: to 0.0001 after 5 epochs"),
        (
            "full",
            {"kind": "steps", "at": [4, 12, 16], "factor": [0.1, 0.1, 0.5]},
            "the rate steps down from 0.001: to 0.0001 after 4, 1e-05 after 12, 5e-06 after 16 epochs",
        ),
        (
            "gradual",
            {"kind": "steps", "at": [2, 3]},
            "steps down from its peak in each phase: to 0.1 of its peak after 2, 0.01 of its peak after 3 epochs",
        ),
        ("full", {"kind": "plateau"}, "the rate is multiplied by 0.1 after each 5 epochs without a better loss"),
        (
            "full",
            {"kind": "plateau", "factor": 0.5, "patience": 1, "lowest": 1e-6},
            "the rate is multiplied by 0.5 after each epoch without a better loss, but not below 1e-06",
        ),
    ],
)
def test_a_plan_says_what_becomes_of_the_rate(schedule: str, rate: dict[str, Any], said: str) -> None:
    made = planned({"kind": schedule}, train={"rate": rate})
    (found,) = (reason for reason in made.reasons if "the rate" in reason and "half the rate" not in reason)
    assert found.endswith(said)


def test_of_half_a_cosine_nothing_is_said() -> None:
    assert not any("the rate" in reason for reason in planned({"kind": "full"}).reasons)


def test_a_plan_says_which_epoch_ships_where_that_is_asked_for() -> None:
    def said(best: str, **keys: Any) -> str:
        return reasons(recipe(schedule={"kind": "full"}, train={"best": best}), **keys)

    assert "what ships is the epoch of the highest validation accuracy" in said("accuracy")
    assert "the images that chose the epoch" in said("accuracy", test=0)
    assert "what ships is the last epoch, which validation images do not choose" in said("last", test=0)
    assert "optimistic" not in said("last", test=0)
    assert "what ships" not in said("loss")
    assert "what ships" not in said("accuracy", validation=0)  # a split of another run may have none


def test_random_weights_that_never_train_are_named() -> None:
    last = recipe(schedule={"kind": "stages", "train": LAST}, backbone=RANDOM)
    assert "never trained in stem, stage1, stage2 and stage3:" in reasons(last, pretrained=False)
    above = recipe(schedule={"kind": "stages", "train": STAGES[1:]}, backbone=RANDOM)
    assert "never trained in stem:" in reasons(above, pretrained=False)
    assert "random, and" not in reasons(recipe(schedule={"kind": "full"}, backbone=RANDOM), pretrained=False)
    probe = recipe(schedule={"kind": "probe"}, backbone=RANDOM)
    assert "never trained in stem, stage1, stage2, stage3 and stage4:" in reasons(probe, pretrained=False)
    auto = reasons(recipe(schedule={"kind": "auto"}, backbone=RANDOM), pretrained=False)
    assert "only training all stages may help" in auto
    assert "never trained" not in auto


def test_a_plan_depends_on_nothing_but_its_arguments() -> None:
    for kind in ("gradual", "probe", "lp_ft", "auto"):
        assert planned({"kind": kind}) == planned({"kind": kind})


# views


@pytest.mark.parametrize(
    ("train", "views"), [(0, 8), (1, 8), (1000, 8), (1001, 8), (1143, 7), (4000, 2), (3999, 3), (100_000, 2)]
)
def test_there_are_enough_views_for_eight_thousand_in_all_but_two_to_eight_of_each(train: int, views: int) -> None:
    assert planning.views(recipe(), facts(train=train)) == views


def test_the_recipe_s_own_number_of_views_counts() -> None:
    asked = recipe(schedule={"kind": "probe"}, train={"views": 64})
    assert planning.views(asked, facts()) == 64


def test_there_is_one_view_where_nothing_is_varied() -> None:
    still = recipe(images={"augment": {"kind": "none", "flip": False}})
    assert planning.views(still, facts(train=10)) == 1
    assert planning.views(recipe(images={"augment": {"kind": "none", "flip": True}}), facts(train=10)) == 8
    assert planning.views(recipe(images={"augment": {"kind": "light", "flip": False}}), facts(train=10)) == 8


def test_views_that_are_asked_for_are_kept_by_phases_that_leave_the_stem_frozen() -> None:
    assert [phase.views for phase in planned({"kind": "head"}, train={"views": 3}).phases] == [3]
    gradual = planned({"kind": "gradual"}, train={"views": 3})
    assert [phase.views for phase in gradual.phases] == [3, 3, 3, 3, 3, None]


# probe


def test_a_probe_sees_the_plain_view_and_takes_no_steps() -> None:
    made = planned({"kind": "probe"}, facts(validation=0))
    assert (made.phases, made.probe_views, made.tiers) == ((), 1, ())
    assert made.reasons == (
        "the backbone is frozen whole and keeps its BatchNorm statistics",
        "the head is chosen by cross-validation on all 2000 images not for testing",
    )


def test_a_probe_sees_as_many_views_as_it_is_told() -> None:
    assert planned({"kind": "probe"}, train={"views": 5}).probe_views == 5


def test_without_test_images_what_a_probe_says_of_itself_is_optimistic() -> None:
    for kind in ("probe", "auto"):
        assert "there are no test images" in "\n".join(planned({"kind": kind}, facts(test=0)).reasons)
        assert "optimistic" not in "\n".join(planned({"kind": kind}).reasons)


# lp_ft


def test_lp_ft_starts_from_a_probe_of_several_views() -> None:
    made = planned({"kind": "lp_ft", "train": LAST, "epochs": 7}, facts(train=500))
    assert made.probe_views == 8
    assert made.phases == (Phase(LAST, 7, 1e-4, 1.0, "pretrained", views=8),)
    assert planned({"kind": "lp_ft"}, train={"views": 3}).probe_views == 3


def test_lp_ft_of_all_stages_keeps_nothing_below_them() -> None:
    (phase,) = planned({"kind": "lp_ft"}).phases
    assert (phase.train, phase.views) == (STAGES, None)


def test_nothing_is_kept_under_a_head_that_sees_stages_below_those_that_train() -> None:
    several = {"kind": "multilayer", "stages": ["stage3", "stage4"]}
    (phase,) = planned({"kind": "lp_ft", "train": LAST}, head=several).phases
    assert phase.views is None
    (phase,) = planned({"kind": "lp_ft", "train": ["head"]}, head=several).phases
    assert phase.views == 4


def test_lp_ft_without_validation_images_says_so() -> None:
    lp_ft = recipe(schedule={"kind": "lp_ft"})
    assert "no validation images to choose the best epoch on" in reasons(lp_ft, validation=0)
    assert "no validation images" not in reasons(lp_ft)


# auto


def test_auto_plans_what_is_tried_and_no_phases() -> None:
    made = planning.plan(recipe(schedule={"kind": "auto", "budget": "48h"}), facts(train=560, validation=0), COSTS)
    assert (made.phases, made.probe_views, made.chosen) == ((), None, None)
    kinds = {tier.kind for tier in made.tiers}
    assert kinds == {"frozen", "fit", "flip", "views", "last_stage", "stages", "all_stages"}
    assert made.reasons == (
        "within 48h, what does best on out-of-fold predictions of all 560 images that are not for testing ships",
    )


def test_auto_tries_the_recipe_s_views() -> None:
    tiers = planned({"kind": "auto"}, train={"views": 3}).tiers
    assert {tier.kind: tier.views for tier in tiers if tier.views > 1} == {"views": 3, "last_stage": 3}
