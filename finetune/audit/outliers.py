"""Images far from the others in size, shape, light, sharpness or content."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from finetune.audit.finding import Finding
from finetune.audit.gather import Gathered
from finetune.audit.look import Look

FAR = 5.0  # modified z-score from which on an image is an outlier
FEWEST = 20  # images without which nothing is far from the others
MANY = 0.1  # of all images, above which those that are far are no outliers but images of another kind
EXAMPLES = 6  # images that are named of those
BLANK = 0.01  # contrast below which there is nothing to see

_NORMAL = 0.6745  # the median absolute deviation of a normal distribution of standard deviation 1
_MEAN = 0.7979  # its mean absolute deviation

# kind and words below, kind and words above, what is compared, what is shown, what that is
_Measure = tuple[str, str, str, str, Callable[[Look], float], Callable[[Look], float], str]
_MEASURES: tuple[_Measure, ...] = (
    ("small", "much smaller", "large", "much larger",
     lambda look: math.log(look.width * look.height), lambda look: look.width * look.height, "pixels"),
    ("", "", "oblong", "much more oblong",
     lambda look: abs(math.log(look.width / look.height)), lambda look: look.width / look.height, "width / height"),
    ("dark", "much darker", "bright", "much brighter",
     lambda look: look.brightness, lambda look: look.brightness, "brightness"),
    ("flat", "of much less contrast", "", "",
     lambda look: math.log(look.contrast + 0.01), lambda look: look.contrast, "contrast"),
    ("blurred", "much more blurred", "noisy", "of much more fine detail or noise",
     lambda look: math.log(look.blur + 1), lambda look: look.blur, "sharpness"),
    ("", "", "little-information", "of much less information",
     lambda look: math.log(8.1 - look.entropy), lambda look: look.entropy, "bits"),
)  # fmt: skip


def check(known: Gathered) -> Iterator[Finding]:
    """A warning for each image with nothing on it, a note for each that is far from the others in some measure.

    Far: a modified z-score, 0.6745 (x - median) / MAD, beyond 5 (Iglewicz and Hoaglin 1993, How to detect and handle
    outliers, section 3.3, who take 3.5 for samples; photographs have heavier tails). Where the MAD is 0 the mean
    absolute deviation takes its place. Sizes, contrast and blur are compared as logarithms, information as that of what
    it lacks to 8 bits. Where more than a tenth of all are far to one side, one note says so of them together.
    """
    for key, look in known.looks.items():
        if look.contrast < BLANK:
            text = "there is nothing on the image but one colour"
            yield Finding("outliers", "blank", "warning", text, (key,), {"contrast": _rounded(look.contrast)})
    if len(known.looks) >= FEWEST:
        seen = [(key, look) for key, look in known.looks.items()]
        for below, less, above, more, compared, shown, what in _MEASURES:
            scores = z_scores(np.array([compared(look) for _, look in seen]))
            usual = float(np.median([shown(look) for _, look in seen]))
            for kind, words, away in ((below, less, -scores), (above, more, scores)):
                ranked = np.argsort(-away, kind="stable").tolist() if kind else []
                far = [place for place in ranked if away[place] > FAR and seen[place][1].contrast >= BLANK]
                if len(far) > MANY * len(seen):
                    yield _two_kinds(kind, words, [seen[place][0] for place in far], len(seen))
                    continue
                for place in far:
                    key, look = seen[place]
                    value, median = _rounded(shown(look)), _rounded(usual)
                    text = f"{words} than the others: {_said(value)} {what}, where half have less than {_said(median)}"
                    figures = {"value": value, "median": median, "z": _rounded(scores[place])}
                    yield Finding("outliers", kind, "note", text, (key,), figures)


def _two_kinds(kind: str, words: str, keys: list[str], images: int) -> Finding:
    text = f"{len(keys)} of {images} images are {words} than the others: these are images of two kinds"
    return Finding("outliers", kind, "note", text, tuple(keys[:EXAMPLES]), {"images": len(keys), "of": images})


def z_scores(values: np.ndarray) -> np.ndarray:
    """Modified z-scores, float64 (n,), of float (n,); all zero where all values are the same."""
    away = values - np.median(values)
    spread = float(np.median(np.abs(away))) / _NORMAL
    if spread < 1e-9:
        spread = float(np.mean(np.abs(away))) / _MEAN
    scores: np.ndarray = away / spread if spread > 1e-9 else np.zeros_like(away)
    return scores


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _said(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
