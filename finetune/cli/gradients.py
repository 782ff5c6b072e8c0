"""`plan --probe-gradients`: gradients by stage with and without skip connections, for people."""

import textwrap
from typing import TYPE_CHECKING

from finetune.cli.show import watch
from finetune.cli.wording import WIDTH
from finetune.errors import printable
from finetune.recipe.tiers import sized
from finetune.report.words import significant

if TYPE_CHECKING:
    from finetune.data.survey import Survey
    from finetune.diagnose.gradients import Norms, Probed
    from finetune.recipe.plan import Plan
    from finetune.recipe.schema import Recipe


def probed(recipe: "Recipe", surveyed: "Survey", plan: "Plan") -> "Probed":
    """The gradients of a recipe's network on its first batch, of the size that its plan begins with; loads torch."""
    size = plan.tiers[0].size if plan.tiers else None
    if size is not None:
        recipe = sized(recipe, size)
    with watch() as show:
        show.say(f"{recipe.name}: loading torch")
        from finetune import runtime
        from finetune.diagnose import gradients

        return gradients.probe(recipe, surveyed, runtime.start("float32"))


def described(probed: "Probed") -> list[str]:
    """What skip connections do for them, for people, in at most 80 columns."""

    said = (
        f"Gradients on the first batch, {probed.images} images of {probed.size} x {probed.size} pixels, before any "
        f"training. With and without: the same random weights (He initialisation), with and without the {probed.skips} "
        f"skip connections of {probed.backbone}, whose longest way has {probed.layers} layers; BatchNorm, where there "
        "is any, with the statistics of the batch."
    )
    columns: list[tuple[str, Norms]] = [("with", probed.with_skips), ("without", probed.without_skips)]
    if probed.as_it_starts:
        title = "own weights" if probed.fits_head else "as it starts"
        said += f" {title.capitalize()}: the weights of the run, {printable(probed.weights, limit=200)}"
        if probed.fits_head:
            said += ", under a head drawn at random; the run fits its head first, and so starts with other gradients"
        said += "."
        columns.append((title, probed.as_it_starts))
    lines = ["  ".join([f"{'norm of the gradient':<20}", *(f"{title:>14}" for title, _ in columns)])]
    lines += ["  ".join([f"{stage:<20}", *(_norm(norms[stage]) for _, norms in columns)]) for stage in columns[0][1]]
    first, *_, last, _ = columns[0][1]  # the head comes last
    lines.append("  ".join([f"{f'{first} / {last}':<20}", *(_over(norms, first, last) for _, norms in columns)]))
    if not probed.as_it_starts:
        lines += ["", *textwrap.wrap(f"Not as it starts: {printable(probed.weights, limit=400)}.", WIDTH)]
    return [*textwrap.wrap(said, WIDTH), "", *lines]


def _norm(value: float | None) -> str:
    return f"{'not finite' if value is None else significant(value):>14}"


def _over(norms: "Norms", first: str, last: str) -> str:
    one, other = norms[first], norms[last]
    return _norm(one / other) if one is not None and other else f"{'-':>14}"
