"""Curves over epochs and over images, as places on a chart, in percent of its width and height."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from finetune.report.course import Curve, Epoch, Law
from finetune.report.words import number

Place = tuple[float, float]  # from the left and from the top, 0..100
Read = Callable[[Epoch], float | None]

_STEPS = 40  # of a curve that is drawn as a line
_LARGEST = 700.0  # exponent that a float holds


@dataclass(frozen=True)
class Line:
    """One curve. `kind` is "training", "validation" or a stage; `said` describes it to who cannot see it."""

    kind: str
    points: tuple[Place, ...]
    said: str


@dataclass(frozen=True)
class Chart:
    """Curves over epochs. `up` and `along`: ticks as (percent, label), from the top and from the left."""

    title: str
    lines: tuple[Line, ...]
    up: tuple[tuple[float, str], ...]
    along: tuple[tuple[float, str], ...]
    best: Place | None


@dataclass(frozen=True)
class Band:
    """The epochs of one phase: where they lie on the charts, and what trains in them."""

    left: float
    width: float
    number: int
    train: tuple[str, ...]


@dataclass(frozen=True)
class Growth:
    """Accuracy over numbers of images. `points`: as (left, top, top of the interval, its bottom); `fitted`: the law."""

    points: tuple[tuple[float, float, float, float], ...]
    fitted: tuple[Place, ...]
    up: tuple[tuple[float, str], ...]
    along: tuple[tuple[float, str], ...]
    said: str


def bands(epochs: Sequence[Epoch]) -> tuple[Band, ...]:
    """One band per phase, in order."""
    found, done = [], 0
    for phase, members in itertools.groupby(epochs, key=lambda epoch: epoch.phase):
        run = list(members)
        found.append(Band(_share(done, epochs), _share(len(run), epochs), phase, tuple(run[0].train)))
        done += len(run)
    return tuple(found)


def loss(epochs: Sequence[Epoch]) -> Chart | None:
    """Training and validation loss; None where there is neither."""
    return _chart("Loss", epochs, lambda epoch: epoch.train_loss, lambda epoch: epoch.validation_loss, top=None)


def accuracy(epochs: Sequence[Epoch], *, title: str = "Accuracy") -> Chart | None:
    """Training and validation accuracy; None where there is neither."""
    return _chart(title, epochs, lambda epoch: epoch.train_accuracy, lambda epoch: epoch.validation_accuracy, top=1.0)


def rate(epochs: Sequence[Epoch]) -> Chart | None:
    """The learning rate at the end of each epoch, in powers of ten where it falls in steps; None where it was not
    kept.
    """
    known = [epoch.lr for epoch in epochs if epoch.lr is not None]
    alike = sum(before == after for before, after in itertools.pairwise(known))
    if known and min(known) > 0 and max(known) >= 9 * min(known) and 2 * alike >= len(known) - 1:
        return _chart("Learning rate, in powers of ten", epochs, _lr, lambda epoch: None, top=None, powers=True)
    return _chart("Learning rate", epochs, _lr, lambda epoch: None, top=None)


def growth(curve: Curve) -> Growth | None:
    """Accuracy by number of images, with intervals and the law that was fitted; None without a point."""
    points = sorted(curve.points, key=lambda point: point.images)
    if not points:
        return None
    first, last = points[0].images, points[-1].images
    marks = ticks(_inside(min(p.low for p in points)), _inside(max(p.high for p in points)))
    edge = 1.03 * last  # the last point is not cut off

    def left(images: float) -> float:
        return 100 * images / edge

    def top(share: float) -> float:
        return min(100.0, max(0.0, 100 * (marks[-1] - _inside(share)) / (marks[-1] - marks[0])))

    steps = [first + (last - first) * step / _STEPS for step in range(_STEPS + 1)]
    ends = " and ".join(
        f"{number(p.accuracy)} with {p.images:,} images" for p in dict.fromkeys((points[0], points[-1]))
    )
    return Growth(
        points=tuple((left(p.images), top(p.accuracy), top(p.high), top(p.low)) for p in points),
        fitted=tuple((left(n), top(_expected(curve.law, n))) for n in steps) if curve.law and first < last else (),
        up=tuple((top(mark), f"{mark:g}") for mark in marks),
        along=tuple((left(count), f"{count:,.10g}") for count in ticks(0.0, last) if count <= edge),
        said=f"accuracy {ends}",
    )


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers from at or below `low` to at or above `high`."""
    rough = max(high - low, 1e-6) / 4
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 10) for place in range(first, max(last, first + 1) + 1)]


def middle(place: int, epochs: Sequence[Epoch]) -> float:
    """Where an epoch lies on a chart over all of them."""
    return _share(place + 0.5, epochs)


def numbered(epochs: Sequence[Epoch]) -> tuple[tuple[float, str], ...]:
    """The ticks of an axis of epochs, at most twelve."""
    every = math.ceil(len(epochs) / 12)
    return tuple((middle(i, epochs), str(epoch.epoch)) for i, epoch in enumerate(epochs) if (i + 1) % every == 0)


def _powers(low: float, high: float) -> list[float]:
    """The powers of ten from at or below `low` to at or above `high`."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    return [float(f"1e{power}") for power in range(first, max(last, first + 1) + 1)]


def _lr(epoch: Epoch) -> float | None:
    return epoch.lr


def _chart(
    title: str,
    epochs: Sequence[Epoch],
    training: Read,
    validation: Read,
    *,
    top: float | None,
    powers: bool = False,
) -> Chart | None:
    values = [value for epoch in epochs for value in (training(epoch), validation(epoch)) if value is not None]
    if not values:
        return None
    marks = ticks(0.0, max(values)) if top is None else ticks(min(values), top)
    if powers:
        marks = _powers(min(values), max(values))

    def height(value: float) -> float:
        high, low, own = (math.log10(one) if powers else one for one in (marks[-1], marks[0], value))
        return 100 * (high - own) / (high - low)

    lines = []
    for kind, read in (("training", training), ("validation", validation)):
        known = [
            (middle(i, epochs), value, epoch.epoch)
            for i, epoch in enumerate(epochs)
            if (value := read(epoch)) is not None
        ]
        if known:
            ends = " and ".join(f"{number(value)} in epoch {epoch}" for _, value, epoch in (known[0], known[-1]))
            lines.append(
                Line(kind, tuple((x, height(value)) for x, value, _ in known), f"{kind} {title.lower()} {ends}")
            )
    best = [
        (middle(i, epochs), height(value))
        for i, epoch in enumerate(epochs)
        if epoch.best and (value := validation(epoch)) is not None
    ]
    return Chart(
        title=title,
        lines=tuple(lines),
        up=tuple((height(mark), f"{mark:g}") for mark in marks),
        along=numbered(epochs),
        best=best[-1] if best else None,
    )


def _expected(law: Law, images: float) -> float:
    """The accuracy that the law expects, wherever a stranger's numbers lead."""
    power = math.exp(min(_LARGEST, max(-_LARGEST, -law.c * math.log(images))))
    return 1 - law.a - law.b * power


def _inside(share: float) -> float:
    return min(1.0, max(0.0, share))


def _share(count: float, epochs: Sequence[Epoch]) -> float:
    return 100 * count / len(epochs)
