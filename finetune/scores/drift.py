"""Whether a score on new images differs from the score that a bundle was left with."""

import math
from collections.abc import Mapping
from typing import Any

Score = Mapping[str, Any]


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
