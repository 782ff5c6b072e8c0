"""Files that are whole or not there, through crashes and power cuts, and what the disk refused in plain words.

Temporary files lie beside their target and begin with TEMPORARY; a killed process may leave one.
"""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from finetune.errors import OutOfResources, printable, size

TEMPORARY = ".tmp-"

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that after any crash `path` holds all of `data` or what it held before, with the user's umask.

    The order is data, fsync, rename, fsync of the folder. Raises OutOfResources, and leaves no temporary file, when the
    disk or a permission does not allow it; an fsync that fails is not tried again, for the page may be lost.
    """
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}"
    with worded(path, needed=len(data)):
        try:
            # not tempfile, whose files only the owner may read
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):  # why it could not be written matters more than the litter
                temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable: a renamed file survives a power cut. Raises OSError."""
    if os.name == "nt":  # Windows cannot open a folder, and needs no such call
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def worded(path: Path, *, needed: int = 0) -> Iterator[None]:
    """Turns an OSError of writing `path` into OutOfResources: what, where, on which device, and what to do."""
    try:
        yield
    except OSError as error:
        raise OutOfResources(refusal(error, path, needed=needed)) from error


def refusal(error: OSError, path: Path, *, needed: int = 0) -> str:
    """A sentence for an OSError of writing `path`; needed: bytes."""
    shown, reason, device = _shown(path), error.strerror or str(error), _device(path)
    if error.errno in _NO_ROOM:
        free = size(shutil.disk_usage(device).free)
        return (
            f"no room for {shown}: {size(needed)} to write, {free} free on the device of {_shown(device)} ({reason}); "
            "free some space or choose another output folder"
        )
    if error.errno in _NOT_ALLOWED:
        return (
            f"not allowed to write {shown}, on the device of {_shown(device)} ({reason}); "
            "get permission to write there or choose another output folder"
        )
    return (
        f"cannot write {shown}, on the device of {_shown(device)} ({reason}); "
        "check the path and the disk, or choose another output folder"
    )


def _device(path: Path) -> Path:
    """Where the file system that holds `path` is mounted."""
    place = path.absolute()
    while not os.path.ismount(place) and place.parent != place:
        place = place.parent
    return place


def _shown(path: Path) -> str:
    return repr(printable(str(path)))
