import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from finetune.errors import BrokenInstallation, RecipeError, UsageError
from finetune.model import backbone
from finetune.model.backbone import InputContract
from finetune.model.cut import STAGES
from finetune.model.pooling import pooled
from finetune.model.running import MAP
from finetune.recipe.images import Images
from tests.model.test_cut import InPlaceModule, of

# Cut into five stages, and run onward from every cut exactly as the whole.
EXACT = """
convnext_atto convnextv2_atto cs3darknet_s cspresnet50 densenet121 dla46_c ecaresnet26t edgenext_xx_small
efficientnet_b0 ese_vovnet19b_slim_dw ghostnet_050 hgnetv2_b0 lcnet_050 mnasnet_small mobilenetv2_050
mobilenetv3_small_050 mobilenetv4_conv_small_035 nfnet_l0 regnetx_002 regnety_002 repvgg_a0 res2net50_48w_2s
resnest14d resnet18 resnet26d resnet50 resnetrs50 resnetv2_50 resnext50_32x4d rexnet_100 seresnet50 skresnet18
starnet_s050 test_byobnet test_convnext test_convnext2 test_convnext3 test_efficientnet test_efficientnet_evos
test_efficientnet_gn test_efficientnet_ln test_nfnet test_resnet tf_efficientnet_lite0 tinynet_e wide_resnet50_2
"""
# Refused as a whole: several resolutions side by side, activations between stages, no stages, strides of 16 only.
REFUSED = {
    "hrnet_w18_small": "which are not four modules",
    "legacy_xception": "its stage1 holds no tensors",
    "selecsls42": "what leaves its stem is no map",
    "test_coatnet": "tensors whose module never ran",
    "test_mambaout": r"no map \(images, channels, height, width\) but \(2, 40, 40, 16\)",
    "test_vit": "its stages have strides 16",
    "vgg11": "its stage1 holds no tensors",
    "xception41": "its stage1 holds no tensors",
}


pytestmark = pytest.mark.usefixtures("one_thread")


def images(count: int = 2, size: int = 64) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("name", EXACT.split())
def test_every_tensor_is_in_one_stage_and_the_network_runs_onward_from_every_cut(name: str) -> None:
    network = backbone.build(name)
    module = network.module
    assert set(network.tensors) == {key for key, _ in (*module.named_parameters(), *module.named_buffers())}
    assert set(network.tensors.values()) == set(STAGES) == set(network.stages)
    assert network.module_stage == {one: stage for stage in STAGES for one in network.stages[stage]}
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    module.eval()
    with torch.no_grad():
        whole = module(images())
        assert whole.shape == (2, network.features)
        for stage in STAGES:
            activation = network.upto(stage)(images())
            assert activation.shape[1] == network.channels[stage]
            if stage != "stage4":
                assert activation.shape[2:] == (64 // network.strides[stage], 64 // network.strides[stage])
            assert torch.equal(network.onward(stage)(activation), whole)
    assert all(torch.equal(tensor, before[key]) for key, tensor in module.state_dict().items())


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "test_byobnet", "test_nfnet"])
def test_gradients_reach_the_stages_after_a_cut_and_no_others(name: str) -> None:
    network = backbone.build(name)
    for position, stage in enumerate(STAGES[:-1]):
        network.module.zero_grad(set_to_none=True)
        activation = network.upto(stage)(images()).detach()
        network.onward(stage)(activation).square().sum().backward()
        reached = {key for key, parameter in network.module.named_parameters() if parameter.grad is not None}
        after = {key for key, _ in network.module.named_parameters() if network.tensors[key] in STAGES[position + 1 :]}
        assert reached == after


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_cannot_be_cut_is_refused_with_the_families_that_can(name: str) -> None:
    with pytest.raises(RecipeError, match="cannot be cut into stages; networks with stages at strides 4, 8, 16 and 32"):
        backbone.build(name)
    with pytest.raises(UsageError, match=f"backbone '{name}' cannot be cut into stages: .*{REFUSED[name]}"):
        backbone.find_cut(name, size=160)


def test_a_cut_that_a_network_cannot_run_onward_from_is_refused() -> None:
    network = backbone.build("xception41p")  # its cuts lie inside blocks, beside which a shortcut runs
    assert network.upto("stage3")(images()).shape[1] == network.channels["stage3"]
    with pytest.raises(
        UsageError, match=r"backbone 'xception41p': the network cannot run onward from stage3: it fails \("
    ):
        network.onward("stage3")


