"""A bundle -> a review that can begin, and the file that it writes to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from finetune.audit.look import Looks
from finetune.bundle import Bundle
from finetune.errors import UsageError, printable
from finetune.recipe.schema import Recipe
from finetune.review import material
from finetune.review.decisions import Decisions
from finetune.review.queue import Queue, queue
from finetune.review.walk import Walk
from finetune.starter import must_lie_outside

OUTPUT = "corrections.csv"


@dataclass(frozen=True)
class Review:
    """What is to be looked at, what is decided, both as a page needs it, and how to apply it."""

    queue: Queue
    decisions: Decisions
    walk: Walk
    advice: str


def begin(
    bundle: Bundle,
    *,
    output: Path | None = None,
    memory: Looks | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Review:
    """Looks at every image of a bundle's data for what is doubtful.

    output: the file of corrections; without it the one that the bundle's recipe names, or `corrections.csv` in the
    working folder. One that is not there yet begins with the corrections of the recipe. Raises UsageError for a file
    among the images or in the bundle, and as `material.read` and `Decisions`.
    """
    read = material.read(bundle, memory=memory, progress=progress)
    named = None if read.recipe.corrections is None else Path(read.recipe.corrections)
    target = output or named or Path(OUTPUT)
    _must_be_elsewhere(target, read.recipe, bundle)
    decisions = Decisions(
        target,
        catalog=read.catalog,
        given={sample.key: sample.labels for sample in read.known.catalog.samples},
        begin=named,
    )
    found = queue(read)
    advice = _advice(target, named)
    several = read.catalog.multi_label
    walk = Walk(found, decisions, name=read.name, classes=read.catalog.classes, several=several, advice=advice)
    return Review(found, decisions, walk, advice)


def _must_be_elsewhere(target: Path, recipe: Recipe, bundle: Bundle) -> None:
    must_lie_outside(target, recipe.data, what="a file")
    if target.resolve().is_relative_to(bundle.folder.resolve()):
        raise UsageError(
            f"the output {printable(str(target))} would lie in the bundle, which is sealed; name a file outside of it "
            "with --output"
        )


def _advice(target: Path, named: Path | None) -> str:
    shown = printable(str(target), limit=1000)
    if named is not None and target.resolve() == named.resolve():
        return f"the recipe names {shown} already: run it again"
    return f"to apply them, write in the recipe, whose paths start from its own folder: corrections: {shown}"
