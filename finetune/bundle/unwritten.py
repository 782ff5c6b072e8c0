"""Files that read as those of a finished bundle do, and lie nowhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.bundle.folder import Bundle
from finetune.errors import BundleError, printable


class Unwritten(Bundle):
    """A finished bundle that is not written: its files by name, in memory, for who reads.

    folder: what messages call it. facts: what its bundle.json would say.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        super().__init__(folder, {**facts, "complete": True})
        self._files = dict(files)

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return name in self._files

    def read(self, name: str) -> bytes:
        """The bytes of a file; raises BundleError where there is none."""
        if name not in self._files:
            raise BundleError(f"{printable(str(self.folder))!r} holds no {printable(name)!r}")
        return self._files[name]

    def _text(self, name: str) -> str:
        return self.read(name).decode()
