"""The typed recipe as Python sees it: defaults, rules over several sections, and its JSON schema."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from finetune.recipe import backbones
from finetune.recipe.network import BackboneChoice, Hub, Random
from finetune.recipe.schema import FolderData, Recipe, json_schema
from finetune.recipe.section import Section


def recipe(**keys: Any) -> Recipe:
    given = {"name": "x", "data": {"root": "photos"}, "backbone": {"name": "resnet50"}, **keys}
    return Recipe.model_validate_json(json.dumps(given))


def test_every_section_but_data_and_backbone_has_defaults() -> None:
    assert [name for name, field in Recipe.model_fields.items() if field.is_required()] == ["name", "data", "backbone"]
    made = recipe()
    assert made.train.optimizer.kind == "adamw"
    assert made.images.contract == "train"
    assert made.head.kind == "linear"


def test_a_recipe_can_be_made_in_python() -> None:
    made = Recipe(
        name="x",
        data=FolderData(root="photos"),
        backbone=BackboneChoice(name="test_resnet", weights=Random()),
    )
    assert made == recipe(backbone={"name": "test_resnet", "weights": {"kind": "random"}})


def test_the_tag_is_that_of_the_hub() -> None:
    assert recipe(backbone={"name": "resnet50", "weights": {"kind": "hub", "tag": "tv_in1k"}}).backbone.tag == "tv_in1k"
    assert BackboneChoice(name="resnet50", weights=Hub()).tag is None
    assert BackboneChoice(name="resnet50", weights=Random()).tag is None


@pytest.mark.parametrize(
    "keys",
    [
        {"split": {"kind": "given", "test": "val"}},
        {"split": {"kind": "given", "validation": "val"}, "train": {"patience": 3}},
        {"split": {"kind": "stratified", "validation": 0, "test": 0}},
        {"train": {"patience": 19}},
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
    ],
)
def test_combinations_that_mean_something_are_allowed(keys: dict[str, Any]) -> None:
    assert recipe(**keys)


def test_the_rules_of_a_pair_name_the_pair() -> None:
    with pytest.raises(ValidationError, match="their sum has to be below 1"):
        recipe(split={"kind": "stratified", "validation": 0.5, "test": 0.5})


def test_the_json_schema_is_what_an_editor_needs() -> None:
    schema = json_schema()
    assert schema["required"] == ["data", "backbone"]
    assert schema["additionalProperties"] is False
    assert "resnet50" in schema["$defs"]["BackboneChoice"]["properties"]["name"]["enum"]
    assert set(schema["$defs"]["BackboneChoice"]["properties"]["name"]["enum"]) == set(backbones.names())
    assert schema["properties"]["schedule"]["discriminator"]["propertyName"] == "kind"
    assert json.loads(json.dumps(schema)) == schema


def sections(section: type[BaseModel] = Section) -> list[type[BaseModel]]:
    return [one for inner in section.__subclasses__() for one in (inner, *sections(inner))]


def test_every_section_says_what_it_is_and_refuses_what_it_does_not_know() -> None:
    for section in sections():
        if section.__module__ in ("finetune.recipe.schema", "finetune.recipe.schedule"):
            assert section.__doc__, section
            assert section.model_config["extra"] == "forbid"
            assert section.model_config["strict"]
            assert section.model_config["frozen"]
