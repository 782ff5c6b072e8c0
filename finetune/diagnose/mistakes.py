"""Thumbnails of the worst mistakes, as one picture: what a report shows of images without having them."""

import io
import math

import numpy as np
from PIL import Image

from finetune.bundle.facts import dump
from finetune.data import decode
from finetune.data.catalog import Catalog
from finetune.data.decode import Preprocessing
from finetune.scores import mislabelled
from finetune.scores.predictions import Predictions

SIDE = 96
PER_ROW = 10
MOST = 40
_THUMBNAIL = Preprocessing(
    size=SIDE, working=SIDE, fit="pad", interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(1, 1, 1)
)


def worst(predictions: Predictions, *, most: int = MOST) -> np.ndarray:
    """Places (k,) int64 of the images that are wrong, the most confident first.

    An image with any number of labels counts by its worst answer.
    """
    assert predictions.labels is not None
    wrong = predictions.predicted != predictions.labels
    if predictions.multilabel:
        confidence, wrong = mislabelled.confidence(predictions), wrong.any(axis=1)
    else:
        confidence = predictions.probabilities.max(axis=1)
    places = np.flatnonzero(wrong)
    return places[np.argsort(-confidence[places], kind="stable")][:most]


def files(predictions: Predictions, catalog: Catalog) -> dict[str, bytes]:
    """`evidence/thumbnails.jpg`, tiles of 96 pixels, ten to a row, and `evidence/thumbnails.json`, their keys; nothing
    where nothing is wrong.

    The tiles are drawn from pixels alone: nothing of a file's metadata comes along.
    """
    places = worst(predictions)
    if not len(places):
        return {}
    sprite = Image.new("RGB", (SIDE * min(PER_ROW, len(places)), SIDE * math.ceil(len(places) / PER_ROW)), "white")
    for number, place in enumerate(places):
        tile = decode.working_image(decode.read(catalog.samples[place].file), _THUMBNAIL)
        sprite.paste(Image.fromarray(tile), (SIDE * (number % PER_ROW), SIDE * (number // PER_ROW)))
    picture = io.BytesIO()
    sprite.save(picture, "JPEG", quality=80)
    keys = [catalog.samples[place].key for place in places]
    return {"evidence/thumbnails.jpg": picture.getvalue(), "evidence/thumbnails.json": dump(keys)}
