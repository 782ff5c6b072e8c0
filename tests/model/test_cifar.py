"""The networks made for CIFAR, against the papers: written out once more below, from their text, in functional form."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from finetune.errors import RecipeError, WeightsError
from finetune.model import backbone, weights
from finetune.model.cifar import CifarNet
from finetune.model.listing import Held
from finetune.recipe import backbones, cifar
from finetune.recipe.network import File

STAGES = ("stem", "stage1", "stage2", "stage3")
NAMES = ("cifar_resnet20", "cifar_resnet56", "cifar_resnet20_b", "cifar_plain20", "cifar_resnetv2_29")
State = Mapping[str, Tensor]


pytestmark = pytest.mark.usefixtures("one_thread")


def images(count: int = 3, size: int = 32) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(7))


# the papers, written out


def normalised(state: State, name: str, x: Tensor, *, training: bool) -> Tensor:
    mean, variance = state[f"{name}.running_mean"].clone(), state[f"{name}.running_var"].clone()
    return F.batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"], training=training)


def paper_v1(state: State, x: Tensor, *, n: int, shortcuts: bool, training: bool) -> Iterator[tuple[str, Tensor]]:
    """He et al. 2015, section 4.2 and option A of section 4.1: what leaves the first layer, every block, the pooling.

    "The first layer is 3 x 3 convolutions. Then we use a stack of 6n layers with 3 x 3 convolutions on the feature maps
    of sizes {32, 16, 8} respectively, with 2n layers for each feature map size. The numbers of filters are {16, 32, 64}
    respectively. The subsampling is performed by convolutions with a stride of 2. The network ends with a global
    average pooling"; shortcuts are "connected to the pairs of 3 x 3 layers", "identity shortcuts in all cases".
    """

    def norm(name: str, x: Tensor) -> Tensor:
        return normalised(state, name, x, training=training)

    x = F.relu(norm("bn1", F.conv2d(x, state["conv1.weight"], padding=1)))
    yield "relu", x
    for size, filters in enumerate((16, 32, 64), start=1):
        for block in range(n):
            name = f"layer{size}.{block}"
            stride = 2 if size > 1 and block == 0 else 1
            y = F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = F.relu(norm(f"{name}.bn1", y))
            y = norm(f"{name}.bn2", F.conv2d(y, state[f"{name}.conv2.weight"], padding=1))
            if shortcuts and x.shape[1] != filters:
                zeros = x.new_zeros(len(x), (filters - x.shape[1]) // 2, *y.shape[2:])
                x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], dim=1)
            x = F.relu(y + x) if shortcuts else F.relu(y)
            yield name, x
    yield "pooled", F.avg_pool2d(x, x.shape[-1])[:, :, 0, 0]


def paper_v2(state: State, x: Tensor, *, n: int, training: bool) -> Iterator[tuple[str, Tensor]]:
    """He et al. 2016, figure 1 (b) and the appendix: activation before each weight layer, a bottleneck with four times
    as many channels at its end, projections where widths change, which are given what is activated.
    """

    def active(name: str, x: Tensor) -> Tensor:
        return F.relu(normalised(state, name, x, training=training))

    x = active("bn1", F.conv2d(x, state["conv1.weight"], padding=1))
    yield "relu", x
    for size, filters in enumerate((16, 32, 64), start=1):
        for block in range(n):
            name = f"layer{size}.{block}"
            stride = 2 if size > 1 and block == 0 else 1
            before = x if name == "layer1.0" else active(f"{name}.bn1", x)
            y = active(f"{name}.bn2", F.conv2d(before, state[f"{name}.conv1.weight"], stride=stride))
            y = active(f"{name}.bn3", F.conv2d(y, state[f"{name}.conv2.weight"], padding=1))
            y = F.conv2d(y, state[f"{name}.conv3.weight"])
            if x.shape[1] != 4 * filters:
                x = F.conv2d(before, state[f"{name}.shortcut.weight"], stride=stride)
            x = x + y
            yield name, x
    x = active("norm.0", x)
    yield "pooled", F.avg_pool2d(x, x.shape[-1])[:, :, 0, 0]


def ours(module: CifarNet, x: Tensor) -> dict[str, Tensor]:
    """What leaves the first layer, every block, and the pooling."""
    found: dict[str, Tensor] = {}
    blocks = [f"layer{size}.{block}" for size in (1, 2, 3) for block in range(len(module.get_submodule("layer1")))]  # type: ignore[arg-type]
    handles = [
        module.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: found.update({name: out}))
        for name in ("relu", *blocks)
    ]
    with torch.no_grad():
        found["pooled"] = module(x)
    for handle in handles:
        handle.remove()
    return found


def varied(name: str) -> CifarNet:
    """The network with weights that hide nothing: no scale is 1, no shift and no mean 0."""
    module = backbone.create(name, seed=1)
    generator = torch.Generator().manual_seed(2)
    for key, tensor in module.state_dict().items():
        if tensor.ndim == 1:
            low = -0.5 if key.endswith(("bias", "mean")) else 0.5
            tensor.uniform_(low, low + 1, generator=generator)
    assert isinstance(module, CifarNet)
    return module


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize(
    ("name", "n"),
    [("cifar_resnet20", 3), ("cifar_resnet56", 9), ("cifar_resnet110", 18), ("cifar_plain20", 3), ("cifar_plain56", 9)],
)
def test_every_layer_of_v1_gives_what_the_paper_says(name: str, n: int, training: bool) -> None:
    module = varied(name).train(training)
    state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    expected = dict(paper_v1(state, images(), n=n, shortcuts="plain" not in name, training=training))
    found = ours(module, images())
    assert found.keys() == expected.keys()
    assert len(expected) == 3 * n + 2
    for layer, one in expected.items():
        assert torch.allclose(found[layer], one, rtol=1e-6, atol=1e-6 * float(one.abs().max())), layer


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize(("name", "n"), [("cifar_resnetv2_29", 3), ("cifar_resnetv2_56", 6)])
def test_every_layer_of_v2_gives_what_the_paper_says(name: str, n: int, training: bool) -> None:
    module = varied(name).train(training)
    state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    expected = dict(paper_v2(state, images(), n=n, training=training))
    found = ours(module, images())
    assert found.keys() == expected.keys()
    for layer, one in expected.items():
        assert torch.allclose(found[layer], one, rtol=1e-6, atol=1e-6 * float(one.abs().max())), layer


def test_option_b_projects_where_widths_change_and_nowhere_else() -> None:
    module = varied("cifar_resnet20_b").eval()
    shortcuts = {key.split(".shortcut")[0] for key in module.state_dict() if "shortcut" in key}
    assert shortcuts == {"layer2.0", "layer3.0"}
    state, block = module.state_dict(), module.get_submodule("layer2.0")
    x = torch.rand(2, 16, 8, 8)
    y = F.relu(
        normalised(state, "layer2.0.bn1", F.conv2d(x, state["layer2.0.conv1.weight"], None, 2, 1), training=False)
    )
    y = normalised(state, "layer2.0.bn2", F.conv2d(y, state["layer2.0.conv2.weight"], padding=1), training=False)
    beside = F.conv2d(x, state["layer2.0.shortcut.0.weight"], stride=2)
    beside = normalised(state, "layer2.0.shortcut.1", beside, training=False)
    with torch.no_grad():
        assert torch.allclose(block(x), F.relu(y + beside), rtol=1e-6, atol=1e-6)


# sizes and names


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("cifar_resnet20", 0.27), ("cifar_resnet32", 0.46), ("cifar_resnet44", 0.66), ("cifar_resnet56", 0.85),
        ("cifar_resnet110", 1.7), ("cifar_resnet1202", 19.4), ("cifar_resnetv2_164", 1.7), ("cifar_plain56", 0.85),
    ],
)  # fmt: skip
def test_parameters_are_as_many_as_the_papers_say(name: str, millions: float) -> None:
    assert round(backbones.entry(name).parameters / 1e6, 2 if millions < 1 else 1) == millions


@pytest.mark.parametrize("name", [*NAMES, "cifar_resnetv2_11", "cifar_resnet8", "cifar_plain1202", "cifar_resnet110_b"])
def test_what_the_recipe_room_says_of_a_network_is_what_is_built(name: str) -> None:
    facts = backbones.entry(name)
    counter = FlopCounterMode(display=False)
    member = cifar.member(name)
    assert member is not None
    with torch.device("meta"), torch.no_grad():
        network = CifarNet(member).eval()
        with counter, Held([*network.parameters(), *network.buffers()]) as held:
            features = network(torch.empty(1, 3, 32, 32))
    assert facts.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert facts.macs == counter.get_total_flops() // 2
    assert facts.activations == pytest.approx(held.most, rel=0.2)
    assert facts.features == features.shape[1]
    assert (facts.input_size, facts.tags, facts.default_tag) == (32, {}, None)
    assert facts.tag() == facts.untagged
    assert facts.stages == STAGES
    assert facts.last == "stage3"


def test_depths_count_the_layers_with_weights() -> None:
    for name in ("cifar_resnet20", "cifar_resnet56", "cifar_plain32", "cifar_resnetv2_29", "cifar_resnetv2_164"):
        depth = int(
            name.rstrip("_b").removeprefix("cifar_resnetv2_").removeprefix("cifar_resnet").removeprefix("cifar_plain")
        )
        layers = [key for key in backbone.create(name, seed=0).state_dict() if "conv" in key]
        assert len(layers) + 1 == depth, "the classifier is the last"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "cifar_resnet21",
            "there is no backbone 'cifar_resnet21': the depth is 6n + 2, from 8 to 1202; next to it are cifar_resnet20 "
            "and cifar_resnet26",
        ),
        (
            "cifar_resnet58_b",
            "there is no backbone 'cifar_resnet58_b': the depth is 6n + 2, from 8 to 1202; next to it are "
            "cifar_resnet56_b and cifar_resnet62_b",
        ),
        (
            "cifar_resnetv2_20x",
            "unknown backbone 'cifar_resnetv2_20x'; did you mean 'cifar_resnetv2_29'?",
        ),
        (
            "cifar_resnetv2_30",
            "there is no backbone 'cifar_resnetv2_30': the depth is 9n + 2, from 11 to 1199; next to it are "
            "cifar_resnetv2_29 and cifar_resnetv2_38",
        ),
        (
            "cifar_plain2",
            "there is no backbone 'cifar_plain2': the depth is 6n + 2, from 8 to 1202; next to it is cifar_plain8",
        ),
        (
            "cifar_resnet99999",
            "there is no backbone 'cifar_resnet99999': the depth is 6n + 2, from 8 to 1202; next to it is "
            "cifar_resnet1202",
        ),
        ("cifar_resnet", "unknown backbone 'cifar_resnet'; did you mean 'cifar_resnet56'?"),
        ("cifar_plain20_b", "unknown backbone 'cifar_plain20_b'; did you mean 'cifar_plain20'?"),
    ],
)
def test_a_depth_that_there_is_not_is_refused_with_those_next_to_it(name: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        backbones.entry(name)
    assert str(caught.value) == message


def test_every_listed_name_is_a_network() -> None:
    assert set(cifar.names()) <= set(backbones.names())
    assert all(cifar.member(name) for name in cifar.names())
    assert backbones.find("cifar_resnet56") == ("cifar_resnet56", "cifar_resnet56_b")


# cut, weights, files


@pytest.mark.parametrize("name", NAMES)
def test_it_is_cut_into_four_stages_and_runs_onward_from_each(name: str) -> None:
    network = backbone.build(name)
    assert tuple(network.stages) == STAGES
    assert network.last == "stage3"
    assert set(network.tensors) == set(network.module.state_dict())
    assert {key.split(".")[0] for key, stage in network.tensors.items() if stage == "stem"} == {"conv1", "bn1"}
    above = {"layer3", "norm"} if "v2" in name else {"layer3"}
    assert {key.split(".")[0] for key, stage in network.tensors.items() if stage == "stage3"} == above
    assert list(network.strides.values()) == [1, 1, 2, 4]
    network.module.eval()
    with torch.no_grad():
        whole = network.module(images())
        for stage in STAGES:
            activation = network.upto(stage)(images())
            assert tuple(activation.shape[1:]) == network.shape(stage, size=32)
            assert activation.shape[1] == network.channels[stage]
            assert torch.equal(network.onward(stage)(activation), whole)
        both = network.extractor(("stage3", "stage1"))(images())
    assert torch.equal(both[:, network.channels["stage1"] :], whole)
    assert torch.equal(network.extractor()(images()), whole)
    assert network.width() == network.features == whole.shape[1]


def test_convolutions_are_drawn_by_what_leaves_them() -> None:
    state = backbone.create("cifar_resnet110", seed=0).state_dict()
    for key, fan_out in {"layer1.5.conv2.weight": 9 * 16, "layer2.0.conv1.weight": 9 * 32}.items():
        assert float(state[key].std()) == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
        assert abs(float(state[key].mean())) < 0.01
    assert not torch.equal(
        state["conv1.weight"], backbone.create("cifar_resnet110", seed=1).state_dict()["conv1.weight"]
    )


def test_any_side_of_at_least_a_few_pixels_will_do() -> None:
    for size in (16, 33, 64):
        network = backbone.build("cifar_resnet20", size=size)
        assert network.module.eval()(images(2, size)).shape == (2, 64)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_resnet56"])
def test_a_file_in_the_public_layout_is_loaded_by_name_without_its_classifier(
    name: str, prefix: str, tmp_path: Path
) -> None:
    layers = [f"layer{size}.{block}" for size in (1, 2, 3) for block in range(3 if name.endswith("20") else 9)]
    convolutions = ["conv1", *(f"{layer}.conv{one}" for layer in layers for one in (1, 2))]
    norms = ["bn1", *(f"{layer}.bn{one}" for layer in layers for one in (1, 2))]
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    layout = {f"{one}.weight" for one in convolutions} | {f"{one}.{part}" for one in norms for part in parts}
    state = dict(varied(name).state_dict())
    assert set(state) == layout
    theirs = {**state, "linear.weight": torch.rand(10, 64), "linear.bias": torch.rand(10)}
    path = tmp_path / "public.safetensors"
    save_file({f"{prefix}{key}": tensor for key, tensor in theirs.items()}, path)
    network = backbone.build(name)
    receipt = weights.load(network, File(path=str(path)), seed=0, classes=3)
    assert (receipt.loaded, receipt.total) == (len(layout), len(layout))
    assert receipt.classifier_tensors == tuple(f"{prefix}linear.{one}" for one in ("bias", "weight"))
    assert all(torch.equal(tensor, state[key]) for key, tensor in network.module.state_dict().items())


def test_a_checkpoint_as_such_networks_are_shared_is_loaded(tmp_path: Path) -> None:
    state = dict(varied("cifar_resnet20").state_dict())
    theirs = {f"module.{key}": tensor for key, tensor in state.items() if "num_batches" not in key}
    theirs |= {"module.linear.weight": torch.rand(10, 64), "module.linear.bias": torch.rand(10)}
    torch.save({"state_dict": theirs, "best_prec1": 91.7}, tmp_path / "resnet20.th")
    network = backbone.build("cifar_resnet20")
    receipt = weights.load(network, File(path=str(tmp_path / "resnet20.th")), seed=0, classes=3)
    assert receipt.classifier_tensors == ("module.linear.weight", "module.linear.bias")
    assert receipt.notes[0] == "taken from its entry 'state_dict'"
    assert receipt.total - receipt.loaded == 19, "the counters of 19 normalisations"
    found = network.module.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in state.items() if "num_batches" not in key)


def test_a_file_of_option_b_is_not_one_of_option_a(tmp_path: Path) -> None:
    save_file(dict(varied("cifar_resnet20_b").state_dict()), tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match=r"only in the file: 12\n    layer2\.0\.shortcut\.0\.weight"):
        weights.load(backbone.build("cifar_resnet20"), File(path=str(tmp_path / "b.safetensors")), seed=0, classes=3)
