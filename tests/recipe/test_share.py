import pytest

from finetune.recipe import planning
from finetune.recipe.share import each, runs
from tests.recipe.toys import COSTS, facts, recipe

FOLDS = {"kind": "folds", "folds": 5}


def test_a_recipe_without_folds_runs_once_and_has_all_of_its_budget() -> None:
    asked = recipe(schedule={"kind": "auto", "budget": "15m"})
    assert runs(asked) == 1
    assert each(asked) is asked


def test_folds_and_what_ships_share_the_budget() -> None:
    asked = recipe(schedule={"kind": "auto", "budget": "15m"}, split=FOLDS)
    assert runs(asked) == 6
    assert each(asked).schedule.seconds == 150
    assert each(asked).schedule.budget == "150s"
    assert each(recipe(schedule={"kind": "auto", "budget": "100s"}, split=FOLDS)).schedule.seconds == 16.7


@pytest.mark.parametrize("kind", ["probe", "lp_ft", "full"])
def test_other_schedules_have_no_budget_to_share(kind: str) -> None:
    asked = recipe(schedule={"kind": kind}, split=FOLDS)
    assert each(asked) is asked
    assert runs(asked) == 6


def test_the_plan_says_how_often_it_is_done_and_what_each_time_may_take() -> None:
    known = facts(test=0, folds=5)
    asked = recipe(schedule={"kind": "auto", "budget": "15m"}, split=FOLDS)
    reasons = planning.plan(asked, known, COSTS).reasons
    assert "all of this is done 6 times: for each of 5 folds held out, and for what ships" in reasons
    assert "the budget of 15m is shared: 150s each time" in reasons
    assert not any("there are no test images" in reason for reason in reasons)
    once = recipe(schedule={"kind": "auto", "budget": "150s"}, split=None)
    assert planning.plan(asked, known, COSTS).tiers == planning.plan(once, facts(test=0), COSTS).tiers
