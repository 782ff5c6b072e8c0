"""`plan` and `report`: what can be said without loading torch, unless gradients are asked for."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from finetune.data.survey import Survey
    from finetune.recipe.schema import Recipe

_PATH = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
_SET = click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a line of the recipe.")


@click.command()
@click.argument("source", metavar="RECIPE|FOLDER|TABLE", type=_PATH)
@_SET
@click.option("--output", type=_PATH, help="Write the plan as JSON, for `finetune run --plan`.")
@click.option(
    "--probe-gradients", "probing", is_flag=True, help="Compare the network with itself without skip connections."
)
@_JSON
def plan(source: Path, overrides: tuple[str, ...], output: Path | None, probing: bool, as_json: bool) -> None:
    """Say what a run would train, how fast and how long, without running it.

    With --probe-gradients it loads torch, and says how large the gradient is in each stage on the first batch: at
    random weights with and without the network's skip connections, and at the weights that the run begins with.
    """
    from finetune.cli import gradients
    from finetune.recipe import planfile, planning, plantext
    from finetune.recipe.cost import costs
    from finetune.recipe.machine import read_rates
    from finetune.starter import must_be_a_place

    if output:
        must_be_a_place(output, read=[source])
    recipe, surveyed = _survey(source, overrides)
    facts = surveyed.facts(recipe)
    rates = read_rates()
    costing = costs(recipe, rates)
    decided = planning.plan(recipe, facts, costing)
    text = planfile.to_json(decided)
    if output:
        output.write_text(text, encoding="utf-8")
        click.echo(f"plan written to {output}", err=True)
    found = gradients.probed(recipe, surveyed, decided) if probing else None
    if as_json:
        click.echo(json.dumps({**json.loads(text), "gradients": asdict(found)}, indent=1) if found else text)
        return
    lines = [*_described(surveyed), "", *plantext.describe(decided, facts, recipe, costing, rates)]
    click.echo("\n".join([*lines, *(["", *gradients.described(found)] if found else [])]))


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=_PATH)
@click.option("--output", type=_PATH, help="Where to write it [default: report.html in the bundle].")
def report(bundle: Path, output: Path | None) -> None:
    """Draw the report of a bundle again, from the bundle alone, and write its model card beside it."""
    from finetune import report as reports
    from finetune.bundle import Bundle
    from finetune.report import card
    from finetune.starter import must_be_a_page, must_exist

    must_exist(bundle)
    if output:
        must_be_a_page(output, option="--output")
    opened = Bundle.open(bundle)
    if output:
        output.write_text(reports.render(opened), encoding="utf-8")
        click.echo(f"report: {output}")
    else:
        reports.write(opened)
        card.write(opened)
        click.echo(f"report: {opened.folder / 'report.html'}")


def _survey(source: Path, overrides: tuple[str, ...]) -> "tuple[Recipe, Survey]":
    from finetune.cli.show import watch
    from finetune.data.survey import find, survey
    from finetune.starter import recipe_of

    recipe = recipe_of(source, overrides)
    with watch() as show:
        return recipe, survey(
            recipe, find(recipe), progress=lambda done, total: show.progress("reading images", done, total)
        )


def _described(surveyed: "Survey") -> list[str]:
    from finetune.cli.wording import fitted, left_out

    titles = {"train": "training", "validation": "validation", "test": "test"}
    if surveyed.folds:  # nothing is for testing, for everything is held out
        titles = {name: title for name, title in titles.items() if name == "train" or len(surveyed.parts[name])}
        titles["train"] = "training" if len(titles) > 1 else "images"
    parts = {name: surveyed.parts[name] for name in titles}
    widths = {name: max(len(title), 6) for name, title in titles.items()}
    counted: dict[str, dict[str, int]] = {name: part.counts() for name, part in parts.items()}
    from finetune.errors import printable

    names = {name: printable(name, limit=40) for name in surveyed.classes}
    width = max(len("class"), *(len(name) for name in names.values()), len("all classes"))
    rows: list[tuple[str, dict[str, Any]]] = [
        (names[name], {part: c.get(name, 0) for part, c in counted.items()}) for name in names
    ]
    rows.append(("all classes", {part: len(c) for part, c in parts.items()}))
    lines = ["  ".join([f"{'class':<{width}}", *(f"{title:>{widths[part]}}" for part, title in titles.items())])]
    lines += ["  ".join([f"{name:<{width}}", *(f"{c[part]:>{widths[part]}}" for part in titles)]) for name, c in rows]
    lines += left_out(surveyed.left_out)
    return [*lines, *(line for note in surveyed.notes for line in fitted(printable(note, limit=1000)))]
