"""Recipe files: YAML -> Recipe with every fault at its place, and back."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import ValidationError

from finetune.recipe import grammar
from finetune.recipe.assignment import assign
from finetune.recipe.fault import Fault, Place, refusal
from finetune.recipe.fault import source as source_of
from finetune.recipe.grammar import Document
from finetune.recipe.schema import Recipe
from finetune.recipe.section import KeyPath, is_run_name
from finetune.recipe.sentences import quoted, sentences, shown

_PLAIN_WORD = re.compile(r"(?:\.\.?/)*[A-Za-z/][\w./-]*", re.ASCII)
_OLD_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # booleans to other readers of YAML


def load(path: str | Path, *, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in the file `path`, whose folder its relative paths start from; without a `name` the file's name is
    taken.

    `overrides` are assignments such as 'train.batch_size=64', applied before anything is checked. Raises RecipeError
    with every fault at its line and column.
    """
    path = Path(path)
    return loads(grammar.read(path), source=str(path), folder=path.parent, overrides=overrides)


def loads(text: str, *, source: str, folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in `text`, as `load`; `source` is what messages call it, `folder` what relative paths start from."""
    origin = source_of(text, source)
    found = grammar.document(text, origin)
    data, start = found.data, Place(1, 1, origin)
    if found.empty or (data is None and not found.faults):
        raise refusal([Fault(start, "the recipe is empty; it needs at least data and backbone")])
    if not isinstance(data, dict):
        wrong = Fault(
            found.places[()], f"a recipe is a mapping of sections such as data and backbone, not {shown(data)}"
        )
        raise refusal([*found.faults, wrong] if () not in found.spoiled else found.faults)
    for number, assignment in enumerate(overrides):
        assign(found, assignment, number=number)
    if "name" not in data:
        data["name"] = _name(source, found, start)
    try:
        recipe = Recipe.model_validate_json(json.dumps(data), context={"folder": os.path.abspath(folder)})
    except ValidationError as error:
        told = [
            Fault(_place(found, path), text) for path, text in sentences(error, Recipe) if not _spoiled(found, path)
        ]
        raise refusal([*found.faults, *told]) from None
    if found.faults:
        raise refusal(found.faults)
    return recipe


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe with assignments such as 'train.batch_size=64' applied; their paths start from the working folder.

    Raises RecipeError as `loads` does.
    """
    return loads(dump(recipe), source="the recipe", folder=Path(), overrides=overrides) if overrides else recipe


def dump(recipe: Recipe, *, relative_to: Path | None = None) -> str:
    """The recipe as YAML, complete with defaults, in the order of the schema; the same recipe gives the same bytes.

    `loads` gives an equal recipe back; with `relative_to`, paths are written relative to that folder and read back
    from it.
    """
    folder = None if relative_to is None else os.path.abspath(relative_to)
    data = recipe.model_dump(mode="json", context={"relative_to": folder})
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=10**6)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that any reader of YAML could take for something else."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN_WORD.fullmatch(text) and text.lower() not in _OLD_WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _quoted)


def _name(source: str, found: Document, start: Place) -> str:
    stem = Path(source).stem
    if is_run_name(stem):
        return stem
    found.faults.append(Fault(start, f"{quoted(stem)} cannot name a run; add a line such as name: flowers"))
    return "recipe"


def _place(found: Document, path: KeyPath) -> Place:
    """Where the key is written, or else the nearest section around it."""
    while path not in found.places:
        path = path[:-1]
    return found.places[path]


def _spoiled(found: Document, path: KeyPath) -> bool:
    return any(path[:length] in found.spoiled for length in range(len(path) + 1))
