"""One process at a time in a folder: a lock that the system lets go of when the process dies, however it dies."""

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from finetune.bundle.durable import worded
from finetune.errors import OutputTaken, printable

LOCK = ".lock"

_held_here: set[Path] = set()  # the system's lock does not keep two threads of one process apart
_guard = threading.Lock()

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> bool:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far behind the text, which others must be able to read
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(descriptor: int) -> bool:
        try:
            # not flock, which a forked child keeps when its parent is killed
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # a file system without locks is no reason not to run: the folder was claimed when it was made
            return error.errno not in (errno.EACCES, errno.EAGAIN)
        return True


def claim(folder: Path) -> None:
    """Makes `folder` the caller's: of several callers exactly one succeeds, the others get OutputTaken.

    The folder must be new, or there and empty. Raises OSError.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir() or any(folder.iterdir()):
            raise OutputTaken(_why_taken(folder)) from None
    try:
        # a folder that was empty for two callers, or was made by one and found by the other
        os.close(os.open(folder / LOCK, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        raise OutputTaken(_why_taken(folder)) from None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder; raises OutputTaken, naming the process, while another run or thread holds it."""
    key = folder.resolve()
    with _guard:
        # before the file is opened: closing any descriptor of it would let go of this process's lock
        if key in _held_here:
            raise OutputTaken(f"{_shown(folder)} is in use by this process ({os.getpid()}) already")
        _held_here.add(key)
    try:
        with _descriptor(folder) as descriptor:
            if not _take(descriptor):
                holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
                raise OutputTaken(f"{_shown(folder)} is in use by process {printable(holder)}: wait for it, or stop it")
            _write(descriptor, f"{os.getpid()}\n")
            try:
                yield
            finally:
                _write(descriptor, "")
    finally:
        with _guard:
            _held_here.discard(key)


@contextlib.contextmanager
def _descriptor(folder: Path) -> Iterator[int]:
    with worded(folder / LOCK):
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)  # lets go of the lock


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, text.encode())


def _why_taken(folder: Path) -> str:
    if (folder / "bundle.json").is_file():
        return (
            f"{_shown(folder)} holds a run already: finish it with `finetune resume {printable(str(folder))}`, "
            "or choose another folder"
        )
    return f"{_shown(folder)} is taken: the output must be a new or an empty folder"


def _shown(folder: Path) -> str:
    return repr(printable(str(folder)))
