"""Pydantic's errors as (path, sentence): which key, what is wrong, what would be right; no union tags, no jargon."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from finetune.errors import printable, suggestion
from finetune.recipe.section import STAGES, Conflict, KeyPath, Section, kind_of, sections_in, tag_of

_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}
_WORD = re.compile(r"[A-Za-z][\w.]{0,59}", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class _Spot:
    """Where an error is: its path as written, the section that holds it, and the sections that may stand there."""

    path: KeyPath
    holder: type[Section]
    inside: tuple[type[Section], ...]

    @property
    def called(self) -> str:
        """What to call the value: its key, or its place in the list of that name."""
        return _called(self.path)


def sentences(error: ValidationError, model: type[Section]) -> Iterator[Conflict]:
    """Every fault that `model` found: the path of the key or value that it is about, and a sentence.

    The path of a missing key ends with that key, so that the nearest place that exists is its section.
    """
    found = [(_spot(details["loc"], model), details) for details in error.errors(include_url=False)]
    unknown = {spot.path: _unknown(spot, model) for spot, details in found if details["type"] == "extra_forbidden"}
    meant = {(path[:-1], near) for path, (_, near) in unknown.items()}
    told = dict.fromkeys((path, text) for path, (text, _) in unknown.items())
    for spot, details in found:
        kind, context = details["type"], details.get("ctx", {})
        if kind == "missing" and (spot.path[:-1], spot.path[-1]) in meant:
            continue  # misspelt, and said so already
        if kind == "too_short" and len(details["input"]) >= context["min_length"]:
            continue  # pydantic counts only the items that it accepted
        if kind != "extra_forbidden":
            told.update(dict.fromkeys(_told(spot, details)))
    yield from told


def quoted(text: str) -> str:
    """A word from outside in quotes, safe to print."""
    return f"'{printable(text, limit=60)}'"


def shown(value: object) -> str:
    """A value as a message quotes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, Sequence) else repr(value)


def _told(spot: _Spot, details: Any) -> list[Conflict]:
    kind, context, given = details["type"], details.get("ctx", {}), details["input"]
    if kind == "conflicts":
        return [((*spot.path, *at), text) for at, text in context["conflicts"]]
    if kind == "value_error":
        return [(spot.path, str(context["error"]))]
    if kind == "missing":
        return [_missing(spot, given)]
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return [_without_kind(spot, given)]
    if kind in ("dict_type", "model_type"):
        return [(spot.path, _not_a_section(spot, given))]
    if kind == "too_long" and (count := _fixed(spot, spot.path[-1])):
        return [(spot.path, f"{spot.called} takes exactly {count} items, not {len(given)}")]
    return [(spot.path, f"{spot.called} {_must(kind, context, given)}")]


def _must(kind: str, context: Mapping[str, Any], given: Any) -> str:
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"must be {words} {context[key]:g}, not {shown(given)}"
    if kind == "too_short":
        return f"needs at least {context['min_length']} item, not {len(given)}"
    if kind == "too_long":
        return f"takes at most {context['max_length']} items, not {len(given)}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        meant_so = not isinstance(given, str) or given in STAGES  # a stage is no other one misspelt
        wanted, near = _either(choices), "" if meant_so else suggestion(given, choices)
    else:
        wanted, near = _WANTED[kind], _rewritten(kind, given)
    return f"is empty; it must be {wanted}" if given is None else f"must be {wanted}, not {shown(given)}{near}"


def _rewritten(kind: str, given: object) -> str:
    if kind == "string_type" and isinstance(given, bool | int | float):
        return "; put it in quotes"
    if kind in ("int_type", "float_type") and isinstance(given, str) and any(c.isdigit() for c in given):
        plain = _NUMBER.fullmatch(given) and not re.match(r"[-+]?0\d", given)
        return f"; write {given} without quotes" if plain else "; numbers are written like 10, 0.001 or 1.0e-3"
    return ""


def _missing(spot: _Spot, given: object) -> Conflict:
    if isinstance(spot.path[-1], int):
        path = spot.path[:-1]
        count = _fixed(spot, path[-1])
        return path, f"{_called(path)} takes exactly {count} items, not {len(given) if isinstance(given, list) else 0}"
    key, example = spot.path[-1], spot.inside[0].example if spot.inside else ""
    such_as = (
        f", such as {key}: {example}" if example else f", such as {spot.holder.example}" if spot.holder.example else ""
    )
    return spot.path, f"{_called(spot.path[:-1])} needs {key!r}{such_as}"


def _fixed(spot: _Spot, key: str | int) -> int:
    """How many items the key of a fixed number of them takes; 0 for any other key."""
    field = spot.holder.model_fields.get(str(key))
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    fixed = [get_args(kind) for kind in kinds if get_origin(kind) is tuple and ... not in get_args(kind)]
    return len(fixed[0]) if fixed else 0


