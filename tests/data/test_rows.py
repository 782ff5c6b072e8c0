"""Every way in which a table file is written, and in which it can be broken."""

import json
import os
import sys
from pathlib import Path

import pytest

from finetune.data.rows import examine, is_table, json_lines, read
from finetune.errors import DataError

PLAIN = "path,label\n1.jpg,cat\n2.jpg,dog\n"


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cells(folder: Path, content: str | bytes, name: str = "t.csv", **known: list[str]) -> list[list[object]]:
    return [list(row) for row in read(written(folder, content, name), **known).cells]


def refusal(folder: Path, content: str | bytes, name: str = "t.csv") -> str:
    with pytest.raises(DataError) as caught:
        read(written(folder, content, name))
    return str(caught.value).replace(str(folder) + os.sep, "")


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN + "\n\n",
        PLAIN.rstrip("\n"),
        " path , label \n 1.jpg , cat \n2.jpg,\tdog\n",
        'path,label\n"1.jpg","cat"\n2.jpg, "dog"\n',
        "path;label\n1.jpg;cat\n2.jpg;dog\n",
        "path\tlabel\n1.jpg\tcat\n2.jpg\tdog\n",
    ],
)
def test_all_ways_to_write_one_table_are_read_alike(content: str, tmp_path: Path) -> None:
    assert cells(tmp_path, content, known=["path"]) == [["1.jpg", "cat"], ["2.jpg", "dog"]]


def test_text_is_never_taken_for_a_number_or_a_truth_value(tmp_path: Path) -> None:
    odd = ["007", "1e3", "1.0", "no", "null", "NaN", "2024-01-01", "", "=1+1"]
    assert [row[1] for row in cells(tmp_path, "path,label\n" + "".join(f"x,{one}\n" for one in odd))] == odd
    lines = '{"path": "x", "label": 007}\n'
    assert "not JSON" in refusal(tmp_path, lines, "t.jsonl")  # as JSON has it
    numbers = '{"path": "x", "label": 1e3}\n{"path": "y", "label": 1.0}\n{"path": "z", "label": 12345678901234567890}\n'
    assert [row[1] for row in cells(tmp_path, numbers, "t.jsonl")] == ["1e3", "1.0", "12345678901234567890"]


def test_lines_are_counted_as_an_editor_does_also_after_quoted_line_ends(tmp_path: Path) -> None:
    found = read(written(tmp_path, 'path,label,note\r\n1.jpg,cat,"two\r\nlines"\r\n\r\n2.jpg,dog,""\r\n'))
    assert [found.place(row) for row in range(2)] == [f"{tmp_path / 't.csv'}:2", f"{tmp_path / 't.csv'}:5"]
    assert found.column("note") == ["two\r\nlines", ""]


def test_tsv_has_tabs_and_keeps_commas(tmp_path: Path) -> None:
    assert cells(tmp_path, "path\tlabel\na,b.jpg\tcat\n", "t.TSV") == [["a,b.jpg", "cat"]]


def test_json_lines_have_the_columns_of_all_their_objects(tmp_path: Path) -> None:
    lines = '{"path": "1.jpg", "label": ["cat", "dog"]}\r\n\n{"label": null, "group": true}\n'
    found = read(written(tmp_path, "\ufeff" + lines, "t.jsonl"))
    assert found.columns == ("path", "label", "group")
    assert [list(row) for row in found.cells] == [["1.jpg", ["cat", "dog"], None], [None, None, True]]
    assert found.place(1).endswith("t.jsonl:3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv:1: no first line with the names of columns, such as path,label"),
        (b"\n\n", "t.csv:1: no first line with the names of columns, such as path,label"),
        (b"path,label\n", "t.csv: no rows"),
        (PLAIN.encode("utf-16"), "t.csv:1: the text is UTF-16; save it as UTF-8"),
        (PLAIN.encode("utf-16-le"), "t.csv:1: the text is UTF-16; save it as UTF-8"),
        (
            "path,label\n1.jpg,cat\n2.jpg,Käfer\n".encode("latin-1"),
            "t.csv:3: the text is not UTF-8 (byte 0xe4), perhaps Latin-1 or Windows-1252; save it as UTF-8",
        ),
        (b"path,label\n1.jpg,cat,x\n", "t.csv:2: 3 cells where the first line has 2"),
        (
            b"path,label\n1.jpg\n2.jpg,dog\n3.jpg,a,b\n",
            "t.csv: 2 lines cannot be read\n    t.csv:2: 1 cell where the first line has 2"
            "\n    t.csv:4: 3 cells where the first line has 2",
        ),
        (
            b'path,label\n1.jpg,cat\n2.jpg,"dog\n3.jpg,cat\n',
            "t.csv:3: a quote that begins here or below is never closed",
        ),
        (
            b"path,label\n1.jpg," + b"x" * 10**7,
            "t.csv:2: a cell of more than 131072 characters; perhaps a quote is not closed",
        ),
        (b'path,label\n"1.jpg"x,cat\n', "t.csv:2: not to be read as a table (',' expected after '\"')"),
        (b'"path,label\n', "t.csv:1: a quote that begins here or below is never closed"),
    ],
)
def test_a_broken_table_is_refused_with_its_line(content: bytes, message: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, content) == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", '2: not a JSON object, such as {"path": "1.jpg", "label": "cat"}'),
        ("{'path': 1}", "2: not JSON (Expecting property name enclosed in double quotes)"),
        ('{"path": "a", "path": "b"}', "2: not JSON (key 'path' occurs twice)"),
    ],
)
def test_a_line_that_is_no_json_object_is_refused(line: str, message: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, '{"path": "x"}\n' + line + "\n", "t.jsonl") == "t.jsonl:" + message
    deep = "[" * 100_000
    assert "2 lines cannot be read" in refusal(tmp_path, f"{line}\n{deep}\n", "t.ndjson")


