"""Sets of torchvision, on tiny copies of what their archives hold; nothing is downloaded."""

import inspect
import re
import sys
import urllib.error
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image

from finetune.data import unpacked
from finetune.data.adapters.torchvision import read
from finetune.data.catalog import Catalog
from finetune.errors import DataError, FinetuneError, Offline, OutOfResources
from finetune.recipe.dataset import TorchvisionData
from finetune.recipe.published import SETS
from tests.conftest import draw


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def sized(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says that a set has so few images."""

    def size(name: str, **images: int) -> None:
        known = SETS[name]
        parts = {split: replace(part, images=images[split]) for split, part in known.parts.items()}
        monkeypatch.setitem(SETS, name, replace(known, parts=parts))

    return size


def pets(root: Path) -> Path:
    """As OxfordIIITPet lies on disk."""
    lines = {"trainval": ("Abyssinian_1 1 1 1", "american_bulldog_2 2 2 1"), "test": ("Abyssinian_3 1 1 1",)}
    for name in ("Abyssinian_1", "american_bulldog_2", "Abyssinian_3"):
        draw(root / "oxford-iiit-pet" / "images" / f"{name}.jpg", hue=(200, 10, 10), seed=len(name))
    notes = root / "oxford-iiit-pet" / "annotations"
    notes.mkdir()
    for part, rows in lines.items():
        (notes / f"{part}.txt").write_text("".join(f"{row}\n" for row in rows))
    return root


def said(catalog: Catalog) -> list[tuple[str, object, str | None]]:
    return [(sample.key, sample.label, sample.split) for sample in catalog.samples]


def test_a_set_of_files_is_used_as_it_lies_there(tmp_path: Path, sized: Callable[..., None]) -> None:
    sized("OxfordIIITPet", train=2, test=1)
    root = pets(tmp_path / "pets")
    found = read(TorchvisionData(name="OxfordIIITPet", root=str(root)))
    assert said(found) == [
        ("oxford-iiit-pet/images/Abyssinian_1.jpg", "Abyssinian", "train"),
        ("oxford-iiit-pet/images/Abyssinian_3.jpg", "Abyssinian", "test"),
        ("oxford-iiit-pet/images/american_bulldog_2.jpg", "American Bulldog", "train"),
    ]
    assert found.samples[0].file == root / "oxford-iiit-pet" / "images" / "Abyssinian_1.jpg"
    pooled = read(TorchvisionData(name="OxfordIIITPet", root=str(root), pool=True))
    assert {sample.split for sample in pooled.samples} == {None}


def test_a_set_that_was_cut_off_is_refused(tmp_path: Path, sized: Callable[..., None]) -> None:
    sized("OxfordIIITPet", train=3, test=1)
    with pytest.raises(DataError, match=r"2 images in part 'train', and 3 were published; the download was cut off"):
        read(TorchvisionData(name="OxfordIIITPet", root=str(pets(tmp_path / "pets"))))
    sized("OxfordIIITPet", train=2, test=1)
    (tmp_path / "pets" / "oxford-iiit-pet" / "images" / "Abyssinian_3.jpg").unlink()
    with pytest.raises(DataError, match=r"OxfordIIITPet: 1 of 3 rows name files that are not there"):
        read(TorchvisionData(name="OxfordIIITPet", root=str(tmp_path / "pets")))


def test_sets_without_parts_have_no_splits_and_keep_their_files(tmp_path: Path, sized: Callable[..., None]) -> None:
    sized("EuroSAT", train=3)
    sized("Caltech101", train=2)
    for name in ("Forest/1.jpg", "Forest/2.jpg", "River/1.jpg"):
        draw(tmp_path / "eurosat" / "2750" / name, hue=(1, 2, 3), seed=1)
    found = read(TorchvisionData(name="EuroSAT", root=str(tmp_path)))
    assert said(found)[2] == ("eurosat/2750/River/1.jpg", "River", None)
    for name in ("BACKGROUND_Google/image_0001.jpg", "ant/image_0001.jpg", "bass/image_0001.jpg"):
        draw(tmp_path / "caltech101" / "101_ObjectCategories" / name, hue=(1, 2, 3), seed=1)
    found = read(TorchvisionData(name="Caltech101", root=str(tmp_path)))
    assert [sample.label for sample in found.samples] == ["ant", "bass"]
    assert found.keys[0] == "caltech101/101_ObjectCategories/ant/image_0001.jpg"


def test_the_first_of_several_names_of_a_class_counts(tmp_path: Path, sized: Callable[..., None]) -> None:
    sized("Imagenette", train=2, val=1)
    for name in ("train/n01440764/a.jpeg", "train/n02102040/b.jpeg", "val/n01440764/c.jpeg", "val/n02102040/.keep"):
        path = tmp_path / "imagenette2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "imagenette2" / "val" / "n02102040" / "d.jpeg").touch()
    sized("Imagenette", train=2, val=2)
    found = read(TorchvisionData(name="Imagenette", root=str(tmp_path)))
    assert found.classes == ("English springer", "tench")


class Pixels:
    """As CIFAR10 is: pixels in memory, once they are downloaded."""

    classes = ("cat", "T-shirt/top")
    fault: Exception | None = None
    made = 0

    def __init__(self, root: str, train: bool, download: bool) -> None:
        type(self).made += 1
        assert download
        Path(root).mkdir(exist_ok=True)
        (Path(root) / "archive").write_bytes(b"x" * 1000)
        if self.fault:
            raise self.fault
        self.pixels = np.random.default_rng(train).integers(0, 256, (4 if train else 2, 8, 8, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, place: int) -> tuple[Image.Image, Any]:
        return Image.fromarray(self.pixels[place]), place % 2


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch, sized: Callable[..., None]) -> type[Pixels]:
    """CIFAR10, six images of it."""
    kind = type("CIFAR10", (Pixels,), {})
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", kind)
    sized("CIFAR10", train=4, test=2)
    return kind


def test_pixels_are_written_once_as_files_and_read_without_torch_from_then_on(
    tmp_path: Path, pixels: type[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read(TorchvisionData(name="CIFAR10"))
    assert found.classes == ("T-shirt/top", "cat")
    assert said(found)[:2] == [
        ("test/0000/0000004.png", "cat", "test"),
        ("test/0000/0000005.png", "T-shirt/top", "test"),
    ]
    expected = pixels(str(tmp_path), True, True)[3][0]
    last = found.samples[-1]
    assert (last.split, last.label) == ("train", "T-shirt/top")
    assert np.array_equal(np.asarray(Image.open(last.file)), np.asarray(expected))
    assert last.file.is_relative_to(tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("archive"))  # what was downloaded is not kept twice
    made = pixels.made
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert read(TorchvisionData(name="CIFAR10")) == found
    assert pixels.made == made
    assert {sample.split for sample in read(TorchvisionData(name="CIFAR10", pool=True)).samples} == {None}
    sets, size = unpacked.usage()
    assert sets == 1
    assert unpacked.clear() == size
    assert unpacked.usage() == (0, 0)


def test_pixels_of_a_folder_of_ones_own_stay_there(tmp_path: Path, pixels: type[Pixels]) -> None:
    found = read(TorchvisionData(name="CIFAR10", root=str(tmp_path / "mine")))
    assert (tmp_path / "mine" / "archive").exists()
    assert len(found) == 6
    assert found.samples[0].file.is_relative_to(tmp_path / "cache")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["archive"]


BY_HAND = "get its files by hand, put them into FOLDER/cifar-10-batches-py and say root: FOLDER in data"


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (
            urllib.error.URLError("no route"),
            Offline,
            f"CIFAR10 has to be downloaded, and the network is not there; {BY_HAND}",
        ),
        (
            RuntimeError("Tried x, got: <urlopen error no route>"),
            Offline,
            f"CIFAR10: torchvision says: Tried x, got: <urlopen error no route>; {BY_HAND}",
        ),
        (
            urllib.error.HTTPError("http://x", 404, "gone", None, None),  # type: ignore[arg-type]
            DataError,
            f"CIFAR10: the server answers 404; {BY_HAND}",
        ),
        (
            RuntimeError("File not found or corrupted."),
            DataError,
            f"CIFAR10: torchvision says: File not found or corrupted.; {BY_HAND}",
        ),
        (OSError(28, "No space left on device"), OutOfResources, "CIFAR10: No space left on device"),
        (EOFError(), DataError, f"CIFAR10: torchvision says: EOFError; {BY_HAND}"),
    ],
)
def test_a_failed_download_says_what_to_do_and_leaves_nothing(
    fault: Exception, kind: type[FinetuneError], message: str, tmp_path: Path, pixels: type[Pixels]
) -> None:
    pixels.fault = fault
    with pytest.raises(kind) as caught:
        read(TorchvisionData(name="CIFAR10"))
    assert str(caught.value).startswith(message)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
    pixels.fault = None
    assert len(read(TorchvisionData(name="CIFAR10"))) == 6


def test_a_set_of_files_is_fetched_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sized: Callable[..., None]
) -> None:
    sized("OxfordIIITPet", train=2, test=1)
    fetched: list[Path] = []

    def fetch(self: Any) -> None:
        root = Path(self.root)
        if not fetched:
            fetched.append(root)
            (root / "half").touch()
            raise urllib.error.URLError("cut")
        if not (root / "oxford-iiit-pet").exists():
            pets(root)

    monkeypatch.setattr(torchvision.datasets.OxfordIIITPet, "_download", fetch)
    with pytest.raises(Offline):
        read(TorchvisionData(name="OxfordIIITPet"))
    assert not fetched[0].exists()
    found = read(TorchvisionData(name="OxfordIIITPet"))
    assert found.samples[0].file.is_relative_to(tmp_path / "cache" / "sets" / "torchvision" / "OxfordIIITPet")
    assert found.samples[0].file.is_file()


def test_what_may_not_be_downloaded_says_so_at_once(tmp_path: Path, sized: Callable[..., None]) -> None:
    with pytest.raises(DataError, match=r"^StanfordCars cannot be downloaded by a program; get its files by hand, put"):
        read(TorchvisionData(name="StanfordCars"))
    (tmp_path / "fer2013").mkdir()
    with pytest.raises(DataError, match=r"FER2013: torchvision says: train\.csv not found"):
        read(TorchvisionData(name="FER2013", root=str(tmp_path)))


class Unlabelled(Pixels):
    """As FER2013 is in some of its files."""

    def __getitem__(self, place: int) -> tuple[Image.Image, Any]:
        return Image.fromarray(self.pixels[place]), None


def test_classes_without_names_are_numbers_and_images_need_labels(
    pixels: type[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "classes", None)
    assert read(TorchvisionData(name="CIFAR10")).classes == ("0", "1")
    unpacked.clear()
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Unlabelled)
    with pytest.raises(DataError, match="CIFAR10: the images of part 'train' have no labels in these files"):
        read(TorchvisionData(name="CIFAR10"))


def test_every_set_that_is_listed_is_there_with_its_parts() -> None:
    for name, known in SETS.items():
        signature = inspect.signature(getattr(torchvision.datasets, name))
        for part in known.parts.values():
            assert {key for key, _ in part.arguments} <= set(signature.parameters), name
            assert part.images > known.classes > 1
        assert known.by_hand or {"download", "kwargs"} & set(signature.parameters), name
    assert sorted(SETS) == [*SETS]


@pytest.mark.parametrize("name", SETS)
def test_the_parts_of_a_set_are_those_that_torchvision_takes(name: str, tmp_path: Path) -> None:
    """Asked for a part that no set has, torchvision says which there are, before it looks for any file."""
    kind = getattr(torchvision.datasets, name)
    asked = {value for part in SETS[name].parts.values() for key, value in part.arguments if key == "split"}
    if not asked:
        assert "split" not in inspect.signature(kind).parameters
        return
    if name == "PCAM":  # which looks for h5py first
        assert asked == set(kind._FILES)
        return
    with pytest.raises(ValueError, match="Valid values are") as refusal:
        kind(str(tmp_path), split="none of them")
    there = set(re.findall(r"'([\w+]+)'", str(refusal.value).partition("Valid values are")[2]))
    without_labels = {"CLEVRClassification": {"test"}, "STL10": {"unlabeled", "train+unlabeled"}}
    doubled = {"FGVCAircraft": {"trainval"}, "SVHN": {"extra"}}  # extra: 531,131 easier digits, no part of its own
    assert there - asked == without_labels.get(name, set()) | doubled.get(name, set())
    assert asked <= there


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Country211", ("150 train images", "50 validation images", "100 test images for each country")),
        ("FGVCAircraft", ("10,000 images", "100 different variants")),
        ("Flowers102", ("102 flower categories",)),
        ("Food101", ("101 food categories", "101,000 images", "250", "750 training images")),
        ("OxfordIIITPet", ("37 pet categories",)),
        ("PCAM", ("327,680",)),
        ("RenderedSST2", ("6920 images", "872 images", "1821 images")),
        ("StanfordCars", ("16,185 images of 196 classes", "8,144 training images", "8,041 testing images")),
        ("SUN397", ("397 categories", "108'754 images")),
    ],
)
def test_sizes_are_those_that_torchvision_tells(name: str, said: tuple[str, ...]) -> None:
    """Where its documentation has numbers, they are these, and they are ours."""
    told = " ".join((inspect.getdoc(getattr(torchvision.datasets, name)) or "").split())
    known = SETS[name]
    images = [part.images for part in known.parts.values()]
    per_class = {count // known.classes for count in images}
    ours = {known.classes, sum(images), *images, *per_class}
    for words in said:
        assert words in told, f"{words!r} in {told!r}"
        numbers = [int(re.sub(r"\D", "", found)) for found in re.findall(r"\d[\d,']*", words)]
        assert set(numbers) <= ours, words


def test_classes_are_as_many_as_torchvision_names() -> None:
    named = {name: getattr(getattr(torchvision.datasets, name), "classes", None) for name in SETS}
    counted = {name: len(classes) for name, classes in named.items() if isinstance(classes, list | tuple)}
    assert len(counted) >= 5
    assert counted == {name: SETS[name].classes for name in counted}


@pytest.mark.parametrize("name", SETS)
def test_the_folder_of_a_set_is_one_that_torchvision_writes(name: str) -> None:
    source = inspect.getsource(inspect.getmodule(getattr(torchvision.datasets, name)))  # type: ignore[arg-type]
    own, *inner = SETS[name].folder.split("/")
    assert own in source or (own == name and "self.__class__.__name__" in source)
    assert all(f'"{part}"' in source for part in inner)