def _without_kind(spot: _Spot, given: Mapping[str, object]) -> Conflict:
    kinds, tag = [kind_of(one) for one in spot.inside], tag_of(spot.inside[0])
    value = given.get(tag)
    if isinstance(value, str):
        near = suggestion(value, kinds)
        return (*spot.path, tag), f"unknown {tag} {quoted(value)} of {spot.called}; choose {_either(kinds)}{near}"
    if tag in given:
        wrong = f"must be {_either(kinds)}, not {shown(value)}"
        return (*spot.path, tag), f"{tag} is empty; it must be {_either(kinds)}" if value is None else f"{tag} {wrong}"
    for key in given:
        if suggestion(key, [tag]):
            return (*spot.path, key), f"unknown key {quoted(key)}; did you mean {tag!r}?"
    return spot.path, f"{spot.called} needs {tag!r}: {_either(kinds)}"


def _not_a_section(spot: _Spot, given: object) -> str:
    kinds = [kind_of(one) for one in spot.inside]
    if len(kinds) > 1:
        kind = given if isinstance(given, str) and given in kinds else kinds[0]
        example = f"{{{tag_of(spot.inside[0])}: {kind}}}"
    else:
        named = isinstance(given, str) and _WORD.fullmatch(given) and "name" in spot.inside[0].model_fields
        example = f"{{name: {given}}}" if named else spot.inside[0].example
    problem = "is empty" if given is None else f"must be a mapping, not {shown(given)}"
    field = spot.holder.model_fields.get(str(spot.path[-1]))
    out = "" if field is None or field.is_required() else ", or leave it out"
    key = "" if isinstance(spot.path[-1], int) else f"{spot.called}: "
    return f"{spot.called} {problem}; write {key}{example}{out}"


def _unknown(spot: _Spot, model: type[Section]) -> tuple[str, str]:
    """The sentence about an unknown key, and the key beside it that was probably meant."""
    key, known = str(spot.path[-1]), list(spot.holder.model_fields)
    start = f"unknown key {quoted(key)}"
    own = ".".join(str(part) for part in spot.path[:-1] if isinstance(part, str))
    keys = tuple(_keys(model))
    kinds = list(dict.fromkeys(kind for name, home, kind in keys if name == key and home == own and kind))
    if kinds:
        tag = tag_of(spot.holder)
        return f"{start} of {tag} {kind_of(spot.holder)!r}; {tag} {_either(kinds)} has it", ""
    near = suggestion(key, known)
    if near:
        return start + near, near.split("'")[1]
    homes = _homes(key, keys)
    if homes:
        return f"{start}; it belongs to {homes}", ""
    near = suggestion(key, [name for name, _, _ in keys])
    homes = _homes(near.split("'")[1], keys) if near else ""
    if homes:
        return f"{start}{near.rstrip('?')}, which belongs to {homes}?", ""
    return f"{start}; {_called(spot.path[:-1])} has {', '.join(known)}", ""


def _homes(key: str, keys: Iterable[tuple[str, str, str]]) -> str:
    """The sections that a key belongs to, in words; nothing where they are too many to help."""
    homes = list(dict.fromkeys(home or "the top of the recipe" for name, home, _ in keys if name == key))
    return _either(homes) if len(homes) in (1, 2) else ""


def _keys(section: type[Section], path: str = "") -> Iterator[tuple[str, str, str]]:
    """Every key of a recipe: its name, its section's dotted path, the kind of that section or nothing."""
    for name, field in section.model_fields.items():
        yield name, path, kind_of(section)
        for inner in sections_in(field.annotation):
            yield from _keys(inner, f"{path}.{name}".lstrip("."))


def _spot(location: Iterable[Any], model: type[Section]) -> _Spot:
    path: list[str | int] = []
    holder = model
    inside: tuple[type[Section], ...] = (model,)
    parts = [*location]
    while parts:
        part = parts.pop(0)
        path.append(part)
        if not isinstance(part, int):
            holder = inside[0]
            field = holder.model_fields.get(part)
            inside = sections_in(field.annotation) if field else ()
        if len(inside) > 1 and parts and not isinstance(parts[0], int):
            tag = parts.pop(0)  # pydantic goes on with the kind that it chose, which nobody wrote there
            inside = tuple(one for one in inside if tag == kind_of(one))
    return _Spot(tuple(path), holder, inside)


def _called(path: KeyPath) -> str:
    if not path:
        return "the recipe"
    last = path[-1]
    return f"item {last + 1} of {_called(path[:-1])}" if isinstance(last, int) else printable(str(last), limit=60)


def _either(choices: Sequence[str]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"
