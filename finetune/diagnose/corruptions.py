"""What noise, blur, compression and the like do to the answers: eight corruptions at three severities."""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from finetune.bundle.facts import dump
from finetune.data import decode
from finetune.data.catalog import Sample
from finetune.data.decode import Preprocessing
from finetune.diagnose.asked import Asked, right
from finetune.model.classifier import Classifier
from finetune.predict import Check, of_views
from finetune.runtime import Runtime, in_order, number_from
from finetune.scores.intervals import groups_of, resampled_share, resampled_weights, share_difference, wilson
from finetune.scores.predictions import Predictions
from finetune.views import evaluation_view

Pixels = npt.NDArray[np.uint8]
Score = dict[str, float]

MOST = 500
RESAMPLES = 1000
_SIDE = 224  # pixels of a view that lengths are told for; of other views they are the same share


@dataclass(frozen=True)
class Corruption:
    """One kind at severities 1, 2, 3: what the parameter is, its values, and what is done with it.

    `apply(image, parameter, side, generator)`: a working image, uint8 (h, w, 3), as uint8 of the same shape; side: that
    of the view that will be cut from its centre.
    """

    kind: str
    unit: str
    parameters: tuple[float, float, float]
    apply: Callable[[Pixels, float, int, np.random.Generator], Pixels]


def files(
    asked: Asked,
    classifier: Classifier,
    preprocessing: Preprocessing,
    runtime: Runtime,
    *,
    check: Check | None = None,
) -> dict[str, bytes]:
    """`evidence/corruptions.json`: the accuracy on at most 500 of the asked images as they are and under every
    corruption, and how much lower it is, image by image, with 95 % intervals; `evidence/corruptions.npz`: which images
    are answered right then, bool (24, n).

    Working images are corrupted before the view is cut. What is drawn follows from kind, severity and key alone. Raises
    UnreadableImage.
    """
    some = asked.few(MOST)
    views = _views(some.catalog.samples, preprocessing, runtime)
    count = len(CORRUPTIONS) * 3
    logits = of_views(classifier, views, count * len(some.catalog), runtime=runtime, check=check)
    told = [replace(some.predictions, logits=logits[row::count]) for row in range(count)]
    table = np.stack([right(predictions) for predictions in told])
    members = io.BytesIO()
    np.savez(members, allow_pickle=False, right=table)
    said = {
        "part": some.part,
        "images": len(some.catalog),
        "keys": list(some.catalog.keys),
        **rows(some.predictions, some.right, table),
    }
    return {"evidence/corruptions.json": dump(said), "evidence/corruptions.npz": members.getvalue()}


def rows(predictions: Predictions, clean: npt.NDArray[np.bool_], table: npt.NDArray[np.bool_]) -> dict[str, object]:
    """The scores of `table`, bool (24, n), beside those of the images as they are, bool (n,): {clean, rows}.

    Images, or whole groups, are resampled as those of the predictions.
    """
    weights = np.concatenate(list(resampled_weights(predictions, resamples=RESAMPLES)))
    weights /= weights.sum(axis=1, keepdims=True)
    units = groups_of(predictions, np.ones(len(clean), dtype=bool))
    grouped = predictions.groups is not None

    def accuracy(hits: npt.NDArray[np.bool_]) -> Score:
        share = float(hits.mean())
        low, high = wilson(float(hits.sum()), len(hits))
        if grouped:
            low, high = resampled_share(share, weights @ hits, units=units, n=len(hits))
        return {"value": share, "low": low, "high": high}

    def drop(hits: npt.NDArray[np.bool_]) -> Score:
        lost = clean.astype(np.float64) - hits
        low, high = share_difference(float(lost.mean()), weights @ lost, units=units, n=len(hits))
        return {"value": float(lost.mean()), "low": low, "high": high}

    named = [(one, severity) for one in CORRUPTIONS for severity in (1, 2, 3)]
    return {
        "clean": {"accuracy": accuracy(clean)},
        "rows": [
            {
                "kind": one.kind,
                "severity": severity,
                "parameter": one.parameters[severity - 1],
                "unit": one.unit,
                "accuracy": accuracy(hits),
                "drop": drop(hits),
            }
            for (one, severity), hits in zip(named, table, strict=True)
        ],
    }


def corrupted(image: Pixels, corruption: Corruption, severity: int, *, side: int, key: str) -> Pixels:
    """A working image, uint8 (h, w, 3), under a corruption of severity 1, 2 or 3; the same for the same key."""
    generator = np.random.default_rng(number_from("corruption", corruption.kind, severity, key))
    return corruption.apply(image, corruption.parameters[severity - 1], side, generator)


