"""Numbers that know where they come from: what the page prints of them names the place in the bundle's files.

A source is a file and the way to a value in it, `metrics.json:test.accuracy.value`; several stand in a row. A verb says
what was made of them: `sum(…)`, `minus(… …)`, `share(… …)`, `count(…)`, `percent(…)`, `words(…)`, `duration(…)`,
`size(…)`, `fold(… … … …)`: how many times the first over the second is the third over the fourth. A text that is quoted
has `text(…)`, for which the file alone may stand.
"""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, PrivateAttr

from finetune.errors import printable


class Record(BaseModel):
    """What was read from a file of the bundle: strict, frozen, and once `located` with its place in that file."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)
    _source: str = PrivateAttr("")

    @property
    def origin(self) -> str:
        """The place of this record, '' where it is of no file."""
        return self._source


@dataclass(frozen=True)
class Value:
    """A number and its source."""

    number: float | int | None
    source: str


@dataclass(frozen=True)
class Shown:
    """A text that shows a value: the page prints it in an element that names the source."""

    text: str
    source: str

    def __html__(self) -> str:
        return Markup('<span data-source="{}">{}</span>').format(self.source, printable(self.text, limit=300))

    def __str__(self) -> str:
        return self.text


def located(value: Any, source: str) -> Any:
    """The same value; every record in it, through lists and mappings, knows its place from here on."""
    match value:
        case Record():
            value._source = source
            joined = source if source.endswith(":") else f"{source}."
            for name, field in type(value).model_fields.items():
                located(getattr(value, name), f"{joined}{field.alias or name}")
        case list() | tuple() if value and isinstance(value[0], Record | list | dict):
            for place, item in enumerate(value):
                located(item, f"{source if source.endswith(':') else source + '.'}{place}")
        case dict():
            for name, item in value.items():
                if isinstance(item, Record):
                    located(item, f"{source}.{name}")
    return value


def at(record: Record, name: str) -> Value:
    """A number of a record by its name, with its source."""
    alias = type(record).model_fields[name].alias or name
    source = record.origin
    return Value(getattr(record, name), f"{source}{'' if source.endswith(':') else '.'}{alias}" if source else "")


def shown(text: str, *sources: str, verb: str = "") -> Shown | str:
    """The text with its sources, if all are known."""
    if not all(sources):
        return text
    joined = " ".join(sources)
    return Shown(text, f"{verb}({joined})" if verb else joined)
