"""The kinds of curve that a rate may follow: what a recipe says of them, and what would have no effect."""

from pathlib import Path
from typing import Any

import pytest

from finetune.recipe import file
from finetune.recipe.rates import PlateauRate, SteppedRate, never_reduced, stepped_beyond
from tests.recipe.toys import recipe

HEAD = "data: {kind: folder, root: photos}\nbackbone: {name: resnet18}\nname: x\nschedule: {kind: full, epochs: 99}\n"


def said(rate: PlateauRate | SteppedRate, **facts: Any) -> list[str]:
    """The sentences on a rate of a phase of 20 epochs."""
    known = {"epochs": 20, "warmup": 0.0, **facts}
    if isinstance(rate, SteppedRate):
        return [text for _, text in stepped_beyond(rate, **known)]
    return [text for _, text in never_reduced(rate, **{"patience": None, "peaks": [0.1], **known})]


@pytest.mark.parametrize(
    "written",
    [
        "{kind: cosine}",
        "{kind: constant}",
        "{kind: steps, at: [91, 96]}",
        "{kind: steps, at: [50, 60, 70, 80], factor: [0.1, 0.1, 0.1, 0.5]}",
        "{kind: plateau, factor: 0.316, patience: 7, lowest: 5.0e-7}",
    ],
)
def test_a_rate_is_written_out_and_read_again(written: str) -> None:
    made = file.loads(HEAD + f"train: {{rate: {written}}}\n", source="x.yaml", folder=Path())
    assert file.loads(file.dump(made), source="x.yaml", folder=Path()) == made


def test_a_rate_is_half_a_cosine_unless_another_is_asked_for() -> None:
    assert recipe().train.rate.kind == "cosine"
    assert recipe(train={"rate": {"kind": "steps", "at": [3, 9]}}).train.rate == SteppedRate(at=(3, 9), factor=0.1)


def test_one_factor_is_that_of_each_step() -> None:
    assert SteppedRate(at=(3, 9, 12), factor=0.2).factors == (0.2, 0.2, 0.2)
    assert SteppedRate(at=(3, 9), factor=(0.1, 0.5)).factors == (0.1, 0.5)


def test_the_last_step_may_come_before_the_last_epoch_and_no_later() -> None:
    assert said(SteppedRate(at=(5, 19))) == []
    assert said(SteppedRate(at=(5, 20))) == ["no phase goes on after 20 epochs: the longest has 20"]


def test_a_warm_up_is_over_at_the_first_step() -> None:
    assert said(SteppedRate(at=(5,)), warmup=0.25) == []
    assert said(SteppedRate(at=(4,)), warmup=0.25)[0].startswith("the rate would still rise, for 5 of 20 epochs")


def test_a_plateau_leaves_an_epoch_at_the_lower_rate() -> None:
    assert said(PlateauRate(patience=18)) == []
    assert "patience can be at most 18" in said(PlateauRate(patience=19))[0]
    assert said(PlateauRate(patience=16), warmup=0.1) == []
    assert "of which the rate rises in 2" in said(PlateauRate(patience=17), warmup=0.1)[0]


def test_a_phase_may_not_end_when_its_rate_would_fall() -> None:
    assert said(PlateauRate(patience=3), patience=4) == []
    assert "ends a phase after 3 epochs without a better loss" in said(PlateauRate(patience=3), patience=3)[0]


def test_a_floor_lies_below_the_rates_of_all_phases() -> None:
    assert said(PlateauRate(lowest=0.009), peaks=[0.1, 0.01]) == []
    assert said(PlateauRate(lowest=0.01), peaks=[0.1, 0.01]) == [
        "lowest has to be below the rate of every phase, which is down to 0.01"
    ]
