"""Frames and lists from Python, with small stand-ins for those of packages that are not dependencies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.data import rows
from finetune.data.adapters import folder, table
from finetune.data.adapters.frames import from_frame, from_paths, handed
from finetune.data.catalog import Catalog, Sample
from finetune.errors import DataError, UsageError
from finetune.recipe.dataset import FolderData
from tests.conftest import draw_classes


class Column:
    """As a column of pandas or polars: it has `to_list`."""

    def __init__(self, cells: list[Any]) -> None:
        self.cells = cells

    def to_list(self) -> list[Any]:
        return self.cells


class Frame:
    """As a frame of pandas or polars: `columns` and `frame[name]`."""

    def __init__(self, **columns: list[Any]) -> None:
        self.columns = list(columns)
        self._cells = columns

    def __getitem__(self, name: str) -> Column:
        return Column(self._cells[name])

    def to_dict(self) -> dict[str, list[Any]]:
        return self._cells


class NAType:
    """As pandas.NA, of which nothing can be asked."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.png", "b.png", "c.png", "sub/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def labels(catalog: Catalog) -> dict[str, object]:
    return {sample.key: sample.label for sample in catalog.samples}


def test_a_frame_is_read_as_a_table_is(here: Path) -> None:
    frame = Frame(path=["a.png", Path("sub/d.png")], label=["dog", "cat"], split=["train"] * 2, who=[7, NAType()])
    found = from_frame(frame, group="who")
    assert labels(found) == {"a.png": "dog", "sub/d.png": "cat"}
    assert [sample.group for sample in found.samples] == ["7", None]
    assert found.samples[0].file == here / "a.png"


def test_no_path_leads_out_of_a_root_that_is_given(here: Path) -> None:
    (here / "sub" / "e.png").touch()
    frame = {"path": ["d.png", "e.png"], "label": ["x", "y"]}
    assert from_frame(frame, root="sub").keys == ("d.png", "e.png")
    with pytest.raises(
        DataError, match=r"(?s)1 of 2 rows lead out of '.*/sub'.*\n    the frame, row 1 .*: '\.\./a\.png'"
    ):
        from_frame({**frame, "path": ["d.png", "../a.png"]}, root="sub")


@pytest.mark.parametrize(
    "cells",
    [["7", "8"], [7, 8], [7.0, 8.0], list(np.array([7, 8])), list(np.float32([7, 8])), np.array([7, 8])],
)
def test_whole_numbers_are_classes_however_they_are_held(cells: Any, here: Path) -> None:
    assert labels(from_frame({"path": ["a.png", "b.png"], "label": cells})) == {"a.png": "7", "b.png": "8"}


def test_lists_separators_and_columns_give_several_labels(here: Path) -> None:
    paths = ["a.png", "b.png"]
    wanted = {"a.png": ("x", "y"), "b.png": ("y",)}
    assert labels(from_frame({"path": paths, "label": [["y", "x"], ["y"]]})) == wanted
    assert labels(from_frame({"path": paths, "label": [np.array(["x", "y"]), np.array(["y"])]})) == wanted
    assert labels(from_frame({"path": paths, "tags": ["x;y", "y"]}, label="tags", separator=";")) == wanted
    assert (
        labels(from_frame({"path": paths, "x": [True, False], "y": [1.0, np.int64(1)]}, classes=["x", "y"])) == wanted
    )


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (0.5, "label is the number 0.5; it has to be text"),
        (float("nan"), "no label"),
        (None, "no label"),
        (NAType(), "no label"),
        (b"x", "label is a bytes; it has to be text"),
        (np.zeros((2, 2)), "label is a ndarray; it has to be text"),
    ],
)
def test_a_cell_that_is_no_label_is_refused_with_its_row(cell: Any, message: str, here: Path) -> None:
    with pytest.raises(DataError) as caught:
        from_frame({"path": ["a.png", "b.png"], "label": ["x", cell]})
    assert str(caught.value) == f"the frame, row 1 (the first is 0): {message}"


