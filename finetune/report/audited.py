"""An audit as one HTML page that opens anywhere, offline: thumbnails side by side, to sort and to filter.

The one script is our own and the same on every page, and nothing else may run: the page names its hash. What was found
stands in the page as escaped text. The images are read again for their thumbnails.
"""

import base64
import hashlib
import io
import math
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from finetune.audit.audit import Audit
from finetune.audit.classes import table
from finetune.audit.finding import Finding, called
from finetune.data import decode
from finetune.data.catalog import Sample
from finetune.data.decode import Preprocessing
from finetune.errors import UnreadableImage
from finetune.report.page import environment

SIDE = 96  # pixels of a thumbnail
PER_ROW = 20
TILES = 600
OF_ONE_KIND = 200  # findings shown
OF_ONE_FINDING = 6  # images shown

_CLEAR = ("correlation", "cosine", "probability_suggested", "balanced_accuracy", "z")  # figures to sort by

_THUMBNAIL = Preprocessing(
    size=SIDE, working=SIDE, fit="pad", interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(1, 1, 1)
)


@dataclass(frozen=True)
class Picture:
    """An image of a finding; `left` and `top` of its thumbnail in the picture of all, in pixels, where it has one."""

    key: str
    labels: str
    part: str
    left: int | None
    top: int | None


@dataclass(frozen=True)
class Row:
    """A finding as it is shown; `more`: how many of its images are not. `score` is what it can be sorted by."""

    finding: Finding
    pictures: tuple[Picture, ...]
    more: int
    score: float


def render(audit: Audit, *, name: str) -> str:
    """The page of an audit of the data of this name, a few MB at most; reads the images that it shows."""
    shown = _shown(audit.findings)
    sprite, places = _sprite(_pictured(shown, audit))
    samples = {sample.key: sample for sample in audit.known.catalog.samples}
    counted = Counter((finding.check, finding.kind) for finding in audit.findings)
    return (
        environment()
        .get_template("audit.html")
        .render(
            name=name,
            audit=audit,
            called=called,
            counts=audit.counts(),
            kinds=sorted({(finding.check, finding.kind) for finding in shown}),
            cut=[(check, kind, count) for (check, kind), count in sorted(counted.items()) if count > OF_ONE_KIND],
            limit=OF_ONE_KIND,
            rows=[_row(finding, samples, places, audit) for finding in shown],
            classes=table(audit.known),
            sprite=sprite,
            script=Markup(f"<script>{_script()}</script>"),
            script_hash=base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode(),
        )
    )


@cache
def _script() -> str:
    return (Path(__file__).parent / "templates" / "audit.js").read_text(encoding="utf-8").strip()


def _shown(findings: Sequence[Finding]) -> list[Finding]:
    seen: Counter[tuple[str, str]] = Counter()
    shown = []
    for finding in findings:
        seen[finding.check, finding.kind] += 1
        if seen[finding.check, finding.kind] <= OF_ONE_KIND:
            shown.append(finding)
    return shown


def _pictured(findings: Sequence[Finding], audit: Audit) -> list[Sample]:
    """The images that get a thumbnail: the first of each finding before the later ones of any."""
    samples = {sample.key: sample for sample in audit.known.seen}
    keys = dict.fromkeys(
        key
        for place in (slice(0, 2), slice(2, OF_ONE_FINDING))
        for finding in findings
        for key in finding.keys[place]
        if key in samples and samples[key].path is not None
    )
    return [samples[key] for key in list(keys)[:TILES]]


def _sprite(samples: Sequence[Sample]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """The thumbnails as one JPEG file, and where each stands; drawn from pixels, no metadata comes along."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        tiles = list(pool.map(_tile, samples))
    drawn = [(sample.key, tile) for sample, tile in zip(samples, tiles, strict=True) if tile is not None]
    if not drawn:
        return b"", {}
    picture = Image.new("RGB", (SIDE * min(PER_ROW, len(drawn)), SIDE * math.ceil(len(drawn) / PER_ROW)), "white")
    places = {}
    for number, (key, tile) in enumerate(drawn):
        places[key] = (SIDE * (number % PER_ROW), SIDE * (number // PER_ROW))
        picture.paste(Image.fromarray(tile), places[key])
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=75)
    return stream.getvalue(), places


def _tile(sample: Sample) -> np.ndarray | None:
    try:
        return decode.working_image(decode.read(sample.file), _THUMBNAIL)
    except UnreadableImage:  # gone or changed since it was looked at
        return None


def _row(finding: Finding, samples: dict[str, Sample], places: dict[str, tuple[int, int]], audit: Audit) -> Row:
    pictures = []
    for key in finding.keys[:OF_ONE_FINDING]:
        labels = ", ".join(samples[key].labels) if key in samples else ""
        left, top = places.get(key, (None, None))
        pictures.append(Picture(key, labels, audit.known.part(key), left, top))
    figures = finding.figures or {}
    score = next((figures[name] for name in _CLEAR if name in figures), len(finding.keys))
    return Row(
        finding=finding,
        pictures=tuple(pictures),
        more=len(finding.keys) - len(pictures),
        score=abs(float(score)) if isinstance(score, int | float) else 0.0,
    )
