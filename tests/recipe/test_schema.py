"""The typed recipe as Python sees it: defaults, rules over several sections, and its JSON schema."""

import json
import re
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from finetune.recipe import backbones, cifar
from finetune.recipe.dataset import FolderData
from finetune.recipe.network import BackboneChoice, Random
from finetune.recipe.schedule import PhaseChoice
from finetune.recipe.schema import Recipe, json_schema
from finetune.recipe.section import STAGES, Section
from tests.recipe.toys import recipe

PROBE, LP_FT, AUTO = ({"kind": kind} for kind in ("probe", "lp_ft", "auto"))
LAST = ["stage4", "head"]
RANDOM = {"name": "resnet50", "weights": {"kind": "random"}}


def test_every_section_but_data_and_backbone_has_defaults() -> None:
    assert [name for name, field in Recipe.model_fields.items() if field.is_required()] == ["name", "data", "backbone"]
    made = recipe()
    assert made.train.optimizer.kind == "adamw"
    assert made.images.contract == "train"
    assert made.head is None
    assert (made.train.views, made.train.activations) == (None, "float16")


def test_a_recipe_can_be_made_in_python() -> None:
    made = Recipe(
        name="x",
        data=FolderData(root="photos"),
        backbone=BackboneChoice(name="test_resnet", weights=Random()),
    )
    assert made == recipe(backbone={"name": "test_resnet", "weights": {"kind": "random"}})


@pytest.mark.parametrize(
    "keys",
    [
        {"split": {"kind": "given", "test": "val"}},
        {"split": {"kind": "given", "validation": "val"}, "train": {"patience": 3}},
        {"split": {"kind": "stratified", "validation": 0, "test": 0}},
        {"train": {"patience": 19}},
        {"train": {"rate": {"kind": "steps", "at": [2, 19]}}},
        {"train": {"rate": {"kind": "steps", "at": [10], "factor": [0.5]}, "warmup": 0.5}},
        {"train": {"rate": {"kind": "plateau", "patience": 16}}},
        {"train": {"rate": {"kind": "plateau", "patience": 18}, "warmup": 0}},
        {"train": {"rate": {"kind": "plateau", "patience": 4}, "patience": 5, "best": "accuracy"}},
        {"split": {"kind": "stored", "of": "runs/x/1"}, "train": {"best": "last", "rate": {"kind": "plateau"}}},
        {"schedule": AUTO, "train": {"rate": {"kind": "constant"}}},
        {"schedule": {"kind": "full"}, "train": {"batch_norm": "batch"}},
        {"schedule": {"kind": "full"}, "train": {"batch_norm": "pretrained", "batch_size": 1}},
        {"backbone": {"name": "resnet50", "weights": {"kind": "random"}}, "train": {"batch_size": 1}},
        {"images": {"augment": {"kind": "none", "flip": True}}},
        {"images": {"mean": [0, 0.5, 1], "std": [0.1, 0.5, 1]}},
        {"images": {"contract": "test"}},
        {"images": {"contract": "test", "size": 224}},
        {"images": {"contract": "test", "fit": "pad"}},
        {"data": {"root": "photos", "pool": True}, "split": {"kind": "stratified"}},
        {"backbone": {"name": "mobilenetv2_035", "weights": {"kind": "file", "path": "w.pth"}}},
        {"backbone": {"name": "resnet50_clip"}, "images": {"size": 224}},
        {"schedule": PROBE, "split": {"kind": "stratified", "validation": 0}},
        {"schedule": PROBE, "head": {"kind": "linear", "dropout": 0}},
        {"schedule": PROBE, "head": {"kind": "cosine"}},
        {"schedule": PROBE, "head": {"kind": "multilayer", "stages": ["stage2"]}},
        {"schedule": PROBE, "train": {"views": 8, "batch_size": 1}},
        {"schedule": PROBE, "train": {"views": 1}, "images": {"augment": {"kind": "none", "flip": False}}},
        {"schedule": PROBE, "train": {"views": 2}, "images": {"augment": {"kind": "none", "flip": True}}},
        {"schedule": LP_FT, "train": {"views": 8, "label_smoothing": 0.1, "balance": "weights"}},
        {"schedule": {**LP_FT, "train": LAST}, "train": {"activations": "int8"}},
        {"schedule": LP_FT, "split": {"kind": "stratified"}, "train": {"patience": 9}},
        {"schedule": AUTO, "backbone": RANDOM, "train": {"batch_size": 2}},
        {"schedule": AUTO, "train": {"batch_norm": "batch", "activations": "int8", "views": 4}},
        {"schedule": {**AUTO, "candidates": [{"name": "resnet50", "weights": {"kind": "random"}}]}},
        {"schedule": {**AUTO, "candidates": [{"name": "resnet50_clip"}]}, "images": {"size": 224}},
        {"schedule": {"kind": "head"}, "train": {"views": 8}},
        {"schedule": {"kind": "gradual"}, "train": {"views": 8, "activations": "float32"}},
        {"schedule": {"kind": "head"}, "head": {"kind": "multilayer", "stages": ["stage1"]}, "train": {"views": 8}},
        {"schedule": {"kind": "full"}, "head": {"kind": "multilayer", "stages": ["stage1", "stage4"]}},
        {"schedule": {"kind": "head"}, "head": {"kind": "multilayer", "stages": ["stage2"]}},
    ],
)
def test_combinations_that_mean_something_are_allowed(keys: dict[str, Any]) -> None:
    assert recipe(**keys)


