import time
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.choose.budget import Budget, OutOfTime, ending, until
from finetune.data.survey import find, survey
from finetune.recipe import file
from finetune.recipe.cost import Costs
from finetune.recipe.tiers import FINISH_SECONDS


def test_without_an_end_nothing_is_cut_off() -> None:
    called: list[tuple[int, int]] = []
    ending(lambda done, total: called.append((done, total)), Budget().over)(1, 2)
    assert called == [(1, 2)]
    assert Budget().left_to_choose() == float("inf")


def test_what_is_kept_for_the_test_images_is_not_there_to_choose() -> None:
    left = Budget(time.monotonic() + 100, scoring=30).left_to_choose()
    assert 60 < left <= 70


def test_when_all_is_over_what_can_be_left_out_ends_but_is_shown_first() -> None:
    called: list[tuple[int, int]] = []
    check = ending(lambda done, total: called.append((done, total)), Budget(time.monotonic() - 1).over)
    with pytest.raises(OutOfTime):
        check(3, 4)
    assert called == [(3, 4)]


def test_each_of_the_folds_and_what_ships_have_an_equal_part(photos: Path, write_recipe: Callable[..., Path]) -> None:
    path = write_recipe(photos, schedule="{kind: auto, budget: 90s}")
    costs = Costs(decode=0.1, forward=0.2, step=1.0, last=0.5)
    whole = file.load(path, overrides=["split.test=0"])
    folded = file.load(path, overrides=["split={kind: folds, folds: 2}"])
    assert until(whole, survey(whole, find(whole)), costs, begun=0.0) == Budget(90 - FINISH_SECONDS, 0.0)
    first = survey(folded, find(folded)).folds[0]
    assert until(folded, first, costs, begun=0.0) == Budget(30 - FINISH_SECONDS, pytest.approx(1.3 * 12 * 0.3))
    assert until(folded, first, None, begun=0.0) == Budget()
