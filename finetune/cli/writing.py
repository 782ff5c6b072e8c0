"""`init` and `schema`: what helps to write a recipe."""

import json
import os
from pathlib import Path

import click


@click.command()
@click.argument("source", metavar="FOLDER|TABLE", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="The recipe's file [default: NAME.yaml here].")
def init(source: Path, output: Path | None) -> None:
    """Write a recipe for class folders, with or without train/, val/ and test/ above them, or for a table of images."""
    from finetune.errors import OutputTaken, printable
    from finetune.recipe import file
    from finetune.starter import must_exist, name_of, recipe_text

    must_exist(source)
    target = output or Path(f"{name_of(source)}.yaml")
    written = os.path.relpath(source.absolute(), target.absolute().parent)
    text = recipe_text(source, written=Path(written).as_posix(), command=f"finetune run {target}")
    file.loads(text, source=str(target), folder=target.absolute().parent)
    try:
        with target.open("x", encoding="utf-8") as recipe:
            recipe.write(text)
    except FileExistsError:
        raise OutputTaken(
            f"{printable(str(target))} exists and is not overwritten; give another file with --output"
        ) from None
    click.echo(text, nl=False)
    click.echo(f"written to {target}; next: finetune plan {target}, then finetune run {target}", err=True)


@click.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors that complete and check while one types."""
    from finetune.recipe.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=1))
