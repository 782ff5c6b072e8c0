"""A finding: what a check has to say of some images, for people as a sentence and for programs as plain values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")  # worst first


@dataclass(frozen=True)
class Finding:
    """What one check found once.

    `check` is the name of the check and `kind` a short stable word for what it found. `severity`: an error stops a run
    on this data; a warning is what a run would learn or score wrongly, or leave out; a note is worth knowing. `text` is
    a sentence without its full stop. `keys`: the images it is about, the most telling first. `figures`: numbers and
    words that the sentence rests on.
    """

    check: str
    kind: str
    severity: Severity
    text: str
    keys: tuple[str, ...] = ()
    figures: Mapping[str, float | int | str | None] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "keys": list(self.keys), "figures": dict(self.figures or {})}


def called(check: str, kind: str) -> str:
    """What findings of a kind are called among people: 'exact copies in several parts of the split', or of files that
    cannot be read the kind in plain letters, as in 'files: git lfs pointer'.
    """
    return _CALLED.get((check, kind)) or f"{_CHECKS.get(check, check)}: {kind.replace('-', ' ')}"


_CHECKS = {"unreadable": "files", "outliers": "images unlike the others"}
_CALLED = {
    ("labels", "label-issue"): "labels that are probably wrong",
    ("labels", "expected"): "estimates of how many labels are wrong",
    ("labels", "not-asked"): "labels that were not asked about",
    ("duplicates", "exact-across-parts"): "exact copies in several parts of the split",
    ("duplicates", "near-across-parts"): "near copies in several parts of the split",
    ("duplicates", "exact-two-labels"): "exact copies under different labels",
    ("duplicates", "near-two-labels"): "near copies under different labels",
    ("duplicates", "exact-copies"): "exact copies of one label",
    ("duplicates", "near-copies"): "near copies of one label",
    ("duplicates", "all-alike"): "images that are all alike",
    ("duplicates", "not-all-compared"): "pairs that were not compared",
    ("neighbours", "embedding-neighbours"): "near copies that the network finds",
    ("neighbours", "nearest-of-another-label"): "test images nearest to another label",
    ("leaks", "time"): "pictures of one camera, seconds apart, in several parts",
    ("leaks", "burst"): "bursts of one scene in several parts",
    ("leaks", "group"): "groups in several parts",
    ("leaks", "series"): "series of file names in several parts",
    ("shortcuts", "acquisition"): "ways of taking pictures that tell the class",
    ("shortcuts", "content-alone"): "simple facts that tell the class almost alone",
    ("shortcuts", "content"): "simple facts that tell something of the class",
    ("classes", "too-small"): "classes too small to be split",
    ("classes", "few"): "classes of few images",
    ("classes", "not-tested"): "classes that are not tested",
    ("classes", "imbalance"): "classes of very different sizes",
    ("unreadable", "format-not-read"): "files in a format that is not read",
    ("unreadable", "broken-link"): "links that lead nowhere",
    ("outliers", "blank"): "images with nothing on them",
    ("data", "refused"): "what a run refuses",
}
