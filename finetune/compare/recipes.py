"""What was asked of runs that are compared: the keys of their recipes whose values differ."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.bundle import Bundle
from finetune.errors import FinetuneError, RecipeError
from finetune.recipe import file, grammar
from finetune.recipe.fault import source

_ABSENT = object()


@dataclass(frozen=True)
class Change:
    """A key of the recipe, such as "train.batch_size", and what each recipe says there, as plain JSON values; None
    where it has no such key too.
    """

    key: str
    values: tuple[Any, ...]


def changes(bundles: Sequence[Bundle]) -> list[Change]:
    """The keys whose values are not the same in all recipes, in the order of the recipe; its name is no part of that.

    Paths are the same that lead to the same place; they are given as each recipe has them, or whole where that would
    look the same. A bundle without a recipe has no keys.
    """
    meant = [dict(_flat(_values(bundle, absolute=True))) for bundle in bundles]
    written = [dict(_flat(_values(bundle, absolute=False))) for bundle in bundles]
    keys = dict.fromkeys(key for one in meant for key in one if key != "name")
    differing = [key for key in keys if any(one.get(key, _ABSENT) != meant[0].get(key, _ABSENT) for one in meant[1:])]
    found = []
    for key in differing:
        values = tuple(one.get(key) for one in written)
        alike = all(value == values[0] for value in values)  # relative paths from different places
        found.append(Change(key, tuple(one.get(key) for one in meant) if alike else values))
    return found


def _values(bundle: Bundle, *, absolute: bool) -> Any:
    """The recipe as plain values; of one that this version cannot read, as far as it is YAML."""
    if not bundle.has("recipe.yaml"):
        return {}
    text, name = bundle.recipe_text, str(bundle.folder / "recipe.yaml")
    folder = os.path.abspath(bundle.folder)
    try:
        recipe = file.loads(text, source=name, folder=bundle.folder)
    except FinetuneError:
        try:
            return grammar.document(text, source(text, name)).data
        except RecipeError:
            return {}
    return recipe.model_dump(mode="json", context={"relative_to": None if absolute else folder})


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping, by its dotted key."""
    if not isinstance(value, dict):
        yield key, value
        return
    for name, inner in value.items():
        yield from _flat(inner, f"{key}.{name}" if key else str(name))
