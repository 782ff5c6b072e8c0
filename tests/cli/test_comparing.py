"""A comparison as a user meets it."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.compare.toys import RECIPE, answers, bundle

LONG = "a folder of a long name that goes on and on and on"


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    classes = tuple(f"class {number} of a rather long name" for number in range(12))
    first = bundle(tmp_path / LONG / "1", answers(240, wrong=range(40), classes=classes))
    changed = RECIPE.replace("{kind: full, epochs: 2, lr: 0.001}", "{kind: probe}")
    second = bundle(tmp_path / LONG / "2", answers(240, wrong=[1, 2, 200], classes=classes), recipe=changed)
    return [first.folder, second.folder]


def test_the_comparison_is_told_in_eighty_columns(call: Call, two: list[Path]) -> None:
    code, out, err = call("compare", *two)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert re.match("A  .*….* and on/1  test_resnet, full$", lines[0])
    assert "on the same 240 test images of 12 classes" in lines[2]
    assert "A  0.833 [" in lines[5]
    assert re.search(r"ECE \(if calibrated\)\nA  .*  0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)\n", out)
    assert re.search(r"\nA  62 s  1\.2 GB  \d+ bytes  0\.00 M {6}200 images\n", out)
    assert re.search(r"accuracy  \+0\.154 \[\+0\.1\d\d, \+0\.2\d\d\]", out)
    assert "B is right on more images than A" in out
    assert "right in B, wrong in A: 38" in out
    assert "… and 33 more; --json or --html shows them" in out
    assert "… and 2 more" in out
    assert "schedule.kind: full -> probe" in out
    assert "schedule.epochs: 2 -> not set" in out


def test_json_is_one_object_and_the_page_is_written_beside_it(call: Call, two: list[Path], tmp_path: Path) -> None:
    code, out, err = call("compare", *two, "--json", "--html", tmp_path / "page.html")
    assert code == 0
    assert json.loads(out)["pairs"][0]["gained"] == 38
    assert "page written to" in err
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!doctype html>")


def test_the_same_recipes_are_said_to_be(call: Call, tmp_path: Path) -> None:
    folders = [bundle(tmp_path / name, answers(wrong=[int(name)])).folder for name in ("1", "2")]
    assert call("compare", *folders)[1].endswith("the recipes say the same\n")


def test_other_test_sets_are_refused_with_how_they_differ(call: Call, tmp_path: Path) -> None:
    folders = [bundle(tmp_path / name, answers(int(name))).folder for name in ("60", "50")]
    code, out, err = call("compare", *folders)
    assert (code, out) == (2, "")
    assert "50 are in both, 10 only in the first and 0 only in the second" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "missing argument"),
        (["1"], "needs two bundles or more"),
        (["1", "3"], "there is no"),
        (["1", "1"], "named twice"),
        (["1", "2", "--html", "nowhere/page.html"], "--html 'nowhere/page.html' would lie in a folder"),
    ],
)
def test_a_wrong_call_is_a_matter_of_usage(
    arguments: list[str], said: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("1", "2"):
        bundle(tmp_path / name)
    code, out, err = call("compare", *arguments)
    assert (code, out) == (2, "")
    assert said in err
