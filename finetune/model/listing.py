"""Writes `recipe/backbones.json` from the installed timm: `python -m finetune.model.listing`, when its version changes.

Each architecture is built and run on the meta device, where tensors have shapes and no values: multiply-adds are half
the operations that `torch.utils.flop_counter` counts for convolutions and matrix products (attention included), without
element-wise work; of networks that cannot be used here they are not measured. The same timm and torch give the same
bytes; all of timm takes about six minutes.
"""

import json
import logging
import sys
import warnings
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from finetune.errors import UsageError
from finetune.model import running
from finetune.model.backbone import find_cut, library
from finetune.recipe.backbones import FILE, SIDE


def write(path: Path, *, only: tuple[str, ...] | None = None) -> None:
    """Writes the facts of the architectures in `only` (None: all that timm has) as JSON, one architecture a line."""
    timm = library()
    chosen = sorted(timm.list_models() if only is None else only)
    rows = [f" {json.dumps(name)}:{json.dumps(facts(name), sort_keys=True, separators=(',', ':'))}" for name in chosen]
    body = ",\n".join(rows)
    path.write_text(f'{{"backbones":{{\n{body}\n}},"timm":{json.dumps(timm.__version__)}}}\n', encoding="utf-8")


def facts(name: str) -> dict[str, Any]:
    """What `backbones.json` says of one architecture: see `recipe.backbones` for the units."""
    timm = library()
    default = timm.get_pretrained_cfg(name)
    configurations = timm.models.get_arch_pretrained_cfgs(name)
    tags = {one.tag: _tag(one) for one in configurations.values() if one.tag and one.has_weights}
    if tags:
        tags[default.tag]["default"] = True
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = timm.create_model(name, pretrained=False, num_classes=0).eval().requires_grad_(False)
    own = min(default.input_size[1:])
    try:
        cut = bool(find_cut(name, size=own))
    except UsageError:
        cut = False
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        **(_costs(network, default) if cut else {}),
        "input_size": own,
        "cut": cut,
        "tags": tags,
        **({} if tags else {"untagged": _tag(default)}),
    }


def _costs(network: Any, configuration: Any) -> dict[str, int]:
    """What is measured of networks that can be used here, at `SIDE` pixels or at their own size where that is fixed."""
    measured = _measure(network, configuration.input_size, fixed=bool(configuration.fixed_input_size))
    return {
        "macs": measured.macs,
        "activations": measured.activations,
        "measured_at": measured.size,
        "features": measured.features,
    }


@dataclass(frozen=True)
class _Measured:
    size: int
    macs: int
    activations: int
    features: int


def _measure(network: Any, shape: tuple[int, int, int], *, fixed: bool) -> _Measured:
    """A pass at `SIDE` pixels, or at the network's own size where it takes no other."""
    if not fixed:
        try:
            return _pass(network, (shape[0], SIDE, SIDE))
        except running.FAULTS:
            pass
    return _pass(network, shape)


def _pass(network: Any, shape: tuple[int, int, int]) -> _Measured:
    """features: as run where that gives one vector per image, else as timm declares."""
    counter, held = FlopCounterMode(display=False), Held([*network.parameters(), *network.buffers()])
    with torch.device("meta"), counter, held, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        features = network(torch.empty(1, *shape))
    width = features.shape[1] if features.ndim == 2 else network.head_hidden_size
    return _Measured(min(shape[1:]), counter.get_total_flops() // 2, held.most, width)


class Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that are alive inside, but for those that were there before; `most` is the most."""

    def __init__(self, before: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._now = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in before}

    def __torch_dispatch__(self, operation: Any, _types: Any, given: Any = (), named: Any = None) -> Any:
        returned = operation(*given, **(named or {}))
        for tensor in tree_leaves(returned):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage())._cdata not in self._known:
                self._known.add(storage._cdata)
                self._now += storage.nbytes()
                weakref.finalize(storage, self._let_go, storage._cdata, storage.nbytes())
        self.most = max(self.most, self._now)
        return returned

    def _let_go(self, storage: int, size: int) -> None:
        self._known.discard(storage)
        self._now -= size


def _tag(configuration: Any) -> dict[str, Any]:
    tested = configuration.test_input_size
    values = {
        "input_size": min(configuration.input_size[1:]),
        "crop_pct": configuration.crop_pct,
        "interpolation": configuration.interpolation,
        "mean": list(configuration.mean),
        "std": list(configuration.std),
        "test_input_size": min(tested[1:]) if tested else None,
        "test_crop_pct": configuration.test_crop_pct,
        "license": configuration.license,
        "classes": configuration.num_classes,
        "hub": configuration.hf_hub_id,
    }
    values["fixed"] = configuration.fixed_input_size or None
    return {key: value for key, value in values.items() if value is not None}


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # timm's remarks on deprecated arguments, 1,371 times over
    write(FILE)
    print(f"{FILE}: {FILE.stat().st_size:,} bytes", file=sys.stderr)
