"""`runs`: what has been run, a line for each bundle."""

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from finetune.bundle.shelf import Order, Row

_LONGEST = {"run": 24, "score": 22, "on": 16, "time": 12, "memory": 8, "schedule": 24, "network": 40, "date": 16}
_CUTS = (  # what is cut where there is no room, and how far, one after the other
    *(("network", 12), ("schedule", 15), ("run", 16)),
    *(("schedule", 8), ("run", 13), ("network", 10), ("run", 10), ("network", 7), ("on", 13)),
)
_PARTS = {"test": "test", "validation": "validation", "out_of_fold": "held out", "folds": "in folds"}
_OPTIMISTIC = "validation and held-out images had a part in what was chosen: their scores are optimistic"


@click.command()
@click.argument("folder", metavar="[FOLDER]", default="runs", type=click.Path(path_type=Path))
@click.option(
    "--sort",
    type=click.Choice(["score", "time", "name", "date"]),
    default="name",
    help="The best, the fastest or the newest first [default: by name].",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def runs(folder: Path, sort: "Order", as_json: bool) -> None:
    """List the bundles in a folder: score with interval, on which images, time, memory, schedule, network.

    The score is the accuracy with its 95 % interval. A wider terminal shows when a run was finished.
    """
    from finetune.bundle import shelf
    from finetune.cli.wording import fitted
    from finetune.errors import printable
    from finetune.starter import must_exist

    must_exist(folder)
    found, damaged = shelf.rows(folder)
    listed = shelf.ordered(found, sort)
    if as_json:
        faults = [{"place": one.place, "reason": one.reason} for one in damaged]
        facts = {"folder": str(folder), "runs": [row.to_dict() for row in listed], "damaged": faults}
        click.echo(json.dumps(facts, indent=1, allow_nan=False))
        return
    if not (listed or damaged):
        click.echo(f"no bundles in {printable(str(folder))}; finetune run leaves one in runs/NAME/NUMBER")
    for line in table(listed, width=shutil.get_terminal_size().columns):
        click.echo(line)
    for note in notes(listed):
        click.echo("\n".join(fitted(note)))
    for one in damaged:
        click.echo("\n".join(fitted(f"damaged: {printable(one.place)}: {printable(one.reason, limit=1000)}")))


def table(rows: "Sequence[Row]", *, width: int = 80) -> list[str]:
    """A header and a line for each run, in at most `width` columns, 80 at least; date and memory if there is room."""
    if not rows:
        return []
    cells = [_cells(row) for row in rows]
    names = list(cells[0])
    wide = {name: min(_LONGEST[name], max(len(name), *(len(cell[name]) for cell in cells))) for name in names}
    width = max(width, 80)
    if _columns(wide) > width:
        del wide["date"]
    if _columns({name: min(count, dict(_CUTS).get(name, count)) for name, count in wide.items()}) > width:
        del wide["memory"]
    for name, least in _CUTS:
        wide[name] = max(min(least, wide[name]), wide[name] - max(0, _columns(wide) - width))
    return [_line({name: name for name in names}, wide), *(_line(cell, wide) for cell in cells)]


def notes(rows: "Sequence[Row]") -> list[str]:
    """What one should know of these scores."""
    said = []
    if any(row.metric == "subset_accuracy" for row in rows):
        said.append("* of several labels for an image: the share of images with all of them right")
    if any(row.part in ("validation", "out_of_fold") for row in rows):
        said.append(_OPTIMISTIC)
    return said


def _cells(row: "Row") -> dict[str, str]:
    from finetune.cli.wording import interval
    from finetune.errors import size
    from finetune.recipe.cost import duration

    if row.score is not None:
        score = interval({"value": row.score, "low": row.low, "high": row.high})
        score += "*" if row.metric == "subset_accuracy" else ""
    elif row.finished:
        score = "not measured"
    else:
        score = f"unfinished, epoch {row.epochs}" if row.epochs else "unfinished"
    schedule = " ".join(part for part in (row.schedule, row.tier) if part)
    return {
        "run": row.place,
        "score": score,
        "on": f"{row.images} {_PARTS[row.part]}" if row.part else "-",
        "time": "-" if row.seconds is None else duration(row.seconds),
        "memory": "-" if row.memory is None else size(row.memory),
        "schedule": schedule or "-",
        "network": row.backbone or "-",
        "date": datetime.fromtimestamp(row.written, UTC).astimezone().strftime("%Y-%m-%d %H:%M"),
    }


def _columns(wide: dict[str, int]) -> int:
    return sum(wide.values()) + 2 * (len(wide) - 1)


def _line(cell: dict[str, str], wide: dict[str, int]) -> str:
    from finetune.cli.wording import shortened

    return "  ".join(f"{shortened(cell[name], limit):<{limit}}" for name, limit in wide.items()).rstrip()
