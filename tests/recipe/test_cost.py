"""Estimates: what they multiply, and in what units they are told."""

import pytest

from finetune.recipe import backbones
from finetune.recipe.cost import (
    SHARES,
    Costs,
    costs,
    duration,
    estimate,
    fitting,
    gmacs,
    image_size,
    memory,
    passing,
    shares,
    with_backbone,
)
from finetune.recipe.network import BackboneChoice, Hub
from finetune.recipe.section import STAGES
from tests.recipe.toys import COSTS, GMACS, RATES, facts, planned, recipe


def test_without_rates_there_are_no_times() -> None:
    assert costs(recipe(), None) is None
    assert estimate(planned({"kind": "gradual"}), facts(), None) == [None] * 6
    assert passing(5, None) is None


def test_what_an_image_costs_follows_from_rates_and_multiply_adds() -> None:
    assert costs(recipe(), RATES) == COSTS
    small = costs(recipe(images={"size": 112}), RATES)
    assert small == Costs(COSTS.decode, COSTS.forward / 4, COSTS.step / 4, COSTS.last / 4)


def test_another_backbone_costs_what_it_would_as_the_recipe_s_own() -> None:
    choice = BackboneChoice(name="resnet18")
    own = recipe(backbone={"name": "resnet18"})
    assert costs(recipe(), RATES, backbone=choice) == costs(own, RATES)
    scaled = with_backbone(COSTS, recipe(), choice)
    assert scaled.decode == COSTS.decode
    assert (scaled.forward, scaled.step) == pytest.approx(
        (1.824 / GMACS * COSTS.forward, 1.824 / GMACS * COSTS.step), rel=0.01
    )


def test_another_backbone_is_asked_at_the_size_of_its_own_weights() -> None:
    choice = BackboneChoice(name="test_resnet")
    assert image_size(recipe(), choice) == 160
    assert image_size(recipe(images={"size": 96}), choice) == 96
    assert costs(recipe(), RATES, backbone=choice) == costs(recipe(backbone={"name": "test_resnet"}), RATES)


def test_multiply_adds_are_known_at_224_pixels_and_grow_with_the_square_of_the_side() -> None:
    small = recipe(backbone={"name": "test_resnet"})  # made for 160 pixels
    known = backbones.entry("test_resnet")
    assert (known.measured_at, known.input_size) == (224, 160)
    assert gmacs(small) == pytest.approx(known.macs / 1e9 * (160 / 224) ** 2)
    assert gmacs(small, BackboneChoice(name="resnet50")) == pytest.approx(GMACS, rel=0.01)


def test_memory_is_parameters_and_what_a_batch_keeps_at_work() -> None:
    known = backbones.entry("resnet50")
    assert memory(known) == 4 * known.parameters + 2 * 8 * known.activations


def test_the_size_is_the_recipe_s_or_that_of_the_weights() -> None:
    a1 = {"name": "resnet50", "weights": {"kind": "hub", "tag": "a1_in1k"}}
    assert image_size(recipe(backbone=a1)) == 224
    assert image_size(recipe(backbone=a1, images={"contract": "test"})) == 288
    assert image_size(recipe(backbone=a1, images={"contract": "test", "size": 96})) == 96
    assert (
        image_size(recipe(images={"contract": "test"}), BackboneChoice(name="resnet50", weights=Hub(tag="a1_in1k")))
        == 288
    )
    assert image_size(recipe(backbone={"name": "test_resnet"})) == 160


def test_an_estimate_is_the_stated_formula() -> None:
    (seconds,) = estimate(planned({"kind": "full", "epochs": 2}), facts(), COSTS)
    assert seconds == pytest.approx(2 * (2000 * (GMACS / 25 + 1 / 200) + 400 * (GMACS / 100 + 1 / 200)))
    asked = recipe(images={"size": 112})
    (seconds,) = estimate(planned({"kind": "head", "epochs": 1}), facts(), costs(asked, RATES))
    assert seconds == pytest.approx(2400 * (GMACS / 4 / 100 + 1 / 200))


def test_what_lies_above_a_stage_that_trains_passes_its_gradient_on() -> None:
    def cost(*train: str) -> float:
        made = planned({"kind": "stages", "train": [*train, "head"], "epochs": 1})
        (seconds,) = estimate(made, facts(), COSTS)
        assert seconds is not None
        return seconds

    assert cost("stage4") < cost("stage3", "stage4") < cost("stage2", "stage3", "stage4")
    assert cost("stage3", "stage4") > cost("stage3") > cost("stage4")
    forward = GMACS * 0.8 / 100
    assert cost("stage4") == pytest.approx(
        2000 * (forward + GMACS * 0.2 / 25 + 1 / 200) + 400 * (GMACS / 100 + 1 / 200)
    )


def test_views_that_are_kept_are_computed_once_and_each_epoch_costs_only_what_trains() -> None:
    made = planned(
        {"kind": "lp_ft", "train": ["stage4", "head"], "epochs": 10}, facts(validation=0), train={"views": 3}
    )
    (seconds,) = estimate(made, facts(validation=0), COSTS)
    filling = 2000 * (1 / 200 + 3 * 0.8 * GMACS / 100)
    assert seconds == pytest.approx(filling + 10 * 2000 * 0.2 * GMACS / 25)


def test_a_probe_has_no_phases_to_estimate() -> None:
    assert estimate(planned({"kind": "probe"}), facts(), COSTS) == []


def test_passing_decodes_once_and_fitting_grows_with_the_rows() -> None:
    assert passing(10, COSTS) == pytest.approx(10 * (COSTS.decode + COSTS.forward))
    assert passing(10, COSTS, views=8) == pytest.approx(10 * (COSTS.decode + 8 * COSTS.forward))
    assert fitting(3000) - fitting(1500) == 1


def test_shares_of_stages_are_shares() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)
    assert set(SHARES) == set(STAGES)
    assert shares(STAGES) == (0, pytest.approx(1))
    assert shares(("head",)) == (pytest.approx(1), 0)
    assert shares(("stage3", "head")) == (pytest.approx(0.5), pytest.approx(0.3 + 0.2 * 2 / 3))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "?"),
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
def test_times_are_given_in_units_of_their_size(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words
