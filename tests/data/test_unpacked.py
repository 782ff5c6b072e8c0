"""Sets in the cache folder: whole or not there, also with two processes and a full disk."""

import contextlib
from pathlib import Path

import pytest

from finetune.data import unpacked
from finetune.data.catalog import LeftOut
from finetune.errors import OutOfResources


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder_is_whole_or_not_there(cache: Path) -> None:
    folder = unpacked.place("hub", "owner/set", {"config": None})
    assert folder.parent == cache / "sets" / "hub"
    assert folder.name.startswith("owner-set-")
    assert folder != unpacked.place("hub", "owner/set", {"config": "b"})
    with contextlib.suppress(KeyError), unpacked.whole(folder) as temporary:
        (temporary / "half").touch()
        raise KeyError
    assert list(folder.parent.iterdir()) == []
    with unpacked.whole(folder) as temporary:
        (temporary / "all").touch()
    assert [path.name for path in folder.iterdir()] == ["all"]


def test_of_two_at_once_the_first_stays(cache: Path) -> None:
    folder = unpacked.place("hub", "x")
    with unpacked.whole(folder) as slow:
        (slow / "slow").touch()
        with unpacked.whole(folder) as fast:
            (fast / "fast").touch()
    assert [path.name for path in folder.iterdir()] == ["fast"]
    assert [path.name for path in folder.parent.iterdir()] == ["x"]


def test_what_is_written_is_read_as_a_table(cache: Path) -> None:
    folder = unpacked.place("hub", "x")
    with unpacked.whole(folder) as temporary, unpacked.Writer(temporary) as writer:
        writer.add(b"1", ".png", label="a", split="train")
        writer.add(b"2", ".jpg", label="b", split="train")
        writer.add(b"3", "", label="b", split="test")
        writer.leave_out("hidden", "2 images without a label")
    found = unpacked.read(folder, pool=False)
    assert found.keys == ("test/0000/0000002", "train/0000/0000000.png", "train/0000/0000001.jpg")
    assert [sample.split for sample in found.samples] == ["test", "train", "train"]
    assert found.left_out == (LeftOut("hidden", "2 images without a label"),)
    assert {sample.split for sample in unpacked.read(folder, pool=True).samples} == {None}


def test_a_single_part_is_no_split_whatever_its_name(cache: Path) -> None:
    folder = unpacked.place("hub", "x")
    with unpacked.whole(folder) as temporary, unpacked.Writer(temporary) as writer:
        for number, label in enumerate(("ab", "a", ())):
            writer.add(bytes([number]), ".png", label=tuple(label), split="test")
    found = unpacked.read(folder, pool=False)
    assert [(sample.label, sample.split) for sample in found.samples] == [
        (("a", "b"), None),
        (("a",), None),
        ((), None),
    ]


def test_a_disk_that_refuses_is_said_to(cache: Path) -> None:
    cache.write_text("no folder")
    with pytest.raises(OutOfResources, match=r"cannot write .*: "), unpacked.whole(unpacked.place("hub", "x")):
        pass
    cache.unlink()
    with unpacked.whole(unpacked.place("hub", "x")) as temporary, unpacked.Writer(temporary) as writer:
        (temporary / "train").write_text("in the way")
        with pytest.raises(OutOfResources, match="cannot write"):
            writer.add(b"1", ".png", label="a", split="train")
