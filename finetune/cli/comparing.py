"""`compare`: finished bundles beside each other, on the same test images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from finetune.compare.comparison import Comparison, Pair

_PATH = click.Path(path_type=Path)
_TOGETHER = "\u00a0=\u00a0"  # is not broken
_CLASSES = 10  # shown of each pair
_FLIPS = 5  # shown of each kind
_KEYS = 20  # shown of recipes


@click.command()
@click.argument("bundles", metavar="A B [C…]", nargs=-1, required=True, type=_PATH)
@click.option("--html", "page", type=_PATH, help="Write a page with all of it, and thumbnails, to this file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def compare(bundles: tuple[Path, ...], page: Path | None, as_json: bool) -> None:
    """Say what differs between bundles that were scored on the same images, and by how much more than chance.

    Each of the others is compared with the first. Images are the same by their bytes, wherever they lie.
    """
    from finetune.compare.comparison import compare as compared
    from finetune.errors import printable
    from finetune.starter import must_be_a_page, must_exist

    for bundle in bundles:
        must_exist(bundle)
    if page:
        must_be_a_page(page, option="--html")
    found = compared(bundles)
    if page:
        from finetune.report.compared import render

        page.write_text(render(found), encoding="utf-8")
        click.echo(f"page written to {printable(str(page))}", err=True)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=1, allow_nan=False))
    else:
        click.echo("\n".join(text(found)))


def text(comparison: "Comparison") -> list[str]:
    """The comparison in lines of at most 80 columns."""
    from finetune.cli.wording import fitted
    from finetune.compare import verdict

    notes = [line for note in verdict.notes(comparison) for line in fitted(note)]
    pairs = [line for pair in comparison.pairs for line in ["", *_pair(comparison, pair)]]
    lines = [*_sides(comparison), *notes, *pairs, "", *_recipe(comparison)]
    return [line.replace(_TOGETHER, " = ").replace("−", "-") for line in lines]


def _sides(comparison: "Comparison") -> list[str]:
    """Which bundles these are, on which images, their scores and what they cost."""
    from finetune.cli.wording import WIDTH, held, interval, shortened
    from finetune.compare.comparison import LETTERS
    from finetune.compare.side import METRICS
    from finetune.compare.verdict import NAMES, called, learnt
    from finetune.errors import size
    from finetune.recipe.cost import duration

    lines = []
    scores = [["", *(NAMES[name] for name in (comparison.metric, *METRICS)), "ECE (if calibrated)"]]
    costs = [["", "time", "memory", "file", "parameters", "learnt from"]]
    for place, side in enumerate(comparison.sides):
        letter, how = LETTERS[place], f"  {learnt(side)}"
        lines.append(f"{letter}  {shortened(str(side.bundle.folder), max(20, WIDTH - 3 - len(how)))}{how}")
        found, (low, high) = side.scores, side.calibration.band
        values = ["-" if found[name]["value"] is None else f"{found[name]['value']:.3f}" for name in METRICS]
        error = f"{side.calibration.ece:.3f} ({low:.3f} to {high:.3f})"
        scores.append([letter, interval(found[comparison.metric]), *values, error])
        costs.append(
            [
                letter,
                "-" if side.row.seconds is None else duration(side.row.seconds),
                held(side.row),
                "-" if side.size is None else size(side.size),
                "-" if side.parameters is None else f"{side.parameters / 1e6:.2f} M",
                "-" if side.learnt_from is None else f"{side.learnt_from:,} images",
            ]
        )
    kinds = "labels" if comparison.several else "classes"
    lines.append(
        f"on the same {comparison.images} {called(comparison)} images of {len(comparison.classes)} {kinds}; "
        "95 % intervals in brackets"
    )
    return [*lines, "", *_table(scores), "", *_table(costs)]


def _pair(comparison: "Comparison", pair: "Pair") -> list[str]:
    """What differs between two: scores, classes, images."""
    from finetune.cli.wording import fitted
    from finetune.compare import verdict
    from finetune.compare.comparison import LETTERS
    from finetune.compare.side import METRICS

    lines = [f"{LETTERS[pair.second]} - {LETTERS[pair.first]}"]
    scores = [[verdict.NAMES[name], _change(pair.differences[name])] for name in (comparison.metric, *METRICS)]
    lines += [f"    {line}" for line in _table(scores)]
    for sentence in (verdict.verdict(comparison, pair), verdict.test(comparison, pair)):
        lines += fitted(f"    {sentence.replace(' = ', _TOGETHER)}")
    return [*lines, *_classes(comparison, pair), *_flips(pair)]


def _classes(comparison: "Comparison", pair: "Pair") -> list[str]:
    from finetune.compare.comparison import LETTERS
    from finetune.errors import printable

    rows = sorted(pair.per_class, key=lambda row: -abs(row["recall"]["value"] or 0.0))[:_CLASSES]
    header = [
        "label" if comparison.several else "class",
        "images",
        f"recall {LETTERS[pair.second]} - {LETTERS[pair.first]}",
    ]
    cells = [[printable(row["class"], limit=30), str(row["support"]), _change(row["recall"])] for row in rows]
    more = len(pair.per_class) - len(rows)
    return [f"    {line}" for line in [*_table([header, *cells]), *([f"… and {more} more"] if more else [])]]


def _flips(pair: "Pair") -> list[str]:
    from finetune.cli.wording import WIDTH, shortened
    from finetune.compare.comparison import LETTERS
    from finetune.errors import printable

    lines = []
    for gained in (False, True):
        flips = [flip for flip in pair.flips if flip.gained is gained]
        right, wrong = LETTERS[pair.second if gained else pair.first], LETTERS[pair.first if gained else pair.second]
        if flips:
            lines.append(f"    right in {right}, wrong in {wrong}: {len(flips)}")
        for flip in flips[:_FLIPS]:
            said = printable(", ".join(flip.answers[0 if gained else 1]) or "no label", limit=30)
            lines.append(f"        {shortened(flip.key, WIDTH - 18 - len(said))}: {wrong} said {said}")
        if len(flips) > _FLIPS:
            lines.append(f"        … and {len(flips) - _FLIPS} more; --json or --html shows them")
    return lines


def _recipe(comparison: "Comparison") -> list[str]:
    from finetune.cli.wording import fitted
    from finetune.errors import printable

    if not comparison.recipe:
        return ["the recipes say the same"]
    lines = ["recipe"]
    for change in comparison.recipe[:_KEYS]:
        values = " -> ".join("not set" if value is None else printable(_plain(value)) for value in change.values)
        lines += fitted(f"    {printable(change.key)}: {values}")
    more = len(comparison.recipe) - _KEYS
    return [*lines, *([f"    … and {more} more; --json or --html shows them"] if more > 0 else [])]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _change(score: dict[str, Any]) -> str:
    """'+0.013 [-0.020, +0.046]', or a dash."""
    if score["value"] is None:
        return "-"
    if score["low"] is None:  # of a single image or group
        return f"{score['value']:+.3f}"
    return f"{score['value']:+.3f} [{score['low']:+.3f}, {score['high']:+.3f}]"


def _table(rows: list[list[str]]) -> list[str]:
    """Cells under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
