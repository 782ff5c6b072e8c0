"""What was looked at while the images were at hand, and lies in `evidence/`, as values whose types are checked."""

from typing import Annotated

from pydantic import Field

from finetune.report.records import Plain, Score, Share
from finetune.report.sourced import Record

Point = Annotated[list[float], Field(min_length=2, max_length=2)]


class Tiles(Record):
    """Small pictures in one JPEG: tile i lies at (side * (i % per_row), side * (i // per_row)); of which images."""

    part: str = ""
    side: int = Field(ge=16, le=128)
    per_row: int = Field(ge=1, le=1000)
    keys: list[str] = Field(max_length=5000)


class Maps(Record):
    """Class-activation maps, in the places of the thumbnails; `stages`: what they were taken from."""

    method: str = ""
    stages: list[str] = Field(default_factory=list, max_length=10)
    keys: list[str]
    peaks: list[Point | None] = Field(default_factory=list)


class Embedding(Record):
    """Images as places on a plane; `explained`: the shares of the variance along the two principal axes."""

    part: str
    keys: list[str] = Field(max_length=100_000)
    pca: list[Point]
    explained: list[Share] | None = Field(default=None, min_length=2, max_length=2)
    tsne: list[Point] | None = None
    reason: str = ""
    perplexity: float | None = None


class Corruption(Record):
    """The accuracy on images that were made worse in one way, and how far it fell, image by image."""

    kind: str
    severity: int = Field(ge=1, le=3)
    parameter: float
    unit: str = ""
    accuracy: Score
    drop: Score


class Baseline(Record):
    """A head on the network as it came, asked about the same images, and how much better what ships answers them;
    `images`: that it learnt from. Or the reason why there is none.
    """

    images: int = Field(default=0, ge=0)
    accuracy: Score | None = None
    difference: Score | None = None
    reason: str = ""


class Clean(Record):
    """The scores of the same images as they are."""

    accuracy: Score


class Corruptions(Record):
    """Answers to corrupted images, of so many."""

    part: str
    images: int = Field(ge=0)
    clean: Clean
    rows: list[Corruption]


class Known(Record):
    """Facts of images, by name a value for each of the keys."""

    part: str
    keys: list[str]
    facts: dict[str, list[float | int | str | None]]


class Difference(Score):
    """A difference of two scores; `differs`: whether its interval leaves out 0."""

    differs: bool = False


class Shift(Record):
    """A fact of new images beside that of the own: medians, and how often a new one is above an own one."""

    fact: str
    images: int = Field(ge=0)
    own_images: int = Field(ge=0)
    own: float
    new: float
    above: Score | None = None
    p: float | None = None
    p_holm: float | None = None
    differs: bool = False


class SharesRow(Record):
    """Which share of the images has one name, among the own and among the new."""

    name: str
    own: Score
    new: Score
    difference: Difference | None = None


class Shares(Record):
    """How the images divide over classes, or over what a fact says."""

    fact: str
    p: float | None = None
    p_holm: float | None = None
    differs: bool = False
    rows: list[SharesRow]


class Mix(Record):
    """What other shares of the classes alone would make of the accuracy, and how far the new accuracy is from that."""

    expected: Score | None = None
    difference: Difference | None = None
    reason: str = ""


class Compared(Record):
    """New images beside those that the bundle was scored on, as `scores.drift` has it."""

    part: str
    folds: int = 0
    images: int = Field(ge=0)
    own_images: int = Field(ge=0)
    score: str
    own: Score
    new: Score
    difference: Difference | None = None
    mix: Mix | None = None
    facts: list[Shift]
    shares: list[Shares]


class Drift(Record):
    """New images: where they are from, the facts that are not known of the bundle's own, and how they compare. `seen`,
    `own`: how many of them the bundle was trained or chosen on, and how many it was scored on.
    """

    source: str = ""
    seen: int = Field(default=0, ge=0)
    own: int = Field(default=0, ge=0)
    lacking: list[str] = Field(default_factory=list)
    compared: Compared | None = None


class Slice(Record):
    """Images that a fact has in common against all others; `differs`: whether that survives the correction of Holm."""

    fact: str
    slice: str
    images: int = Field(ge=0)
    accuracy: Score
    rest: Score
    difference: Score
    p: float | None = None
    p_holm: float | None = None
    differs: bool = False


class Found(Record):
    """A finding of the audit."""

    check: str = ""
    kind: str = ""
    severity: str
    text: str
    keys: list[str] = Field(default_factory=list)
    figures: dict[str, Plain] = Field(default_factory=dict)


class Leak(Record):
    """What leaked test images are worth to what ships: its accuracy on all, without them, and the difference."""

    images: int = Field(ge=0)
    leaked: int = Field(ge=0)
    whole: Score = Field(alias="all")
    without: Score | None = Field(default=None, alias="without_leaked")
    difference: Score | None = None


class Deep(Record):
    """What models that had not learnt from them said of the images."""

    network: str
    held_out: int = Field(ge=0)
    reason: str = ""
    accuracy: Score | None = None
    test: Leak | None = None


class AuditTiles(Record):
    """The small pictures of images that findings name."""

    side: int = Field(ge=16, le=128)
    per_row: int = Field(ge=1, le=1000)
    keys: list[str] = Field(max_length=5000)


class Audited(Record):
    """What the audit of the run's data found."""

    images: int = Field(default=0, ge=0)
    counts: dict[str, int] = Field(default_factory=dict)
    leaked: list[str] = Field(default_factory=list)
    deep: Deep | None = None
    findings: list[Found] = Field(default_factory=list)
    tiles: AuditTiles | None = None
