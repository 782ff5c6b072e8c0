"""The errors a user can cause, each with its exit code.

A message says what is wrong, where, and what would be right. Text that came from outside (file names, class names,
lines of a recipe) goes through `printable` before it reaches a terminal, a log or a page.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class FinetuneError(Exception):
    """Anything a user can cause. `exit_code` is the exit code of the command, `id` the stable name of the kind."""

    exit_code = 1
    id = "error"


class UsageError(FinetuneError):
    """A command or a function was called with something it cannot work on."""

    exit_code = 2
    id = "usage"


class RecipeError(FinetuneError):
    """A recipe that says something impossible; the message holds every fault with its place."""

    exit_code = 2
    id = "recipe"


class DataError(FinetuneError):
    """Images, labels or splits that cannot be learnt from as they are."""

    exit_code = 3
    id = "data"


class UnreadableImage(DataError):
    """An image file that cannot be turned into pixels; `kind` is a short stable word, such as 'truncated'."""

    id = "image"

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind = kind
        self.reason = reason


class WeightsError(FinetuneError):
    """A weights file that was refused: damaged, unsafe, or not the tensors of this network."""

    exit_code = 4
    id = "weights"


class BundleError(FinetuneError):
    """A bundle that was refused: damaged, incomplete, changed, or written by a newer finetune."""

    exit_code = 4
    id = "bundle"


class Diverged(FinetuneError):
    """Training met a loss or a gradient that is not finite, and stopped before the step."""

    exit_code = 5
    id = "diverged"


class OutOfResources(FinetuneError):
    """The disk, the memory or a permission did not allow it."""

    exit_code = 6
    id = "resources"


class BrokenInstallation(FinetuneError):
    """Packages that are installed do not fit together."""

    exit_code = 6
    id = "installation"


class OutputTaken(FinetuneError):
    """The output folder belongs to another run, or is not empty."""

    exit_code = 7
    id = "output"


class Offline(FinetuneError):
    """Something had to come from the network, and the network is not there."""

    exit_code = 8
    id = "offline"


class Stopped(FinetuneError):
    """A signal asked the run to stop; what is complete is on disk and can be resumed."""

    id = "stopped"

    def __init__(self, message: str, *, signal: int) -> None:
        super().__init__(message)
        self.signal = signal
        self.exit_code = 128 + signal  # the shell's convention: SIGINT 130, SIGTERM 143


def printable(text: str, *, limit: int = 200) -> str:
    """`text` on one line, safe for a terminal: control, bidirectional and undecodable characters as escapes, cut at
    `limit`.
    """
    shown = "".join(c if c == " " or _is_harmless(c) else _escape(c) for c in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def cell(text: str) -> str:
    """`text` as a cell of a table: undecodable bytes escaped, no formula to a spreadsheet (CWE-1236)."""
    text = printable(text, limit=max(len(text), 200))
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def listing(items: Sequence[str], *, limit: int = 20) -> str:
    """The items as indented lines, at most `limit` of them, and how many more there are."""
    lines = [f"\n    {item}" for item in items[:limit]]
    if len(items) > limit:
        lines.append(f"\n    … and {len(items) - limit} more")
    return "".join(lines)


def suggestion(word: str, choices: Iterable[str]) -> str:
    """ "; did you mean 'validation'?", or nothing when no choice is near."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def size(count: float) -> str:
    """A number of bytes for people: '17.3 MB'."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def byte_count(text: str, *, what: str) -> int:
    """The bytes that such text as 500M, 1.5 GB or 20G says. Raises UsageError for other text; `what` said it."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    if not found:
        raise UsageError(f"{what} is {printable(text)!r}; a number of bytes is needed, such as 20G or 500M")
    return int(float(found[1]) * _SUFFIXES[found[2]])


def _is_harmless(character: str) -> bool:
    return unicodedata.category(character)[0] != "C" and unicodedata.category(character) not in ("Zl", "Zp", "Zs")


def _escape(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a file name that is not UTF-8 (surrogateescape)
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
