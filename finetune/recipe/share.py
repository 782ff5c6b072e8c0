"""What each run of a recipe may take where the job is run several times: once for each fold, and for what ships."""

from finetune.recipe.schedule import Auto
from finetune.recipe.schema import Recipe
from finetune.recipe.splits import Folds


def runs(recipe: Recipe) -> int:
    """How often the job is run: once, or for each fold and for what ships."""
    return recipe.split.folds + 1 if isinstance(recipe.split, Folds) else 1


def each(recipe: Recipe) -> Recipe:
    """The recipe of each of its runs: an equal part of the budget of `auto`, and all else as it is."""
    if not isinstance(recipe.schedule, Auto) or runs(recipe) == 1:
        return recipe
    budget = f"{round(recipe.schedule.seconds / runs(recipe), 1):g}s"
    return recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update={"budget": budget})})
