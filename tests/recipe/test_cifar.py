"""Recipes and plans of networks with three stages instead of four."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from finetune.errors import UsageError
from finetune.recipe import backbones, planning
from finetune.recipe.cost import SHARES_OF_THREE, costs, estimate, image_size, shares
from finetune.recipe.dataset import FolderData
from finetune.recipe.file import dump, loads
from finetune.recipe.network import BackboneChoice, Random
from finetune.recipe.plan import Chosen, ChosenTrial, Phase, Plan
from finetune.recipe.plantext import describe
from finetune.recipe.schedule import Gradual, LpFt
from finetune.recipe.schema import Recipe
from finetune.recipe.tiers import tiers
from tests.recipe.toys import RATES, facts, planned, recipe

THREE = {"name": "cifar_resnet20", "weights": {"kind": "random"}}
ALL = ("stem", "stage1", "stage2", "stage3", "head")


def of_three(**keys: Any) -> Recipe:
    return recipe(backbone=THREE, **keys)


def test_its_stages_and_what_the_head_sees() -> None:
    made = of_three()
    assert (made.all_stages, made.last, made.stages) == (ALL, "stage3", ("stage3",))
    assert recipe().all_stages[-2:] == ("stage4", "head")
    assert image_size(made) == 32


@pytest.mark.parametrize(
    ("schedule", "trained"),
    [
        ({"kind": "head"}, [("head",)]),
        ({"kind": "full"}, [ALL]),
        ({"kind": "gradual"}, [ALL[-1:], ALL[-2:], ALL[-3:], ALL[-4:], ALL]),
        ({"kind": "gradual", "stages": 1}, [ALL[-1:], ALL[-2:]]),
        ({"kind": "lp_ft"}, [ALL]),
        ({"kind": "stages", "train": ["head", "stage3"]}, [("stage3", "head")]),
    ],
)
def test_a_schedule_that_leaves_stages_open_means_all_that_there_are(
    schedule: dict[str, Any], trained: list[tuple[str, ...]]
) -> None:
    assert [phase.train for phase in of_three(schedule=schedule).phases] == trained


@pytest.mark.parametrize("kind", ["gradual", "lp_ft", "full"])
def test_what_was_left_open_is_written_out_and_read_back(kind: str) -> None:
    made = of_three(schedule={"kind": kind})
    text = dump(made)
    assert "stage4" not in text
    again = loads(text, source="x.yaml", folder=Path())
    assert again.schedule == made.schedule
    assert again.phases == made.phases


def test_a_recipe_made_in_python_means_the_same() -> None:
    for schedule in (LpFt(), Gradual()):
        made = Recipe(
            name="x",
            data=FolderData(root="photos"),
            backbone=BackboneChoice(name="cifar_plain20", weights=Random()),
            schedule=schedule,
        )
        assert made.phases[-1].train == ALL
    assert LpFt().train == (*ALL[:-1], "stage4", "head"), "the schedule that was given is as it was"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"schedule": {"kind": "lp_ft", "train": ["stage4", "head"]}},
            "'stage4': cifar_resnet20 has stem, stage1, stage2",
        ),
        ({"head": {"kind": "multilayer", "stages": ["stage4", "stage1"]}}, "'stage4': cifar_resnet20 has stem"),
        ({"schedule": {"kind": "gradual", "stages": 5}}, "5 stages are more than there are: cifar_resnet20 has stem"),
        ({"head": {"kind": "multilayer", "stages": ["stage3"]}}, "the features of stage3 alone are what every head"),
        (
            {"head": {"kind": "multilayer", "stages": ["stage1"]}, "schedule": {"kind": "full"}},
            "the head sees nothing above stage1, so training stage2 and stage3 has no effect; add stage3 to stages",
        ),
    ],
)
def test_what_does_not_fit_its_stages_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        of_three(**keys)


def test_a_head_that_sees_the_last_stage_alone_has_none_of_its_own() -> None:
    with pytest.raises(ValidationError, match="the features of stage4 alone are what every head sees; write kind: lin"):
        recipe(head={"kind": "multilayer", "stages": ["stage4"]})
    assert of_three(head={"kind": "multilayer", "stages": ["stage2"]}).stages == ("stage2",)


def test_what_may_be_kept_below_the_stages_that_train() -> None:
    made = of_three(schedule={"kind": "stages", "train": ["stage3", "head"]}, train={"views": 2})
    assert [phase.views for phase in planning.plan(made, facts()).phases] == [2]


def test_a_plan_for_people_has_a_column_for_each_of_its_stages() -> None:
    known, made = facts(pretrained=False), of_three(schedule={"kind": "gradual", "lr": 0.8, "lr_decay": 0.5})
    lines = describe(planning.plan(made, known), known, made, costs(made, RATES), RATES)
    assert next(line for line in lines if line.startswith("rate")).split()[1:] == list(ALL)
    rates = [line.split() for line in lines if line.startswith("    5  ")]
    assert rates[0][1:3] == ["all", "stages"]
    assert rates[1][1:] == ["0.0031", "0.0063", "0.013", "0.025", "0.05"]
    assert not any("stage4" in line for line in lines)
    head = of_three(schedule={"kind": "head"})
    said = "\n".join(planning.plan(head, known).reasons)
    assert "never trained in stem, stage1, stage2 and stage3: what these see" in said


def test_shares_are_those_of_its_stages() -> None:
    assert set(SHARES_OF_THREE) == set(ALL)
    assert shares(ALL, ALL) == (0, pytest.approx(1))
    assert shares(("head",), ALL) == (pytest.approx(1), 0)
    assert shares(("stage3", "head"), ALL) == (pytest.approx(0.67), pytest.approx(0.33))
    made, gmacs = of_three(), backbones.entry("cifar_resnet20").macs / 1e9
    known = costs(made, RATES)
    assert known is not None
    assert known.last == pytest.approx(0.33 * gmacs / RATES.training_gmacs)
    last = of_three(schedule={"kind": "stages", "train": ["stage3", "head"], "epochs": 1})
    (seconds,) = estimate(planning.plan(last, facts(validation=0)), facts(validation=0), known, ALL)
    assert seconds == pytest.approx(2000 * (known.decode + 0.67 * known.forward + 0.33 * known.step))


def test_the_tiers_of_auto_are_those_of_small_images() -> None:
    tried, _ = tiers(of_three(schedule={"kind": "auto"}), facts(), costs(of_three(), RATES), views=2)
    assert {"last_stage", "all_stages", "stages"} <= {tier.kind for tier in tried}


def test_a_plan_that_names_a_stage_that_is_not_there_is_refused() -> None:
    phase = Phase(("stage4", "head"), 1, 1e-3, 1.0, "batch")
    planning.must_fit(Plan((phase,), ()), recipe())
    with pytest.raises(UsageError) as caught:
        planning.must_fit(Plan((Phase(("head",), 1, 1e-3, 1.0, "batch"), phase), ()), of_three())
    assert str(caught.value) == (
        "phase 2 of the plan trains 'stage4': cifar_resnet20 has stem, stage1, stage2 and stage3"
    )


def test_a_plan_is_held_against_the_candidate_that_was_chosen() -> None:
    phase = Phase(("stage4", "head"), 1, 1e-3, 1.0, "batch")
    asked = recipe(schedule={"kind": "auto", "candidates": [THREE]})
    chosen = Chosen(
        candidate=1,
        fit="crop",
        flip=True,
        schedule=LpFt(train=("stage4", "head")),
        views=1,
        trial=ChosenTrial(family="ncm", scaling="raw"),
    )
    planning.must_fit(Plan((phase,), ()), asked)
    with pytest.raises(UsageError, match="'stage4': cifar_resnet20 has"):
        planning.must_fit(Plan((phase,), (), chosen=chosen), asked)


def test_a_network_of_four_stages_is_planned_as_ever() -> None:
    assert planned({"kind": "gradual"}).phases[-1].train == (*ALL[:-1], "stage4", "head")
    assert recipe(schedule={"kind": "gradual"}).schedule == Gradual()
    assert dump(recipe(schedule={"kind": "lp_ft"})).count("stage4") == 1
