"""`--set train.batch_size=64`: single values of a recipe replaced from outside, before anything is checked."""

import re

from finetune.errors import printable
from finetune.recipe.fault import Fault, Place, Source
from finetune.recipe.grammar import Document, document
from finetune.recipe.section import KeyPath

_PATH = re.compile(r"[A-Za-z_]\w*(?:\.\w{1,100})*")

_KINDS: dict[KeyPath, str] = {  # what a section is when it is left out; the schema's defaults
    ("split",): "stratified",
    ("head",): "linear",
    ("schedule",): "head",
    ("backbone", "weights"): "hub",
    ("train", "optimizer"): "adamw",
}


class _Misplaced(Exception):
    """The path of an override leads nowhere; the sentence says why."""


def assign(base: Document, assignment: str, *, number: int) -> None:
    """Write `key.path=value` into the data of `base`; the value is read by the grammar of recipes.

    Sections on the way that are missing are made, of their default kind; items of a list are addressed by their number
    from 0; of two assignments to one key the later counts. What is wrong is added to the faults of `base`; `number`
    keeps them in order. Raises RecipeError where the value is not YAML.
    """
    place = Place(10**9 + number, 0, Source(f"--set {assignment}"))
    key, equals, text = assignment.partition("=")
    if not equals or not _PATH.fullmatch(key):
        base.faults.append(Fault(place, "an override is written key=value, such as train.batch_size=64"))
        return
    path: KeyPath = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
    value = document(text, place.source)
    try:
        _put(base.data, path, value.data)
    except _Misplaced as error:
        base.faults.append(Fault(place, str(error)))
        return
    _forget(base, path)
    base.faults.extend(Fault(place, fault.message) for fault in value.faults)
    base.spoiled.update((*path, *inner) for inner in value.spoiled)
    for length in range(1, len(path) + 1):
        base.places.setdefault(path[:length], place)
    base.places.update({(*path, *inner): place for inner in value.places})


def _put(data: object, path: KeyPath, value: object) -> None:
    for depth, part in enumerate(path[:-1]):
        if isinstance(data, dict) and isinstance(part, str):
            if data.get(part) is None:
                _must_be_keys(path, depth)
                kind = _KINDS.get(path[: depth + 1])
                data[part] = {"kind": kind} if kind else {}
            data = data[part]
        else:
            data = _item(data, path[: depth + 1])[1]
    if isinstance(data, dict) and isinstance(path[-1], str):
        data[path[-1]] = value
    else:
        items, _ = _item(data, path)
        items[int(path[-1])] = value


def _must_be_keys(path: KeyPath, depth: int) -> None:
    """Raises _Misplaced where the rest of a path that is not there yet asks for an item of a list."""
    for end, part in enumerate(path[depth + 1 :], start=depth + 1):
        if isinstance(part, int):
            raise _Misplaced(f"{'.'.join(map(str, path[:end]))} is not there, so that it has no item {part}")


def _item(data: object, path: KeyPath) -> tuple[list[object], object]:
    """The list that the last part of `path` is an index into, and the item there."""
    parent, last = ".".join(map(str, path[:-1])), path[-1]
    if not isinstance(data, list):
        what = "keys" if isinstance(last, str) else "items"
        found = "a mapping" if isinstance(data, dict) else "a single value"
        raise _Misplaced(f"{parent} has no {what}: it is {found}")
    if isinstance(last, str):
        raise _Misplaced(f"{parent} is a list; give the number of an item from 0, not '{printable(last, limit=60)}'")
    if last >= len(data):
        raise _Misplaced(f"{parent} has {len(data)} items, numbered from 0; there is no {last}")
    return data, data[last]


def _forget(base: Document, path: KeyPath) -> None:
    """What was known of the value that is replaced."""
    for inner in [inner for inner in base.places if inner[: len(path)] == path]:
        del base.places[inner]
    base.spoiled.difference_update([inner for inner in base.spoiled if inner[: len(path)] == path])
