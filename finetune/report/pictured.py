"""Images as a report shows them: tiles cut from one JPEG, with what was said of each and what is true."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from finetune.bundle import Bundle
from finetune.errors import printable
from finetune.report.looked import Audited, Embedding, Maps, Tiles
from finetune.report.reading import checked, damaged, jpeg, read
from finetune.report.sourced import Record, Value
from finetune.scores import mislabelled
from finetune.scores.predictions import Predictions

TILE = 96  # pixels; thumbnails lie in one picture, ten to a row
TILES_PER_ROW = 10


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
    source: str = ""

    @property
    def missed(self) -> tuple[str, ...]:
        return tuple(label for label in self.labels if label not in self.said)

    @property
    def added(self) -> tuple[str, ...]:
        return tuple(label for label in self.said if label not in self.labels)

    @property
    def sure(self) -> Value:
        """The probability with its source."""
        return Value(self.probability, self.source)


@dataclass(frozen=True)
class Gallery:
    """Images as small tiles of one JPEG, and the answers to them: `rows` are their places among the predictions of the
    part, `labels` and `said` places of classes, or of several labels their places.
    """

    part: str
    side: int
    per_row: int
    sprite: bytes
    keys: tuple[str, ...]
    rows: tuple[int, ...]
    labels: tuple[tuple[int, ...], ...]
    said: tuple[tuple[int, ...], ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Plane:
    """Images as places on a plane, by what they are and what was said of them; `tiles`: their places in the gallery,
    -1 for those that have no tile.
    """

    embedding: Embedding
    labels: tuple[tuple[int, ...], ...]
    said: tuple[tuple[int, ...], ...]
    tiles: tuple[int, ...]


@dataclass(frozen=True)
class Mapped:
    """Class-activation maps: a sprite in the places of the thumbnails, and how they were made."""

    maps: Maps
    sprite: bytes


class _Views(Record):
    keys: list[str] = Field(min_length=1, max_length=100)
    tiles: int = Field(ge=2, le=100)


@dataclass(frozen=True)
class Views:
    """Training images as the network saw them: a row of `tiles` for each key, the plain one first, in one JPEG."""

    keys: tuple[str, ...]
    tiles: int
    sprite: bytes


@dataclass(frozen=True)
class Answers:
    """The answers to the images of a part, as people see them."""

    part: str
    predictions: Predictions
    sure: np.ndarray
    rows: dict[str, int]

    def source(self, key: str) -> str:
        """Where it stands how sure the answer to an image is."""
        what = "confidence" if self.predictions.multilabel else "probability"
        return f"predictions/{self.part}.npz:{self.rows[key]}.{what}"

    def named(self, answer: np.ndarray) -> tuple[str, ...]:
        """The names of a class by its number, or of the labels that are True."""
        return tuple(self.predictions.classes[place] for place in self.places(answer))

    def places(self, answer: np.ndarray) -> tuple[int, ...]:
        """The place of a class, or of the labels that are True."""
        return tuple(np.flatnonzero(answer).tolist()) if self.predictions.multilabel else (int(answer),)


def answers(bundle: Bundle, part: str) -> Answers:
    """Those of a part of the split. Raises BundleError where there are none."""
    kept = bundle.predictions(part)
    if kept.labels is None:
        sure = np.zeros(len(kept))
    else:
        sure = mislabelled.confidence(kept) if kept.multilabel else kept.probabilities.max(axis=1)
    return Answers(part, kept, sure, {key: row for row, key in enumerate(kept.keys)})


def mistakes(bundle: Bundle, given: Answers | None, part: str) -> tuple[bytes, tuple[Mistake, ...]]:
    """The thumbnails of the worst mistakes, and what was said of them; raises BundleError."""
    name = "evidence/thumbnails.json"
    if not (bundle.has(name) and bundle.has("evidence/thumbnails.jpg")):
        return b"", ()
    sprite = jpeg(bundle, "evidence/thumbnails.jpg")
    keys = checked(list[str], bundle.read_json(name), bundle, name)
    labels = given.predictions.labels if given else None
    if given is None or labels is None:
        raise damaged(bundle, name, f"its images have no labelled {part} prediction")
    _must_be_known(bundle, name, keys, given)
    said = given.predictions.predicted
    return sprite, tuple(
        Mistake(
            place=place,
            key=key,
            labels=given.named(labels[given.rows[key]]),
            said=given.named(said[given.rows[key]]),
            probability=float(given.sure[given.rows[key]]),
            several=given.predictions.multilabel,
            source=given.source(key),
        )
        for place, key in enumerate(keys)
    )


def gallery(bundle: Bundle, given: Answers | None) -> Gallery | None:
    """Every image whose answer counts, as a small tile; raises BundleError."""
    name = "evidence/tiles.json"
    tiles = read(Tiles, bundle, name) if bundle.has("evidence/tiles.jpg") else None
    if tiles is None or given is None or given.predictions.labels is None or tiles.part not in ("", given.part):
        return None
    _must_be_known(bundle, name, tiles.keys, given)
    rows = tuple(given.rows[key] for key in tiles.keys)
    said, labels = given.predictions.predicted, given.predictions.labels
    return Gallery(
        part=given.part,
        side=tiles.side,
        per_row=tiles.per_row,
        sprite=jpeg(bundle, "evidence/tiles.jpg"),
        keys=tuple(tiles.keys),
        rows=rows,
        labels=tuple(given.places(labels[row]) for row in rows),
        said=tuple(given.places(said[row]) for row in rows),
        probabilities=tuple(float(given.sure[row]) for row in rows),
    )


def plane(bundle: Bundle, given: Answers | None, drawn: Gallery | None) -> Plane | None:
    """Where the images lie that the network was asked about; raises BundleError."""
    name = "evidence/embedding.json"
    found = read(Embedding, bundle, name)
    if found is None or given is None or given.predictions.labels is None or found.part not in ("", given.part):
        return None
    _must_be_known(bundle, name, found.keys, given)
    if any(len(points) != len(found.keys) for points in (found.pca, found.tsne or found.pca)):
        raise damaged(bundle, name, f"there must be a place for each of its {len(found.keys)} keys")
    tiles = {key: place for place, key in enumerate(drawn.keys)} if drawn else {}
    said, labels = given.predictions.predicted, given.predictions.labels
    rows = [given.rows[key] for key in found.keys]
    return Plane(
        embedding=found,
        labels=tuple(given.places(labels[row]) for row in rows),
        said=tuple(given.places(said[row]) for row in rows),
        tiles=tuple(tiles.get(key, -1) for key in found.keys),
    )


def mapped(bundle: Bundle) -> Mapped | None:
    """The class-activation maps, where they were taken; raises BundleError."""
    found = read(Maps, bundle, "evidence/maps.json")
    if found is None or not bundle.has("evidence/maps.jpg"):
        return None
    return Mapped(found, jpeg(bundle, "evidence/maps.jpg"))


def audit_pictures(bundle: Bundle, audited: Audited | None) -> bytes:
    """The picture of the images that findings name, where there is one; raises BundleError."""
    there = audited is not None and audited.tiles is not None and bundle.has("evidence/audit.jpg")
    return jpeg(bundle, "evidence/audit.jpg") if there else b""


def views(bundle: Bundle) -> Views | None:
    """Training images as they were shown, where that was kept; raises BundleError."""
    found = read(_Views, bundle, "evidence/views.json")
    if found is None or not bundle.has("evidence/views.jpg"):
        return None
    return Views(tuple(found.keys), found.tiles, jpeg(bundle, "evidence/views.jpg"))


def _must_be_known(bundle: Bundle, name: str, keys: list[str], given: Answers) -> None:
    if unknown := [key for key in keys if key not in given.rows]:
        raise damaged(bundle, name, f"{printable(unknown[0])!r} has no labelled {given.part} prediction")
