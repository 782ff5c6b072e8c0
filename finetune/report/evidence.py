"""What a report is made from, read from a bundle and checked: past this module every value has the type it should have.

A stranger may have written the bundle, so what does not fit is a BundleError that names the file and the place in it.
"""

from dataclasses import dataclass
from typing import Literal

from finetune.bundle import Bundle
from finetune.recipe.plan import Plan
from finetune.report import pictured
from finetune.report.course import Curve, Epoch, Fold, Head, Timing, Way
from finetune.report.looked import Audited, Baseline, Corruptions, Drift, Slice
from finetune.report.pictured import Gallery, Mapped, Mistake, Plane, Views
from finetune.report.reading import checked, damaged, read
from finetune.report.records import Facts, Metrics, Score, Scores, Thresholds
from finetune.report.sourced import Value

__all__ = ["Evidence", "Part", "Score", "Scores", "gather"]

Part = Literal["test", "validation", "out_of_fold"]


@dataclass(frozen=True)
class Evidence:
    """Everything that a report shows. `heads`: those that cross-validation tried; `ways`: those that `auto` tried, in
    order; `folds`: in which every image was held out, if it was; `sprite`: JPEG bytes of the thumbnails; `seconds`: by
    part of the run; `memory`, `device_memory`: the most bytes that it held; `gallery`: every image whose answer counts;
    `slices`: None where none were asked about. `drift`: where all this is of other images than the run's, how they
    differ; None for a run.
    """

    facts: Facts
    test: Scores | None
    validation: Scores | None
    out_of_fold: Scores | None
    thresholds: Thresholds | None
    heads: tuple[Head, ...]
    ways: tuple[Way, ...]
    folds: tuple[Fold, ...]
    curve: Curve | None
    baseline: Baseline | None
    finished: bool
    epochs: tuple[Epoch, ...]
    plan: Plan | None
    recipe: str
    left_out: tuple[tuple[str, str], ...]
    sprite: bytes
    mistakes: tuple[Mistake, ...]
    maps: Mapped | None
    gallery: Gallery | None
    views: Views | None
    plane: Plane | None
    corruptions: Corruptions | None
    slices: tuple[Slice, ...] | None
    audited: Audited | None
    audit_pictures: bytes
    seconds: tuple[tuple[str, float], ...]
    memory: Value
    device_memory: Value
    drift: Drift | None = None

    @property
    def part(self) -> Part:
        """Whose scores speak: the test images', or, where there are none, the validation or the held-out images'."""
        return "test" if self.test else "validation" if self.validation or not self.out_of_fold else "out_of_fold"

    @property
    def scores(self) -> Scores | None:
        """The scores of that part."""
        return self.test or self.validation or self.out_of_fold

    @property
    def several(self) -> bool:
        """Whether an image may have several labels."""
        return self.facts.multi_label or bool(self.scores and self.scores.errors)


def gather(bundle: Bundle) -> Evidence:
    """The evidence in a bundle, finished or not; raises BundleError for files that do not fit."""
    finished = bundle.has("metrics.json")
    facts = checked(Facts, bundle.facts, bundle, "bundle.json")
    metrics = checked(Metrics, bundle.metrics, bundle, "metrics.json") if finished else Metrics()
    for scores in (metrics.test, metrics.validation, metrics.out_of_fold):
        _must_be_square(scores, bundle)
    history = bundle.history if bundle.has("history.jsonl") else []
    lines = bundle.timings if bundle.has("timings.jsonl") else []
    timings = [checked(Timing, line, bundle, "timings.jsonl") for line in lines]
    part = "test" if metrics.test else "validation" if metrics.validation or not metrics.out_of_fold else "out_of_fold"
    known = bundle.has(f"predictions/{part}.npz")
    answers = pictured.answers(bundle, part) if finished and known else None
    sprite, mistakes = pictured.mistakes(bundle, answers, part)
    audited = read(Audited, bundle, "evidence/audit.json")
    gallery = pictured.gallery(bundle, answers)
    slices = read(list[Slice], bundle, "evidence/slices.json")
    return Evidence(
        facts=facts,
        test=metrics.test,
        validation=metrics.validation,
        out_of_fold=metrics.out_of_fold,
        thresholds=metrics.thresholds,
        heads=tuple(read(list[Head], bundle, "evidence/probe.json") or ()),
        ways=tuple(read(list[Way], bundle, "evidence/choice.json") or ()),
        folds=tuple(read(list[Fold], bundle, "evidence/folds.json") or ()),
        curve=read(Curve, bundle, "evidence/curve.json"),
        baseline=read(Baseline, bundle, "evidence/baseline.json"),
        finished=finished,
        epochs=tuple(
            checked(Epoch, line, bundle, "history.jsonl", place=str(place)) for place, line in enumerate(history)
        ),
        plan=bundle.plan if bundle.has("plan.json") else None,
        recipe=bundle.recipe_text if bundle.has("recipe.yaml") else "",
        left_out=_left_out(bundle),
        sprite=sprite,
        mistakes=mistakes,
        maps=pictured.mapped(bundle),
        gallery=gallery,
        views=pictured.views(bundle),
        plane=pictured.plane(bundle, answers, gallery),
        corruptions=read(Corruptions, bundle, "evidence/corruptions.json"),
        slices=None if slices is None else tuple(slices),
        audited=audited,
        audit_pictures=pictured.audit_pictures(bundle, audited),
        seconds=tuple((one.part, one.seconds) for one in timings),
        memory=_most([one.memory for one in timings], "memory"),
        device_memory=_most([one.device_memory for one in timings], "device_memory"),
        drift=read(Drift, bundle, "drift.json"),
    )


def _most(counts: list[int | None], name: str) -> Value:
    """The largest, with its place in timings.jsonl."""
    known = [(count, -place) for place, count in enumerate(counts) if count is not None]
    if not known:
        return Value(None, "")
    count, place = max(known)
    return Value(count, f"timings.jsonl:{-place}.{name}")


def _must_be_square(scores: Scores | None, bundle: Bundle) -> None:
    if scores is None:
        return
    errors, size = scores.errors, len(scores.per_class)
    matrices = {"missed": errors.missed, "added": errors.added, "swapped": errors.swapped} if errors else {}
    if scores.confusion is not None:
        matrices["confusion"] = scores.confusion
    for name, matrix in matrices.items():
        if [len(row) for row in matrix] != [size] * size:
            raise damaged(bundle, "metrics.json", f"{name} must be {size} rows of {size} numbers")


def _left_out(bundle: Bundle) -> tuple[tuple[str, str], ...]:
    rows = bundle.catalog if bundle.has("catalog.csv") else []
    return tuple((row["key"], row["note"]) for row in rows if row["split"] == "left out")
