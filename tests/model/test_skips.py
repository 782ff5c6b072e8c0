"""Networks without their skip connections, against what their families say of themselves."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune.model import backbone
from finetune.model.skips import WithoutSkips, layers_behind

BLOCKS = {"BasicBlock", "Bottleneck", "PreActBasic", "PreActBottleneck", "ConvNeXtBlock", "NormFreeBlock"}


def without(network: nn.Module, size: int = 64) -> tuple[int, Tensor]:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with WithoutSkips(images) as skips, torch.no_grad():
        left = network(images)
    return skips.skips, left


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", 17),
        ("resnet50", 49),
        ("resnetv2_50", 49),
        ("convnext_atto", 40),
        ("regnetx_002", 40),
        ("seresnet18", 33),
        ("nfnet_l0", 77),
    ],
)
def test_every_residual_block_loses_one_summand(name: str, layers: int) -> None:
    network = timm.create_model(name, num_classes=0)
    skips, left = without(network)
    assert skips == sum(type(module).__name__ in BLOCKS for module in network.modules())
    assert layers_behind(left) == layers


def test_of_blocks_that_have_no_skip_none_is_lost() -> None:
    network = timm.create_model("efficientnet_b0", num_classes=0)
    assert without(network)[0] == sum(getattr(module, "has_skip", False) for module in network.modules()) == 9


@pytest.mark.parametrize("name", ["densenet121", "vgg11_bn"])
def test_a_network_that_adds_nothing_loses_nothing_and_is_unchanged(name: str) -> None:
    network = timm.create_model(name, num_classes=0).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = network(images)
        with WithoutSkips(images) as skips:
            assert torch.equal(network(images), expected)
    assert skips.skips == 0


@pytest.mark.parametrize(("residual", "skips", "depth"), [("cifar_resnet20", 9, 19), ("cifar_resnet20_b", 9, 19)])
def test_a_residual_network_without_skips_is_the_plain_one(residual: str, skips: int, depth: int) -> None:
    network = backbone.build(residual).module
    plain = backbone.build("cifar_plain20").module
    state = {name: tensor for name, tensor in network.state_dict().items() if ".shortcut." not in name}
    plain.load_state_dict(state)
    removed, left = without(network, 32)
    assert (removed, layers_behind(left)) == (skips, depth)
    assert torch.equal(left, without(plain, 32)[1])
    assert without(plain, 32)[0] == 0


def test_gradients_are_those_of_the_network_without_them() -> None:
    network = backbone.build("cifar_resnet8").module
    plain = backbone.build("cifar_plain8").module
    plain.load_state_dict(copy.deepcopy(network.state_dict()))
    images = torch.randn(4, 3, 32, 32)
    plain(images).square().sum().backward()
    with WithoutSkips(images):
        left = network(images)
    left.square().sum().backward()
    expected = dict(plain.named_parameters())
    assert all(torch.equal(one.grad, expected[name].grad) for name, one in network.named_parameters())


class Written(nn.Module):
    """A block written in one of many ways, on 3 channels."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.scale = how, nn.Parameter(torch.ones(1, 3, 8, 8))
        self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        match self.how:
            case "plus":
                return x + self.one(x)
            case "in place":
                y = self.one(x)
                y += x
                return y
            case "in place, the short one first":
                y = x * 1
                y += self.one(x)
                return y
            case "function":
                return torch.add(self.one(x), x)
            case "projected":
                return self.two(self.one(x)) + functional.avg_pool2d(self.one(x), 1)
            case "as long":
                return self.one(x) + self.two(x)
            case "a constant":
                return self.one(x) + self.scale
            case "a number":
                return self.one(x) + 1
            case "another shape":
                return self.one(x) + x.mean((2, 3), keepdim=True)
            case _:
                return torch.stack([x, self.one(x)]).sum(0)


@pytest.mark.parametrize("how", ["plus", "in place", "in place, the short one first", "function", "projected"])
def test_a_sum_with_what_came_a_shorter_way_loses_it(how: str) -> None:
    block = Written(how)
    images = torch.randn(2, 3, 8, 8)
    longer = block.one(images) if how != "projected" else block.two(block.one(images))
    with WithoutSkips(images) as skips:
        left = block(images)
    assert skips.skips == 1
    assert torch.equal(left, longer)
    assert torch.equal(block(images), Written.forward(block, images))  # outside it is as ever


@pytest.mark.parametrize("how", ["as long", "a constant", "a number", "another shape", "stacked"])
def test_other_sums_stay(how: str) -> None:
    block = Written(how)
    images = torch.randn(2, 3, 8, 8)
    expected = block(images)
    with WithoutSkips(images) as skips:
        assert torch.equal(block(images), expected)
    assert skips.skips == 0


def test_what_does_not_come_from_the_images_has_no_layers_behind_it() -> None:
    images = torch.randn(1, 3, 8, 8)
    with WithoutSkips(images):
        elsewhere = torch.from_numpy(images.numpy().copy()) * 2
    assert layers_behind(images) == 0
    assert layers_behind(elsewhere) is None
