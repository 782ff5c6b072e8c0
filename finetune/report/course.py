"""What a run left of how it learnt and chose: epochs, heads, ways, folds, the learning curve, as checked values."""

from pydantic import Field

from finetune.recipe.plan import TierKind
from finetune.report.records import Scores, Share
from finetune.report.sourced import Record


class Health(Record):
    """How a stage stood at one step of an epoch: the norms of its gradient and of its weights, that of what the step
    changed over the last, the root mean square of what left it.
    """

    step: int = Field(ge=1)
    stage: str
    gradient: float | None = Field(default=None, ge=0)
    weights: float | None = Field(default=None, ge=0)
    update: float | None = Field(default=None, ge=0)
    activation: float | None = Field(default=None, ge=0)


class Epoch(Record):
    """One line of the history."""

    epoch: int
    phase: int
    train: list[str]
    train_loss: float | None = None
    train_accuracy: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    lr: float | None = None
    best: bool = False
    health: list[Health] = Field(default_factory=list)


class Timing(Record):
    """How long a part of the run took, and the most bytes that the run had held by its end."""

    part: str
    seconds: float
    memory: int | None = Field(default=None, ge=0)
    device_memory: int | None = Field(default=None, ge=0)


class Trial(Record):
    """What a head was fitted with."""

    family: str
    scaling: str
    strength: float | None = None


class Head(Record):
    """What cross-validation found of a trial: `difference` is how much its log-loss is above the least of all."""

    trial: Trial
    log_loss: float
    difference: float
    standard_error: float = Field(ge=0)
    accuracy: Share
    chosen: bool = False


class Way(Record):
    """What was found of a way to learn against what was best before it, on the images that both were asked about."""

    kind: TierKind
    name: str
    images: int = Field(ge=0)
    accuracy: Share
    gain: float
    standard_error: float = Field(ge=0)
    points: float
    verdict: str


class Fold(Record):
    """One of the folds in which every image was held out: how its model learnt, and how well it answered.

    trained: the stages that took gradient steps. trial: what its head was fitted with, if it was.
    """

    fold: int = Field(ge=1)
    images: int = Field(ge=0)
    learnt_from: int = Field(ge=0)
    epochs: int = Field(ge=0)
    trained: list[str] = Field(default_factory=list)
    trial: Trial | None = None
    backbone: str = ""
    scores: Scores


class CurvePoint(Record):
    """The accuracy on held-out images of a head that learnt from so many others, and its 95 % interval."""

    images: int = Field(ge=1)
    accuracy: Share
    low: Share
    high: Share


class Law(Record):
    """The share of wrong answers after n images is about a + b n^-c."""

    a: float
    b: float
    c: float


class Gain(Record):
    """What so many more images of a class may bring to its recall, and the 95 % interval; shares."""

    name: str = Field(alias="class")
    more: int = Field(ge=1)
    points: float
    low: float
    high: float


class Curve(Record):
    """How accuracy grows with the number of images."""

    points: list[CurvePoint] = Field(default_factory=list)
    law: Law | None = None
    gains: list[Gain] = Field(default_factory=list)
