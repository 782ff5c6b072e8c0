"""What `metrics.json` and `bundle.json` say, as checked values that know their place in the file."""

from typing import Annotated, Any

from pydantic import Field

from finetune.report.sourced import Record

Plain = str | int | float | bool | None
Share = Annotated[float, Field(ge=-1e-6, le=1 + 1e-6)]  # a weighted mean may miss 1 by a rounding


class Score(Record):
    """A score and its 95 % interval, or why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


class ClassScores(Record):
    """The scores of one class; the last two where an image may have several."""

    name: str = Field(alias="class")
    support: int = Field(ge=0)
    precision: Score
    recall: Score
    f1: Score
    auroc: Score | None = None
    average_precision: Score | None = None


class Errors(Record):
    """How often labels were missed and wrongly added, alone and with others, as `scores.mislabelled.errors` has it."""

    images: int = Field(ge=0)
    missed: list[list[int]]
    added: list[list[int]]
    swapped: list[list[int]]


class Bin(Record):
    """The answers whose confidence lies between two bounds: their mean confidence, and how many were right."""

    low: Share
    high: Share
    images: int = Field(ge=0)
    confidence: float | None = None
    accuracy: Score | None = None
    p_holm: float | None = None


class Losses(Record):
    """Log-loss and Brier score at one temperature."""

    log_loss: Score
    brier: Score


class Temperature(Record):
    """What logits are divided by, the part that it was chosen on, and what it changes on the images that are scored."""

    value: float = Field(gt=0)
    chosen_on: str | None = None
    before: Losses | None = None
    after: Losses | None = None


class Calibration(Record):
    """How far confidence is from accuracy; `ece_band`: where the error would lie if there were no gap at all."""

    bins: list[Bin] = Field(default_factory=list)
    ece: float | None = None
    ece_band: list[float] | None = Field(default=None, min_length=2, max_length=2)
    temperature: Temperature | None = None


class Target(Record):
    """An accuracy that is wanted, the confidence above which it was reached, and what came of that on other images."""

    accuracy: Share
    threshold: float | None = None
    coverage: Score | None = None
    selective_accuracy: Score | None = None
    reason: str = ""


class Selective(Record):
    """Which share of the answers is wrong where only the surest are given."""

    coverage: list[Share] = Field(default_factory=list)
    risk: list[Share] = Field(default_factory=list)
    targets: list[Target] = Field(default_factory=list)


class Scores(Record):
    """The scores of one part of the split: those of one label per image, or of several."""

    accuracy: Score | None = None
    subset_accuracy: Score | None = None
    balanced_accuracy: Score | None = None
    macro_f1: Score | None = None
    micro_f1: Score | None = None
    macro_auroc: Score | None = None
    macro_average_precision: Score | None = None
    top_k: dict[str, Score] = Field(default_factory=dict)
    log_loss: Score | None = None
    brier: Score | None = None
    per_class: list[ClassScores] = Field(default_factory=list)
    confusion: list[list[int]] | None = None
    errors: Errors | None = None
    calibration: Calibration | None = None
    selective: Selective | None = None


class Threshold(Score):
    """The probability above which a label is answered; with a reason where it was not chosen."""

    name: str = Field(alias="class")
    positives: int = Field(ge=0)


class Thresholds(Record):
    """The thresholds of all labels, and the part of the images that they were chosen on."""

    part: str
    per_class: list[Threshold]


class Metrics(Record):
    test: Scores | None = None
    validation: Scores | None = None
    out_of_fold: Scores | None = None
    thresholds: Thresholds | None = None


class Network(Record):
    """The backbone's name and the tag of its weights."""

    name: str
    tag: str | None = None


class Receipt(Record):
    """Where the weights came from and what of them was used."""

    source: str
    sha256: str | None = None
    loaded: int
    total: int
    head: str
    classifier_tensors: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)


class Facts(Record):
    """What bundle.json says, as far as a report shows it."""

    name: str = ""
    created_by: str = ""
    classes: list[str] = Field(default_factory=list)
    multi_label: bool = False
    backbone: Network | None = None
    receipt: Receipt | None = None
    preprocessing: dict[str, Any] = Field(default_factory=dict)
    decided: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, Any] = Field(default_factory=dict)
    command: list[str] = Field(default_factory=list)
    commit: str | None = None
    images: dict[str, int] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    files: dict[str, str] = Field(default_factory=dict)
