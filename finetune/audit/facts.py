"""Shortcuts: plain facts on the images, how they came about and what they show, that tell the class by themselves."""

from collections.abc import Iterator

import numpy as np

from finetune.audit.finding import Finding
from finetune.audit.gather import Gathered
from finetune.audit.look import Look
from finetune.audit.related import related
from finetune.audit.shortcuts import SIGNIFICANT, Array, Fact, Shortcut, shortcuts
from finetune.errors import printable

EXAMPLES = 6  # images of the class that is told best

_DIRECTIONS = 3  # of the colours' histogram
_INSTEAD = "; a network can learn how images came about instead of what they show"


def check(known: Gathered) -> Iterator[Finding]:
    """A warning, `acquisition`, for each fact on how images came about that tells the class by itself (their size,
    shape, compression, encoder, camera, time), and a note, `content`, for each on what they show (colours, light,
    sharpness). That is a warning, `content-alone`, where it alone reaches half of what the probe on deep features does.
    Rules and tests are those of `shortcuts`; facts that are the same for all images are not asked.

    Where an image may have any number of labels only acquisition is asked, of each label against the images without
    it; of each fact the label that it tells best is the one that is named.
    """
    if not known.seen:
        return
    home = related(known)
    groups = [home[sample.key] for sample in known.seen]
    facts = [fact for fact in _facts([known.looks[sample.key] for sample in known.seen]) if _varies(fact.values)]
    if known.catalog.multi_label:
        yield from _of_labels(known, [fact for fact in facts if fact.kind == "acquisition"], groups)
        return
    known_skill = None if known.deep is None else known.deep.skill
    place = {name: number for number, name in enumerate(known.catalog.classes)}
    labels = np.array([place[sample.labels[0]] for sample in known.seen], dtype=np.int64)
    for found in shortcuts(facts, labels, groups, classes=len(place), probe_skill=known_skill):
        if found.flagged or (found.kind == "content" and found.adjusted <= SIGNIFICANT):
            yield _finding(known, found)


def _of_labels(known: Gathered, facts: list[Fact], groups: list[str]) -> Iterator[Finding]:
    """A warning for each fact that tells a label."""
    classes = known.catalog.classes
    flagged: list[list[tuple[str, Shortcut]]] = [[] for _ in facts]
    for name in classes:
        labels = np.array([name in sample.labels for sample in known.seen], dtype=np.int64)
        for place, found in enumerate(shortcuts(facts, labels, groups, classes=2, families=len(classes))):
            if found.flagged:
                flagged[place].append((name, found))
    for clear in flagged:
        if clear:
            name, found = max(clear, key=lambda pair: pair[1].accuracy)
            keys = tuple(sample.key for sample in known.seen if name in sample.labels)[:EXAMPLES]
            text = f"{found.fact} alone tells label {printable(name, limit=40)!r} with a balanced accuracy of "
            text += f"{found.accuracy:.2f}, where chance is 0.50"
            if len(clear) > 1:
                text += f", and {len(clear) - 1} other label{'s' if len(clear) > 2 else ''} too"
            yield Finding(
                "shortcuts", "acquisition", "warning", text + _INSTEAD, keys, _figures(found) | {"class": name}
            )


def _facts(looks: list[Look]) -> Iterator[Fact]:
    """All facts, numbers and texts; NaN and the empty text where nothing is known."""
    headers = [look.header for look in looks]
    size = np.array([[look.width, look.height] for look in looks], dtype=np.float64)
    yield Fact("size", "acquisition", size)
    yield Fact("shape", "acquisition", size[:, 0] / size[:, 1])
    yield Fact("JPEG quality", "acquisition", _numbers([header.quality for header in headers]))
    encoders = [
        " ".join((look.format, look.mode, header.software, header.tables))
        for look, header in zip(looks, headers, strict=True)
    ]
    yield Fact("encoder", "acquisition", np.array(encoders))
    yield Fact("camera", "acquisition", np.array([header.camera for header in headers]))
    yield Fact("orientation", "acquisition", _numbers([header.orientation for header in headers]))
    yield Fact("time", "acquisition", _numbers([header.taken for header in headers]))
    yield Fact("colour", "content", np.array([look.colour for look in looks]))
    yield Fact("histogram of colours", "content", _directions(np.array([look.histogram for look in looks])))
    yield Fact("brightness", "content", np.array([look.brightness for look in looks]))
    yield Fact("contrast", "content", np.array([look.contrast for look in looks]))
    yield Fact("sharpness", "content", np.array([look.blur for look in looks]))


def _numbers(values: list[int | None] | list[float | None] | list[int]) -> Array:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _directions(histograms: Array) -> Array:
    """(n, 3): the principal components of the roots of the shares of colours, which do not depend on labels."""
    roots = np.sqrt(histograms / np.maximum(1, histograms.sum(axis=1, keepdims=True)))
    roots -= roots.mean(axis=0)
    _, vectors = np.linalg.eigh(roots.T @ roots)
    return np.asarray((roots @ vectors[:, ::-1][:, :_DIRECTIONS]).round(6))


def _varies(values: Array) -> bool:
    return len(np.unique(values, axis=0)) > 1


def _finding(known: Gathered, found: Shortcut) -> Finding:
    classes = known.catalog.classes
    single = found.one if found.one is not None and found.one.flagged else None
    best = single.label if single is not None else int(np.nanargmax(found.recalls))
    name = printable(classes[best], limit=40)
    figures = _figures(found)
    if single is not None:
        figures |= {
            "class": classes[best],
            "against_rest": round(single.accuracy, 3),
            "p_of_class": _short(single.adjusted),
        }
    if found.kind == "content" and known.deep is not None and known.deep.skill is not None:
        figures["probe_skill"] = round(known.deep.skill, 3)
    alone = f"{found.fact} alone tells the class with a balanced accuracy of {found.accuracy:.2f}"
    text = f"{alone}, where chance is {found.chance:.2f}"
    if single is not None:
        text += f"; {name!r} from all others with {single.accuracy:.2f}, where chance is 0.50"
    keys = tuple(sample.key for sample in known.seen if sample.labels[0] == classes[best])[:EXAMPLES]
    if found.kind == "acquisition":
        return Finding("shortcuts", "acquisition", "warning", text + _INSTEAD, keys, figures)
    if found.flagged:
        text += "; that is at least half of what a network sees in the whole image"
        return Finding("shortcuts", "content-alone", "warning", text, keys, figures)
    return Finding("shortcuts", "content", "note", text, keys, figures)


def _figures(found: Shortcut) -> dict[str, float | int | str | None]:
    return {
        "fact": found.fact,
        "balanced_accuracy": round(found.accuracy, 3),
        "chance": round(found.chance, 3),
        "p": _short(found.adjusted),
    }


def _short(value: float) -> float:
    return float(f"{value:.2g}")
