"""From a recipe to everything that is wrong with its data, whatever is wrong with it."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from finetune.audit.audit import CHECKS, Audit, audit
from finetune.audit.gather import gather
from finetune.audit.look import Looks
from finetune.data import decode
from finetune.errors import DataError
from finetune.recipe import file
from finetune.starter import recipe_to_check
from tests.audit.toys import known, scene, seen

Write = Callable[..., Path]


def audited(source: Path, *overrides: str, cache: Path | None = None) -> Audit:
    recipe = recipe_to_check(source, overrides)
    if cache is None:
        return audit(gather(recipe))
    with Looks(cache) as memory:
        return audit(gather(recipe, memory=memory))


def found(one: Audit) -> set[tuple[str, str, str]]:
    return {(finding.severity, finding.check, finding.kind) for finding in one.findings}


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two classes of twelve images of their own."""
    for number in range(24):
        path = tmp_path / "scenes" / "ab"[number % 2] / f"{'abcdefghijklmnopqrstuvwx'[number]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(number).save(path)
    return tmp_path / "scenes"


def tree(root: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def test_a_good_folder_has_nothing_wrong_and_is_left_as_it_was(scenes: Path) -> None:
    before = tree(scenes)
    one = audited(scenes)
    assert one.findings == ()
    assert one.leaked == ()
    assert tree(scenes) == before


def test_everything_is_reported_at_once_where_a_run_would_stop_at_the_first_error(scenes: Path) -> None:
    (scenes / "empty").mkdir()
    (scenes / "A").mkdir()
    shutil.copy(scenes / "a" / "a.png", scenes / "A" / "copy.png")
    for name in "acegi":
        (scenes / "a" / f"{name}.png").write_bytes(b"<html>")
    one = audited(scenes)
    refused = [finding.text for finding in one.findings if finding.severity == "error"]
    assert len(refused) == 3
    assert "differ only in capitals" in refused[0]
    assert "class folders without images" in refused[1]
    assert "5 of 25 images cannot be read, too many to leave out" in refused[2]
    assert {("warning", "unreadable", "web-page"), ("warning", "classes", "too-small")} <= found(one)
    assert one.known.is_split
    assert one.counts()["error"] == 3
    severities = [finding.severity for finding in one.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)


def test_data_that_cannot_be_split_is_still_looked_at_by_its_folders(scenes: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        shutil.copytree(scenes, tmp_path / "set" / part)
    recipe = tmp_path / "one.yaml"
    recipe.write_text("data: {kind: folder, root: set}\nbackbone: {name: resnet18, weights: {kind: random}}\n")
    one = audited(recipe)
    assert not one.known.is_split
    assert one.to_dict()["split"] == {}
    assert "split folders on disk" in one.findings[0].text
    assert ("warning", "duplicates", "exact-across-parts") in found(one)


def test_classes_that_training_lacks_are_an_error_and_are_looked_at(scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes, tmp_path / "set" / "train")
    shutil.copytree(scenes / "a", tmp_path / "set" / "test" / "c")
    one = audited(tmp_path / "set")
    assert "classes that 'train' does not have" in one.findings[0].text
    assert ("warning", "duplicates", "exact-two-labels") in found(one)


def test_leaked_test_images_are_listed(scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes, tmp_path / "set" / "train")
    (tmp_path / "set" / "test" / "a").mkdir(parents=True)
    Image.open(scenes / "a" / "a.png").resize((120, 90)).save(tmp_path / "set" / "test" / "a" / "x.jpg", quality=60)
    scene(99).save(tmp_path / "set" / "test" / "a" / "y.png")
    one = audited(tmp_path / "set")
    assert one.leaked == ("test/a/x.jpg",)
    assert one.to_dict()["leaked"] == ["test/a/x.jpg"]


def test_the_json_has_its_schema_and_is_the_same_twice(scenes: Path, tmp_path: Path) -> None:
    shutil.copy(scenes / "a" / "a.png", scenes / "b" / "a.png")
    (scenes / "a" / "notes.txt").write_text("x")
    first, second = (json.dumps(audited(scenes, cache=tmp_path / "cache").to_dict(), allow_nan=False) for _ in range(2))
    assert first == second
    facts = json.loads(first)
    assert list(facts) == [
        "schema", "images", "split", "left_out", "notes", "classes", "leaked", "counts", "deep",
        "findings",
    ]  # fmt: skip
    assert facts["deep"] is None
    assert (facts["schema"], facts["images"]) == (1, 25)
    assert sum(part["images"] for part in facts["split"].values()) == 25
    assert facts["left_out"] == [{"key": "a/notes.txt", "reason": "not an image suffix"}]
    assert [list(finding) for finding in facts["findings"]] == [
        ["check", "kind", "severity", "text", "keys", "figures"] for _ in facts["findings"]
    ]
    assert facts["findings"][0]["kind"] == "exact-two-labels"


def test_a_second_time_no_image_is_read(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for path in scenes.rglob("*.png"):
        os.utime(path, (1e9, 1e9))
    first = audited(scenes, cache=tmp_path / "cache")

    def fail(path: Path) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(decode, "read_with_status", fail)
    assert audited(scenes, cache=tmp_path / "cache").to_dict() == first.to_dict()


def test_a_recipe_that_takes_no_bad_image_is_refused_for_one(scenes: Path) -> None:
    (scenes / "a" / "a.png").write_bytes(b"")
    assert found(audited(scenes)) == {("warning", "unreadable", "empty")}
    one = audited(scenes, "data.on_bad_image=error")
    assert ("error", "data", "refused") in found(one)


def test_a_place_without_labelled_images_is_an_error_of_the_usual_kind(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no images"):
        audited(tmp_path / "none")
    (tmp_path / "none" / "train").mkdir()
    scene(0).save(tmp_path / "none" / "train" / "1.png")
    with pytest.raises(DataError, match="hold images but no class folders"):
        audited(tmp_path / "none")


def test_the_split_is_that_of_the_recipe_that_init_writes(scenes: Path) -> None:
    from finetune.data.survey import find, survey
    from finetune.starter import recipe_of

    recipe = recipe_of(scenes)
    surveyed = survey(recipe, find(recipe))
    parts = audited(scenes).known.parts
    assert parts == {key: part for part, images in surveyed.parts.items() for key in images.keys}


def test_samples_that_are_no_files_pass_every_check() -> None:
    whole = known({f"a/{n}": seen(scene(n)) for n in range(3)} | {f"b/{n}": seen(scene(9 + n)) for n in range(3)})
    assert audit(whole).counts() == {"error": 0, "warning": 0, "note": 2}
    assert len(CHECKS) == len(set(CHECKS))


def test_a_recipe_file_is_checked_as_it_stands(scenes: Path, write_recipe: Write) -> None:
    recipe = write_recipe(scenes)
    assert recipe_to_check(recipe) == file.load(recipe)
    counts = {part: facts["images"] for part, facts in audited(recipe).to_dict()["split"].items()}
    assert counts == {"train": 12, "validation": 6, "test": 6}


def test_copies_in_two_folds_are_leaks_and_images_in_folds_have_no_other_part(scenes: Path, tmp_path: Path) -> None:
    shutil.copyfile(scenes / "a" / "a.png", scenes / "a" / "same.png")  # one content stays in one fold
    near = Image.open(scenes / "a" / "c.png").resize((140, 105), Image.Resampling.BICUBIC)
    for number in range(4):
        near.save(scenes / "a" / f"near{'abcd'[number]}.png", compress_level=number)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: x\ndata: {kind: folder, root: scenes}\nsplit: {kind: folds, folds: 3}\n"
        "backbone: {name: test_resnet, weights: {kind: random}}\n"
    )
    one = audited(recipe)
    assert {*one.known.parts.values()} == {"fold 1", "fold 2", "fold 3"}
    assert one.known.part("a/a.png") == one.known.part("a/same.png")
    across = [finding for finding in one.findings if finding.kind.endswith("across-parts")]
    assert across
    assert "in fold 1" in across[0].text
    assert set(one.leaked) == {key for finding in across for key in finding.keys}
    assert one.to_dict()["split"] == {}
