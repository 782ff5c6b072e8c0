"""What a report is made from, read from a bundle and checked: past this module every value has the type it should have.

A stranger may have written the bundle, so what does not fit is a BundleError that names the file and the place in it.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from finetune.bundle import Bundle
from finetune.errors import BundleError, printable
from finetune.recipe.plan import Plan, TierKind
from finetune.scores import mislabelled
from finetune.scores.predictions import Predictions

TILE = 96  # pixels; thumbnails lie in one picture, ten to a row
TILES_PER_ROW = 10

Part = Literal["test", "validation", "out_of_fold"]
Plain = str | int | float | bool | None
Share = Annotated[float, Field(ge=-1e-6, le=1 + 1e-6)]  # a weighted mean may miss 1 by a rounding
T = TypeVar("T")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class Score(_Record):
    """A score and its 95 % interval, or why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


class ClassScores(_Record):
    """The scores of one class; the last two where an image may have several."""

    name: str = Field(alias="class")
    support: int = Field(ge=0)
    precision: Score
    recall: Score
    f1: Score
    auroc: Score | None = None
    average_precision: Score | None = None


class Errors(_Record):
    """How often labels were missed and wrongly added, alone and with others, as `scores.mislabelled.errors` has it."""

    images: int = Field(ge=0)
    missed: list[list[int]]
    added: list[list[int]]
    swapped: list[list[int]]


class Scores(_Record):
    """The scores of one part of the split: those of one label per image, or of several."""

    accuracy: Score | None = None
    subset_accuracy: Score | None = None
    balanced_accuracy: Score | None = None
    macro_f1: Score | None = None
    micro_f1: Score | None = None
    macro_auroc: Score | None = None
    macro_average_precision: Score | None = None
    top_k: dict[str, Score] = {}
    log_loss: Score | None = None
    brier: Score | None = None
    per_class: list[ClassScores] = []
    confusion: list[list[int]] | None = None
    errors: Errors | None = None


class Threshold(Score):
    """The probability above which a label is answered; with a reason where it was not chosen."""

    name: str = Field(alias="class")
    positives: int = Field(ge=0)


class Thresholds(_Record):
    """The thresholds of all labels, and the part of the images that they were chosen on."""

    part: str
    per_class: list[Threshold]


class _Metrics(_Record):
    test: Scores | None = None
    validation: Scores | None = None
    out_of_fold: Scores | None = None
    thresholds: Thresholds | None = None


class Epoch(_Record):
    """One line of the history."""

    epoch: int
    phase: int
    train: list[str]
    train_loss: float | None = None
    train_accuracy: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    best: bool = False


class _Timing(_Record):
    part: str
    seconds: float


class Trial(_Record):
    """What a head was fitted with."""

    family: str
    scaling: str
    strength: float | None = None


class Head(_Record):
    """What cross-validation found of a trial: `difference` is how much its log-loss is above the least of all."""

    trial: Trial
    log_loss: float
    difference: float
    standard_error: float = Field(ge=0)
    accuracy: Share
    chosen: bool = False


class Way(_Record):
    """What was found of a way to learn against what was best before it, on the images that both were asked about."""

    kind: TierKind
    name: str
    images: int = Field(ge=0)
    accuracy: Share
    gain: float
    standard_error: float = Field(ge=0)
    points: float
    verdict: str


class Fold(_Record):
    """One of the folds in which every image was held out: how its model learnt, and how well it answered.

    trained: the stages that took gradient steps. trial: what its head was fitted with, if it was.
    """

    fold: int = Field(ge=1)
    images: int = Field(ge=0)
    learnt_from: int = Field(ge=0)
    epochs: int = Field(ge=0)
    trained: list[str] = []
    trial: Trial | None = None
    backbone: str = ""
    scores: Scores


class CurvePoint(_Record):
    """The accuracy on held-out images of a head that learnt from so many others, and its 95 % interval."""

    images: int = Field(ge=1)
    accuracy: Share
    low: Share
    high: Share


