"""Whether new images are like those that a bundle was scored on: scores, confidence, shares of classes, and facts.

It knows nothing of images: facts are numbers or words. A test that is passed shows no more than that there are too few
images to tell.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.scores.intervals import groups_of, resampled_share, resampled_weights, wilson
from finetune.scores.paired import holm
from finetune.scores.predictions import Predictions
from finetune.scores.slices import Fact

Array = npt.NDArray[Any]
Score = Mapping[str, Any]

FEWEST = 10  # images, or groups where images come in groups, on either side
LEVEL = 0.05
_DRAWN = 2000
_RESAMPLES = 500
_AT_ONCE = 4_000_000
_Z = 1.959963984540054
_NO_RECALL = "images of {} of these classes were not among those that it was scored on"


def difference(before: Score, after: Score) -> dict[str, Any] | None:
    """How much `after` is above `before`, two proportions of different images: {"value", "low", "high", "differs"}.

    Both are {"value", "low", "high"} with 95 % intervals, such as those of `metrics.scores`, by group where there are
    groups; differs: whether the interval of the difference leaves out 0. None where either is not defined.
    Newcombe 1998, Interval Estimation for the Difference between Independent Proportions, Statistics in Medicine 17,
    method 10; for any two intervals Zou and Donner 2008, Statistics in Medicine 27.
    """
    if any(score.get(end) is None for score in (before, after) for end in ("value", "low", "high")):
        return None
    value = after["value"] - before["value"]
    low = value - math.hypot(after["value"] - after["low"], before["high"] - before["value"])
    high = value + math.hypot(after["high"] - after["value"], before["value"] - before["low"])
    return {"value": value, "low": low, "high": high, "differs": not low <= 0 <= high}


def drift(
    own: Predictions,
    new: Predictions,
    own_facts: Mapping[str, Fact],
    new_facts: Mapping[str, Fact],
    *,
    own_scores: Score,
    new_scores: Score,
) -> dict[str, Any]:
    """How new images, and the answers to them, differ from a bundle's own, as plain JSON values.

    own, new: answers to different images, with labels of the same classes. own_facts, new_facts: by name a value for
    each image, in order; a fact that either lacks is not compared. own_scores, new_scores: what `metrics.scores` says.
    Returns images, own_images: how many there are; score: the name of the score that is compared, own, new and
    difference: its values and `difference`; mix: as `mix` has it, None where an image may have several labels;
    facts: a row for confidence and for each fact that is a number, {fact, images, own_images, own, new, above, p,
    p_holm, differs} with the two medians, as `compared` has the rest; shares: a row for the classes and for each fact
    that is a word, {fact, p, p_holm, differs, rows: [{name, own, new, difference}]}, the largest difference first.

    Confidence is the probability of the answer, with several labels the mean over labels of that of what was said.
    `differs` is p after Holm over all rows below 0.05. Of images in groups each group counts once, with the mean of its
    images.
    """
    name = "subset_accuracy" if new.multilabel else "accuracy"
    before, after = own_scores[name], new_scores[name]
    numbers = {"confidence": (confidence(own), confidence(new))}
    words: dict[str, tuple[Fact, Fact]] = {}
    for fact in own_facts.keys() & new_facts.keys() - {"confidence"}:
        pair = own_facts[fact], new_facts[fact]
        if any(isinstance(value, str) for values in pair for value in values):
            words[fact] = pair
        else:
            numbers[fact] = (_floats(pair[0]), _floats(pair[1]))
    order = [fact for fact in ("confidence", *own_facts) if fact in numbers]
    rows = [row for fact in order if (row := _row(fact, own, new, *numbers[fact]))]
    shares = [_shares("class", own, new, _has(own), _has(new), own.classes)]
    for fact in (fact for fact in own_facts if fact in words):
        known = sorted({str(value) for values in words[fact] for value in values if value is not None})
        mine, theirs = (np.array([[value == word for word in known] for value in values]) for values in words[fact])
        shares.append(_shares(fact, own, new, mine, theirs, tuple(known)))
    asked = [*rows, *shares]
    tested = [one for one in asked if one["p"] is not None]
    for one, adjusted in zip(tested, holm([one["p"] for one in tested]), strict=True):
        one |= {"p_holm": adjusted, "differs": adjusted < LEVEL}
    return {
        "images": len(new),
        "own_images": len(own),
        "score": name,
        "own": before,
        "new": after,
        "difference": difference(before, after),
        "mix": None if new.multilabel else mix(own, new, after),
        "facts": rows,
        "shares": shares,
    }


def confidence(predictions: Predictions) -> Array:
    """(n,) float64 in 0..1: the probability of the answer; with several labels the mean over labels of that of what was
    said.
    """
    chances = predictions.probabilities
    if predictions.multilabel:
        return np.asarray(np.where(predictions.predicted, chances, 1 - chances).mean(axis=1))
    return np.asarray(chances.max(axis=1))


def compared(own: Array, new: Array) -> dict[str, Any]:
    """How often a new value is above an own one, of images with one label each, and whether that is chance.

    own, new: floats of at least one independent unit each. Returns above: {"value", "low", "high"}, the chance that a
    new value is the larger, equal ones by half, with its 95 % interval (Newcombe 2006, Confidence intervals for an
    effect size measure based on the Mann-Whitney statistic, part 2, method 5); p: that of the test of Mann and Whitney
    1947, two-sided, by its normal limit with ties and continuity corrected.
    """
    m, n = len(own), len(new)
    values = np.concatenate([own, new])
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    above = (float(ranks[m:].sum()) - n * (n + 1) / 2) / (m * n)
    variance = (m + n + 1 - float((counts**3 - counts).sum()) / max(1, (m + n) * (m + n - 1))) / (12 * m * n)
    away = max(0.0, abs(above - 0.5) - 0.5 / (m * n))
    p = math.erfc(away / math.sqrt(2 * variance)) if variance > 1e-15 else 1.0
    return {"above": {"value": above, "low": _end(above, m, n, 0.0), "high": _end(above, m, n, 1.0)}, "p": p}


def mix(own: Predictions, new: Predictions, accuracy: Score) -> dict[str, Any]:
    """What the new images' shares of classes alone make of the accuracy, of images with one label each.

    accuracy: that on the new images, with its interval. Returns expected: the accuracy that each class's recall on the
    own images makes with the shares that the classes have among the new ones, with the 95 % interval of the recalls;
    difference: how much the accuracy on the new images is above that; or {expected: None, reason} where a class has no
    own images. Kitagawa 1955, Components of a Difference Between Two Rates, JASA 50, with the own rates as the
    standard.
    """
    assert own.labels is not None
    assert new.labels is not None
    shares = np.bincount(new.labels, minlength=len(new.classes)) / len(new)
    images = np.bincount(own.labels, minlength=len(own.classes))
    if lacking := int(((shares > 0) & (images == 0)).sum()):
        return {"expected": None, "difference": None, "reason": _NO_RECALL.format(lacking)}
    right = (own.predicted == own.labels).astype(np.float64)
    members = _has(own).astype(np.float64)

    def expected(weights: Array) -> Array:
        support, hits = weights @ members, (weights * right) @ members
        recalls = np.divide(hits, support, out=np.full_like(hits, np.nan), where=support > 0)
        return np.asarray(recalls[:, shares > 0] @ shares[shares > 0])

    value = float(expected(np.ones((1, len(own))))[0])
    draws = np.concatenate([expected(weights) for weights in resampled_weights(own, resamples=_RESAMPLES)])
    units = groups_of(own, np.ones(len(own), dtype=bool))
    low, high = resampled_share(value, draws, units=units, n=len(own))
    found = {"value": value, "low": low, "high": high}
    return {"expected": found, "difference": difference(found, accuracy)}


def _floats(values: Fact) -> Array:
    return np.array([np.nan if value is None else float(value) for value in values])


def _row(fact: str, own: Predictions, new: Predictions, mine: Array, theirs: Array) -> dict[str, Any] | None:
    """One number compared, None where it is known of no image of either; without a test where there are too few."""
    before, after = (values[~np.isnan(values)] for values in (mine, theirs))
    if not (len(before) and len(after)):
        return None
    units = _by_group(mine, own), _by_group(theirs, new)
    enough = min(map(len, units)) >= FEWEST
    return {
        "fact": fact,
        "images": len(after),
        "own_images": len(before),
        "own": float(np.median(before)),
        "new": float(np.median(after)),
        **(compared(*units) if enough else {"above": None, "p": None}),
        "p_holm": None,
        "differs": False,
    }


def _by_group(values: Array, predictions: Predictions) -> Array:
    """The values that are known, of images in groups the means of the groups."""
    known = ~np.isnan(values)
    if predictions.groups is None:
        return values[known]
    members = np.unique(np.array(predictions.groups, dtype=object)[known], return_inverse=True)[1]
    return np.asarray(np.bincount(members, weights=values[known]) / np.bincount(members))


def _has(predictions: Predictions) -> Array:
    """bool (n, classes): the labels of each image."""
    labels = predictions.labels
    assert labels is not None
    return labels if labels.ndim == 2 else labels[:, None] == np.arange(len(predictions.classes))


def _shares(
    fact: str, own: Predictions, new: Predictions, mine: Array, theirs: Array, names: tuple[str, ...]
) -> dict[str, Any]:
    """Which share of the images has each name; mine, theirs: bool (n, names)."""
    units = [_grouped(has, predictions) for has, predictions in ((mine, own), (theirs, new))]
    enough = min(map(len, units)) >= FEWEST
    rows: list[dict[str, Any]] = []
    for place, name in enumerate(names):
        before, after = _share(mine[:, place], own), _share(theirs[:, place], new)
        rows.append({"name": name, "own": before, "new": after, "difference": difference(before, after)})
    rows.sort(key=lambda row: -abs(row["difference"]["value"]))
    return {
        "fact": fact,
        "p": _dealt(*units) if enough else None,
        "p_holm": None,
        "differs": False,
        "rows": rows,
    }


def _share(has: Array, predictions: Predictions) -> dict[str, float]:
    value, count = float(has.mean()), len(has)
    if predictions.groups is None:
        low, high = wilson(float(has.sum()), count)
    else:
        parts = resampled_weights(predictions, resamples=_RESAMPLES)
        draws = np.concatenate([weights @ has / count for weights in parts])
        low, high = resampled_share(value, draws, units=groups_of(predictions, np.ones(count, dtype=bool)), n=count)
    return {"value": value, "low": low, "high": high}


def _grouped(has: Array, predictions: Predictions) -> Array:
    """(units, names) float32: of images in groups the means of the groups."""
    if predictions.groups is None:
        return has.astype(np.float32)
    members = np.unique(np.array(predictions.groups, dtype=object), return_inverse=True)[1]
    sums = np.zeros((members.max() + 1, has.shape[1]), dtype=np.float32)
    np.add.at(sums, members, has.astype(np.float32))
    return np.asarray(sums / np.bincount(members)[:, None].astype(np.float32))


def _dealt(own: Array, new: Array) -> float:
    """How often shares differ as much when units are dealt to the two sides at random, 2,000 times, always the same:
    by the sum of squared differences of all shares, each over the share of both sides together.
    """
    both, generator = np.concatenate([own, new]), np.random.default_rng(0)
    whole = both.mean(axis=0)
    kept = whole > 0
    both, whole = both[:, kept], whole[kept]

    def apart(means: Array) -> Array:
        # what is not on this side is on the other, so that one side tells the distance
        return np.asarray((((means - whole) ** 2) / whole).sum(axis=1))

    found = float(apart(new[:, kept].mean(axis=0)[None])[0])
    reached, done, chunk = 0, 0, max(1, _AT_ONCE // len(both))
    while done < _DRAWN:
        rows = min(chunk, _DRAWN - done)
        places = np.tile(np.arange(len(both)) < len(new), (rows, 1))
        chosen = generator.permuted(places, axis=1).astype(np.float32)
        reached += int((apart(chosen @ both / len(new)) >= found * (1 - 1e-5) - 1e-9).sum())
        done += rows
    return (reached + 1) / (_DRAWN + 1)


def _end(above: float, m: int, n: int, bound: float) -> float:
    """Where the distance to `above` is 1.96 standard errors of there, between it and the bound."""
    inside, outside = above, bound
    for _ in range(60):
        middle = (inside + outside) / 2
        pull = ((m + n) / 2 - 1) * ((1 - middle) / (2 - middle) + middle / (1 + middle))
        spread = _Z * math.sqrt(middle * (1 - middle) * (1 + pull) / (m * n))
        inside, outside = (middle, outside) if abs(middle - above) < spread else (inside, middle)
    return inside
