"""A file is read once, and again when it may have changed; and where nothing can be remembered nothing fails."""

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from finetune.data import database, decode, fingerprints
from finetune.data.fingerprints import Fingerprint, Fingerprints, clear, examine, usage
from finetune.errors import UnreadableImage, UsageError
from tests.conftest import draw

HUE = (200, 40, 40)


def age(path: Path, *, seconds: float = 60) -> Path:
    """A file that was left alone for so long."""
    then = time.time_ns() - int(seconds * 1e9)
    os.utime(path, ns=(then, then))
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    draw(tmp_path / "photos" / "one.png", hue=HUE, seed=0)
    return age(tmp_path / "photos" / "one.png")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The files that were read, in order."""
    seen: list[Path] = []
    read = decode.read_with_status

    def reading(path: Path) -> tuple[bytes, os.stat_result]:
        seen.append(path)
        return read(path)

    monkeypatch.setattr(decode, "read_with_status", reading)
    return seen


def look(path: Path, cache: Path) -> Fingerprint:
    """As a process of its own."""
    with Fingerprints.open(cache) as known:
        return examine(path, known)


def test_a_file_is_read_once_and_the_answer_is_the_same(image: Path, cache: Path, opened: list[Path]) -> None:
    first = look(image, cache)
    assert first == Fingerprint(hashlib.sha256(image.read_bytes()).hexdigest(), ())
    assert look(image, cache) == first
    assert opened == [image]


def test_notes_are_remembered_in_their_order(tmp_path: Path, cache: Path, opened: list[Path]) -> None:
    path = tmp_path / "odd.jpg"
    Image.new("RGBA", (20, 20)).save(path, "PNG")
    path.write_bytes(path.read_bytes() + b"more")
    age(path)
    notes = ("alpha composited on white", "bytes after the end of the image", "suffix of another format")
    assert [look(path, cache).notes for _ in range(2)] == [notes, notes]
    assert len(opened) == 1


def test_another_name_for_the_same_file_is_another_file(
    image: Path, cache: Path, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    look(image, cache)
    monkeypatch.chdir(image.parent)
    look(Path("one.png"), cache)
    look(Path("../photos/one.png"), cache)
    assert len(opened) == 1
    os.link(image, image.parent / "two.jpg")
    assert look(image.parent / "two.jpg", cache).notes == ("suffix of another format",)
    assert len(opened) == 2


def rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def replaced_by_one_as_old(path: Path) -> None:
    status = path.stat()
    draw(path.with_suffix(".new.png"), hue=HUE, seed=1)
    os.replace(path.with_suffix(".new.png"), path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def changed_and_its_time_set_back(path: Path) -> None:
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def touched(path: Path) -> None:
    age(path, seconds=30)


@pytest.mark.parametrize("change", [rewritten, replaced_by_one_as_old, changed_and_its_time_set_back, touched])
def test_a_file_that_may_have_changed_is_read_again(change: Any, image: Path, cache: Path, opened: list[Path]) -> None:
    look(image, cache)
    change(image)
    with Fingerprints.open(cache) as known:
        assert known.known(image) is None
    age(image, seconds=40)
    assert look(image, cache).sha256 == hashlib.sha256(image.read_bytes()).hexdigest()
    assert look(image, cache).sha256 == hashlib.sha256(image.read_bytes()).hexdigest()
    assert len(opened) == 2


@pytest.mark.parametrize(("seconds", "reads"), [(0, 2), (1.9, 2), (-100, 2), (2.1, 1)])
def test_a_file_younger_than_two_seconds_is_not_remembered(
    seconds: float, reads: int, image: Path, cache: Path, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    age(image, seconds=seconds)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    look(image, cache)
    look(image, cache)
    assert len(opened) == reads


def test_how_old_a_file_is_counts_from_before_it_was_read(
    image: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(image, seconds=1)
    now = time.time_ns()
    clock = iter([now, now + 10**10, now + 2 * 10**10])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    look(image, cache)
    assert usage(cache)[0] == 0


def test_a_file_swapped_while_it_is_opened_is_known_by_what_was_read(
    image: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is that of the opened file, not of whatever has the name before or after."""
    other = image.parent / "other.png"
    draw(other, hue=HUE, seed=1)
    age(other, seconds=60)
    read = decode.read_with_status

    def swapping(path: Path) -> tuple[bytes, os.stat_result]:
        os.rename(path, path.with_suffix(".kept"))
        os.rename(other, path)
        try:
            return read(path)
        finally:
            os.rename(path, other)
            os.rename(path.with_suffix(".kept"), path)

    monkeypatch.setattr(decode, "read_with_status", swapping)
    assert look(image, cache).sha256 == hashlib.sha256(other.read_bytes()).hexdigest()
    monkeypatch.undo()
    assert look(image, cache).sha256 == hashlib.sha256(image.read_bytes()).hexdigest()


