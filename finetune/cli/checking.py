"""`check`: what is in a data set, and what may be wrong with it."""

import json
import textwrap
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from finetune.audit.audit import Audit
    from finetune.audit.deep import Measured
    from finetune.audit.finding import Finding

_PATH = click.Path(path_type=Path)
_WIDTH = 80
_EXAMPLES = 3  # of each kind of finding
_LINES = 12  # of what is found; of what stops a run all
_KEYS = 4  # of each finding; an even number, for some name images by pairs


@click.command()
@click.argument("source", metavar="FOLDER|TABLE|RECIPE", type=_PATH)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a line of the recipe.")
@click.option(
    "--deep", is_flag=True, help="Ask the recipe's network too: suspected labels, more copies, what leaks are worth."
)
@click.option("--html", type=_PATH, metavar="FILE", help="Write a page with thumbnails, to sort and to filter.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@click.option("--strict", is_flag=True, help="Exit with 3 for warnings too, not only for errors.")
@click.pass_context
def check(
    context: click.Context,
    source: Path,
    overrides: tuple[str, ...],
    deep: bool,
    html: Path | None,
    as_json: bool,
    strict: bool,
) -> None:
    """Look at every image and say what is there, and what may be wrong with it.

    Errors would stop a run, and the exit code is 3. Warnings are what it would learn or score wrongly, or leave out:
    copies on both sides of the split, one picture under two labels, files that cannot be read, facts such as the size
    that tell the class by themselves. Notes are worth knowing. No image is changed, and nothing is written among them.

    With --deep the recipe's network and its weights are loaded, and what it makes of the images is kept for a run: a
    probe names labels that are probably wrong, and says what test images with a copy among the others do to the score.
    """
    from finetune.audit.audit import audit
    from finetune.audit.gather import gather
    from finetune.audit.look import Looks
    from finetune.cli.show import watch
    from finetune.errors import DataError, printable
    from finetune.starter import must_be_a_page, must_lie_outside, recipe_to_check

    recipe = recipe_to_check(source, overrides)
    if html:
        must_be_a_page(html, option="--html")
        must_lie_outside(html, recipe.data, what="a file", option="--html")
    with watch() as show, Looks() as memory:
        if deep:
            from finetune.diagnose.deep import deepened, frozen

            network = frozen(recipe)  # before anything that takes its time
        known = gather(
            recipe, memory=memory, progress=lambda done, total: show.progress("looking at images", done, total)
        )
        if deep:
            known = deepened(known, recipe, network, check=lambda what: partial(show.progress, what))
    found = audit(known)
    if html:
        from finetune.report import audited

        html.write_text(audited.render(found, name=recipe.name), encoding="utf-8")
        click.echo(f"page written to {printable(str(html))}", err=True)
    click.echo(json.dumps(found.to_dict(), indent=1, allow_nan=False) if as_json else "\n".join(described(found)))
    counts = found.counts()
    if counts["error"]:
        click.echo(f"finetune: error[{DataError.id}]: a run on this data would stop", err=True)
    if counts["error"] or (strict and counts["warning"]):
        context.exit(DataError.exit_code)


def described(found: "Audit") -> list[str]:
    """The audit in lines of at most 80 columns: the classes, what is left out, and what was found, worst first."""
    from finetune.cli.wording import left_out
    from finetune.errors import printable

    lines = [*_classes(found), *left_out(found.known.catalog.left_out), *_deep(found)]
    for note in found.known.notes:
        lines += textwrap.wrap(printable(note, limit=1000), _WIDTH)
    lines += ["", _counted(found)]
    for (severity, check_name, kind), group in groupby(found.findings, lambda f: (f.severity, f.check, f.kind)):
        lines += _group(f"{severity}: {check_name}, {kind}", list(group))
    return lines


def _classes(found: "Audit") -> list[str]:
    from finetune.audit.classes import table
    from finetune.errors import printable

    parts = {"train": "training", "validation": "validation", "test": "test"} if found.known.is_split else {}
    columns = parts or {"images": "images"}
    rows = [(printable(row["class"], limit=40), [row[column] for column in columns]) for row in table(found.known)]
    samples = found.known.catalog.samples
    inside = [sum(found.known.part(s.key) == part for s in samples) for part in parts] or [len(samples)]
    rows.append(("all classes", inside))
    width = max(len("class"), *(len(name) for name, _ in rows))
    widths = [max(len(title), 6) for title in columns.values()]
    head = "  ".join(f"{title:>{w}}" for title, w in zip(columns.values(), widths, strict=True))
    return [
        f"{'class':<{width}}  {head}",
        *(
            f"{name:<{width}}  " + "  ".join(f"{count:>{w}}" for count, w in zip(counts, widths, strict=True))
            for name, counts in rows
        ),
    ]


def _deep(found: "Audit") -> list[str]:
    """What the network says of all images, where one was asked."""
    deep = found.known.deep
    if deep is None:
        return []
    asked = int(deep.held_out.sum())
    text = f"a probe on {deep.network}, frozen"
    if deep.reason:
        text = f"no probe on {deep.network}: {' '.join(deep.reason.split())}"
    elif deep.accuracy is not None and deep.balanced_accuracy is not None:
        text += (
            f": held-out accuracy {_score(deep.accuracy)}, balanced {_score(deep.balanced_accuracy)}, of {asked} images"
        )
    lines = textwrap.wrap(text, _WIDTH)
    if leak := deep.leak:
        text = f"test accuracy of that probe: {_score(leak.whole)} on {leak.images} images"
        if leak.without is None or leak.difference is None:
            text += ", all of which have a copy among the others"
        else:
            text += (
                f", {_score(leak.without)} without the {leak.leaked} that have a copy among the others: these "
                f"change it by {_score(leak.difference, sign='+')}"
            )
        lines += textwrap.wrap(text, _WIDTH)
    return lines


def _score(score: "Measured", sign: str = "") -> str:
    return f"{score.value:{sign}.3f} [{score.low:{sign}.3f}, {score.high:{sign}.3f}]"


def _counted(found: "Audit") -> str:
    counts = found.counts()
    words = [f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items() if count]
    return f"found: {', '.join(words)}" if words else "found: nothing that may be wrong"


def _group(title: str, findings: "list[Finding]") -> list[str]:
    """What one check found of one kind: how often, and the first few with the images that they are about."""
    from finetune.cli.wording import shortened

    lines = [title if len(findings) == 1 else f"{title} ({len(findings)})"]
    for finding in findings[:_EXAMPLES]:
        text = textwrap.wrap(finding.text, _WIDTH, initial_indent="    ", subsequent_indent="      ")
        lines += text if finding.severity == "error" or len(text) <= _LINES else [*text[: _LINES - 1], "      …"]
        lines += [f"        {shortened(key, _WIDTH - 8)}" for key in finding.keys[:_KEYS]]
        if len(finding.keys) > _KEYS:
            lines.append(f"        … and {len(finding.keys) - _KEYS} more")
    if len(findings) > _EXAMPLES:
        lines.append(f"    … and {len(findings) - _EXAMPLES} more; --html or --json shows all")
    return lines
