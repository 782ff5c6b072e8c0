"""Plans: the phases that follow from a recipe and its images, why, and about how long they take."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.errors import BundleError, RecipeError
from finetune.recipe import backbones
from finetune.recipe import plan as planning
from finetune.recipe.machine import Rates
from finetune.recipe.plan import Facts, Phase, Plan, describe, estimate, from_json, image_size, stage_lr, to_json
from finetune.recipe.schema import Recipe
from finetune.recipe.section import STAGES

PROFILE = settings(max_examples=100, derandomize=True, deadline=None, database=None)
RATES = Rates(forward_gmacs=100.0, training_gmacs=25.0, decode_images=200.0, measured="2026-01-31", threads=2)


def recipe(**keys: Any) -> Recipe:
    given = {"name": "x", "data": {"root": "photos"}, "backbone": {"name": "resnet50"}, **keys}
    return Recipe.model_validate_json(json.dumps(given))


def facts(**keys: Any) -> Facts:
    known = {"train": 2000, "validation": 400, "test": 400, "classes": 5, "smallest_class": 300, "pretrained": True}
    return Facts(**{**known, "batch_size": 32, **keys})


def planned(schedule: Any = None, **keys: Any) -> Plan:
    return planning.plan(recipe(schedule=schedule or {"kind": "full"}, **keys), facts())


def reasons(recipe: Recipe, **keys: Any) -> str:
    return "\n".join(planning.plan(recipe, facts(**keys)).reasons)


def test_a_schedule_becomes_phases() -> None:
    (phase,) = planned({"kind": "full", "epochs": 3, "lr": 0.01, "lr_decay": 0.5}).phases
    assert phase == Phase(STAGES, 3, 0.01, 0.5, "batch")
    assert [p.train[0] for p in planned({"kind": "gradual", "stages": 1}).phases] == ["head", "stage4"]


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
def test_batch_norm_is_decided_from_the_images(keys: dict[str, Any], policy: str, reason: str) -> None:
    made = planning.plan(recipe(schedule={"kind": "full"}), facts(**keys))
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
    random = recipe(
        schedule={"kind": "stages", "train": ["stage4", "head"]},
        backbone={"name": "resnet50", "weights": {"kind": "random"}},
    )
    assert "never trained in stem, stage1, stage2 and stage3" in reasons(random, pretrained=False)
    assert "never trained" not in reasons(full, pretrained=False)
    above = recipe(
        schedule={"kind": "stages", "train": [*STAGES[1:]]},
        backbone={"name": "resnet50", "weights": {"kind": "random"}},
    )
    assert "never trained in stem:" in reasons(above, pretrained=False)
    assert "no validation images" in reasons(full, validation=0)
    assert "optimistic" in reasons(full, test=0)
    assert "optimistic" not in reasons(full, test=0, validation=0)
    assert "the smallest class has 1 training image:" in reasons(full, smallest_class=1)
    assert "the smallest class has 9 training images:" in reasons(full, smallest_class=9)
    assert "smallest" not in reasons(full, smallest_class=10)


def test_a_plan_depends_on_nothing_but_its_arguments() -> None:
    assert planned({"kind": "gradual"}) == planned({"kind": "gradual"})


def test_the_rate_falls_by_stage_from_the_head_down() -> None:
    phase = Phase(STAGES, 1, 0.8, 0.5, "batch")
    assert [stage_lr(phase, stage) for stage in STAGES] == [0.025, 0.05, 0.1, 0.2, 0.4, 0.8]
    assert stage_lr(Phase(("stage1", "head"), 1, 0.8, 0.5, "batch"), "stage1") == 0.05
    assert {stage_lr(Phase(STAGES, 1, 0.8, 1.0, "batch"), stage) for stage in STAGES} == {0.8}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"train": ()}, "train needs at least 1 item, not 0"),
        ({"train": ("layer4",)}, "item 1 of train must be stem, stage1, stage2, stage3, stage4 or head, not 'layer4'"),
        ({"train": ("head", "head")}, "'head' is listed twice"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"epochs": True}, "epochs must be a whole number, not true"),
        ({"lr": 0.0}, "lr must be above 0, not 0.0"),
        ({"lr": float("nan")}, "lr must be a finite number, not nan"),
        ({"lr_decay": 1.5}, "lr_decay must be at most 1, not 1.5"),
        ({"batch_norm": "frozen"}, "batch_norm must be pretrained or batch, not 'frozen'"),
    ],
)
def test_a_phase_that_is_impossible_is_refused(keys: dict[str, Any], message: str) -> None:
    phase: dict[str, Any] = {"train": ("head",), "epochs": 1, "lr": 0.1, "lr_decay": 1.0, "batch_norm": "batch", **keys}
    with pytest.raises(RecipeError) as caught:
        Phase(**phase)
    assert message in str(caught.value)
    phase["train"] = list(phase["train"])
    with pytest.raises(BundleError, match=r"^p\.json: "):
        from_json(json.dumps({"phases": [phase], "reasons": []}), source="p.json")


PHASES = st.builds(
    Phase,
    st.lists(st.sampled_from(STAGES), unique=True, min_size=1).map(tuple),
    st.integers(1, 10_000),
    st.floats(1e-9, 10),
    st.floats(1e-3, 1),
    st.sampled_from(["pretrained", "batch"]),
)


@PROFILE
@given(
    st.lists(PHASES, min_size=1, max_size=4), st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3)
)
def test_a_plan_that_is_written_and_read_is_the_same(phases: list[Phase], reasons: list[str]) -> None:
    made = Plan((*phases, Phase(("head",), 1, 0.1, 1.0, "batch")), tuple(reasons))
    assert from_json(to_json(made)) == made
    assert to_json(from_json(to_json(made))) == to_json(made)


REST = '"epochs": 1, "lr_decay": 1, "batch_norm": "batch"}], "reasons": []}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.json: is not JSON"),
        ("{", "p.json: is not JSON"),
        ("[" * 100_000, "p.json: is not JSON"),
        ("9" * 5000, "p.json: is not JSON"),
        ("[]", "p.json: is not a plan"),
        ("null", "p.json: is not a plan"),
        ("{}", "p.json: phases: the recipe needs 'phases'\np.json: reasons: the recipe needs 'reasons'"),
        ('{"phases": [], "reasons": []}', "p.json: phases: phases needs at least 1 item, not 0"),
        ('{"phases": [3], "reasons": []}', "p.json: phases.0: item 1 of phases must be a mapping, not 3"),
        ('{"phases": {}, "reasons": [], "more": 1}', "p.json: more: unknown key 'more'"),
        (
            '{"phases": [], "reasons": [3]}',
            "p.json: phases: phases needs at least 1 item, not 0\n"
            "p.json: reasons.0: item 1 of reasons must be text, not 3",
        ),
        (
            '{"phases": [{"train": ["stem"], "lr": 1, ' + REST,
            "p.json: phases: the head trains in none of the phases",
        ),
        (
            '{"phases": [{"train": ["head"], "lr": NaN, ' + REST,
            "p.json: phases.0.lr: lr must be a finite number, not nan",
        ),
    ],
)
def test_a_file_that_is_not_a_plan_is_refused(text: str, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        from_json(text, source="p.json")
    assert str(caught.value).startswith(message)


def test_a_plan_is_read_from_its_file(tmp_path: Path) -> None:
    made = planned({"kind": "gradual"})
    path = tmp_path / "plan.json"
    path.write_text(to_json(made), encoding="utf-8")
    assert planning.read(path) == made
    with pytest.raises(BundleError, match=r"none\.json: there is no such file"):
        planning.read(tmp_path / "none.json")
    path.write_text("{}")
    with pytest.raises(BundleError, match=r"plan\.json: phases: "):
        planning.read(path)


def test_without_rates_there_are_no_times() -> None:
    made = planned({"kind": "gradual"})
    assert estimate(made, facts(), recipe(), None) == [None] * 6
    assert any(
        "run `finetune doctor` to measure this machine" in line for line in describe(made, facts(), recipe(), None)
    )


def test_a_network_of_unknown_cost_has_no_times(monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = planned(), recipe()
    known = backbones.entry("resnet50")
    unknown = type(known)(**{**{name: getattr(known, name) for name in known.__dataclass_fields__}, "macs": None})
    monkeypatch.setattr(backbones, "entry", lambda name: unknown)
    assert estimate(made, facts(), asked, RATES) == [None]
    assert describe(made, facts(), asked, RATES)[-1] == "- no times: the cost of this backbone is not known"


def test_an_estimate_is_the_stated_formula() -> None:
    asked = recipe(schedule={"kind": "full", "epochs": 2})
    gmacs = 4.087136256
    (seconds,) = estimate(planning.plan(asked, facts()), facts(), asked, RATES)
    assert seconds == pytest.approx(2 * (2000 * (gmacs / 25 + 1 / 200) + 400 * (gmacs / 100 + 1 / 200)))
    asked = recipe(schedule={"kind": "head", "epochs": 1}, images={"size": 112})
    (seconds,) = estimate(planning.plan(asked, facts()), facts(), asked, RATES)
    assert seconds == pytest.approx(2400 * (gmacs / 4 / 100 + 1 / 200))


def test_what_lies_above_a_stage_that_trains_passes_its_gradient_on() -> None:
    def cost(*train: str) -> float:
        asked = recipe(schedule={"kind": "stages", "train": [*train, "head"], "epochs": 1})
        (seconds,) = estimate(planning.plan(asked, facts()), facts(), asked, RATES)
        assert seconds is not None
        return seconds

    assert cost("stage4") < cost("stage3", "stage4") < cost("stage2", "stage3", "stage4")
    assert cost("stage3", "stage4") > cost("stage3") > cost("stage4")
    gmacs = 4.087136256
    forward = gmacs * 0.8 / 100
    assert cost("stage4") == pytest.approx(
        2000 * (forward + gmacs * 0.2 / 25 + 1 / 200) + 400 * (gmacs / 100 + 1 / 200)
    )


def test_the_size_is_the_recipe_s_or_that_of_the_weights() -> None:
    a1 = {"name": "resnet50", "weights": {"kind": "hub", "tag": "a1_in1k"}}
    assert image_size(recipe(backbone=a1)) == 224
    assert image_size(recipe(backbone=a1, images={"contract": "test"})) == 288
    assert image_size(recipe(backbone=a1, images={"contract": "test", "size": 96})) == 96
    assert image_size(recipe(backbone={"name": "test_resnet"})) == 160


def test_shares_of_stages_are_shares() -> None:
    assert sum(planning.SHARES.values()) == pytest.approx(1)
    assert set(planning.SHARES) == set(STAGES)


def test_a_plan_is_described_in_lines_of_80_columns() -> None:
    asked = recipe(name="x" * 100, backbone={"name": "resnet50", "weights": {"kind": "file", "path": "w.pth"}})
    for schedule in (
        {"kind": "head", "epochs": 10_000},
        {"kind": "full"},
        {"kind": "gradual"},
        {"kind": "stages", "train": ["stem", "stage2", "stage4", "head"], "lr": 1.23456e-7},
        {"kind": "stages", "train": [*STAGES[:-2], "head"]},
        {"kind": "stages", "train": [stage for stage in STAGES if stage != "stage2"]},
    ):
        of = asked.model_copy(update={"schedule": recipe(schedule=schedule).schedule})
        for rates in (None, RATES, Rates(1e-3, 1e-3, 1e-3, "long ago\x1b" * 20, 1)):
            known = facts(train=123_456_789, pretrained=False, smallest_class=1, validation=0, test=0)
            lines = describe(planning.plan(of, known), known, of, rates)
            assert max(map(len, lines)) <= 80
            assert not any("\x1b" in line or "\n" in line for line in lines)


def test_a_description_says_what_matters() -> None:
    asked = recipe(schedule={"kind": "gradual", "stages": 3}, name="flowers")
    known = facts(train=560, smallest_class=8)
    text = "\n".join(describe(planning.plan(asked, known), known, asked, RATES))
    for part in (
        "flowers: resnet50, hub weights, 224 x 224 pixels",
        "560 training, 400 validation and 400 test images of 5 classes",
        "18 steps of 32 in",
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


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.1, "1 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (5930, "99 min"),
        (6000, "1 h 40 min"),
        (90_000, "25 h 0 min"),
        (400_000, "5 days"),
        (1e9, "999+ days"),
    ],
)
def test_times_are_given_in_units_of_their_size(seconds: float, words: str) -> None:
    asked = recipe(schedule={"kind": "head", "epochs": 1})
    known = facts(train=1, validation=0)
    gmacs = 4.087136256
    rates = Rates(gmacs / (seconds / 2), 1.0, 2 / seconds, "today", 1)
    lines = describe(planning.plan(asked, known), known, asked, rates)
    assert any(line.endswith(words) for line in lines), lines
    assert any(f"- about {words} in all" in line for line in lines)
