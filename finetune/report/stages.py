"""Stages in words."""

from finetune.recipe.section import STAGES


def stages(names: tuple[str, ...]) -> str:
    """'head', 'all stages', 'stage3 to head'."""
    known = [name for name in STAGES if name in names]
    if len(known) != len(names) or len(known) < 3:
        return ", ".join(known if len(known) == len(names) else names)
    if len(known) == len(STAGES):
        return "all stages"
    unbroken = STAGES.index(known[-1]) - STAGES.index(known[0]) == len(known) - 1
    return f"{known[0]} to {known[-1]}" if unbroken else ", ".join(known)
