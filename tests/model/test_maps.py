import copy
import io
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import finetune
from finetune import job
from finetune.data.decode import working_image
from finetune.errors import BundleError, UsageError
from finetune.model import backbone as networks
from finetune.model.cut import STAGES
from finetune.model.maps import Maps
from finetune.predict import from_bundle
from finetune.recipe.images import Images
from finetune.recipe.network import Random
from finetune.views import evaluation_view
from tests.conftest import draw_classes
from tests.laws import Crash, CutAfter

Write = Callable[..., Path]
RANDOM = {"kind": "random"}


pytestmark = pytest.mark.usefixtures("one_thread")


def of(name: object = "test_resnet", **settings: object) -> Maps:
    return finetune.backbone(name, **{"weights": RANDOM, **settings})  # type: ignore[arg-type]


def images(height: int = 64, width: int = 96) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(3))


# what it gives


@pytest.mark.parametrize("name", ["test_resnet", "densenet121", "mobilenetv3_small_050", "test_convnext"])
def test_channels_and_strides_are_those_of_the_maps(name: str) -> None:
    backbone = of(name, stages=STAGES).eval()
    with torch.no_grad():
        maps = backbone(images())
    assert isinstance(maps, OrderedDict)
    assert list(maps) == list(backbone.channels) == list(backbone.strides) == list(STAGES)
    for stage, found in maps.items():
        stride = backbone.strides[stage]
        assert found.shape == (2, backbone.channels[stage], 64 // stride, 96 // stride)


def test_maps_have_the_names_that_they_are_given_in_the_order_of_the_network() -> None:
    backbone = of(stages={"stage4": "out", "stage3": "aux"}).eval()
    with torch.no_grad():
        assert list(backbone(images())) == list(backbone.channels) == ["aux", "out"]
    assert not hasattr(backbone, "out_channels")
    assert of(stages="stage3").out_channels == 192


def test_maps_are_those_that_features_has_of_the_same_image(tmp_path: Path) -> None:
    photo = draw_classes(tmp_path, {"a": 1}) / "a" / "000.png"
    stages = ("stage1", "stage3", "stage4")
    kept = finetune.features("test_resnet", photo, weights=RANDOM, size=64, stage=stages, pool="none").values
    pixels = networks.build("test_resnet", size=64).contract.preprocessing(Images(size=64))
    view = torch.from_numpy(evaluation_view(working_image(photo.read_bytes(), pixels), pixels)).permute(2, 0, 1)[None]
    backbone = of(stages=stages).eval()
    with torch.no_grad():
        live, again = backbone(view), backbone(view / 255)
    for stage in stages:
        assert torch.allclose(live[stage], torch.from_numpy(np.array(kept[stage])), atol=1e-5)  # type: ignore[call-overload]
        assert torch.allclose(again[stage], live[stage], atol=1e-4)


def test_a_bundle_gives_what_it_has_learnt(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    bundle = job.run(write_recipe(photos), output=tmp_path / "bundle")
    backbone = finetune.backbone(bundle.folder, stages="stage4").eval()
    trained = from_bundle(bundle)
    for name, tensor in backbone.network.state_dict().items():
        assert torch.equal(tensor, trained.backbone.state_dict()[name])
    assert not torch.equal(next(of().parameters()), next(backbone.parameters()))
    by_weights = of("test_resnet", weights={"kind": "bundle", "path": str(bundle.folder)}, stages="stage4").eval()
    with torch.no_grad():
        pooled = trained.eval().features(255 * images())
        assert torch.allclose(backbone(images())["stage4"].mean((2, 3)), pooled, atol=1e-4)
        assert torch.equal(by_weights(images())["stage4"], backbone(images())["stage4"])
    assert backbone.batch_norm == "pretrained"


def test_an_unfinished_bundle_is_refused(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    with pytest.raises(Crash):
        job.run(write_recipe(photos), output=tmp_path / "bundle", show=CutAfter(1))
    with pytest.raises(BundleError, match="not complete; `finetune resume"):
        finetune.backbone(tmp_path / "bundle")


def test_a_backbone_that_is_given_is_shared() -> None:
    network = networks.build("test_resnet")
    backbone = finetune.backbone(network)
    assert backbone.network is network.module
    assert backbone.batch_norm == "pretrained"
    with pytest.raises(UsageError, match="weights would have no effect"):
        finetune.backbone(network, weights=Random())


# what trains


def step(backbone: Maps) -> None:
    """Two steps on noise, after a parent has called `train` as the loops of others do. (In the first, blocks whose last
    scale begins at zero get no gradient.)
    """
    parent = nn.ModuleDict({"body": backbone}).eval().train()
    rates = torch.optim.Adam([one for one in parent.parameters() if one.requires_grad], lr=0.01)
    for _ in range(2):
        rates.zero_grad()
        torch.stack([one.square().mean() for one in backbone(images()).values()]).sum().backward()
        rates.step()


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
@pytest.mark.parametrize("batch_norm", ["pretrained", "batch"])
def test_a_frozen_stage_does_not_move_and_a_trained_one_does(name: str, batch_norm: str) -> None:
    backbone = of(name, frozen=("stem", "stage1"), batch_norm=batch_norm)
    before = copy.deepcopy(backbone.state_dict())
    step(backbone)
    parameters = {key for key, _ in backbone.named_parameters()}
    for key, tensor in backbone.state_dict().items():
        moved = not torch.equal(tensor, before[key])
        trains = backbone.stage_of(key) not in ("stem", "stage1")
        assert moved == (trains and (key in parameters or batch_norm == "batch")), key


def test_what_comes_after_the_last_stage_neither_runs_nor_trains() -> None:
    backbone = of(stages=("stage1", "stage2"))
    assert {backbone.stage_of(key) for key, one in backbone.named_parameters() if one.requires_grad} == {
        "stem", "stage1", "stage2",
    }  # fmt: skip
    before = copy.deepcopy(backbone.state_dict())
    step(backbone)
    for key, tensor in backbone.state_dict().items():
        if backbone.stage_of(key) in ("stage3", "stage4"):
            assert torch.equal(tensor, before[key])


def test_train_leaves_gradients_as_they_are_and_eval_is_for_all() -> None:
    backbone = of(frozen="stem")
    kept = next(backbone.network.layer4.parameters()).requires_grad_(False)
    backbone.train()
    assert not kept.requires_grad
    assert not any(module.training for module in backbone.modules_of("stem"))
    assert all(module.training for module in backbone.modules_of("stage4"))
    assert not any(module.training for module in backbone.eval().modules())


def test_statistics_follow_batches_of_random_weights_only() -> None:
    assert of().batch_norm == of(weights=Random()).batch_norm == "batch"
    network = networks.build("test_resnet")
    norms = [one for one in finetune.backbone(network).modules() if isinstance(one, nn.BatchNorm2d)]
    assert norms
    assert not any(one.training for one in norms)


# who normalises


def test_both_ways_of_normalising_give_the_same_maps() -> None:
    inside, outside = of().eval(), of(normalise=False).eval()
    mean, std = (torch.tensor(one).reshape(3, 1, 1) for one in (outside.image_mean, outside.image_std))
    assert (inside.image_mean, inside.image_std) == ((0, 0, 0), (1, 1, 1))
    assert outside.image_mean == networks.build("test_resnet").contract.mean
    with torch.no_grad():
        one, other = inside(images()), outside((images() - mean) / std)
    for stage in one:
        assert torch.allclose(one[stage], other[stage], atol=1e-4)


@pytest.mark.parametrize("name", ["test_resnet", "tf_efficientnet_lite0"])
def test_images_that_are_normalised_twice_are_refused(name: str) -> None:
    inside = of(name, stages="stage1")
    outside = of(name, stages="stage1", normalise=False)
    mean, std = (torch.tensor(one).reshape(3, 1, 1) for one in (outside.image_mean, outside.image_std))
    once = (images() - mean) / std
    with pytest.raises(UsageError, match=r"values from -.*itself normalises images in 0…1; give them as they are"):
        inside(once)
    with pytest.raises(UsageError, match=r"values from -.* when they are normalised once; subtract image_mean"):
        outside((once - mean) / std)
    for backbone in (inside, outside):
        with pytest.raises(UsageError, match=r"values from .* to 25"):
            backbone(255 * images())
    inside(images() * 1.4 - 0.2)  # what noise and interpolation leave


def test_images_of_other_numbers_are_refused_and_none_are_taken() -> None:
    with pytest.raises(UsageError, match="images are int64, and should be float in 0…1 or uint8"):
        of()(torch.ones(1, 3, 64, 64, dtype=torch.int64))
    with pytest.raises(UsageError, match="images are uint8, and should be normalised, hence float"):
        of(normalise=False)(torch.ones(1, 3, 64, 64, dtype=torch.uint8))
    assert of(stages="stage3").eval()(images()[:0])["stage3"].shape == (0, 192, 4, 6)


@pytest.mark.parametrize("shape", [(3, 64, 64), (2, 1, 64, 64), (2, 4, 64, 64)], ids=["one", "grey", "with alpha"])
@pytest.mark.parametrize("normalise", [True, False])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...], normalise: bool) -> None:
    with pytest.raises(UsageError) as caught:
        of(normalise=normalise)(torch.rand(shape))
    assert str(caught.value) == f"images are {shape}, and should be (n, 3, h, w): a batch of images in colour"


# what cannot be


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"name": "resnet_18"}, "resnet_18"),
        ({"weights": "random"}, "weights"),
        ({"weights": {"kind": "randon"}}, "random"),
        ({"stages": ("stage1", "stage9")}, "no stage 'stage9'"),
        ({"stages": ()}, "stages are empty; name one"),
        (
            {"stages": {"stage3": "out", "stage4": "out"}},
            "maps of stage3, stage4 are named out, out; name each its own",
        ),
        ({"frozen": "stage0"}, "no stage 'stage0'"),
        (
            {"stages": "stage2", "frozen": ("stem", "stage3")},
            "freezing stage3 would have no effect: nothing runs after",
        ),
        ({"batch_norm": "frozen"}, "no batch_norm 'frozen'; choose from pretrained, batch"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], reason: str) -> None:
    with pytest.raises((UsageError, finetune.FinetuneError), match=reason):
        of(**settings)  # type: ignore[arg-type]


