"""The cache folder of every platform, the rates that are kept there, and the versions."""

import os
import sys
from pathlib import Path

import pytest

from finetune.errors import OutOfResources, UsageError
from finetune.recipe import machine
from finetune.recipe.machine import Rates, cache_folder, read_rates, versions, write_rates

RATES = Rates(forward_gmacs=120.5, training_gmacs=33.25, decode_images=410.0, measured="2026-01-31", threads=2)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("FINETUNE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_cache_is_where_it_was_asked_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", "/srv/cache")
    assert cache_folder() == Path("/srv/cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINETUNE_CACHE", "here")
    assert cache_folder() == tmp_path / "here"


def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / ".cache" / "finetune"
    monkeypatch.setenv("XDG_CACHE_HOME", "/srv/xdg")
    assert cache_folder() == Path("/srv/xdg/finetune")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "finetune"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "finetune"
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache_folder() == tmp_path / "AppData" / "Local" / "finetune"
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache_folder() == Path("/local/finetune")


def test_nobody_s_machine_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "there is no home folder to keep a cache in; set FINETUNE_CACHE to a folder"
    for home in ("", "relative"):
        monkeypatch.setenv("HOME", home)
        with pytest.raises(UsageError, match=message):
            cache_folder()
    monkeypatch.delenv("HOME")

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(UsageError, match=message):
        cache_folder()
    assert read_rates() is None
    monkeypatch.setenv("FINETUNE_CACHE", "/srv/cache")
    assert cache_folder() == Path("/srv/cache")


def test_rates_are_kept_and_replaced() -> None:
    assert read_rates() is None
    write_rates(RATES)
    assert read_rates() == RATES
    other = Rates(1.0, 2.0, 3.0, "2026-02-01", 4)
    write_rates(other)
    assert read_rates() == other
    assert [path.name for path in cache_folder().iterdir()] == ["rates.json"]


NUMBERS = [("0", 1), ("-1.0", 1), ("NaN", 1), ("Infinity", 1), ("true", 1), ('"1"', 1), ("1.0", 0), ("1.0", 1.5)]
REST = '"training_gmacs": 1.0, "decode_images": 1.0, "measured": "x"'


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "\x00", '{"forward_gmacs": 1}', "NaN"]
    + [f'{{"forward_gmacs": {rate}, {REST}, "threads": {threads}}}' for rate, threads in NUMBERS],
)
def test_a_file_that_is_not_rates_is_no_measurement(text: str) -> None:
    cache_folder().mkdir(parents=True)
    (cache_folder() / "rates.json").write_text(text)
    assert read_rates() is None


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / ".cache").write_text("a file where the folder should be")
    with pytest.raises(OutOfResources, match=r"cannot write to .*finetune: "):
        write_rates(RATES)


def test_a_failed_write_leaves_the_old_rates_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    write_rates(RATES)

    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutOfResources, match="No space left on device"):
        write_rates(Rates(1.0, 2.0, 3.0, "2026-02-01", 4))
    assert read_rates() == RATES
    assert [path.name for path in cache_folder().iterdir()] == ["rates.json"]


def test_versions_are_those_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = versions()
    assert set(found) == {"python", *machine.PACKAGES}
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["numpy"][0].isdigit()
    monkeypatch.setattr(machine, "PACKAGES", ("no-such-package",))
    assert versions()["no-such-package"] == "not installed"
