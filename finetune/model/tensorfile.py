"""A file of tensors, which a stranger may have made -> a state dict of float32, or one sentence why not.

Nothing in a file is executed: safetensors hold no code, and pickles are read by torch's restricted reader
(`weights_only`), without exception. It does not know which network the tensors are for.
"""

import hashlib
import io
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from finetune.errors import WeightsError, printable

PICKLES = (".pth", ".pt", ".bin", ".pth.tar", ".th")
_NESTS = ("state_dict_ema", "model_ema", "state_dict", "model")  # averaged weights first, as timm takes them
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,300}")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_DAMAGE = (  # what torch.load raises on damaged files
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.PickleError,
    struct.error,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class TensorFile:
    """`state`: floating tensors are float32 and finite, others as found; `sha256` is of the file's bytes."""

    state: Mapping[str, Tensor]
    sha256: str
    notes: tuple[str, ...] = ()


def read(path: Path, *, limit: int) -> TensorFile:
    """The tensors of a .safetensors file, or of a .pth, .pt or .bin that holds tensors only, on the CPU.

    Raises WeightsError for a file that is not there, larger than `limit` bytes, damaged, unsafe, without tensors, or
    with a value that is NaN or infinite.
    """
    shown = printable(str(path))
    if not path.name.lower().endswith((".safetensors", *PICKLES)):
        raise WeightsError(f"{shown} is not a file of weights: give a .safetensors, .pth, .pt or .bin")
    try:
        if not path.is_file():
            raise WeightsError(f"there is no file {shown}")
        size = path.stat().st_size
        if size > limit:
            raise WeightsError(
                f"{shown} holds {_megabytes(size)}, more than this network can need ({_megabytes(limit)})"
            )
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{shown} cannot be read: {error.strerror}") from None
    try:
        return parse(data, pickled=path.suffix.lower() != ".safetensors", limit=limit)
    except WeightsError as error:
        raise WeightsError(f"{shown}: {error}") from None


def parse(data: bytes, *, pickled: bool, limit: int) -> TensorFile:
    """The tensors in the bytes of a file; see `read`."""
    found, notes = _unpickled(data) if pickled else (_safetensors(data), [])
    for name, tensor in found.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise WeightsError(f"the name of a tensor holds other characters than a-z, A-Z, 0-9, . _ -: {_shown(name)}")
        if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided:
            raise WeightsError(f"its entry {name!r} is not a plain tensor")
    if not found:
        raise WeightsError("it holds no tensors")
    if sum(tensor.numel() for tensor in found.values()) > limit:  # strides may make much of few bytes
        raise WeightsError("its tensors have more values than this network can need")
    state = {name: _float32(name, tensor) for name, tensor in found.items()}
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in found.values() if tensor.dtype in _FLOATS}
    if kinds - {"float32"}:
        notes.append(f"{' and '.join(sorted(kinds - {'float32'}))} in the file, made float32")
    return TensorFile(state, hashlib.sha256(data).hexdigest(), tuple(notes))


def _safetensors(data: bytes) -> dict[str, Tensor]:
    try:
        return dict(sorted(safetensors.torch.load(data).items()))  # it comes in another order every time
    except (safetensors.SafetensorError, *_DAMAGE) as error:
        raise WeightsError(f"damaged, or no safetensors file ({_reason(error)})") from None


def _unpickled(data: bytes) -> tuple[dict[Any, Any], list[str]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code:
            raise WeightsError(
                f"it holds more than tensors ({printable(code[1], limit=80)}), which could run code; "
                "save the tensors alone, as safetensors"
            ) from None
        raise WeightsError(f"damaged, or no file of tensors ({_reason(error)})") from None
    if not isinstance(content, dict):
        raise WeightsError(f"it holds one {type(content).__name__}, not tensors by name")
    for nest in _NESTS:
        if isinstance(content.get(nest), dict):
            return content[nest], [f"taken from its entry {nest!r}"]
    return content, []


def _float32(name: str, tensor: Tensor) -> Tensor:
    if tensor.dtype.is_floating_point and tensor.dtype not in _FLOATS:
        raise WeightsError(f"its tensor {name!r} is {str(tensor.dtype).removeprefix('torch.')}, which weights are not")
    if not tensor.dtype.is_floating_point:
        return tensor
    tensor = tensor.detach().to(torch.float32)
    if not torch.isfinite(tensor).all():
        raise WeightsError(f"its tensor {name!r} holds values that are not finite")
    return tensor


def _reason(error: BaseException) -> str:
    """The first sentence of what a library said: torch's next ones tell how to read the file without protection."""
    if isinstance(error, pickle.UnpicklingError):
        return "the safe reader of torch refuses it"
    text = str(error).strip().partition("\n")[0].partition(". ")[0]
    return printable(f"{type(error).__name__}: {text}" if text else type(error).__name__, limit=120)


def _shown(name: object) -> str:
    return repr(printable(str(name), limit=80))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
