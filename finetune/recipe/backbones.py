"""What is known of timm's architectures without loading torch: their names, tags, sizes, costs, licences.

The facts lie in `backbones.json`, which `python -m finetune.model.listing` writes from the installed timm. This module
only reads them: it does not know how a network is built, nor whether it can be cut into stages.
"""

import fnmatch
import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from finetune.errors import RecipeError, printable, suggestion
from finetune.recipe import family

FILE = Path(__file__).with_name("backbones.json")
SIDE = 224  # pixels of the images that costs are given for, where a network takes them
NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")
FAMILIES = (
    "networks with stages at strides 4, 8, 16 and 32 can be cut: ResNet and its relatives, RegNet, DenseNet, ConvNeXt, "
    "EfficientNet, MobileNet and others"
)


@dataclass(frozen=True, kw_only=True)
class TagFacts:
    """One set of pretrained weights of an architecture, and the input it was trained (and tested) with.

    Sizes are sides in pixels (the shorter side of the few that are not square); `crop_pct` is the share of the short
    side that the centre crop keeps; mean and std are of channels in 0…1; `classes` is 0 for weights without a
    classifier; `hub` is the repository on the hub, None where the weights lie elsewhere. `fixed`: the network takes
    images of no other size.
    """

    tag: str | None
    input_size: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    test_input_size: int | None
    test_crop_pct: float | None
    license: str | None
    classes: int
    hub: str | None
    fixed: bool


@dataclass(frozen=True, kw_only=True)
class BackboneFacts:
    """One architecture without its classifier.

    `macs` are multiply-adds for one image of `measured_at` pixels: 224, or `input_size` where it takes no other;
    `activations` are the bytes, in float32, of what one pass of that image holds at the same time at most. `features`
    is the length of the vector that the classifier would get; `cut` says whether it can be cut into stages, without
    which it cannot be used here, and these four are 0. `family` is the key of its family, if it has one. `tags` are its
    pretrained weights; `untagged` is the input that an architecture without any was made for (None where there are
    tags).
    """

    name: str
    family: str | None
    parameters: int
    macs: int
    activations: int
    measured_at: int
    input_size: int
    features: int
    cut: bool
    tags: Mapping[str, TagFacts]
    default_tag: str | None
    untagged: TagFacts | None

    def tag(self, name: str | None = None) -> TagFacts:
        """The facts of the tag `name`; for None those of the default tag, or of an architecture without tags."""
        if name is not None:
            if name not in self.tags:
                raise RecipeError(_unknown_tag(self, name))
            return self.tags[name]
        if self.default_tag is not None:
            return self.tags[self.default_tag]
        assert self.untagged is not None
        return self.untagged


def names() -> tuple[str, ...]:
    """The architectures that can be cut into stages, and so be used here, in alphabetical order."""
    return tuple(name for name, row in _table()["backbones"].items() if row["cut"])


def version() -> str:
    """The timm that the facts were taken from."""
    return str(_table()["timm"])


def find(pattern: str) -> tuple[str, ...]:
    """Those of `names()` that fit `pattern`: with `*`, `?` or `[` the whole name, otherwise any part of it."""
    if any(c in pattern for c in "*?["):
        return tuple(name for name in names() if fnmatch.fnmatchcase(name, pattern))
    return tuple(name for name in names() if pattern in name)


def grouped(chosen: Iterable[str]) -> tuple[str, ...]:
    """The architectures family by family, in each from small to large; then those of no family by name."""
    keys = [one.key for one in family.FAMILIES]

    def place(name: str) -> tuple[int, int, str]:
        key, parameters = family.of(name), _table()["backbones"][name]["parameters"]
        return (keys.index(key), parameters, name) if key else (len(keys), 0, name)

    return tuple(sorted(chosen, key=place))


@functools.cache
def entry(name: str) -> BackboneFacts:
    """The facts of one architecture. Raises RecipeError for a name that is not one, with a near match."""
    _check_name(name)
    row = _table()["backbones"][name]
    tags = {tag: _tag_facts(tag, values) for tag, values in row["tags"].items()}
    defaults = [tag for tag, values in row["tags"].items() if values.get("default")]
    return BackboneFacts(
        name=name,
        family=family.of(name),
        parameters=row["parameters"],
        **{key: row.get(key, 0) for key in ("macs", "activations", "measured_at", "features")},
        input_size=row["input_size"],
        cut=row["cut"],
        tags=MappingProxyType(tags),
        default_tag=defaults[0] if defaults else None,
        untagged=None if defaults else _tag_facts(None, row["untagged"]),
    )


def check(name: str, tag: str | None = None) -> None:
    """Raises RecipeError unless `name` is an architecture of timm's and `tag`, where given, one of its tags."""
    facts = entry(name)
    if tag is not None:
        facts.tag(tag)


def check_cut(name: str) -> None:
    """Raises RecipeError unless the architecture `name` can be cut into stages, with the families that can."""
    if not entry(name).cut:
        raise RecipeError(f"backbone {name!r} cannot be cut into stages; {FAMILIES}")


def repository(name: str, tag: str | None = None) -> str:
    """The hub repository that holds the weights of `tag` (None: the default one), such as 'timm/resnet50.tv_in1k'.

    Raises RecipeError where the architecture or the tag is unknown, or has no weights on the hub.
    """
    facts = entry(name)
    found = facts.tag(tag)
    if found.hub is not None:
        return found.hub
    which = "weights" if tag is None else f"weights {tag!r}"
    raise RecipeError(
        f"backbone {name!r} has no {which} on the hub; give them as kind: file, or start from kind: random"
    )


def _check_name(name: str) -> None:
    shown = printable(name, limit=80)
    if not NAME.fullmatch(name):
        raise RecipeError(f"{shown!r} is not the name of a backbone: only a-z, 0-9 and _ occur in one")
    if name in _table()["backbones"]:
        return
    architecture, _, tag = name.partition(".")
    if tag and architecture in _table()["backbones"]:
        raise RecipeError(
            f"{shown!r} is the backbone {architecture!r} with a tag; "
            f"write name: {architecture} and weights: {{kind: hub, tag: {tag}}}"
        )
    near = suggestion(architecture, names()) or "; `finetune backbones` lists them"
    raise RecipeError(f"unknown backbone {shown!r}{near}")


def _unknown_tag(facts: BackboneFacts, tag: str) -> str:
    shown = printable(tag, limit=80)
    if not facts.tags:
        return f"unknown tag {shown!r}: backbone {facts.name!r} has no pretrained weights"
    near = suggestion(tag, facts.tags)
    return f"unknown tag {shown!r} of backbone {facts.name!r}{near}; its tags: {', '.join(facts.tags)}"


def _tag_facts(tag: str | None, values: dict[str, Any]) -> TagFacts:
    return TagFacts(
        tag=tag,
        input_size=values["input_size"],
        crop_pct=values["crop_pct"],
        interpolation=values["interpolation"],
        mean=tuple(values["mean"]),
        std=tuple(values["std"]),
        test_input_size=values.get("test_input_size"),
        test_crop_pct=values.get("test_crop_pct"),
        license=values.get("license"),
        classes=values["classes"],
        hub=values.get("hub"),
        fixed=values.get("fixed", False),
    )


@functools.cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return table