def test_training_the_network_shows_in_both_parts() -> None:
    network = backbone.build("test_resnet")
    upto, onward = network.upto("stage2"), network.onward("stage2")
    network.module.eval()
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.mul_(1.5)
        assert torch.equal(onward(upto(images())), network.module(images()))


def test_onward_in_training_mode_moves_the_statistics_of_later_stages_only() -> None:
    network = backbone.build("test_resnet")
    network.module.train()
    before = {key: buffer.clone() for key, buffer in network.module.named_buffers()}
    network.onward("stage2")(torch.randn(4, network.channels["stage2"], 4, 4))
    moved = {
        network.tensors[key] for key, buffer in network.module.named_buffers() if not torch.equal(buffer, before[key])
    }
    assert moved == {"stage3", "stage4"}


def test_an_unknown_stage_is_refused_with_the_choices() -> None:
    network = backbone.build("test_resnet")
    with pytest.raises(UsageError, match="no stage 'stage5'; did you mean 'stage4'"):
        network.upto("stage5")
    with pytest.raises(UsageError, match="no stage 'head'; choose from stem, stage1, stage2, stage3, stage4"):
        network.onward("head")


def test_building_leaves_the_random_numbers_of_others_alone_and_is_the_same_every_time() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = backbone.build("test_resnet").module.state_dict()
    assert torch.equal(torch.rand(3), expected)
    second = backbone.build("test_resnet").module.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_contract_is_that_of_the_tag_in_training_or_in_its_test() -> None:
    half = (0.5, 0.5, 0.5)
    assert backbone.build("test_resnet").contract == InputContract(160, 0.95, "bilinear", half, half)
    trained = backbone.build("mobilenetv4_conv_small").contract
    tested = backbone.build("mobilenetv4_conv_small", contract="test").contract
    assert (trained.size, trained.crop_pct) == (224, 0.875)
    assert (tested.size, tested.crop_pct) == (256, 0.95)
    assert backbone.build("mobilenetv4_conv_small", size=96, contract="test").contract.size == 96


def test_a_name_a_tag_or_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(RecipeError, match="is not the name of a backbone"):
        backbone.build("hf-hub:evil/x")
    with pytest.raises(RecipeError, match="unknown tag 'v1' of backbone 'test_resnet'"):
        backbone.build("test_resnet", tag="v1")
    with pytest.raises(UsageError, match="takes images of 224 pixels only, not of 64"):
        backbone.build("resnet50_clip", size=64)
    with pytest.raises(UsageError, match="backbone 'inception_v3' takes no images of 32 pixels"):
        backbone.build("inception_v3", size=32)


def test_a_network_that_the_installed_timm_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone.library(), "is_model", lambda name: False)
    with pytest.raises(UsageError, match=r"the installed timm \S+ has no backbone 'test_resnet'; timm \S+ has"):
        backbone.build("test_resnet")


def test_the_classifiers_tensors_are_those_that_a_network_without_one_lacks() -> None:
    assert backbone.classifier_tensors("resnet18") == ("fc.weight", "fc.bias")
    assert backbone.classifier_tensors("test_convnext") == ("head.fc.weight", "head.fc.bias")


def test_builds_of_torch_and_torchvision_that_do_not_fit_become_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm")
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    with pytest.raises(BrokenInstallation) as caught:
        backbone.library()
    message = str(caught.value)
    assert message.startswith("torch 2.13.0+cpu and torchvision ")
    assert message.endswith("from the same index: pip install --force-reinstall torch torchvision")
    assert caught.value.exit_code == 6


def test_another_failure_of_timm_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('something else')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm")
    with pytest.raises(RuntimeError, match="something else"):
        backbone.library()


def test_importing_the_module_does_not_import_timm() -> None:
    code = "import sys; import finetune.model.backbone; assert 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_both_parts_are_modules_that_share_the_networks_parameters() -> None:
    network = backbone.build("test_resnet")
    parts: tuple[nn.Module, ...] = (network.upto("stage4"), network.onward("stem"))
    own = {id(parameter) for parameter in network.module.parameters()}
    assert all({id(parameter) for parameter in part.parameters()} <= own for part in parts)


def test_preprocessing_is_that_of_the_weights_but_for_what_the_recipe_says() -> None:
    contract = InputContract(size=224, crop_pct=0.875, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
    plain = contract.preprocessing(Images())
    assert (plain.size, plain.working, plain.interpolation) == (224, 256, "bicubic")
    small = contract.preprocessing(Images(size=64, fit="pad", mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1)))
    assert (small.size, small.working, small.mean, small.std) == (64, 64, (0.1, 0.2, 0.3), (0.3, 0.2, 0.1))


