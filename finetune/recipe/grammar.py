"""YAML text -> plain data with the place of every key and value; what a recipe may not contain is refused here.

The grammar is YAML 1.2's core schema, narrowed: numbers are decimal, everything that two readers could take for two
things (`010`, `0x10`, `1_000`, `1:30`, `yes`, dates) is the text that it looks like. Tags, anchors, aliases, merge
keys, repeated keys and further documents are refused while events arrive, so that nothing large or foreign is ever
built. This module does not know what keys a recipe has.
"""

import codecs
import math
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from finetune.errors import RecipeError, printable
from finetune.recipe.fault import BREAK, Fault, Place, Source, refusal, source
from finetune.recipe.section import KeyPath

MOST_BYTES = 256 * 1024
MOST_NODES = 10_000
MOST_DEPTH = 20

NULL = re.compile(r"~|null|Null|NULL|")
TRUTH = re.compile(r"true|True|TRUE|false|False|FALSE")
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
REAL = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

_TOO_DEEP = f"nested more than {MOST_DEPTH} deep, which no recipe is"
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """Plain data, the places of its keys and list items, and what was refused in it.

    `spoiled` are the paths whose value was refused, so that nobody complains of it a second time.
    """

    data: object = None
    empty: bool = False
    places: dict[KeyPath, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    spoiled: set[KeyPath] = field(default_factory=set)


def read(path: Path) -> str:
    """The text of a recipe file: regular, UTF-8 and at most 256 KiB; anything else raises RecipeError."""
    shown = printable(str(path))
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RecipeError(f"{shown}: is not a regular file; write the recipe into one")
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise RecipeError(f"{shown}: there is no such file") from None
    except IsADirectoryError:
        raise RecipeError(f"{shown}: is a folder, not a recipe file") from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"{shown}: cannot be read: {_reason(error)}") from None
    if len(data) > MOST_BYTES:
        raise RecipeError(f"{shown}: is larger than {MOST_BYTES // 1024} KiB, which no recipe is")
    return _decoded(data, shown)


def document(text: str, origin: Source) -> Document:
    """The one document in `text`, with everything refused that can be refused without losing the thread.

    Raises RecipeError where the text cannot be read on: not YAML, more than 10,000 nodes, or nested more than 20 deep.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MOST_BYTES or len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise refusal([Fault(Place(1, 1, origin), f"is larger than {MOST_BYTES // 1024} KiB, which no recipe is")])
    found = _UNPRINTABLE.search(text)
    if found:
        before = BREAK.split(text[: found.start()])
        message = f"the character {printable(found.group())} cannot be part of a recipe"
        raise refusal([Fault(Place(len(before), len(before[-1]) + 1, origin), message)])
    return _Reader(text, origin).document()


class _Shallow(yaml.SafeLoader):
    """PyYAML's parser, stopped where a text nests too deeply: looking ahead over 20,000 brackets takes seconds."""

    def fetch_flow_collection_start(self, TokenClass: type[yaml.Token]) -> None:
        if self.flow_level > MOST_DEPTH:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=self.get_mark())
        super().fetch_flow_collection_start(TokenClass)


