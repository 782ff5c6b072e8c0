"""A probe of the images of a catalog, and the head that it becomes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from finetune.data.catalog import Catalog
from finetune.data.groups import of_samples
from finetune.frozen import probe as probing
from finetune.frozen.design import DIRECTIONS, SCALINGS, Scaling
from finetune.frozen.extract import Extractor
from finetune.frozen.families import Trial
from finetune.frozen.folds import folds
from finetune.frozen.probe import Probe
from finetune.model import heads
from finetune.predict import Check
from finetune.recipe.network import Cosine, HeadChoice, Linear, Multilayer


@dataclass(frozen=True, eq=False)
class Material:
    """What a probe is fitted to: features float32 (views, n, width), labels int64 (n,) or bool (n, classes), groups and
    folds.
    """

    catalog: Catalog
    features: np.ndarray
    labels: np.ndarray
    groups: tuple[str, ...]
    folds: np.ndarray

    @property
    def classes(self) -> int:
        return len(self.catalog.classes)

    def fitted_without(self, fold: int, probe: Probe) -> probing.Fitted:
        """The probe's head fitted again without the images of a fold."""
        kept = self.folds != fold
        return probing.fit(
            self.features[:, kept],
            self.labels[kept],
            probe.trial,
            classes=self.classes,
            temperature=probe.temperature,
            class_weights=self.class_weights if probe.balanced else None,
        )

    @property
    def class_weights(self) -> np.ndarray:
        """By which an image of each class counts where all classes shall count the same."""
        counts = np.bincount(self.labels, minlength=self.classes)
        return np.asarray(len(self.labels) / (self.classes * counts))


def material(
    extractor: Extractor,
    catalog: Catalog,
    *,
    stages: Sequence[str],
    views: int,
    seed: int,
    check: Check | None = None,
) -> Material:
    """The features of `views` views of every image, and folds in which copies and groups stay together.

    Raises DataError where nothing can be held out.
    """
    groups, labels = of_samples(catalog.samples), catalog.labels
    features = extractor.pooled(catalog.samples, stages=stages, views=views, check=check)
    return Material(catalog, features, labels, groups, folds(labels, groups, seed=seed))


def fit(
    given: Material,
    *,
    head: HeadChoice | None,
    threads: int,
    trials: Sequence[Trial] | None = None,
    check: Check | None = None,
) -> Probe:
    """The probe that cross-validation finds among `trials`, by default all, of a shape that `head` allows.

    Of several views it is one near that of the plain ones, which is found first: to try everything on all views takes
    many times as long, and what suits the plain ones suits them all.
    """
    if trials is None and len(given.features) > 1:
        plain = replace(given, features=given.features[:1])
        trials = near(fit(plain, head=head, threads=threads, check=check).trial)
    return probing.probe(
        given.features,
        given.labels,
        classes=given.classes,
        folds=given.folds,
        groups=given.groups,
        trials=trials,
        scalings=_scalings(head, several=given.catalog.multi_label),
        threads=threads,
        check=check,
    )


def module(probe: Probe | probing.Fitted) -> nn.Module:
    """The head of a probe, as a module from features to logits."""
    fitted = probe.fitted if isinstance(probe, Probe) else probe
    return heads.fitted(fitted.kind, fitted.weight, fitted.bias, fitted.centre)


def described(probe: Probe, asked: HeadChoice | None) -> HeadChoice:
    """What kind of head a probe became, as a recipe names it; asked: what the recipe says of it."""
    if probe.fitted.kind == "cosine":
        return Cosine()
    return asked if isinstance(asked, Multilayer) else Linear()


def _scalings(head: HeadChoice | None, *, several: bool) -> tuple[Scaling, ...]:
    """Those whose heads have the shape that is asked for: directions become a cosine head, all else a linear one, which
    it is for any number of labels unless something else is asked for.
    """
    if head is None and not several:
        return SCALINGS
    return DIRECTIONS if isinstance(head, Cosine) else tuple(one for one in SCALINGS if one not in DIRECTIONS)


def near(trial: Trial) -> tuple[Trial, ...]:
    """Trials of the same family and scaling, around the same strength."""
    if trial.strength is None or trial.family != "logistic":
        return (trial,)
    return tuple(replace(trial, strength=trial.strength * factor) for factor in (0.03, 0.1, 0.3, 1.0, 3.0))
