"""How long each part of a run took and how much memory it held: kept apart from everything that must be the same in two
runs.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator

from finetune.bundle.folder import Bundle
from finetune.bundle.memory import most_held


class Timings:
    """The lines of `timings.jsonl`; those of an earlier part of the run first, where it is resumed.

    Each has the part, its seconds, and in bytes the most memory that the process has held until its end, of an
    accelerator too where `on_device` says it.
    """

    def __init__(self, bundle: Bundle | None = None) -> None:
        self.lines: list[dict[str, object]] = list(bundle.timings) if bundle and bundle.has("timings.jsonl") else []
        self.on_device: Callable[[], int | None] = lambda: None

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Times the block."""
        begun = time.monotonic()
        yield
        self.add(name, time.monotonic() - begun)

    def add(self, name: str, seconds: float) -> None:
        """A part that was timed elsewhere."""
        held = {"memory": most_held(), "device_memory": self.on_device()}
        known = {name: count for name, count in held.items() if count is not None}
        self.lines.append({"part": name, "seconds": round(seconds, 3), **known})

    def write_to(self, bundle: Bundle) -> None:
        """Writes all lines so far."""
        bundle.write("timings.jsonl", "".join(json.dumps(line) + "\n" for line in self.lines).encode())
