import importlib.metadata
from pathlib import Path

import pytest

from finetune import starter
from finetune.errors import DataError, RecipeError, UsageError
from finetune.recipe import file
from finetune.recipe.dataset import FolderData, HuggingfaceData, TableData, TorchvisionData
from finetune.recipe.network import Package
from finetune.recipe.schedule import Auto
from finetune.recipe.splits import Given, Stratified
from tests.conftest import draw


def photographs(root: Path, *, side: int = 240) -> Path:
    for name in ("ant", "bee"):
        for number in range(3):
            draw(root / name / f"{number}.jpg", hue=(90, 90, 90), seed=number, size=(side + 40, side))
    return root


def test_photographs_get_what_does_best_within_minutes(tmp_path: Path) -> None:
    recipe = starter.recipe_of(photographs(tmp_path / "my photos"))
    assert recipe.name == "my-photos"
    assert recipe.schedule == Auto(budget="5m")
    assert recipe.split == Stratified(validation=0.0, test=0.2)
    assert (recipe.images.fit, recipe.images.augment.flip) == ("crop", True)
    assert recipe.images.size is None
    assert recipe.data.root == str(tmp_path / "my photos")


@pytest.mark.parametrize(("side", "size"), [(32, None), (95, None), (96, 96), (111, 96), (112, None)])
def test_small_pictures_are_seen_near_their_own_size_and_tiny_ones_at_what_does_best(
    side: int, size: int | None, tmp_path: Path
) -> None:
    recipe = starter.recipe_of(photographs(tmp_path / "tiny", side=side))
    assert recipe.schedule == Auto(budget="5m")
    assert recipe.images.augment.flip == (side == 112)
    assert recipe.images.size == size
    assert recipe.images.fit == ("crop" if side == 112 else "squash")


def test_split_folders_on_disk_are_taken_as_they_are(tmp_path: Path) -> None:
    for part in ("train", "val"):
        photographs(tmp_path / "set" / part)
    split = starter.recipe_of(tmp_path / "set").split
    assert split == Given(test="val")
    photographs(tmp_path / "set" / "test")
    assert starter.recipe_of(tmp_path / "set").split == Given(test="test", validation="val")


def test_the_weights_are_those_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = photographs(tmp_path / "photos")
    assert isinstance(starter.recipe_of(photos).backbone.weights, Package)

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert starter.recipe_of(photos).backbone.name == "resnet50"


def test_images_that_cannot_be_read_do_not_stop_it(tmp_path: Path) -> None:
    photos = photographs(tmp_path / "photos")
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"cut")
    assert isinstance(starter.recipe_of(photos).schedule, Auto)


def test_the_text_is_commented_and_names_its_command(tmp_path: Path) -> None:
    text = starter.recipe_text(photographs(tmp_path / "photos"), written="photos", command="finetune run bees.yaml")
    assert text.startswith(
        "# finetune run bees.yaml\n# 6 images of 2 classes, from 3 to 3 in a class; 0 other files left out\n"
    )
    assert file.loads(text, source="bees.yaml", folder=tmp_path).data.root == str(tmp_path / "photos")


def test_a_recipe_is_itself_unless_something_is_to_be_changed(tmp_path: Path) -> None:
    recipe = starter.recipe_of(photographs(tmp_path / "photos"))
    assert starter.recipe_of(recipe) is recipe
    changed = starter.recipe_of(recipe, ["seed=4"])
    assert changed == recipe.model_copy(update={"seed": 4})
    with pytest.raises(RecipeError, match="--set sed=4"):
        starter.recipe_of(recipe, ["sed=4"])


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot run 'int'"):
        starter.recipe_of(3)  # type: ignore[arg-type]


