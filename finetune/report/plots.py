"""Small drawings of measured values, as places in percent of their width and height."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from finetune.report.curves import Place, ticks
from finetune.report.looked import Corruption, Corruptions
from finetune.report.records import Calibration, Score, Selective
from finetune.report.words import number

Dot = tuple[float, float, float, float]  # from the left, from the top, the top of its interval, the bottom

_LEAST = 0.02  # of wrong answers that an axis reaches to, where none is wrong


@dataclass(frozen=True)
class Plot:
    """Dots with intervals, and lines. `up` and `along`: ticks as (percent, label), from the top and from the left;
    `lines`: (kind, places); `said` describes it to who cannot see it.
    """

    title: str
    said: str
    up: tuple[tuple[float, str], ...]
    along: tuple[tuple[float, str], ...]
    up_is: str = ""
    along_is: str = ""
    dots: tuple[Dot, ...] = ()
    lines: tuple[tuple[str, tuple[Place, ...]], ...] = ()
    kind: str = ""


def reliability(calibration: Calibration) -> Plot | None:
    """Accuracy over confidence, bin by bin, with intervals; None without an image in any."""
    bins = [one for one in calibration.bins if one.images and one.confidence is not None and one.accuracy]
    if not bins:
        return None
    scores = [one.accuracy for one in bins if one.accuracy]
    least = min([one.low for one in bins] + [_low(score) for score in scores])
    marks = ticks(_inside(least), 1.0)

    def left(share: float) -> float:
        return 100 * (_inside(share) - marks[0]) / (marks[-1] - marks[0])

    dots = tuple(_dot(left(one.confidence or 0.0), one.accuracy, left) for one in bins if one.accuracy)
    ends = (bins[0], bins[-1]) if len(bins) > 1 else bins
    said = " and ".join(
        f"{number(one.accuracy.value if one.accuracy else None, 2)} are right where {number(one.confidence, 2)} is said"
        for one in ends
    )
    return Plot(
        title="Accuracy by confidence",
        said=said,
        up=tuple((100 - left(mark), f"{mark:g}") for mark in marks),
        along=tuple((left(mark), f"{mark:g}") for mark in marks),
        up_is="share that is right",
        along_is="confidence",
        dots=dots,
        lines=(("even", ((0.0, 100.0), (100.0, 0.0))),),
        kind="square",
    )


def risk(selective: Selective) -> Plot | None:
    """The share of wrong answers over the share that is answered, the surest first; None without a point."""
    pairs = sorted(zip(selective.coverage, selective.risk, strict=False))
    if not pairs:
        return None
    reached = [
        (one.coverage.value, one.selective_accuracy)
        for one in selective.targets
        if one.coverage and one.coverage.value is not None and one.selective_accuracy
    ]
    highest = max([_LEAST, *(share for _, share in pairs), *(1 - _low(score) for _, score in reached)])
    marks = ticks(0.0, _inside(highest))

    def top(share: float) -> float:
        return max(0.0, 100 * (marks[-1] - share) / (marks[-1] - marks[0]))

    return Plot(
        title="Wrong answers, if only the surest are given",
        said=f"{number(pairs[-1][1])} of all answers are wrong, {number(pairs[len(pairs) // 2][1])} of the surer half",
        up=tuple((top(mark), f"{mark:g}") for mark in marks),
        along=tuple((100 * mark, f"{mark:g}") for mark in (0, 0.25, 0.5, 0.75, 1)),
        up_is="share that is wrong",
        along_is="share that is answered",
        dots=tuple(
            (100 * coverage, top(1 - (score.value or 0.0)), top(1 - _high(score)), top(1 - _low(score)))
            for coverage, score in reached
        ),
        lines=(("curve", tuple((100 * coverage, top(share)) for coverage, share in pairs)),),
        kind="square",
    )


def robustness(found: Corruptions) -> tuple[Plot, ...]:
    """One small drawing for each corruption: the accuracy without it and at its three strengths, all on one scale."""
    least = min([_low(row.accuracy) for row in found.rows] + [_low(found.clean.accuracy)])
    marks = ticks(_inside(least), 1.0)

    def top(share: float) -> float:
        return 100 * (marks[-1] - _inside(share)) / (marks[-1] - marks[0])

    drawn = []
    for kind, rows in by_kind(found.rows):
        shown = [("none", found.clean.accuracy), *((str(row.severity), row.accuracy) for row in rows)]
        dots = tuple(
            _dot(12.5 + 25 * place, score, lambda share: 100 - top(share)) for place, (_, score) in enumerate(shown)
        )
        said = ", ".join(f"{number(score.value, 2)} at {name}" for name, score in shown)
        drawn.append(
            Plot(
                title=kind,
                said=f"accuracy {said}",
                up=tuple((top(mark), f"{mark:g}") for mark in marks),
                along=tuple((12.5 + 25 * place, name) for place, (name, _) in enumerate(shown)),
                dots=dots,
                lines=(("curve", tuple((x, y) for x, y, _, _ in dots)),),
                kind="small",
            )
        )
    return tuple(drawn)


def by_kind(rows: Sequence[Corruption]) -> list[tuple[str, list[Corruption]]]:
    """The rows of each kind of corruption, the weakest first, in the order of the file."""
    kinds = dict.fromkeys(row.kind for row in rows)
    return [(kind, sorted((row for row in rows if row.kind == kind), key=lambda row: row.severity)) for kind in kinds]


def _dot(left: float, score: Score, height: Callable[[float], float]) -> Dot:
    value = score.value or 0.0
    return left, 100 - height(value), 100 - height(_high(score)), 100 - height(_low(score))


def _low(score: Score) -> float:
    return score.low if score.low is not None else score.value or 0.0


def _high(score: Score) -> float:
    return score.high if score.high is not None else score.value or 0.0


def _inside(share: float) -> float:
    return min(1.0, max(0.0, share))
