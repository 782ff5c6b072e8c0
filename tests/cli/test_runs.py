"""The table of runs, as a user meets it."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.bundle.shelf import Row
from finetune.cli.runs import notes, table
from tests.bundle.test_shelf import measured, shelved
from tests.cli.conftest import Call

LONG = Row(
    place="a-very-long-name-of-a-data-set/and-a-deeper-folder/1234",
    name="x",
    finished=True,
    metric="subset_accuracy",
    score=1.0,
    low=0.9999,
    high=1.0,
    part="validation",
    images=10_000_000,
    seconds=100_000.0,
    memory=123_456_000_000,
    device_memory=None,
    written=0.0,
    schedule="auto",
    tier="last_stage",
    epochs=3,
    backbone="swinv2_cr_tiny_ns_224_and_a_very_long_name_indeed",
    tag="x",
)


def test_a_line_for_each_run_with_its_score_and_interval(call: Call, tmp_path: Path) -> None:
    shelved(tmp_path / "toy" / "1", metrics=measured(18))
    shelved(tmp_path / "toy" / "2", sealed=False)
    code, out, err = call("runs", tmp_path)
    assert (code, err) == (0, "")
    header, first, second = out.splitlines()
    names = ["run", "score", "on", "time", "memory", "schedule", "network", "date"]
    assert header.split() == names[: len(header.split())]
    assert first.startswith("toy/1  0.900 [0.699, 0.972]  20 test  -     -       auto      resnet18")
    assert second.startswith("toy/2  unfinished")


def test_the_table_fits_eighty_columns_whatever_the_names() -> None:
    lines = table([LONG, LONG], width=20)
    assert max(map(len, lines)) <= 80
    assert "1.000 [1.000, 1.000]*  1000…lidation  27 h 47 min" in lines[1]
    assert lines[1].startswith("a-v…r/1234  ")
    assert lines[0].split() == ["run", "score", "on", "time", "schedule", "network"]
    assert "1970" in table([LONG], width=170)[1]
    assert "123.5 GB" in table([LONG], width=160)[1]
    assert "-" in table([replace(LONG, memory=None)], width=160)[1].split()
    assert LONG.backbone is not None
    assert LONG.backbone[-10:] in table([LONG], width=160)[1]
    assert table([]) == []


def test_what_makes_a_score_optimistic_or_odd_is_said_below() -> None:
    several, optimistic = notes([LONG])
    assert several.startswith("* of several labels")
    assert "optimistic" in optimistic


def test_runs_are_sorted_as_asked_and_given_as_json(call: Call, tmp_path: Path) -> None:
    for name, right in (("1", 12), ("2", 18)):
        shelved(tmp_path / name, metrics=measured(right))
    _, out, _ = call("runs", tmp_path, "--sort", "score", "--json")
    told = json.loads(out)
    assert [row["place"] for row in told["runs"]] == ["2", "1"]
    assert told["damaged"] == []
    assert told["runs"][0]["low"] < 0.9 < told["runs"][0]["high"]
    assert call("runs", tmp_path, "--sort", "size")[0] == 2


def test_a_damaged_bundle_is_a_line_and_not_the_end(call: Call, tmp_path: Path) -> None:
    shelved(tmp_path / "1", metrics=measured(12))
    bad = shelved(tmp_path / "2", metrics=measured(12))
    (bad.folder / "metrics.json").write_text("{}")
    code, out, _ = call("runs", tmp_path)
    assert code == 0
    assert out.splitlines()[1].startswith("1 ")
    assert "damaged: 2:" in out
    assert "is not the file that the run left" in " ".join(out.split())
    assert json.loads(call("runs", tmp_path, "--json")[1])["damaged"][0]["place"] == "2"


def test_a_folder_without_bundles_says_what_leaves_one(call: Call, tmp_path: Path) -> None:
    assert "finetune run leaves one" in call("runs", tmp_path)[1]
    code, _, err = call("runs", tmp_path / "rums")
    assert code == 2
    assert "there is no" in err


def test_runs_is_the_folder_that_is_meant_when_none_is_given(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shelved(tmp_path / "runs" / "toy" / "1", metrics=measured(18))
    assert "toy/1  0.900" in call("runs")[1]
    os.rename(tmp_path / "runs", tmp_path / "others")
    assert call("runs")[0] == 2


def test_the_most_memory_of_a_run_is_told_and_an_older_run_has_a_dash(call: Call, tmp_path: Path) -> None:
    lines = ['{"part": "a", "seconds": 1, "memory": 2000000000, "device_memory": 7}', '{"part": "b", "seconds": 1}']
    shelved(tmp_path / "toy" / "1").write("timings.jsonl", "\n".join(lines).encode() + b"\n")
    shelved(tmp_path / "toy" / "2").write("timings.jsonl", lines[1].encode() + b"\n")
    _, first, second = call("runs", tmp_path)[1].splitlines()
    assert "  2 s   2.0 GB  " in first
    assert "  1 s   -       " in second
    told = json.loads(call("runs", tmp_path, "--json")[1])["runs"]
    assert [(row["memory"], row["device_memory"]) for row in told] == [(2_000_000_000, 7), (None, None)]
