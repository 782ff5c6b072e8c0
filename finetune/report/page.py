"""The page: sections into one HTML file without scripts, without links to elsewhere, without unescaped data."""

import base64
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from finetune.bundle import Bundle
from finetune.errors import printable
from finetune.report import words
from finetune.report.evidence import Evidence, gather
from finetune.report.sections import SECTIONS

PAGE = "report.html"
LONGEST_TEXT = 300  # of one name or line


def write(bundle: Bundle) -> Path:
    """Writes report.html into the bundle, finished or not, and returns its path; raises BundleError, OutOfResources."""
    bundle.write(PAGE, render(bundle).encode())
    return bundle.folder / PAGE


def render(bundle: Bundle) -> str:
    """The report of a bundle as HTML; the same bundle gives the same text. Raises BundleError."""
    return page(gather(bundle))


def page(evidence: Evidence) -> str:
    """The report of the evidence as HTML."""
    sections = [section for section in (make(evidence) for make in SECTIONS) if section]
    return environment().get_template("page.html").render(sections=sections, facts=evidence.facts, evidence=evidence)


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
        "number": words.number,
        "interval": words.interval,
        "in_words": words.in_words,
        "signed": words.signed,
        "counted": words.counted,
        "percent": _percent,
        "cut": _cut,
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


def _percent(share: float | None) -> float:
    """0..1 as a place on a scale, kept inside it."""
    return 100 * min(1.0, max(0.0, share or 0.0))
