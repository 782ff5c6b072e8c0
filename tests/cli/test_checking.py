"""`check` as a user meets it."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.cli import main
from tests.audit.toys import scene
from tests.conftest import draw_classes

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls `finetune check`: (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        hook = sys.excepthook
        try:
            main(["check", *map(str, arguments)])
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.excepthook = hook
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two classes of ten images of their own."""
    for number in range(20):
        path = tmp_path / "scenes" / "ab"[number % 2] / f"{'abcdefghijklmnopqrst'[number]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(number).save(path)
    return tmp_path / "scenes"


def test_a_good_folder_passes_strictly(call: Call, scenes: Path) -> None:
    code, out, err = call(scenes, "--strict")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "class        training  validation    test"
    assert out.splitlines()[-1] == "found: nothing that may be wrong"


def test_warnings_fail_only_strictly(call: Call, scenes: Path) -> None:
    shutil.copy(scenes / "a" / "a.png", scenes / "b" / "copy.png")
    assert call(scenes)[0] == 0
    code, out, err = call(scenes, "--strict")
    assert (code, err) == (3, "")
    assert "warning: duplicates, exact-two-labels\n    2 images under the labels 'a' and 'b'" in out
    assert "        a/a.png\n        b/copy.png\n" in out


def test_notes_do_not_fail(call: Call, photos: Path) -> None:
    code, out, _ = call(photos, "--strict")
    assert code == 0
    assert "note: classes, few (3)" in out


def test_errors_fail_and_everything_else_is_said_too(call: Call, scenes: Path) -> None:
    (scenes / "empty").mkdir()
    (scenes / "a" / "a.png").write_bytes(b"<html>")
    code, out, err = call(scenes)
    assert code == 3
    assert err == "finetune: error[data]: a run on this data would stop\n"
    assert "error: data, refused" in out
    assert "class folders without images" in " ".join(out.split())
    assert "warning: unreadable, web-page" in out
    assert "left out: 1" in out


def test_with_json_there_is_one_object_whatever_was_found(call: Call, scenes: Path) -> None:
    (scenes / "empty").mkdir()
    code, out, _ = call(scenes, "--json")
    assert code == 3
    assert json.loads(out)["counts"]["error"] == 1
    code, out, _ = call(scenes.parent / "scenes" / "a", "--json")
    assert code == 3
    assert json.loads(out)["error"]["id"] == "data"


def test_the_page_is_written_and_never_among_the_images(call: Call, scenes: Path, tmp_path: Path) -> None:
    code, _, err = call(scenes, "--html", tmp_path / "page.html")
    assert code == 0
    assert "page written to" in err
    assert "finetune check" in (tmp_path / "page.html").read_text(encoding="utf-8")
    code, _, err = call(scenes, "--html", scenes / "page.html")
    assert code == 2
    assert "would lie among the images" in err
    assert "name a file outside of it with --html" in err
    assert not (scenes / "page.html").exists()


def test_lines_fit_into_80_columns_and_names_are_printable(call: Call, tmp_path: Path) -> None:
    root = draw_classes(tmp_path / "set", {"a" * 30: 3, "b\x1b[31m": 3, "c" * 200: 1})
    draw_classes(root / ("d" * 60) / ("e" * 90), {"f": 2})
    code, out, _ = call(root)
    assert code == 3
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_an_override_of_the_recipe_is_heeded(call: Call, scenes: Path) -> None:
    out = call(scenes, "--json", "--set", "split={kind: stratified, validation: 0, test: 0.5}")[1]
    assert json.loads(out)["split"]["test"]["images"] == 10