# at work in the hands of others


def test_a_copy_and_a_pickled_one_are_whole_and_their_own() -> None:
    backbone = of(frozen="stem").eval()
    file = io.BytesIO()
    torch.save(backbone, file)
    file.seek(0)
    with torch.no_grad():
        expected = backbone(images())
        for other in (copy.deepcopy(backbone), torch.load(file, weights_only=False)):
            found = other(images())
            assert all(torch.equal(found[stage], expected[stage]) for stage in expected)
            for parameter in other.parameters():
                parameter.zero_()
            assert not torch.equal(other(images())["stage4"], expected["stage4"])
            assert not any(module.training for module in other.train().modules_of("stem"))
        assert torch.equal(backbone(images())["stage4"], expected["stage4"])


def test_the_state_dict_is_the_networks_and_can_be_loaded() -> None:
    backbone, other = of(), of()
    assert {key.partition(".")[0] for key in backbone.state_dict()} == {"network"}
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.mul_(1.1)
    other.load_state_dict(backbone.state_dict())
    assert torch.equal(other.eval()(images())["stage4"], backbone.eval()(images())["stage4"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_for_others_to_choose(dtype: torch.dtype) -> None:
    backbone = of().eval()
    with torch.no_grad():
        expected = backbone(images())
        with torch.autocast("cpu", dtype=dtype):
            found = backbone(images())
    for stage, one in found.items():
        assert torch.allclose(one.float(), expected[stage], atol=0.05, rtol=0.05)
