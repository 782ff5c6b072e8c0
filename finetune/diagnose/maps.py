"""Where in an image a classifier sees its answer: class-activation maps; the only importer of captum.

A map says what speaks for a class, and where the stages of the network see it. It is no proof of what was learnt.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

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

METHOD = "HiResCAM (Draelos and Carin 2020), the mean of stages"

_BATCH = 8
_COLOUR = np.array([255.0, 60.0, 0.0])
_GREY = np.array([[0.299], [0.587], [0.114]])  # luma, ITU-R BT.601
_STRENGTH = 0.65  # of the colour where a map is highest
_CROPPED = 0.5  # how far what the network was not shown fades to white


def maps(
    classifier: Classifier,
    images: np.ndarray,
    classes: Sequence[int] | np.ndarray,
    *,
    stages: Sequence[str] | None = None,
) -> np.ndarray:
    """What in each image speaks for a class: float32 (n, h, w) in 0..1, in no unit; 0 everywhere where nothing does.

    images: uint8 (n, h, w, 3), as the classifier is given them; classes: (n,) int, places in its logits. Of each stage
    what leaves its last module is multiplied by the gradient of the logit there, place by place, and summed over
    channels (Draelos and Carin 2020, Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
    networks, section 3.2). What is above 0, brought up to the image bilinearly and divided by its maximum, is averaged
    over the stages, since early ones know better where something is (Jiang et al. 2021, LayerCAM, IEEE Transactions on
    Image Processing 30, section III, who take the maximum; the mean lies on planted objects more often). stages None:
    all that the head sees or builds on. The classifier is put in evaluation mode. Raises UsageError for a stage that
    there is not, or that the head sees nothing of.
    """
    seen = below(classifier)
    chosen = seen if stages is None else tuple(stages)
    if not chosen or not set(chosen) <= set(seen):
        named = printable(", ".join(chosen))
        raise UsageError(f"no map can be drawn of stages {named!r}; choose from those the head sees: {', '.join(seen)}")
    ends = [classifier.cut.cut.ends[classifier.cut.cut.position(stage) - 1] for stage in chosen]
    from captum.attr import LayerGradientXActivation  # draws in a plotting library, which only full evidence needs

    method = LayerGradientXActivation(classifier, [classifier.backbone.get_submodule(end) for end in ends])
    device = next(classifier.parameters()).device
    classifier.eval()
    found = []
    for start in range(0, len(images), _BATCH):
        some = torch.from_numpy(images[start : start + _BATCH]).permute(0, 3, 1, 2).to(device)
        target = torch.as_tensor(np.asarray(classes[start : start + _BATCH], dtype=np.int64), device=device)
        given = some.float().requires_grad_()  # a gradient flows, whatever of the classifier is frozen
        parts = method.attribute(given, target=target)
        fine = torch.stack([_brought_up(one.detach(), images.shape[1:3]) for one in parts])
        found.append(fine.mean(dim=0).cpu().numpy())
    return np.concatenate(found) if found else np.zeros(images.shape[:3], dtype=np.float32)


def below(classifier: Classifier) -> tuple[str, ...]:
    """The stages whose maps the head sees or builds on, upwards."""
    return tuple(classifier.cut.stages)[1 : max(map(classifier.cut.cut.position, classifier.seen)) + 1]


def files(
    predictions: Predictions,
    catalog: Catalog,
    classifier: Classifier,
    preprocessing: Preprocessing,
) -> dict[str, bytes]:
    """`evidence/maps.jpg`, the thumbnails of the worst mistakes in the places that they have in
    `evidence/thumbnails.jpg`, each under the map of what was answered, and `evidence/maps.json`: method, stages, keys,
    and where each map is highest, x and y in 0..1 of the tile, null for one that is 0. Nothing where nothing is wrong.

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
        "stages": below(classifier),
        "keys": [sample.key for sample in samples],
        "peaks": [_peak(one, frame) for one, frame in zip(found, frames, strict=True)],
    }
    picture = tiles.sprite(drawn, SIDE, per_row=PER_ROW)
    return {"evidence/maps.jpg": picture, "evidence/maps.json": dump(said)}


def over(tile: np.ndarray, found: np.ndarray, frame: Frame) -> np.ndarray:
    """A tile, uint8 (side, side, 3), under a map, float (h, w), of the part of it in the frame: left, top, width and
    height in 0..1. The map is strongest where it is highest, and not drawn where it is 0; the tile turns grey, so that
    no colour of its own is taken for the map's.
    """
    side = len(tile)
    left, top, right, bottom = (round(side * end) for end in (*frame[:2], frame[0] + frame[2], frame[1] + frame[3]))
    size = (max(1, right - left), max(1, bottom - top))
    strength = np.asarray(Image.fromarray(found.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    strength = _STRENGTH * (strength / strength.max() if strength.any() else strength)[:, :, None]
    pixels = np.repeat(tile.astype(np.float64) @ _GREY, 3).reshape(tile.shape)
    inside = pixels[top : top + size[1], left : left + size[0]]
    drawn = inside * (1 - strength) + _COLOUR * strength
    pixels += _CROPPED * (255 - pixels)
    pixels[top : top + size[1], left : left + size[0]] = drawn
    return np.asarray(np.rint(pixels).astype(np.uint8))


def _brought_up(attribution: Tensor, size: tuple[int, int]) -> Tensor:
    """What speaks for the class by one stage, (n, channels, h, w) -> (n, *size) float32 in 0..1."""
    for_it = attribution.float().sum(dim=1, keepdim=True).clamp(min=0)
    fine = interpolate(for_it, size, mode="bilinear")[:, 0]
    highest = fine.amax(dim=(1, 2), keepdim=True)
    return fine / torch.where(highest > 0, highest, 1)


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


def _peak(found: np.ndarray, frame: Frame) -> list[float] | None:
    """Where a map is highest, x and y in 0..1 of the tile; None where nothing speaks for the class."""
    if not found.any():
        return None
    height, width = found.shape
    y, x = divmod(int(found.argmax()), width)
    return [round(frame[0] + frame[2] * (x + 0.5) / width, 4), round(frame[1] + frame[3] * (y + 0.5) / height, 4)]
