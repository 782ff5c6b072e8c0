"""How much memory this process has held."""

import sys

try:
    import resource
except ImportError:  # where there is no such thing, as on Windows
    resource = None  # type: ignore[assignment]

_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes: getrusage(2) of macOS and of Linux


def most_held() -> int | None:
    """The most resident memory that this process has held since it began, in bytes; None where nobody says so."""
    return None if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
