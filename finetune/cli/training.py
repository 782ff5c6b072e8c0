"""`run` and `resume`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from finetune.bundle import Bundle

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


@click.command()
@click.argument("source", metavar="RECIPE|FOLDER|TABLE", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="The bundle's folder [default: runs/NAME/NUMBER].")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a line of the recipe; many may be given."
)
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="Train the phases of this plan.json.")
@_JSON
def run(source: Path, output: Path | None, overrides: tuple[str, ...], plan_file: Path | None, as_json: bool) -> None:
    """Train a classifier from a recipe, or from a folder or a table of images.

    A folder or table is run with the recipe that `finetune init` writes for it. What is left is a bundle: a folder that
    predicts by itself, with a report.
    """
    from finetune.cli.show import watch
    from finetune.recipe import planfile
    from finetune.starter import must_exist, recipe_of

    if plan_file:
        must_exist(plan_file)
    recipe = recipe_of(source, overrides)
    plan = planfile.read(plan_file) if plan_file else None
    with watch() as show:
        show.say(f"{recipe.name}: loading torch")
        from finetune import job

        command = ["finetune", *sys.argv[1:]]
        bundle = job.run(recipe, output=output, plan=plan, show=show, command=command)
    _say(bundle, as_json)


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@_JSON
def resume(bundle: Path, as_json: bool) -> None:
    """Go on with a run that was stopped or killed, from its last complete epoch.

    On the same machine the result is, bit for bit, what the uncut run leaves.
    """
    from finetune.bundle import Bundle
    from finetune.cli.show import watch
    from finetune.starter import must_exist

    must_exist(bundle)
    Bundle.open(bundle)
    with watch() as show:
        from finetune import job

        finished = job.resume(bundle, show=show)
    _say(finished, as_json)


def _say(bundle: "Bundle", as_json: bool) -> None:
    if as_json:
        facts: dict[str, Any] = {"bundle": str(bundle.folder), "report": str(bundle.folder / "report.html")}
        click.echo(json.dumps({**facts, "metrics": bundle.metrics}, indent=1, allow_nan=False))
        return
    from finetune.cli.wording import headline

    click.echo(headline(bundle.metrics, bundle.history if bundle.has("history.jsonl") else ()))
    click.echo(f"report: {bundle.folder / 'report.html'}")
    click.echo(f"predict with: finetune predict {bundle.folder} IMAGE…")
