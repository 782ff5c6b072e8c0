"""How sure a score is: intervals of proportions, of means and of differences, by image or by group of images.

How often they hold the truth is measured in `benchmarks/coverage.py`; each form is there because the plain percentiles
of the bootstrap are too narrow where few answers are wrong.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.scores.predictions import Predictions

Array = npt.NDArray[Any]
Interval = tuple[float, float]

_Z = 1.959963984540054  # the 97.5 % point of the normal distribution
_FEW_FREEDOMS = (math.inf, 12.706205, 4.302653, 3.182446, 2.776445, 2.570582)  # 97.5 % points of Student's distribution
_WEIGHTS_AT_ONCE = 2_000_000  # 16 MB of float64


def wilson(successes: float, n: float, *, z: float = _Z) -> Interval:
    """The 95 % interval of a proportion, within 0..1; (0, 1) when n is 0. `z`: the quantile that stands for 95 %.

    Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference, JASA 22, pp. 209-212.
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + z**2 / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = (centre - spread) / (1 + z**2 / n), (centre + spread) / (1 + z**2 / n)
    # at 0 and n successes one end is exact; rounding must not say 0.9999999
    return (0.0 if successes == 0 else max(0.0, low)), (1.0 if successes == n else min(1.0, high))


def resampled_share(share: float, draws: Array, *, units: int, n: int) -> Interval:
    """The 95 % interval of a score within 0..1 of which the bootstrap says how much it varies: Wilson's, for as many
    independent images as would vary as much, with Student's quantile for the number of units.

    draws: (resamples,) the score in resamples of whole units, NaN where it is not defined. units: groups, or images
    where there are none, among the n images. Where the resamples do not vary, each unit counts as one image.
    Korn and Graubard 1998, Confidence Intervals for Proportions with Small Expected Number of Positive Counts
    Estimated from Survey Data; Dean and Pagano 2015, Evaluating Confidence Interval Methods for Binomial Proportions
    in Clustered Surveys, for Wilson's form.
    """
    known = draws[~np.isnan(draws)]
    if units < 2 or known.size == 0 or np.ptp(known) <= 1e-12:
        return wilson(share * units, units)
    variance = float(known.var()) * units / (units - 1)
    alike = min(float(n), share * (1 - share) / variance)
    return wilson(share * alike, alike, z=_student(units - 1))


def mean(values: Array, predictions: Predictions) -> Interval | None:
    """The 95 % interval of the mean of values that may be skewed, as losses are; None of a single unit.

    values: (n,) float, one for each image. Student's interval over images or groups, with the transformation that
    removes the skewness; of values none of which is negative it does not go below 0. Of losses of which fewer than ten
    answers make the most, 90 to 95 of 100 hold the truth.
    Hall 1992, On the Removal of Skewness by Transformation, JRSS B 54, equation 2.
    """
    away = _away(values, predictions)
    units = len(away)
    if units < 2:
        return None
    value, error = float(values.mean()), math.sqrt(float((away**2).sum()) / units / (units - 1))
    if error <= 1e-12 * max(1.0, abs(value)):
        return value, value
    skewness = float((away**3).mean() / (away**2).mean() ** 1.5) / math.sqrt(units)

    def straight(z: float) -> float:
        return 3 / skewness * (math.cbrt(1 + skewness * (z - skewness / 6)) - 1) if abs(skewness) > 1e-6 else z

    quantile = _student(units - 1)
    low, high = value - straight(quantile) * error, value - straight(-quantile) * error
    return min(value, max(low, 0.0) if values.min() >= 0 else low), max(value, high)


def mean_difference(values: Array, predictions: Predictions) -> Interval | None:
    """The 95 % interval of the mean of differences (n,), Student's over images or groups; None of a single unit."""
    away = _away(values, predictions)
    units = len(away)
    if units < 2:
        return None
    spread = _student(units - 1) * math.sqrt(float((away**2).sum()) / units / (units - 1))
    return float(values.mean()) - spread, float(values.mean()) + spread


