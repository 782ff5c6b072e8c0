"""A plan for people: lines of at most 80 columns."""

import math
import textwrap
from collections.abc import Sequence

from finetune.errors import printable
from finetune.recipe.cost import Costs, duration, estimate, fitting, image_size, passing
from finetune.recipe.facts import Facts
from finetune.recipe.machine import Rates
from finetune.recipe.plan import Phase, Plan, stage_lr
from finetune.recipe.schema import Recipe
from finetune.recipe.section import Stage
from finetune.recipe.tiers import named

WIDTH = 80


def describe(plan: Plan, facts: Facts, recipe: Recipe, costs: Costs | None, rates: Rates | None) -> list[str]:
    """The plan for people, as lines: what is fitted, phases or tiers, times, reasons; at most 80 columns."""
    begins = plan.chosen or (plan.tiers[0] if plan.tiers else None)
    size = (begins.size if begins else None) or image_size(recipe)
    lines = [
        *_wrapped(
            f"{recipe.name}: {recipe.backbone.name}, {recipe.backbone.weights.kind} weights, {size} x {size} pixels"
        ),
        *_wrapped(_images(facts)),
        "",
    ]
    seconds = estimate(plan, facts, costs, recipe.all_stages)
    if plan.probe_views is not None:
        probing = _probing(plan.probe_views, facts, costs)
        seen = "the plain view" if plan.probe_views == 1 else f"{plan.probe_views} views"
        said = f"head: found by cross-validation on the frozen features of {seen} of each image"
        lines += [*_wrapped(said if probing is None else f"{said}, in about {duration(probing)}"), ""]
        seconds = [probing, *seconds]
    lines += _phases(plan, facts, seconds[-len(plan.phases) :], recipe.all_stages) if plan.phases else []
    if plan.tiers and not plan.phases:
        lines += [*tried(plan, recipe), ""]
        seconds = [tier.seconds for tier in plan.tiers]
    remarks = [*plan.reasons, _on_time(seconds, rates, times=facts.folds + 1)]
    return [*lines, *(line for remark in remarks for line in _wrapped(f"- {remark}", "  "))]


def _images(facts: Facts) -> str:
    """With folds there are no test images, and most often none for validation."""
    if not facts.folds:
        counted = f"{facts.train} training, {facts.validation} validation and {facts.test} test images"
        return f"{counted} of {facts.classes} classes"
    counted = f"{facts.train} training and {facts.validation} validation images"
    whole = counted if facts.validation else f"{facts.train} images"
    return f"{whole} of {facts.classes} classes, each held out in one of {facts.folds} folds"


def _probing(views: int, facts: Facts, costs: Costs | None) -> float | None:
    images = facts.train + facts.validation
    seen = passing(images, costs, views=views)
    return None if seen is None else seen + fitting(views * images)


def _phases(plan: Plan, facts: Facts, seconds: Sequence[float | None], stages: tuple[Stage, ...]) -> list[str]:
    steps = math.ceil(facts.train / facts.batch_size)
    lines = [f"phase  {'trains':<26}  epochs     steps  {'BatchNorm':<10}  time, about"]
    for number, (phase, needed) in enumerate(zip(plan.phases, seconds, strict=True), start=1):
        policy = phase.batch_norm if set(phase.train) != {"head"} else "frozen"
        trained, epochs = _named(phase.train, stages), phase.epochs
        lines.append(f"{number:>5}  {trained:<26}  {epochs:>6}  {epochs * steps:>8}  {policy:<10}  {duration(needed)}")
    lines += ["", "rate   " + "".join(f"{stage:>10}" for stage in stages)]
    for number, phase in enumerate(plan.phases, start=1):
        lines.append(f"{number:>5}  " + "".join(_rate(phase, stage, stages) for stage in stages))
    kept = [f"{p.views} in phase {n}" for n, p in enumerate(plan.phases, start=1) if p.views is not None]
    if kept:
        lines += ["", *_wrapped(f"views of each image kept below the stages that train: {', '.join(kept)}")]
    return [*lines, ""]


def tried(plan: Plan, recipe: Recipe) -> list[str]:
    """What `auto` will try, in order, with what each takes and may bring; lines of at most 80 columns."""
    lines = [f"{'tried in this order':<40}  {'time':>8}  may bring"]
    for tier in plan.tiers:
        said = f"{named(tier, recipe):<40}  {duration(tier.seconds):>8}  {tier.gain}"
        lines += textwrap.wrap(said, WIDTH, subsequent_indent=" " * 52)
    return lines


def _on_time(seconds: Sequence[float | None], rates: Rates | None, *, times: int) -> str:
    known = [one for one in seconds if one is not None]
    if rates is None or len(known) < len(seconds):
        return "no times: run `finetune doctor` to measure this machine"
    threads = f"{rates.threads} {'thread' if rates.threads == 1 else 'threads'}"
    return (
        f"about {duration(times * sum(known))} in all: an estimate from the rates measured on this machine on "
        f"{printable(rates.measured)} with {threads}"
    )


def _named(train: tuple[Stage, ...], stages: tuple[Stage, ...]) -> str:
    """The stages in few words: three or more in a row are named by the first and the last."""
    if set(train) == set(stages):
        return "all stages"
    runs: list[list[Stage]] = []
    for below, stage in zip((None, *stages), stages, strict=False):
        if stage in train and below in train:
            runs[-1].append(stage)
        elif stage in train:
            runs.append([stage])
    return " ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else " ".join(run) for run in runs)


def _rate(phase: Phase, stage: Stage, stages: tuple[Stage, ...]) -> str:
    return f"{stage_lr(phase, stage, stages[:-1]):>10.2g}" if stage in phase.train else f"{'-':>10}"


def _wrapped(text: str, hanging: str = "") -> list[str]:
    return textwrap.wrap(printable(text, limit=1000), WIDTH, subsequent_indent=hanging)
