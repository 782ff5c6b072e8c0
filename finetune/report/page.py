"""The page: ten questions in one HTML file without links to elsewhere and without unescaped data.

It can be read without its one script, which is our own and the same on every page; the page names its hash, so that
nothing else may run.
"""

import base64
import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from finetune.bundle import Bundle
from finetune.errors import printable
from finetune.report import figures, script, sourced, words
from finetune.report.evidence import Evidence, gather
from finetune.report.questions import OF_NEW_IMAGES, QUESTIONS

PAGE = "report.html"
LONGEST_TEXT = 300  # of one name or line
_PATH = re.compile("[-Mmlh0-9. ]*")


def write(bundle: Bundle) -> Path:
    """Writes report.html into the bundle, finished or not, and returns its path; raises BundleError, OutOfResources."""
    bundle.write(PAGE, render(bundle).encode())
    return bundle.folder / PAGE


def render(bundle: Bundle) -> str:
    """The report of a bundle as HTML; the same bundle gives the same text. Raises BundleError."""
    return page(gather(bundle))


def page(evidence: Evidence) -> str:
    """The report of the evidence as HTML."""
    sections = [make(evidence) for make in (OF_NEW_IMAGES if evidence.drift else QUESTIONS)]
    data = script.data(evidence)
    return (
        environment()
        .get_template("page.html")
        .render(
            sections=sections,
            facts=evidence.facts,
            evidence=evidence,
            data=data,
            script=script.element() if data else "",
            script_hash=script.digest(),
        )
    )


@cache
def environment() -> Environment:
    """Where pages are made: whatever is put into a template is made harmless, and nothing in it may be undefined."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "at": sourced.at,
        "number": figures.number,
        "probability": figures.probability,
        "low": figures.low,
        "high": figures.high,
        "interval": figures.interval,
        "interval_if_any": figures.interval_if_any,
        "in_words": figures.in_words,
        "signed": figures.signed,
        "signed_interval": figures.signed_interval,
        "hundredths": figures.hundredths,
        "interval_in_hundredths": figures.interval_in_hundredths,
        "points": figures.points,
        "interval_in_points": figures.interval_in_points,
        "lost": figures.lost,
        "drop": figures.drop,
        "drop_interval": figures.drop_interval,
        "count": figures.count,
        "counted": figures.counted,
        "less": figures.less,
        "plainly": figures.plainly,
        "significant": figures.significant,
        "path": _path,
        "percent": _percent,
        "cut": _cut,
        "fact": words.fact,
    }
    return made


def _harmless(value: object) -> object:
    """What an expression puts on the page, before it is escaped: texts on one line without control characters."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str) and not hasattr(value, "__html__"):  # a macro's output has been here already
        return printable(value, limit=LONGEST_TEXT)
    return value


def _cut(text: str, limit: int) -> str:
    return printable(text, limit=limit)


def _path(path: str) -> Markup:
    """The places of an SVG path, however long."""
    if not _PATH.fullmatch(path):
        raise ValueError("a path of our own holds nothing but places")
    return Markup(path)


def _percent(share: float | None) -> float:
    """0..1 as a place on a scale, kept inside it."""
    return 100 * min(1.0, max(0.0, share or 0.0))
