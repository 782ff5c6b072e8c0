"""What is kept so that a stopped run goes on as if it had never stopped: model, best model, optimizer, history,
patience.

A checkpoint is a folder `epoch-0007` of safetensors files and one `state.json`, which holds the SHA-256 of the others.
It is written under another name and renamed when it is whole; the one before it goes only then. Tensors that no phase
trains are written once, to `frozen.safetensors`. It knows nothing of schedules or data.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from finetune.bundle import sync_folder, write_atomically
from finetune.errors import BundleError, OutOfResources, printable

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """What was complete at the end of an epoch. `model`, `best` and `optimizer` hold CPU tensors by name; `state` is
    JSON.
    """

    model: Tensors
    best: Tensors
    optimizer: Tensors
    state: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint, *, epoch: int, frozen: Callable[[], Tensors]) -> None:
    """Publishes the checkpoint of an epoch in `folder`, then removes older ones. Raises OutOfResources when the disk is
    full.

    `frozen` gives the tensors that never train; they are asked for by the first checkpoint only.
    """
    try:
        folder.mkdir(exist_ok=True)
        if not (folder / "frozen.safetensors").exists():
            write_atomically(folder / "frozen.safetensors", safetensors.torch.save(dict(frozen())))
        _publish(folder, checkpoint, name=_name(epoch))
    except OSError as error:
        raise OutOfResources(
            f"the checkpoint of epoch {epoch} could not be written to {printable(str(folder))}: "
            f"{error.strerror or error}; the one before it is whole: make room and resume"
        ) from error
    for old in _published(folder):
        if old.name < _name(epoch):
            shutil.rmtree(old)


def load(folder: Path) -> Checkpoint | None:
    """The newest published checkpoint with the frozen tensors in its `model` and `best`; None when there is none yet.

    Raises BundleError naming the file that is missing, changed or damaged: no older checkpoint is taken instead, in
    silence.
    """
    for stale in folder.glob(".tmp-*"):
        shutil.rmtree(stale)
    published = _published(folder)
    if not published:
        return None
    newest = published[-1]
    state = _state(newest / "state.json")
    files = state.pop("files")
    frozen = _tensors(folder / "frozen.safetensors", None)
    return Checkpoint(
        model={**frozen, **_tensors(newest / "model.safetensors", files)},
        best={**frozen, **_tensors(newest / "best.safetensors", files)},
        optimizer=_tensors(newest / "optimizer.safetensors", files),
        state=state,
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer as named CPU tensors: `<place of the parameter>.<slot>`."""
    return {
        f"{place}.{slot}": torch.as_tensor(value).detach().cpu().clone().contiguous()
        for place, slots in optimizer.state_dict()["state"].items()
        for slot, value in slots.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Puts what `optimizer_tensors` gave into a fresh optimizer over the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        place, slot = name.split(".", 1)
        state.setdefault(int(place), {})[slot] = value.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _publish(folder: Path, checkpoint: Checkpoint, *, name: str) -> None:
    temporary = folder / f".tmp-{name}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    files = {}
    for part, tensors in (("model", checkpoint.model), ("best", checkpoint.best), ("optimizer", checkpoint.optimizer)):
        data = safetensors.torch.save(dict(tensors))
        files[f"{part}.safetensors"] = hashlib.sha256(data).hexdigest()
        write_atomically(temporary / f"{part}.safetensors", data)
    text = json.dumps({**checkpoint.state, "files": files}, allow_nan=False, indent=1, sort_keys=True)
    write_atomically(temporary / "state.json", text.encode())
    temporary.rename(folder / name)
    sync_folder(folder)


def _published(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("epoch-*") if path.is_dir())


def _name(epoch: int) -> str:
    return f"epoch-{epoch:06d}"


def _state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
        state["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    return state


def _tensors(path: Path, hashes: Mapping[str, str] | None) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
        if hashes is not None and hashlib.sha256(data).hexdigest() != hashes[path.name]:
            raise _damaged(path)
        return safetensors.torch.load(data)
    except (OSError, KeyError, SafetensorError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> BundleError:
    return BundleError(
        f"{printable(str(path))}: this part of the checkpoint is missing, changed or damaged, so the run cannot go on "
        "exactly; run the recipe again into a new folder"
    )
