"""`check` as a user meets it."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.audit.toys import scene
from tests.cli.conftest import Call
from tests.conftest import draw_alike, draw_classes


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two classes of ten images of their own."""
    for number in range(20):
        path = tmp_path / "scenes" / "ab"[number % 2] / f"{'abcdefghijklmnopqrst'[number]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(number).save(path)
    return tmp_path / "scenes"


def test_a_good_folder_passes_strictly(call: Call, scenes: Path) -> None:
    code, out, err = call("check", scenes, "--strict")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "class        training  validation    test"
    assert out.splitlines()[-1] == "found: nothing that may be wrong"


def test_warnings_fail_only_strictly(call: Call, scenes: Path) -> None:
    shutil.copy(scenes / "a" / "a.png", scenes / "b" / "copy.png")
    assert call("check", scenes)[0] == 0
    code, out, err = call("check", scenes, "--strict")
    assert (code, err) == (3, "")
    assert "warning: duplicates, exact-two-labels\n    2 images under the labels 'a' and 'b'" in out
    assert "        a/a.png\n        b/copy.png\n" in out


def test_notes_do_not_fail(call: Call, photos: Path) -> None:
    code, out, _ = call("check", photos, "--strict")
    assert code == 0
    assert "note: classes, few (3)" in out


def test_errors_fail_and_everything_else_is_said_too(call: Call, scenes: Path) -> None:
    (scenes / "empty").mkdir()
    (scenes / "a" / "a.png").write_bytes(b"<html>")
    code, out, err = call("check", scenes)
    assert code == 3
    assert err == "finetune: error[data]: a run on this data would stop\n"
    assert "error: data, refused" in out
    assert "class folders without images" in " ".join(out.split())
    assert "warning: unreadable, web-page" in out
    assert "left out: 1" in out


def test_with_json_there_is_one_object_whatever_was_found(call: Call, scenes: Path) -> None:
    (scenes / "empty").mkdir()
    code, out, _ = call("check", scenes, "--json")
    assert code == 3
    assert json.loads(out)["counts"]["error"] == 1
    code, out, _ = call("check", scenes.parent / "scenes" / "a", "--json")
    assert code == 3
    assert json.loads(out)["error"]["id"] == "data"


def test_the_page_is_written_and_never_among_the_images(call: Call, scenes: Path, tmp_path: Path) -> None:
    code, _, err = call("check", scenes, "--html", tmp_path / "page.html")
    assert code == 0
    assert "page written to" in err
    assert "finetune check" in (tmp_path / "page.html").read_text(encoding="utf-8")
    code, _, err = call("check", scenes, "--html", scenes / "page.html")
    assert code == 2
    assert "would lie among the images" in err
    assert "name a file outside of it with --html" in err
    assert not (scenes / "page.html").exists()


def test_a_page_takes_the_place_of_no_table_recipe_or_image(call: Call, scenes: Path, tmp_path: Path) -> None:
    images = sorted(scenes.rglob("*.png"))
    table = tmp_path / "t.csv"
    table.write_text("path,label\n" + "".join(f"{one.relative_to(tmp_path)},{one.parent.name}\n" for one in images))
    for taken in (table, images[0]):
        before = taken.read_bytes()
        code, out, err = call("check", table, "--html", taken)
        assert (code, out) == (2, "")
        assert "is there already, and is no page by its name; name a file that ends in .html" in err
        assert taken.read_bytes() == before


def test_all_that_stops_a_run_is_said_and_of_warnings_that_something_is_left(call: Call, tmp_path: Path) -> None:
    rows = [f"{'far' * 20}/{number}.jpg,{'ab'[number % 2]}" for number in range(25)]
    for number in range(4):
        path = tmp_path / f"{number}.png"
        scene(number).save(path)
        rows.append(f"{path.name},{'ab'[number % 2]}")
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *rows]))
    code, out, _ = call("check", tmp_path / "t.csv")
    assert code == 3
    assert "25 of 29 rows name files that are not there" in " ".join(out.split())
    assert [number for number in range(25) if f"/{number}.jpg'" in out] == list(range(20))
    assert "and 5 more" in " ".join(out.split())


