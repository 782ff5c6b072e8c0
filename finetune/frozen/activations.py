"""What leaves a stage of a frozen network, kept to train onward from: how it is stored, and read as batches.

A record is one view of one image. It knows nothing of how the network came to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import numpy as np

from finetune.data.kept import Entry
from finetune.frozen.scratch import Records
from finetune.model.backbone import Backbone

StoredAs = Literal["float32", "float16", "int8"]

_HALF = float(np.finfo(np.float16).max)
_STEPS = 127


@dataclass(frozen=True, eq=False)
class Activations:
    """Activations (channels, h, w) of images by views, in `records`.

    `hashes` are the images, `names` their views, `bytes_needed` what all of them take on the disk.
    """

    records: Records
    hashes: tuple[str, ...]
    names: tuple[str, ...]
    shape: tuple[int, ...]
    stored_as: StoredAs

    def __len__(self) -> int:
        return len(self.hashes)

    def batch(self, places: Sequence[int] | np.ndarray, views: Sequence[int] | np.ndarray) -> np.ndarray:
        """float32 (n, channels, h, w): of the images at these places the views of these numbers, n of both."""
        entries: list[Entry] = [
            (self.hashes[place], self.names[view]) for place, view in zip(places, views, strict=True)
        ]
        return unpacked(self.records.get(entries), self.stored_as)

    @property
    def bytes_needed(self) -> int:
        """The bytes of the values of all records, each image counted once."""
        return len(set(self.hashes)) * len(set(self.names)) * record(self.shape, self.stored_as).itemsize


def activation_bytes(
    network: Backbone, stage: str, *, images: int, views: int, stored_as: StoredAs, size: int | None = None
) -> int:
    """The bytes that the activations leaving `stage` will take on the disk, for images of `size` pixels (None: those of
    the network's contract), known without running the network.
    """
    shape = network.shape(stage, size=size or network.contract.size)
    return images * views * record(shape, stored_as).itemsize


def record(shape: tuple[int, ...], stored_as: StoredAs) -> np.dtype:
    """The kind of one record: numbers, or for int8 a scale per channel and the steps that it multiplies."""
    match stored_as:
        case "float32" | "float16":
            return np.dtype((stored_as, shape))
        case "int8":
            return np.dtype([("scale", np.float32, shape[:1]), ("steps", np.int8, shape)])
        case _:
            assert_never(stored_as)


def packed(values: np.ndarray, stored_as: StoredAs) -> np.ndarray:
    """Activations (n, channels, …) float32 as they are stored.

    float16: values beyond its range become the last in it. int8: the largest magnitude of each image, view and channel
    is 127 steps.
    """
    if stored_as == "float32":
        return values
    if stored_as == "float16":
        return np.asarray(np.clip(values, -_HALF, _HALF), dtype=np.float16)
    largest = np.abs(values.reshape(*values.shape[:2], -1)).max(axis=2)
    stored = np.empty(len(values), record(values.shape[1:], stored_as))
    stored["scale"] = largest / _STEPS
    steps = np.where(stored["scale"] > 0, stored["scale"], 1)
    stored["steps"] = np.rint(values / _beside(steps, values.ndim)).clip(-_STEPS, _STEPS)
    return stored


def unpacked(stored: np.ndarray, stored_as: StoredAs) -> np.ndarray:
    """What `packed` stored, float32 (n, channels, …)."""
    if stored_as == "int8":
        return np.asarray(stored["steps"] * _beside(stored["scale"], stored["steps"].ndim))
    return np.asarray(stored, dtype=np.float32)


def _beside(scale: np.ndarray, dimensions: int) -> np.ndarray:
    """A number per channel, (n, channels), shaped to be multiplied with what has so many dimensions."""
    return scale.reshape(*scale.shape, *(1,) * (dimensions - 2))
