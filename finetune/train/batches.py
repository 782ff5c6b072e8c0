"""Images of a catalog -> batches on the device: which images stand together in an epoch, and how each of them looks.

The order is a function of (seed, epoch), the view of an image one of (seed, epoch, key): threads, batch size and
resuming have no say in either.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from finetune.data.catalog import Catalog, Sample
from finetune.data.decode import Preprocessing
from finetune.data.pixels import Pixels
from finetune.errors import DataError, UnreadableImage
from finetune.predict import to_device
from finetune.runtime import Runtime, in_order, number_from
from finetune.views import TrainingViews


@dataclass(frozen=True)
class Batch:
    """`images` uint8 (n, 3, h, w), `labels` int64 (n,) or bool (n, classes), on the device; `keys` of the images."""

    images: Tensor
    labels: Tensor
    keys: tuple[str, ...]


def order(images: int, *, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: a permutation, int64 (images,)."""
    return np.random.Generator(np.random.PCG64(number_from(seed, "order", epoch))).permutation(images)


def sizes(images: int, batch_size: int) -> list[int]:
    """The sizes of the batches of an epoch, each image in one of them, none over `batch_size`, all within one of each
    other: no image is dropped, and no batch is left with a single image for batch statistics.
    """
    count = -(-images // batch_size)
    return [images // count + (place < images % count) for place in range(count)]


def training_batches(
    catalog: Catalog,
    views: TrainingViews,
    *,
    preprocessing: Preprocessing,
    epoch: int,
    seed: int,
    batch_size: int,
    runtime: Runtime,
    pixels: Pixels | None = None,
) -> Iterator[Batch]:
    """The batches of one epoch, of working images from `pixels`.

    Raises DataError naming a file that has gone or changed.
    """
    labels, source = catalog.labels, pixels or Pixels()
    places = order(len(catalog), seed=seed, epoch=epoch)
    samples = (catalog.samples[place] for place in places)

    def view(sample: Sample) -> np.ndarray:
        return views.view(_working_image(sample, preprocessing, source), epoch=epoch, key=sample.key)

    ready = in_order(view, samples, threads=runtime.threads, ahead=2 * batch_size)
    start = 0
    for size in sizes(len(catalog), batch_size):
        chosen = places[start : start + size]
        images = np.stack([next(ready) for _ in range(size)])
        yield Batch(
            images=to_device(images, runtime),
            labels=torch.from_numpy(labels[chosen]).to(runtime.device),
            keys=tuple(catalog.samples[place].key for place in chosen),
        )
        start += size


def _working_image(sample: Sample, preprocessing: Preprocessing, pixels: Pixels) -> np.ndarray:
    try:
        return pixels.working(sample.file, sample.sha256, preprocessing)
    except UnreadableImage as error:
        raise DataError(f"{sample.key}: {error}; it could be read when the run started") from error
