"""The one script of a report, and what it is given: plain values in an element that no browser runs."""

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup

from finetune.errors import printable
from finetune.report.evidence import Evidence
from finetune.report.sees import drawn_places

MOST = 60  # images of a cell that are shown
LONGEST_KEY = 120
LONGEST_CLASS = 60


def element() -> Markup:
    """The script as it stands in the page."""
    return Markup(f"<script>{_text()}</script>")


def digest() -> str:
    """Its SHA-256 in base64, as a policy names it."""
    return base64.b64encode(hashlib.sha256(_text().encode()).digest()).decode()


def data(evidence: Evidence) -> Markup | str:
    """An element with what the script shows, '' where there is nothing to show: all texts are printable, and no text
    can end the element.
    """
    values = {"tiles": _tiles(evidence), "points": _points(evidence)}
    if not any(values.values()):
        return ""
    classes = [printable(name, limit=LONGEST_CLASS) for name in evidence.facts.classes]
    text = json.dumps({"classes": classes, "most": MOST, **values}, separators=(",", ":"), allow_nan=False)
    harmless = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup('<script type="application/json" id="data">{}</script>').format(Markup(harmless))


@cache
def _text() -> str:
    return (Path(__file__).parent / "templates" / "report.js").read_text(encoding="utf-8").strip()


def _tiles(evidence: Evidence) -> dict[str, Any] | None:
    gallery = evidence.gallery
    if gallery is None:
        return None
    return {
        "part": gallery.part,
        "side": gallery.side,
        "per_row": gallery.per_row,
        "keys": [_end(key) for key in gallery.keys],
        "rows": gallery.rows,
        "labels": gallery.labels,
        "said": gallery.said,
        "probabilities": [round(value, 4) for value in gallery.probabilities],
    }


def _points(evidence: Evidence) -> dict[str, Any] | None:
    plane = evidence.plane
    if plane is None or not plane.embedding.keys:
        return None
    found = plane.embedding
    maps = {"pca": drawn_places(found.pca), "tsne": drawn_places(found.tsne) if found.tsne else None}
    return {"labels": plane.labels, "said": plane.said, "tiles": plane.tiles, **maps}


def _end(key: str) -> str:
    """The end of a long name is what tells it from others."""
    text = printable(key, limit=10_000)
    return text if len(text) <= LONGEST_KEY else f"…{text[1 - LONGEST_KEY :]}"
