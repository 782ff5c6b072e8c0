"""The store keeps to its limit on the disk: what was longest not used goes, and nothing that somebody may be using."""

from pathlib import Path

import pytest

from finetune.data.store import Collection, Store
from finetune.errors import OutOfResources, OutputTaken
from tests.data.records import collection, entries, files, same, values

SHAPE = (4000,)
EACH = 16_000  # bytes of a record
both = pytest.mark.parametrize("large", [False, True], ids=["small", "large"])


def filled(store: Store, name: str, *, large: bool = False, count: int = 10) -> Collection:
    some = collection(store, shape=SHAPE, large=large, name=name)
    some.put(entries(count), values(count, shape=SHAPE))
    return some


def held(folder: Path) -> dict[str, int]:
    """Records by the fact `name` of their collection."""
    with Store.open(folder) as store:
        return {holding.facts["name"]: holding.records for holding in store.info().holdings}


@both
def test_what_was_longest_not_used_goes_first(large: bool, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for name in ("one", "two", "three"):
            filled(store, name, large=large)
        collection(store, shape=SHAPE, large=large, name="one").missing(entries(10))
    with Store.open(tmp_path) as store:
        store.limit = store.info().bytes - 9 * EACH
        assert store.shrink() >= 9 * EACH
        assert store.info().bytes <= store.limit
        assert store.shrink() == 0
    left = held(tmp_path)
    assert (left["one"], left["three"]) == (10, 10)
    assert left.get("two", 0) in ((0,) if large else (0, 1))
    assert len(files(tmp_path)) == (2 if large else 0)


def test_the_limit_is_kept_on_the_disk_where_small_records_share_pages_with_others(tmp_path: Path) -> None:
    """What goes here and there frees few pages at first."""
    with Store.open(tmp_path) as store:
        for name in ("one", "two"):
            collection(store, shape=(100,), name=name)
        for number in range(300):  # one by one, so that their records lie side by side
            for name in ("one", "two"):
                collection(store, shape=(100,), name=name).put(
                    [(f"{number:064x}", "plain")], values(1, shape=(100,), seed=number)
                )
        collection(store, shape=(100,), name="one").missing([(f"{number:064x}", "plain") for number in range(300)])
    with Store.open(tmp_path) as store:
        store.limit = store.info().bytes - 100_000
        store.shrink()
        assert store.info().bytes <= store.limit
    left = held(tmp_path)
    assert left["one"] > left.get("two", 0)


def test_small_collections_lose_no_more_records_than_they_must_and_large_ones_go_whole(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for name, large in (("one", True), ("two", False), ("three", True)):
            filled(store, name, large=large, count=100)
    with Store.open(tmp_path) as store:
        store.limit = store.info().bytes - 110 * EACH
        assert 110 * EACH <= store.shrink() <= 120 * EACH
    left = held(tmp_path)
    assert (left.get("one", 0), left["three"]) == (0, 100)
    assert 80 <= left["two"] <= 90
    with Store.open(tmp_path, limit=0) as store:
        store.shrink()
        some = collection(store, shape=SHAPE, name="two")
        assert some.missing(entries(100)) == entries(100)
        some.put(entries(10), values(10, shape=SHAPE))
        assert same(some.get(entries(10)), values(10, shape=SHAPE))
    assert held(tmp_path) == {}


def test_a_store_that_wrote_shrinks_when_it_is_closed(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        filled(store, "one", count=30)
        limit = store.info().bytes
    with Store.open(tmp_path, limit=0) as store:
        assert collection(store, shape=SHAPE, name="one").missing(entries(30)) == []
    assert held(tmp_path) == {"one": 30}
    with Store.open(tmp_path, limit=limit) as store:
        filled(store, "two", count=20)
    left = held(tmp_path)
    assert left["two"] == 20
    assert 0 < left["one"] < 30
    with Store.open(tmp_path) as store:
        assert store.info().bytes <= limit


def test_nothing_is_evicted_from_under_another_store(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, Store.open(tmp_path, limit=0) as other:
        some = filled(store, "one", large=True)
        assert other.shrink() == 0
        with pytest.raises(OutputTaken, match=r"frozen is in use by another process: wait for it, or stop it"):
            other.clear()
        assert same(some.get(entries(10)), values(10, shape=SHAPE))
        other.close()
        assert store.clear() > 10 * EACH


@both
def test_what_this_store_evicted_is_missing_in_collections_that_it_gave_before(large: bool, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        some = filled(store, "one", large=large)
        store.limit = 0
        assert store.shrink() >= 10 * EACH
        assert some.missing(entries(10)) == entries(10)
        some.put(entries(10), values(10, shape=SHAPE, seed=1))
        assert same(some.get(entries(10)), values(10, shape=SHAPE, seed=1))


def test_the_disk_gets_back_what_was_evicted(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        empty = store.info().bytes
        filled(store, "one", count=100)
        filled(store, "two", large=True, count=100)
        before = store.info().bytes
        assert before > 200 * EACH
        store.limit = 0
        assert store.shrink() >= 200 * EACH
        assert store.info().bytes <= empty + 100_000
    assert files(tmp_path) == []


def test_files_that_a_killed_process_left_are_removed(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        filled(store, "one", large=True, count=1)
        (tmp_path / "frozen" / "0123-45.values").write_bytes(b"left")
        kept = files(tmp_path)[1:]
        store.shrink()
        assert files(tmp_path) == kept


def test_room_is_made_or_refused_before_it_is_needed(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for name in ("one", "two"):
            filled(store, name, large=True)
        store.shrink()
        store.limit = store.info().bytes + 3 * EACH
        store.make_room(2 * EACH)
        assert len(store.info().holdings) == 2
        store.make_room(4 * EACH)
        assert [holding.facts["name"] for holding in store.info().holdings] == ["two"]
        store.limit = 500
        with pytest.raises(OutOfResources) as refusal:
            store.make_room(1_200_000_000)
        assert str(refusal.value) == (
            f"1.2 GB are needed in {tmp_path}/frozen, and 500 bytes are allowed; set FINETUNE_CACHE_LIMIT to 2G or more"
        )
        store.limit = 10**18
        with pytest.raises(
            OutOfResources, match=r"are needed in .*, and the disk has .* free; free some space, or set"
        ):
            store.make_room(10**17)
