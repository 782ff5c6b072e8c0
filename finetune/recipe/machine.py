"""What is known of this machine: where its cache is, how fast it was measured to be, its memory, what is installed."""

import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from finetune.errors import OutOfResources, UsageError, printable

# what the numbers of a run can depend on
PACKAGES = (
    "accelerate",
    "albumentations",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "safetensors",
    "scikit-learn",
    "timm",
    "torch",
    "torchvision",
)
EVALUATION_BATCH = 8  # images that a processor is given at once wherever nothing is trained
_RATES = "rates.json"
_CONTROL = Path("/sys/fs/cgroup")

Rate = Annotated[float, Field(gt=0)]


@with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
@dataclass(frozen=True)
class Rates:
    """How fast this machine was measured to be.

    Both rates count the multiply-adds of a network's forward pass, in 1e9 a second: `forward_gmacs` when only that
    pass is made, `training_gmacs` when the whole training step is (forward, both gradients), so that a step takes
    about three times as long as its pass. `decode_images`: image files to pixels, a second, on all `threads`.
    `measured`: the day, as text.
    """

    forward_gmacs: Rate
    training_gmacs: Rate
    decode_images: Rate
    measured: str
    threads: Annotated[int, Field(ge=1)]


def cache_folder() -> Path:
    """The folder for what can be made again: $FINETUNE_CACHE, or `finetune` in the user's cache folder of this
    platform.

    It need not exist. Raises UsageError where there is no home folder to look in.
    """
    own = os.environ.get("FINETUNE_CACHE")
    if own:
        return Path(own).absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else _home() / "AppData" / "Local") / "finetune"
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "finetune"
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG base directory specification: a relative path is to be ignored
    return (Path(shared) if os.path.isabs(shared) else _home() / ".cache") / "finetune"


def read_rates() -> Rates | None:
    """What `write_rates` last wrote, or None: never measured, no cache folder, or a file that is not rates."""
    try:
        return _ADAPTER.validate_json((cache_folder() / _RATES).read_bytes())
    except (OSError, UsageError, ValidationError):
        return None


def write_rates(rates: Rates) -> None:
    """Keep the rates in the cache folder, in place of earlier ones. Raises OutOfResources where that fails."""
    folder = cache_folder()
    text = json.dumps(asdict(rates), indent=2, allow_nan=False) + "\n"
    with _resources(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=_RATES)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(name, folder / _RATES)
        except OSError:
            os.unlink(name)
            raise


def available_memory() -> int | None:
    """The bytes of memory that are free for more, also by the limit of a container; None where the system does not tell
    (other than Linux).
    """
    free = _line(Path("/proc/meminfo"), "MemAvailable:")
    if free is None:
        return None
    try:
        limit, used = ((_CONTROL / name).read_text() for name in ("memory.max", "memory.current"))
        cached = _line(_CONTROL / "memory.stat", "inactive_file") or 0
        return min(1024 * free, max(0, int(limit) - int(used) + cached))
    except (OSError, ValueError):  # no container, or "max"
        return 1024 * free


def versions() -> dict[str, str]:
    """Python and the installed packages that a run's numbers can depend on, without importing any of them."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


_ADAPTER = TypeAdapter(Rates)


def _line(path: Path, name: str) -> int | None:
    """The number after a name in one of the kernel's lists."""
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            if line.split()[:1] == [name]:
                return int(line.split()[1])
    return None


def _home() -> Path:
    try:
        home = Path.home()
    except RuntimeError:
        home = Path()
    if not os.environ.get("HOME", "unset") or not home.is_absolute():
        raise UsageError("there is no home folder to keep a cache in; set FINETUNE_CACHE to a folder")
    return home


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@contextmanager
def _resources(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutOfResources(f"cannot write to {printable(str(folder))}: {error.strerror or error}") from None
