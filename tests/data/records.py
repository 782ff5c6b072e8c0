"""Records, and collections to keep them in."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from finetune.data.collection import Collection
from finetune.data.store import Entry, Store

FEATURES = (np.dtype(np.float32), (6,))


def entries(count: int, view: str = "plain") -> list[Entry]:
    return [(hashlib.sha256(str(number).encode()).hexdigest(), view) for number in range(count)]


def values(
    count: int, *, dtype: np.dtype = FEATURES[0], shape: tuple[int, ...] = FEATURES[1], seed: int = 0
) -> np.ndarray:
    size = count * int(np.prod(shape, dtype=int)) * dtype.itemsize
    return np.random.default_rng(seed).integers(1, 250, size, dtype=np.uint8).view(dtype).reshape(count, *shape)


def collection(
    store: Store, *, large: bool = False, dtype: Any = FEATURES[0], shape: Any = FEATURES[1], **facts: Any
) -> Collection:
    return store.collection({"backbone": "resnet18", **facts}, dtype=dtype, shape=shape, large=large)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def files(folder: Path) -> list[Path]:
    return sorted((folder / "frozen").glob("*.values"))
