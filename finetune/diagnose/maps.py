"""Where in an image a classifier sees its answer: class-activation maps; the only importer of captum.

A map says what speaks for a class as far as the last stage knows of places. It is no proof of what was learnt.
"""

from collections.abc import Sequence

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from PIL import Image

from finetune.bundle.facts import dump
from finetune.data import decode
from finetune.data.catalog import Catalog, Sample
from finetune.data.decode import Preprocessing
from finetune.diagnose import mistakes, tiles
from finetune.diagnose.asked import selected
from finetune.diagnose.mistakes import PER_ROW, SIDE
from finetune.errors import UsageError, printable
from finetune.model.classifier import Classifier
from finetune.scores.predictions import Predictions
from finetune.views import evaluation_view

Frame = tuple[float, float, float, float]

METHOD = "Grad-CAM (Selvaraju et al. 2017)"

_BATCH = 8
_COLOUR = np.array([255.0, 60.0, 0.0])
_STRENGTH = 0.65  # of the colour where a map is highest
_CROPPED = 0.5  # how far what the network was not shown fades to white


def maps(
    classifier: Classifier, images: np.ndarray, classes: Sequence[int] | np.ndarray, *, stage: str | None = None
) -> np.ndarray:
    """What in each image speaks for a class (above 0) and against it (below 0): float32 (n, h, w), in no unit.

    images: uint8 (n, h, w, 3), as the classifier is given them; classes: (n,) int, places in its logits. The map of
    what leaves the last module of a stage, each channel weighed by its mean gradient, brought up to the image
    bilinearly. stage None: the last one that the head sees. Selvaraju et al. 2017, Grad-CAM, section 3, before its last
    step, which takes everything below 0 for 0. The classifier is put in evaluation mode. Raises UsageError for a stage
    that has no such map, or that the head sees nothing of.
    """
    seen = last(classifier)
    chosen = seen if stage is None else stage
    names = tuple(classifier.cut.stages)
    if chosen not in names[1 : names.index(seen) + 1]:
        raise UsageError(f"{printable(chosen)!r} has no map that the head sees; its last stage is {seen}")
    device = next(classifier.parameters()).device
    layer = classifier.backbone.get_submodule(classifier.cut.cut.ends[names.index(chosen) - 1])
    classifier.eval()
    method = LayerGradCam(classifier, layer)
    found = []
    for start in range(0, len(images), _BATCH):
        some = torch.from_numpy(images[start : start + _BATCH]).permute(0, 3, 1, 2).to(device)
        target = torch.as_tensor(np.asarray(classes[start : start + _BATCH], dtype=np.int64), device=device)
        given = some.float().requires_grad_()  # a gradient flows, whatever of the classifier is frozen
        coarse = method.attribute(given, target=target, attr_dim_summation=True)
        fine = LayerAttribution.interpolate(coarse.detach(), tuple(images.shape[1:3]), "bilinear")
        found.append(fine[:, 0].float().cpu().numpy())
    return np.concatenate(found) if found else np.zeros(images.shape[:3], dtype=np.float32)


def last(classifier: Classifier) -> str:
    """The last stage that the head sees."""
    return max(classifier.seen, key=classifier.cut.cut.position)


def files(
    predictions: Predictions,
    catalog: Catalog,
    classifier: Classifier,
    preprocessing: Preprocessing,
) -> dict[str, bytes]:
    """`evidence/maps.jpg`, the thumbnails of the worst mistakes in the places that they have in
    `evidence/thumbnails.jpg`, each under the map of what was answered, and `evidence/maps.json`: method, layer, keys,
    and where each map is highest, x and y in 0..1 of the tile. Nothing where nothing is wrong.

    Of several labels the map is that of the one with the surest wrong answer. What the network was not shown is faded.
    Raises UnreadableImage.
    """
    places = mistakes.worst(predictions)
    if not len(places):
        return {}
    samples = [catalog.samples[place] for place in places]
    working = [decode.working_image(decode.read(sample.file), preprocessing) for sample in samples]
    views = np.stack([evaluation_view(one, preprocessing) for one in working])
    found = maps(classifier, views, _answered(selected(predictions, places)))
    frames = [_frame(sample, preprocessing) for sample in samples]
    small = tiles.drawn(samples, SIDE, threads=1)
    drawn = [over(tile, one, frame) for tile, one, frame in zip(small, found, frames, strict=True)]
    said = {
        "method": METHOD,
        "layer": last(classifier),
        "keys": [sample.key for sample in samples],
        "peaks": [_peak(one, frame) for one, frame in zip(found, frames, strict=True)],
    }
    picture = tiles.sprite(drawn, SIDE, per_row=PER_ROW)
    return {"evidence/maps.jpg": picture, "evidence/maps.json": dump(said)}


def over(tile: np.ndarray, found: np.ndarray, frame: Frame) -> np.ndarray:
    """A tile, uint8 (side, side, 3), under a map, float (h, w), of the part of it in the frame: left, top, width and
    height in 0..1. Only what is above 0 is drawn, the strongest where the map is highest.
    """
    side = len(tile)
    left, top, right, bottom = (round(side * end) for end in (*frame[:2], frame[0] + frame[2], frame[1] + frame[3]))
    size = (max(1, right - left), max(1, bottom - top))
    strength = np.asarray(Image.fromarray(found.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    strength = np.maximum(strength, 0)
    strength = _STRENGTH * (strength / strength.max() if strength.any() else strength)[:, :, None]
    pixels = tile.astype(np.float64)
    inside = pixels[top : top + size[1], left : left + size[0]]
    drawn = inside * (1 - strength) + _COLOUR * strength
    pixels += _CROPPED * (255 - pixels)
    pixels[top : top + size[1], left : left + size[0]] = drawn
    return np.asarray(np.rint(pixels).astype(np.uint8))


def _answered(predictions: Predictions) -> np.ndarray:
    """The class whose map is drawn, (n,) int64."""
    if not predictions.multilabel:
        return predictions.predicted
    wrong = predictions.predicted != predictions.labels
    sure = np.where(predictions.predicted, predictions.probabilities, 1 - predictions.probabilities)
    return np.asarray(np.where(wrong, sure, -1.0).argmax(axis=1))


def _frame(sample: Sample, preprocessing: Preprocessing) -> Frame:
    """Which part of a tile, that shows the whole image, the network was shown."""
    if preprocessing.fit == "pad":
        return 0.0, 0.0, 1.0, 1.0
    width, height = decode.decode(decode.read(sample.file)).size
    far = max(width, height)
    across, down = width / far, height / far
    if preprocessing.fit == "crop":
        across = down = min(across, down) * preprocessing.size / preprocessing.working
    return (1 - across) / 2, (1 - down) / 2, across, down


def _peak(found: np.ndarray, frame: Frame) -> list[float]:
    """Where a map is highest, x and y in 0..1 of the tile."""
    height, width = found.shape
    y, x = divmod(int(found.argmax()), width)
    return [round(frame[0] + frame[2] * (x + 0.5) / width, 4), round(frame[1] + frame[3] * (y + 0.5) / height, 4)]
