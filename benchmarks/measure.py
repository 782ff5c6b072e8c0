"""A command as a process of its own, measured from outside with all that it starts: time, processor time, memory."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
INTERVAL = 0.2  # seconds between two looks at memory
PSS_EVERY = 5  # looks; the kernel walks all pages for it


@dataclass(frozen=True)
class Measured:
    """What a process and its children took, from start to end.

    seconds: on the clock. cpu_seconds: user and system time of the process and of all children that were waited for.
    peak_rss: bytes, the largest sum of resident memory, in which pages that two processes share count twice. peak_pss:
    the largest sum in which they count once, None where the system does not tell. largest: bytes, exact, the peak of
    the one process that had the most. Sums are sampled, and may miss a short peak. output: standard output.
    """

    seconds: float
    cpu_seconds: float
    peak_rss: int
    peak_pss: int | None
    largest: int
    output: str


def measured(command: Sequence[str], *, env: Mapping[str, str], cwd: Path = ROOT) -> Measured:
    """Runs `command` to its end. Raises SystemExit with the end of its standard error when it fails."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        begun = time.perf_counter()
        process = subprocess.Popen(command, env=env, cwd=cwd, stdout=output, stderr=errors, stdin=subprocess.DEVNULL)
        memory = _Memory(process.pid)
        try:
            _, status, usage = os.wait4(process.pid, 0)  # its times are those of the whole tree
        except BaseException:
            process.kill()
            raise
        finally:
            seconds = time.perf_counter() - begun
            memory.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}\nended with {process.returncode}:\n{errors.read()[-3000:]}")
        largest = usage.ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
        return Measured(
            seconds=seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_rss=max(memory.rss, largest),
            peak_pss=max(memory.pss, largest) if memory.pss else None,
            largest=largest,
            output=output.read(),
        )


def commit() -> str:
    """The commit that is checked out, with "-dirty" where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "unknown"


class _Memory:
    """Looks at the memory of a process and of its descendants in a thread of its own until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.rss = self.pss = 0
        self._root = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        looks = 0
        while not self._ended.wait(INTERVAL):
            looks += 1
            tree = self._tree()
            self.rss = max(self.rss, sum(_asked(one, "rss") for one in tree))
            if looks % PSS_EVERY == 0 and psutil.LINUX:
                self.pss = max(self.pss, sum(_asked(one, "pss") for one in tree))

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return []  # it has just ended


def _asked(process: psutil.Process, what: str) -> int:
    try:
        found = process.memory_info() if what == "rss" else process.memory_full_info()
        return int(getattr(found, what))
    except psutil.Error:
        return 0