WITHOUT_STEPS = "schedule 'probe' takes no gradient steps"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"schedule": PROBE, "head": {"kind": "mlp"}}, "schedule 'probe' cannot fit an mlp; choose linear"),
        ({"schedule": LP_FT, "head": {"kind": "mlp"}}, "schedule 'lp_ft' cannot fit an mlp; choose linear"),
        (
            {"schedule": AUTO, "head": {"kind": "mlp"}},
            r"^1 validation error for Recipe\n  schedule 'auto' chooses the head itself; leave head out \[",
        ),
        ({"schedule": AUTO, "head": {"kind": "linear"}}, "schedule 'auto' chooses the head itself"),
        (
            {"schedule": PROBE, "head": {"kind": "linear", "dropout": 0.1}},
            "the head of schedule 'probe' is fitted, and has none",
        ),
        (
            {"schedule": LP_FT, "head": {"kind": "linear", "dropout": 0.1}},
            "the head of schedule 'lp_ft' is fitted, and has none",
        ),
        ({"schedule": PROBE, "train": {"balance": "weights"}}, f"balance has no effect: {WITHOUT_STEPS}"),
        ({"schedule": PROBE, "train": {"optimizer": {"kind": "sgd"}}}, f"optimizer has no effect: {WITHOUT_STEPS}"),
        ({"schedule": PROBE, "train": {"label_smoothing": 0.1}}, f"label_smoothing has no effect: {WITHOUT_STEPS}"),
        ({"schedule": PROBE, "train": {"warmup": 0.2}}, f"warmup has no effect: {WITHOUT_STEPS}"),
        ({"schedule": PROBE, "train": {"precision": "bf16"}}, f"precision has no effect: {WITHOUT_STEPS}"),
        ({"schedule": PROBE, "train": {"clip_norm": None}}, f"clip_norm has no effect: {WITHOUT_STEPS}"),
        ({"schedule": PROBE, "train": {"batch_norm": "batch"}}, "a backbone that is frozen whole keeps its statistics"),
        ({"schedule": PROBE, "train": {"patience": 3}}, "schedule 'probe' has no phase that it could end"),
        ({"schedule": AUTO, "train": {"patience": 3}}, "schedule 'auto' has no phase that it could end"),
        ({"schedule": LP_FT, "train": {"patience": 3}}, "'lp_ft' holds out no validation images unless split says so"),
        ({"schedule": PROBE, "train": {"activations": "int8"}}, "activations has no effect: maps are kept where"),
        ({"schedule": LP_FT, "train": {"activations": "int8"}}, "activations has no effect: maps are kept where"),
        ({"schedule": {"kind": "stages", "train": LAST}, "train": {"activations": "int8"}}, "unless train.views says"),
        ({"schedule": {"kind": "full"}, "train": {"views": 2}}, "views has no effect: every phase trains the stem"),
        (
            {
                "schedule": {"kind": "stages", "train": LAST},
                "head": {"kind": "multilayer", "stages": ["stage2", "stage4"]},
                "train": {"views": 2},
            },
            "views has no effect: the head sees stages below those that train",
        ),
        (
            {"schedule": PROBE, "train": {"views": 2}, "images": {"augment": {"kind": "none", "flip": False}}},
            "views has no effect: images.augment varies nothing",
        ),
        (
            {"schedule": {"kind": "full"}, "head": {"kind": "multilayer", "stages": ["stage2", "stage1"]}},
            "the head sees nothing above stage2, so training stage3 and stage4 has no effect; add stage4 to stages",
        ),
        ({"schedule": AUTO, "backbone": RANDOM, "train": {"batch_size": 1}}, "random weights need a batch_size of"),
        ({"schedule": {**AUTO, "candidates": [{"name": "resnet50"}]}}, "is the recipe's own, which is tried first"),
        (
            {"schedule": {**AUTO, "candidates": [{"name": "resnet50_clip"}]}, "images": {"size": 96}},
            "backbone 'resnet50_clip' takes images of 224 pixels only",
        ),
    ],
)
def test_what_would_have_no_effect_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        recipe(**keys)


