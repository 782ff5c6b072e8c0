import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from finetune.bundle import Bundle, Timings, memory
from finetune.bundle.memory import most_held


def test_parts_are_timed_and_an_earlier_sitting_is_kept(tmp_path: Path) -> None:
    bundle = Bundle.create(tmp_path / "bundle")
    timings = Timings()
    with timings.part("reading images"):
        pass
    timings.add("epoch 1", 1.23456)
    timings.write_to(bundle)
    again = Timings(bundle)
    again.add("epoch 2", 2.0)
    again.write_to(bundle)
    lines = bundle.timings
    assert [line["part"] for line in lines] == ["reading images", "epoch 1", "epoch 2"]
    assert [line["seconds"] for line in lines[1:]] == [1.235, 2.0]
    assert 0 <= lines[0]["seconds"] < 1


def test_each_part_says_how_much_memory_was_held(tmp_path: Path) -> None:
    bundle, timings = Bundle.create(tmp_path / "bundle"), Timings()
    timings.add("before", 1.0)
    held = np.ones(most_held() // 8 + 8_000_000)  # more than there ever was by 64 MB at least
    timings.add("after", 1.0)
    del held
    timings.on_device = lambda: 12345
    timings.add("later", 1.0)
    timings.write_to(bundle)
    before, after, later = bundle.timings
    assert after["memory"] - before["memory"] > 60_000_000
    assert later["memory"] >= after["memory"]
    assert "device_memory" not in after
    assert later["device_memory"] == 12345


def test_bytes_are_bytes_on_this_system() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("there is no /proc")
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]
    assert most_held() == pytest.approx(1024 * int(peak), rel=0.2)


@pytest.mark.parametrize(("system", "expected"), [("linux", 2048), ("darwin", 2)])
def test_linux_counts_kibibytes_and_macos_bytes(system: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    fresh = importlib.reload(memory)
    monkeypatch.setattr(fresh.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=2))
    assert fresh.most_held() == expected
    monkeypatch.undo()
    importlib.reload(memory)


def test_where_nobody_says_it_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "resource", None)
    assert most_held() is None
    timings = Timings()
    timings.add("x", 1.0)
    assert timings.lines == [{"part": "x", "seconds": 1.0}]


def test_a_run_that_was_cut_before_anything_was_timed_begins_anew(tmp_path: Path) -> None:
    assert Timings(Bundle.create(tmp_path / "bundle")).lines == []
