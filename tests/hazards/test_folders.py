"""The hash of a tree that other tests here rest on."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hazards.folders import fingerprint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="modes and links of Linux")


def _touched(root: Path) -> None:
    os.utime(root / "a" / "1", ns=(0, 0))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a byte": lambda root: (root / "a" / "1").write_bytes(b"y"),
    "a time": _touched,
    "a mode": lambda root: (root / "a" / "1").chmod(0o600),
    "a name": lambda root: (root / "a" / "1").rename(root / "a" / "2"),
    "a file more": lambda root: (root / "a" / ".cache").touch(),
    "a file that came and went": lambda root: ((root / "a" / "x").touch(), (root / "a" / "x").unlink()),
    "the target of a link": lambda root: ((root / "link").unlink(), (root / "link").symlink_to("b")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changes_in_a_tree_changes_its_hash(what: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    CHANGES[what](tmp_path)
    assert fingerprint(tmp_path) != before


def test_reading_a_tree_does_not_change_its_hash(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_bytes(b"x")
    before = fingerprint(tmp_path)
    (tmp_path / "a" / "1").read_bytes()
    list(tmp_path.rglob("*"))
    assert fingerprint(tmp_path) == before
