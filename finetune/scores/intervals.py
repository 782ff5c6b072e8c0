"""How sure a score is: Wilson intervals of proportions, and the bootstrap over images or over groups of images."""

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


def clustered(share: float, draws: Array, *, units: int, n: int) -> Interval:
    """The 95 % interval of a proportion of images that come in groups: Wilson's, for as many independent images as
    would vary as much, with Student's quantile for the number of groups.

    draws: (resamples,) the proportion in resamples of whole groups, NaN where it is not defined. units: groups among
    the n images. Where the resamples do not vary, each group counts as one image. In small numbers of groups the
    percentiles of the resamples are too narrow, and this is not (`benchmarks/coverage.py`).
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
