"""A plan for people: what it says, and that it fits."""

from typing import Any

import pytest

from finetune.recipe import planning
from finetune.recipe.cost import costs
from finetune.recipe.facts import Facts
from finetune.recipe.machine import Rates
from finetune.recipe.plantext import describe
from finetune.recipe.schema import Recipe
from finetune.recipe.section import STAGES
from tests.recipe.toys import RATES, facts, recipe

SCHEDULES: list[dict[str, Any]] = [
    {"kind": "head", "epochs": 10_000},
    {"kind": "full"},
    {"kind": "gradual"},
    {"kind": "stages", "train": ["stem", "stage2", "stage4", "head"], "lr": 1.23456e-7},
    {"kind": "stages", "train": [*STAGES[:-2], "head"]},
    {"kind": "stages", "train": [stage for stage in STAGES if stage != "stage2"]},
    {"kind": "probe"},
    {"kind": "lp_ft"},
    {"kind": "lp_ft", "train": ["stage4", "head"], "epochs": 10_000},
    {"kind": "auto", "budget": "10s"},
    {"kind": "auto", "budget": "48h", "candidates": [{"name": "resnet18"}, {"name": "tf_efficientnetv2_b0"}]},
]


def described(asked: Recipe, known: Facts, rates: Rates | None = RATES) -> list[str]:
    costing = costs(asked, rates)
    return describe(planning.plan(asked, known, costing), known, asked, costing, rates)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_a_plan_is_described_in_lines_of_80_columns(schedule: dict[str, Any]) -> None:
    weights = {"kind": "file", "path": "w.pth"}
    asked = recipe(name="x" * 100, backbone={"name": "resnet50", "weights": weights}, schedule=schedule)
    for rates in (None, RATES, Rates(1e-3, 1e-3, 1e-3, "long ago\x1b" * 20, 1)):
        for count in (3, 123_456_789):
            known = facts(train=count, pretrained=False, smallest_class=1, validation=0, test=0)
            lines = described(asked, known, rates)
            assert max(map(len, lines)) <= 80
            assert not any("\x1b" in line or "\n" in line for line in lines)


def test_a_description_says_what_matters() -> None:
    asked = recipe(schedule={"kind": "gradual", "stages": 3}, name="flowers")
    text = "\n".join(described(asked, facts(train=560, smallest_class=8)))
    for part in (
        "flowers: resnet50, hub weights, 224 x 224 pixels",
        "560 training, 400 validation and 400 test images of 5 classes",
        "    1  head                             4        72  frozen      3 min",
        "    2  stage4 head                      4        72  pretrained  4 min",
        "    4  stage2 to head                   4        72  pretrained  6 min",
        "    1           -         -         -         -         -     0.001",
        "0.00025",
        "- BatchNorm keeps the pretrained statistics",
        "- each phase begins at half the rate of the one before",
        "an estimate from the rates measured on this machine on\n  2026-01-31 with 2 threads",
    ):
        assert part in text, text


def test_without_rates_there_are_no_times() -> None:
    for schedule in SCHEDULES:
        lines = described(recipe(schedule=schedule), facts(), None)
        assert lines[-1] == "- no times: run `finetune doctor` to measure this machine"


def test_a_probe_says_what_it_sees_and_how_long_that_takes() -> None:
    lines = described(recipe(schedule={"kind": "probe"}), facts(validation=0))
    assert lines[3] == "head: found by cross-validation on the frozen features of the plain view of each"
    assert lines[4] == "image, in about 94 s"
    assert any(line.startswith("- about 94 s in all") for line in lines)
    assert not any(line.startswith(("phase", "rate", "tried")) for line in lines)


def test_lp_ft_says_how_many_views_the_probe_and_its_phase_see() -> None:
    asked = recipe(schedule={"kind": "lp_ft", "train": ["stage4", "head"]})
    text = "\n".join(described(asked, facts(train=200, validation=0)))
    for part in (
        "head: found by cross-validation on the frozen features of 8 views of each image,\nin about 68 s",
        "    1  stage4 head                     10        70  pretrained  2 min",
        "views of each image kept below the stages that train: 8 in phase 1",
        "- about 3 min in all",
    ):
        assert part in text, text


def test_auto_lists_what_it_tries_with_names_times_and_gains() -> None:
    asked = recipe(schedule={"kind": "auto", "budget": "90s", "candidates": [{"name": "resnet18"}]})
    text = "\n".join(described(asked, facts(train=200, validation=0, smallest_class=40)))
    for part in (
        "tried in this order                           time  may bring",
        "a head on the frozen features                 10 s  the baseline that the others\n"
        + " " * 52
        + "have to beat",
        "backbone resnet18                              6 s  a point or three from a\n",
        "- within 90s, what does best on out-of-fold predictions of all 200 images that\n  are not for testing ships",
        "- training the last stage is not tried: it takes about ",
        "in all: an estimate from the rates measured on this machine",
    ):
        assert part in text, text


def test_a_plan_that_has_chosen_is_told_by_its_phases() -> None:
    auto = recipe(schedule={"kind": "auto"})
    tried = planning.plan(auto, facts())
    decided = planning.plan(recipe(schedule={"kind": "lp_ft"}), facts())
    both = type(decided)(decided.phases, decided.reasons, decided.probe_views, tried.tiers)
    lines = describe(both, facts(), auto, None, None)
    assert any(line.startswith("phase") for line in lines)
    assert not any(line.startswith("tried") for line in lines)


def test_a_job_that_is_done_for_each_fold_takes_as_many_times_as_long() -> None:
    asked = recipe(schedule={"kind": "head", "epochs": 1}, split={"kind": "folds"})
    once, folded = described(asked, facts(test=0)), described(asked, facts(test=0, folds=5))
    assert "of 5 classes, each held out in one of 5 folds" in " ".join(folded)
    assert "test images" not in folded[1]
    assert any("about 2 min in all" in line for line in once)
    assert any("about 11 min in all" in line for line in folded)