class _Reader:
    """Turns PyYAML's events into plain data, counting as it goes."""

    def __init__(self, text: str, origin: Source) -> None:
        self._yaml: Any = _Shallow(text)
        self._origin = origin
        self._nodes = 0
        self._result = Document()

    def document(self) -> Document:
        self._next()  # the start of the stream
        start = self._next()
        if isinstance(start, yaml.StreamEndEvent):
            return Document(empty=True)
        assert isinstance(start, yaml.DocumentStartEvent)
        if start.version not in (None, (1, 2)):
            self._refuse(start, (), "recipes are read as YAML 1.2; drop the %YAML line")
        data = self._value((), 1)
        self._next()  # the end of the document
        further = self._next()
        if not isinstance(further, yaml.StreamEndEvent):
            self._stop(further, "a second document begins here; a recipe is one document")
        result = self._result
        return Document(data, False, result.places, result.faults, result.spoiled)

    def _value(self, path: KeyPath, depth: int) -> object:
        event = self._next()
        self._nodes += 1
        self._result.places.setdefault(path, self._place(event))
        if self._nodes > MOST_NODES:
            self._stop(event, f"more than {MOST_NODES} values and keys, which no recipe has")
        if depth > MOST_DEPTH:
            self._stop(event, _TOO_DEEP)
        if not isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent):  # an alias
            self._refuse(event, path, "aliases are not allowed; write the value out")
            return None
        if event.anchor is not None:
            self._refuse(event, path, "anchors are not allowed; write the value where it is needed")
        if event.tag is not None:
            self._refuse(
                event,
                path,
                f"tags such as {printable(event.tag, limit=60)} are not allowed; a recipe holds plain values only",
            )
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path, depth)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, depth)
        return self._scalar(event, path)

    def _sequence(self, path: KeyPath, depth: int) -> list[object]:
        items: list[object] = []
        while not isinstance(self._peek(), yaml.SequenceEndEvent):
            items.append(self._value((*path, len(items)), depth + 1))
        self._next()
        return items

    def _mapping(self, path: KeyPath, depth: int) -> dict[str, object]:
        items: dict[str, object] = {}
        while not isinstance(self._peek(), yaml.MappingEndEvent):
            place = self._place(self._peek())
            key = self._key(path, depth)
            if key is None:  # refused: its value is read past, and everything in it is spoiled
                self._value((*path, "?"), depth + 1)
                continue
            inner = (*path, key)
            if key in items:
                first = self._result.places[inner].line
                self._result.faults.append(
                    Fault(place, f"key '{printable(key, limit=60)}' is given twice, first in line {first}")
                )
                self._value((*path, "?"), depth + 1)
                continue
            self._result.places[inner] = place
            items[key] = self._value(inner, depth + 1)
        self._next()
        return items

    def _key(self, path: KeyPath, depth: int) -> str | None:
        refused = (*path, "?")
        self._result.spoiled.add(refused)
        event = self._peek()
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.style is None and event.tag is None:
            self._refuse(event, refused, "merge keys are not allowed; write the keys out")
            self._next()
            return None
        faults = len(self._result.faults)
        key = self._value(refused, depth + 1)
        if len(self._result.faults) > faults:
            return None
        if not isinstance(key, str):
            self._refuse(event, refused, "a key is a word, and this is not one")
            return None
        return key

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> object:
        text = event.value
        if event.style is not None or event.tag is not None:
            return self._text(event, path)
        if NULL.fullmatch(text):
            return None
        if TRUTH.fullmatch(text):
            return text.lower() == "true"
        if INTEGER.fullmatch(text):
            if len(text) < 20 and abs(int(text)) < 2**63:
                return int(text)
            self._refuse(event, path, f"the number {printable(text, limit=40)} is too large")
            return None
        if REAL.fullmatch(text) or NOT_FINITE.fullmatch(text):
            number = math.inf if NOT_FINITE.fullmatch(text) else float(text)
            if math.isfinite(number):
                return number
            self._refuse(
                event,
                path,
                f"{printable(text, limit=40)} is not a finite number; put it in quotes if it is meant as text",
            )
            return None
        return self._text(event, path)

    def _text(self, event: yaml.ScalarEvent, path: KeyPath) -> str:
        found = _FORBIDDEN.search(event.value)
        if found:
            self._refuse(event, path, f"the character {printable(found.group())} cannot be part of a text")
            return ""
        return str(event.value)

    def _refuse(self, event: yaml.Event, path: KeyPath, message: str) -> None:
        self._result.faults.append(Fault(self._place(event), message))
        self._result.spoiled.add(path)

    def _stop(self, event: yaml.Event, message: str) -> NoReturn:
        raise refusal([*self._result.faults, Fault(self._place(event), message)])

    def _place(self, event: yaml.Event) -> Place:
        mark: Any = event.start_mark  # every event of a text has one
        return Place(mark.line + 1, mark.column + 1, self._origin)

    def _next(self) -> yaml.Event:
        event = self._peek()
        self._yaml.get_event()
        return event

    def _peek(self) -> yaml.Event:
        mark: Any
        try:
            event: yaml.Event = self._yaml.peek_event()
        except yaml.MarkedYAMLError as error:
            mark, message = error.problem_mark or self._yaml.get_mark(), _sentence(error)
        except (ValueError, OverflowError):  # a number in an escape or a directive that PyYAML cannot hold
            mark, message = self._yaml.get_mark(), "this cannot be read as YAML"
        else:
            return event
        raise refusal(
            [*self._result.faults, Fault(Place(mark.line + 1, mark.column + 1, self._origin), message)]
        ) from None


_HINTS = (
    (re.escape(_TOO_DEEP), _TOO_DEEP),
    (r".*'\\t'.*", "a tab cannot indent YAML; use spaces"),
    (r"mapping values are not allowed.*", "a second ': ' in one value; put the value in quotes"),
    (r"found undefined tag handle.*", "tags are not allowed; a recipe holds plain values only"),
    (r"expected ',' or '(.)', but got.*", r"a ',' or '\1' is missing before this"),
    (
        r"expected <block end>.*",
        "this does not fit what is above it: look at the indentation, and for a missing quote or bracket",
    ),
    (r"could not find expected ':'", "a ':' is missing before this"),
    (r"found unexpected end of stream", "the text ends inside quotes"),
    (r"expected the node content, but found.*", "a value is missing before this"),
)


def _sentence(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "this cannot be read"
    for pattern, hint in _HINTS:
        found = re.fullmatch(pattern, problem)
        if found:
            return found.expand(hint)
    return f"not YAML: {printable(problem[:1].lower() + problem[1:])}"


def _decoded(data: bytes, shown: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RecipeError(f"{shown}:1:1: the file is UTF-16 or UTF-32; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        lines = BREAK.split(data[: error.start].decode("utf-8"))
        place = Place(len(lines), len(lines[-1]) + 1, source(data.decode("utf-8", "surrogateescape"), shown))
        raise refusal(
            [Fault(place, f"the byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8")]
        ) from None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a FIFO without a writer would block for ever


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else "the path holds a NUL character"
