"""A deep look at the data of an audit: what the recipe's frozen network makes of it, and a probe that is asked about
images that it has not learnt from.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.audit import duplicates, neighbours
from finetune.audit.deep import Deep, LeakEffect, Measured
from finetune.audit.gather import Gathered
from finetune.audit.related import related
from finetune.choose import heads as probes
from finetune.choose.heads import Material
from finetune.data.catalog import Catalog
from finetune.data.groups import matched
from finetune.data.store import Store
from finetune.diagnose.asked import selected
from finetune.errors import DataError
from finetune.frozen.extract import Extractor, Looks
from finetune.frozen.folds import folds
from finetune.frozen.probe import Probe, cross_validate
from finetune.model import weights
from finetune.model.backbone import Backbone
from finetune.predict import Check
from finetune.recipe.schema import Recipe
from finetune.recipe.splits import Folds, Grouped
from finetune.runtime import start
from finetune.scores.intervals import percentiles, resampled_weights, wilson
from finetune.scores.metrics import scores
from finetune.scores.predictions import Predictions

Array = npt.NDArray[Any]

RESAMPLES = 1000
FEWEST_CLASSES = "there are no two classes with images that can be read"


def frozen(recipe: Recipe) -> Backbone:
    """The recipe's network with its weights. Raises WeightsError, BundleError or Offline where they are not there."""
    return weights.network(recipe, classes=0)[0]


def deepened(known: Gathered, recipe: Recipe, network: Backbone, *, check: Callable[[str], Check]) -> Gathered:
    """The same with a deep look at every image that can be read.

    The features are those of a run, and kept, so that neither computes them twice. A head is chosen as schedule `probe`
    chooses it, of plain views, on all images that are not for testing; fitted as it was chosen it is asked about every
    image out of fold, test images too. Copies, groups and series never straddle folds. check: for a part of the work,
    what is called as it goes on and may raise to stop it. Raises DataError for files that are not what they were.
    """
    catalog = _catalog(known, recipe)
    runtime = start(recipe.train.precision, depthwise=network.depthwise)
    looks = Looks(network.contract.preprocessing(recipe.images), recipe.images.augment, recipe.seed)
    with Store.open() as store:
        extractor = Extractor(network, looks=looks, runtime=runtime, store=store)
        features = extractor.pooled(catalog.samples, stages=recipe.stages, check=check("features"))[0]
    unknown = np.full((len(catalog), len(known.catalog.classes)), np.nan)
    deep = Deep(network.name, catalog.keys, features, neighbours.near(features), unknown)
    copies = neighbours.copies(neighbours.pairs(known, deep))
    also = [*([sample.key for sample in pair.samples] for pair in copies), *_matched(catalog, recipe)]
    home = related(known, also=also)
    groups = tuple(home[key] for key in catalog.keys)
    held = _held_out(catalog, groups, seed=recipe.seed)
    if isinstance(held, str):
        return replace(known, deep=replace(deep, reason=held))
    found = chain(duplicates.check(known), *(duplicates.findings(known, pair) for pair in copies))
    leaked = set(duplicates.leaked(list(found), known.parts))
    asked = _Asked(
        material=Material(catalog, features[None], catalog.labels, groups, held),
        test=np.array([known.is_split and known.part(key) == "test" for key in catalog.keys], dtype=bool),
        leaked=np.array([key in leaked for key in catalog.keys], dtype=bool),
        recipe=recipe,
        threads=runtime.threads,
        check=check("heads"),
    )
    return replace(known, deep=asked.answered(deep, classes=known.catalog.classes))


