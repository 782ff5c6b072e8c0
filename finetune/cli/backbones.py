"""`backbones`: the networks that a recipe can name. Only `--speed` loads torch."""

import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from finetune.model.speed import Speed
    from finetune.recipe.backbones import BackboneFacts, TagFacts

MOST_TIMED = 40  # networks, for each takes a second or more
_LICENCE = 10  # columns
_TAG = 10  # that are needed to say how many more there are
_SORTS = ("params", "macs", "speed")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


@click.command()
@click.argument("pattern", default="", required=False)
@click.option("--family", "families", multiple=True, metavar="KEY", help="Only those of a family, such as wide.")
@click.option("--fits", metavar="BYTES", help="Only those whose features take at most so much memory, such as 500M.")
@click.option("--speed", is_flag=True, help="Time each on this machine, with random weights.")
@click.option("--sort", type=click.Choice(_SORTS), help="All in one table; small or fast first.")
@_JSON
def backbones(
    pattern: str, families: tuple[str, ...], fits: str | None, speed: bool, sort: str | None, as_json: bool
) -> None:
    """List the networks that a recipe can name.

    Without PATTERN the families of residual networks and their relatives; with it, of all networks, those whose name
    contains it, or fits one such as resnet*d; the whole name of one shows all that is known of it; "*" lists all.

    \b
    params  parameters without a classifier
    GMACs   1e9 multiply-adds of one image of 224 pixels (' for a network
            that takes another size only: of that size)
    feat    the length of an image's features
    MB      about what taking features needs beside Python and torch: float32
            on a processor, 8 such images at a time. --fits goes by it
    *       weights of it are in the local cache of the hub
    """
    from finetune.errors import UsageError, byte_count
    from finetune.recipe import backbones as known
    from finetune.recipe.cost import memory

    if sort == "speed" and not speed:
        raise UsageError("--sort speed needs --speed")
    limit = None if fits is None else byte_count(fits, what="--fits")
    entries = [known.entry(name) for name in _names(pattern, families)]
    fitting = [one for one in entries if limit is None or memory(one) <= limit]
    if not fitting:
        least = min(entries, key=memory)
        raise UsageError(f"none of {len(entries)} fits into {fits}: {least.name} needs least, about {_mb(least)} MB")
    speeds = _timed(fitting) if speed else {}
    if sort:
        fitting = sorted(fitting, key=lambda one: _rank(one, sort, speeds))
    cached = _cached(fitting)
    if as_json:
        found = [_object(one, speeds.get(one.name), cached) for one in fitting]
        click.echo(json.dumps({"timm": known.version(), "backbones": found}, indent=1))
    elif len(fitting) == 1 and fitting[0].name == pattern:
        click.echo("\n".join(_details(fitting[0], speeds.get(pattern), cached)))
    else:
        click.echo("\n".join(_table(fitting, speeds if speed else None, cached, in_families=not sort)))


