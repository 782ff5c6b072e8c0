"""The store keeps what was put, bit for bit, or nothing: whatever happens to its files, and whoever else writes."""

import os
import secrets
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data import index as indices
from finetune.data.index import Index
from finetune.data.store import Absent, Store
from finetune.errors import OutOfResources, UsageError
from tests.data.records import collection, entries, files, same, values

SCALED = np.dtype([("scale", "<f4", (2,)), ("values", "i1", (2, 3, 3))])


def change(folder: Path, statement: str, *values: object) -> None:
    """Does to the index what no one should."""
    connection = sqlite3.connect(folder / "frozen" / "index.sqlite")
    with connection:
        connection.execute(statement, values)
    connection.close()


both = pytest.mark.parametrize("large", [False, True], ids=["small", "large"])


@both
@pytest.mark.parametrize(
    ("dtype", "shape"), [(np.float32, (6,)), (np.float16, (3, 2, 2)), (SCALED, ()), ("<f8", ()), (SCALED, (2,))]
)
def test_what_was_put_is_there_for_the_next_process_bit_for_bit(
    large: bool, dtype: Any, shape: Any, tmp_path: Path
) -> None:
    dtype = np.dtype(dtype)
    kept = values(5, dtype=dtype, shape=shape)
    with Store.open(tmp_path) as store:
        first = collection(store, large=large, dtype=dtype, shape=shape)
        assert first.missing(entries(5)) == entries(5)
        first.put(entries(5), kept)
        assert same(first.get(entries(5)), kept)
    with Store.open(tmp_path) as store:
        second = collection(store, large=large, dtype=dtype, shape=shape)
        assert second.missing(entries(5)) == []
        assert same(second.get(entries(5)), kept)
        assert store.notes == ()


@both
def test_get_gives_rows_in_the_order_asked_with_repeats_and_needs_no_question_before(
    large: bool, tmp_path: Path
) -> None:
    kept = values(4)
    with Store.open(tmp_path) as store:
        collection(store, large=large).put(entries(4), kept)
    with Store.open(tmp_path) as store:
        order = [3, 0, 3, 3, 1]
        assert same(collection(store, large=large).get([entries(4)[place] for place in order]), kept[order])
        assert collection(store, large=large).get([]).shape == (0, 6)


