import math
from typing import Any

import pytest
import torch

from finetune.data.decode import Preprocessing
from finetune.model import backbone, heads
from finetune.model.classifier import Classifier
from finetune.recipe.network import Linear
from finetune.recipe.plan import Phase
from finetune.recipe.rates import ConstantRate, CosineRate, PlateauRate, Rate, SteppedRate
from finetune.recipe.training import SGD, Adam, AdamW, Optimizer
from finetune.train import optimizer as optimizers

PIXELS = Preprocessing(size=32, working=32, fit="squash", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    network = backbone.build("test_resnet")
    return Classifier(network, heads.build(Linear(), features=network.features, classes=3), PIXELS)


def phase(*train: str, lr_decay: float = 0.5) -> Phase:
    return Phase(train=train, epochs=1, lr=0.1, lr_decay=lr_decay, batch_norm="batch")


def test_every_parameter_of_the_trained_stages_is_in_exactly_one_group(classifier: Classifier) -> None:
    built = optimizers.build(classifier, phase("stage4", "head"), AdamW())
    held = [id(p) for group in built.param_groups for p in group["params"]]
    wanted = [id(p) for n, p in classifier.named_parameters() if classifier.stage_of(n) in ("stage4", "head")]
    assert sorted(held) == sorted(wanted)


def test_the_rate_falls_stage_by_stage_from_the_head_down(classifier: Classifier) -> None:
    built = optimizers.build(classifier, phase("stage2", "stage3", "stage4", "head"), AdamW())
    rates = {id(p): group["peak"] for group in built.param_groups for p in group["params"]}
    by_stage = {classifier.stage_of(n): rates[id(p)] for n, p in classifier.named_parameters() if id(p) in rates}
    assert by_stage == pytest.approx({"head": 0.1, "stage4": 0.05, "stage3": 0.025, "stage2": 0.0125})


@pytest.mark.parametrize("kind", [AdamW, Adam, SGD])
def test_scales_shifts_and_biases_are_not_decayed_unless_all_are(
    kind: type[AdamW | Adam | SGD], classifier: Classifier
) -> None:
    built = optimizers.build(classifier, phase("head", "stage4"), kind(weight_decay=0.01))
    for group in built.param_groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.01}
    built = optimizers.build(classifier, phase("head", "stage4"), kind(weight_decay=0.01, decayed="all"))
    assert {group["weight_decay"] for group in built.param_groups} == {0.01}


def test_sgd_has_nesterovs_momentum_or_the_plain_one(classifier: Classifier) -> None:
    for nesterov in (True, False):
        built = optimizers.build(classifier, phase("head"), SGD(momentum=0.8, nesterov=nesterov))
        assert isinstance(built, torch.optim.SGD)
        assert all(group["nesterov"] == nesterov and group["momentum"] == 0.8 for group in built.param_groups)


def moved(asked: Optimizer) -> torch.Tensor:
    """The weights of a head after three steps."""
    network = backbone.build("test_resnet")
    head = heads.build(Linear(), features=network.features, classes=3)
    with torch.no_grad():
        head[-1].weight.fill_(0.1)
    built = optimizers.build(Classifier(network, head, PIXELS), phase("head"), asked)
    for gradient in (1.0, -0.5, 0.25):
        for parameter in head.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        built.step()
    return head[-1].weight.detach().clone()


def test_adam_without_decay_is_adamw_without_it_and_decays_through_the_gradient() -> None:
    assert torch.equal(moved(Adam()), moved(AdamW(weight_decay=0.0)))
    assert not torch.allclose(moved(Adam(weight_decay=0.1)), moved(Adam()))
    assert not torch.allclose(moved(Adam(weight_decay=0.1)), moved(AdamW(weight_decay=0.1)))


def share(rate: Rate, step: int, **facts: Any) -> float:
    """The share of the peak at a step of a phase of 5 epochs of 4 steps."""
    return optimizers.rate_share(rate, step, **{"epochs": 5, "steps": 4, "warmup": 0.0, "peak": 0.1, **facts})


def test_the_rate_rises_to_its_peak_and_falls_along_a_cosine() -> None:
    shares = [share(CosineRate(), step, warmup=0.2) for step in range(20)]
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert shares[4:] == sorted(shares[4:], reverse=True)
    assert shares[12] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))
    assert all(0 < one <= 1 for one in shares)


def test_without_warm_up_the_first_step_has_the_peak_rate(classifier: Classifier) -> None:
    built = optimizers.build(classifier, phase("head"), AdamW())
    for rate in (CosineRate(), ConstantRate(), SteppedRate(at=(3,)), PlateauRate()):
        optimizers.set_rates(built, share(rate, 0))
        assert [group["lr"] for group in built.param_groups] == [0.1, 0.1]


def test_every_curve_rises_in_the_same_way() -> None:
    for rate in (ConstantRate(), SteppedRate(at=(3,)), PlateauRate()):
        assert [share(rate, step, warmup=0.2) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_a_constant_rate_stays() -> None:
    assert {share(ConstantRate(), step) for step in range(20)} == {1.0}


def test_a_rate_steps_when_so_many_epochs_are_over() -> None:
    shares = [share(SteppedRate(at=(2, 4), factor=(0.1, 0.5)), step) for step in range(20)]
    assert shares == pytest.approx([1.0] * 8 + [0.1] * 8 + [0.05] * 4)


@pytest.mark.parametrize(
    ("losses", "times"),
    [
        ([], 0),
        ([1.0, 1.0], 0),  # the first is the lowest so far
        ([1.0, 1.0, 1.0], 1),
        ([1.0, 0.9, 0.9, 0.8], 0),
        ([1.0, 1.1, 1.2, 1.1], 1),
        ([1.0, 1.1, 1.2, 1.1, 1.3], 2),
        ([1.0, 1.1, 1.2, 0.9, 1.3, 1.0], 2),
        ([1.0, 1.1, 1.2, 1.05, 0.99, 1.3], 1),
    ],
)
def test_a_plateau_is_so_many_epochs_without_a_better_loss(losses: list[float], times: int) -> None:
    rate = PlateauRate(factor=0.5, patience=2)
    assert share(rate, 4 * len(losses), epochs=9, losses=losses) == 0.5**times


def test_epochs_in_which_the_rate_rises_are_no_plateau() -> None:
    rate, losses = PlateauRate(patience=2), [1.0, 1.1, 1.2, 1.3]
    assert share(rate, 16, losses=losses) == pytest.approx(0.1)
    assert share(rate, 16, losses=losses, warmup=0.35) == 1.0  # 7 of 20 steps, so that two epochs do not count


def test_a_plateau_ends_at_the_lowest_rate_and_a_plan_of_one_s_own_may_begin_there() -> None:
    rate, losses = PlateauRate(factor=0.1, patience=1, lowest=0.002), [1.0, 1.1, 1.2, 1.3]
    assert share(rate, 16, losses=losses) == pytest.approx(0.02)
    assert share(rate, 16, losses=losses, peak=0.001) == 1.0
