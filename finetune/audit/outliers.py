"""Images far from the others in size, shape, light, sharpness or content."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from finetune.audit.finding import Finding
from finetune.audit.gather import Gathered
from finetune.audit.look import Look

FAR = 5.0  # modified z-score from which on an image is an outlier
FEWEST = 20  # images without which nothing is far from the others
BLANK = 0.01  # contrast below which there is nothing to see

_NORMAL = 0.6745  # the median absolute deviation of a normal distribution of standard deviation 1
_MEAN = 0.7979  # its mean absolute deviation

# kind below, kind above, words for both, what is measured, how it is shown
_Measure = tuple[str, str, str, str, Callable[[Look], float], Callable[[Look], float]]
_MEASURES: tuple[_Measure, ...] = (
    ("small", "large", "much smaller", "much larger",
     lambda look: math.log(look.width * look.height), lambda look: look.width * look.height),
    ("", "oblong", "", "much more oblong",
     lambda look: abs(math.log(look.width / look.height)), lambda look: look.width / look.height),
    ("dark", "bright", "much darker", "much brighter",
     lambda look: look.brightness, lambda look: look.brightness),
    ("flat", "", "of much less contrast", "",
     lambda look: math.log(look.contrast + 0.01), lambda look: look.contrast),
    ("blurred", "noisy", "much more blurred", "of much more fine detail or noise",
     lambda look: math.log(look.blur + 1), lambda look: look.blur),
    ("", "little-information", "", "of much less information",
     lambda look: math.log(8.1 - look.entropy), lambda look: look.entropy),
)  # fmt: skip


def check(known: Gathered) -> Iterator[Finding]:
    """A warning for each image with nothing on it, a note for each that is far from the others in some measure.

    Far: a modified z-score, 0.6745 (x - median) / MAD, beyond 5 (Iglewicz and Hoaglin 1993, How to detect and handle
    outliers, section 3.3, who take 3.5 for samples; photographs have heavier tails, and 3.5 names one in fifty). Where
    the MAD is 0 the mean absolute deviation takes its place. Sizes, contrast and blur are compared as logarithms,
    information as that of what it lacks to 8 bits.
    """
    keys, looks = list(known.looks), list(known.looks.values())
    for key, look in known.looks.items():
        if look.contrast < BLANK:
            figures = {"contrast": round(look.contrast, 4)}
            yield Finding(
                "outliers", "blank", "warning", "there is nothing on the image but one colour", (key,), figures
            )
    if len(looks) < FEWEST:
        return
    for below, above, less, more, measure, shown in _MEASURES:
        values = np.array([measure(look) for look in looks])
        scores = z_scores(values)
        usual = shown(looks[int(np.argsort(values, kind="stable")[len(values) // 2])])
        for place in np.argsort(-np.abs(scores), kind="stable").tolist():
            kind, words = (above, more) if scores[place] > 0 else (below, less)
            if abs(scores[place]) <= FAR:
                break
            if kind and looks[place].contrast >= BLANK:
                figures = {"value": _round(shown(looks[place])), "median": _round(usual), "z": _round(scores[place])}
                yield Finding("outliers", kind, "note", f"{words} than the others", (keys[place],), figures)


def z_scores(values: np.ndarray) -> np.ndarray:
    """Modified z-scores, float64 (n,), of float (n,); all zero where all values are the same."""
    away = values - np.median(values)
    spread = float(np.median(np.abs(away))) / _NORMAL
    if spread < 1e-9:
        spread = float(np.mean(np.abs(away))) / _MEAN
    scores: np.ndarray = away / spread if spread > 1e-9 else np.zeros_like(away)
    return scores


def _round(value: float) -> float:
    return float(f"{value:.4g}")