def test_what_is_no_table_file_is_refused(tmp_path: Path) -> None:
    assert [is_table(Path(name)) for name in ("a.CSV", "a.parquet", "a.yaml", "a", "csv")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    written(tmp_path, PLAIN, "photos.csv")
    assert (
        refusal(tmp_path, PLAIN, "t.xlsx")
        == "t.xlsx is none of .csv, .tsv, .tab, .jsonl, .ndjson, .parquet, the tables that are read"
    )
    with pytest.raises(DataError, match=r"no file .*photo\.csv; did you mean 'photos\.csv'\?"):
        read(tmp_path / "photo.csv")
    with pytest.raises(DataError, match=r"^no file [^;]*$"):
        read(tmp_path / "none" / "photo.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="is not a file; name the table"):
        read(tmp_path / "folder.csv")
    with pytest.raises(DataError, match=r"cannot be read \(File name too long\)"):
        read(tmp_path / ("x" * 300 + ".csv"))


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with names")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="is not a file"):
        read(tmp_path / "pipe.csv")


def test_more_than_a_table_of_images_can_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.data.rows._MOST_ROWS", 1)
    assert refusal(tmp_path, PLAIN) == "t.csv: 2 rows; a table of images has at most 1"
    monkeypatch.setattr("finetune.data.rows._MOST_BYTES", 10)
    assert refusal(tmp_path, PLAIN) == "t.csv: 0 MB; a table of images has at most 512 MB"


def test_columns_that_are_not_there_are_named_with_those_that_are(tmp_path: Path) -> None:
    found = read(written(tmp_path, "path,lable,x,x\n1.jpg,cat,1,2\n"))
    found.check_columns({"path": "path"})
    with pytest.raises(DataError) as caught:
        found.check_columns({"label": "label", "patient": "group"})
    assert str(caught.value).endswith(
        "t.csv: no column 'label' (label); did you mean 'lable'?; no column 'patient' (group); "
        "the columns are path, lable, x, x; rename one of them, or name the one that is meant as label and group"
    )
    with pytest.raises(DataError, match="column 'x' is there 2 times"):
        found.check_columns({"x": "group"})


def test_parquet_is_read_with_its_rows_counted(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"path": ["1.jpg", "2.jpg"], "label": arrow.array(["cat", "dog"]).dictionary_encode(), "n": [1, None]}
    parquet.write_table(arrow.table(columns), tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet")
    assert [list(row) for row in found.cells] == [["1.jpg", "cat", 1], ["2.jpg", "dog", None]]
    assert found.place(1) == f"{tmp_path / 't.parquet'}, row 2"
    assert refusal(tmp_path, b"PAR1 and no more", "u.parquet").startswith(
        "u.parquet: no Parquet file, or a damaged one"
    )


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refusal(tmp_path, b"PAR1", "t.parquet") == (
        "t.parquet: Parquet needs pyarrow: pip install 'finetune-vision[parquet]'; or save the table as .csv"
    )


def test_file_names_that_are_not_utf_8_survive_json_lines(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.jpg")
    assert cells(tmp_path, json.dumps({"path": name}), "t.jsonl") == [[name]]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("path,label\n1.jpg\n2.jpg,dog\n3.jpg,a,b\n", "t.csv"),
        ('{"path": "1.jpg"\n{"path": "2.jpg", "label": "dog"}\n[]\n', "t.jsonl"),
    ],
)
def test_lines_that_make_sense_are_given_beside_those_that_do_not(content: str, name: str, tmp_path: Path) -> None:
    rows, faults = examine(written(tmp_path, content, name))
    assert [list(row) for row in rows.cells] == [["2.jpg", "dog"]]
    (fault,) = faults
    assert "2 lines cannot be read" in str(fault)
    assert f"{name}:{rows.numbers[0] - 1}: " in str(fault)
    assert f"{name}:{rows.numbers[0] + 1}: " in str(fault)
    if name == "t.jsonl":
        with pytest.raises(DataError, match="x: 2 lines cannot be read"):
            json_lines(content.encode(), source="x")