class Law(_Record):
    """The share of wrong answers after n images is about a + b n^-c."""

    a: float
    b: float
    c: float


class Gain(_Record):
    """What so many more images of a class may bring to its recall, and the 95 % interval; shares."""

    name: str = Field(alias="class")
    more: int = Field(ge=1)
    points: float
    low: float
    high: float


class Curve(_Record):
    """How accuracy grows with the number of images."""

    points: list[CurvePoint] = []
    law: Law | None = None
    gains: list[Gain] = []


class Network(_Record):
    """The backbone's name and the tag of its weights."""

    name: str
    tag: str | None = None


class Receipt(_Record):
    """Where the weights came from and what of them was used."""

    source: str
    sha256: str | None = None
    loaded: int
    total: int
    head: str
    classifier_tensors: list[str] = []
    notes: list[str] = []


class Facts(_Record):
    """What bundle.json says, as far as a report shows it."""

    name: str = ""
    created_by: str = ""
    classes: list[str] = []
    multi_label: bool = False
    backbone: Network | None = None
    receipt: Receipt | None = None
    preprocessing: dict[str, Any] = {}
    decided: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    command: list[str] = []
    commit: str | None = None
    images: dict[str, int] = {}
    notes: list[str] = []
    files: dict[str, str] = {}


@dataclass(frozen=True)
class Mistake:
    """An image that was answered wrong; `place` is that of its tile in the sprite, `probability` that of what was said,
    or of several labels how sure the surest wrong answer was; `several`: whether there may be more than one label.
    """

    place: int
    key: str
    labels: tuple[str, ...]
    said: tuple[str, ...]
    probability: float
    several: bool = False

    @property
    def missed(self) -> tuple[str, ...]:
        return tuple(label for label in self.labels if label not in self.said)

    @property
    def added(self) -> tuple[str, ...]:
        return tuple(label for label in self.said if label not in self.labels)


class _Views(_Record):
    keys: list[str] = Field(min_length=1, max_length=100)
    tiles: int = Field(ge=2, le=100)


@dataclass(frozen=True)
class Views:
    """Training images as the network saw them: a row of `tiles` for each key, the plain one first, in one JPEG."""

    keys: tuple[str, ...]
    tiles: int
    sprite: bytes


