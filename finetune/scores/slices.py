"""For whom is it worse? Accuracy on parts of the images against the rest, and a test that counts how many were asked.

It knows nothing of images: facts are numbers or words.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.errors import UsageError
from finetune.scores.intervals import groups_of, mean_difference, resampled_share, resampled_weights, wilson
from finetune.scores.paired import holm
from finetune.scores.predictions import Predictions

Array = npt.NDArray[Any]
Fact = Sequence[float | str | None]

FEWEST = 20  # images of a slice, and of the rest
LEVEL = 0.05
_MOST_WORDS = 12  # values of a fact, the commonest first
_DRAWN = 10_000
_AT_ONCE = 2_000_000


def slices(predictions: Predictions, facts: Mapping[str, Fact]) -> list[dict[str, Any]]:
    """Each slice of the images against all others, as plain JSON values, those that differ most surely first.

    facts: name -> a value for each image, in order; numbers are cut at their terciles, words are slices by value, None
    is in no slice. A slice holds at least 20 images and leaves 20. Returns [{fact, slice, images, accuracy, rest,
    difference, p, p_holm, differs}]: the scores have 95 % intervals, `difference` is slice less rest, and p is
    two-sided: how often so large a difference comes about when images are dealt to the slice at random, or, of images
    in groups, when each group's share of it has either sign (10,000 times, always the same). `differs` is p after Holm
    over all slices below 0.05. An image with several labels is right when all of them are. Raises UsageError without
    labels, or where a fact has another number of values.
    """
    if predictions.labels is None:
        raise UsageError("without labels nothing is right or wrong")
    answered = predictions.predicted == predictions.labels
    right = (answered.all(axis=1) if predictions.multilabel else answered).astype(np.float64)
    found: list[dict[str, Any]] = []
    for fact, values in facts.items():
        if len(values) != len(predictions):
            raise UsageError(f"{fact} has {len(values)} values for {len(predictions)} images")
        for name, inside in _cut(values):
            if min(int(inside.sum()), int((~inside).sum())) >= FEWEST:
                found.append({"fact": fact, "slice": name, **_compared(predictions, right, inside)})
    for one, adjusted in zip(found, holm([one["p"] for one in found]), strict=True):
        one |= {"p_holm": adjusted, "differs": adjusted < LEVEL}
    return sorted(found, key=lambda one: (one["p"], -abs(one["difference"]["value"])))


def _cut(values: Fact) -> Iterator[tuple[str, Array]]:
    """Names of slices and the images (n,) bool that are in them; slices that are all images are none."""
    known = [value for value in values if value is not None]
    if not known:
        return
    if any(isinstance(value, str) for value in known):
        counts = {word: known.count(word) for word in dict.fromkeys(known)}
        for word in sorted(counts, key=lambda word: (-counts[word], str(word)))[:_MOST_WORDS]:
            yield str(word), np.array([value == word for value in values])
        return
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    low, high = np.nanquantile(numbers, [1 / 3, 2 / 3], method="lower")
    if low < np.nanmax(numbers):
        yield f"up to {_told(low)}", numbers <= low
    if low < high < np.nanmax(numbers):
        yield f"{_told(low)} to {_told(high)}", (numbers > low) & (numbers <= high)
    if max(low, high) < np.nanmax(numbers):
        yield f"above {_told(high)}", numbers > high


def _told(value: float) -> str:
    """'0.4831', '765.2', '130,800': four digits, and no power of ten."""
    return f"{float(f'{value:.4g}'):,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _compared(predictions: Predictions, right: Array, inside: Array) -> dict[str, Any]:
    groups = None if predictions.groups is None else np.array(predictions.groups, dtype=object)
    shares = right[inside].mean() - right[~inside].mean()
    # images of a slice pull the difference up by 1/share, those of the rest down by 1/(1 - share)
    share = inside.mean()
    pulls = np.where(
        inside, (right - right[inside].mean()) / share, -(right - right[~inside].mean()) / (1 - share)
    ) + float(shares)
    interval = mean_difference(pulls, predictions)
    low, high = interval or (None, None)
    return {
        "images": int(inside.sum()),
        "accuracy": _share(predictions, right, inside),
        "rest": _share(predictions, right, ~inside),
        "difference": {"value": float(shares), "low": low, "high": high},
        "p": _permuted(right, inside, groups),
    }


def _share(predictions: Predictions, right: Array, chosen: Array) -> dict[str, Any]:
    value, count = float(right[chosen].mean()), int(chosen.sum())
    if predictions.groups is None:
        low, high = wilson(float(right[chosen].sum()), count)
    else:
        drawn = []
        for weights in resampled_weights(predictions, resamples=500):
            total = weights[:, chosen].sum(axis=1)
            hits = weights[:, chosen] @ right[chosen]
            drawn.append(np.divide(hits, total, out=np.full(len(total), np.nan), where=total > 0))
        low, high = resampled_share(value, np.concatenate(drawn), units=groups_of(predictions, chosen), n=count)
    return {"value": value, "low": low, "high": high}


def _permuted(right: Array, inside: Array, groups: Array | None) -> float:
    generator = np.random.default_rng(0)
    if groups is None:
        size, hits, total = int(inside.sum()), int(right[inside].sum()), int(right.sum())
        drawn = generator.hypergeometric(total, len(right) - total, size, _DRAWN)
        found = abs(hits / size - (total - hits) / (len(right) - size))
        reached = int((abs(drawn / size - (total - drawn) / (len(right) - size)) >= found - 1e-12).sum())
        return (1 + reached) / (_DRAWN + 1)
    members = np.unique(groups, return_inverse=True)[1]
    parts = np.bincount(members, weights=(inside - inside.mean()) * (right - right.mean()))
    reached, rows = 0, max(1, _AT_ONCE // len(parts))
    for start in range(0, _DRAWN, rows):
        signs = generator.choice([-1.0, 1.0], size=(min(rows, _DRAWN - start), len(parts)))
        reached += int((abs(signs @ parts) >= abs(parts.sum()) - 1e-12).sum())
    return (1 + reached) / (_DRAWN + 1)