def share_difference(difference: float, draws: Array, *, units: int, n: int) -> Interval:
    """The 95 % interval of the difference of two scores within 0..1 on the same n images, within -1..1.

    draws: (resamples,) the difference in resamples of whole units (groups or images). Student's interval from how much
    they vary, with half an image added that speaks for either side, so that two classifiers that agree on all of few
    images are not the same for certain. After Bonett and Price 2012, Adjusted Wald Confidence Interval for a Difference
    of Binomial Proportions Based on Paired Data, who add a whole one; with that 98 % and more of intervals hold the
    truth where few answers differ.
    """
    known = draws[~np.isnan(draws)]
    variance = float(known.var()) * units / (units - 1) if units > 1 and known.size else 1.0
    shrunk = n / (n + 1)
    spread = _student(max(1, units - 1)) * math.sqrt(variance * shrunk**2 + 1 / (n + 1) ** 2)
    low, high = difference * shrunk - spread, difference * shrunk + spread
    return max(-1.0, min(low, difference)), min(1.0, max(high, difference))


def _away(values: Array, predictions: Predictions) -> Array:
    """(units,): how far images or groups pull the mean of all images from where it is, each as if it were alone."""
    members = _group_numbers(predictions)
    units = int(members.max()) + 1
    sums = np.bincount(members, weights=values - values.mean(), minlength=units)
    return np.asarray(sums * units / len(values))


def _student(freedom: int) -> float:
    """The 97.5 % point of Student's distribution; from 6 degrees of freedom the expansion about the normal one, right
    to 0.002 (Abramowitz and Stegun 1964, 26.7.5).
    """
    if freedom < len(_FEW_FREEDOMS):
        return _FEW_FREEDOMS[freedom]
    z, terms = _Z, 0.0
    terms += (z**3 + z) / (4 * freedom)
    terms += (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    terms += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    return z + terms


def percentiles(draws: Array, *, value: float, otherwise: Interval) -> Interval:
    """The 2.5 and 97.5 percentiles of `draws`, widened to hold `value`.

    draws: (resamples,) float, NaN where a resample does not define the score. When the resamples do not vary (every
    image right, or every one wrong) they say nothing, and `otherwise` is the interval: 36 right of 36 does not make
    1.000 certain.
    Efron 1979, Bootstrap Methods: Another Look at the Jackknife; Efron and Tibshirani 1993, section 13.3.
    """
    known = draws[~np.isnan(draws)]
    if known.size == 0 or np.ptp(known) <= 1e-12:
        low, high = otherwise
    else:
        low, high = (float(end) for end in np.percentile(known, [2.5, 97.5]))
    return min(low, value), max(high, value)


def resampled_weights(predictions: Predictions, *, resamples: int) -> Iterator[Array]:
    """How often each image occurs in each bootstrap resample: chunks of (some, n) float64, `resamples` rows in all.

    Images are drawn with replacement; where there are groups, whole groups are. The generator is seeded from a hash of
    the predictions, so that equal predictions have equal intervals.
    """
    members = _group_numbers(predictions)
    units, n = int(members.max()) + 1, len(members)
    generator = np.random.Generator(np.random.PCG64(_fingerprint(predictions)))
    chunk = max(1, _WEIGHTS_AT_ONCE // max(n, units))
    for first in range(0, resamples, chunk):
        rows = min(chunk, resamples - first)
        drawn = generator.integers(0, units, size=(rows, units)) + units * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units)
        yield times[:, members].astype(np.float64)


def groups_of(predictions: Predictions, chosen: Array) -> int:
    """How many independent units (groups, or images where there are none) the chosen images come from."""
    return len(np.unique(_group_numbers(predictions)[chosen]))


def _group_numbers(predictions: Predictions) -> Array:
    if predictions.groups is None:
        return np.arange(len(predictions))
    return np.unique(np.array(predictions.groups, dtype=object), return_inverse=True)[1].astype(np.int64)


def _fingerprint(predictions: Predictions) -> int:
    texts = json.dumps([predictions.keys, predictions.classes, predictions.groups])
    digest = hashlib.blake2b(texts.encode("ascii"), digest_size=16)
    digest.update(np.ascontiguousarray(predictions.logits, dtype="<f4").tobytes())
    if predictions.labels is not None:
        digest.update(np.ascontiguousarray(predictions.labels).astype("<i8").tobytes())
    return int.from_bytes(digest.digest(), "little")
