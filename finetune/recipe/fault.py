"""One thing that is wrong with a text, where it stands, and how many of them are told."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from finetune.errors import RecipeError, printable

MOST_SHOWN = 20
BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # where PyYAML ends a line


@dataclass(frozen=True, eq=False)
class Source:
    """A text and what to call it; `lines` is None for an override, whose name holds all of it."""

    name: str
    lines: tuple[str, ...] | None = None

    def words(self, line: int, column: int) -> str:
        """The place as a message begins with it."""
        return printable(self.name) if self.lines is None else f"{printable(self.name)}:{line}:{column}"

    def excerpt(self, line: int, column: int) -> str:
        """The line as a message shows it, from a little before the column where that lies far to the right."""
        if self.lines is None or line > len(self.lines):
            return ""
        whole = self.lines[line - 1]
        far = column > 150
        return ("… " if far else "") + printable((whole[column - 50 :] if far else whole).strip(" \t\ufeff"))


@dataclass(frozen=True, order=True)
class Place:
    """Where something is written: line and column, from 1."""

    line: int
    column: int
    source: Source = field(compare=False)


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong, and where."""

    place: Place
    message: str

    def __str__(self) -> str:
        line, column, source = self.place.line, self.place.column, self.place.source
        excerpt = source.excerpt(line, column)
        return f"{source.words(line, column)}: {self.message}" + (f"\n    {excerpt}" if excerpt else "")


def source(text: str, name: str) -> Source:
    """The text of a file or a string as the source of places in it."""
    return Source(name, tuple(BREAK.split(text)))


def refusal(faults: Iterable[Fault]) -> RecipeError:
    """All faults in the order of their places, the first 20 written out."""
    found = sorted(set(faults))
    lines = [str(fault) for fault in found[:MOST_SHOWN]]
    if len(found) > MOST_SHOWN:
        lines.append(f"… and {len(found) - MOST_SHOWN} more faults")
    return RecipeError("\n".join(lines))
