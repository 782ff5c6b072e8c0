"""Scores in words, and words in lines."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune.errors import printable, size

if TYPE_CHECKING:
    from finetune.bundle.shelf import Row
    from finetune.data.catalog import LeftOut

WIDTH = 80
_LISTED = 20  # files left out


def fitted(text: str, width: int = WIDTH) -> list[str]:
    """The lines of a text in lines of at most so many columns, those that go on further in; words stay whole."""
    lines = []
    for line in text.splitlines():
        if len(line) <= width:
            lines.append(line)
            continue
        margin = " " * (len(line) - len(line.lstrip()))
        lines += textwrap.wrap(
            line, width, subsequent_indent=f"{margin}    ", break_long_words=False, break_on_hyphens=False
        )
    return lines


def shortened(path: str, limit: int) -> str:
    """A path in so many columns: what is too long loses its middle, for files are told apart by how they end."""
    shown = printable(path, limit=len(path) * 10)
    if len(shown) <= limit:
        return shown
    head = (limit - 1) // 3
    return f"{shown[:head]}…{shown[len(shown) - (limit - 1 - head) :]}"


def held(row: "Row") -> str:
    """The most memory that a run held, and of its accelerator."""
    if row.memory is None:
        return "-"
    return size(row.memory) + ("" if row.device_memory is None else f" + {size(row.device_memory)} on the device")


def left_out(found: "Sequence[LeftOut]") -> list[str]:
    """How many files are left out, and the first of them with their reasons."""
    if not found:
        return []
    lines = [f"left out: {len(found)}"]
    for item in found[:_LISTED]:
        reason = printable(item.reason, limit=1000)
        lines += fitted(f"    {shortened(item.key, max(20, WIDTH - 6 - len(reason)))}: {reason}")
    if len(found) > _LISTED:
        lines.append(f"    … and {len(found) - _LISTED} more; --json lists all")
    return lines


def headline(metrics: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> str:
    """The score of a run in one line: on which images, how many, and between which bounds the truth lies; history: its
    epochs.
    """
    if folds := metrics.get("images", {}).get("folds"):
        return f"{folds}-fold {_accuracy(metrics['test'])} on {_count(metrics['test'])} images, each held out once"
    for part in ("test", "validation"):
        if part in metrics:
            said = f"{part} {_accuracy(metrics[part])} on {metrics['images'][part]} images"
            chose = part == "validation" and any(epoch["best"] for epoch in history)
            return f"{said}, which also chose the epoch: it is optimistic" if chose else said
    if held_out := metrics.get("out_of_fold"):
        said = f"held-out {_accuracy(held_out)} on {_count(held_out)} images"
        return f"{said}, which also chose the head: it is slightly optimistic"
    return "no test and no validation images: nothing was measured"


def _count(scores: Mapping[str, Any]) -> int:
    several = scores.get("errors")
    return int(several["images"]) if several else sum(row["support"] for row in scores["per_class"])


def _accuracy(scores: Mapping[str, Any]) -> str:
    """Of several labels the share of images with all of them right."""
    name = "accuracy" if "accuracy" in scores else "subset_accuracy"
    return f"{name.replace('_', ' ')} {interval(scores[name])}"


def scores_table(scores: Mapping[str, Any], *, images: int) -> str:
    """Every score of a set of predictions with its 95 % interval, and the classes, in at most 80 columns."""
    lines = [f"{images} images; 95 % intervals in brackets"]
    single = {name: value for name, value in scores.items() if isinstance(value, Mapping) and "value" in value}
    width = max(map(len, single))
    lines += [f"    {name.replace('_', ' '):<{width}}  {interval(value)}" for name, value in single.items()]
    lines += [
        f"    {f'top {k} accuracy':<{width}}  {interval(value)}"
        for k, value in scores.get("top_k", {}).items()
        if k != "1"
    ]
    what = "label" if "errors" in scores else "class"
    lines.append(f"    {what:<20}  {'images':>6}  {'recall':<20}  precision")
    for row in scores["per_class"]:
        name = printable(row["class"], limit=20)
        both = f"{interval(row['recall']):<20}  {interval(row['precision'])}"
        lines.append(f"    {name:<20}  {row['support']:>6}  {both}".rstrip())
    return "\n".join(lines)


def interval(score: Mapping[str, Any]) -> str:
    """ "0.943 [0.921, 0.961]"; a dash where there is no value, as for a class without images."""
    if score["value"] is None:
        return "-"
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
