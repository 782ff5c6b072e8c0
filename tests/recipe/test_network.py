"""Backbones, weights and heads as a recipe names them."""

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from finetune.recipe.network import BackboneChoice, Cosine, File, HeadChoice, Hub, Linear, Mlp, Multilayer, Random
from tests.recipe.toys import recipe


def head(**keys: Any) -> HeadChoice:
    made = recipe(head=keys).head
    assert made is not None
    return made


def test_the_tag_is_that_of_the_hub() -> None:
    tagged = {"name": "resnet50", "weights": {"kind": "hub", "tag": "tv_in1k"}}
    assert recipe(backbone=tagged).backbone.tag == "tv_in1k"
    assert BackboneChoice(name="resnet50", weights=Hub()).tag is None
    assert BackboneChoice(name="resnet50", weights=Random()).tag is None


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "resnet5"}, "unknown backbone 'resnet5'"),
        ({"name": "vit_base_patch16_224"}, "cannot be cut into stages"),
        ({"name": "resnet50", "weights": Hub(tag="tv_in2k")}, "unknown tag 'tv_in2k' of backbone 'resnet50'"),
        ({"name": "mobilenetv2_035"}, "has no weights on the hub"),
    ],
)
def test_a_backbone_that_cannot_be_had_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BackboneChoice(**keys)
    assert BackboneChoice(name="mobilenetv2_035", weights=File(path="w.pth")).tag is None


@pytest.mark.parametrize(
    ("keys", "made"),
    [
        ({"kind": "linear"}, Linear(dropout=0.0)),
        ({"kind": "cosine"}, Cosine()),
        ({"kind": "mlp", "hidden": 64}, Mlp(hidden=64, dropout=0.2)),
        ({"kind": "multilayer", "stages": ["stage3"]}, Multilayer(stages=("stage3",))),
        ({"kind": "multilayer", "stages": ["stage4", "stage1"]}, Multilayer(stages=("stage4", "stage1"))),
    ],
)
def test_heads_are_told_apart_by_their_kind(keys: dict[str, Any], made: HeadChoice) -> None:
    assert head(**keys) == made


def test_the_head_sees_the_last_stage_unless_it_says_otherwise() -> None:
    assert recipe().stages == ("stage4",)
    assert recipe(head={"kind": "cosine"}).stages == ("stage4",)
    assert recipe(head={"kind": "multilayer", "stages": ["stage2", "stage4"]}).stages == ("stage2", "stage4")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "cosine", "dropout": 0.1}, "dropout"),
        ({"kind": "multilayer"}, "stages"),
        ({"kind": "multilayer", "stages": []}, "at least 1 item"),
        ({"kind": "multilayer", "stages": ["stem", "stage4"]}, "stage1"),
        ({"kind": "multilayer", "stages": ["stage3", "stage3"]}, "'stage3' is listed twice"),
    ],
)
def test_a_head_that_means_nothing_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(HeadChoice).validate_json(json.dumps(keys))