def test_an_unreadable_image_is_not_remembered(image: Path, cache: Path, opened: list[Path]) -> None:
    image.write_bytes(image.read_bytes()[:99])
    age(image)
    for _ in range(2):
        with pytest.raises(UnreadableImage, match="truncated"):
            look(image, cache)
    assert len(opened) == 2
    assert usage(cache)[0] == 0


def test_a_file_that_is_not_there_or_has_no_name_is_not_known(image: Path, cache: Path) -> None:
    look(image, cache)
    image.unlink()
    with Fingerprints.open(cache) as known:
        assert known.known(image) is None
        assert known.known(Path("a\0b")) is None
        with pytest.raises(UnreadableImage, match="missing"):
            examine(image, known)


def test_a_name_that_is_no_text_is_a_name(image: Path, cache: Path, opened: list[Path]) -> None:
    odd = Path(os.fsdecode(os.fsencode(image.parent) + b"/\xff\xfe.png"))
    os.rename(image, odd)
    assert look(odd, cache) == look(odd, cache)
    assert len(opened) == 1


def test_what_another_pillow_or_another_decoder_found_is_not_taken(
    image: Path, cache: Path, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    look(image, cache)
    for number, reader in enumerate(("12.0 0123", "13.0 0123", "13.0 4567"), start=2):
        monkeypatch.setattr(fingerprints, "_reader", lambda reader=reader: reader)
        look(image, cache)
        look(image, cache)
        assert len(opened) == number


def test_a_setting_with_which_no_file_is_read_is_not_hidden(
    image: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(image, cache)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UsageError, match="LOAD_TRUNCATED_IMAGES"):
        look(image, cache)


# where nothing can be remembered


def test_a_folder_that_cannot_be_made_is_no_error(image: Path, tmp_path: Path, opened: list[Path]) -> None:
    (tmp_path / "file").write_text("")
    assert look(image, tmp_path / "file") == look(image, tmp_path / "file")
    assert len(opened) == 2


def test_no_home_and_no_source_are_no_errors(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as bare:
        bare.delenv("FINETUNE_CACHE")
        bare.delenv("XDG_CACHE_HOME", raising=False)
        bare.setenv("HOME", "")
        with Fingerprints.open() as known:
            assert examine(image, known) == examine(image)
        with pytest.raises(UsageError, match="no home folder"):
            usage()

    def no_source() -> str:
        raise OSError("could not get source code")

    monkeypatch.setattr(fingerprints, "_reader", no_source)
    with Fingerprints.open() as known:
        assert examine(image, known) == examine(image, known)


@pytest.mark.parametrize("damage", [b"", b"no database" * 999, None])
def test_a_damaged_file_or_one_of_another_version_is_begun_anew(
    damage: bytes | None, image: Path, cache: Path, opened: list[Path]
) -> None:
    look(image, cache)
    if damage is None:
        connection = sqlite3.connect(cache / "files.sqlite")
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        (cache / "files.sqlite").write_bytes(damage)
    for _ in range(3):
        look(image, cache)
    assert len(opened) == 2


def test_damaged_text_in_the_schema_is_damage(image: Path, cache: Path, opened: list[Path]) -> None:
    look(image, cache)
    data = (cache / "files.sqlite").read_bytes()
    assert data.count(b"CREATE TABLE files") == 1
    (cache / "files.sqlite").write_bytes(data.replace(b"CREATE TABLE files", b"CREATE \xff\xfe\xfd\xfc\xfb files"))
    for _ in range(3):
        look(image, cache)
    assert len(opened) == 2


def test_damage_deep_inside_is_met_and_begun_anew_by_the_next(tmp_path: Path, cache: Path, opened: list[Path]) -> None:
    for number in range(200):
        draw(tmp_path / f"{number}.png", hue=HUE, seed=number, size=(8, 8))
    images = [age(path) for path in sorted(tmp_path.glob("*.png"))]
    with Fingerprints.open(cache) as known:
        right = [examine(path, known) for path in images]
    data = bytearray((cache / "files.sqlite").read_bytes())
    data[16384 * 2 :] = b"\xff" * (len(data) - 16384 * 2)
    (cache / "files.sqlite").write_bytes(data)
    for _ in range(3):
        with Fingerprints.open(cache) as known:
            assert [examine(path, known) for path in images] == right
    assert len(opened) == 3 * len(images)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=30))
