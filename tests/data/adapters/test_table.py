"""Tables of images: what their rows mean, and every way in which they cannot be meant."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from finetune.data.adapters import table
from finetune.data.catalog import Catalog
from finetune.errors import DataError
from finetune.recipe.dataset import TableData

NAMES = ("1.jpg", "2.jpg", "3.jpg", "deep/4.jpg", "deep/er/5.jpg")


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    """Empty files, for the adapter opens none."""
    for name in NAMES:
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).touch()


def read(folder: Path, *lines: str, name: str = "t.csv", **columns: Any) -> Catalog:
    path = folder / "set" / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return table.read(TableData(file=str(path), **columns))


def refusal(folder: Path, *lines: str, name: str = "t.csv", **columns: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, *lines, name=name, **columns)
    return str(caught.value).replace(str(folder / "set" / name), name).replace(str(folder), "HERE")


def labels(catalog: Catalog) -> dict[str, object]:
    return {sample.key: sample.label for sample in catalog.samples}


def test_rows_become_samples_in_the_order_of_keys(tmp_path: Path) -> None:
    found = read(tmp_path, "label,path", "dog,deep/er/5.jpg", " cat ,./1.jpg", "dog,deep/../2.jpg")
    assert labels(found) == {"1.jpg": "cat", "2.jpg": "dog", "deep/er/5.jpg": "dog"}
    assert found.classes == ("cat", "dog")
    assert found.keys == ("1.jpg", "2.jpg", "deep/er/5.jpg")
    assert found.samples[1].file == tmp_path / "set" / "2.jpg"
    assert all(sample.split is None and sample.group is None for sample in found.samples)
    assert not found.multi_label


def test_columns_can_have_any_name(tmp_path: Path) -> None:
    rows = ("Datei;Art;Teil;Tier", "1.jpg;Käfer;train;7", "2.jpg;Laus;train;007", "3.jpg;Laus;test;")
    found = read(tmp_path, *rows, path="Datei", label="Art", split="Teil", group="Tier")
    assert labels(found) == {"1.jpg": "Käfer", "2.jpg": "Laus", "3.jpg": "Laus"}
    assert [(sample.split, sample.group) for sample in found.samples] == [
        ("train", "7"), ("train", "007"), ("test", None)
    ]  # fmt: skip


def test_labels_that_look_like_numbers_stay_what_they_are(tmp_path: Path) -> None:
    found = read(tmp_path, "path,label", "1.jpg,007", "2.jpg,7", "3.jpg,1e3", "deep/4.jpg,null", "deep/er/5.jpg,no")
    assert found.classes == ("007", "1e3", "7", "no", "null")
    lines = ('{"path": "1.jpg", "label": 7.50}', '{"path": "2.jpg", "label": 7}', '{"path": "3.jpg", "label": true}')
    assert read(tmp_path, *lines, name="t.jsonl").classes == ("7", "7.50", "true")


def test_paths_start_from_the_root_and_keys_do_too(tmp_path: Path) -> None:
    rows = ("path,label", "4.jpg,a", f"{tmp_path / 'set' / 'deep' / 'er' / '5.jpg'},b")
    found = read(tmp_path, *rows, root=str(tmp_path / "set" / "deep"))
    assert labels(found) == {"4.jpg": "a", "er/5.jpg": "b"}
    assert all(sample.file.is_file() for sample in found.samples)


def test_paths_that_lead_out_of_the_root_are_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "set" / "3.jpg"
    (tmp_path / "set" / "deep" / "link.jpg").symlink_to(elsewhere)
    (tmp_path / "set" / "deep" / "above").symlink_to("..")
    (tmp_path / "set" / "deep" / "inside.jpg").symlink_to("er/5.jpg")
    rows = ("4.jpg,a", "inside.jpg,b", "../2.jpg,a", f"{elsewhere},b", "link.jpg,a", "above/1.jpg,b", "../none.jpg,a")
    root = tmp_path / "set" / "deep"
    assert refusal(tmp_path, "path,label", *rows, root=str(root)) == (
        "t.csv: 5 of 7 rows lead out of 'HERE/set/deep', the folder that paths start from; give as root (in a recipe, "
        "data.root) a folder that holds all images, and write relative paths from there\n"
        "    t.csv:4: '../2.jpg'\n    t.csv:5: 'HERE/set/3.jpg'\n    t.csv:6: 'link.jpg', by a link\n"
        "    t.csv:7: 'above/1.jpg', by a link\n    t.csv:8: '../none.jpg'"
    )
    wider = read(tmp_path, "path,label", *(row.replace("..", "deep/..") for row in rows[2:4]), root=str(root.parent))
    assert labels(wider) == {"2.jpg": "a", "3.jpg": "b"}
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    assert labels(read(tmp_path, "path,label", *rows[:2], root=str(linked))) == {"4.jpg": "a", "inside.jpg": "b"}


def test_keys_are_printable_and_one_to_one(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff.jpg")
    (tmp_path / "set" / odd).touch()
    (tmp_path / "set" / "\\xff.jpg").touch()
    lines = [json.dumps({"path": path, "label": label}) for path, label in ((odd, "a"), ("\\xff.jpg", "b"))]
    assert labels(read(tmp_path, *lines, name="t.jsonl")) == {"\\xff.jpg": "a", "\\\\xff.jpg": "b"}


def test_a_column_can_name_the_images(tmp_path: Path) -> None:
    found = read(tmp_path, "path,label,scan", "1.jpg,a,scan 9", "2.jpg,b,scan 10", id="scan")
    assert labels(found) == {"scan 10": "b", "scan 9": "a"}
    text = refusal(tmp_path, "path,label,scan", "1.jpg,a,x", "2.jpg,b,x", "3.jpg,b,", id="scan")
    assert text == ("t.csv: 2 of 3 rows cannot be used\n    t.csv:3: id 'x' is that of t.csv:2 too\n    t.csv:4: no id")


def test_a_separator_gives_images_any_number_of_labels(tmp_path: Path) -> None:
    found = read(tmp_path, "path,label", "1.jpg,outdoor | cat", "2.jpg,cat", "3.jpg,", separator="|")
    assert labels(found) == {"1.jpg": ("cat", "outdoor"), "2.jpg": ("cat",), "3.jpg": ()}
    assert found.multi_label
    assert found.labels.tolist() == [[True, True], [True, False], [False, False]]
    spaced = read(tmp_path, "path,label", "1.jpg,b a", "2.jpg,c", separator=" ")
    assert labels(spaced) == {"1.jpg": ("a", "b"), "2.jpg": ("c",)}


def test_lists_of_json_are_labels(tmp_path: Path) -> None:
    lines = (
        '{"path": "1.jpg", "label": ["b", "a"]}',
        '{"path": "2.jpg", "label": []}',
        '{"path": "3.jpg", "label": ["c"]}',
    )
    assert labels(read(tmp_path, *lines, name="t.jsonl")) == {"1.jpg": ("a", "b"), "2.jpg": (), "3.jpg": ("c",)}
    mixed = (*lines, '{"path": "deep/4.jpg", "label": "a"}')
    assert refusal(tmp_path, *mixed, name="t.jsonl") == (
        "t.jsonl:1: a list of labels, and a single one at t.jsonl:4; give all images lists"
    )


def test_columns_of_0_and_1_are_classes_in_the_order_given(tmp_path: Path) -> None:
    rows = ("path,cat,outdoor,x", "1.jpg,1,1,9", "2.jpg,0.0,TRUE,9", "3.jpg,0,false,9")
    found = read(tmp_path, *rows, classes=("outdoor", "cat"))
    assert found.classes == ("outdoor", "cat")
    assert labels(found) == {"1.jpg": ("outdoor", "cat"), "2.jpg": ("outdoor",), "3.jpg": ()}
    assert refusal(tmp_path, *rows, classes=("outdoor", "x")).splitlines()[1:] == [
        f"    t.csv:{line}: column 'x' holds '9', and a column of classes holds 0 and 1" for line in (2, 3, 4)
    ]
    assert refusal(tmp_path, "path,a,b", "1.jpg,1,0", "2.jpg,1,0", classes=("a", "b")) == (
        "t.csv: columns of classes without a 1 among the training images\n    'b'"
    )
    assert "column 'b' holds ''" in refusal(tmp_path, "path,a,b", "1.jpg,1,", classes=("a", "b"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.jpg,", "no label"),
        (",cat", "no path"),
        (
            "https://example.org/1.jpg,cat",
            "'https://example.org/1.jpg' is an address, not a path; download the images first",
        ),
        ("s3://x/1.jpg,cat", "'s3://x/1.jpg' is an address, not a path; download the images first"),
        ("1\0.jpg,cat", r"path '1\\x00.jpg' has control characters in it"),
        ("1.jpg,c\0at", r"label 'c\\x00at' has line breaks or control characters in it"),
        ('1.jpg,"c\nat"', r"label 'c\\x0aat' has line breaks or control characters in it"),
        ("1.jpg," + "x" * 5000, "label has 5000 characters; at most 4096 are read"),
        (
            "1.jpg,a|b",
            "label 'a|b' has a | in it; where an image may have several labels, say separator: '|' in data, else "
            "rename the class",
        ),
        ("2.jpg,dog", "'2.jpg' is the file of t.csv:2 too; remove one of them"),
        (
            "./deep/../2.jpg,cat",
            "'./deep/../2.jpg' is the file of t.csv:2 too, with another label: 'cat' here and 'dog' there; the labels "
            "of an image stand in one row, with a separator",
        ),
    ],
)
def test_a_row_that_makes_no_sense_is_refused_with_its_line(row: str, message: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, "path,label", "2.jpg,dog", row) == f"t.csv:3: {message}"


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("a||b", "an empty label in 'a||b'"),
        ("a|", "an empty label in 'a|'"),
        ("a|b|a", "label 'a' twice"),
    ],
)
def test_odd_lists_of_labels_are_refused(cell: str, message: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, "path,label", f"1.jpg,{cell}", separator="|") == f"t.csv:2: {message}"


def test_a_class_with_a_bar_is_refused_where_bars_join_labels(tmp_path: Path) -> None:
    text = refusal(tmp_path, "path,label", '1.jpg,"a;b|c"', separator=";")
    assert text == "t.csv:2: label 'b|c' has a | in it, which stands between labels elsewhere; rename it"


@pytest.mark.parametrize(("value", "kind"), [("{}", "a dict"), ("[[1]]", "a list"), ('{"bytes": "x"}', "a dict")])
def test_a_cell_that_is_no_text_is_refused(value: str, kind: str, tmp_path: Path) -> None:
    line = f'{{"path": "1.jpg", "label": {value}}}'
    assert refusal(tmp_path, line, name="t.jsonl") == f"t.jsonl:1: label is {kind}; it has to be text"


def test_files_that_are_not_there_are_one_error_with_the_first_twenty(tmp_path: Path) -> None:
    rows = [f"none{number:02d}.jpg,dog" for number in range(30)]
    lines = refusal(tmp_path, "path,label", "1.jpg,cat", *rows).splitlines()
    assert lines[0] == "t.csv: 30 of 31 rows name files that are not there; paths start from 'HERE/set'"
    assert lines[1] == "    t.csv:3: 'none00.jpg'"
    assert lines[20:] == ["    t.csv:22: 'none19.jpg'", "    … and 10 more"]
    assert "not there" in refusal(tmp_path, "path,label", "deep,cat")
    assert "names are separated by /" in refusal(tmp_path, "path,label", "deep\\4.jpg,cat")
    assert refusal(tmp_path, "path,label", "1.jpg,a", root=str(tmp_path / "none")) == (
        "t.csv: its paths start from 'HERE/none', and there is no such folder; mend data.root"
    )


def test_a_missing_column_comes_with_those_that_are_there(tmp_path: Path) -> None:
    assert refusal(tmp_path, "file,lable", "1.jpg,cat") == (
        "t.csv: no column 'path' (path); no column 'label' (label); did you mean 'lable'?; the columns are file, "
        "lable; rename one of them, or name the one that is meant as path and label"
    )
    assert "no column 'dog' (one of classes)" in refusal(tmp_path, "path,cat", "1.jpg,1", classes=("cat", "dog"))


@pytest.mark.parametrize(("one", "other"), [("Cat", "cat"), ("caf\xe9", "cafe\u0301"), ("STRASSE", "straße")])
def test_labels_that_differ_in_spelling_only_are_refused(one: str, other: str, tmp_path: Path) -> None:
    text = refusal(tmp_path, "path,label", f"1.jpg,{one}", f"2.jpg,{other}", f"3.jpg,{one}")
    first, second = sorted([(one, 2), (other, 3)])
    assert text == (
        "t.csv: labels that differ only in capitals or in how accents are stored; write them alike\n"
        f"    {first[0]!a} (t.csv:{first[1]}) and {second[0]!a} (t.csv:{second[1]})"
    )


def test_classes_come_from_training_rows(tmp_path: Path) -> None:
    rows = ("path,label,split", "1.jpg,a,Train", "2.jpg,b,Train", "3.jpg,a,val", "deep/4.jpg,b,test")
    found = read(tmp_path, *rows, split="split")
    assert [sample.split for sample in found.samples] == ["Train", "Train", "val", "test"]
    unknown = refusal(tmp_path, *rows, "deep/er/5.jpg,bb,test", split="split")
    assert unknown == (
        "t.csv: labels that no training image has; mend or remove these rows\n"
        "    'bb' in test: 1 rows, the first at t.csv:6; did you mean 'b'?"
    )
    pooled = read(tmp_path, *rows, "deep/er/5.jpg,bb,test", split="split", pool=True)
    assert pooled.classes == ("a", "b", "bb")
    assert {sample.split for sample in pooled.samples} == {None}


def test_odd_splits_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "path,label,split", "1.jpg,a,training", "2.jpg,b,test", split="split") == (
        "t.csv: column 'split' says train of no row (test: 1, training: 1), and classes come from training images; "
        "write train, or say pool: true to split anew"
    )
    assert refusal(tmp_path, "path,label,split", "1.jpg,a,", split="split") == "t.csv:2: no split"
    assert refusal(tmp_path, "path,label,split", "1.jpg,a,train", "2.jpg,b,TRAIN", split="split").startswith(
        "t.csv: splits that differ only in capitals"
    )


def test_fewer_than_two_classes_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "path,label", "1.jpg,a", "2.jpg,a") == (
        "t.csv: only one class, 'a'; a classifier needs two or more"
    )
    assert refusal(tmp_path, "path,label", "1.jpg,", separator="|") == (
        "t.csv: no class at all; a classifier needs two or more"
    )


def test_nothing_is_written_beside_the_table(tmp_path: Path) -> None:
    read(tmp_path, "path,label", "1.jpg,a", "2.jpg,b")
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["1.jpg", "2.jpg", "3.jpg", "deep", "t.csv"]


def test_everything_that_is_wrong_is_found_and_what_there_is_is_given_too(tmp_path: Path) -> None:
    path = tmp_path / "set" / "t.csv"
    lines = ("path,label,part", "1.jpg,a,train", "2.jpg,A,train", "3.jpg,b", "none.jpg,b,train", ",b,train")
    path.write_text("\n".join((*lines, "deep/4.jpg,b,train", "3.jpg,c,test", "deep/er/5.jpg,b,Train")))
    catalog, faults = table.examine(TableData(file=str(path), split="part"))
    assert labels(catalog) == {"1.jpg": "a", "2.jpg": "A", "3.jpg": "c", "deep/4.jpg": "b", "deep/er/5.jpg": "b"}
    assert catalog.classes == ("A", "a", "b", "c")
    said = [str(fault).replace(str(path), "t.csv").replace(str(tmp_path), "HERE") for fault in faults]
    assert said == [
        "t.csv:4: 2 cells where the first line has 3",
        "t.csv:6: no path",
        "t.csv: 1 of 7 rows name files that are not there; paths start from 'HERE/set'\n    t.csv:5: 'none.jpg'",
        "t.csv: labels that differ only in capitals or in how accents are stored; write them alike"
        "\n    'A' (t.csv:3) and 'a' (t.csv:2)",
        "t.csv: splits that differ only in capitals or in how accents are stored; write them alike"
        "\n    'Train' (t.csv:9) and 'train' (t.csv:2)",
        "t.csv: labels that no training image has; mend or remove these rows"
        "\n    'c' in test: 1 rows, the first at t.csv:8",
    ]
    with pytest.raises(DataError) as refusal:
        table.read(TableData(file=str(path), split="part"))
    assert str(refusal.value) == str(faults[0])


def test_one_list_of_labels_among_single_ones_makes_all_of_them_lists(tmp_path: Path) -> None:
    path = tmp_path / "set" / "t.jsonl"
    path.write_text('{"path": "1.jpg", "label": "a"}\n{"path": "2.jpg", "label": ["a", "b"]}\n')
    catalog, faults = table.examine(TableData(file=str(path)))
    assert labels(catalog) == {"1.jpg": ("a",), "2.jpg": ("a", "b")}
    assert [str(fault).partition(": ")[2] for fault in faults] == [
        f"a list of labels, and a single one at {path}:1; give all images lists"
    ]


def test_without_a_row_that_makes_sense_nothing_is_given(tmp_path: Path) -> None:
    path = tmp_path / "set" / "t.csv"
    path.write_text("path,label\n1.jpg,\nnone.jpg,a\n")
    with pytest.raises(DataError, match=r"t\.csv:2: no label"):
        table.examine(TableData(file=str(path)))
