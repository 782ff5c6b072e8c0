"""What a classifier said of a set of images, and what was true: in memory and on disk.

Knows nothing of the network that said it; every score follows from these arrays alone.
"""

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from finetune.errors import BundleError, OutOfResources, UsageError, printable

Array = npt.NDArray[Any]

EVEN = 0.5  # the threshold of a label that none was chosen for

_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    MemoryError,
    NotImplementedError,  # a zip method that this Python cannot undo
    RuntimeError,  # an encrypted member
    RecursionError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, eq=False)
class Predictions:
    """The logits of a set of images, with the true labels where they are known.

    keys: one per image. logits: (n, classes) float32, finite. labels: (n,) int64 indices into `classes`, or for
    multi-label (n, classes) bool, or None. groups: one name per image, where images belong together (one scene, one
    patient). thresholds: where an image may have several labels (classes,) float64 in 0..1, the probabilities above
    which they are answered, or (n, classes) where several models answered;
    None is 0.5 for all of them. Raises UsageError when these do not fit together.
    """

    keys: tuple[str, ...]
    logits: Array
    classes: tuple[str, ...]
    labels: Array | None = None
    groups: tuple[str, ...] | None = None
    thresholds: Array | None = None

    def __post_init__(self) -> None:
        if fault := _fault(self):
            raise UsageError(fault)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels: then there are thresholds, or `labels` of that shape."""
        return self.thresholds is not None or (self.labels is not None and self.labels.ndim == 2)

    @property
    def probabilities(self) -> Array:
        """(n, classes) float64 in 0..1: softmax of the logits, or sigmoid of each when multi-label."""
        logits = self.logits.astype(np.float64)
        if self.multilabel:
            # both branches of the logistic function, so that exp never overflows
            small = np.exp(-np.abs(logits))
            return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    @property
    def predicted(self) -> Array:
        """(n,) int64: the class with the largest logit, the first of equals; or (n, classes) bool when multi-label: the
        labels whose probability is above their threshold.
        """
        if self.multilabel:
            return np.asarray(self.probabilities > (EVEN if self.thresholds is None else self.thresholds))
        return np.asarray(self.logits.argmax(axis=1), dtype=np.int64)

    def to_bytes(self) -> bytes:
        """An uncompressed .npz: the same predictions give the same bytes. Texts are arrays of UTF-8 JSON."""
        members = {
            "keys": _text(self.keys),
            "classes": _text(self.classes),
            "logits": np.ascontiguousarray(self.logits),
        }
        if self.labels is not None:
            members["labels"] = np.ascontiguousarray(self.labels)
        if self.groups is not None:
            members["groups"] = _text(self.groups)
        if self.thresholds is not None:
            members["thresholds"] = np.ascontiguousarray(self.thresholds)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **members)  # numpy dates every member 1980
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str) -> Self:
        """The predictions that `to_bytes` wrote; raises BundleError, naming `source`, when `data` is anything else."""
        try:
            if not data.startswith(b"PK"):
                raise ValueError("it is not a .npz file")
            with np.load(io.BytesIO(data), allow_pickle=False) as members:
                return cls(
                    keys=_texts(members["keys"]),
                    logits=members["logits"],
                    classes=_texts(members["classes"]),
                    labels=members.get("labels"),
                    groups=_texts(members["groups"]) if "groups" in members else None,
                    thresholds=members.get("thresholds"),
                )
        except UsageError as error:
            raise BundleError(f"{printable(source)!r} holds predictions that do not fit together: {error}") from error
        except _UNREADABLE as error:
            reason = printable(str(error) or type(error).__name__)
            raise BundleError(f"{printable(source)!r} is not a file of predictions: {reason}") from error

    def save(self, path: Path) -> None:
        """Write one .npz file; raises OutOfResources when the disk or a permission does not allow it."""
        try:
            Path(path).write_bytes(self.to_bytes())
        except OSError as error:
            raise OutOfResources(f"cannot write {printable(str(path))!r}: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """The predictions in a file that `save` wrote; raises BundleError when it is anything else."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise BundleError(f"cannot read {printable(str(path))!r}: {error.strerror}") from error
        return cls.from_bytes(data, source=str(path))


def _fault(predictions: Predictions) -> str:
    """What does not fit, or nothing."""
    keys, classes, logits, labels = predictions.keys, predictions.classes, predictions.logits, predictions.labels
    shape = (len(keys), len(classes))
    if not classes or len(set(classes)) != len(classes):
        return f"classes must be at least one and all different, but are {printable(', '.join(classes))!r}"
    if logits.shape != shape or logits.dtype != np.float32:
        return (
            f"logits must be float32 of shape {shape} (keys, classes), but are {logits.dtype} of shape {logits.shape}"
        )
    if wrong := np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist():
        first = printable(keys[wrong[0]])
        return f"logits must be finite, but are not for {len(wrong)} of {len(keys)} images, first {first!r}"
    if predictions.groups is not None and len(predictions.groups) != len(keys):
        return f"groups must be one per key, but are {len(predictions.groups)} for {len(keys)} keys"
    if predictions.thresholds is not None and (fault := _threshold_fault(predictions.thresholds, labels, shape)):
        return fault
    return "" if labels is None else _label_fault(labels, keys=keys, classes=classes)


def _label_fault(labels: Array, *, keys: tuple[str, ...], classes: tuple[str, ...]) -> str:
    n, width = len(keys), len(classes)
    single = labels.shape == (n,) and labels.dtype == np.int64
    several = labels.shape == (n, width) and labels.dtype == np.bool_
    if not (single or several):
        return (
            f"labels must be int64 of shape ({n},), or bool of shape ({n}, {width}) when an image may have several, "
            f"but are {labels.dtype} of shape {labels.shape}"
        )
    if single and (wrong := np.flatnonzero((labels < 0) | (labels >= width)).tolist()):
        first = wrong[0]
        return f"labels must be 0 to {width - 1}, but the one of {printable(keys[first])!r} is {labels[first]}"
    return ""


def _threshold_fault(thresholds: Array, labels: Array | None, shape: tuple[int, int]) -> str:
    if thresholds.shape not in (shape[1:], shape) or thresholds.dtype != np.float64:
        return (
            f"thresholds must be float64 of shape {shape[1:]}, but are {thresholds.dtype} of shape {thresholds.shape}"
        )
    if not ((thresholds >= 0) & (thresholds <= 1)).all():
        return "thresholds must be probabilities, 0 to 1"
    if labels is not None and labels.ndim == 1:
        return "thresholds belong to images that may have several labels, but these have one each"
    return ""


def _text(items: tuple[str, ...]) -> Array:
    return np.frombuffer(json.dumps(items).encode("ascii"), dtype=np.uint8)


def _texts(array: Array) -> tuple[str, ...]:
    items = json.loads(array.tobytes())
    if not (isinstance(items, list) and all(isinstance(item, str) for item in items)):
        raise ValueError("a list of texts was expected")
    return tuple(items)