@dataclass(frozen=True, eq=False)
class _Asked:
    """What the probe is asked, of all images: which of them are for testing, and which of those have a copy among the
    others, as bool (n,).
    """

    material: Material
    test: npt.NDArray[np.bool_]
    leaked: npt.NDArray[np.bool_]
    recipe: Recipe
    threads: int
    check: Check

    def answered(self, deep: Deep, *, classes: Sequence[str]) -> Deep:
        """The look with what the probe says. classes: of its probabilities, among them those of the material."""
        given = self.material
        learnt = self._learnt() if self.test.any() else given
        probe = probes.fit(learnt, head=self.recipe.head, threads=self.threads, check=self.check)
        logits = probe.logits if learnt is given else self._out_of_fold(probe)
        places = np.array([classes.index(name) for name in given.catalog.classes])
        asked = np.asarray(np.isfinite(logits).all(axis=1))
        answers = self._predictions(logits, asked)
        probabilities = np.full((len(logits), len(classes)), np.nan)
        probabilities[asked] = 0.0
        probabilities[np.ix_(asked, places)] = answers.probabilities
        told = scores(answers)
        return replace(
            deep,
            probabilities=probabilities,
            accuracy=measured(told.get("accuracy")),
            balanced_accuracy=measured(told.get("balanced_accuracy")),
            auroc=measured(told.get("macro_auroc")),
            chance=1 / given.classes,
            leak=self._tested(probe) if (self.test & self.leaked).any() else None,
        )

    def _learnt(self) -> Material:
        """The images that a run would learn from, with folds of their own."""
        given, kept = self.material, np.flatnonzero(~self.test)
        labels, groups = given.labels[kept], tuple(given.groups[place] for place in kept)
        held = folds(labels, groups, seed=self.recipe.seed)
        return Material(given.catalog.select(kept), given.features[:, kept], labels, groups, held)

    def _out_of_fold(self, probe: Probe) -> Array:
        given = self.material
        weights = given.class_weights if probe.balanced else None
        return cross_validate(
            given.features, given.labels, probe.trial, classes=given.classes, folds=given.folds, class_weights=weights
        )

    def _tested(self, probe: Probe) -> LeakEffect:
        """The score on test images by the probe that has learnt from the others, leaks and all."""
        logits = probe.fitted.logits(self.material.features[0])
        return leak_effect(self._predictions(logits, self.test), self.leaked[self.test])

    def _predictions(self, logits: Array, chosen: npt.NDArray[np.bool_]) -> Predictions:
        given, places = self.material, np.flatnonzero(chosen)
        return Predictions(
            keys=tuple(given.catalog.keys[place] for place in places),
            logits=logits[places].astype(np.float32),
            classes=given.catalog.classes,
            labels=given.labels[places],
            groups=_several([given.groups[place] for place in places]),
        )


def leak_effect(tested: Predictions, leaked: npt.NDArray[np.bool_]) -> LeakEffect:
    """What the leaked ones of tested images, bool (n,), are worth to the accuracy."""
    clean = None if leaked.all() else selected(tested, np.flatnonzero(~leaked))
    return LeakEffect(
        images=len(leaked),
        leaked=int(leaked.sum()),
        whole=_accuracy(tested),
        without=None if clean is None else _accuracy(clean),
        difference=None if clean is None else _difference(tested, leaked),
    )


def measured(score: Mapping[str, float] | None) -> Measured | None:
    """A score of `scores.metrics` as a value, None where there is none, or no interval."""
    if score is None or score.get("low") is None:
        return None
    return Measured(score["value"], score["low"], score["high"])


def _several(groups: Sequence[str]) -> tuple[str, ...] | None:
    return tuple(groups) if len(set(groups)) < len(groups) else None


def _accuracy(predictions: Predictions) -> Measured:
    """Of any number of labels the share of images with all of them right."""
    score = scores(predictions)["subset_accuracy" if predictions.multilabel else "accuracy"]
    return Measured(score["value"], score["low"], score["high"])


def _difference(predictions: Predictions, leaked: npt.NDArray[np.bool_]) -> Measured:
    """How much higher the accuracy is with the leaked images than without, by the percentiles of what it is when all
    images, or groups, are drawn anew; where that does not vary, as far apart as the intervals of the two are.
    """
    told = predictions.predicted == predictions.labels
    right = (told.all(axis=1) if predictions.multilabel else told).astype(np.float64)

    def difference(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        clean = weights * ~leaked
        counted = clean.sum(axis=1)
        without = np.divide(clean @ right, counted, out=np.full(len(clean), np.nan), where=counted > 0)
        return np.asarray(weights @ right / weights.sum(axis=1) - without)

    value = float(difference(np.ones((1, len(right))))[0])
    draws = np.concatenate([difference(weights) for weights in resampled_weights(predictions, resamples=RESAMPLES)])
    clean = ~leaked
    (low, high), (least, most) = wilson(right.sum(), len(right)), wilson(right[clean].sum(), int(clean.sum()))
    low, high = percentiles(draws, value=value, otherwise=(low - most, high - least))
    return Measured(value, low, high)


def _catalog(known: Gathered, recipe: Recipe) -> Catalog:
    """The images that can be read, with their hashes, over the classes that they have."""
    samples = tuple(replace(sample, sha256=known.looks[sample.key].sha256) for sample in known.seen)
    found = {label for sample in samples for label in sample.labels}
    return Catalog(samples, tuple(name for name in known.catalog.classes if name in found))


def _matched(catalog: Catalog, recipe: Recipe) -> list[list[str]]:
    """The keys of each group that the recipe's split finds in names."""
    if not isinstance(recipe.split, Grouped | Folds) or recipe.split.pattern is None:
        return []
    found: dict[str, list[str]] = {}
    for sample in matched(catalog, recipe.split.pattern).samples:
        found.setdefault(str(sample.group), []).append(sample.key)
    return list(found.values())


def _held_out(catalog: Catalog, groups: Sequence[str], *, seed: int) -> Array | str:
    """The fold of every image, or why nothing can be held out."""
    if len(catalog.classes) < 2:
        return FEWEST_CLASSES
    try:
        return folds(catalog.labels, groups, seed=seed, every=True)
    except DataError as error:
        return str(error)
