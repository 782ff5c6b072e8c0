"""Images in scikit-learn: a transformer from images to features, and a classifier that is a probe of them.

X is a list or an array of paths, PIL images or uint8 arrays (h, w, 3), one entry for each image. What was computed
before is taken from the user's cache folder, so that a second fit, and each fold of a cross-validation, computes no
feature anew. The names in fit, predict and transform are scikit-learn's.
"""

import functools
import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import assert_all_finite, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.extmath import softmax
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from finetune.data.decode import Fit, Preprocessing
from finetune.data.groups import together
from finetune.data.store import Store
from finetune.errors import UsageError, printable
from finetune.frozen import probe as probing
from finetune.frozen.extract import Extractor, Looks
from finetune.frozen.folds import folds
from finetune.frozen.sources import Source, hashes
from finetune.frozen.table import network, sources
from finetune.model.backbone import Backbone
from finetune.model.pooling import Pool
from finetune.predict import Picture
from finetune.recipe.network import Weights
from finetune.recipe.section import Section
from finetune.runtime import Precision, start
from finetune.scores import metrics
from finetune.scores.predictions import Predictions
from finetune.scores.thresholds import Thresholds

__all__ = ["FinetuneClassifier", "ImageFeatures", "Refused"]


class Refused(UsageError, ValueError):
    """Something that cannot be worked on; a ValueError too, as scikit-learn has it."""


class ImageFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """A transformer from images to features, float32 (n, width); it learns nothing, and need not be fitted.

    The parameters mean what they mean to `finetune.features`; `frame` is its `fit` (crop, pad or squash), a name that
    an estimator needs for something else. Networks with weights that have a name are kept in memory, the last two of
    them. Trouble with the cache is a RuntimeWarning.
    """

    def __init__(
        self,
        backbone: str | Path | Backbone,
        weights: Weights | Mapping[str, Any] | None = None,
        *,
        stage: str | Sequence[str] | None = None,
        pool: Pool | None = None,
        size: int | None = None,
        frame: Fit | None = None,
        mirrored: bool = False,
        precision: Precision = "float32",
        cache: bool = True,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.stage = stage
        self.pool = pool
        self.size = size
        self.frame = frame
        self.mirrored = mirrored
        self.precision = precision
        self.cache = cache

    def fit(self, X: object, y: object = None) -> Self:
        """Sees to it that the parameters can be worked with and X holds images; opens none of them.

        Raises Refused for an X that is none, UsageError, WeightsError, BundleError or Offline for the parameters.
        """
        _sources(X)
        self.get_feature_names_out()
        return self

    def transform(self, X: object) -> np.ndarray:
        """The features of the images, float32 (n, width). Raises as `fit` does, and DataError naming images that cannot
        be read.
        """
        return _rows(self, _sources(X))

    def get_feature_names_out(self, input_features: object = None) -> np.ndarray:
        """The stage and number of each feature, such as stage4_0; `input_features` has no say."""
        found, _ = _network(self)
        stages = _stages(self, found)
        names = [f"{stage}_{place}" for stage in stages for place in range(found.width([stage], self.pool))]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = []
        return _of_images(tags)


class FinetuneClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped
    """A classifier of images: the probe that cross-validation finds on frozen features, without gradient training.

    schedule: "probe" is the only one; `finetune.run` has the others. backbone to cache: as of `ImageFeatures`.
    random_state: which images are held out together. Fitted, it has

    classes_: the labels, sorted; where y has a column for each label their numbers. features_: the ImageFeatures it
    works with. probe_: the choice and its evidence.
    out_of_fold_: Predictions of the training images that were held out, by heads that had not seen them.
    out_of_fold_accuracy_, out_of_fold_log_loss_: their accuracy in 0..1 and log-loss in nats.
    out_of_fold_scores_: all their scores with 95 % intervals, as `finetune.scores.metrics.scores` has them.
    thresholds_: where y has a column for each label, (labels,) float64 above which probabilities they are answered,
    chosen on the images that were held out (`finetune.scores.thresholds.choose`); else None.
    """

    def __init__(
        self,
        backbone: str | Path | Backbone,
        weights: Weights | Mapping[str, Any] | None = None,
        schedule: Literal["probe"] = "probe",
        *,
        stage: str | Sequence[str] | None = None,
        pool: Pool | None = None,
        size: int | None = None,
        frame: Fit | None = None,
        mirrored: bool = False,
        precision: Precision = "float32",
        cache: bool = True,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.schedule = schedule
        self.stage = stage
        self.pool = pool
        self.size = size
        self.frame = frame
        self.mirrored = mirrored
        self.precision = precision
        self.cache = cache
        self.random_state = random_state

    def fit(self, X: object, y: object, groups: object = None) -> Self:
        """Fits the head to images and their labels, which are strings, whole numbers or bool; or to any number of them
        for each image: then y is (n, labels), two of them or more, of 0 and 1.

        groups: one for each image; images of one group (a scene, a patient) are held out together. By default copies
        are, images of the same content. Raises ValueError for labels and groups that do not fit, DataError for images
        that cannot be read, and where no class has two that could be held out; otherwise as `ImageFeatures.fit`.
        """
        if self.schedule != "probe":
            shown = printable(str(self.schedule))
            raise Refused(f"schedule is {shown!r}, and an estimator has 'probe' alone; finetune.run has the others")
        images = _sources(X)
        labels = _labels(y)
        given = None if groups is None else column_or_1d(groups)
        check_consistent_length(images, labels, given)
        classes, places = np.unique(labels, return_inverse=True) if labels.ndim == 1 else _columns(labels)
        if len(classes) < 2:
            raise Refused(f"y has 1 class, {printable(str(classes[0]))!r}; there must be two to tell apart")
        features = ImageFeatures(**{name: getattr(self, name) for name in ImageFeatures._get_param_names()})
        self._fit_probe(features, images, places, [str(name) for name in classes], given)
        self.classes_ = classes
        self.features_ = features
        self._dtype = labels.dtype
        return self

    def decision_function(self, X: object) -> np.ndarray:
        """Logits, float64 (n, classes); of two classes those of the second less those of the first, (n,), but not where
        an image may have both.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 and self.thresholds_ is None else logits

    def predict_proba(self, X: object) -> np.ndarray:
        """Probabilities, float64 (n, classes), in the order of `classes_`; of any number of labels each by itself."""
        logits = self._logits(X)
        return np.asarray(softmax(logits) if self.thresholds_ is None else _sigmoid(logits))

    def predict(self, X: object) -> np.ndarray:
        """The most probable class of each image, (n,), or (n, labels) 0 and 1, those above their thresholds.

        Raises NotFittedError, and else as `ImageFeatures.transform`.
        """
        logits = self._logits(X)
        if self.thresholds_ is not None:
            return np.asarray(_sigmoid(logits) > self.thresholds_).astype(self._dtype)
        return np.asarray(self.classes_[logits.argmax(axis=1)])

    @property
    def out_of_fold_accuracy_(self) -> float:
        return metrics.accuracy(self._held_out)

    @property
    def out_of_fold_log_loss_(self) -> float:
        return metrics.log_loss(self._held_out)

    @property
    def out_of_fold_scores_(self) -> dict[str, Any]:
        return metrics.scores(self._held_out)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return _of_images(tags)

    @property
    def _held_out(self) -> Predictions:
        check_is_fitted(self)
        return self.out_of_fold_

    def _fit_probe(
        self, features: ImageFeatures, images: Sequence[Source], labels: np.ndarray, classes: list[str], given: Any
    ) -> None:
        threads = start().threads
        found = hashes(images, preprocessing=_network(features)[1], threads=threads)
        images = [replace(image, sha256=sha256) for image, sha256 in zip(images, found, strict=True)]
        named = [None] * len(found) if given is None else [str(group) for group in given]
        groups = together(list(zip(found, named, strict=True)))
        seed = int(check_random_state(self.random_state).randint(2**31))
        self.probe_ = probing.probe(
            _rows(features, images)[None],
            labels,
            classes=len(classes),
            folds=folds(labels, groups, seed=seed),
            groups=groups,
            threads=threads,
        )
        asked = np.flatnonzero(np.isfinite(self.probe_.logits).all(axis=1))
        held_out = Predictions(
            keys=tuple(images[place].key for place in asked),
            logits=self.probe_.logits[asked],
            classes=tuple(classes),
            labels=labels[asked],
            groups=None if given is None else tuple(groups[place] for place in asked),
        )
        chosen = Thresholds.of({"out_of_fold": held_out}, classes=len(classes)) if labels.ndim == 2 else None
        self.thresholds_ = np.array(chosen.values) if chosen else None
        self.out_of_fold_ = chosen.applied(held_out) if chosen else held_out

    def _logits(self, X: object) -> np.ndarray:
        check_is_fitted(self)
        rows = _rows(self.features_, _sources(X)).astype(np.float64)  # what an image gets is not its neighbours' affair
        return np.asarray(self.probe_.fitted.logits(rows))


def _of_images(tags: Any) -> Any:
    """The tags of an estimator whose X is one image for each entry."""
    tags.input_tags.one_d_array = True
    tags.input_tags.string = True
    tags.input_tags.two_d_array = False
    return tags


def _sources(images: object) -> list[Source]:
    """What X holds, one source for each entry. A column of a table counts as the list that it is."""
    if hasattr(images, "to_numpy"):
        images = images.to_numpy()
    if isinstance(images, np.ndarray) and images.shape[1:] == (1,):
        images = images[:, 0]
    if not isinstance(images, list | tuple) and not (isinstance(images, np.ndarray) and images.ndim in (1, 4)):
        shape = f" of shape {images.shape}" if isinstance(images, np.ndarray) else ""
        raise Refused(f"X is a {type(images).__name__}{shape}; it must be a list or an array, with an entry per image")
    if not len(images):
        raise Refused("X has 0 images; there must be at least one")
    for entry in images:
        if not isinstance(entry, str | Path | Image.Image | np.ndarray):
            name = type(entry).__name__
            raise Refused(f"an entry of X is a {name}; give paths, PIL images or uint8 arrays (h, w, 3)")
        if isinstance(entry, str | Path) and Path(entry).is_dir():
            raise Refused(
                f"{printable(str(entry))!r} is a folder, and an entry of X is one image; list the files in it"
            )
    return sources(cast(Sequence[Picture], images))


def _labels(labels: object) -> np.ndarray:
    """Labels (n,), of a kind that names classes; or (n, labels), of 0 and 1."""
    table = np.asarray(labels.toarray() if hasattr(labels, "toarray") else labels)
    if table.ndim == 2 and table.shape[1] > 1 and table.dtype.kind in "biuf" and np.isin(table, (0, 1)).all():
        return table
    found = column_or_1d(labels, warn=True)
    assert_all_finite(found, input_name="y")
    check_classification_targets(found)
    return np.asarray(found)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))  # never overflows


def _columns(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the columns, and where they are set, bool (n, labels)."""
    has = labels.astype(np.bool_)
    if lacking := np.flatnonzero(~has.any(axis=0)).tolist():
        raise Refused(f"no image has label {lacking[0]} of y; each of its {has.shape[1]} columns needs one")
    return np.arange(has.shape[1]), has


def _rows(features: ImageFeatures, images: Sequence[Source]) -> np.ndarray:
    """The features of images."""
    built, preprocessing = _network(features)
    store: AbstractContextManager[Store | None] = Store.open() if features.cache else nullcontext()
    with store as kept:
        extractor = Extractor(
            built, looks=Looks(preprocessing), runtime=start(), store=kept, precision=features.precision
        )
        stages = _stages(features, built)
        values = extractor.pooled(images, stages=stages, pool=features.pool, mirrored=features.mirrored)
    for note in kept.notes if kept else ():
        warnings.warn(note, RuntimeWarning, stacklevel=4)
    return np.asarray(values[0])


def _stages(features: ImageFeatures, built: Backbone) -> tuple[str, ...]:
    if features.pool == "none":
        raise Refused("pool 'none' gives maps, and X becomes a table; choose another pool, or use finetune.features")
    stage = features.stage
    return built.ordered((stage,) if isinstance(stage, str) else stage and tuple(stage), features.pool)


def _network(features: ImageFeatures) -> tuple[Backbone, Preprocessing]:
    """The network with its weights; a cross-validation asks for the same one over and over."""
    backbone, weights = features.backbone, features.weights
    if isinstance(backbone, Backbone):
        return network(backbone, weights, size=features.size, fit=features.frame)
    chosen = weights.model_dump(mode="json") if isinstance(weights, Section) else weights
    written = json.dumps(chosen, sort_keys=True, default=str)
    path = str(chosen.get("path", "")) if isinstance(chosen, Mapping) else ""
    stamps = (_stamp(Path(path)), _stamp(Path(backbone)))
    return _built(backbone, written, size=features.size, frame=features.frame, stamps=stamps)


@functools.lru_cache(maxsize=2)
def _built(
    backbone: str | Path, weights: str, *, size: int | None, frame: Fit | None, stamps: tuple[object, ...]
) -> tuple[Backbone, Preprocessing]:
    return network(backbone, json.loads(weights), size=size, fit=frame)


def _stamp(path: Path) -> tuple[str, int, int] | None:
    """What is another for another weights file, alone or in a bundle's folder."""
    file = path / "model.safetensors" if path.is_dir() else path
    found = file.stat() if file.is_file() else None
    return found and (str(file.absolute()), found.st_mtime_ns, found.st_size)
