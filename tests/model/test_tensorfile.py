"""The malformed files of a hostile or unlucky world: each is refused with one sentence, and none of them runs code."""

import contextlib
import io
import os
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from finetune.errors import WeightsError
from finetune.model import tensorfile

LIMIT = 10**6
GOOD = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}


def header(text: str | bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def one(dtype: str = "F32", shape: str = "[2]", offsets: str = "[0,8]") -> str:
    return f'{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}'


def pickled(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


BROKEN_SAFETENSORS = {
    "a header of 2**64 - 1 bytes": header("{}", length=2**64 - 1),
    "a header of 200 MB": header("{}", length=200 * 10**6),
    "broken JSON": header('{"a":'),
    "a header that is not UTF-8": header(b'{"\xff\xfe":1}'),
    "a header that is a list": header("[]"),
    "overlapping tensors": header(
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}',
        bytes(12),
    ),
    "a hole": header(
        '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}}',
        bytes(20),
    ),
    "trailing bytes": header(one(), bytes(12)),
    "truncated data": header(one(), bytes(4)),
    "a shape that overflows": header(one(shape="[4294967296,4294967296,4294967296]"), bytes(8)),
    "a negative shape": header(one(shape="[-2]"), bytes(8)),
    "an unknown kind of number": header(one(dtype="F31"), bytes(8)),
    "a kind of number of another width": header(one(dtype="F64"), bytes(8)),
    "metadata that is no text": header('{"__metadata__":{"a":1}}'),
    "a pickle under another name": pickled(GOOD),
    "an empty file": b"",
    "text": b"not weights at all",
}


@pytest.mark.parametrize("case", BROKEN_SAFETENSORS)
def test_a_broken_safetensors_file_is_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(BROKEN_SAFETENSORS[case])
    with pytest.raises(WeightsError, match=r"weights\.safetensors: damaged, or no safetensors file \(\w+"):
        tensorfile.read(path, limit=LIMIT)


def test_a_repeated_key_does_not_smuggle_a_second_tensor_in(tmp_path: Path) -> None:
    row = '"a":{"dtype":"F32","shape":[2],"data_offsets":[%s]}'
    path = tmp_path / "weights.safetensors"
    path.write_bytes(header(f"{{{row % '0,8'},{row % '8,16'}}}", bytes(16)))
    with pytest.raises(WeightsError, match="damaged, or no safetensors file"):
        tensorfile.read(path, limit=LIMIT)


class Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("protocol", [None, 2, 4])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run_it(protocol: int | None, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "weights.pth"
    evil = {"a": Evil(canary)}
    path.write_bytes(pickled(evil) if protocol is None else pickle.dumps(evil, protocol=protocol))
    reason = (
        r"damaged, .*refuses it" if protocol == 4 else r"it holds more than tensors \(posix\.system\), which could run"
    )
    with pytest.raises(WeightsError, match=rf"weights\.pth: {reason}"):
        tensorfile.read(path, limit=LIMIT)
    assert not canary.exists()


def test_a_file_of_strings_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "canary_module.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    torch.save({"class_path": "canary_module.Thing", "_target_": "canary_module"}, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match="its entry 'class_path' is not a plain tensor"):
        tensorfile.read(tmp_path / "weights.pt", limit=LIMIT)


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("tensors"), io.BytesIO())
    return stream.getvalue()


def _zip(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"text\n", b"e", _tar(), _zip(), _zip(data=b""), pickled(GOOD)[:200], pickled(GOOD)[:-40], bytes(1000)],
    ids=["empty", "text", "one letter", "tar", "empty zip", "zip", "cut early", "cut late", "zeros"],
)
def test_a_broken_pickle_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(data)
    with pytest.raises(WeightsError, match="damaged, or no file of tensors"):
        tensorfile.read(tmp_path / "weights.pth", limit=LIMIT)


def test_damage_anywhere_is_read_or_refused_and_nothing_else() -> None:
    chance = random.Random(0)
    stream = io.BytesIO()
    torch.save(GOOD, stream, _use_new_zipfile_serialization=False)
    for good, is_pickle in ((safetensors.torch.save(GOOD), False), (pickled(GOOD), True), (stream.getvalue(), True)):
        for _ in range(150):
            data = bytearray(good)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            with contextlib.suppress(WeightsError):
                tensorfile.parse(bytes(data), pickled=is_pickle, limit=LIMIT)


@pytest.mark.parametrize("name", ["../../etc/x", "a\nb", "a\x1b[2Jb", "", "a b", "x" * 301, "ä"])
def test_a_name_with_other_characters_is_refused_and_shown_harmless(name: str) -> None:
    data = safetensors.torch.save({name: torch.ones(2)})
    with pytest.raises(WeightsError, match="the name of a tensor holds other characters than") as caught:
        tensorfile.parse(data, pickled=False, limit=LIMIT)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"other characters than .*: '7'"):
        tensorfile.parse(pickled({7: torch.ones(2)}), pickled=True, limit=LIMIT)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused_with_the_first_tensor_that_has_one(value: float) -> None:
    state = {"a": torch.ones(3), "b": torch.tensor([1.0, value]), "c": torch.tensor([value])}
    for data, is_pickle in ((safetensors.torch.save(state), False), (pickled(state), True)):
        with pytest.raises(WeightsError, match="its tensor 'b' holds values that are not finite"):
            tensorfile.parse(data, pickled=is_pickle, limit=LIMIT)


