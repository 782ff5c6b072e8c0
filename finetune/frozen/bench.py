"""Trials fitted without a fold and asked about it, fold by fold, in one thread or several."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from finetune.frozen import logistic
from finetune.frozen.choice import Jury
from finetune.frozen.design import Design, Scaling, image_weights
from finetune.frozen.families import Trial, heads, votes

Array = npt.NDArray[Any]
Check = Callable[[int, int], None]
Job = tuple[int, Scaling, tuple[Trial, ...]]  # without this fold, with this scaling, these trials

LIGHT = 50_000_000  # products in a pass over the training rows, up to which every trial can be tried in every fold
SCREENED = 1_500  # rows that trials are first tried on above that


@dataclass(frozen=True, eq=False)
class Bench:
    """Features and labels with the folds in which they are held out; arguments as of `probe.probe`.

    class_weights: (classes,) float. groups: (n,) int. Runs single-threaded BLAS to advantage: see `probe.probe`.
    """

    features: Array
    labels: Array
    classes: int
    folds: Array
    class_weights: Array
    groups: Array
    threads: int
    check: Check | None

    @property
    def light(self) -> bool:
        """Whether every trial can be tried in every fold within seconds."""
        views, images, width = self.features.shape
        return bool(views * images * min(views * images, width) * self.classes <= LIGHT)

    @cached_property
    def jury(self) -> Jury:
        """What is held out, in order: what `scores` are judged by."""
        held = self.folds >= 0
        labels = self.labels[held]
        return Jury(labels, image_weights(labels, self.class_weights), self.folds[held], self.groups[held])

    def scores(self, trials: Iterable[Trial], *, precision: float = logistic.SEARCH) -> dict[Trial, Array]:
        """Of each trial the logits of all images that are held out, in order: float32 (held, classes)."""
        held = self.folds[self.folds >= 0]
        found = {trial: np.empty((len(held), self.classes), dtype=np.float32) for trial in trials}
        jobs: list[Job] = [
            (int(fold), scaling, tuple(trial for trial in found if trial.scaling == scaling))
            for fold in np.unique(held)
            for scaling in dict.fromkeys(trial.scaling for trial in found)
        ]
        for number, ((fold, _, _), logits) in enumerate(zip(jobs, self._done(jobs, precision), strict=True), 1):
            for trial, rows in logits.items():
                found[trial][held == fold] = rows
            if self.check:
                self.check(number, len(jobs))
        return found

    def spread(self, rows: Array) -> Array:
        """Rows of the images that are held out among all: float32 (n, classes), NaN for the others."""
        table = np.full((len(self.labels), self.classes), np.nan, dtype=np.float32)
        table[self.folds >= 0] = rows
        return table

    def first(self) -> Self:
        """A bench of the first fold and of so many training images that a pass is short, a like share of each class, or
        of all images where they have any number of labels.
        """
        asked = self.folds == self.folds[self.folds >= 0].min()
        step = -(-len(self.features) * int((~asked).sum()) // SCREENED)
        rank = np.zeros(len(self.labels), dtype=np.int64)
        strata = np.zeros_like(self.folds) if self.labels.ndim == 2 else self.labels
        for label in np.unique(strata):
            trained = (strata == label) & ~asked
            rank[trained] = np.arange(trained.sum())
        kept = asked | (rank % step == 0)
        return replace(
            self,
            features=self.features[:, kept],
            labels=self.labels[kept],
            folds=np.where(asked, 0, -1)[kept],
            groups=self.groups[kept],
        )

    def _done(self, jobs: Sequence[Job], precision: float) -> Iterator[dict[Trial, Array]]:
        """The jobs' results in order; small ones one after the other, for threads would wait for the interpreter."""
        if self.light or self.threads == 1:
            yield from (self._logits(job, precision) for job in jobs)
            return
        pool = ThreadPoolExecutor(self.threads)
        try:
            yield from pool.map(lambda job: self._logits(job, precision), jobs)
        finally:
            pool.shutdown(cancel_futures=True)

    def _logits(self, job: Job, precision: float) -> dict[Trial, Array]:
        fold, scaling, trials = job
        trained = self.folds != fold
        asked = self.features[0, ~trained]
        design = Design.of(
            self.features[:, trained],
            self.labels[trained],
            scaling,
            classes=self.classes,
            class_weights=self.class_weights,
        )
        found: dict[Trial, Array] = {}
        for family in dict.fromkeys(trial.family for trial in trials):
            rising = sorted(
                (trial for trial in trials if trial.family == family), key=lambda trial: trial.strength or 0
            )
            strengths = [trial.strength for trial in rising]
            if family == "knn":
                logits = [votes(design, asked, neighbours=int(strength or 1)) for strength in strengths]
            else:
                logits = [head.logits(asked) for head in heads(design, family, strengths, precision=precision)]
            found |= dict(zip(rising, logits, strict=True))
        return found
