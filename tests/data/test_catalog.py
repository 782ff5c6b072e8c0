import hashlib
import os
import threading
import time

import numpy as np
import pytest
from PIL import Image

from finetune.data import decode
from finetune.data.catalog import Catalog, LeftOut, Sample, census
from finetune.data.fingerprints import Fingerprints
from finetune.errors import DataError


def catalog(*labels, classes=("a", "b", "c")):
    return Catalog(tuple(Sample(f"{n}", None, label) for n, label in enumerate(labels)), classes)


def folder_of(tmp_path, images):
    """A catalog of files with random pixels: {name: (label, broken)}."""
    samples = []
    for seed, (name, (label, broken)) in enumerate(images.items()):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16), dtype=np.uint8)).save(path, "PNG")
        if broken:
            path.write_bytes(path.read_bytes()[:99])
        samples.append(Sample(name, path, label))
    return Catalog(tuple(samples), tuple(sorted({label for label, _ in images.values()})))


def test_labels_are_places_in_the_classes():
    labels = catalog("c", "a", "c").labels
    assert labels.dtype == np.int64
    assert labels.tolist() == [2, 0, 2]
    assert catalog().labels.shape == (0,)
    assert catalog().labels.dtype == np.int64


def test_tuples_of_labels_are_a_table():
    many = catalog(("a", "c"), (), ("b",))
    assert many.multi_label
    assert many.labels.dtype == np.bool_
    assert many.labels.tolist() == [[True, False, True], [False, False, False], [False, True, False]]
    assert many.counts() == {"a": 1, "b": 1, "c": 1}


def test_counts_follow_the_order_of_classes_and_hold_zeros():
    assert list(catalog("c", "a", "c").counts().items()) == [("a", 1), ("b", 0), ("c", 2)]


def test_a_selection_keeps_the_classes():
    part = catalog("a", "b", "c").select(np.array([2, 0]))
    assert part.keys == ("2", "0")
    assert part.classes == ("a", "b", "c")
    assert len(part) == 2


def test_repeated_keys_are_refused():
    sample = Sample("x", None, "a")
    with pytest.raises(DataError, match="1 keys occur more than once in a catalog\n    x"):
        Catalog((sample, sample), ("a",))


def test_labels_beyond_the_classes_are_refused():
    with pytest.raises(DataError, match="labels that are not among the 3 classes\n    d"):
        catalog("a", "d")


def test_one_label_beside_many_is_refused():
    with pytest.raises(DataError, match="give all of them tuples"):
        catalog("a", ("a",))


def test_a_sample_that_is_no_file_says_so(tmp_path):
    assert Sample("x", tmp_path, "a").file == tmp_path
    with pytest.raises(DataError, match="x is not a file"):
        Sample("x", None, "a").file  # noqa: B018


def test_the_census_takes_the_hash_of_every_file(tmp_path):
    found, notes = census(
        folder_of(tmp_path, {"1.png": ("a", False), "2.png": ("b", False)}), on_bad_image="error", threads=2
    )
    assert [s.sha256 for s in found.samples] == [
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("1.png", "2.png")
    ]
    assert notes == {}


def test_the_census_counts_notes(tmp_path):
    wrong = folder_of(
        tmp_path, {"1.jpg": ("a", False), "2.png": ("a", False), "3.JPEG": ("a", False), "4": ("a", False)}
    )
    Image.new("RGBA", (16, 16)).save(tmp_path / "2.png")
    _, notes = census(wrong, on_bad_image="error", threads=1)
    assert notes == {"alpha composited on white": 1, "suffix of another format": 3}


def test_any_bad_image_is_an_error_when_so_asked(tmp_path):
    files = folder_of(tmp_path, {f"{n:02}.png": ("a", n in (3, 5)) for n in range(60)})
    with pytest.raises(DataError) as refusal:
        census(files, on_bad_image="error", threads=2)
    assert str(refusal.value) == (
        "2 of 60 images cannot be read; mend or remove them, or say on_bad_image: skip"
        "\n    03.png: truncated: the file ends before its image does"
        "\n    05.png: truncated: the file ends before its image does"
    )


@pytest.mark.parametrize(("images", "bad"), [(60, 3), (20, 1), (40, 2), (2, 1)])
def test_up_to_5_percent_of_a_class_is_left_out(tmp_path, images, bad):
    files = folder_of(tmp_path, {f"{n:02}.png": ("a", n < bad) for n in range(images)})
    files = Catalog(files.samples, files.classes, (LeftOut("zzz", "not an image suffix"),))
    found, _ = census(files, on_bad_image="skip", threads=2)
    assert found.keys == tuple(f"{n:02}.png" for n in range(bad, images))
    assert [item.key for item in found.left_out] == [*(f"{n:02}.png" for n in range(bad)), "zzz"]
    assert found.left_out[0].reason == "truncated: the file ends before its image does"


