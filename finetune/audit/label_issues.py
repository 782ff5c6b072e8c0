"""Label issues: images whose label is probably wrong, by what a probe that has not learnt from them says."""

from collections.abc import Iterator

import numpy as np

from finetune.audit.finding import Finding
from finetune.audit.gather import Gathered
from finetune.audit.labels import label_issues
from finetune.errors import printable


def check(known: Gathered) -> Iterator[Finding]:
    """A warning, `label-issue`, for each image whose label is probably wrong, the worst first, with the label that is
    suggested; and a note, `expected`, on how many are expected to be. Nothing without a deep look.

    A note, `not-asked`, where an image may have any number of labels, and where there was nothing to ask.
    """
    deep = known.deep
    if deep is None:
        return
    if known.catalog.multi_label:
        text = "images may have any number of labels: whether single labels are wrong was not asked"
        yield Finding("labels", "not-asked", "note", text)
        return
    if not deep.held_out.any():
        text = f"whether labels are wrong was not asked: {deep.reason}"
        yield Finding("labels", "not-asked", "note", text)
        return
    classes = known.catalog.classes
    place = {name: number for number, name in enumerate(classes)}
    given = {sample.key: place[sample.labels[0]] for sample in known.seen}
    found = label_issues(deep.probabilities, np.array([given[key] for key in deep.keys], dtype=np.int64))
    for rank, issue in enumerate(found.issues, start=1):
        old, new = (printable(classes[label], limit=40) for label in (issue.given, issue.suggested))
        text = f"labelled {old!r}, and looks like {new!r}: {issue.confidence:.2f} against {issue.score:.2f}"
        figures: dict[str, float | int | str | None] = {
            "given": classes[issue.given],
            "suggested": classes[issue.suggested],
            "probability_given": round(issue.score, 4),
            "probability_suggested": round(issue.confidence, 4),
            "rank": rank,
        }
        yield Finding("labels", "label-issue", "warning", text, (deep.keys[issue.index],), figures)
    asked = len(found.ranking)
    text = f"about {found.expected:.0f} of {asked} labels are expected to be wrong ({100 * (found.share or 0):.1f} %)"
    text += "; where classes are hard to tell apart this is too many"
    expected = {"expected": round(found.expected, 1), "asked": asked, "left_out": len(found.left_out)}
    yield Finding("labels", "expected", "note", text, (), expected)
