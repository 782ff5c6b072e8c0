"""`cache info` and `cache clear`, as a user meets them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest

from finetune.data import unpacked
from finetune.data.fingerprints import Fingerprints, examine
from finetune.data.store import Store
from tests.cli.conftest import Call
from tests.conftest import draw

ROOT = Path(__file__).parents[2]
FACTS = {"backbone": "resnet18", "tap": "stage4", "pool": "avg", "weights": "ab" * 32, "preprocessing": {"size": 224}}


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FINETUNE_CACHE_LIMIT", "20G")
    return tmp_path / "cache"


@pytest.fixture
def cache(empty: Path, tmp_path: Path) -> Path:
    """Features of three images, activations of two, the pixels of one, and one file that was looked at."""
    with Store.open() as store:
        small = store.collection(FACTS, dtype=np.dtype(np.float32), shape=(512,), large=False)
        small.put([(f"{n}", "plain") for n in range(3)], np.zeros((3, 512), np.float32))
        large = store.collection({**FACTS, "pool": None}, dtype=np.dtype(np.float16), shape=(8, 7, 7), large=True)
        large.put([(f"{n}", "plain") for n in range(2)], np.zeros((2, 8, 7, 7), np.float16))
        store.pictures({"pixels": "crop 9 bicubic"}).put("0", np.zeros((9, 12, 3), np.uint8))
    draw(tmp_path / "one.png", hue=(200, 30, 30), seed=0)
    os.utime(tmp_path / "one.png", (1e9, 1e9))
    with Fingerprints.open() as known:
        examine(tmp_path / "one.png", known)
    return empty


def test_info_says_what_is_there_in_80_columns(call: Call, cache: Path) -> None:
    code, out, err = call("cache", "info")
    assert (code, err) == (0, "")
    day = time.strftime("%Y-%m-")
    lines = out.splitlines()
    assert lines[0].startswith(f"{cache}: ")
    assert lines[0].endswith(" kB of 20.0 GB")
    assert lines[1] == "features              3 records      6.1 kB"
    assert lines[2].startswith(f"            3      6.1 kB  {day}")
    assert lines[2].endswith("  resnet18, stage4, avg")
    assert lines[3] == "activations           2 records      1.6 kB"
    assert lines[4].endswith("  resnet18, stage4")
    assert lines[5] == "pixels                1 records   332 bytes"
    assert lines[6].endswith("  crop 9 bicubic")
    assert lines[7].startswith("fingerprints          1 files")
    assert lines[8].startswith("looks                 0 files")
    assert lines[9] == "data sets             0 sets        0 bytes"
    assert len(lines) == 10
    assert max(map(len, lines[1:])) <= 80


def test_long_facts_are_cut_and_odd_ones_are_printable(call: Call, empty: Path) -> None:
    with Store.open() as store:
        facts = {"backbone": "\x1b[31m" + "a" * 30, "tap": "b" * 40, "z": [1, 2], "hash": "c" * 64}
        store.collection(facts, dtype=np.dtype("f4"), shape=(), large=False).put([("0", "plain")], np.zeros(1, "f4"))
    lines = call("cache", "info")[1].splitlines()
    assert len(lines[2]) == 80
    assert lines[2].endswith("…")
    assert "\x1b" not in lines[2]
    assert "\\x1b[31maaa" in lines[2]


def test_an_empty_cache_holds_nothing(call: Call, empty: Path) -> None:
    lines = call("cache", "info")[1].splitlines()
    kinds = [[name, "0"] for name in ("features", "activations", "pixels", "fingerprints", "looks")]
    assert [line.split()[:2] for line in lines[1:]] == [*kinds, ["data", "sets"]]
    code, out, _ = call("cache", "clear", "--yes")
    assert code == 0
    assert "removed from" in out


def test_info_is_one_json_object_when_so_asked(call: Call, cache: Path) -> None:
    code, out, err = call("cache", "info", "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    kinds = ["features", "activations", "pixels", "fingerprints", "looks", "sets"]
    assert list(facts) == ["folder", "limit", "bytes", *kinds]
    assert (facts["folder"], facts["limit"]) == (str(cache), 20 * 10**9)
    (features,), (activations,) = facts["features"], facts["activations"]
    assert (features["facts"], features["records"], features["bytes"]) == (FACTS, 3, 6144)
    assert (activations["records"], activations["bytes"]) == (2, 1568)
    (pixels,) = facts["pixels"]
    assert (pixels["facts"], pixels["records"], pixels["bytes"]) == ({"pixels": "crop 9 bicubic"}, 1, 332)
    assert features["last_used"].startswith(time.strftime("%Y-", time.gmtime()))
    assert features["last_used"].endswith("+00:00")
    assert facts["fingerprints"]["files"] == 1
    assert facts["bytes"] >= 6144 + 1568 + facts["fingerprints"]["bytes"] > 8000


def test_data_sets_are_counted_and_cleared(call: Call, cache: Path) -> None:
    with unpacked.whole(unpacked.place("torchvision", "MNIST")) as folder:
        (folder / "0.png").write_bytes(bytes(2000))
    assert call("cache", "info")[1].splitlines()[-1] == "data sets             1 sets         2.0 kB"
    assert json.loads(call("cache", "info", "--json")[1])["sets"] == {"sets": 1, "bytes": 2000}
    assert call("cache", "clear", "--yes")[0] == 0
    assert json.loads(call("cache", "info", "--json")[1])["sets"] == {"sets": 0, "bytes": 0}


def test_clear_removes_all_of_it(call: Call, cache: Path) -> None:
    code, out, err = call("cache", "clear", "--yes")
    assert (code, err) == (0, "")
    assert out.endswith(f" kB removed from {cache}\n")
    facts = json.loads(call("cache", "info", "--json")[1])
    assert (facts["features"], facts["activations"], facts["fingerprints"]["files"]) == ([], [], 0)
    assert list((cache / "frozen").glob("*.values")) == []


def test_clear_asks_first_and_takes_no_for_an_answer(call: Call, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    asked: list[str] = []

    def confirm(answer: bool) -> Callable[[str], bool]:
        return lambda text: asked.append(text) or answer

    monkeypatch.setattr(click, "confirm", confirm(False))
    assert call("cache", "clear") == (0, "nothing was removed\n", "")
    assert len(json.loads(call("cache", "info", "--json")[1])["features"]) == 1
    monkeypatch.setattr(click, "confirm", confirm(True))
    assert "removed from" in call("cache", "clear")[1]
    assert asked == [f"remove what is kept in {cache}?"] * 2


def test_where_nobody_can_be_asked_clear_wants_yes(call: Call, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    code, out, err = call("cache", "clear")
    assert (code, out) == (2, "")
    assert err == (
        f"finetune: error[usage]: nobody can be asked here whether to remove what is in {cache}; say --yes\n"
    )


def test_a_cache_in_use_is_not_cleared(call: Call, cache: Path) -> None:
    with Store.open():
        code, _, err = call("cache", "clear", "--yes")
    assert code == 7
    assert "is in use by another process: wait for it, or stop it" in err
    assert len(json.loads(call("cache", "info", "--json")[1])["features"]) == 1


def test_a_cache_that_cannot_be_used_is_said(call: Call, empty: Path) -> None:
    empty.write_text("a file")
    for command in (("info",), ("clear", "--yes")):
        code, _, err = call("cache", *command)
        assert code == 6
        assert f"error[resources]: the cache in {empty}/frozen cannot be used" in err


def test_a_bad_limit_is_a_matter_of_usage(call: Call, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE_LIMIT", "much")
    code, _, err = call("cache", "info")
    assert code == 2
    assert "FINETUNE_CACHE_LIMIT is 'much'; a number of bytes is needed, such as 20G or 500M" in err


def test_help_is_there_for_the_group_and_its_commands_in_80_columns(call: Call) -> None:
    assert call("cache")[1] == call("cache", "--help")[1]
    for arguments in (("cache",), ("cache", "info", "--help"), ("cache", "clear", "--help")):
        code, out, _ = call(*arguments)
        assert code == 0
        assert max(map(len, out.splitlines())) <= 80
    code, _, err = call("cache", "cler")
    assert code == 2
    assert "no such command 'cler'" in err
    assert "finetune cache --help" in err


def test_the_cache_is_looked_at_and_cleared_without_torch(cache: Path) -> None:
    code = """
import sys
for name in ("torch", "timm", "albumentations", "accelerate"): sys.modules[name] = None
from finetune.cli import main
for arguments in (["cache"], ["cache", "info"], ["cache", "info", "--json"], ["cache", "clear", "--yes"]):
    try: main(arguments)
    except SystemExit as end: assert not end.code, (arguments, end.code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "removed from" in done.stdout
