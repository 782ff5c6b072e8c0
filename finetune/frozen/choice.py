"""Trials compared by what they said of images that they had not seen, and one of them chosen.

Scores in, a table and a choice out: nothing here is fitted but temperatures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.frozen.families import Family, Trial
from finetune.scores.calibration import temperature
from finetune.scores.metrics import log_losses, right

Array = npt.NDArray[Any]

FROM_SIMPLE: tuple[Family, ...] = ("ncm", "cosine", "lda", "logistic")  # the only ones that may win
_LEDOIT_WOLF = 0.5  # where a shrinkage that the data decides stands among those that are given


@dataclass(frozen=True)
class Row:
    """What was found of a trial: the mean log-loss of its tempered out-of-fold logits, how much that is above the
    least of all, with the standard error of the difference, and the accuracy; balanced where `Probe.balanced`.
    """

    trial: Trial
    log_loss: float
    difference: float
    standard_error: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Jury:
    """The images that were held out, in one order with the scores that are judged.

    labels: (n,) int, or bool (n, classes). weights: (n,) float by which an image counts. folds: (n,) int. groups: (n,)
    int, from 0, what is independent of what.
    """

    labels: Array
    weights: Array
    folds: Array
    groups: Array

    @property
    def smoothing(self) -> float:
        """Of labels, before a temperature is taken: one wrong answer among as many images and two."""
        return 1 / (len(self.labels) + 2)

    def temperature(self, scores: Array, chosen: Array | None = None) -> float:
        """Of all images, or of those chosen (bool)."""
        kept = np.ones(len(self.labels), dtype=bool) if chosen is None else chosen
        return temperature(scores[kept], self.labels[kept], self.weights[kept], smoothing=self.smoothing)

    def tempered(self, scores: Array) -> Array:
        """float32 (n, classes): each fold's scores divided by the temperature of all other folds, so that no image is
        judged by what its own label set. A fold alone is divided in two for it.
        """
        parts = self.folds if np.ptp(self.folds) else np.arange(len(self.folds)) % 2
        logits = np.empty_like(scores)
        for part in np.unique(parts):
            inside = parts == part
            others = ~inside if (~inside).any() else inside
            logits[inside] = scores[inside] / np.float32(self.temperature(scores, others))
        return logits

    def table(self, scores: Mapping[Trial, Array]) -> tuple[Row, ...]:
        """A row for every trial, the least log-loss first."""
        logits = {trial: self.tempered(found) for trial, found in scores.items()}
        losses = {trial: log_losses(found, self.labels) for trial, found in logits.items()}
        means = {trial: self._mean(found) for trial, found in losses.items()}
        best = min(means, key=lambda trial: means[trial])
        rows = [
            Row(
                trial,
                means[trial],
                means[trial] - means[best],
                self.error(losses[trial] - losses[best]),
                self._mean(right(logits[trial], self.labels)),
            )
            for trial in scores
        ]
        return tuple(sorted(rows, key=lambda row: row.log_loss))

    def choice(self, scores: Mapping[Trial, Array]) -> Trial:
        """The simplest family that has a trial within one standard error of the best trial; in that family the best
        scaling, and with it the strongest regularisation that is within one standard error.
        """
        rows = self.table({trial: found for trial, found in scores.items() if trial.family in FROM_SIMPLE})
        near = [row.trial for row in rows if row.difference <= row.standard_error]
        family = next(name for name in FROM_SIMPLE if any(trial.family == name for trial in near))
        scaling = next(trial.scaling for trial in near if trial.family == family)
        return min((trial for trial in near if (trial.family, trial.scaling) == (family, scaling)), key=_freedom)

    def error(self, differences: Array) -> float:
        """The standard error of the mean of differences, images of a group being one piece of evidence."""
        share = self.weights / self.weights.sum()
        deviations = share * (differences - share @ differences)
        of_group = np.bincount(self.groups, deviations)
        of_group = of_group[np.bincount(self.groups) > 0]
        return float(np.sqrt(len(of_group) / max(len(of_group) - 1, 1) * (of_group**2).sum()))

    def _mean(self, values: Array) -> float:
        return float(np.average(values, weights=self.weights))


def _freedom(trial: Trial) -> float:
    """Larger for a trial that is freer to follow its training images, among those of a family and a scaling."""
    if trial.family == "lda":
        return 1 - (_LEDOIT_WOLF if trial.strength is None else trial.strength)
    return trial.strength or 0.0
