"""All checks over everything that is known of a data set, and what they found, in one order and one schema."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from finetune.audit import classes, duplicates, facts, label_issues, leaks, neighbours, outliers, unreadable
from finetune.audit.finding import SEVERITIES, Finding
from finetune.audit.gather import Gathered
from finetune.errors import printable

SCHEMA = 1  # grows when something is taken out or means something else, not when something is added

Check = Callable[[Gathered], Iterable[Finding]]


@dataclass(frozen=True)
class Audit:
    """What was found, worst first, and what it was found in."""

    known: Gathered
    findings: tuple[Finding, ...]

    def counts(self) -> dict[str, int]:
        """How many findings there are of each severity."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    @property
    def leaked(self) -> tuple[str, ...]:
        """The keys of test images that are also, exactly or nearly, among the images that are learnt or chosen from."""
        return duplicates.leaked(self.findings, self.known.parts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; all texts are printable. Keys are those of the catalog, the paths below the root.

        schema: 1. images: found, with a label. split: for each of train, validation, test the number of images and
        the number by class; empty where the data cannot be split. left_out: [{key, reason}]. notes: what the split has
        to say. classes: [{class, images, different, train, validation, test, unreadable, and the medians width, height,
        brightness, blur, file_size}]. leaked: keys of test images with a copy among the others. counts: findings by
        severity. deep: None without a network, else its name, how many images it saw and could hold out, why there is
        no probe, its accuracy and balanced_accuracy out of fold, test: None without leaked images, else how many there
        are, and the accuracy of all, without_leaked and the difference, each {value, low, high}, and
        nearest_of_another_label: [{test, nearest, cosine}], the nearest first. findings:
        [{check, kind, severity, text, keys, figures}], worst first.
        """
        return {
            "schema": SCHEMA,
            "images": len(self.known.catalog),
            "split": self._split() if self.known.is_split else {},
            "left_out": [{"key": left.key, "reason": left.reason} for left in self.known.catalog.left_out],
            "notes": list(self.known.notes),
            "classes": classes.table(self.known),
            "leaked": list(self.leaked),
            "counts": self.counts(),
            "deep": self._deep(),
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def _deep(self) -> dict[str, Any] | None:
        deep = self.known.deep
        if deep is None:
            return None
        nearest = [
            {"test": pair.test.key, "nearest": pair.nearest.key, "cosine": pair.cosine}
            for pair in neighbours.nearest_of_another_label(self.known, deep)
        ]
        return {**deep.to_dict(), "nearest_of_another_label": nearest}

    def _split(self) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for part in ("train", "validation", "test"):
            inside = [sample for sample in self.known.catalog.samples if self.known.part(sample.key) == part]
            labels = Counter(label for sample in inside for label in sample.labels)
            by_class = {name: labels[name] for name in self.known.catalog.classes}
            parts[part] = {"images": len(inside), "classes": by_class}
        return parts


def audit(known: Gathered) -> Audit:
    """Runs every check. The same data gives the same findings in the same order: errors, warnings and notes, and among
    them the order of CHECKS and that in which a check gives them.
    """
    found = [finding for check in CHECKS for finding in check(known)]
    return Audit(known, tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))))


def refusals(known: Gathered) -> Iterator[Finding]:
    """An error for each reason for which a run on this data would stop."""
    for refusal in known.refusals:
        said, *listed = (printable(line.strip(), limit=1000) for line in refusal.splitlines())
        yield Finding("data", "refused", "error", f"{said}: {'; '.join(listed)}" if listed else said)


CHECKS: tuple[Check, ...] = (
    refusals,
    unreadable.check,
    duplicates.check,
    neighbours.check,
    leaks.check,
    facts.check,
    label_issues.check,
    classes.check,
    outliers.check,
)