def _views(samples: tuple[Sample, ...], preprocessing: Preprocessing, runtime: Runtime) -> Iterator[np.ndarray]:
    """All corruptions of the first image, of the next, …"""

    def of(sample: Sample) -> list[np.ndarray]:
        working = decode.working_image(decode.read(sample.file), preprocessing)
        return [
            evaluation_view(corrupted(working, one, severity, side=preprocessing.size, key=sample.key), preprocessing)
            for one in CORRUPTIONS
            for severity in (1, 2, 3)
        ]

    for views in in_order(of, samples, threads=runtime.threads, ahead=4):
        yield from views


def _noise(image: Pixels, spread: float, _side: int, generator: np.random.Generator) -> Pixels:
    return _bytes(image + 255 * generator.normal(0, spread, image.shape))


def _blur(image: Pixels, sigma: float, side: int, _: np.random.Generator) -> Pixels:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma * side / _SIDE)))


def _jpeg(image: Pixels, quality: float, _side: int, _: np.random.Generator) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=int(quality))
    return np.asarray(Image.open(stream).convert("RGB"))


def _brightness(image: Pixels, more: float, _side: int, _: np.random.Generator) -> Pixels:
    """The value of hue, saturation and value is raised, and the other two stay."""
    value = image.max(axis=2, keepdims=True).astype(np.float64)
    raised = np.minimum(value + 255 * more, 255)
    return _bytes(np.where(value > 0, image * raised / np.maximum(value, 1), raised))


def _contrast(image: Pixels, share: float, _side: int, _: np.random.Generator) -> Pixels:
    mean = image.mean(axis=(0, 1), keepdims=True)
    return _bytes((image - mean) * share + mean)


def _rotation(image: Pixels, degrees: float, _side: int, generator: np.random.Generator) -> Pixels:
    """To either side, with what lies beyond the edges mirrored in."""
    height, width = image.shape[:2]
    more = (height // 2, width // 2)
    wide = np.pad(image, ((more[0], more[0]), (more[1], more[1]), (0, 0)), mode="symmetric")
    angle = degrees if generator.random() < 0.5 else -degrees
    turned = np.asarray(Image.fromarray(wide).rotate(angle, Image.Resampling.BICUBIC))
    return turned[more[0] : more[0] + height, more[1] : more[1] + width]


def _occlusion(image: Pixels, share: float, side: int, generator: np.random.Generator) -> Pixels:
    """A grey square lies anywhere in the view, whole."""
    height, width = image.shape[:2]
    edge = round(side * math.sqrt(share))
    top, left = (round((whole - side) / 2) + int(generator.integers(0, side - edge + 1)) for whole in (height, width))
    covered = image.copy()
    covered[top : top + edge, left : left + edge] = 127
    return covered


def _resolution(image: Pixels, share: float, _side: int, _: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    small = (max(1, round(width * share)), max(1, round(height * share)))
    few = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.asarray(few.resize((width, height), Image.Resampling.BOX), dtype=np.uint8)


def _bytes(values: np.ndarray) -> Pixels:
    clipped: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return clipped


# Severities 1, 3 and 5 of Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions
# and Perturbations, as their published code has them for views of 224 pixels, but for the two that they do not have:
# rotation, and occlusion after DeVries and Taylor 2017, Improved Regularization of Convolutional Neural Networks with
# Cutout; their strengths are our own.
CORRUPTIONS = (
    Corruption("noise", "standard deviation of normal noise, of intensities in 0 to 1", (0.08, 0.18, 0.38), _noise),
    Corruption("blur", "standard deviation in pixels of a view of 224", (1.0, 3.0, 6.0), _blur),
    Corruption("jpeg", "quality", (25, 15, 7), _jpeg),
    Corruption("brightness", "added to the value of each colour, in 0 to 1", (0.1, 0.3, 0.5), _brightness),
    Corruption("contrast", "share of the contrast that is left", (0.4, 0.2, 0.05), _contrast),
    Corruption("rotation", "degrees, to either side", (5, 15, 30), _rotation),
    Corruption("occlusion", "share of the view that is covered", (0.1, 0.2, 0.4), _occlusion),
    Corruption("resolution", "share of the side in pixels that is left", (0.6, 0.4, 0.25), _resolution),
)
