import csv
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from finetune import job
from finetune.data.adapters import folder
from finetune.errors import BundleError, DataError, OutOfResources, UsageError
from finetune.frozen import table
from finetune.frozen.extract import Extractor
from finetune.frozen.table import Features, features
from finetune.model import backbone
from finetune.predict import from_bundle
from finetune.recipe.dataset import FolderData
from finetune.recipe.network import Random
from tests.conftest import draw_classes
from tests.laws import Crash, CutAfter

Write = Callable[..., Path]
RANDOM = {"kind": "random"}


def of(images: object, name: object = "test_resnet", **settings: object) -> Features:
    given = {"weights": RANDOM, "size": 32, **settings}
    return features(name, images, **given)  # type: ignore[arg-type]


# from what they are made


def test_class_folders_give_keys_labels_and_classes(photos: Path) -> None:
    found = of(photos)
    assert found.values.shape == (24, 96)
    assert found.values.dtype == np.float32
    assert found.keys[0] == "blue/000.png"
    assert found.labels is not None
    assert found.labels[::8] == found.classes == ("blue", "green", "red")
    assert len(found) == 24


def test_what_is_left_out_is_named(photos: Path) -> None:
    (photos / "notes.txt").write_text("x")
    assert [left.key for left in of(photos).left_out] == ["notes.txt"]


def test_a_folder_of_images_alone_has_no_labels(photos: Path) -> None:
    found = of(photos / "red")
    assert found.keys == tuple(f"{number:03}.png" for number in range(8))
    assert found.labels is found.classes is None


def test_paths_pictures_arrays_and_catalogs_are_taken_as_they_are(photos: Path) -> None:
    path = photos / "red" / "003.png"
    picture = Image.open(path)
    found = of([path, picture, np.asarray(picture), str(path)])
    assert found.keys == (str(path), "image 1", "image 2", str(path))
    assert np.array_equal(found.values[0], found.values[1])
    assert np.array_equal(found.values[1], found.values[2])
    catalog = folder.read(FolderData(root=str(photos))).select([20, 3])
    assert np.array_equal(of(catalog).values[0], of(photos).values[20])
    assert of(catalog).labels == ("red", "blue")
    assert of(picture).keys == ("image 0",)


def test_a_folder_that_is_a_name_too_is_the_network(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    Path("test_resnet").mkdir()
    assert of(photos).values.shape == (24, 96)
    with pytest.raises(BundleError):
        features(Path("test_resnet"), photos)


def test_the_weights_are_those_that_are_named(photos: Path) -> None:
    one = of(photos / "red")
    assert np.array_equal(one.values, of(photos / "red", weights=Random()).values)
    network = backbone.build("test_resnet", size=32)
    assert np.array_equal(one.values, features(network, photos / "red").values)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.mul_(1.1)
    assert not np.array_equal(one.values, features(network, photos / "red").values)


def test_a_bundle_brings_its_weights_and_preprocessing(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    bundle = job.run(write_recipe(photos), output=tmp_path / "bundle")
    found = features(bundle.folder, photos)
    again = features(str(bundle.folder), photos)
    assert np.array_equal(found.values, again.values)
    own = features(from_bundle(bundle).cut, photos)
    assert np.array_equal(found.values, own.values)
    assert not np.array_equal(found.values, of(photos).values)
    with pytest.raises(UsageError, match="weights and fit would have no effect: the backbone that is given has its"):
        features(bundle.folder, photos, weights=RANDOM, fit="pad")


def test_an_unfinished_bundle_is_refused(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    with pytest.raises(Crash):
        job.run(write_recipe(photos), output=tmp_path / "bundle", show=CutAfter(1))
    with pytest.raises(BundleError, match="not complete; `finetune resume"):
        features(tmp_path / "bundle", photos)


def test_a_backbone_that_is_given_takes_a_fit_but_no_size(photos: Path) -> None:
    network = backbone.build("test_resnet", size=32)
    padded = features(network, photos / "red", fit="pad").values
    assert not np.array_equal(padded, features(network, photos / "red").values)
    with pytest.raises(UsageError, match="size would have no effect"):
        features(network, photos / "red", size=64)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"name": "resnet_18"}, "resnet_18"),
        ({"weights": {"kind": "randon"}}, "random"),
        ({"weights": {"kind": "package"}}, "name"),
        ({"weights": "random"}, "weights"),
        ({"size": 4, "fit": "crops"}, "these settings cannot be\n.*size.*\n.*fit"),
        ({"stage": "stage7"}, "no stage 'stage7'"),
        ({"pool": "sum"}, "no pool 'sum'"),
        ({"precision": "fp16"}, "no precision 'fp16'; choose from bf16, float32"),
        ({"name": None, "weights": None, "size": None, "fit": "crops"}, "fit must be crop, pad or squash, not 'crops'"),
    ],
)
def test_what_cannot_be_is_refused_as_in_a_recipe(settings: dict[str, object], reason: str, photos: Path) -> None:
    if "name" in settings:
        settings = {**settings, "name": settings["name"] or backbone.build("test_resnet", size=32)}
    with pytest.raises(UsageError, match=reason):
        of(photos, **settings)


