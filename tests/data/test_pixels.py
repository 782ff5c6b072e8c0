"""Working images decoded once: the same bits wherever they are kept, and never more of them than there is room for."""

import hashlib
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from finetune.data import decode, pixels
from finetune.data.catalog import Sample
from finetune.data.decode import Preprocessing
from finetune.data.pixels import Pixels, Where, predicted
from finetune.data.store import Store
from finetune.errors import OutOfResources, UnreadableImage
from tests.conftest import draw

LOOK = Preprocessing(size=16, working=18, fit="crop", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
SIZES = ((48, 40), (40, 48), (90, 30), (32, 32))


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    found = []
    for number in range(8):
        path = tmp_path / "photos" / f"{number}.png"
        draw(path, hue=(9, 99, 200), seed=number, size=SIZES[number % 4])
        found.append(Sample(path.name, path, "a", sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
    return found


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every working image that is decoded."""
    counted: list[int] = []
    whole = decode.working_image

    def counting(*arguments: Any) -> np.ndarray:
        counted.append(1)
        return whole(*arguments)

    monkeypatch.setattr(decode, "working_image", counting)
    return counted


def images(source: Pixels, samples: list[Sample], look: Preprocessing = LOOK) -> list[np.ndarray]:
    return [source.working(sample.file, sample.sha256, look) for sample in samples]


def expected(samples: list[Sample], look: Preprocessing = LOOK) -> list[np.ndarray]:
    return [decode.working_image(sample.file.read_bytes(), look) for sample in samples]


def alike(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, other, strict=True))


def prepared(store: Store, samples: list[Sample], where: Where | None, look: Preprocessing = LOOK) -> Pixels:
    source = Pixels(store, where=where)
    source.prepare(samples, look, must=True)
    return source


@pytest.mark.parametrize(("where", "each"), [("memory", 1), ("disk", 1), (None, 1), ("none", 3)])
def test_the_bits_are_the_same_wherever_they_are_kept_and_are_decoded_once(
    where: Where | None, each: int, samples: list[Sample], tmp_path: Path, decodings: list[int]
) -> None:
    wanted = expected(samples)
    decodings.clear()
    with Store.open(tmp_path / "cache") as store:
        source = prepared(store, samples, where)
        for _ in range(3):
            assert alike(images(source, samples), wanted)
    assert len(decodings) == each * len(samples)
    assert source.notes == []


def test_the_next_run_decodes_nothing_and_a_new_image_once(
    samples: list[Sample], tmp_path: Path, decodings: list[int]
) -> None:
    with Store.open(tmp_path / "cache") as store:
        images(prepared(store, samples[:6], "disk"), samples[:6])
    decodings.clear()
    with Store.open(tmp_path / "cache") as store:
        source = prepared(store, samples, "disk")
        assert alike(images(source, samples), expected(samples))
        assert len(decodings) == 2 + len(samples)  # 8 of them are what is expected


def test_a_file_that_was_kept_may_be_renamed_and_one_that_was_not_may_not_change(
    samples: list[Sample], tmp_path: Path
) -> None:
    with Store.open(tmp_path / "cache") as store:
        source = prepared(store, samples, "disk")
        wanted = images(source, samples[:1])
        samples[0].file.rename(tmp_path / "renamed.png")
        assert alike(images(source, samples[:1]), wanted)
        draw(samples[1].file, hue=(1, 2, 3), seed=99)
        with pytest.raises(UnreadableImage, match="changed: the file is not what it was"):
            images(source, samples[1:2])
        with pytest.raises(UnreadableImage, match="changed"):
            images(Pixels(), samples[1:2])


def test_what_decides_a_working_image_decides_where_it_is_kept(samples: list[Sample], tmp_path: Path) -> None:
    other_views = Preprocessing(12, 18, "crop", "bilinear", (0.1,) * 3, (0.2,) * 3)
    others = [
        Preprocessing(16, 20, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3),
        Preprocessing(16, 18, "crop", "bicubic", (0.5,) * 3, (0.5,) * 3),
        *(Preprocessing(18, 18, "pad", "bilinear", (mean,) * 3, (0.5,) * 3) for mean in (0.5, 0.2)),
        Preprocessing(18, 18, "squash", "bilinear", (0.5,) * 3, (0.5,) * 3),
    ]
    with Store.open(tmp_path / "cache") as store:
        source = Pixels(store, where="disk")
        for look in (LOOK, other_views, *others):
            source.prepare(samples, look)
            assert alike(images(source, samples, look), expected(samples, look))
        for pictures in store._pictures.values():
            pictures.write()
        assert len(store.info().holdings) == 1 + len(others)


def test_another_decoder_leaves_all_that_is_kept_behind(
    samples: list[Sample], tmp_path: Path, decodings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(tmp_path / "cache") as store:
        images(prepared(store, samples, "disk"), samples)
    monkeypatch.setattr(pixels, "decoder", lambda: "a later one")
    decodings.clear()
    with Store.open(tmp_path / "cache") as store:
        images(prepared(store, samples, "disk"), samples)
    assert len(decodings) == len(samples)


def test_nothing_is_kept_of_what_was_not_hashed_or_not_prepared(
    samples: list[Sample], tmp_path: Path, decodings: list[int]
) -> None:
    with Store.open(tmp_path / "cache") as store:
        source = prepared(store, samples, "disk")
        first = source.working(samples[0].file, None, LOOK)
        assert alike([first, source.working(samples[0].file, None, LOOK)], expected(samples[:1]) * 2)
        never = Pixels(store, where="disk")
        images(never, samples[:1])
        images(never, samples[:1])
    assert len(decodings) == 2 + 1 + 2


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_threads_share_it(where: Where, samples: list[Sample], tmp_path: Path) -> None:
    wanted, wrong = expected(samples), []
    with Store.open(tmp_path / "cache") as store:
        source = prepared(store, samples, where)

        def read() -> None:
            for _ in range(20):
                if not alike(images(source, samples), wanted):
                    wrong.append(1)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_the_size_is_predicted_from_headers(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    files = [sample.file for sample in samples]
    assert predicted(files, LOOK) == sum(image.nbytes for image in expected(samples))
    pad = Preprocessing(18, 18, "pad", "bilinear", (0.5,) * 3, (0.5,) * 3)
    assert predicted(files, pad) == sum(image.nbytes for image in expected(samples, pad))
    monkeypatch.setattr(pixels, "_ASKED", 4)
    assert predicted(files[::2], LOOK) == sum(image.nbytes for image in expected(samples)[::2])
    files[0].write_bytes(b"cut")
    files[1].unlink()
    assert predicted(files[:2], LOOK) == 0


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=count))


def test_a_default_falls_back_with_a_note_where_it_would_take_much_of_the_disk(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = predicted([sample.file for sample in samples], LOOK)
    with Store.open(tmp_path / "cache") as store:
        free(monkeypatch, int(needed / 0.31))
        source = prepared(store, samples, None)
        assert alike(images(source, samples), expected(samples))
        (note,) = source.notes
        assert note.startswith("images are decoded each time that they are needed: 12.3 kB would be kept in ")
        assert note.endswith(" are free; images.store: disk keeps them all the same")
        source.prepare(samples, LOOK)
        assert len(source.notes) == 1
        free(monkeypatch, int(needed / 0.29))
        assert prepared(store, samples, None).notes == []
        free(monkeypatch, int(needed / 0.31))
        images(prepared(store, samples, "disk"), samples)
        assert prepared(store, samples, None).notes == []  # they are there: nothing more is needed


def test_a_default_evicts_nothing_and_what_was_asked_for_does(samples: list[Sample], tmp_path: Path) -> None:
    with Store.open(tmp_path / "cache", limit=10**6) as store:
        images(prepared(store, samples, "disk"), samples)
    taken = Store.open(tmp_path / "cache").info().bytes
    other = Preprocessing(16, 20, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3)
    with Store.open(tmp_path / "cache", limit=taken + 100) as store:
        (note,) = prepared(store, samples, None, other).notes
        assert note.endswith(" are taken; images.store: disk makes room for them")
        assert len(store.info().holdings) == 1


@pytest.mark.parametrize("must", [True, False])
def test_what_was_asked_for_and_has_no_room_is_an_error_and_later_a_note(
    must: bool, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "available_memory", lambda: 12_000)
    for where, text, limit in (
        ("memory", "do not fit into memory, of which 12.0 kB are free; write images.store: disk, or none", 10**6),
        ("disk", "set FINETUNE_CACHE_LIMIT to 1G or more", 500),
    ):
        with Store.open(tmp_path / f"cache {where} {must}", limit=limit) as store:
            source = Pixels(store, where=where)  # type: ignore[arg-type]
            if must:
                with pytest.raises(OutOfResources, match=text):
                    source.prepare(samples, LOOK, must=True)
            else:
                source.prepare(samples, LOOK)
                (note,) = source.notes
                assert note.startswith("images are decoded each time")
            assert alike(images(source, samples), expected(samples))


def test_where_memory_is_not_told_it_is_taken(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "available_memory", lambda: None)
    source = Pixels(where="memory")
    source.prepare(samples, LOOK, must=True)
    first = images(source, samples)
    assert all(a is b for a, b in zip(first, images(source, samples), strict=True))


def test_a_store_that_cannot_be_used_is_a_note_by_default_and_an_error_when_asked_for(
    samples: list[Sample], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_bytes(b"no folder")
    with Store.open(tmp_path / "cache") as store:
        source = prepared(store, samples, None)
        assert len(source.notes) == 1
        assert alike(images(source, samples), expected(samples))
        with pytest.raises(OutOfResources):
            prepared(store, samples, "disk")


def test_samples_that_are_no_files_need_no_room(tmp_path: Path) -> None:
    with Store.open(tmp_path / "cache") as store:
        prepared(store, [Sample("a", None, "a")], "disk")
        assert store.info().holdings == ()


@pytest.mark.skipif(os.name == "nt", reason="a file that is mapped cannot be removed there")
def test_what_is_mapped_outlives_the_clearing_of_the_cache(samples: list[Sample], tmp_path: Path) -> None:
    with Store.open(tmp_path / "cache") as store:
        images(prepared(store, samples, "disk"), samples)
    with Store.open(tmp_path / "cache") as store:
        source = prepared(store, samples, "disk")
        before = images(source, samples)
        assert store.clear() > 0
        assert alike(before, expected(samples))
        assert alike(images(source, samples), expected(samples))
