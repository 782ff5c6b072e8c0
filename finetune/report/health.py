"""How stages stood as they learnt: their gradients, steps and activations as places on charts, and in words where it is
clear that gradients vanish or explode.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from finetune.recipe.section import STAGES
from finetune.report.course import Epoch, Health
from finetune.report.curves import Chart, Line, middle, numbered
from finetune.report.sourced import Shown, Value, at, shown
from finetune.report.words import significant

# A step should move weights by about a thousandth of their norm; ten times more or less is still taken to be sound. So
# stages whose gradients, each over its own weights, lie further apart than this cannot all be served by one rate.
APART = 100.0

_DECADES = 6  # labels of an axis
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Read = Callable[[Health], float | None]


@dataclass(frozen=True)
class Trend:
    """Gradients that grow, or shrink, on their way down from stage `above` to stage `below`, and how many times; at
    which step it is most; `always`: at every step at which these stages were seen to train.
    """

    grows: bool
    above: str
    below: str
    times: Shown | str
    epoch: Value
    first: bool
    always: bool


def charts(epochs: Sequence[Epoch]) -> tuple[Chart, ...]:
    """Norms of gradients, shares of the weights that a step changed, and activations, by stage; without those that
    nothing is known of.
    """
    drawn = (
        _chart("Norm of the gradient", epochs, lambda one: one.gradient),
        _chart("Update over weights", epochs, lambda one: one.update),
        _chart("Activations, root mean square", epochs, lambda one: one.activation),
    )
    return tuple(chart for chart in drawn if chart)


def ends(epochs: Sequence[Epoch]) -> list[tuple[str, Health, Health]]:
    """Of every stage what was seen first and last of it: while it learnt, where it did."""
    found: list[tuple[str, Health, Health]] = []
    for stage in STAGES:
        own = [one for epoch in epochs for one in epoch.health if one.stage == stage]
        own = [one for one in own if one.gradient is not None] or own
        if own:
            found.append((stage, own[0], own[-1]))
    return found


def trend(epochs: Sequence[Epoch]) -> Trend | None:
    """What is clear: from the last stage of the network that learns to the first, with no exception among those
    between, gradients over weights grow or shrink, and more than APART times in all.
    """
    seen = [(epoch, step, chain) for epoch, step, chain in _chains(epochs) if len(chain) > 2]
    steps = {grows: [one for one in seen if _apart(one[2], grows=grows) > APART] for grows in (True, False)}
    grows = len(steps[True]) >= len(steps[False])
    if not steps[grows]:
        return None
    epoch, step, chain = max(steps[grows], key=lambda one: _apart(one[2], grows=grows))
    low, high = (chain[-1], chain[0]) if grows else (chain[0], chain[-1])
    sources = [at(one, name).source for one in (high, low) for name in ("gradient", "weights")]
    return Trend(
        grows=grows,
        above=chain[-1].stage,
        below=chain[0].stage,
        times=shown(f"{_apart(chain, grows=grows):,.0f}", *sources, verb="fold"),
        epoch=at(epoch, "epoch"),
        first=step == 1,
        always=len(steps[grows]) == len(seen),
    )


def silent(epochs: Sequence[Epoch]) -> list[str]:
    """The stages that no gradient came to at the last step of all, though they were to learn."""
    if not epochs or not epochs[-1].health:
        return []
    last = max(one.step for one in epochs[-1].health)
    return [one.stage for one in epochs[-1].health if one.step == last and one.gradient == 0]


def _chains(epochs: Sequence[Epoch]) -> list[tuple[Epoch, int, list[Health]]]:
    """At every step that was looked at the stages of the network that learnt, in order, without the head."""
    found = []
    for epoch in epochs:
        for step, members in groupby(epoch.health, key=lambda one: one.step):
            by_stage = {one.stage: one for one in members if one.gradient and one.weights}
            found.append((epoch, step, [by_stage[stage] for stage in STAGES[:-1] if stage in by_stage]))
    return found


def _apart(chain: Sequence[Health], *, grows: bool) -> float:
    """How many times the gradient of the first stage over its weights is that of the last, or, where it does not grow,
    the other way round; 0 where that is not the direction between all neighbours.
    """
    shares = [(one.gradient or 0.0) / (one.weights or 1.0) for one in (chain if grows else chain[::-1])]
    ordered = all(one > other for one, other in pairwise(shares))
    return shares[0] / shares[-1] if ordered else 0.0


def _chart(title: str, epochs: Sequence[Epoch], read: Read) -> Chart | None:
    known = [value for epoch in epochs for one in epoch.health if (value := read(one))]
    if not known:
        return None
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    high += low == high
    every = math.ceil((high - low) / _DECADES)

    def height(value: float) -> float:
        return 100 * (high - math.log10(value)) / (high - low)

    lines = [line for stage in STAGES for line in _lines(stage, epochs, read, height)]
    marks = range(low, high + 1, every)
    up = tuple((100 * (high - mark) / (high - low), _power(mark)) for mark in marks)
    return Chart(title, tuple(lines), up, numbered(epochs), None)


def _lines(stage: str, epochs: Sequence[Epoch], read: Read, height: Callable[[float], float]) -> list[Line]:
    """The curve of a stage, in pieces where it did not learn in between; zero has no place on it."""
    width = 100 / len(epochs)
    places: list[tuple[float, float | None]] = []
    for place, epoch in enumerate(epochs):
        own = [one for one in epoch.health if one.stage == stage]
        sides = {one.step: middle(place, epochs) + width * (0.25 if i else -0.25) for i, one in enumerate(own)}
        places += [(sides[one.step], read(one)) for one in own] or [(0.0, None)]
    pieces = [list(its) for known, its in groupby(places, key=lambda one: bool(one[1])) if known]
    values = [value for piece in pieces for _, value in piece if value]
    ends = " and ".join(significant(value) for value in (values[0], values[-1])) if values else ""
    return [
        Line(stage, tuple((x, height(value)) for x, value in piece if value), f"{stage} {ends}") for piece in pieces
    ]


def _power(exponent: int) -> str:
    return {0: "1", 1: "10"}.get(exponent, f"10{str(exponent).translate(_RAISED)}")
