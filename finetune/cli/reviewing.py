"""`review`: suspected labels, copies and outliers of a bundle, one after the other, on a local page."""

import os
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from finetune.review.begin import Review
    from finetune.review.queue import Queue


@click.command()
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The file of corrections [default: that of the recipe, or corrections.csv here].",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of 127.0.0.1 [default: a free one].")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def review(bundle: Path, output: Path | None, port: int, no_browser: bool) -> None:
    """Look through suspected labels, copies and outliers, and correct them.

    Opens a page that only this machine can reach, and only by its address. What is decided there is written at once to
    a file that a recipe can name (corrections: FILE); the images stay as they are. Ctrl-C, or Finish on the page, ends
    it.
    """
    from finetune.audit.look import Looks
    from finetune.bundle import Bundle
    from finetune.cli.show import watch
    from finetune.review import server
    from finetune.review.begin import begin
    from finetune.starter import must_be_a_place, must_exist

    must_exist(bundle)
    if output:
        must_be_a_place(output)
    opened = Bundle.open(bundle)
    server.packages()
    with watch() as show, Looks() as memory:
        prepared = begin(
            opened,
            output=output,
            memory=memory,
            progress=lambda done, total: show.progress("looking at images", done, total),
        )
    for note in prepared.queue.notes:
        click.echo(note, err=True)
    if not prepared.queue.items:
        click.echo("nothing to review: no suspected label, no copies, no outliers")
        return
    serving = server.Server(prepared.walk, port=port)
    click.echo(f"to look at: {_counted(prepared.queue)}")
    click.echo(f"{serving.address}\nopen this address; Ctrl-C ends the review")
    if not no_browser:
        _open(serving.address)
    try:
        serving.run()
    finally:
        click.echo(_summary(prepared))


def _counted(queue: "Queue") -> str:
    words = {
        "label": ("suspected label", "suspected labels"),
        "duplicates": ("group of copies", "groups of copies"),
        "outlier": ("outlier", "outliers"),
        "unreadable": ("file that cannot be read", "files that cannot be read"),
    }
    return ", ".join(f"{count} {words[kind][count != 1]}" for kind, count in queue.counts().items() if count)


def _summary(prepared: "Review") -> str:
    from finetune.errors import printable

    counts = prepared.decisions.counts()
    total, shown = sum(counts.values()), printable(str(prepared.decisions.output), limit=1000)
    if not total:
        return "\nnothing was corrected"
    what = "1 correction" if total == 1 else f"{total} corrections"
    return f"\n{what} in {shown}: {counts['relabel']} relabelled, {counts['exclude']} left out\n{prepared.advice}"


def _open(address: str) -> None:
    """In a browser with windows: one of text alone would take the terminal."""
    windows = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    if windows or os.name == "nt" or sys.platform == "darwin":
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
