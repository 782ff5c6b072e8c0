"""Two ways of learning compared on the images that both were asked about and neither had seen."""

from dataclasses import dataclass

import numpy as np

from finetune.frozen.choice import Jury
from finetune.frozen.design import image_weights
from finetune.recipe.plan import TierKind
from finetune.scores.metrics import log_losses, right

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Held:
    """What a way of learning said of held-out images: tempered logits float32 (n, classes), NaN where it was not asked.

    temperature: what the logits of a head fitted on everything are to be divided by, beyond what it was fitted with.
    """

    logits: Array
    temperature: float = 1.0

    @property
    def asked(self) -> Array:
        """bool (n,)"""
        return np.asarray(np.isfinite(self.logits).all(axis=1))


@dataclass(frozen=True)
class Outcome:
    """What was found of a tier against what was best before it, over the `images` that both were asked about.

    log_loss and accuracy are the tier's; `gain` is how much lower its log-loss is, with the standard error of that
    paired difference, `points` how much higher its accuracy. verdict: what followed.
    """

    kind: TierKind
    name: str
    images: int
    log_loss: float
    accuracy: float
    gain: float
    standard_error: float
    points: float
    verdict: str


@dataclass(frozen=True, eq=False)
class Judge:
    """The truth about the images that are asked about: labels int64 (n,) or bool (n, classes), what belongs together,
    how classes count.
    """

    labels: Array
    groups: tuple[str, ...]
    folds: Array
    class_weights: Array

    def tempered(self, scores: Array) -> Held:
        """Logits as a network gave them out of fold, NaN where it was not asked -> each fold's divided by the
        temperature of the others.
        """
        asked = np.isfinite(scores).all(axis=1)
        jury = self._jury(asked)
        logits = scores.copy()
        logits[asked] = jury.tempered(scores[asked])
        return Held(logits, jury.temperature(scores[asked]))

    def log_loss(self, held: Held) -> float:
        """Of all images that were asked about, every class counting as `class_weights` say."""
        asked = held.asked
        return float(np.average(log_losses(held.logits[asked], self.labels[asked]), weights=self._weights(asked)))

    def compare(self, kind: TierKind, name: str, held: Held, against: Held, *, verdict: str = "") -> Outcome:
        """The outcome of `held` against another, without a verdict yet."""
        both = held.asked & against.asked
        labels, weights = self.labels[both], self._weights(both)
        losses, others = log_losses(held.logits[both], labels), log_losses(against.logits[both], labels)
        now, before = (right(one.logits[both], labels).astype(float) for one in (held, against))
        return Outcome(
            kind=kind,
            name=name,
            images=int(both.sum()),
            log_loss=float(np.average(losses, weights=weights)),
            accuracy=float(np.average(now, weights=weights)),
            gain=float(np.average(others - losses, weights=weights)),
            standard_error=self._jury(both).error(others - losses),
            points=float(np.average(now - before, weights=weights)),
            verdict=verdict,
        )

    def _weights(self, chosen: Array) -> Array:
        return image_weights(self.labels[chosen], self.class_weights)

    def _jury(self, chosen: Array) -> Jury:
        numbers = np.unique(np.array(self.groups, dtype=object)[chosen], return_inverse=True)[1]
        return Jury(self.labels[chosen], self._weights(chosen), self.folds[chosen], numbers)
