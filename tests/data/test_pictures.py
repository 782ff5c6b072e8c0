"""Pictures of several sizes: there at once, there for the next process bit for bit, or missing and never wrong."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from finetune.data import pictures as module
from finetune.data.pictures import Pictures
from finetune.data.store import Store

SHAPES = ((9, 14, 3), (14, 9, 3), (8, 8, 3), (31, 9, 3))
FACTS = {"pixels": "crop 8 bicubic"}


def picture(number: int) -> np.ndarray:
    shape = SHAPES[number % len(SHAPES)]
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def name(number: int) -> str:
    return f"{number:064x}"


def filled(folder: Path, count: int = 6) -> Path:
    with Store.open(folder) as store:
        for number in range(count):
            store.pictures(FACTS).put(name(number), picture(number))
    (file,) = (folder / "frozen").glob("*.values")
    return file


def right(pictures: Pictures, count: int = 6) -> list[bool | None]:
    found = [pictures.get(name(number)) for number in range(count)]
    return [None if one is None else bool(np.array_equal(one, picture(n))) for n, one in enumerate(found)]


def test_a_picture_is_there_at_once_and_for_the_next_process_and_cannot_be_changed(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        pictures = store.pictures(FACTS)
        assert store.pictures(dict(FACTS)) is pictures
        assert pictures.get(name(0)) is None
        for number in range(6):
            pictures.put(name(number), picture(number))
        assert right(pictures) == [True] * 6
        pictures.write()
        assert right(pictures) == [True] * 6
        assert pictures.known([name(n) for n in range(8)]) == {name(n) for n in range(6)}
    with Store.open(tmp_path) as store:
        assert right(store.pictures(FACTS), 7) == [*[True] * 6, None]
        assert store.pictures(FACTS).known([name(5), name(6)]) == {name(5)}
        assert right(store.pictures({**FACTS, "decoder": 2})) == [None] * 6
        found = store.pictures(FACTS).get(name(3))
        assert found is not None
        assert found.dtype == np.uint8
        with pytest.raises(ValueError, match="read-only"):
            found[0, 0] = 1


def test_many_are_written_at_once_and_a_killed_process_loses_only_what_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TOGETHER", 1000)  # three pictures
    store = Store.open(tmp_path)
    for number in range(5):
        store.pictures(FACTS).put(name(number), picture(number))
    with Store.open(tmp_path) as other:
        there = right(other.pictures(FACTS), 5)
    assert there[:3] == [True] * 3
    assert there[-1] is None
    store.close()


def test_two_processes_find_what_the_other_wrote_as_the_file_grows(tmp_path: Path) -> None:
    with Store.open(tmp_path) as one, Store.open(tmp_path) as other:
        for number in range(6):
            writer, reader = (one, other) if number % 2 else (other, one)
            writer.pictures(FACTS).put(name(number), picture(number))
            writer.pictures(FACTS).write()
            assert right(reader.pictures(FACTS), number + 1) == [True] * (number + 1)
        assert one.info().holdings[0].records == 6


@pytest.mark.parametrize("damage", ["cut", "flipped", "head", "gone"])
def test_a_torn_picture_is_missing_and_can_be_put_again(tmp_path: Path, damage: str) -> None:
    file = filled(tmp_path)
    data = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(data[:-5])
    elif damage == "gone":
        file.unlink()
    else:
        data[-5 if damage == "flipped" else 0] ^= 0xFF
        file.write_bytes(data)
    lost = {"cut": [5], "flipped": [5], "head": [0], "gone": list(range(6))}[damage]
    with Store.open(tmp_path) as store:
        pictures = store.pictures(FACTS)
        assert right(pictures) == [None if number in lost else True for number in range(6)]
        for number in lost:
            pictures.put(name(number), picture(number))
        pictures.write()
        assert right(pictures) == [True] * 6
    with Store.open(tmp_path) as store:
        assert right(store.pictures(FACTS)) == [True] * 6


@pytest.mark.parametrize("place", [-1, 10**6, 2**62])
def test_a_place_that_is_none_is_a_missing_picture(tmp_path: Path, place: int) -> None:
    filled(tmp_path)
    connection = sqlite3.connect(tmp_path / "frozen" / "index.sqlite")
    with connection:
        connection.execute("UPDATE records SET place = ? WHERE id = 1", (place,))
    connection.close()
    with Store.open(tmp_path) as store:
        assert right(store.pictures(FACTS)) == [None, *[True] * 5]


def test_threads_share_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TOGETHER", 2000)
    with Store.open(tmp_path) as store, ThreadPoolExecutor(4) as pool:
        pictures = store.pictures(FACTS)

        def touched(number: int) -> bool:
            found = pictures.get(name(number))
            if found is None:
                pictures.put(name(number), picture(number))
                found = pictures.get(name(number))
            return found is not None and bool(np.array_equal(found, picture(number)))

        assert all(pool.map(touched, [number % 60 for number in range(600)]))
    with Store.open(tmp_path) as store:
        assert right(store.pictures(FACTS), 60) == [True] * 60


def test_where_nothing_can_be_written_a_note_says_so_once_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TOGETHER", 1)
    with Store.open(tmp_path) as store:
        pictures = store.pictures(FACTS)
        pictures.put(name(0), picture(0))
        (tmp_path / "frozen").rename(tmp_path / "elsewhere")
        for number in (1, 2):
            pictures.put(name(number), picture(number))
        assert pictures.get(name(2)) is None
        (note,) = store.notes
        assert note.startswith("cannot keep ")
        assert note.endswith("nothing more is kept")


def test_pictures_count_against_the_limit_and_go_when_they_were_longest_not_used(tmp_path: Path) -> None:
    filled(tmp_path)
    with Store.open(tmp_path, limit=100) as store:
        (holding,) = store.info().holdings
        assert (holding.facts, holding.large, holding.records) == (FACTS, True, 6)
        assert holding.bytes == sum(picture(number).nbytes + 8 for number in range(6))
        pictures = store.pictures(FACTS)
        assert right(pictures) == [True] * 6
        assert store.shrink() == holding.bytes
        assert right(pictures) == [None] * 6
    assert not list((tmp_path / "frozen").glob("*.values"))
