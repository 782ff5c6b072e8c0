"""How long each part of a run took: kept apart from everything that must be the same in two runs."""

import contextlib
import json
import time
from collections.abc import Iterator

from finetune.bundle.folder import Bundle


class Timings:
    """The lines of `timings.jsonl`; those of an earlier part of the run first, where it is resumed."""

    def __init__(self, bundle: Bundle | None = None) -> None:
        self.lines: list[dict[str, object]] = list(bundle.timings) if bundle and bundle.has("timings.jsonl") else []

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Times the block."""
        begun = time.monotonic()
        yield
        self.add(name, time.monotonic() - begun)

    def add(self, name: str, seconds: float) -> None:
        """A part that was timed elsewhere."""
        self.lines.append({"part": name, "seconds": round(seconds, 3)})

    def write_to(self, bundle: Bundle) -> None:
        """Writes all lines so far."""
        bundle.write("timings.jsonl", "".join(json.dumps(line) + "\n" for line in self.lines).encode())