def _names(pattern: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """What was asked for, in families. Raises UsageError where there is nothing of the kind."""
    from finetune.errors import RecipeError, UsageError, printable, suggestion
    from finetune.recipe import backbones as known
    from finetune.recipe import family

    choices = [one.key for one in family.FAMILIES]
    for key in keys:
        if key not in choices:
            near = suggestion(key, choices)
            raise UsageError(f"no family {printable(key, limit=80)!r}{near}; the families are {', '.join(choices)}")
    if pattern in known.names() or _of_another_depth(pattern):
        found: tuple[str, ...] = (pattern,)
    else:
        found = known.grouped(known.find(pattern))
    if keys or not pattern:
        found = tuple(name for name in found if family.of(name) in (keys or choices))
    if found:
        return found
    if not keys and known.NAME.fullmatch(pattern):
        try:
            known.check_cut(pattern)
        except RecipeError as error:
            raise UsageError(str(error)) from None
    of = f" of family {' or '.join(keys)}" if keys else ""
    raise UsageError(f"no backbone{of} fits {printable(pattern)!r}; `finetune backbones` lists the families")


def _of_another_depth(pattern: str) -> bool:
    """Whether that names a network made for CIFAR that is not listed, because no paper has one of its depth."""
    from finetune.errors import RecipeError
    from finetune.recipe import cifar

    try:
        return cifar.member(pattern) is not None
    except RecipeError:  # said where nothing else fits
        return False


def _timed(chosen: "Sequence[BackboneFacts]") -> "dict[str, Speed]":
    """The speed of each; of those that memory does not suffice for none, which is said."""
    from finetune.cli.show import watch
    from finetune.errors import UsageError
    from finetune.recipe.cost import memory
    from finetune.recipe.machine import available_memory

    if len(chosen) > MOST_TIMED:
        raise UsageError(
            f"--speed times at most {MOST_TIMED} networks, and {len(chosen)} are listed; "
            "narrow them by a pattern, --family or --fits"
        )
    free = available_memory()
    small = [one for one in chosen if free is None or memory(one) <= free]
    if left := [one.name for one in chosen if one not in small]:
        click.echo(f"not timed, for they need more memory than is free: {', '.join(left)}", err=True)
    from finetune.model.speed import passes
    from finetune.runtime import start

    runtime, speeds = start("float32"), {}
    with watch() as show:
        for place, one in enumerate(small):
            show.progress("timing", place, len(small))
            speeds[one.name] = passes(one.name, runtime)
    threads = "1 thread" if runtime.threads == 1 else f"{runtime.threads} threads"
    click.echo(f"timed on {runtime.device}, {threads}, float32, with random weights", err=True)
    return speeds


def _rank(one: "BackboneFacts", sort: str, speeds: "Mapping[str, Speed]") -> tuple[float, str]:
    if sort == "speed":
        return (speeds[one.name].milliseconds if one.name in speeds else float("inf"), one.name)
    return (one.parameters if sort == "params" else one.macs, one.name)


def _cached(entries: "Iterable[BackboneFacts]") -> frozenset[str]:
    """The repositories of their weights that are in the local cache."""
    from finetune.model import hub

    return hub.cached(tag.hub for one in entries for tag in one.tags.values() if tag.hub)


def _object(one: "BackboneFacts", speed: "Speed | None", cached: frozenset[str]) -> dict[str, Any]:
    """The same keys for every network, whatever was asked."""
    from finetune.recipe.cost import memory

    return {
        "name": one.name,
        "family": one.family,
        "parameters": one.parameters,
        "macs": one.macs,
        "measured_at": one.measured_at,
        "memory": memory(one),
        "features": one.features,
        "input_size": one.input_size,
        "fixed_size": one.tag().fixed,
        "default_tag": one.default_tag,
        "tags": {name: _tag_object(tag, cached) for name, tag in one.tags.items()},
        "speed": asdict(speed) if speed else None,
    }


def _tag_object(tag: "TagFacts", cached: frozenset[str]) -> dict[str, Any]:
    return {
        "license": tag.license,
        "input_size": tag.input_size,
        "test_input_size": tag.test_input_size,
        "classes": tag.classes,
        "hub": tag.hub,
        "cached": tag.hub in cached,
    }


def _table(
    entries: "Sequence[BackboneFacts]",
    speeds: "Mapping[str, Speed] | None",
    cached: frozenset[str],
    *,
    in_families: bool,
) -> list[str]:
    """A line for each network; the last column takes what the terminal has left."""
    from finetune.recipe.family import FAMILIES

    width = max(len(one.name) for one in entries)
    names = {one.key: f"{one.key}: {one.title} ({one.source})" for one in FAMILIES}
    timing = f" {'ms':>6} {'img/s':>6}" if speeds is not None else ""
    last = f"  {'licence':<{_LICENCE}}" + ("  tags" if speeds is None else "")
    lines = [f"  {'name':<{width}}  {'params':>6} {'GMACs':>6} {'feat':>5} {'MB':>5}{timing}{last}".rstrip()]
    family: str | None = ""
    for one in entries:
        if in_families and one.family != family:
            family = one.family
            lines.append(names.get(family or "", "others"))
        lines.append(_row(one, speeds, cached, width))
    if any(_is_cached(one, cached) for one in entries):
        lines.append("* weights in the local cache")
    return lines


def _row(one: "BackboneFacts", speeds: "Mapping[str, Speed] | None", cached: frozenset[str], width: int) -> str:
    mark = "*" if _is_cached(one, cached) else " "
    row = f"{mark} {one.name:<{width}}  {_millions(one.parameters):>6} {_gmacs(one):>6} {one.features:>5} {_mb(one):>5}"
    licence = _cut((one.tag().license or "unknown") if one.tags else "-", _LICENCE)
    if speeds is not None:
        speed = speeds.get(one.name)
        times = (_three(speed.milliseconds), _three(speed.images_per_second)) if speed else ("-", "-")
        return f"{row} {times[0]:>6} {times[1]:>6}  {licence}"
    row = f"{row}  {licence:<{_LICENCE}}  "
    room = shutil.get_terminal_size().columns - len(row)
    more = f" +{len(one.tags) - 1}" if len(one.tags) > 1 and room >= _TAG else ""
    return f"{row}{_cut(one.default_tag or 'no weights', max(room - len(more), 1))}{more}"


def _details(one: "BackboneFacts", speed: "Speed | None", cached: frozenset[str]) -> list[str]:
    """All that is known of one network."""
    from finetune.recipe import backbones as known
    from finetune.recipe.family import FAMILIES
    from finetune.recipe.machine import EVALUATION_BATCH

    title = next((f", {f.key}: {f.title} ({f.source})" for f in FAMILIES if f.key == one.family), "")
    images = f"{EVALUATION_BATCH} images of {one.measured_at} pixels at once"
    size = f"{one.input_size} pixels" + (" and no other" if one.tag().fixed else "")
    lines = [
        f"{one.name}{title}",
        f"  parameters     {one.parameters:,} without a classifier",
        f"  multiply-adds  {one.macs / 1e9:.2f} billion at {one.measured_at} pixels",
        f"  features       {one.features}",
        f"  made for       {size}",
        f"  memory         about {_mb(one)} MB for features of {images}, beside Python and torch",
    ]
    if speed:
        rate = f"{_three(speed.images_per_second)} images a second, {speed.batch} at once"
        lines.append(f"  speed          {_three(speed.milliseconds)} ms for one image; {rate}, at {speed.size} pixels")
    lines += _weights(one, cached)
    if more := len(set(known.find(one.name)) - {one.name}):
        lines.append(f'{more} other {"name contains" if more == 1 else "names contain"} {one.name}: "*{one.name}*"')
    return lines


def _weights(one: "BackboneFacts", cached: frozenset[str]) -> list[str]:
    """A line for each of its pretrained weights, timm's default first."""
    if not one.tags:
        return ["  weights        none; give your own as kind: file, or start from kind: random"]
    ordered = sorted(one.tags.values(), key=lambda tag: (tag.tag != one.default_tag, tag.tag))
    width = max(len(name) for name in one.tags)
    lines = [f"  {'weights':<{width}}  side  tested  classes  where   licence"]
    for tag in ordered:
        where = "cache" if tag.hub in cached else "hub" if tag.hub else "-"
        sides = f"{tag.input_size:>4}  {tag.test_input_size or tag.input_size:>6}"
        lines.append(f"  {tag.tag:<{width}}  {sides}  {tag.classes or '-':>7}  {where:<6}  {tag.license or 'unknown'}")
    return lines


def _is_cached(one: "BackboneFacts", cached: frozenset[str]) -> bool:
    return any(tag.hub in cached for tag in one.tags.values())


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _mb(one: "BackboneFacts") -> int:
    from finetune.recipe.cost import memory

    return round(memory(one) / 1e6)


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f}M" if count < 999.95e6 else f"{count / 1e6:.0f}M"


def _gmacs(one: "BackboneFacts") -> str:
    """In five columns, and where it is not of 224 pixels with a mark."""
    from finetune.recipe.backbones import SIDE

    count = one.macs / 1e9
    text = f"{count:.2f}" if count < 10 else f"{count:.1f}" if count < 100 else f"{count:.0f}"
    return text if one.measured_at == SIDE else f"{text}'"


def _three(number: float) -> str:
    """Three digits, and no more than are before the point."""
    return f"{number:.{max(0, 2 - int(math.log10(max(number, 1))))}f}"
