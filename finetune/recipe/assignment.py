"""`--set train.batch_size=64`: single values of a recipe replaced from outside, before anything is checked."""

import re
from typing import Any

from finetune.errors import printable
from finetune.recipe.fault import Fault, Place, Source
from finetune.recipe.grammar import Document, document
from finetune.recipe.schema import Recipe
from finetune.recipe.section import KeyPath, Section, kind_of, sections_in

_PATH = re.compile(r"[A-Za-z_]\w*(?:\.\w{1,100})*")

_KINDS: dict[tuple[str, ...], str] = {  # what a section is when it is left out: the schema's default, or the plainest
    ("data",): "folder",
    ("split",): "stratified",
    ("head",): "linear",
    ("schedule",): "head",
    ("schedule", "candidates", "weights"): "hub",
    ("backbone", "weights"): "hub",
    ("train", "optimizer"): "adamw",
}


class _Misplaced(Exception):
    """The path of an override leads nowhere; the sentence says why."""


def assign(base: Document, assignment: str, *, number: int) -> None:
    """Write `key.path=value` into the data of `base`; the value is read by the grammar of recipes.

    Sections on the way that are missing are made, of their default kind; items of a list are addressed by their number
    from 0; of two assignments to one key the later counts. Where a section becomes one of another kind, keys of its
    text that only the former kind has go. What is wrong is added to the faults of `base`; `number` keeps them in order.
    Raises RecipeError where the value is not YAML.
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
    if path[-1] == "kind":
        _leave_behind(base, path[:-1])
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
                kind = _KINDS.get(tuple(part for part in path[: depth + 1] if isinstance(part, str)))
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


def _leave_behind(base: Document, path: KeyPath) -> None:
    """Takes the keys out of a section that other kinds know, and the one that it has now does not; what overrides said
    stays, and is refused.
    """
    section: Any = base.data
    for part in path:
        section = section[part]
    kinds = {kind_of(one): set(one.model_fields) for one in _sections_at(path)}
    own = kinds.get(str(section["kind"]))
    for key in sorted(set().union(*kinds.values()) - own if own else ()):
        place = base.places.get((*path, key))
        if place is not None and place.source.lines is not None:
            section.pop(key, None)
            _forget(base, (*path, key))


def _sections_at(path: KeyPath) -> tuple[type[Section], ...]:
    """The sections of a recipe that may stand at a path."""
    found: tuple[type[Section], ...] = (Recipe,)
    for part in path:
        if isinstance(part, str):
            fields = [one.model_fields[part] for one in found if part in one.model_fields]
            found = tuple(dict.fromkeys(inner for field in fields for inner in sections_in(field.annotation)))
    return found


def _forget(base: Document, path: KeyPath) -> None:
    """What was known of the value that is replaced."""
    for inner in [inner for inner in base.places if inner[: len(path)] == path]:
        del base.places[inner]
    base.spoiled.difference_update([inner for inner in base.spoiled if inner[: len(path)] == path])