def test_a_page_that_cannot_be_written_is_refused_before_any_image_is_opened(
    call: Call, scenes: Path, tmp_path: Path
) -> None:
    code, out, err = call("check", scenes, "--html", tmp_path / "no" / "page.html")
    assert (code, out) == (2, "")
    assert "would lie in a folder that is not there" in err


def test_lines_fit_into_80_columns_and_names_are_printable(call: Call, tmp_path: Path) -> None:
    root = draw_classes(tmp_path / "set", {"a" * 30: 3, "b\x1b[31m": 3, "c" * 200: 1})
    draw_classes(root / ("d" * 60) / ("e" * 90), {"f": 2})
    code, out, _ = call("check", root)
    assert code == 3
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_an_override_of_the_recipe_is_heeded(call: Call, scenes: Path) -> None:
    out = call("check", scenes, "--json", "--set", "split={kind: stratified, validation: 0, test: 0.5}")[1]
    assert json.loads(out)["split"]["test"]["images"] == 10


DEEP = "backbone={name: test_resnet, weights: {kind: random}}"


def test_a_deep_look_says_what_a_probe_knows_and_what_a_leak_is_worth(call: Call, tmp_path: Path) -> None:
    root = draw_classes(tmp_path / "set" / "train", {"a": 20, "b": 20}).parent
    draw_classes(root / "test", {"a": 3, "b": 3})
    shutil.copy(root / "train" / "a" / "000.png", root / "train" / "b" / "wrong.png")
    code, out, err = call("check", root, "--deep", "--set", DEEP, "--html", tmp_path / "page.html")
    assert code == 0
    assert "error" not in err
    words = " ".join(out.split())
    assert "a probe on test_resnet, frozen: held-out accuracy 0." in words or "held-out accuracy 1.000" in words
    assert "on 6 images, all of which have a copy among the others" in words
    assert "note: labels, expected" in out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "What the leak is worth" in page
    draw_alike(root / "test", {"a": 13, "b": 13}, seed=5)
    for name in "ab":
        shutil.copy(root / "train" / name / "001.png", root / "test" / name / "copy.png")
    code, out, _ = call("check", root, "--deep", "--set", DEEP)
    assert "without the 2 that have a copy among the others: these change it by" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80


def test_without_deep_the_json_says_that_no_network_was_asked(call: Call, scenes: Path) -> None:
    assert json.loads(call("check", scenes, "--json")[1])["deep"] is None
    found = json.loads(call("check", scenes, "--json", "--deep", "--set", DEEP)[1])["deep"]
    assert (found["network"], found["images"], found["held_out"], found["test"]) == ("test_resnet", 20, 20, None)
    assert 0 <= found["accuracy"]["low"] <= found["accuracy"]["value"] <= found["accuracy"]["high"] <= 1


def test_why_there_is_no_probe_is_said(call: Call, tmp_path: Path) -> None:
    out = call("check", draw_classes(tmp_path / "set", {"a": 1, "b": 1}), "--deep", "--set", DEEP)[1]
    assert "no probe on test_resnet: 2 images: nothing can be held out" in " ".join(out.split())


def test_a_deep_look_stops_when_it_is_asked_to(call: Call, scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("finetune.frozen.extract.Extractor.pooled", interrupted)
    code, out, err = call("check", scenes, "--deep", "--set", DEEP)
    assert (code, out) == (130, "")
    assert "stopped by SIGINT" in err


def test_weights_that_are_not_there_are_an_error(call: Call, scenes: Path) -> None:
    weights = "backbone={name: resnet18, weights: {kind: file, path: gone.safetensors}}"
    code, out, err = call("check", scenes, "--deep", "--set", weights)
    assert (code, out) == (4, "")
    assert "gone.safetensors" in err
    assert call("check", scenes, "--set", weights)[0] == 0


def test_a_class_that_was_compressed_more_is_a_warning(call: Call, scenes: Path) -> None:
    for path in sorted(scenes.rglob("*.png")):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), quality=40 if path.parent.name == "a" else 90)
        path.unlink()
    code, out, _ = call("check", scenes, "--strict")
    assert code == 3
    assert "warning: shortcuts, acquisition" in out
    assert "JPEG quality alone tells the class" in " ".join(out.split())