def test_what_enters_the_stages_that_train_can_be_kept_where_the_head_sees_nothing_else() -> None:
    phases = {stage: PhaseChoice(train=(*STAGES[place:],), epochs=1, lr=0.1) for place, stage in enumerate(STAGES)}
    plain, several = recipe(), recipe(head={"kind": "multilayer", "stages": ["stage3", "stage4"]})
    assert [stage for stage, phase in phases.items() if plain.keeps(phase)] == list(STAGES[1:])
    assert [stage for stage, phase in phases.items() if several.keeps(phase)] == ["head"]


def test_the_rules_of_a_pair_name_the_pair() -> None:
    with pytest.raises(ValidationError, match="their sum has to be below 1"):
        recipe(split={"kind": "stratified", "validation": 0.5, "test": 0.5})
    with pytest.raises(ValidationError, match="their sum has to be below 1"):
        recipe(split={"kind": "grouped", "validation": 0.5, "test": 0.5})


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "not a regular expression: missing ), unterminated subpattern at position 0; such as"),
        ("x*", "a pattern that matches nothing at all names no group"),
        ("x" * 201, "a pattern has at most 200 characters, not 201"),
    ],
)
def test_a_pattern_of_groups_can_be_searched(pattern: str, message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        recipe(split={"kind": "grouped", "pattern": pattern})


def test_patience_may_rest_on_a_stored_split() -> None:
    assert recipe(split={"kind": "stored", "of": "runs/x/1"}, train={"patience": 3}).train.patience == 3


def test_the_json_schema_is_what_an_editor_needs() -> None:
    schema = json_schema()
    assert schema["required"] == ["data", "backbone"]
    assert schema["additionalProperties"] is False
    names, others = schema["$defs"]["BackboneChoice"]["properties"]["name"]["anyOf"]
    assert "resnet50" in names["enum"]
    assert set(names["enum"]) == set(backbones.names())
    assert all(re.match(others["pattern"], name) for name in (*cifar.names(), "cifar_resnet26", "cifar_resnetv2_38"))
    assert not any(re.match(others["pattern"], name) for name in ("cifar_resnet", "cifar_resnet20x", "cifar_plain20_b"))
    assert schema["properties"]["schedule"]["discriminator"]["propertyName"] == "kind"
    assert json.loads(json.dumps(schema)) == schema


def sections(section: type[BaseModel] = Section) -> list[type[BaseModel]]:
    return [one for inner in section.__subclasses__() for one in (inner, *sections(inner))]


def test_every_section_says_what_it_is_and_refuses_what_it_does_not_know() -> None:
    for section in sections():
        if section.__module__ in {f"finetune.recipe.{name}" for name in ("schema", "splits", "schedule", "network")}:
            assert section.__doc__, section
            assert section.model_config["extra"] == "forbid"
            assert section.model_config["strict"]
            assert section.model_config["frozen"]
