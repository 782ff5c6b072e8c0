import copy

import pytest
import torch
from torch import nn

from finetune.data.decode import Preprocessing
from finetune.model import backbone, heads
from finetune.model.classifier import Classifier, set_training
from finetune.recipe.network import Linear

PIXELS = Preprocessing(
    size=32, working=32, fit="squash", interpolation="bilinear", mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3)
)


@pytest.fixture
def classifier() -> Classifier:
    network = backbone.build("test_efficientnet")
    return Classifier(network, heads.build(Linear(dropout=0.5), features=network.features, classes=3), PIXELS)


def test_bytes_and_floats_of_the_same_image_give_the_same_logits(classifier: Classifier) -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    classifier.eval()
    assert torch.equal(classifier(images), classifier(images.float()))


def test_normalisation_is_inside(classifier: Classifier) -> None:
    classifier.eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean, std = torch.tensor(PIXELS.mean).reshape(1, 3, 1, 1), torch.tensor(PIXELS.std).reshape(1, 3, 1, 1)
    by_hand = classifier.head(classifier.backbone((images / 255 - mean) / std))
    assert torch.allclose(classifier(images), by_hand, atol=1e-5)


def test_the_state_dict_holds_backbone_and_head_and_every_tensor_has_a_stage(classifier: Classifier) -> None:
    names = list(classifier.state_dict())
    assert {name.split(".")[0] for name in names} == {"backbone", "head"}
    counts = classifier.stages()
    assert list(counts) == ["stem", "stage1", "stage2", "stage3", "stage4", "head"]
    assert sum(counts.values()) == len(names)
    assert all(counts.values())


def test_only_the_stages_that_train_have_gradients_and_training_mode(classifier: Classifier) -> None:
    set_training(classifier, ("stage4", "head"), batch_norm="batch")
    for name, parameter in classifier.named_parameters():
        assert parameter.requires_grad == (classifier.stage_of(name) in ("stage4", "head"))
    for stage in classifier.stages():
        modes = {module.training for module in classifier.modules_of(stage)}
        assert modes == {stage in ("stage4", "head")}, stage


def test_the_pretrained_policy_keeps_the_statistics_of_trained_stages(classifier: Classifier) -> None:
    set_training(classifier, ("stem", "stage1", "stage2", "stage3", "stage4", "head"), batch_norm="pretrained")
    norms = [module for module in classifier.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(module.training for module in norms)
    assert all(parameter.requires_grad for parameter in classifier.parameters())
    assert any(module.training for module in classifier.head if isinstance(module, nn.Dropout))


def test_what_was_trained_before_can_be_frozen_again(classifier: Classifier) -> None:
    set_training(classifier, ("stage4", "head"), batch_norm="batch")
    set_training(classifier, ("head",), batch_norm="batch")
    assert {classifier.stage_of(n) for n, p in classifier.named_parameters() if p.requires_grad} == {"head"}
    assert not any(module.training for module in classifier.modules_of("stage4"))


STAGES = ("stage2", "stage4")


@pytest.fixture
def several() -> Classifier:
    """A classifier whose head is given the features of two stages."""
    network = backbone.build("test_efficientnet")
    head = heads.build(Linear(), features=network.width(STAGES), classes=3)
    return Classifier(network, head, PIXELS, STAGES)


def test_a_head_may_be_given_the_features_of_several_stages(several: Classifier) -> None:
    several.eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        features = several.cut.extractor(STAGES)(several.normalise(images))
        assert torch.equal(several(images), heads.logits(several.head, features))


def test_the_state_dict_is_the_same_whatever_the_head_is_given(several: Classifier) -> None:
    names = [f"backbone.{name}" for name in several.cut.module.state_dict()]
    assert list(several.state_dict()) == [*names, "head.0.weight", "head.0.bias"]


def test_a_copy_shares_nothing_with_what_it_was_copied_from(several: Classifier) -> None:
    several.eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        before = several(images)
        copied = copy.deepcopy(several)
        assert torch.equal(copied(images), before)
        for parameter in several.parameters():
            parameter.zero_()
        assert torch.equal(copied(images), before)
        assert not torch.equal(several(images), before)


def test_training_with_several_stages_keeps_frozen_ones_and_moves_the_others(several: Classifier) -> None:
    set_training(several, ("stage4", "head"), batch_norm="batch")
    before = {name: tensor.clone() for name, tensor in several.state_dict().items()}
    optimizer = torch.optim.SGD([one for one in several.parameters() if one.requires_grad], lr=0.1)
    several(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)).square().sum().backward()
    optimizer.step()
    for name, tensor in several.state_dict().items():
        assert torch.equal(tensor, before[name]) == (several.stage_of(name) not in ("stage4", "head")), name
