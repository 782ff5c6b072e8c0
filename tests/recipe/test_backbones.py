import json

import pytest

from finetune.errors import RecipeError
from finetune.recipe import backbones


def test_every_architecture_has_facts_that_make_sense() -> None:
    names = backbones.names()
    assert len(names) > 700
    assert list(names) == sorted(names)
    assert backbones.FILE.stat().st_size < 700_000
    table = json.loads(backbones.FILE.read_text(encoding="utf-8"))["backbones"]
    assert len(table) > 1_300
    for name in table:
        facts = backbones.entry(name)
        assert facts.cut == (name in names)
        assert facts.parameters > 0
        assert (facts.macs > 0) == (facts.features > 0) == facts.cut
        if facts.cut:
            assert facts.activations > 4 * 3 * facts.measured_at**2
            assert facts.measured_at in (224, facts.input_size)
        assert (facts.default_tag is None) == (not facts.tags) == (facts.untagged is not None)
        for tag in (facts.tag(), *facts.tags.values()):
            assert 0 < tag.crop_pct < 1.2  # above 1 for one transformer
            assert len(tag.mean) == len(tag.std) == 3


def test_the_file_is_one_architecture_a_line_with_sorted_keys() -> None:
    text = backbones.FILE.read_text(encoding="utf-8")
    table = json.loads(text)
    assert table["timm"] == backbones.version()
    assert len(text.splitlines()) == len(table["backbones"]) + 2
    assert json.dumps(table) == json.dumps(table, sort_keys=True)


def test_a_tag_says_what_its_weights_expect() -> None:
    facts = backbones.entry("resnet50")
    assert facts.tag("tv_in1k").interpolation == "bilinear"
    assert facts.tag("tv_in1k").hub == "timm/resnet50.tv_in1k"
    assert (facts.tag("a1h_in1k").input_size, facts.tag("a1h_in1k").test_input_size) == (176, 224)
    assert facts.default_tag == facts.tag().tag == "a1_in1k"
    assert backbones.entry("mobilenetv2_035").tag().tag is None


def test_names_are_found_by_part_and_by_pattern() -> None:
    assert backbones.find("resnet5?") == ("resnet50",)
    assert backbones.find("lite0") == ("efficientnet_lite0", "tf_efficientnet_lite0")
    assert backbones.find("tf_*lite0") == ("tf_efficientnet_lite0",)
    assert backbones.find("no such") == ()


@pytest.mark.parametrize(
    ("name", "tag", "message"),
    [
        ("resnt50", None, "unknown backbone 'resnt50'; did you mean 'resnet50'?"),
        ("qqqqqqqq", None, "unknown backbone 'qqqqqqqq'; `finetune backbones` lists them"),
        (
            "resnet50.tv_in1k",
            None,
            "'resnet50.tv_in1k' is the backbone 'resnet50' with a tag; "
            "write name: resnet50 and weights: {kind: hub, tag: tv_in1k}",
        ),
        ("resnt50.tv_in1k", None, "unknown backbone 'resnt50.tv_in1k'; did you mean 'resnet50'?"),
        (
            "test_resnet",
            "r160",
            "unknown tag 'r160' of backbone 'test_resnet'; did you mean 'r160_in1k'?; its tags: r160_in1k",
        ),
        ("mobilenetv2_035", "ra", "unknown tag 'ra': backbone 'mobilenetv2_035' has no pretrained weights"),
    ],
)
def test_a_name_or_tag_that_does_not_exist_is_refused(name: str, tag: str | None, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        backbones.check(name, tag)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "name",
    ["hf-hub:evil/x", "local-dir:/etc", "resnet18 ", "resnet18;ls", "../x", "", "Resnet18", "resnet18\n", "a.b.c"],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="is not the name of a backbone: only a-z, 0-9 and _ occur in one") as caught:
        backbones.check(name)
    assert str(caught.value).isprintable()


def test_a_backbone_that_cannot_be_cut_is_refused_with_the_families_that_can() -> None:
    with pytest.raises(RecipeError, match="backbone 'vit_tiny_patch16_224' cannot be cut into stages; networks with"):
        backbones.check_cut("vit_tiny_patch16_224")
    backbones.check_cut("resnet50")


def test_weights_that_the_hub_does_not_have_are_refused() -> None:
    assert backbones.repository("resnet50") == "timm/resnet50.a1_in1k"
    assert backbones.repository("resnet50", "tv_in1k") == "timm/resnet50.tv_in1k"
    with pytest.raises(RecipeError, match="backbone 'mobilenetv2_035' has no weights on the hub; give them as"):
        backbones.repository("mobilenetv2_035")
    with pytest.raises(RecipeError, match="backbone 'legacy_seresnet18' has no weights 'in1k' on the hub; give"):
        backbones.repository("legacy_seresnet18", "in1k")
