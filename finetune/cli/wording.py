"""Scores in words."""

from collections.abc import Mapping
from typing import Any


def headline(metrics: Mapping[str, Any]) -> str:
    """The score of a run in one line: on which images, how many, and between which bounds the truth lies."""
    for part in ("test", "validation"):
        if part in metrics:
            count = metrics["images"][part]
            said = f"{part} accuracy {interval(metrics[part]['accuracy'])} on {count} images"
            return said if part == "test" else f"{said}, which also chose the epoch: it is optimistic"
    return "no test and no validation images: nothing was measured"


def interval(score: Mapping[str, Any]) -> str:
    """"0.943 [0.921, 0.961]", or why there is no value."""
    if score["value"] is None:
        return f"not defined ({score.get('reason', 'no images')})"
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
