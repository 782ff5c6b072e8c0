"""(classifier, images) -> Predictions: the only evaluation there is, and a bundle as a predictor.

Every number that is reported, and every answer that is given, comes through `logits`: one decoding, one view, float32,
one padded batch size.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from finetune.bundle import Bundle
from finetune.data import decode
from finetune.data.adapters import folder
from finetune.data.catalog import Catalog, Sample, census
from finetune.data.decode import Preprocessing
from finetune.data.fingerprints import Fingerprints
from finetune.data.pixels import Pixels
from finetune.errors import BundleError, DataError, UnreadableImage, UsageError, listing, printable, suggestion
from finetune.model import backbone, heads
from finetune.model.classifier import Classifier
from finetune.recipe.network import Multilayer
from finetune.runtime import Runtime, in_order, start
from finetune.scores.metrics import scores
from finetune.scores.predictions import Predictions
from finetune.starter import labelled
from finetune.views import evaluation_view

Picture = Path | str | Image.Image | np.ndarray
Check = Callable[[int, int], None]


def logits(
    classifier: Classifier,
    pictures: Sequence[Picture],
    *,
    preprocessing: Preprocessing,
    runtime: Runtime,
    check: Check | None = None,
) -> list[np.ndarray | UnreadableImage]:
    """The logits of each picture, float32 (classes,), or why it could not be read; in the order of `pictures`.

    Paths are files; arrays are (h, w, 3) uint8. `check(done, total)` is called between batches and may raise to stop.
    The classifier is put in evaluation mode. On one device with one thread count the logits of a picture are the same
    bits whatever stands beside it.
    """
    views = in_order(
        lambda picture: _view(picture, preprocessing),
        pictures,
        threads=runtime.threads,
        ahead=2 * runtime.evaluation_batch,
    )
    return _answers(classifier, views, len(pictures), runtime=runtime, check=check)


def evaluate(
    classifier: Classifier,
    catalog: Catalog,
    *,
    preprocessing: Preprocessing,
    runtime: Runtime,
    pixels: Pixels | None = None,
    check: Check | None = None,
) -> Predictions:
    """The predictions of every image of a catalog, with its labels. pixels: where working images come from.

    Raises DataError for files that have become unreadable.
    """
    source = pixels or Pixels()

    def view(sample: Sample) -> np.ndarray | UnreadableImage:
        try:
            return evaluation_view(source.working(sample.file, sample.sha256, preprocessing), preprocessing)
        except UnreadableImage as error:
            return error

    views = in_order(view, catalog.samples, threads=runtime.threads, ahead=2 * runtime.evaluation_batch)
    rows = _answers(classifier, views, len(catalog), runtime=runtime, check=check)
    groups = tuple(sample.group or sample.key for sample in catalog.samples)
    return Predictions(
        keys=catalog.keys,
        logits=_table(rows, catalog.keys, classes=len(catalog.classes)),
        classes=catalog.classes,
        labels=catalog.labels,
        groups=groups if any(sample.group for sample in catalog.samples) else None,
    )


def of_views(
    network: nn.Module, views: Iterable[np.ndarray], count: int, *, runtime: Runtime, check: Check | None = None
) -> np.ndarray:
    """What a network says of `count` views, uint8 (size, size, 3) each: float32 (count, width), in their order.

    network: a classifier, or any module from uint8 (n, 3, size, size) to (n, width). As for `logits` every batch is
    padded to one size, and the module is put in evaluation mode.
    """
    rows = _answers(network, views, count, runtime=runtime, check=check)
    return np.stack([row for row in rows if isinstance(row, np.ndarray)])


@dataclass(frozen=True)
class Predictor:
    """A trained classifier with everything that it needs to answer: what `finetune.load(bundle)` returns."""

    classifier: Classifier
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    runtime: Runtime
    thresholds: tuple[float, ...] | None = None  # of classes, where an image may have any number of them

    def predict(self, pictures: Picture | Sequence[Picture]) -> Predictions:
        """Predictions with `labels=None`, in the order given; with thresholds where an image may have several labels.

        pictures: a path or a folder (its images, at any depth), a PIL image, a uint8 array (h, w, 3), or a sequence of
        them. Raises DataError naming every picture that cannot be read, and UsageError for anything that is not a
        picture.
        """
        pictures = gather(pictures)
        keys = tuple(_key(picture, place) for place, picture in enumerate(pictures))
        table = _table(self.logits(pictures), keys, classes=len(self.classes))
        return self.answered(Predictions(keys=keys, logits=table, classes=self.classes, labels=None))

    def answered(self, predictions: Predictions) -> Predictions:
        """The predictions with the thresholds, if there are any."""
        if self.thresholds is None:
            return predictions
        return replace(predictions, thresholds=np.array(self.thresholds, dtype=np.float64))

    def logits(self, pictures: Sequence[Picture], *, check: Check | None = None) -> list[np.ndarray | UnreadableImage]:
        """As `logits` of this module: for each picture float32 (classes,), or why it cannot be read."""
        return logits(self.classifier, pictures, preprocessing=self.preprocessing, runtime=self.runtime, check=check)


def load(path: str | Path) -> Predictor:
    """The predictor of a complete bundle. Raises BundleError when the bundle is incomplete, changed or damaged."""
    bundle = Bundle.open(Path(path))
    if not bundle.complete:
        raise BundleError(
            f"{printable(str(path))}: this run is not complete; `finetune resume {printable(str(path))}` finishes it"
        )
    runtime = start()
    classifier = from_bundle(bundle)
    thresholds = bundle.facts.get("thresholds")
    return Predictor(
        classifier=classifier.to(runtime.device).eval(),
        classes=tuple(bundle.facts["classes"]),
        preprocessing=Preprocessing.from_dict(bundle.facts["preprocessing"]),
        runtime=runtime,
        thresholds=None if thresholds is None else tuple(map(float, thresholds)),
    )


@dataclass(frozen=True)
class Score:
    """A bundle on labelled images: which they are and what was left out of them, what it answered, how good that is."""

    catalog: Catalog
    predictions: Predictions
    scores: dict[str, Any]


def score_folder(predictor: Predictor, root: Path, *, check: Check | None = None) -> Score:
    """Scores a predictor on a folder or a table of labelled images, whose labels are classes that it knows.

    Raises UsageError for one with train and test in it, and as `score` does; DataError for a class that the predictor
    does not know.
    """
    found = labelled(root, least=1)
    splits = sorted({sample.split for sample in found.samples if sample.split})
    if splits:
        raise UsageError(
            f"{printable(str(root))} holds the split folders {', '.join(splits)}, and a score on images that were "
            f"trained on says nothing; evaluate one of them, such as {printable(str(root / splits[0]))}"
        )
    if found.multi_label != (predictor.thresholds is not None):
        raise UsageError(
            f"{printable(str(root))}: its images have {_labelled(found.multi_label)}, and this bundle answers with "
            f"{_labelled(not found.multi_label)}"
        )
    unknown = [name for name in found.classes if name not in predictor.classes]
    if unknown:
        lines = [f"{printable(name)!r}{suggestion(name, predictor.classes)}" for name in unknown]
        raise DataError(f"{printable(str(root))}: classes that this bundle does not know{listing(lines)}")
    return score(predictor, Catalog(found.samples, predictor.classes, found.left_out), check=check)


def score(predictor: Predictor, known: Catalog, *, check: Check | None = None) -> Score:
    """Scores a predictor on the images of a catalog over its classes; up to 5 % of a class may be unreadable.

    Raises UsageError where the classes are others, or images have one label and the predictor several, or the other way
    round; DataError as `census` does.
    """
    if known.classes != predictor.classes:
        raise UsageError("the catalog has other classes than the predictor, or in another order")
    if known.multi_label != (predictor.thresholds is not None):
        raise UsageError(
            f"the catalog's images have {_labelled(known.multi_label)}, and the predictor answers with "
            f"{_labelled(not known.multi_label)}"
        )
    with Fingerprints.open() as seen:
        readable, _ = census(known, on_bad_image="skip", threads=predictor.runtime.threads, known=seen)
    found = evaluate(
        predictor.classifier, readable, preprocessing=predictor.preprocessing, runtime=predictor.runtime, check=check
    )
    predictions = predictor.answered(found)
    return Score(readable, predictions, scores(predictions))


def _labelled(several: bool) -> str:
    return "any number of labels" if several else "one label each"


def from_bundle(bundle: Bundle) -> Classifier:
    """The classifier of a complete bundle, with its weights, on the CPU."""
    facts = bundle.facts
    preprocessing = Preprocessing.from_dict(facts["preprocessing"])
    network = backbone.build(facts["backbone"]["name"], size=preprocessing.size)
    choice = heads.from_dict(facts["head"])
    stages = choice.stages if isinstance(choice, Multilayer) else None
    head = heads.build(choice, features=network.width(stages), classes=len(facts["classes"]))
    classifier = Classifier(network, head, preprocessing, stages)
    tensors = safetensors.torch.load(bundle.read("model.safetensors"))
    wanted = {name: (tensor.shape, tensor.dtype) for name, tensor in classifier.state_dict().items()}
    given = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    wrong = sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
    if wrong:
        raise BundleError(
            f"{printable(str(bundle.folder / 'model.safetensors'))}: {len(wrong)} of its tensors are missing, unknown "
            f"or of another shape than those of {facts['backbone']['name']!r}{listing(wrong, limit=10)}"
        )
    classifier.load_state_dict(tensors)
    return classifier


def gather(pictures: Picture | Sequence[Picture]) -> list[Picture]:
    """The pictures that are meant, in order: a folder stands for the images in it, sorted by path, at any depth."""
    if isinstance(pictures, str | Path | Image.Image | np.ndarray) or not isinstance(pictures, Iterable):
        pictures = [pictures]
    found: list[Picture] = []
    for picture in pictures:
        if isinstance(picture, Image.Image | np.ndarray):
            found.append(picture)
        elif isinstance(picture, str | Path):
            found.extend(folder.images_below(Path(picture)) if Path(picture).is_dir() else [Path(picture)])
        else:
            raise UsageError(
                f"cannot predict on a {type(picture).__name__}; give paths, folders, PIL images or uint8 (h, w, 3)"
            )
    return found


def _view(picture: Picture, preprocessing: Preprocessing) -> np.ndarray | UnreadableImage:
    try:
        source = decode.read(Path(picture)) if isinstance(picture, str | Path) else picture
        return evaluation_view(decode.working_image(source, preprocessing), preprocessing)
    except UnreadableImage as error:
        return error


def _answers(
    classifier: nn.Module,
    views: Iterable[np.ndarray | UnreadableImage],
    count: int,
    *,
    runtime: Runtime,
    check: Check | None,
) -> list[np.ndarray | UnreadableImage]:
    """The logits of `count` views, or why there is no view."""
    classifier.eval()
    size = runtime.evaluation_batch
    answers: list[np.ndarray | UnreadableImage] = []
    waiting: dict[int, np.ndarray] = {}
    for place, view in enumerate(views):
        answers.append(view)
        if isinstance(view, np.ndarray):
            waiting[place] = view
        if len(waiting) == size or (place == count - 1 and waiting):
            rows = _forward(classifier, list(waiting.values()), size=size, runtime=runtime)
            for answered, row in zip(waiting, rows, strict=True):
                answers[answered] = row
            waiting = {}
            if check:
                check(len(answers), count)
    return answers


@torch.inference_mode()
def _forward(classifier: nn.Module, views: Sequence[np.ndarray], *, size: int, runtime: Runtime) -> np.ndarray:
    padded = np.zeros((size, *views[0].shape), dtype=np.uint8)
    padded[: len(views)] = views
    output = classifier(to_device(padded, runtime)).float().cpu().numpy()
    result: np.ndarray = output[: len(views)]
    return result


def to_device(views: np.ndarray, runtime: Runtime) -> Tensor:
    """uint8 (n, h, w, 3) on the host -> uint8 (n, 3, h, w) on the device, channels last in memory."""
    return torch.from_numpy(views).permute(0, 3, 1, 2).to(runtime.device, non_blocking=True)


def _table(rows: Sequence[np.ndarray | UnreadableImage], keys: Sequence[str], *, classes: int) -> np.ndarray:
    bad = [f"{key}: {row}" for key, row in zip(keys, rows, strict=True) if isinstance(row, UnreadableImage)]
    if bad:
        raise DataError(f"{len(bad)} of {len(rows)} images cannot be read{listing(bad)}")
    return (
        np.stack([row for row in rows if isinstance(row, np.ndarray)]) if rows else np.zeros((0, classes), np.float32)
    )


def _key(picture: Picture, place: int) -> str:
    return printable(str(picture), limit=4096) if isinstance(picture, str | Path) else f"image {place}"
