"""Which head suits frozen features best: families and strengths compared on out-of-fold logits, the best refitted.

Training images count with all their views, held-out images are judged on their plain view. It knows nothing of files,
networks or how features came about.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from finetune.errors import UsageError
from finetune.frozen.bench import Bench
from finetune.frozen.choice import FROM_SIMPLE, Row
from finetune.frozen.design import DIRECTIONS, SCALINGS, Fitted, Scaling
from finetune.frozen.families import Trial, fit
from finetune.frozen.logistic import EXACT

__all__ = ["Fitted", "Probe", "Row", "Trial", "cross_validate", "fit", "probe"]

Array = npt.NDArray[Any]
Check = Callable[[int, int], None]

STRENGTHS = tuple(10.0**power for power in range(-6, 6))  # of logistic regression: its C
FINER = tuple(10 ** (third / 3) for third in (-2, -1, 1, 2))  # times the best of them
SHRINKAGES = (0.98, 0.9, 0.7, 0.5, 0.2, 0.05, None)  # of discriminants; None is Ledoit and Wolf's
PENALTIES = (100.0, 10.0, 1.0, 0.1)  # of ridge regression
NEIGHBOURS = (1.0, 5.0, 10.0, 20.0)
IMBALANCED = 3  # times as many images in the largest class as in the smallest
_FINALISTS = 2  # trials of a family that are tried in all folds, where not all can be


@dataclass(frozen=True, eq=False)
class Probe:
    """The chosen head and the evidence for it.

    fitted: on all images, tempered. logits: float32 (n, classes), out of fold, tempered by the other folds, NaN for
    images that were never held out. temperature: what the head's logits were divided by. table: all trials, the best
    first. folds: (n,) int64. balanced: whether every class counted the same, for it was fitted and judged so.
    """

    trial: Trial
    fitted: Fitted
    logits: Array
    temperature: float
    table: tuple[Row, ...]
    folds: Array
    balanced: bool


def probe(
    features: Array,
    labels: Array,
    *,
    classes: int,
    folds: Array,
    groups: Sequence[str] | None = None,
    trials: Sequence[Trial] | None = None,
    scalings: Sequence[Scaling] = SCALINGS,
    threads: int = 1,
    check: Check | None = None,
) -> Probe:
    """The head that out-of-fold log-loss speaks for, refitted on all images.

    features: float32 (views, n, d), view 0 the plain one. labels: (n,) int in 0..classes - 1, or bool (n, classes)
    where images have any number, every class present; then logistic regression alone is searched. folds: (n,) int as
    `folds.folds` gives them. groups: what is independent of what, one name per image. trials: what to choose from; None
    searches all families with `scalings`: 12 strengths of logistic regression and 4 around the best, discriminants,
    class means, and for comparison ridge regression and nearest neighbours. Where that would take long, what is worth a
    comparison is found out on one fold and part of the rows. threads: how many fits run beside each other where they
    are long; the result does not depend on it. check(done, total) is called between fits and may raise to stop.

    Chosen is the simplest family within one standard error of the best trial, in it the best scaling, in that the
    strongest regularisation within one standard error; errors are those of differences image by image, by group
    (Breiman et al. 1984, Classification and Regression Trees, section 3.4.3). Of one label each, where the largest
    class has over three times the images of the smallest, images count inversely to the size of their class. Raises
    UsageError for arrays that do not fit together, features that are not finite, and trials of which none can win.
    """
    _refuse(features, labels, classes, folds)
    if trials is not None and not any(trial.family in FROM_SIMPLE for trial in trials):
        raise UsageError(f"no trial that can win: one of {', '.join(FROM_SIMPLE)} is needed")
    several = labels.ndim == 2
    counts = labels.sum(axis=0) if several else np.bincount(labels, minlength=classes)
    balanced = not several and bool(counts.max() > IMBALANCED * counts.min())
    class_weights = len(labels) / (classes * counts) if balanced else np.ones(classes)
    numbers = np.arange(len(labels)) if groups is None else np.unique(np.array(groups, object), return_inverse=True)[1]
    bench = Bench(features, labels, classes, folds, class_weights, numbers, threads, check)
    with threadpool_limits(limits=1, user_api="blas"):
        scores = _search(bench, scalings) if trials is None else bench.scores(trials)
        chosen = bench.jury.choice(scores)
        scores |= bench.scores([chosen], precision=EXACT)  # evidence of what is shipped, not of a fit that ended early
        heat = bench.jury.temperature(scores[chosen])
        fitted = fit(features, labels, chosen, classes=classes, temperature=heat, class_weights=class_weights)
    logits = bench.spread(bench.jury.tempered(scores[chosen]))
    return Probe(chosen, fitted, logits, heat, bench.jury.table(scores), folds, balanced)


def cross_validate(
    features: Array,
    labels: Array,
    trial: Trial,
    *,
    classes: int,
    folds: Array,
    class_weights: Array | None = None,
) -> Array:
    """The logits of every image by a head that was fitted without its fold, float32 (n, classes), tempered by the
    other folds; NaN for images that are never held out. Arguments and errors as of `probe`.
    """
    _refuse(features, labels, classes, folds)
    weights = np.ones(classes) if class_weights is None else class_weights
    bench = Bench(features, labels, classes, folds, weights, np.arange(len(labels)), 1, None)
    with threadpool_limits(limits=1, user_api="blas"):
        scores = bench.scores([trial], precision=EXACT)
    return bench.spread(bench.jury.tempered(scores[trial]))


def _refuse(features: Array, labels: Array, classes: int, folds: Array) -> None:
    shapes = (folds.shape, (*folds.shape, classes)) if labels.dtype == np.bool_ else (folds.shape,)
    if features.ndim != 3 or labels.shape not in shapes or features.shape[1:2] != folds.shape:
        raise UsageError(
            f"features {features.shape}, labels {labels.shape} and folds {folds.shape} do not fit together: "
            "they must be (views, n, d), (n,) or bool (n, classes), and (n,)"
        )
    if not all(np.isfinite(view).all() for view in features):
        raise UsageError("features that are not finite: nothing can be fitted on them")
    if not (folds >= 0).any():
        raise UsageError("folds without an image: nothing is held out")
    for fold in [-1, *np.unique(folds[folds >= 0]).tolist()]:
        trained = labels[folds != fold] if fold >= 0 else labels
        counts = trained.sum(axis=0) if labels.ndim == 2 else np.bincount(trained, minlength=classes)
        if len(counts) > classes or not counts.all():
            where = f"outside fold {fold}" if fold >= 0 else "among the labels"
            raise UsageError(f"{where} there must be images of the classes 0 to {classes - 1} and no others")


def _search(bench: Bench, scalings: Sequence[Scaling]) -> dict[Trial, Array]:
    """Everything in all folds; where that takes long, of every family what did best on a part of one fold."""
    several = bench.labels.ndim == 2
    wide = tuple(trial for trial in _everything(scalings) if not several or trial.family == "logistic")
    scores = bench.scores(wide if bench.light else _finalists(bench.first(), wide))
    best = next(row.trial for row in bench.jury.table(scores) if row.trial.family == "logistic")
    return scores | bench.scores([replace(best, strength=(best.strength or 1.0) * factor) for factor in FINER])


def _everything(scalings: Sequence[Scaling]) -> Iterator[Trial]:
    for scaling in scalings:
        yield Trial("ncm", scaling)
        if scaling in DIRECTIONS:
            yield Trial("cosine", scaling)
        yield from (Trial("lda", scaling, strength) for strength in SHRINKAGES)
        yield from (Trial("logistic", scaling, strength) for strength in STRENGTHS)
    yield from (Trial("ridge", scalings[0], strength) for strength in PENALTIES)
    yield from (Trial("knn", "l2", voters) for voters in NEIGHBOURS)


def _finalists(bench: Bench, trials: Sequence[Trial]) -> list[Trial]:
    """Of each family that can win the best two with its best scaling."""
    ranked = [row.trial for row in bench.jury.table(bench.scores(trials)) if row.trial.family in FROM_SIMPLE]
    best = {trial.family: trial.scaling for trial in reversed(ranked)}
    return [
        trial
        for family, scaling in best.items()
        for trial in [trial for trial in ranked if (trial.family, trial.scaling) == (family, scaling)][:_FINALISTS]
    ]