def test_float64_too_large_for_float32_is_refused() -> None:
    with pytest.raises(WeightsError, match="'a' holds values that are not finite"):
        tensorfile.parse(pickled({"a": torch.tensor([1e300], dtype=torch.float64)}), pickled=True, limit=LIMIT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_widths_become_float32_and_that_is_noted(dtype: torch.dtype) -> None:
    state = {**{name: tensor.to(dtype) for name, tensor in GOOD.items()}, "count": torch.tensor(3)}
    found = tensorfile.parse(safetensors.torch.save(state), pickled=False, limit=LIMIT)
    assert found.notes == (f"{str(dtype).removeprefix('torch.')} in the file, made float32",)
    assert found.state["conv.weight"].dtype is torch.float32
    assert torch.equal(found.state["conv.weight"], GOOD["conv.weight"])
    assert found.state["count"].dtype is torch.int64


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.eye(3).to_sparse(), "'a' is not a plain tensor"),
        (torch.ones(2).to(torch.float8_e5m2), "'a' is float8_e5m2, which weights are not"),
        (torch.ones(1).expand(1000, 1000, 1000), "its tensors have more values than this network can need"),
    ],
    ids=["sparse", "float8", "a stride of zero"],
)
def test_a_tensor_of_an_odd_kind_is_refused(tensor: Tensor, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        tensorfile.parse(pickled({"a": tensor}), pickled=True, limit=LIMIT)


@pytest.mark.parametrize("nest", ["state_dict", "model", "model_ema", "state_dict_ema"])
def test_tensors_inside_a_training_checkpoint_are_found_and_that_is_noted(nest: str) -> None:
    found = tensorfile.parse(pickled({nest: GOOD, "epoch": 3}), pickled=True, limit=LIMIT)
    assert torch.equal(found.state["conv.bias"], GOOD["conv.bias"])
    assert found.notes == (f"taken from its entry '{nest}'",)


def test_averaged_weights_go_before_the_others() -> None:
    content = {"model": {"a": torch.zeros(1)}, "model_ema": {"a": torch.ones(1)}}
    assert tensorfile.parse(pickled(content), pickled=True, limit=LIMIT).state["a"] == 1


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), 3])
def test_a_file_without_names_is_refused(content: Any) -> None:
    with pytest.raises(WeightsError, match=r"it holds one (list|Tensor|int), not tensors by name"):
        tensorfile.parse(pickled(content), pickled=True, limit=LIMIT)


@pytest.mark.parametrize("data", [safetensors.torch.save({}), pickled({})], ids=["safetensors", "pickle"])
def test_a_file_without_tensors_is_refused(data: bytes) -> None:
    with pytest.raises(WeightsError, match="it holds no tensors"):
        tensorfile.parse(data, pickled=data[:2] == b"PK", limit=LIMIT)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no file \S+none\.pth"):
        tensorfile.read(tmp_path / "none.pth", limit=LIMIT)
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(WeightsError, match=r"there is no file \S+folder\.pth"):
        tensorfile.read(tmp_path / "folder.pth", limit=LIMIT)
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(WeightsError, match=r"there is no file \S+pipe\.pth"):
        tensorfile.read(tmp_path / "pipe.pth", limit=LIMIT)
    with pytest.raises(WeightsError, match=r"cannot be read: File name too long"):
        tensorfile.read(tmp_path / f"{'x' * 300}.pth", limit=LIMIT)
    for name in ("weights.pkl", "weights.ckpt", "weights", "weights.npz"):
        with pytest.raises(WeightsError, match=r"is not a file of weights: give a \.safetensors, \.pth, \.pt or \.bin"):
            tensorfile.read(tmp_path / name, limit=LIMIT)


def test_a_file_larger_than_the_network_can_need_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(WeightsError, match=r"holds 1,000,000 MB, more than this network can need \(1 MB\)"):
        tensorfile.read(path, limit=LIMIT)


def test_both_forms_give_the_same_tensors_and_the_hash_is_of_the_bytes(tmp_path: Path) -> None:
    safetensors.torch.save_file(GOOD, tmp_path / "a.safetensors")
    torch.save(GOOD, tmp_path / "a.PTH")
    first = tensorfile.read(tmp_path / "a.safetensors", limit=LIMIT)
    second = tensorfile.read(tmp_path / "a.PTH", limit=LIMIT)
    assert first.state.keys() == second.state.keys() == GOOD.keys()
    assert all(torch.equal(first.state[name], second.state[name]) for name in GOOD)
    assert first.sha256 != second.sha256
    assert first.notes == second.notes == ()