@pytest.mark.parametrize("name", ["test_resnet", "densenet121", "mobilenetv3_small_050"])
def test_features_of_several_stages_stand_side_by_side_in_the_order_of_stages(name: str) -> None:
    network = backbone.build(name)
    network.module.eval()
    with torch.no_grad():
        both = network.extractor(("stage4", "stage2"))(images())
        assert torch.equal(both[:, network.channels["stage2"] :], network.module(images()))
        lower = network.upto("stage2")(images()).mean((2, 3))
    assert torch.equal(both[:, : network.channels["stage2"]], lower)
    assert both.shape == (2, network.width(("stage2", "stage4")))


def test_a_pool_applies_to_every_stage_after_stage4_to_the_map_before_pooling() -> None:
    network = backbone.build("mobilenetv3_small_050")  # its features are made by a layer behind the pooling
    network.module.eval()
    with torch.no_grad():
        map = network.module.forward_features(images())  # type: ignore[operator]
        found = network.extractor(("stage3", "stage4"), "gem")(images())
        assert torch.equal(found[:, network.channels["stage3"] :], pooled(map, "gem"))
        assert torch.equal(network.extractor(pool="none")(images()), map)
    assert network.width(pool="gem") == 288
    assert network.width() == network.features == 1024
    assert found.shape == (2, network.width(("stage4", "stage3"), "gem"))


def test_features_are_float32_in_reduced_precision_too() -> None:
    network = backbone.build("test_resnet")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert network.extractor(("stage1", "stage4"))(images()).dtype == torch.float32
        assert network.extractor()(images()).dtype == torch.float32


@pytest.mark.parametrize(
    ("stages", "pool", "reason"),
    [
        ((), None, "stages are empty; name one"),
        (("stage4", "stage4"), None, "stages are stage4, stage4; name one, or several that are all different"),
        (("stage9",), None, "no stage 'stage9'"),
        (("stage4",), "max", "no pool 'max'; choose from avg, avgmax, gem, none"),
        (("stage3", "stage4"), "none", "pool 'none' gives the map of one stage"),
    ],
)
def test_features_that_cannot_be_are_refused(stages: tuple[str, ...], pool: str | None, reason: str) -> None:
    network = backbone.build("test_resnet")
    with pytest.raises(UsageError, match=reason):
        network.extractor(stages, pool)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=reason):
        network.width(stages, pool)  # type: ignore[arg-type]


def test_stages_that_one_pass_cannot_give_are_refused_with_the_networks_name() -> None:
    toy = InPlaceModule()
    network = dataclasses.replace(backbone.build("test_resnet", size=64), module=toy, cut=of(toy))
    with pytest.raises(UsageError, match="backbone 'test_resnet': the network cannot give stage1 and stage4 in one"):
        network.extractor(("stage1", "stage4"))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "mobilenetv3_small_050"])
def test_the_shape_of_what_leaves_a_stage_is_known_without_running_it(name: str) -> None:
    network = backbone.build(name)
    network.module.eval()
    with torch.no_grad():
        found = network.taps([*STAGES, MAP])(images(1, 72))
    assert {tap: network.shape(tap, size=72) for tap in found} == {
        tap: tuple(one.shape[1:]) for tap, one in found.items()
    }


def test_the_fingerprint_is_that_of_names_and_values_up_to_a_stage() -> None:
    network, again = backbone.build("test_resnet"), backbone.build("test_resnet")
    assert network.fingerprint() == again.fingerprint()
    again.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert network.fingerprint() == again.fingerprint()
    name = next(name for name, stage in network.tensors.items() if stage == "stage3")
    with torch.no_grad():
        again.module.get_parameter(name).view(-1)[0] += 1
    assert network.fingerprint("stage2") == again.fingerprint("stage2")
    assert len({network.fingerprint("stage3"), again.fingerprint("stage3"), network.fingerprint()}) == 3


def test_the_fingerprint_can_be_made_by_hand_and_counters_have_no_say_in_it() -> None:
    network = backbone.build("test_resnet")
    digest = hashlib.sha256()
    for name, tensor in network.module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(1000)
        else:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode() + tensor.numpy().tobytes())
    assert network.fingerprint() == digest.hexdigest()


@pytest.mark.parametrize(
    ("name", "depthwise"), [("resnet18", False), ("resnext50_32x4d", False), ("mobilenetv3_small_050", True)]
)
def test_a_backbone_knows_whether_it_convolves_channel_by_channel(name: str, depthwise: bool) -> None:
    assert backbone.build(name).depthwise == depthwise
