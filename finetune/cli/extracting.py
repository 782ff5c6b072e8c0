"""`features`: what a network makes of a folder of images, as a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

_PATH = click.Path(path_type=Path)
_KEYS = {"package": "name", "file": "path", "bundle": "path", "hub": "tag"}


@click.command()
@click.argument("folder", metavar="FOLDER|TABLE", type=_PATH)
@click.option(
    "--backbone", required=True, metavar="NAME|BUNDLE", help="A network that `backbones` lists, or a bundle's folder."
)
@click.option(
    "--weights",
    metavar="KIND[:VALUE]",
    help="package:NAME, file:PATH, bundle:PATH, hub:TAG, hub or random [default: hub].",
)
@click.option("--stage", "stages", multiple=True, help="May be given several times [default: the last].")
@click.option(
    "--pool",
    type=click.Choice(["avg", "avgmax", "gem", "none"]),
    help="[default: the network's own after the last stage, avg after others]",
)
@click.option("--size", type=int, help="Side in pixels [default: what the weights were trained with].")
@click.option("--fit", type=click.Choice(["crop", "pad", "squash"]), help="How an oblong image becomes a square.")
@click.option("--mirrored", is_flag=True, help="The mean over each image and its mirror image.")
@click.option(
    "--precision", type=click.Choice(["float32", "bf16"]), default="float32", show_default=True, help="Of the network."
)
@click.option("--output", required=True, type=_PATH, metavar="FILE", help="A file .npz, .parquet or .csv.")
def features(
    folder: Path,
    backbone: str,
    weights: str | None,
    stages: tuple[str, ...],
    pool: Any,
    size: int | None,
    fit: Any,
    mirrored: bool,
    precision: Any,
    output: Path,
) -> None:
    """Write what a network makes of images: a row of numbers for each.

    Class folders and tables give a column of labels. What was computed before is taken from the cache. With --pool none
    a .npz file holds maps: of one stage as the array values, of several an array by the name of each.
    """
    from finetune.cli.show import watch
    from finetune.errors import printable
    from finetune.starter import must_be_a_place, must_exist

    must_exist(folder)
    must_be_a_place(output, read=[folder])
    chosen = _weights(weights)
    with watch() as show:
        from finetune.frozen import table

        table.check_suffix(output, maps=pool == "none")
        found = table.features(
            backbone,
            folder,
            weights=chosen,
            stage=(stages[0] if len(stages) == 1 else stages) or None,
            pool=pool,
            size=size,
            fit=fit,
            mirrored=mirrored,
            precision=precision,
            check=lambda done, total: show.progress("features", done, total),
        )
    found.save(output)
    for left in found.left_out:
        click.echo(f"left out: {left.key}: {left.reason}", err=True)
    for note in found.notes:
        click.echo(note, err=True)
    shape = _shape(found.values)
    classes = "no classes" if found.classes is None else f"{len(found.classes)} classes"
    click.echo(f"{len(found)} images of {classes}, {shape} numbers each: {printable(str(output))}")


def _shape(values: Any) -> str:
    """Such as 96, 192 x 2 x 2, or stage2 48 x 4 x 4 and stage3 192 x 2 x 2."""
    if isinstance(values, Mapping):
        return " and ".join(f"{stage} {_shape(one)}" for stage, one in values.items())
    return " x ".join(map(str, values.shape[1:]))


def _weights(text: str | None) -> dict[str, str] | None:
    """What a recipe would say: 'package:x' is {kind: package, name: x}."""
    from finetune.errors import UsageError, printable

    if text is None:
        return None
    kind, _, value = text.partition(":")
    if (kind == "hub" and not value) or text == "random":
        return {"kind": kind}
    if kind not in _KEYS or not value:
        raise UsageError(
            f"--weights {printable(text)!r} is none of package:NAME, file:PATH, bundle:PATH, hub:TAG, hub, random"
        )
    return {"kind": kind, _KEYS[kind]: value}
