"""What a caller from Python means by a network: a name with weights, a bundle, or a Backbone as it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from finetune.bundle import Bundle
from finetune.data.decode import Fit, Preprocessing
from finetune.errors import BundleError, UsageError, listing, printable
from finetune.model import backbone as networks
from finetune.model import weights as loading
from finetune.model.backbone import Backbone
from finetune.recipe import backbones
from finetune.recipe.images import Images
from finetune.recipe.network import BackboneChoice, BundleWeights, Weights
from finetune.recipe.section import Section
from finetune.recipe.sentences import sentences

S = TypeVar("S", bound=Section)


def network(
    backbone: str | Path | Backbone,
    weights: Weights | Mapping[str, Any] | None = None,
    *,
    size: int | None = None,
    fit: Fit | None = None,
) -> tuple[Backbone, Preprocessing]:
    """The network that is meant, with its weights, and what images become for it.

    backbone: a name that `finetune backbones` lists, the folder of a bundle (with its weights and preprocessing), or a
    Backbone as it is. weights: as in a recipe; None: from the hub. Raises UsageError for what cannot be, or would have
    no effect, BundleError for a bundle that is incomplete, changed or damaged, and as `weights.load` does.
    """
    if isinstance(backbone, str) and (backbone in backbones.names() or not Path(backbone).is_dir()):
        return _named(backbone, weights, size=size, fit=fit)
    idle = {"weights": weights, "size": size, **({} if isinstance(backbone, Backbone) else {"fit": fit})}
    if given := [name for name, value in idle.items() if value is not None]:
        raise UsageError(f"{' and '.join(given)} would have no effect: the backbone that is given has its own")
    if isinstance(backbone, Backbone):
        return backbone, backbone.contract.preprocessing(_judged(Images, {"fit": fit or "crop"}))
    return _bundled(Path(backbone))


class _Asked(Section):
    """What is asked of the network, judged as in a recipe."""

    backbone: BackboneChoice
    images: Images


def _named(
    name: str, weights: Weights | Mapping[str, Any] | None, *, size: int | None, fit: Fit | None
) -> tuple[Backbone, Preprocessing]:
    """The network of that name with its weights. Raises UsageError for a name, weights or pixels that cannot be."""
    chosen = weights.model_dump(mode="json") if isinstance(weights, Section) else weights or {"kind": "hub"}
    written = {"backbone": {"name": name, "weights": chosen}, "images": {"size": size, "fit": fit or "crop"}}
    asked = _judged(_Asked, written)
    network = networks.build(name, size=size, tag=asked.backbone.tag)
    loading.load(network, asked.backbone.weights, seed=0, classes=0)
    return network, network.contract.preprocessing(asked.images)


def _bundled(folder: Path) -> tuple[Backbone, Preprocessing]:
    """The network of a bundle, without its head."""
    bundle = Bundle.open(folder)
    if not bundle.complete:
        shown = printable(str(folder))
        raise BundleError(f"{shown}: this run is not complete; `finetune resume {shown}` finishes it")
    preprocessing = Preprocessing.from_dict(bundle.facts["preprocessing"])
    network = networks.build(bundle.facts["backbone"]["name"], size=preprocessing.size)
    loading.load(network, BundleWeights(path=str(folder)), seed=0, classes=0)
    return network, preprocessing


def _judged(kind: type[S], written: Mapping[str, Any]) -> S:
    """What is written as a section, judged as in a recipe."""
    try:
        return kind.model_validate_json(json.dumps(written, default=str))
    except ValidationError as error:
        faults = [text for _, text in sentences(error, kind)]
        raise UsageError(faults[0] if len(faults) == 1 else f"these settings cannot be{listing(faults)}") from None
