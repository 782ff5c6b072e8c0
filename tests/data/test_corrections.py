from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.data import corrections
from finetune.data.catalog import Catalog, Sample
from finetune.data.corrections import Correction, applied, read
from finetune.data.survey import find, survey
from finetune.errors import DataError
from finetune.recipe import file


def catalog(**labels: str | tuple[str, ...]) -> Catalog:
    return Catalog(tuple(Sample(key, None, label) for key, label in labels.items()), ("cat", "dog", "owl"))


HEADER = "path,action,label\n"


def test_corrections_are_read_whatever_wrote_them(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    path.write_bytes('\ufeffpath,action,label\r\na.jpg,relabel,dog\r\n"b,\n.jpg",exclude,\r\n\r\n'.encode())
    assert read(path) == {
        "a.jpg": Correction("a.jpg", "relabel", "dog"),
        "b,\n.jpg": Correction("b,\n.jpg", "exclude"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: the columns must be path, action, label, not nothing"),
        ("path,action\n", ":1: the columns must be path, action, label, not path, action"),
        (
            HEADER + "a,relable,dog\n",
            ":2: the action must be relabel or exclude, not 'relable'; did you mean 'relabel'?",
        ),
        (HEADER + "a,relabel,\n", ":2: a is to be relabelled, but there is no label"),
        (HEADER + "a,exclude,dog\n", ":2: a is to be left out, so it has no label"),
        (HEADER + "a,exclude,\na,relabel,dog\n", ":3: a is there already"),
        (HEADER + "a\n", ":2: 1 cells, where path, action, label are 3"),
        (HEADER + ",exclude,\n", ":2: the path is empty"),
        (HEADER + '"a', ":2: not a table: unexpected end of data"),
    ],
)
def test_a_fault_is_told_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read(path)
    assert f"{path}{message}" in str(error.value)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c\.csv': no such file"):
        read(tmp_path / "c.csv")
    (tmp_path / "c.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"c\.csv': it is not UTF-8 text"):
        read(tmp_path / "c.csv")


def by_path(*found: Correction) -> dict[str, Correction]:
    return {one.path: one for one in found}


def test_images_are_relabelled_and_left_out_and_the_rest_stays() -> None:
    images = catalog(a="cat", b="cat", c="dog", d="owl")
    changes = by_path(Correction("a", "relabel", "dog"), Correction("c", "exclude"))
    found = applied(images, changes, source="c.csv")
    assert {sample.key: sample.label for sample in found.samples} == {"a": "dog", "b": "cat", "d": "owl"}
    assert [(item.key, item.reason) for item in found.left_out] == [("c", "excluded by c.csv")]
    assert found.classes == images.classes
    assert list(corrections.remarks(changes, source="c.csv")) == [
        "1 image has another label by c.csv",
        "1 image is left out by c.csv",
    ]


def test_several_labels_are_given_with_a_bar() -> None:
    images = catalog(a=("cat",), b=("dog", "owl"))
    found = applied(
        images, by_path(Correction("a", "relabel", "owl|dog"), Correction("b", "relabel", "cat")), source="x"
    )
    assert [sample.label for sample in found.samples] == [("dog", "owl"), ("cat",)]


def test_a_key_that_a_spreadsheet_would_compute_is_found_as_it_was_written() -> None:
    images = Catalog((Sample("=a", None, "cat"), Sample("b", None, "cat")), ("cat",))
    assert applied(images, by_path(Correction("'=a", "exclude")), source="x").keys == ("b",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            Correction("aa.jpg", "exclude"),
            r"c.csv: 1 correction does not fit the images\n    'aa.jpg' is none of the images; did you mean 'a.jpg'",
        ),
        (Correction("a.jpg", "relabel", "dgo"), r"a.jpg: the label 'dgo' is none of the classes; did you mean 'dog'"),
        (Correction("a.jpg", "relabel", "cat|dog"), r"a.jpg: the label 'cat\|dog' is none of the classes"),
        (Correction("b.jpg", "relabel", "cat"), r"c.csv leaves no image of 1 class\n    dog"),
        (Correction("b.jpg", "exclude"), r"c.csv leaves no image of 1 class\n    dog"),
    ],
)
def test_what_does_not_fit_the_images_is_refused(change: Correction, message: str) -> None:
    images = Catalog((Sample("a.jpg", None, "cat"), Sample("b.jpg", None, "dog")), ("cat", "dog"))
    with pytest.raises(DataError, match=message):
        applied(images, by_path(change), source="c.csv")


def test_all_that_does_not_fit_is_told_at_once_with_its_lines(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(HEADER + "photos/q.jpg,exclude,\na.jpg,relabel,dgo\nb.jpg,relabel,emu\n")
    images = Catalog(tuple(Sample(key, None, "cat") for key in ("a.jpg", "b.jpg")), ("cat", "dog"))
    with pytest.raises(DataError) as caught:
        applied(images, read(tmp_path / "c.csv"), source="c.csv")
    assert str(caught.value) == (
        "c.csv: 3 corrections do not fit the images\n"
        "    c.csv:2: 'photos/q.jpg' is none of the images; images are named as 'a.jpg' is\n"
        "    c.csv:3: a.jpg: the label 'dgo' is none of the classes; did you mean 'dog'?\n"
        "    c.csv:4: b.jpg: the label 'emu' is none of the classes; there are cat, dog"
    )


def test_a_recipe_names_its_corrections_and_the_data_stays(photos: Path, write_recipe: Callable[..., Path]) -> None:
    path = write_recipe(photos)
    (path.parent / "right.csv").write_text(HEADER + "red/000.png,relabel,blue\nblue/001.png,exclude,\n")
    (photos / "blue" / "001.png").write_bytes(b"torn")  # what is left out need not be readable
    path.write_text(path.read_text() + "corrections: right.csv\n")
    recipe = file.load(path)
    found = survey(recipe, find(recipe))
    labels = {sample.key: sample.label for part in found.parts.values() for sample in part.samples}
    assert labels["red/000.png"] == "blue"
    assert "blue/001.png" not in labels
    assert found.notes[-2:] == ("1 image has another label by right.csv", "1 image is left out by right.csv")
    assert (photos / "red" / "000.png").exists()