@both
def test_only_what_is_missing_is_asked_for_each_once_and_in_order(large: bool, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        some = collection(store, large=large)
        some.put([], values(0))
        some.put(entries(4)[1:3], values(2))
        assert some.missing([*reversed(entries(4)), *entries(4)]) == [entries(4)[3], entries(4)[0]]
        some.put([entries(1)[0]] * 3, values(3))
        assert same(some.get(entries(1)), values(3)[:1])


def test_an_entry_is_an_image_and_a_view(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        some = collection(store)
        some.put([("ab", "c")], values(1))
        others = [("a", "bc"), ("ab", "d"), ("abc", ""), ("ab c", "")]
        assert some.missing([*others, ("ab", "c")]) == others


def test_a_collection_is_its_facts_dtype_shape_and_size(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        alike = [
            store.collection({"a": 1, "b": [2, "x"]}, dtype=np.dtype("<f4"), shape=(6,), large=False),
            store.collection({"b": (2, "x"), "a": 1}, dtype=np.dtype(np.float32), shape=(6,), large=False),
        ]
        others = [
            store.collection({"a": 1, "b": [2, "y"]}, dtype=np.dtype("<f4"), shape=(6,), large=False),
            store.collection({"a": 1, "b": [2, "x"]}, dtype=np.dtype("<i4"), shape=(6,), large=False),
            store.collection({"a": 1, "b": [2, "x"]}, dtype=np.dtype(">f4"), shape=(6,), large=False),
            store.collection({"a": 1, "b": [2, "x"]}, dtype=np.dtype("<f4"), shape=(2, 3), large=False),
            store.collection({"a": 1, "b": [2, "x"]}, dtype=np.dtype("<f4"), shape=(6,), large=True),
        ]
        alike[0].put(entries(1), values(1))
        assert alike[1].missing(entries(1)) == []
        assert all(other.missing(entries(1)) for other in others)
        assert len({each.address for each in [*alike, *others]}) == 6


@both
def test_what_is_not_there_is_absent(large: bool, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        some = collection(store, large=large)
        some.put(entries(2), values(2))
        with pytest.raises(Absent, match="1 of 3 records"):
            some.get(entries(3))


def test_values_of_another_dtype_or_shape_are_a_mistake_of_ours(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        with pytest.raises(AssertionError):
            collection(store).put(entries(1), values(1).astype(np.float64))
        with pytest.raises(AssertionError):
            collection(store).put(entries(2), values(1))


# records that are not whole


def tear_in_index(folder: Path) -> None:
    change(folder, "UPDATE contents SET value = zeroblob(24) WHERE record = 2")


def shorten_in_index(folder: Path) -> None:
    change(folder, "UPDATE contents SET value = x'00' WHERE record = 2")


def lose_in_index(folder: Path) -> None:
    change(folder, "DELETE FROM contents WHERE record = 2")


def tear_in_file(folder: Path) -> None:
    with open(files(folder)[0], "r+b") as file:
        file.seek(24 + 23)
        file.write(b"\0")


@pytest.mark.parametrize(
    ("large", "tear"),
    [(False, tear_in_index), (False, shorten_in_index), (False, lose_in_index), (True, tear_in_file)],
)
def test_a_torn_record_counts_as_missing_and_is_put_again(
    large: bool, tear: Callable[[Path], None], tmp_path: Path
) -> None:
    kept = values(3)
    with Store.open(tmp_path) as store:
        collection(store, large=large).put(entries(3), kept)
    tear(tmp_path)
    with Store.open(tmp_path) as store:
        some = collection(store, large=large)
        with pytest.raises(Absent):
            some.get(entries(3))
        assert some.missing(entries(3)) == [entries(3)[1]]
        some.put([entries(3)[1]], kept[1:2])
        assert same(some.get(entries(3)), kept)
    with Store.open(tmp_path) as store:
        assert collection(store, large=large).missing(entries(3)) == []
        assert [holding.records for holding in store.info().holdings] == [3]


def test_a_record_under_the_name_of_another_counts_as_missing(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for large in (False, True):
            collection(store, large=large).put(entries(3), values(3))
    for number, other in ((1, -1), (2, 1), (-1, 2)):
        change(tmp_path, "UPDATE contents SET record = ? WHERE record = ?", other, number)
    change(tmp_path, "UPDATE records SET place = 1 - place WHERE place < 2")
    with Store.open(tmp_path) as store:
        for large in (False, True):
            assert collection(store, large=large).missing(entries(3)) == entries(2)


def test_records_of_another_collection_count_as_missing(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        collection(store, stage="stage3").put(entries(3), values(3))
        collection(store, stage="stage4").put([], values(0))
        collection(store, stage="stage4").put([("other", "plain")], values(1))
    change(tmp_path, "UPDATE records SET collection = 2")
    with Store.open(tmp_path) as store:
        assert collection(store, stage="stage4").missing(entries(3)) == entries(3)
        assert collection(store, stage="stage4").missing([("other", "plain")]) == []


@pytest.mark.parametrize("left", [0, 30, 71])
def test_a_file_that_was_cut_costs_the_records_that_it_lacks(left: int, tmp_path: Path) -> None:
    kept = values(3)
    with Store.open(tmp_path) as store:
        collection(store, large=True).put(entries(3), kept)
    os.truncate(files(tmp_path)[0], left)
    with Store.open(tmp_path) as store:
        some = collection(store, large=True)
        assert some.missing(entries(3)) == entries(3)[left // 24 :]
        some.put(some.missing(entries(3)), kept[left // 24 :])
        assert same(some.get(entries(3)), kept)


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is mapped cannot be removed there")
def test_a_file_removed_by_hand_never_makes_a_wrong_value(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, Store.open(tmp_path) as other:
        mine, theirs = collection(store, large=True), collection(other, large=True)
        mine.put(entries(3), values(3))
        assert theirs.missing(entries(3)) == []
        assert same(mine.get(entries(3)), values(3))
        files(tmp_path)[0].unlink()
        theirs.put(entries(6)[3:], values(6)[3:])
        assert theirs.missing(entries(6)) == entries(3)
        theirs.put(entries(3), values(3))
        assert same(theirs.get(entries(6)), values(6))
        assert same(mine.get(entries(3)), values(3))
        with pytest.raises(Absent):
            mine.get(entries(6))
        assert mine.missing(entries(6)) == []
        assert same(mine.get(entries(6)), values(6))
        files(tmp_path)[0].unlink()
        fresh = collection(other, large=True)
        with pytest.raises(Absent):
            fresh.get(entries(6))


def test_an_index_that_breaks_while_it_is_in_use_is_a_note(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        some = collection(store)
        some.put(entries(3), values(3))
        change(tmp_path, "DROP TABLE contents")
        with pytest.raises(Absent, match="3 of 3 records have gone"):
            some.get(entries(3))
        assert "no such table" in store.notes[0]
        assert some.missing(entries(3)) == entries(3)
        some.put(entries(3), values(3))
        assert same(some.get(entries(3)), values(3))


@both
def test_bytes_that_vanish_while_they_are_in_use_are_absent(large: bool, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        some = collection(store, large=large)
        some.put(entries(3), values(3))
        if large:
            files(tmp_path)[0].unlink()
        else:
            change(tmp_path, "DELETE FROM contents")
        with pytest.raises(Absent):
            some.get(entries(3))


# several writers


@both
def test_two_stores_may_write_the_same_and_see_what_the_other_wrote(large: bool, tmp_path: Path) -> None:
    kept = values(6)
    with Store.open(tmp_path) as store, Store.open(tmp_path) as other:
        mine, theirs = collection(store, large=large), collection(other, large=large)
        mine.put(entries(4), kept[:4])
        theirs.put(entries(6)[2:], kept[2:])
        for some in (mine, theirs):
            assert some.missing(entries(6)) == []
            assert same(some.get(entries(6)), kept)
        assert [holding.records for holding in store.info().holdings] == [6]


@both
def test_threads_may_share_a_collection(large: bool, tmp_path: Path) -> None:
    kept, wrong = values(64), []
    with Store.open(tmp_path) as store:
        some = collection(store, large=large)

        def work(number: int) -> None:
            mine = slice(number * 8, number * 8 + 8)
            for place in range(mine.start, mine.stop):
                some.put(entries(64)[place : place + 1], kept[place : place + 1])
                if some.missing(entries(64)[mine.start : place + 1]):
                    wrong.append(place)
            if not same(some.get(entries(64)[mine]), kept[mine]):
                wrong.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert same(some.get(entries(64)), kept)


operation = st.tuples(
    st.sampled_from(["put", "get", "missing", "reopen", "shrink", "tear"]),
    st.integers(0, 1),
    st.booleans(),
    st.lists(st.integers(0, 9), max_size=8),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(operation, max_size=25), st.integers(0, 700))
def test_whatever_is_done_in_whatever_order_a_value_is_right_or_absent(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int, bool, list[int]]], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    kept = {large: values(10, seed=int(large)) for large in (False, True)}
    stores = [Store.open(folder, limit=limit) for _ in range(2)]
    for what, which, large, places in operations:
        some, chosen = collection(stores[which], large=large), [entries(10)[place] for place in places]
        if what == "put":
            some.put(chosen, kept[large][places])
            assert same(some.get(chosen), kept[large][places])
        elif what == "get":
            lacking = set(some.missing(chosen))
            there = [place for place in places if entries(10)[place] not in lacking]
            assert same(some.get([entries(10)[place] for place in there]), kept[large][there])
        elif what == "missing":
            assert set(some.missing(chosen)) <= set(chosen)
        elif what == "shrink":
            assert stores[which].shrink() == 0  # the other is open
        elif what == "reopen":
            stores[which].close()
            stores[which] = Store.open(folder, limit=limit)
        elif places and stores[0].info().holdings:
            change(folder, "UPDATE records SET checksum = x'00' WHERE id = ?", places[0])
    for store in stores:
        assert store.notes == ()
        store.close()
    with Store.open(folder, limit=limit) as store:
        store.shrink()
        assert sum(holding.bytes for holding in store.info().holdings) <= limit


# a folder that cannot be used


def test_a_folder_that_cannot_be_made_is_a_note_and_collections_work_in_temporary_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Store.open(tmp_path / "file") as store:
        assert len(store.notes) == 1
        assert store.notes[0].startswith(f"the cache in {tmp_path}/file/frozen cannot be used: ")
        assert store.notes[0].endswith("; nothing is kept there")
        some = collection(store)
        assert some.missing(entries(3)) == entries(3)
        some.put(entries(3), values(3))
        assert some.missing(entries(4)) == entries(4)[3:]
        assert same(some.get(entries(3)[::-1]), values(3)[::-1])
        large = collection(store, large=True)
        large.make_room(3)
        large.put(entries(3), values(3))
        assert large.missing(entries(4)) == entries(4)[3:]
        assert same(large.get(entries(3)[::-1]), values(3)[::-1])
        for refused in (store.info, store.clear, lambda: store.make_room(1)):
            with pytest.raises(OutOfResources, match=r"cannot be used: .*; nothing is kept there"):
                refused()
        assert store.shrink() == 0
        assert len(store.notes) == 1


def test_an_index_that_cannot_be_opened_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "frozen" / "index.sqlite").mkdir(parents=True)
    with Store.open(tmp_path) as store:
        assert "unable to open database file" in store.notes[0]
        collection(store).put(entries(1), values(1))
        assert same(collection(store).get([]), values(0))


def test_where_there_is_no_home_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINETUNE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "")
    with Store.open() as store:
        assert "there is no home folder" in store.notes[0]
        collection(store).put(entries(1), values(1))


def test_the_store_is_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    with Store.open() as store:
        assert store.info().folder == tmp_path / "cache" / "frozen"


def test_a_full_disk_is_a_note_for_small_records_and_those_kept_before_stay(tmp_path: Path) -> None:
    kept = values(600, shape=(600,))
    with Store.open(tmp_path) as store:
        some = collection(store, shape=(600,))
        some.put(entries(2), kept[:2])
        assert store._shelf.index is not None
        store._shelf.index._rows("PRAGMA max_page_count = 20")
        some.put(entries(600)[2:], kept[2:])
        assert "database or disk is full" in store.notes[0]
        assert some.missing(entries(600)) == []
        assert same(some.get(entries(600)), kept)
        some.put(entries(1), kept[:1])
        assert len(store.notes) == 1
    with Store.open(tmp_path) as store:
        assert collection(store, shape=(600,)).missing(entries(3)) == entries(3)[2:]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full")
def test_a_full_disk_is_a_note_for_large_records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda count: "full")
    with Store.open(tmp_path) as store:
        some = collection(store, large=True)
        (tmp_path / "frozen" / f"{some.address[:16]}-full.values").symlink_to("/dev/full")
        some.put(entries(2), values(3)[:2])
        some.put(entries(3)[2:], values(3)[2:])
        assert store.notes == (
            f"cannot keep 48 bytes in {tmp_path}/frozen: [Errno 28] No space left on device; free some "
            "space, set FINETUNE_CACHE to another folder, or run `finetune cache clear`; nothing more is kept",
        )
        assert some.missing(entries(3)) == []
        assert same(some.get(entries(3)), values(3))


def test_a_writer_that_never_ends_is_waited_for_and_then_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(indices, "PATIENCE", 0.05)
    with Store.open(tmp_path) as store:
        some = collection(store)
        some.put(entries(1), values(1))
        with Store.open(tmp_path) as other:
            assert other._shelf.index is not None
            with other._shelf.index.writing():
                large = collection(store, large=True)
                large.put(entries(1), values(1))
                assert same(large.get(entries(1)), values(1))
                some.put(entries(3), values(3))
                assert same(some.get(entries(3)), values(3))
        assert "database is locked" in store.notes[0]


def test_a_store_that_is_closed_keeps_nothing_more(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    some = collection(store)
    some.put(entries(1), values(1))
    store.close()
    store.close()
    assert store.shrink() == 0
    with pytest.raises(OutOfResources, match=r"the cache in .*frozen is closed"):
        store.info()
    with pytest.raises(Absent):
        some.get(entries(1))


# damage


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 99, None])
def test_an_index_that_is_damaged_or_of_another_version_is_made_anew(damage: bytes | None, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        collection(store).put(entries(3), values(3))
    if damage is None:
        change(tmp_path, "PRAGMA user_version = 99")
    else:
        (tmp_path / "frozen" / "index.sqlite").write_bytes(damage)
    with Store.open(tmp_path) as store:
        assert store.notes == ()
        assert collection(store).missing(entries(3)) == entries(3)
        collection(store).put(entries(3), values(3))
    with Store.open(tmp_path) as store:
        assert collection(store).missing(entries(3)) == []


def test_a_lock_file_that_is_something_else_costs_one_process_the_cache(tmp_path: Path) -> None:
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / "in-use.sqlite").write_bytes(b"no database at all" * 99)
    with Store.open(tmp_path) as store:
        assert "file is not a database" in store.notes[0]
    with Store.open(tmp_path) as store:
        assert store.notes == ()


@both
def test_damage_deep_in_the_index_is_a_note_and_the_next_process_begins_anew(large: bool, tmp_path: Path) -> None:
    kept = values(400, shape=(100,))
    with Store.open(tmp_path) as store:
        collection(store, large=large, shape=(100,)).put(entries(400), kept)
    index = tmp_path / "frozen" / "index.sqlite"
    data = bytearray(index.read_bytes())
    data[2 * 16384 :] = b"\xff" * (len(data) - 2 * 16384)
    index.write_bytes(data)
    with Store.open(tmp_path) as store:
        some = collection(store, large=large, shape=(100,))
        lacking = some.missing(entries(400))
        some.put(lacking, kept[[entries(400).index(entry) for entry in lacking]])
        assert same(some.get(entries(400)), kept)
        assert "malformed" in store.notes[0]
    with Store.open(tmp_path) as store:
        assert store.notes == ()
        some = collection(store, large=large, shape=(100,))
        some.put(entries(400), kept)
        assert same(some.get(entries(400)), kept)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE collections SET file = '../../photos'",
        "UPDATE collections SET stride = -1",
        "UPDATE collections SET facts = x'ff'",
        "UPDATE records SET place = 'first'",
    ],
)
def test_rows_that_make_no_sense_are_damage(statement: str, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        collection(store, large=True).put(entries(3), values(3))
    change(tmp_path, statement)
    with Store.open(tmp_path) as store:
        assert collection(store, large=True).missing(entries(3)) == entries(3)
        assert "it is damaged" in store.notes[0]
        collection(store, large=True).put(entries(3), values(3))
    with Store.open(tmp_path) as store:
        collection(store, large=True).put(entries(3), values(3))


def test_a_row_that_is_not_there_once_it_was_made_is_damage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        monkeypatch.setattr(Index, "collection", lambda self, address: None)
        collection(store).put(entries(3), values(3))
        assert "it is damaged" in store.notes[0]
        assert same(collection(store).get([]), values(0))


def test_damage_met_by_info_is_told_and_mended(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        collection(store).put(entries(1), values(1))
    for facts in ("'{'", "'7'", "CAST(x'ff' AS TEXT)"):
        change(tmp_path, f"UPDATE collections SET facts = {facts}")
        with Store.open(tmp_path) as store:
            assert [holding.facts for holding in store.info().holdings] == [{}]
    change(tmp_path, "UPDATE collections SET stride = 'wide'")
    with (
        Store.open(tmp_path) as store,
        pytest.raises(OutOfResources, match=r"the cache in .* cannot be used: it is damaged"),
    ):
        store.info()
    with Store.open(tmp_path) as store:
        assert store.info().holdings == ()


# what it says of itself, and clearing it


def test_the_limit_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted = {"20G": 20 * 10**9, "500M": 5 * 10**8, "1.5 gb": 15 * 10**8, "7": 7, "3k": 3000, "1TB": 10**12, "": 10**10}
    for text, limit in wanted.items():
        monkeypatch.setenv("FINETUNE_CACHE_LIMIT", text)
        with Store.open(tmp_path) as store:
            assert store.limit == limit
    monkeypatch.delenv("FINETUNE_CACHE_LIMIT")
    with Store.open(tmp_path) as store:
        assert store.limit == 10**10
    for text in ("20Q", "-5G", "G", "1e9", "ten\n"):
        monkeypatch.setenv("FINETUNE_CACHE_LIMIT", text)
        with pytest.raises(UsageError, match=r"a number of bytes is needed, such as 20G or 500M"):
            Store.open(tmp_path)


def test_info_says_what_is_there(tmp_path: Path) -> None:
    with Store.open(tmp_path, limit=10**6) as store:
        assert store.info().holdings == ()
        collection(store, pool="avg").put(entries(3), values(3))
        collection(store, large=True).put(entries(2), values(2))
        found = store.info()
    assert (found.folder, found.limit) == (tmp_path / "frozen", 10**6)
    small, large = found.holdings
    assert (small.facts, small.large, small.records, small.bytes) == (
        {"backbone": "resnet18", "pool": "avg"},
        False,
        3,
        72,
    )
    assert (large.facts, large.large, large.records, large.bytes) == ({"backbone": "resnet18"}, True, 2, 48)
    assert 0 < large.used - small.used < 60
    assert found.bytes >= 48


def test_clearing_leaves_an_empty_store_that_works(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        some, more = collection(store), collection(store, large=True)
        some.put(entries(3), values(3))
        more.put(entries(3), values(3))
        assert store.clear() > 72
        assert store.info().holdings == ()
        assert files(tmp_path) == []
        for each in (some, more):
            assert each.missing(entries(3)) == entries(3)
            each.put(entries(3), values(3))
            assert same(each.get(entries(3)), values(3))


def test_a_record_that_another_process_replaced_is_asked_for_again(tmp_path: Path) -> None:
    """What a process found whole it knows by number, and no number is given twice."""
    with Store.open(tmp_path) as store, Store.open(tmp_path) as other:
        some = collection(store)
        some.put(entries(1), values(1))
        collection(other).put(entries(2), values(2, seed=1))
        with pytest.raises(Absent, match="1 of 1 records have gone"):
            some.get(entries(1))
        assert some.missing(entries(2)) == []
        assert same(some.get(entries(2)), values(2, seed=1))


@both
def test_what_another_process_has_kept_meanwhile_is_not_written_again(large: bool, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, Store.open(tmp_path) as other:
        mine, theirs = collection(store, large=large), collection(other, large=large)
        assert mine.missing(entries(6)) == theirs.missing(entries(6))
        mine.put(entries(4), values(4))
        theirs.put(entries(6), values(6))
        assert same(theirs.get(entries(6)), values(6))
        assert mine.missing(entries(6)) == []
        assert same(mine.get(entries(6)), values(6))
        if large:
            assert files(tmp_path)[0].stat().st_size == 6 * 24
