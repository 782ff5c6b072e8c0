"""Of every family a small member through the whole job, untrained and on a handful of images (of the further ones a
part of it); and the published depths of ResNet v1.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import finetune
from finetune import job
from finetune.model import backbone
from finetune.model.backbone import Backbone
from finetune.recipe import family
from finetune.recipe.plan import Phase, Plan
from finetune.train.loop import Training
from tests.conftest import draw_classes
from tests.laws import differing, epochs, tensors, training

MEMBERS = {
    "v1": "resnet18",
    "v1d": "resnet10t",
    "v2": "resnetv2_18",
    "bit": "resnetv2_50x1_bit",
    "wide": "wide_resnet50_2",
    "se": "seresnet18",
    "resnext": "resnext26ts",
    "eca": "eca_resnext26ts",
    "resnest": "resnest14d",
    "rs": "resnetrs50",
    "cifar": "cifar_resnet20",
    "densenet": "densenet121",
    "regnet": "regnetx_002",
}
NETWORKS = tuple(MEMBERS.values())
FURTHER = {  # in part
    "sk": "skresnet18",
    "res2net": "res2next50",
    "aa": "resnetblur18",
    "nf": "nf_resnet26",
    "attention": "gcresnext26ts",
    "csp": "cspresnet50",
    "clip": "resnet50_clip_gap",
}
SIDE = 32
# of He et al. 2015, table 1: blocks in each of the four stages
DEPTHS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
Write = Callable[..., Path]


def test_every_family_has_its_member_here() -> None:
    members = MEMBERS | FURTHER
    assert members.keys() == {one.key for one in family.FAMILIES}
    assert {key: family.of(name) for key, name in members.items()} == {key: key for key in members}


def covered_once(network: Backbone) -> None:
    """Every tensor is of one stage, that of the module which owns it, and every stage has some."""
    assert set(network.tensors) >= set(network.module.state_dict())
    assert set(network.tensors.values()) == set(network.stages)
    listed = [module for modules in network.stages.values() for module in modules]
    assert len(listed) == len(set(listed))
    for tensor, stage in network.tensors.items():
        assert tensor.rpartition(".")[0] in network.stages[stage]


def passes_forward(network: Backbone, side: int) -> None:
    """One finite vector for each image, and on the way to it maps as wide and as fine as is said."""
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    network.module.eval()
    with torch.inference_mode():
        features = network.module(images)
        maps = {stage: network.upto(stage)(images) for stage in list(network.stages)[:-1]}
    assert features.shape == (2, network.features)
    assert torch.isfinite(features).all()
    for stage, found in maps.items():
        assert found.shape[:2] == (2, network.channels[stage])
        assert found.shape[2] == found.shape[3] == side // network.strides[stage]


def keeps_frozen(run: Training) -> None:
    """After an epoch what is frozen is bit for bit what it was, and what trains has moved."""
    (trained,) = {phase.train for phase in run.setting.plan.phases}
    before = tensors(run)
    list(epochs(run))
    moved = differing(before, tensors(run))
    learns = {tensor for tensor, _ in run.classifier.named_parameters() if run.classifier.stage_of(tensor) in trained}
    assert {run.classifier.stage_of(tensor) for tensor in moved} == set(trained)
    assert learns <= moved


@pytest.mark.parametrize("name", NETWORKS)
def test_a_member_of_every_family_goes_the_whole_way(name: str, tmp_path: Path, write_recipe: Write) -> None:
    photos = draw_classes(tmp_path / "photos", {"blue": 4, "green": 4, "red": 4})
    recipe = write_recipe(photos, schedule="{kind: lp_ft, train: [stem, head], epochs: 2}", backbone=name)
    *_, below, last = cast(Any, backbone.find_cut(name, size=SIDE).stages)
    run = training(recipe, Plan((Phase((last, "head"), 1, 1e-3, 1.0, "batch"),), ()))
    network = run.classifier.cut
    covered_once(network)
    passes_forward(network, SIDE)
    network.onward(below)  # which is refused where both parts do not give what the whole gives
    keeps_frozen(run)
    del run, network

    bundle = job.run(recipe, output=tmp_path / "bundle")
    assert bundle.complete
    assert bundle.has("evidence/probe.json")
    assert len(bundle.history) == 2
    told = bundle.predictions("test")
    answers = finetune.load(bundle.folder).predict([photos / key for key in told.keys])
    assert np.array_equal(answers.logits, told.logits)


@pytest.mark.parametrize("name", FURTHER.values())
def test_members_of_further_families_are_cut_and_pass_forward(name: str) -> None:
    network = backbone.build(name, size=SIDE)
    covered_once(network)
    passes_forward(network, SIDE)


@pytest.mark.parametrize("name", DEPTHS)
def test_the_published_depths_are_cut_and_pass_forward(name: str) -> None:
    network = backbone.build(name, size=64)
    covered_once(network)
    passes_forward(network, 64)
    blocks = {tuple(tensor.split(".")[:2]): stage for tensor, stage in network.tensors.items() if "layer" in tensor}
    assert tuple(Counter(blocks.values()).values()) == DEPTHS[name]
