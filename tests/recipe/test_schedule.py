"""What each kind of schedule means as phases."""

import pytest
from pydantic import TypeAdapter, ValidationError

from finetune.recipe.network import BackboneChoice, Random
from finetune.recipe.schedule import (
    Auto,
    Full,
    Gradual,
    Head,
    LpFt,
    PhaseChoice,
    Phases,
    Probe,
    Schedule,
    Stages,
    in_order,
    starts_from_probe,
    trains_backbone,
    written_phases,
)
from finetune.recipe.section import STAGES


def test_head_trains_the_head_alone() -> None:
    (phase,) = written_phases(Head(epochs=3, lr=0.02))
    assert (phase.train, phase.epochs, phase.lr) == (("head",), 3, 0.02)
    assert not trains_backbone(phase)


def test_full_trains_every_stage() -> None:
    (phase,) = written_phases(Full(epochs=3, lr=0.02, lr_decay=0.6))
    assert (phase.train, phase.epochs, phase.lr, phase.lr_decay) == (STAGES, 3, 0.02, 0.6)
    assert trains_backbone(phase)


def test_gradual_thaws_one_stage_more_in_each_phase_at_half_the_rate() -> None:
    phases = written_phases(Gradual(epochs=2, lr=0.8, lr_decay=0.5))
    assert [phase.train for phase in phases] == [
        ("head",),
        ("stage4", "head"),
        ("stage3", "stage4", "head"),
        ("stage2", "stage3", "stage4", "head"),
        ("stage1", "stage2", "stage3", "stage4", "head"),
        STAGES,
    ]
    assert [phase.lr for phase in phases] == [0.8, 0.4, 0.2, 0.1, 0.05, 0.025]
    assert {phase.epochs for phase in phases} == {2}


def test_gradual_goes_as_far_down_as_it_is_told() -> None:
    assert [phase.train[0] for phase in written_phases(Gradual(stages=2))] == ["head", "stage4", "stage3"]


def test_stages_train_together_in_the_order_of_the_network() -> None:
    (phase,) = written_phases(Stages(train=("head", "stem", "stage4"), epochs=5, lr=1e-4, lr_decay=0.9))
    assert phase.train == ("stem", "stage4", "head")
    assert (phase.epochs, phase.lr, phase.lr_decay) == (5, 1e-4, 0.9)


def test_phases_are_taken_as_written() -> None:
    chosen = (
        PhaseChoice(train=("head",), epochs=1, lr=1e-2),
        PhaseChoice(train=("head", "stage4"), epochs=2, lr=1e-3, lr_decay=0.5, batch_norm="batch"),
    )
    first, second = written_phases(Phases(phases=chosen))
    assert first == chosen[0]
    assert second.train == ("stage4", "head")
    assert (second.epochs, second.lr, second.lr_decay, second.batch_norm) == (2, 1e-3, 0.5, "batch")


def test_a_probe_takes_no_steps_and_auto_has_yet_to_find_its_phases() -> None:
    assert written_phases(Probe()) == ()
    assert written_phases(Auto()) == ()


def test_lp_ft_trains_every_stage_gently_unless_it_is_told_which() -> None:
    (phase,) = written_phases(LpFt())
    assert (phase.train, phase.epochs, phase.lr, phase.lr_decay) == (STAGES, 10, 1e-4, 1.0)
    (phase,) = written_phases(LpFt(train=("head", "stage4"), epochs=3, lr=1e-3, lr_decay=0.5))
    assert (phase.train, phase.epochs, phase.lr, phase.lr_decay) == (("stage4", "head"), 3, 1e-3, 0.5)


def test_a_head_is_fitted_first_by_probe_lp_ft_and_auto_alone() -> None:
    assert all(starts_from_probe(schedule) for schedule in (Probe(), LpFt(), Auto()))
    assert not any(starts_from_probe(schedule) for schedule in (Head(), Full(), Gradual()))


def test_the_budget_of_auto_is_in_seconds() -> None:
    assert Auto().seconds == 900
    assert Auto(budget="1.5h").seconds == 5400


def test_one_architecture_may_be_a_candidate_with_several_weights() -> None:
    own = BackboneChoice(name="test_resnet")
    assert Auto(candidates=(own, BackboneChoice(name="test_resnet", weights=Random()))).candidates[0] == own
    with pytest.raises(ValidationError, match="backbone 'test_resnet' with these weights is listed twice"):
        Auto(candidates=(own, BackboneChoice(name="resnet18"), own))


def test_stages_are_put_in_order_once() -> None:
    assert in_order(["head", "stem", "head"]) == ("stem", "head")


@pytest.mark.parametrize(
    "written",
    [
        {"kind": "stages", "train": ("stage4",)},
        {"kind": "stages", "train": ("head", "head")},
        {"kind": "stages", "train": ("head",), "lr_decay": 0.5},
        {"kind": "stages", "train": ()},
        {"kind": "phases", "phases": ()},
        {"kind": "phases", "phases": ({"train": ("stage4",), "epochs": 1, "lr": 0.1},)},
        {"kind": "phases", "phases": ({"train": ("head",), "epochs": 1, "lr": 0.1, "batch_norm": "batch"},)},
        {"kind": "gradual", "stages": 0},
        {"kind": "probe", "epochs": 3},
        {"kind": "lp_ft", "train": ("stage4",)},
        {"kind": "lp_ft", "train": ("head", "head")},
        {"kind": "lp_ft", "train": ("head",), "lr_decay": 0.5},
        {"kind": "lp_ft", "interpolate": 0.0},
        {"kind": "lp_ft", "interpolate": 1.1},
        {"kind": "auto", "budget": "soon"},
        {"kind": "auto", "candidates": ("resnet18",)},
        {"kind": "auto", "epochs": 3},
    ],
)
def test_a_schedule_that_means_nothing_is_refused_in_python_too(written: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Schedule).validate_python(written)
