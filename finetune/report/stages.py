"""Stages in words."""

from finetune.errors import RecipeError
from finetune.recipe import backbones
from finetune.recipe.section import STAGES, Stage
from finetune.report.records import Network


def stages(names: tuple[str, ...], network: Network | None = None) -> str:
    """'head', 'all stages', 'stage3 to head', of the stages that the network has."""
    every = of(network.name if network else "")
    known = [name for name in every if name in names]
    if len(known) != len(names) or len(known) < 3:
        return ", ".join(known if len(known) == len(names) else names)
    if len(known) == len(every):
        return "all stages"
    unbroken = every.index(known[-1]) - every.index(known[0]) == len(known) - 1
    return f"{known[0]} to {known[-1]}" if unbroken else ", ".join(known)


def of(backbone: str) -> tuple[Stage, ...]:
    """The stages of the backbone of that name from the stem up, and the head; those of most for a name not known."""
    try:
        return (*backbones.entry(backbone).stages, "head")
    except RecipeError:
        return STAGES