def test_what_is_not_there_and_what_cannot_be_learnt_from_are_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no"):
        starter.recipe_of(tmp_path / "x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        starter.recipe_of(tmp_path / "empty")


def table(root: Path, text: str, name: str = "bees.csv") -> Path:
    path = photographs(root).parent / name
    path.write_text(text)
    return path


ROWS = ("ant/0.jpg", "ant/1.jpg", "ant/2.jpg", "bee/0.jpg", "bee/1.jpg", "bee/2.jpg")


def test_an_archive_or_an_image_is_not_taken_for_a_recipe(tmp_path: Path) -> None:
    for name, words in (
        ("photos.TAR.gz", "is an archive; extract it first"),
        ("1.JPG", "is an image; name the folder"),
    ):
        (tmp_path / name).write_bytes(b"x")
        for found in (starter.recipe_of, starter.recipe_to_check):
            with pytest.raises(UsageError, match=words):
                found(tmp_path / name)
    assert starter.recipe_of(photographs(tmp_path / "photos.zip")).name == "photos-zip"


def test_a_table_that_cannot_be_learnt_from_has_a_recipe_to_be_checked_with(tmp_path: Path) -> None:
    photographs(tmp_path)
    table = tmp_path / "t.csv"
    table.write_text("path,label,split\nant/0.jpg,ant,train\nant/1.jpg\nnone.jpg,bee,train\nbee/0.jpg,bee,val\n")
    recipe = starter.recipe_to_check(table)
    assert recipe.data == TableData(file=str(table), split="split")
    assert recipe.split == Given(test="val")
    with pytest.raises(DataError, match="t\\.csv:3: 1 cell"):
        starter.recipe_of(table)


def test_what_is_called_validation_is_taken_for_it_before_other_parts(tmp_path: Path) -> None:
    for name in ("Val", "dev"):
        parts = ("train", "train", "extra", "train", name, "test")
        rows = "".join(f"photos/{row},{row[:3]},{part}\n" for row, part in zip(ROWS, parts, strict=True))
        path = table(tmp_path / name / "photos", f"path,label,split\n{rows}")
        assert starter.recipe_of(path).split == Given(test="test", validation=name)


def test_a_table_gets_a_recipe_with_the_names_of_its_columns(tmp_path: Path) -> None:
    lines = ("x;Filename;Species;Subset;patient", *(f"9;photos/{row};{row[:3]};train;{row}" for row in ROWS[:5]))
    path = table(tmp_path / "photos", "\n".join([*lines, f"9;photos/{ROWS[5]};bee;test;x"]))
    recipe = starter.recipe_of(path)
    assert recipe.name == "bees"
    assert recipe.data == TableData(file=str(path), path="Filename", label="Species", split="Subset", group="patient")
    assert recipe.split == Given(test="test")
    text = starter.recipe_text(path, written="bees.csv")
    assert "data: {kind: table, file: bees.csv, path: Filename, label: Species, split: Subset, group: patient}" in text


def test_a_table_with_bars_between_labels_has_several_of_them(tmp_path: Path) -> None:
    path = table(tmp_path / "photos", "path,label\n" + "".join(f"photos/{row},{row[:3]}|any\n" for row in ROWS))
    assert starter.recipe_of(path).data == TableData(file=str(path), separator="|")
    assert 'data: {kind: table, file: "2 bees.csv", separator: "|"}' in starter.recipe_text(path, written="2 bees.csv")
    assert starter.labelled(path).multi_label


def test_a_table_without_labels_has_classes_where_columns_hold_nothing_but_0_and_1(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    cells = [f"photos/{row},{int(row[0] == 'a')},{int(row[0] == 'b')},{place},1" for place, row in enumerate(ROWS)]
    path = table(photos, "\n".join(("file,ants,bees,taken,x|y", *cells)) + "\n")
    assert starter.recipe_of(path).data == TableData(file=str(path), path="file", classes=("ants", "bees"))
    assert starter.labelled(path).multi_label
    one = table(photos, "\n".join(("file,ants", *(cell.rsplit(",", 3)[0] for cell in cells))) + "\n")
    with pytest.raises(DataError, match="no column 'label'"):
        starter.labelled(one)


def test_a_table_whose_columns_nobody_knows_is_refused_with_their_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'path' \(path\); .*the columns are a, b"):
        starter.recipe_of(table(tmp_path / "photos", "a,b\n1,2\n"))


def test_a_catalog_gets_a_recipe_of_the_table_that_it_will_be(tmp_path: Path) -> None:
    recipe = starter.recipe_of(starter.labelled(photographs(tmp_path / "photos")), ["seed=3"])
    assert (recipe.name, recipe.seed, recipe.data.kind) == ("images", 3, "table")


def test_a_file_is_written_into_a_folder_that_is_there(tmp_path: Path) -> None:
    starter.must_be_a_place(tmp_path / "x.html")
    with pytest.raises(UsageError, match=r"--html '.*no/x.html' would lie in a folder that is not there; name a file"):
        starter.must_be_a_place(tmp_path / "no" / "x.html", option="--html")
    with pytest.raises(UsageError, match=r"--output '.*' is a folder; name a file"):
        starter.must_be_a_place(tmp_path)


def test_a_file_does_not_take_the_place_of_what_is_read(tmp_path: Path) -> None:
    table, link = tmp_path / "t.csv", tmp_path / "link.csv"
    table.write_text("path,label")
    link.symlink_to("t.csv")
    starter.must_be_a_place(tmp_path / "features.csv", read=[table])
    for name in (table, link):
        with pytest.raises(UsageError, match=f"--output '.*{name.name}' is what is to be read; name another file"):
            starter.must_be_a_place(name, read=[tmp_path / "gone", table])


def test_a_page_takes_the_place_of_pages_only(tmp_path: Path) -> None:
    starter.must_be_a_page(tmp_path / "page", option="--html")
    for name in ("old.html", "old.HTM"):
        (tmp_path / name).write_text("a page")
        starter.must_be_a_page(tmp_path / name, option="--html")
    (tmp_path / "t.csv").write_text("path,label")
    (tmp_path / "link.html").symlink_to("t.csv")
    for name in ("t.csv", "link.html"):
        with pytest.raises(UsageError, match=f"--html '.*{name}' is there already, and is no page by its name"):
            starter.must_be_a_page(tmp_path / name, option="--html")
    with pytest.raises(UsageError, match=r"--html '.*' is a folder"):
        starter.must_be_a_page(tmp_path, option="--html")


def test_only_folders_of_images_must_not_be_written_into(tmp_path: Path) -> None:
    inside = tmp_path / "runs"
    for data in (FolderData(root=str(tmp_path)), TorchvisionData(name="DTD", root=str(tmp_path))):
        with pytest.raises(UsageError, match="would lie among the images"):
            starter.must_lie_outside(inside, data)
    for free in (
        TableData(file=str(tmp_path / "t.csv"), root=str(tmp_path)),
        TorchvisionData(name="DTD"),
        HuggingfaceData(name="x"),
    ):
        starter.must_lie_outside(inside, free)


@pytest.mark.parametrize(
    ("folder", "name"), [("été 2024!", "t-2024"), ("___", "images"), ("a.b", "a-b"), ("a b.csv", "a-b")]
)
def test_any_folder_has_a_name_for_its_runs(folder: str, name: str) -> None:
    assert starter.name_of(Path("/data") / folder) == name