def test_what_is_no_picture_and_what_is_damaged_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match="float"):
        of([3.5])
    (photos / "red" / "000.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"red/000.png: empty"):
        of([photos / "red" / "000.png", photos / "red" / "001.png"])


@pytest.mark.parametrize("flat", [False, True], ids=["class folders", "images alone"])
def test_a_damaged_file_of_a_folder_is_left_out_and_named_and_many_are_refused(flat: bool, photos: Path) -> None:
    folder = photos / "red" if flat else photos
    whole = of(folder, cache=False)
    (photos / "red" / "003.png").write_bytes((photos / "red" / "003.png").read_bytes()[:60])
    found = of(folder, cache=False)
    (left,) = found.left_out
    assert left.key == ("003.png" if flat else "red/003.png")
    kept = [place for place, key in enumerate(whole.keys) if key != left.key]
    assert found.keys == tuple(whole.keys[place] for place in kept)
    assert np.array_equal(found.values, whole.values[kept])
    assert found.labels is None if flat else found.labels == tuple(np.array(whole.labels)[kept])
    (photos / "red" / "004.png").write_bytes(b"")
    with pytest.raises(DataError, match="2 of 8 of class 'red'"):
        of(folder)


def test_one_class_folder_is_enough(photos: Path) -> None:
    for name in ("blue", "green"):
        shutil.rmtree(photos / name)
    found = of(photos)
    assert found.classes == ("red",)
    assert found.labels == ("red",) * 8


def test_several_stages_maps_and_mirror_images(photos: Path) -> None:
    red = photos / "red"
    several = of(red, stage=["stage4", "stage2"])
    assert np.array_equal(several.values[:, 48:], of(red).values)
    assert of(red, stage="stage2", pool="none").values.shape == (8, 48, 4, 4)
    assert not np.array_equal(of(red, mirrored=True).values, of(red).values)


def test_the_maps_of_a_list_of_stages_are_a_mapping(photos: Path) -> None:
    red = photos / "red"
    maps = of(red, stage=["stage4", "stage2", "stage3"], pool="none").values
    assert isinstance(maps, dict)
    assert {stage: found.shape for stage, found in maps.items()} == {
        "stage2": (8, 48, 4, 4), "stage3": (8, 192, 2, 2), "stage4": (8, 96, 1, 1),
    }  # fmt: skip
    assert {found.dtype for found in maps.values()} == {np.dtype(np.float32)}
    for stage, found in maps.items():
        assert np.array_equal(found, of(red, stage=stage, pool="none").values)
    assert list(of(red, stage=["stage3"], pool="none").values) == ["stage3"]
    mirrored = of(red, stage=["stage2"], pool="none", mirrored=True).values
    assert isinstance(mirrored, dict)
    assert not np.array_equal(mirrored["stage2"], maps["stage2"])
    with pytest.raises(UsageError, match="stages are stage2, stage2; name one, or several"):
        of(red, stage=["stage2", "stage2"], pool="none")


def test_a_second_call_computes_nothing_unless_the_cache_is_not_wanted(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = of(photos, stage="stage1").values
    calls: list[int] = []
    monkeypatch.setattr(Extractor, "_run", lambda self, jobs, *_: calls.append(len(jobs)))
    assert np.array_equal(of(photos, stage="stage1").values, expected)
    assert calls == []
    with pytest.raises(KeyError):  # there is nothing to read, as nothing was computed
        of(photos, stage="stage1", cache=False)
    assert calls == [24]


def test_trouble_with_the_cache_is_a_note(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "file"))
    found = of(photos / "red")
    assert found.values.shape == (8, 96)
    assert len(found.notes) == 1


def test_progress_may_stop(photos: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        of(photos, check=stop)


# how they are saved

SMALL = Features(
    values=np.array([[0.1, -2e-9], [3, np.float32(1 / 3)]], np.float32),
    keys=("=evil", "été/b.png"),
    labels=("a", "b"),
    classes=("a", "b", "c"),
)


def test_an_npz_file_holds_four_arrays_and_is_the_same_bytes_every_time(tmp_path: Path) -> None:
    SMALL.save(tmp_path / "a.npz")
    SMALL.save(tmp_path / "b.NPZ")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.NPZ").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert np.array_equal(file["values"], SMALL.values)
        assert file["keys"].tolist() == ["=evil", "été/b.png"]
        assert file["labels"].tolist() == ["a", "b"]
        assert file["classes"].tolist() == ["a", "b", "c"]
    Features(SMALL.values, SMALL.keys).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        assert sorted(file) == ["keys", "values"]


def test_a_csv_file_gives_the_numbers_back_exactly_and_no_formula(tmp_path: Path) -> None:
    SMALL.save(tmp_path / "a.csv")
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["key", "label", "f0", "f1"]
    assert [row[:2] for row in rows] == [["'=evil", "a"], ["été/b.png", "b"]]
    assert np.array_equal(np.array([row[2:] for row in rows], dtype=np.float32), SMALL.values)
    Features(SMALL.values, SMALL.keys).save(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8").startswith("key,f0,f1\n'=evil,0.1")


@pytest.mark.parametrize("labels", [("a",) * 3000, None])
def test_a_parquet_file_has_a_column_for_each_number(labels: tuple[str, ...] | None, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    values = np.random.default_rng(0).normal(size=(3000, 3)).astype(np.float32)
    Features(values, tuple(map(str, range(3000))), labels, labels and ("a",)).save(tmp_path / "a.parquet")
    read = parquet.read_table(tmp_path / "a.parquet")
    assert read.column_names == ["key", *(["label"] if labels else []), "f0", "f1", "f2"]
    assert np.array_equal(np.stack([read[f"f{place}"].to_numpy() for place in range(3)], axis=1), values)
    assert read["key"].to_pylist() == [str(number) for number in range(3000)]


def test_without_pyarrow_a_parquet_file_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"\.parquet needs pyarrow: pip install 'finetune-vision\[parquet\]'"):
        SMALL.save(tmp_path / "a.parquet")


def test_another_suffix_and_maps_in_a_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'x.txt' is none of .npz, .parquet, .csv"):
        SMALL.save("x.txt")
    with pytest.raises(UsageError, match=r"maps are no table, and .csv holds one"):
        Features(np.zeros((1, 2, 3, 3), np.float32), ("a",)).save(tmp_path / "a.csv")
    Features(np.zeros((1, 2, 3, 3), np.float32), ("a",)).save(tmp_path / "a.npz")
    several = Features({"stage3": np.zeros((1, 2, 3, 3), np.float32), "stage4": np.ones((1, 4, 1, 1))}, ("a",))
    with pytest.raises(UsageError, match=r"maps are no table, and .parquet holds one"):
        several.save(tmp_path / "a.parquet")
    several.save(tmp_path / "several.npz")
    with np.load(tmp_path / "several.npz") as file:
        assert sorted(file) == ["keys", "stage3", "stage4"]
        assert file["stage4"].shape == (1, 4, 1, 1)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text("before")

    def cell(text: str) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(table, "cell", cell)
    with pytest.raises(OutOfResources, match="no room for"):
        SMALL.save(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    with pytest.raises(OutOfResources, match=r"cannot write .*nowhere"):
        SMALL.save(tmp_path / "nowhere" / "a.csv")


def test_unlabelled_images_of_no_folder_can_be_saved(tmp_path: Path) -> None:
    draw_classes(tmp_path / "p", {"a": 2})
    of([tmp_path / "p" / "a" / "000.png"]).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        assert file["values"].shape == (1, 96)
