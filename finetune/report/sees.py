"""What does it see? Where the network puts the images, and how they were shown to it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.report.evidence import Evidence
from finetune.report.pictured import TILE, Plane
from finetune.report.section import Part, Section, called, section, untaken
from finetune.report.sourced import Value

COLOURED = 8  # classes that colours tell apart, the commonest

Points = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Drawn:
    """A map as paths: of each class the dots (`kind` 1 to 8, or 0 for the rest together), and crosses for mistakes."""

    name: str
    title: str
    dots: tuple[tuple[int, str], ...]
    crosses: str
    places: tuple[tuple[float, float], ...]


def what_does_it_see(evidence: Evidence) -> Section:
    """The map of images, and the views that were learnt from."""
    nothing = untaken(evidence, "Where the network puts the images was not drawn.")
    return section("sees", "What does it see?", "What it sees", embedding(evidence) or nothing, views(evidence))


def embedding(evidence: Evidence) -> Part | None:
    """Images as dots: those that the network finds alike lie together; by class and by error."""
    plane = evidence.plane
    if plane is None or not plane.embedding.keys:
        return None
    found = plane.embedding
    colours = _colours(plane)
    maps = [("pca", "Main directions (PCA)", found.pca)]
    maps += [("tsne", "Neighbours (t-SNE)", found.tsne)] if found.tsne else []
    names = evidence.facts.classes
    explained = [Value(share, f"{found.origin}explained.{place}") for place, share in enumerate(found.explained or ())]
    values = {
        "maps": [_drawn(name, title, points, plane, colours) for name, title, points in maps],
        "legend": [(colour, names[label]) for label, colour in colours.items() if label < len(names)],
        "rest": len(names) > len(colours),
        "several": evidence.several,
        "explained": explained,
        "reason": found.reason,
        "count": Value(len(found.keys), f"count({found.origin}keys)"),
        "wrong": Value(sum(_wrong(plane)), f"wrong({found.origin}keys)"),
        "words": called(evidence),
        "folds": len(evidence.folds),
        "hover": evidence.gallery is not None,
        "classes": list(enumerate(names)),
    }
    return Part("embedding", "Which images it finds alike", values)


def views(evidence: Evidence) -> Part | None:
    """A few training images, plain and varied, as the network saw them."""
    if evidence.views is None:
        return None
    places = [TILE * column for column in range(evidence.views.tiles)]
    rows = [(key, [(left, TILE * row) for left in places]) for row, key in enumerate(evidence.views.keys)]
    return Part("views", "What it was shown", {"rows": rows})


def drawn_places(points: Points) -> list[tuple[float, float]]:
    """Places on a square of 100 by 100, the same scale along both axes, from the top left."""
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    span = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    left, low = (min(xs) + max(xs) - span) / 2, (min(ys) + max(ys) - span) / 2
    return [(round(2 + 96 * (x - left) / span, 1), round(98 - 96 * (y - low) / span, 1)) for x, y in points]


def _colours(plane: Plane) -> dict[int, int]:
    """A colour for each of the commonest classes, in the order of the classes; none where images have several."""
    if any(len(labels) != 1 for labels in plane.labels):
        return {}
    common = Counter(labels[0] for labels in plane.labels).most_common(COLOURED)
    return {label: colour for colour, label in enumerate(sorted(label for label, _ in common), start=1)}


def _drawn(name: str, title: str, points: Points, plane: Plane, colours: dict[int, int]) -> Drawn:
    places = drawn_places(points)
    dots: dict[int, list[str]] = {}
    for (x, y), labels in zip(places, plane.labels, strict=True):
        dots.setdefault(colours.get(labels[0], 0) if len(labels) == 1 else 0, []).append(f"M{x:g} {y:g}h0")
    crosses = "".join(
        f"M{x - 0.9:.1f} {y - 0.9:.1f}l1.8 1.8m0-1.8l-1.8 1.8"
        for (x, y), wrong in zip(places, _wrong(plane), strict=True)
        if wrong
    )
    return Drawn(name, title, tuple((colour, "".join(dots[colour])) for colour in sorted(dots)), crosses, tuple(places))


def _wrong(plane: Plane) -> list[bool]:
    return [labels != said for labels, said in zip(plane.labels, plane.said, strict=True)]
