import pytest

from finetune.data import ledger
from finetune.data.catalog import Catalog, LeftOut, Sample
from finetune.errors import DataError


def test_what_is_written_is_read_back(tmp_path):
    names = ("a", "=b")
    train = Catalog((Sample("b/1,2.jpg", None, "a", group="-g", sha256="22"),), names)
    test = Catalog((Sample("a/1.jpg", None, "=b", sha256="11"),), names)
    text = ledger.written({"train": train, "test": test}, [LeftOut("x.gif", "a GIF")])
    expected = [
        {"key": "a/1.jpg", "sha256": "11", "label": "'=b", "group": "", "split": "test", "note": ""},
        {"key": "b/1,2.jpg", "sha256": "22", "label": "a", "group": "'-g", "split": "train", "note": ""},
        {"key": "x.gif", "sha256": "", "label": "", "group": "", "split": "left out", "note": "a GIF"},
    ]
    assert ledger.rows(text) == expected
    (tmp_path / "catalog.csv").write_text(text)
    assert ledger.read(tmp_path) == ledger.read(tmp_path / "catalog.csv") == expected[:2]


def test_several_labels_are_joined():
    catalog = Catalog((Sample("1.jpg", None, ("a", "b"), sha256="1"),), ("a", "b"))
    assert ledger.rows(ledger.written({"train": catalog}, []))[0]["label"] == "a|b"


HEADER = ",".join(ledger.COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "it is not a table"),
        (b"\xff", "it is not UTF-8 text"),
        (b"key,label\n", "it must have the columns key, sha256, label, group, split, note"),
        (f"{HEADER}a,1\n".encode(), "it does not fit: row 2 must have 6 cells, but has 2"),
        (f"{HEADER}a,1,x,,part,\n".encode(), "parts that are none of train, validation, test\n    part"),
        (f"{HEADER}a,,,,left out,a GIF\n".encode(), "it has no images"),
        (HEADER.encode(), "it has no images"),
    ],
)
def test_anything_else_is_no_split(text, reason, tmp_path):
    (tmp_path / "table.csv").write_bytes(text)
    with pytest.raises(DataError, match=reason) as error:
        ledger.read(tmp_path / "table.csv")
    assert str(error.value).startswith(f"no split can be taken from '{tmp_path / 'table.csv'}'")


def test_a_folder_without_a_table_is_named(tmp_path):
    with pytest.raises(DataError, match=r"catalog.csv': No such file or directory; name the folder of a run"):
        ledger.read(tmp_path)
