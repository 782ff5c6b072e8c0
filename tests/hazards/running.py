"""`finetune` as a process of its own, with a time limit and an eye on what it leaves behind."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 1.5e9  # of memory that a command may take
EXIT_CODES = {0, 2, 3, 4, 5, 6, 7, 8}

FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")  # in whatever is written

_DRIVER = """
import os, sys
from pathlib import Path
from finetune.cli import main
try:
    main(sys.argv[2:])
finally:
    status = Path("/proc/self/status")
    peak = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")] if status.exists() else []
    Path(sys.argv[1]).write_text(peak[0].split()[1] if peak else "0")
"""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def ended_well(self) -> None:
        """With a documented code, without a traceback, and with nothing in its words that a terminal would obey."""
        assert self.code in EXIT_CODES, self.err
        assert "Traceback" not in self.err
        assert "error[bug]" not in self.err
        assert not FORBIDDEN.search(self.out + self.err)


def finetune(here: Path, *arguments: object, seconds: float = 120) -> Ended:
    """Runs a command from a folder `here`, which has its cache and a program `gs` that nobody may call.

    It may not read what its user may not, also where the tests run as root.
    """
    peak = here / "peak"
    ghostscript = here / "bin" / "gs"
    ghostscript.parent.mkdir(exist_ok=True)
    ghostscript.write_text(f"#!/bin/sh\ntouch {here / 'gs-ran'}\n")
    ghostscript.chmod(0o755)
    process = subprocess.Popen(
        [*_unprivileged(), sys.executable, "-c", _DRIVER, str(peak), *map(str, arguments)],
        cwd=here,
        env={
            **os.environ,
            "FINETUNE_CACHE": str(here / "cache"),
            "PATH": f"{ghostscript.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert not _runs(process.pid), "a process was left behind"
    assert int(peak.read_text()) * 1024 < MOST_BYTES
    assert not (here / "gs-ran").exists(), "Ghostscript was called"
    ended = Ended(process.returncode, out.decode("utf-8"), err.decode("utf-8"))
    ended.ended_well()
    return ended


def _unprivileged() -> list[str]:
    """Root reads every file; without its capabilities it is a user like others."""
    if os.geteuid():
        return []
    command = shutil.which("setpriv")
    return [command, "--bounding-set=-all", "--inh-caps=-all"] if command else []


def may_read_everything() -> bool:
    """Whether no file can be kept from the command."""
    return not os.geteuid() and not _unprivileged()


def _runs(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
