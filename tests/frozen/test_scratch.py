from mmap import mmap
from typing import IO, Any

import numpy as np
import pytest

from finetune.data import scratch
from finetune.data.scratch import Scratch
from finetune.errors import OutOfResources
from finetune.frozen.scratch import LARGE, Result

ENTRIES = [("a", "plain"), ("b", "plain"), ("a", "other")]


def test_records_come_back_in_the_order_asked_and_may_repeat() -> None:
    records = Scratch(dtype=np.dtype(np.float32), shape=(2, 3))
    assert records.missing([*ENTRIES, ENTRIES[0]]) == ENTRIES
    values = np.arange(18, dtype=np.float32).reshape(3, 2, 3)
    records.put(ENTRIES[:1], values[:1])
    records.put(ENTRIES[1:], values[1:])
    assert records.missing(ENTRIES) == []
    assert np.array_equal(records.get([ENTRIES[2], ENTRIES[0], ENTRIES[2]]), values[[2, 0, 2]])
    assert records.get([]).shape == (0, 2, 3)


def test_records_may_be_structured() -> None:
    kind = np.dtype([("scale", np.float32, (2,)), ("steps", np.int8, (2, 1))])
    records = Scratch(dtype=kind, shape=())
    values = np.zeros(2, kind)
    values["scale"], values["steps"][1] = 0.5, 7
    records.put(ENTRIES[:2], values)
    assert np.array_equal(records.get([ENTRIES[1], ENTRIES[0]]), values[::-1])


@pytest.mark.parametrize("images", [5, LARGE // 40])
def test_a_result_small_or_large_holds_what_was_written_in_any_order(images: int) -> None:
    result = Result((2, images, 10))
    values = np.arange(20 * images, dtype=np.float32).reshape(2, images, 10)
    for view in (1, 0):
        for start in (3, 0):
            result.write(view, start, values[view, start : None if start else 3])
    result.write(1, images, values[1, images:])
    assert np.array_equal(result.array(), values)
    assert mapped(result.array()) == (values.nbytes > LARGE)
    assert type(result.array()) is np.ndarray  # joblib would look for the file of a memmap, and there is none


def mapped(array: np.ndarray) -> bool:
    """Whether an array lies in a file."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base.obj if isinstance(base, memoryview) else base, mmap)


class Full:
    """A file on a disk that is full."""

    def seek(self, place: int) -> None: ...

    def write(self, data: Any) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def unnamed(owner: object) -> IO[bytes]:
        return Full()  # type: ignore[return-value]

    monkeypatch.setattr(scratch, "unnamed", unnamed)
    with pytest.raises(
        OutOfResources, match=r"cannot write 8 bytes to the temporary folder .*: No space left on device; .* set TMPDIR"
    ):
        Scratch(dtype=np.dtype(np.float32), shape=(2,)).put(ENTRIES[:1], np.zeros((1, 2), np.float32))


def test_a_temporary_folder_that_is_not_there_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at all")
    with pytest.raises(OutOfResources, match="temporary folder '/nowhere/at all'"):
        Scratch(dtype=np.dtype(np.float32), shape=(2,))