class Lazy:
    """As a lazy frame of polars."""

    columns = ("path", "label")

    def collect(self) -> None: ...

    def __getitem__(self, name: str) -> None: ...


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([1], "a list is no frame; give one of pandas or polars, or a dict of lists"),
        (Lazy(), "a Lazy is no frame; collect it first; give one of pandas or polars, or a dict of lists"),
        ({"path": []}, "the frame has no rows"),
        ({}, "the frame has no rows"),
        ({"path": ["a.png"], "label": []}, "the columns of the frame have different lengths"),
    ],
)
def test_what_is_no_frame_is_refused(frame: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_frame(frame)
    assert str(caught.value) == message


def test_columns_keep_the_names_that_the_frame_has(here: Path) -> None:
    frame = {0: ["a.png", "b.png"], ("of", "two"): [1, 2], "label": ["x", "y"]}
    assert labels(from_frame(frame, path="0")) == {"a.png": "x", "b.png": "y"}
    assert labels(from_frame(frame, path="0", label="('of', 'two')")) == {"a.png": "1", "b.png": "2"}


def test_a_column_that_is_there_twice_is_refused_where_it_is_needed(here: Path) -> None:
    frame = Frame(path=["a.png", "b.png"], label=["x", "y"])
    frame.columns = ["path", "label", "kind", "kind"]
    assert labels(from_frame(frame)) == {"a.png": "x", "b.png": "y"}
    with pytest.raises(DataError, match="the frame: column 'kind' is there 2 times"):
        from_frame(frame, label="kind")


def test_columns_are_asked_for_in_the_words_of_a_recipe(here: Path) -> None:
    frame = {"path": ["a.png"], "label": ["x"]}
    with pytest.raises(UsageError, match="label must be text, not 3; put it in quotes"):
        from_frame(frame, label=3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"no columns of images\n.*separator has no effect beside classes"):
        from_frame(frame, separator="|", classes=["x"])
    with pytest.raises(DataError, match="the frame: no column 'kind' \\(label\\); the columns are path, label"):
        from_frame(frame, label="kind")


def test_paths_and_labels_in_step_are_a_catalog(here: Path) -> None:
    paths = (path for path in ("a.png", here / "b.png", "c.png"))
    found = from_paths(paths, ["x", "y", "x"], splits=["train", "train", "test"], groups=[1, 2, None])
    assert labels(found) == {"a.png": "x", "b.png": "y", "c.png": "x"}
    assert [(sample.split, sample.group) for sample in found.samples] == [
        ("train", "1"),
        ("train", "2"),
        ("test", None),
    ]
    assert labels(from_paths(["a.png", "b.png"], [["x", "y"], []])) == {"a.png": ("x", "y"), "b.png": ()}
    with pytest.raises(UsageError, match="in step, and there are 1 paths, 2 labels"):
        from_paths(["a.png"], ["x", "y"])
    with pytest.raises(UsageError, match="there are no paths"):
        from_paths([], [])
    with pytest.raises(DataError, match=r"the list: 1 of 2 rows name files that are not there"):
        from_paths(["a.png", "z.png"], ["x", "y"])


def test_files_elsewhere_are_named_below_the_folder_that_holds_them(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here / "sub")
    assert labels(from_paths([here / "a.png", "d.png"], ["x", "y"])) == {"a.png": "x", "sub/d.png": "y"}
    with pytest.raises(DataError, match="1 of 2 rows lead out of"):
        from_paths([here / "a.png", "d.png"], ["x", "y"], root=".")
    with pytest.raises(DataError, match=r"row 1 \(the first is 0\): 's3://x/d.png' is an address"):
        from_paths([here / "a.png", "s3://x/d.png"], ["x", "y"])
    with pytest.raises(DataError, match=r"row 1 \(the first is 0\): no path"):
        from_paths([here / "a.png", None], ["x", "y"])  # type: ignore[list-item]


def test_a_catalog_that_is_handed_over_is_the_one_that_its_table_gives(tmp_path: Path) -> None:
    photos = draw_classes(tmp_path / "photos", {"ant": 2, "bee": 2})
    whole = folder.read(FolderData(root=str(photos)))
    given = handed(whole, FolderData(root="x", on_bad_image="error"))
    assert given.catalog == whole
    assert given.data.on_bad_image == "error"
    file = tmp_path / "images.jsonl"
    file.write_bytes(given.lines)
    assert table.read(given.at(file)) == whole
    assert str(tmp_path) not in given.lines.decode()


def test_keys_splits_groups_and_lists_of_labels_are_kept(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.png", "two.png")]
    for path in paths:
        path.touch()
    samples = (
        Sample("second key", paths[0], ("b", "a"), group="g", split="train"),
        Sample("first key", paths[1], (), split="val"),
    )
    found = handed(Catalog(samples, ("b", "a", "unused")), FolderData(root="x")).catalog
    assert found.classes == ("a", "b")
    assert [(s.key, s.label, s.group, s.split) for s in found.samples] == [
        ("first key", (), None, "val"),
        ("second key", ("a", "b"), "g", "train"),
    ]
    pooled = handed(Catalog(samples, ("b", "a")), FolderData(root="x", pool=True))
    assert {sample.split for sample in pooled.catalog.samples} == {None}
    assert pooled.data.pool


def test_what_cannot_be_handed_over_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the catalog has no images"):
        handed(Catalog((), ()), FolderData(root="x"))
    with pytest.raises(UsageError, match="1 images of the catalog are no files\n    k"):
        handed(Catalog((Sample("k", None, "a"),), ("a",)), FolderData(root="x"))
    odd = tmp_path / "$HOME x"
    odd.mkdir()
    (odd / "1.png").touch()
    with pytest.raises(UsageError, match=r"'\$' is not expanded"):
        handed(Catalog((Sample("k", odd / "1.png", "a"),), ("a",)), FolderData(root="x"))


def test_the_table_of_a_catalog_is_json_lines_of_relative_paths(tmp_path: Path) -> None:
    photos = draw_classes(tmp_path / "photos", {"ant": 1, "bee": 1})
    lines = handed(folder.read(FolderData(root=str(photos))), FolderData(root="x")).lines
    assert [json.loads(line) for line in lines.splitlines()] == [
        {"id": "ant/000.png", "path": "ant/000.png", "label": "ant"},
        {"id": "bee/000.png", "path": "bee/000.png", "label": "bee"},
    ]
    assert rows.json_lines(lines, source="x").columns == ("id", "path", "label")
