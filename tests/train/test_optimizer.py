import math

import pytest
import torch

from finetune.data.decode import Preprocessing
from finetune.model import backbone, heads
from finetune.model.classifier import Classifier
from finetune.recipe.network import Linear
from finetune.recipe.plan import Phase
from finetune.recipe.schema import SGD, AdamW
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


def test_scales_shifts_and_biases_are_not_decayed(classifier: Classifier) -> None:
    built = optimizers.build(classifier, phase("head", "stage4"), SGD(weight_decay=0.01))
    for group in built.param_groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == 0.01}


def test_sgd_has_nesterovs_momentum(classifier: Classifier) -> None:
    built = optimizers.build(classifier, phase("head"), SGD(momentum=0.8))
    assert isinstance(built, torch.optim.SGD)
    assert all(group["nesterov"] and group["momentum"] == 0.8 for group in built.param_groups)


def test_the_rate_rises_to_its_peak_and_falls_along_a_cosine() -> None:
    shares = [optimizers.rate_share(step, steps=20, warmup=0.2) for step in range(20)]
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert shares[4:] == sorted(shares[4:], reverse=True)
    assert shares[12] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))
    assert all(0 < share <= 1 for share in shares)


def test_without_warm_up_the_first_step_has_the_peak_rate(classifier: Classifier) -> None:
    built = optimizers.build(classifier, phase("head"), AdamW())
    optimizers.set_rates(built, optimizers.rate_share(0, steps=5, warmup=0.0))
    assert [group["lr"] for group in built.param_groups] == [0.1, 0.1]