def test_whatever_happens_to_the_file_an_answer_is_right(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for number in range(5):
        draw(folder / f"{number}.png", hue=HUE, seed=number, size=(8, 8))
    images = [age(path) for path in sorted(folder.glob("*.png"))]
    with Fingerprints.open(folder / "cache") as known:
        right = [examine(path, known) for path in images]
    data = bytearray((folder / "cache" / "files.sqlite").read_bytes())
    for place, byte in changes:
        data[place % len(data)] = byte
    (folder / "cache" / "files.sqlite").write_bytes(data)
    with Fingerprints.open(folder / "cache") as known:
        assert [examine(path, known) for path in images] == right


def test_a_row_that_was_changed_is_not_believed(image: Path, cache: Path, opened: list[Path]) -> None:
    right = look(image, cache)
    for change in ("sha256 = '00'", "notes = '[\"odd\"]'", "notes = '['", "path = path || 'x'", "checksum = x'00'"):
        connection = sqlite3.connect(cache / "files.sqlite", isolation_level=None)
        connection.execute(f"UPDATE files SET {change}")
        connection.close()
        assert look(image, cache) == right
    assert len(opened) == 6


def test_a_file_that_another_process_has_locked_is_done_without(
    image: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, opened: list[Path]
) -> None:
    monkeypatch.setattr(fingerprints, "_PATIENCE", 0.05)
    right = look(image, cache)
    draw(image.parent / "two.png", hue=HUE, seed=2)
    two = age(image.parent / "two.png")
    locking = sqlite3.connect(cache / "files.sqlite", isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    assert look(image, cache) == right  # who only reads does not wait
    assert look(two, cache) == look(two, cache)
    assert opened == [image, two, two]
    locking.execute("ROLLBACK")
    locking.execute("PRAGMA locking_mode = EXCLUSIVE")
    locking.execute("BEGIN EXCLUSIVE")
    locking.execute("UPDATE files SET id = id")
    assert look(image, cache) == right
    locking.execute("ROLLBACK")
    locking.close()


def test_a_file_that_may_not_be_written_is_still_read(
    image: Path, cache: Path, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = look(image, cache)
    draw(image.parent / "two.png", hue=HUE, seed=2)
    two = age(image.parent / "two.png")
    connect = sqlite3.connect

    def read_only(path: Any, **named: Any) -> sqlite3.Connection:
        connection = connect(path, **named)
        connection.execute("PRAGMA query_only = 1")
        return connection

    monkeypatch.setattr(sqlite3, "connect", read_only)
    with Fingerprints.open(cache) as known:
        assert examine(image, known) == right
        first = examine(two, known)
    with Fingerprints.open(cache) as known:
        assert examine(two, known) == first
    assert opened == [image, two, two]


def test_what_is_not_yet_written_is_known(image: Path, cache: Path, opened: list[Path]) -> None:
    with Fingerprints.open(cache) as known:
        first = examine(image, known)
        assert known.count() == 0
        assert examine(image, known) == first
        assert opened == [image]
        draw(image, hue=HUE, seed=9)
        assert examine(image, known) != first


# many files, threads and processes


def test_answers_are_written_in_batches_and_the_rest_when_it_is_closed(
    image: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "_AT_ONCE", 3)
    status, begun = image.stat(), time.time_ns()
    with Fingerprints.open(cache) as known:
        for number, there in enumerate([0, 0, 3, 3, 3], start=1):
            known.remember(Path(f"/images/{number}"), status, Fingerprint("00", ()), begun=begun)
            assert known.count() == there
    assert usage(cache)[0] == 5


def test_the_oldest_answers_go_when_there_are_too_many(
    image: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "_AT_MOST", 4)
    status, begun = image.stat(), time.time_ns()
    for number in (1, 2, 3, 1, 4, 5):
        with Fingerprints.open(cache) as known:
            known.remember(Path(f"/images/{number}"), status, Fingerprint("00", ()), begun=begun)
    connection = sqlite3.connect(cache / "files.sqlite")
    assert [row[0] for row in connection.execute("SELECT path FROM files ORDER BY id")] == [
        f"/images/{number}".encode() for number in (3, 1, 4, 5)
    ]
    connection.close()


def test_threads_and_several_openings_share_it(tmp_path: Path, cache: Path, opened: list[Path]) -> None:
    for number in range(40):
        draw(tmp_path / f"{number}.png", hue=HUE, seed=number, size=(8, 8))
    images = [age(path) for path in tmp_path.glob("*.png")]
    right = {path: examine(path) for path in images}
    wrong: list[Path] = []

    def work(known: Fingerprints) -> None:
        wrong.extend(path for path in images if examine(path, known) != right[path])

    with Fingerprints.open(cache) as one, Fingerprints.open(cache) as two:
        threads = [threading.Thread(target=work, args=(known,)) for known in (one, two, one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    before = len(opened)
    with Fingerprints.open(cache) as known:
        work(known)
    assert (wrong, len(opened)) == ([], before)


def test_what_is_remembered_can_be_counted_and_forgotten(image: Path, cache: Path, opened: list[Path]) -> None:
    assert usage(cache) == (0, 0)
    assert not cache.exists()
    look(image, cache)
    files, size = usage(cache)
    assert files == 1
    assert size > 1000
    assert clear(cache) >= size
    assert usage(cache) == (0, 0)
    assert clear(cache) == 0
    look(image, cache)
    assert len(opened) == 2


def test_after_it_is_closed_nothing_is_known(image: Path, cache: Path) -> None:
    known = Fingerprints.open(cache)
    examine(image, known)
    known.close()
    known.close()
    assert known.known(image) is None
    assert known.count() == 0


def test_a_file_that_others_are_making_is_waited_for(tmp_path: Path) -> None:
    """sqlite does not wait by itself when it switches to its write-ahead log."""
    reading = sqlite3.connect(tmp_path / "x.sqlite", isolation_level=None, check_same_thread=False)
    reading.execute("BEGIN")
    reading.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        database.connect(tmp_path / "x.sqlite", schema="CREATE TABLE x (y)", version=1, patience=0.05)
    soon = threading.Timer(0.2, reading.execute, ["ROLLBACK"])
    soon.start()
    database.connect(tmp_path / "x.sqlite", schema="CREATE TABLE x (y)", version=1, patience=30).close()
    soon.join()
    reading.close()


def test_no_path_of_the_data_is_written_into_its_folder(image: Path, cache: Path) -> None:
    before = sorted(image.parent.rglob("*"))
    look(image, cache)
    assert sorted(image.parent.rglob("*")) == before
    assert json.loads(json.dumps(usage(cache)))[0] == 1
