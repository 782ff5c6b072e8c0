"""A finding: what a check has to say of some images, for people as a sentence and for programs as plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")  # worst first


@dataclass(frozen=True)
class Finding:
    """What one check found once.

    `check` is the name of the check and `kind` a short stable word for what it found. `severity`: an error stops a run
    on this data; a warning is what a run would learn or score wrongly, or leave out; a note is worth knowing. `text` is
    a sentence without its full stop. `keys`: the images it is about, the most telling first. `figures`: numbers and
    words that the sentence rests on.
    """

    check: str
    kind: str
    severity: Severity
    text: str
    keys: tuple[str, ...] = ()
    figures: Mapping[str, float | int | str | None] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "keys": list(self.keys), "figures": dict(self.figures or {})}
