"""Writes `recipe/backbones.json` from the installed timm: `python -m finetune.model.listing`, when its version changes.

Each architecture is built and run once on the meta device, where tensors have shapes and no values: multiply-adds are
half the operations that `torch.utils.flop_counter` counts for convolutions and matrix products (attention included),
without element-wise work. The same timm and torch give the same bytes; all of timm takes about six minutes.
"""

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from finetune.errors import UsageError
from finetune.model.backbone import find_cut, library
from finetune.recipe.backbones import FILE


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
    macs, features = _measure(network, default.input_size)
    try:
        cut = bool(find_cut(name, size=min(default.input_size[1:])))
    except UsageError:
        cut = False
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": macs,
        "input_size": min(default.input_size[1:]),
        "features": features,
        "cut": cut,
        "tags": tags,
        **({} if tags else {"untagged": _tag(default)}),
    }


def _measure(network: Any, shape: tuple[int, int, int]) -> tuple[int, int]:
    """(multiply-adds, features): features as run where that gives one vector per image, else as timm declares."""
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), counter, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        features = network(torch.empty(1, *shape))
    return counter.get_total_flops() // 2, features.shape[1] if features.ndim == 2 else network.head_hidden_size


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
