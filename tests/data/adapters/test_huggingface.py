"""Sets on the hub, by way of `datasets` where it is installed and of a stand-in with the same calls everywhere."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from finetune.data import unpacked
from finetune.data.adapters import huggingface
from finetune.data.catalog import Catalog, LeftOut, census
from finetune.data.survey import pinned
from finetune.errors import DataError, Offline
from finetune.recipe.dataset import HuggingfaceData
from tests.recipe.toys import recipe

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class ImageOf:
    """datasets.Image"""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class ClassLabel:
    """datasets.ClassLabel"""

    dtype = "int64"

    def __init__(self, names: list[str]) -> None:
        self.names = names


class Value:
    """datasets.Value"""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype


class ListOf:
    """datasets.List"""

    def __init__(self, feature: object) -> None:
        self.feature = feature


class Features(dict[str, Any]):
    """datasets.Features"""


class Dataset:
    """datasets.Dataset, as much of it as is asked for."""

    def __init__(self, rows: list[dict[str, Any]], features: Features) -> None:
        self._rows, self.features = rows, features

    @classmethod
    def from_list(cls, rows: list[dict[str, Any]], features: Features) -> "Dataset":
        return cls(rows, features)

    def select_columns(self, names: list[str]) -> "Dataset":
        kept = [{name: row[name] for name in names} for row in self._rows]
        return Dataset(kept, Features({name: self.features[name] for name in names}))

    def cast_column(self, name: str, feature: Any) -> "Dataset":
        return Dataset(self._rows, Features({**self.features, name: feature}))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert not any(getattr(feature, "decode", False) for feature in self.features.values())
        return iter(self._rows)


def stand_in() -> ModuleType:
    """A module with the calls of `datasets` that are used."""
    module: Any = ModuleType("datasets")
    module.Image = type("Image", (ImageOf,), {})
    module.ClassLabel, module.Value, module.Features, module.Dataset = ClassLabel, Value, Features, Dataset
    module.List = type("List", (ListOf,), {})
    module.exceptions = ModuleType("datasets.exceptions")
    module.exceptions.DatasetsError = type("DatasetsError", (Exception,), {})
    module.DatasetDict = dict
    return module


@pytest.fixture(params=["stand-in", "datasets"])
def datasets(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    if request.param == "datasets":
        return pytest.importorskip("datasets")
    module = stand_in()
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


class Hub:
    """Answers for the hub with the parts of one set, and counts how often it is asked."""

    def __init__(self, parts: Any) -> None:
        self.parts, self.asked, self.hash = parts, [], COMMIT
        self.fault: Exception | None = None

    def load_dataset_builder(self, name: str, config: str | None, *, revision: str | None) -> "Hub":
        self.asked.append(("builder", name, config, revision))
        if self.fault:
            raise self.fault
        return self

    def load_dataset(self, name: str, config: str | None, *, revision: str | None) -> Any:
        self.asked.append(("set", name, config, revision))
        if self.fault:
            raise self.fault
        return self.parts


def hub(datasets: Any, monkeypatch: pytest.MonkeyPatch, parts: dict[str, list[dict[str, Any]]], **features: Any) -> Hub:
    made = datasets.Features(features)
    found = {name: datasets.Dataset.from_list(rows, features=made) for name, rows in parts.items()}
    answering = Hub(datasets.DatasetDict(found))
    for call in ("load_dataset", "load_dataset_builder"):
        monkeypatch.setattr(datasets, call, getattr(answering, call), raising=False)
    return answering


def picture(hue: int, kind: str = "PNG") -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (hue, 0, 0)).save(file, format=kind)
    return {"bytes": file.getvalue(), "path": None}


def read(**columns: Any) -> Catalog:
    return huggingface.read(HuggingfaceData(name="owner/set", **columns))


def test_images_keep_their_bytes_and_classes_their_names(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"picture": picture(9, "JPEG"), "kind": 1}, {"picture": picture(8), "kind": 0}]
    answering = hub(
        datasets,
        monkeypatch,
        {
            "train": rows,
            "test": [{"picture": picture(7, "WEBP"), "kind": 1}],
            "hidden": [{"picture": picture(6), "kind": -1}],
        },
        picture=datasets.Image(),
        kind=datasets.ClassLabel(names=["zebra", "ant"]),
    )
    found = read()
    assert [(sample.key, sample.label, sample.split) for sample in found.samples] == [
        ("test/0000/0000002.webp", "ant", "test"),
        ("train/0000/0000000.jpg", "ant", "train"),
        ("train/0000/0000001.png", "zebra", "train"),
    ]
    assert found.classes == ("ant", "zebra")
    assert found.samples[1].file.read_bytes() == rows[0]["picture"]["bytes"]
    assert found.left_out == (LeftOut("hidden", "1 images without a label"),)
    assert len(census(found, on_bad_image="error", threads=1)[0]) == 3
    assert answering.asked == [("builder", "owner/set", None, None), ("set", "owner/set", None, COMMIT)]
    assert {sample.split for sample in read(pool=True).samples} == {None}


def test_what_is_pinned_is_read_again_without_datasets(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"image": picture(hue), "label": hue % 2} for hue in range(4)]
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
    answering = hub(datasets, monkeypatch, {"train": rows}, **features)
    asked = recipe(data={"kind": "huggingface", "name": "owner/set", "config": "small"})
    fixed = pinned(asked).data
    assert isinstance(fixed, HuggingfaceData)
    assert (fixed.revision, fixed.config) == (COMMIT, "small")
    found = huggingface.read(fixed)
    assert {sample.split for sample in found.samples} == {None}
    assert answering.asked[-1] == ("set", "owner/set", "small", COMMIT)
    count = len(answering.asked)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert huggingface.read(fixed) == found
    assert huggingface.pinned(fixed) == fixed
    assert len(answering.asked) == count


def test_a_set_that_has_no_commit_keeps_its_revision(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answering = hub(datasets, monkeypatch, {"train": [{"image": picture(1)}]}, image=datasets.Image())
    answering.hash = "8f0e"
    assert huggingface.pinned(HuggingfaceData(name="set", revision="v1")).revision == "v1"
    assert pinned(recipe()) == recipe()


def test_lists_of_classes_and_of_texts_are_several_labels(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"image": picture(1), "tags": [1, 0]}, {"image": picture(2), "tags": []}]
    listed = datasets.List(datasets.ClassLabel(names=["b", "a"]))
    hub(datasets, monkeypatch, {"train": rows}, image=datasets.Image(), tags=listed)
    assert [sample.label for sample in read().samples] == [("a", "b"), ()]
    unpacked.clear()
    texts = [{"image": picture(1), "labels": ["x", "y"]}, {"image": picture(2), "labels": None}]
    hub(datasets, monkeypatch, {"train": texts}, image=datasets.Image(), labels=datasets.List(datasets.Value("string")))
    found = read()
    assert [sample.label for sample in found.samples] == [("x", "y")]
    assert found.left_out == (LeftOut("train", "1 images without a label"),)


@pytest.mark.parametrize(
    ("dtype", "cells", "classes"),
    [
        ("string", ["cat", "dog"], ("cat", "dog")),
        ("int64", [7, 8], ("7", "8")),
        ("bool", [True, False], ("false", "true")),
    ],
)
def test_labels_can_be_texts_numbers_and_truth_values(
    dtype: str, cells: list[Any], classes: tuple[str, ...], datasets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"image": picture(place), "label": cell, "x": 1.5} for place, cell in enumerate(cells)]
    features = {"image": datasets.Image(), "label": datasets.Value(dtype), "x": datasets.Value("float32")}
    hub(datasets, monkeypatch, {"train": rows}, **features)
    assert read().classes == classes
    with pytest.raises(DataError, match="labels of kind float32; they have to be classes, text or whole numbers"):
        read(label="x")


def test_columns_that_are_not_plain_are_asked_for(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"one": picture(1), "two": picture(2), "a": 0, "b": 1, "n": 1},
        {"one": picture(3), "two": picture(4), "a": 1, "b": 0, "n": 1},
    ]
    made = {"one": datasets.Image(), "two": datasets.Image()}
    made |= {name: datasets.ClassLabel(names=["x", "y"]) for name in "ab"} | {"n": datasets.Value("int64")}
    hub(datasets, monkeypatch, {"train": rows}, **made)
    there = r"the columns are one \(Image\), two \(Image\), a \(ClassLabel\), b \(ClassLabel\), n \(Value\)"
    with pytest.raises(DataError, match=f"owner/set: several columns of images; say image: NAME in data; {there}"):
        read()
    with pytest.raises(DataError, match=f"several columns of labels; say label: NAME in data; {there}"):
        read(image="two")
    with pytest.raises(DataError, match=r"no column 'tow'; did you mean 'two'\?; the columns are"):
        read(image="tow", label="a")
    assert [sample.label for sample in read(image="two", label="b").samples] == ["y", "x"]
    with pytest.raises(DataError, match="no column of labels"):
        huggingface._columns({"i": made["one"]}, HuggingfaceData(name="x"))


def test_images_are_also_read_from_their_paths_and_damaged_ones_kept(
    tmp_path: Path, datasets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.dat").write_bytes(picture(1)["bytes"])
    cells = [
        {"bytes": None, "path": str(tmp_path / "a.dat")},
        {"bytes": b"GIF89a", "path": "b.gif"},
        {"bytes": b"?", "path": ""},
    ]
    rows = [{"image": cell, "label": place % 2} for place, cell in enumerate(cells)]
    hub(datasets, monkeypatch, {"train": rows}, image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"]))
    assert [Path(key).name for key in read().keys] == ["0000000.png", "0000001.gif", "0000002"]
    unpacked.clear()
    rows[0]["image"] = None
    hub(datasets, monkeypatch, {"train": rows}, image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"]))
    with pytest.raises(DataError, match="an image is missing, or the column holds none"):
        read()


def test_what_goes_wrong_says_what_to_do(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answering = hub(datasets, monkeypatch, {"train": [{"image": picture(1)}]}, image=datasets.Image())
    answering.fault = ConnectionError("Couldn't reach it")
    with pytest.raises(Offline, match=r"owner/set has to be fetched from the hub, and it cannot be reached \(Couldn't"):
        read()
    for fault in (
        FileNotFoundError("no such set"),
        ValueError("no such config"),
        datasets.exceptions.DatasetsError("bad"),
    ):
        answering.fault = fault
        with pytest.raises(DataError, match=f"owner/set: datasets says: {fault}"):
            read()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"needs datasets: pip install 'finetune-vision\[huggingface\]'"):
        read()
