import re

import pytest

from finetune.recipe import backbones, family


def test_every_family_has_members_that_can_be_used_and_no_pattern_is_shadowed() -> None:
    for one in family.FAMILIES:
        fitting = [name for name in backbones.names() if re.fullmatch(one.pattern, name)]
        assert fitting, one.key
        assert {family.of(name) for name in fitting} == {one.key}
    keys = [one.key for one in family.FAMILIES]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("resnet50", "v1"),
        ("resnet50d", "v1d"),
        ("resnet10t", "v1d"),
        ("resnetv2_50", "v2"),
        ("resnetv2_50x1_bit", "bit"),
        ("wide_resnet50_2", "wide"),
        ("seresnext50_32x4d", "se"),
        ("legacy_seresnet18", "se"),
        ("resnext50_32x4d", "resnext"),
        ("ecaresnetlight", "eca"),
        ("eca_resnet33ts", "eca"),
        ("resnest14d", "resnest"),
        ("resnetrs50", "rs"),
        ("densenet121", "densenet"),
        ("regnetx_002", "regnet"),
        ("convnext_tiny", None),
        ("resnet50_mlp", None),
    ],
)
def test_names_tell_the_family(name: str, key: str | None) -> None:
    assert family.of(name) == backbones.entry(name).family == key


def test_families_are_listed_in_order_each_from_small_to_large() -> None:
    chosen = ("convnext_tiny", "densenet121", "resnet50", "tresnet_m", "resnet18", "resnet101")
    assert backbones.grouped(chosen) == (
        "resnet18", "resnet50", "resnet101", "densenet121", "convnext_tiny", "tresnet_m",
    )  # fmt: skip
