"""A few images with what the network was given and what it answered: the yardstick for any copy of the model."""

import hashlib

from finetune.bundle import Bundle
from finetune.data import decode
from finetune.data.catalog import Catalog
from finetune.data.decode import Preprocessing
from finetune.scores.predictions import Predictions
from finetune.views import evaluation_view

IMAGES = 8


def write(bundle: Bundle, predictions: Predictions, catalog: Catalog, preprocessing: Preprocessing) -> None:
    """Writes `reference/reference.json`: a few images spread over the catalog.

    Of each the SHA-256 of the file, that of the view's bytes (uint8, (size, size, 3), row by row), and the float32
    logits.
    """
    lines = []
    for place in _spread(catalog):
        sample = catalog.samples[place]
        view = evaluation_view(decode.working_image(decode.read(sample.file), preprocessing), preprocessing)
        lines.append(
            {
                "key": sample.key,
                "file_sha256": sample.sha256,
                "view_sha256": hashlib.sha256(view.tobytes()).hexdigest(),
                "logits": [float(value) for value in predictions.logits[place]],
            }
        )
    bundle.write_json("reference/reference.json", lines)


def few(catalog: Catalog) -> Catalog:
    """Those images of a catalog that would be written."""
    return catalog.select(_spread(catalog))


def _spread(catalog: Catalog) -> list[int]:
    count = min(IMAGES, len(catalog))
    return [number * len(catalog) // count for number in range(count)]