@dataclass(frozen=True)
class Evidence:
    """Everything that a report shows. `heads`: those that cross-validation tried; `ways`: those that `auto` tried, in
    order; `folds`: in which every image was held out, if it was; `sprite`: JPEG bytes of the thumbnails; `seconds`: by
    part of the run.
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
    finished: bool
    epochs: tuple[Epoch, ...]
    plan: Plan | None
    recipe: str
    left_out: tuple[tuple[str, str], ...]
    sprite: bytes
    mistakes: tuple[Mistake, ...]
    views: Views | None
    seconds: tuple[tuple[str, float], ...]

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
    metrics = _checked(_Metrics, bundle.metrics, bundle, "metrics.json") if finished else _Metrics()
    for scores in (metrics.test, metrics.validation, metrics.out_of_fold):
        _must_be_square(scores, bundle)
    history = bundle.history if bundle.has("history.jsonl") else []
    timings = bundle.timings if bundle.has("timings.jsonl") else []
    sprite, mistakes = _mistakes(bundle, "test" if metrics.test else "validation")
    return Evidence(
        facts=_checked(Facts, bundle.facts, bundle, "bundle.json"),
        test=metrics.test,
        validation=metrics.validation,
        out_of_fold=metrics.out_of_fold,
        thresholds=metrics.thresholds,
        heads=tuple(_read(list[Head], bundle, "evidence/probe.json") or ()),
        ways=tuple(_read(list[Way], bundle, "evidence/choice.json") or ()),
        folds=tuple(_read(list[Fold], bundle, "evidence/folds.json") or ()),
        curve=_read(Curve, bundle, "evidence/curve.json"),
        finished=finished,
        epochs=tuple(_checked(Epoch, line, bundle, "history.jsonl") for line in history),
        plan=bundle.plan if bundle.has("plan.json") else None,
        recipe=bundle.recipe_text if bundle.has("recipe.yaml") else "",
        left_out=_left_out(bundle),
        sprite=sprite,
        mistakes=mistakes,
        views=_views(bundle),
        seconds=tuple(
            (one.part, one.seconds) for one in (_checked(_Timing, t, bundle, "timings.jsonl") for t in timings)
        ),
    )


def _read(kind: type[T], bundle: Bundle, name: str) -> T | None:
    return _checked(kind, bundle.read_json(name), bundle, name) if bundle.has(name) else None


def _checked(kind: type[T], value: object, bundle: Bundle, name: str) -> T:
    try:
        checked: T = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "its value"
        raise BundleError(f"{_shown(bundle, name)} is damaged: {printable(where)}: {printable(first['msg'])}") from None
    return checked


def _must_be_square(scores: Scores | None, bundle: Bundle) -> None:
    if scores is None:
        return
    errors, size = scores.errors, len(scores.per_class)
    matrices = {"missed": errors.missed, "added": errors.added, "swapped": errors.swapped} if errors else {}
    if scores.confusion is not None:
        matrices["confusion"] = scores.confusion
    for name, matrix in matrices.items():
        if [len(row) for row in matrix] != [size] * size:
            raise BundleError(
                f"{_shown(bundle, 'metrics.json')} is damaged: {name} must be {size} rows of {size} numbers"
            )


def _left_out(bundle: Bundle) -> tuple[tuple[str, str], ...]:
    rows = bundle.catalog if bundle.has("catalog.csv") else []
    return tuple((row["key"], row["note"]) for row in rows if row["split"] == "left out")


def _mistakes(bundle: Bundle, part: str) -> tuple[bytes, tuple[Mistake, ...]]:
    if not (bundle.has("evidence/thumbnails.json") and bundle.has("evidence/thumbnails.jpg")):
        return b"", ()
    sprite = _jpeg(bundle, "evidence/thumbnails.jpg")
    keys = _checked(list[str], bundle.read_json("evidence/thumbnails.json"), bundle, "evidence/thumbnails.json")
    predictions = bundle.predictions(part)
    rows = {key: row for row, key in enumerate(predictions.keys)}
    if predictions.labels is None or (unknown := [key for key in keys if key not in rows]):
        what = f"{printable(unknown[0])!r} has" if predictions.labels is not None else "its images have"
        raise BundleError(
            f"{_shown(bundle, 'evidence/thumbnails.json')} is damaged: {what} no labelled {part} prediction"
        )
    several = predictions.multilabel
    answers = predictions.predicted
    sure = mislabelled.confidence(predictions) if several else predictions.probabilities.max(axis=1)
    return sprite, tuple(
        Mistake(
            place=place,
            key=key,
            labels=_named(predictions, predictions.labels[rows[key]]),
            said=_named(predictions, answers[rows[key]]),
            probability=float(sure[rows[key]]),
            several=several,
        )
        for place, key in enumerate(keys)
    )


def _views(bundle: Bundle) -> Views | None:
    found = _read(_Views, bundle, "evidence/views.json")
    if found is None or not bundle.has("evidence/views.jpg"):
        return None
    return Views(tuple(found.keys), found.tiles, _jpeg(bundle, "evidence/views.jpg"))


def _jpeg(bundle: Bundle, name: str) -> bytes:
    data = bundle.read(name)
    if not data.startswith(b"\xff\xd8\xff"):
        raise BundleError(f"{_shown(bundle, name)} is not a JPEG picture")
    return data


def _named(predictions: Predictions, answer: np.ndarray) -> tuple[str, ...]:
    """The names of a class by its number, or of the labels that are True."""
    chosen = np.flatnonzero(answer) if predictions.multilabel else [answer]
    return tuple(predictions.classes[place] for place in chosen)


def _shown(bundle: Bundle, name: str) -> str:
    return repr(printable(str(bundle.folder / name)))
