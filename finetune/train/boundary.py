"""The freeze boundary of a phase: what enters the stages that train is computed once for some views, and kept.

Epochs then read activations instead of images. Frozen stages are in evaluation mode and see nothing but the image, so
that what is read is what would have been computed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from finetune.data.catalog import Catalog
from finetune.errors import UsageError
from finetune.errors import size as in_units
from finetune.frozen.activations import StoredAs, activation_bytes
from finetune.frozen.extract import Extractor
from finetune.model import heads
from finetune.model.backbone import Backbone
from finetune.model.classifier import Classifier
from finetune.predict import Check
from finetune.recipe.plan import Phase
from finetune.runtime import Runtime, number_from
from finetune.train.batches import Batch, order, sizes

Rows = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (places, views) -> float32 activations


class Onward(nn.Module):
    """From the activations that leave `stage` to logits, through the classifier's own modules."""

    def __init__(self, classifier: Classifier, stage: str) -> None:
        super().__init__()
        self.head = classifier.head
        self.upper = nn.Identity() if stage == classifier.cut.last else classifier.cut.onward(stage)
        self._whole = classifier.backbone

    def forward(self, activations: Tensor) -> Tensor:
        return heads.logits(self.head, self.upper(activations))

    def follow(self) -> None:
        """Takes over the modes of the whole network: parts that lie across the cut are copies of their own."""
        modes = {name: module.training for name, module in self._whole.named_modules()}
        for name, module in self.upper.named_modules():
            module.training = modes.get(name, False)


@dataclass(frozen=True)
class Boundary:
    """Where a phase begins to compute: `rows` gives what leaves the frozen stages, `network` goes on from there."""

    network: Onward
    rows: Rows
    views: int
    runtime: Runtime

    def logits(self, images: int, *, check: Check | None = None) -> np.ndarray:
        """Of the plain view of each image, float32 (n, classes), in evaluation mode and batches of one size: kept in
        float32, what is below the boundary gives the same bits as `predict.evaluate`.
        """
        self.network.eval()
        found = []
        step = self.runtime.evaluation_batch
        with torch.inference_mode():
            for start in range(0, images, step):
                places = np.arange(start, min(start + step, images))
                given = self._on_device(_padded(self.rows(places, np.zeros_like(places)), step))
                found.append(self.network(given).float().cpu().numpy()[: len(places)])
                if check:
                    check(int(places[-1]) + 1, images)
        return np.concatenate(found)

    def batches(self, catalog: Catalog, *, epoch: int, seed: int, batch_size: int) -> Iterator[Batch]:
        """The batches of an epoch, in the order that epochs over images have; each image shows its views in turn."""
        labels, places = catalog.labels, order(len(catalog), seed=seed, epoch=epoch)
        first = np.random.Generator(np.random.PCG64(number_from(seed, "first view"))).integers(
            0, self.views, len(catalog)
        )
        start = 0
        for size in sizes(len(catalog), batch_size):
            chosen = places[start : start + size]
            yield Batch(
                images=self._on_device(self.rows(chosen, (first[chosen] + epoch) % self.views)),
                labels=torch.from_numpy(labels[chosen]).to(self.runtime.device),
                keys=tuple(catalog.samples[place].key for place in chosen),
            )
            start += size

    def _on_device(self, rows: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(rows).to(self.runtime.device, non_blocking=True)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def needed(network: Backbone, stage: str, *, images: int, views: int, size: int, stored_as: StoredAs) -> str:
    """What the maps that leave `stage` will take on the disk, and each in memory, in words, known before any is
    computed.
    """
    bytes_ = activation_bytes(network, stage, images=images, views=views, stored_as=stored_as, size=size)
    one = activation_bytes(network, stage, images=1, views=1, stored_as="float32", size=size)
    return (
        f"maps kept of {images} images in {views} views after {stage}: {in_units(bytes_)} on the disk as {stored_as}; "
        f"in memory {in_units(one)} for each image of a batch"
    )


def boundary(
    classifier: Classifier,
    phase: Phase,
    catalog: Catalog,
    *,
    extractor: Extractor,
    runtime: Runtime,
    stored_as: StoredAs,
    views: int | None = None,
    check: Check | None = None,
) -> Boundary:
    """The boundary of a phase that keeps views of the images of `catalog`, filled.

    What the store lacks is computed now. Raises as `Extractor.activations` does, and UsageError where the head sees
    more than what follows from the boundary.
    """
    last = classifier.cut.last
    stage, views = phase.boundary(classifier.cut.stages), views or phase.views
    assert stage is not None, "a phase that trains the stem keeps nothing"
    assert views is not None, "a phase without views keeps nothing"
    if stage == last:
        features = extractor.pooled(catalog.samples, stages=classifier.seen, views=views, check=check)
        return Boundary(Onward(classifier, stage), lambda places, view: features[view, places], views, runtime)
    if classifier.seen != (last,):
        raise UsageError(
            f"views cannot be kept where {' and '.join(phase.train)} train, for the head sees "
            f"{' and '.join(classifier.seen)}, and only {last} follows from what leaves {stage}; leave views out"
        )
    kept = extractor.activations(catalog.samples, stage=stage, views=views, stored_as=stored_as, check=check)
    return Boundary(Onward(classifier, stage), kept.batch, views, runtime)


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([rows, np.zeros((size - len(rows), *rows.shape[1:]), rows.dtype)])
