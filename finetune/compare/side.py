"""One bundle of a comparison: what it answered, and what is known of its run and its model."""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.bundle import Bundle
from finetune.bundle.shelf import Row, asked, row
from finetune.errors import BundleError, UsageError, cell, printable
from finetune.scores.predictions import Predictions
from finetune.scores.reliability import calibration

METRICS = ("macro_f1", "log_loss", "brier")  # beside accuracy
CLASS_SCORES = ("recall", "f1")
WEIGHTS = "model.safetensors"

Score = dict[str, Any]

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # of BatchNorm: they are no parameters
_LONGEST_HEADER = 2**26


@dataclass(frozen=True)
class Calibration:
    """The expected calibration error of the answers, 0..1; between which values that of a calibrated model with the
    same confidences would lie (95 %).
    """

    ece: float
    band: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Side:
    """A finished bundle with its answers to the images whose scores speak.

    part: "test", "validation" or "out_of_fold". hashes: the SHA-256 of each image of the predictions. scores: as
    metrics.json has them, per_class: recall and F1 by the name of the class. parameters: of
    the model, None where its weights are not there; size: of that file in bytes.
    """

    bundle: Bundle
    row: Row
    part: str
    predictions: Predictions
    hashes: tuple[str, ...]
    scores: dict[str, Score]
    per_class: dict[str, dict[str, Score]]
    calibration: Calibration
    parameters: int | None
    size: int | None

    @property
    def shown(self) -> str:
        """The folder, for messages."""
        return repr(printable(str(self.bundle.folder)))

    @property
    def learnt_from(self) -> int | None:
        """The number of training images."""
        count = self.bundle.facts.get("images", {}).get("train")
        return count if isinstance(count, int) else None


def read(folder: Path) -> Side:
    """The side of the bundle in `folder`. Raises UsageError for one that is not finished or was scored on no image,
    BundleError for one that is damaged.
    """
    bundle = Bundle.open(folder)
    shown = repr(printable(str(folder)))
    if not bundle.complete:
        raise UsageError(
            f"{shown} is not finished, so there is nothing to compare yet; finetune resume goes on with it"
        )
    part = asked(bundle.metrics)
    if part is None:
        raise UsageError(f"{shown} was scored on no image, so it cannot be compared; give its split test images")
    predictions = bundle.predictions(part)
    if predictions.labels is None or not len(predictions):
        raise BundleError(f"{shown} is damaged: its {part} predictions have no labels")
    scores, per_class = _scores(bundle, part, predictions)
    parameters, size = _weights(bundle)
    return Side(
        bundle=bundle,
        row=row(folder, str(folder)),
        part=part,
        predictions=predictions,
        hashes=_hashes(bundle, predictions),
        scores=scores,
        per_class=per_class,
        calibration=_calibration(bundle, part, predictions),
        parameters=parameters,
        size=size,
    )


def _scores(
    bundle: Bundle, part: str, predictions: Predictions
) -> tuple[dict[str, Score], dict[str, dict[str, Score]]]:
    """The scores of all images, and of each class, checked as far as they are shown."""
    found = bundle.metrics[part]
    names = (metric(predictions), *METRICS)
    rows = found.get("per_class") if isinstance(found, dict) else None
    by_class = {row.get("class"): row for row in rows if isinstance(row, dict)} if isinstance(rows, list) else {}
    whole = all(_is_score(found.get(name)) for name in names) if by_class else False
    classes = predictions.classes
    if not whole or not all(_is_score(by_class.get(one, {}).get(name)) for one in classes for name in CLASS_SCORES):
        place = repr(printable(str(bundle.folder / "metrics.json")))
        raise BundleError(f"{place} is damaged: {part} has not the scores of its answers, whole and by class")
    return {name: found[name] for name in names}, {
        one: {name: by_class[one][name] for name in CLASS_SCORES} for one in classes
    }


def _is_score(value: object) -> bool:
    """A value with its interval, or none where it is not defined."""
    if not isinstance(value, dict):
        return False
    numbers = [value.get(name) for name in ("value", "low", "high")]
    return all(number is None or (isinstance(number, int | float) and number is not True) for number in numbers)


def _calibration(bundle: Bundle, part: str, predictions: Predictions) -> Calibration:
    """What metrics.json says of it, or in a bundle that is older than that, what follows from the answers."""
    found = bundle.metrics[part].get("calibration") or calibration(predictions)
    try:
        low, high = (float(end) for end in found["ece_band"])
        return Calibration(float(found["ece"]), (low, high))
    except (TypeError, ValueError, KeyError) as error:
        place = repr(printable(str(bundle.folder / "metrics.json")))
        raise BundleError(f"{place} is damaged: {part} has a calibration without its ece and ece_band") from error


def metric(predictions: Predictions) -> str:
    """The name of the score that speaks first: of several labels, the share of images with all of them right."""
    return "subset_accuracy" if predictions.multilabel else "accuracy"


def _hashes(bundle: Bundle, predictions: Predictions) -> tuple[str, ...]:
    """The SHA-256 of every image that was answered, as the catalog has it."""
    known = {line["key"]: line["sha256"] for line in bundle.catalog}
    found = [known.get(cell(key), "") for key in predictions.keys]
    if "" in found:
        first = printable(predictions.keys[found.index("")])
        place = repr(printable(str(bundle.folder / "catalog.csv")))
        raise BundleError(
            f"{place} is damaged: it has no hash of {found.count('')} images that were answered, {first!r}"
        )
    return tuple(found)


def _weights(bundle: Bundle) -> tuple[int | None, int | None]:
    """How many parameters the weights hold, by the header of their file, and its size; a file is not read further."""
    if not bundle.has(WEIGHTS):
        return None, None
    place = bundle.folder / WEIGHTS
    size = place.stat().st_size
    with place.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, _LONGEST_HEADER):
            raise BundleError(f"{printable(str(place))!r} is damaged: it is not a safetensors file")
        text = file.read(length)
    return _parameters(text, place), size


def _parameters(header: bytes, place: Path) -> int:
    try:
        tensors: dict[str, Any] = json.loads(header)
        shapes = [one["shape"] for name, one in tensors.items() if name != "__metadata__" and not _is_buffer(name)]
        counts = [math.prod(shape) for shape in shapes]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("a shape is not of whole numbers")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BundleError(f"{printable(str(place))!r} is damaged: it is not a safetensors file") from error
    return sum(counts)


def _is_buffer(name: str) -> bool:
    return name.rpartition(".")[2] in _BUFFERS