@pytest.mark.parametrize(("images", "bad"), [(60, 4), (20, 2), (39, 2), (1, 1)])
def test_more_than_that_or_a_whole_class_is_an_error(tmp_path, images, bad):
    others = {f"b{n}.png": ("b", False) for n in range(40)}
    files = folder_of(tmp_path, {f"{n:02}.png": ("a", n < bad) for n in range(images)} | others)
    with pytest.raises(DataError) as refusal:
        census(files, on_bad_image="skip", threads=2)
    assert f"{bad} of {images + 40} images cannot be read, too many to leave out" in str(refusal.value)
    assert f"\n    {bad} of {images} of class 'a'\n" in str(refusal.value)


def test_a_file_that_vanished_is_a_bad_image(tmp_path):
    files = folder_of(tmp_path, {f"{n}.png": ("a", False) for n in range(3)})
    (tmp_path / "1.png").unlink()
    found, _ = census(files, on_bad_image="skip", threads=1)
    assert found.left_out == (LeftOut("1.png", "missing: no such file or directory"),)


def test_samples_that_are_no_files_pass():
    whole = Catalog((Sample("x", None, "a", sha256="00"),), ("a",))
    assert census(whole, on_bad_image="error", threads=1) == (whole, {})


def test_progress_is_told_from_the_calling_thread_and_may_stop_the_census(tmp_path):
    files = folder_of(tmp_path, {f"{n}.png": ("a", False) for n in range(50)})
    seen, before = [], threading.active_count()

    def progress(done, total):
        seen.append((done, total, threading.current_thread()))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        census(files, on_bad_image="error", threads=2, progress=progress)
    assert seen == [(n, 50, threading.current_thread()) for n in (1, 2, 3)]
    assert threading.active_count() == before


def test_the_census_is_the_same_for_any_number_of_threads(tmp_path):
    files = folder_of(tmp_path, {f"{n:02}.png": ("ab"[n % 2], n == 7) for n in range(60)})
    one, two = (census(files, on_bad_image="skip", threads=threads) for threads in (1, 2))
    assert one == two


def test_the_files_are_not_touched(tmp_path):
    files = folder_of(tmp_path, {f"{n}.jpg": ("a", n == 1) for n in range(5)})
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    census(files, on_bad_image="skip", threads=2)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def aged(path):
    """As if the file had been left alone for a minute."""
    os.utime(path, ns=(time.time_ns() - 60 * 10**9,) * 2)


def test_the_census_is_the_same_with_a_memory_and_without(tmp_path, monkeypatch):
    files = folder_of(
        tmp_path / "photos", {f"{n:02}.{'jpg' if n % 5 == 1 else 'png'}": ("ab"[n % 2], n == 7) for n in range(60)}
    )
    for sample in files.samples:
        aged(sample.path)
    without = census(files, on_bad_image="skip", threads=2)
    opened, read = [], decode.read_with_status
    monkeypatch.setattr(decode, "read_with_status", lambda path: opened.append(path) or read(path))
    for reads in (60, 61, 62):  # the one that cannot be read is tried again each time
        with Fingerprints.open(tmp_path / "cache") as known:
            assert census(files, on_bad_image="skip", threads=2, known=known) == without
        assert len(opened) == reads


def test_the_census_reads_what_is_new_and_what_has_changed(tmp_path, monkeypatch):
    files = folder_of(tmp_path, {f"{n}.png": ("a", False) for n in range(5)})
    for sample in files.samples[:4]:
        aged(sample.path)
    with Fingerprints.open(tmp_path / "cache") as known:
        census(files, on_bad_image="error", threads=2, known=known)
    Image.new("RGB", (16, 16)).save(tmp_path / "1.png")
    opened, read = [], decode.read_with_status
    monkeypatch.setattr(decode, "read_with_status", lambda path: opened.append(path.name) or read(path))
    with Fingerprints.open(tmp_path / "cache") as known:
        found, _ = census(files, on_bad_image="error", threads=2, known=known)
    assert sorted(opened) == ["1.png", "4.png"]  # the last was too young to be remembered
    assert found == census(files, on_bad_image="error", threads=2)[0]
