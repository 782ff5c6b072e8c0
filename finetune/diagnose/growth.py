"""What more images would bring: the learning curve of the probe, from features that are there already."""

import numpy as np

from finetune.bundle.facts import dump
from finetune.choose.heads import Material
from finetune.frozen.curve import Curve, gain, learning_curve, power_law
from finetune.frozen.probe import Probe
from finetune.predict import Check
from finetune.report.helps import NO_CURVE

NAME = "evidence/curve.json"
MORE = 50
CLASSES = 5  # the weakest, that are asked about one by one
_LIGHT = 50_000_000  # products of one pass over the features, above which a curve would take minutes


def files(given: Material, probe: Probe, *, seed: int, check: Check | None = None) -> tuple[dict[str, bytes], str]:
    """`evidence/curve.json`: the accuracy by the number of images, its law, and what 50 more images of the weakest
    classes would bring, all of the plain view. Nothing, and a sentence on that, where it would take long, where there
    are too few images to learn from fewer, or where images have any number of labels: there is no one accuracy then
    that a law could be of.

    Accuracies and gains are shares in 0…1; the law is error = a + b * images ** -c.
    """
    if given.catalog.multi_label:
        return (
            {},
            f"{NO_CURVE}where images have any number of labels there is no one accuracy that it could be of",
        )
    if given.features[0].size * given.classes > _LIGHT:
        return {}, f"{NO_CURVE}with so many images and classes it would take minutes"
    whole = _curve(given, probe, None, seed, check)
    if np.ptp(whole.images) == 0:
        return {}, f"{NO_CURVE}with two images of a class there is no smaller number of them to learn from"
    law = power_law(whole.points)
    said = {
        "points": [
            {"images": round(p.images), "accuracy": p.accuracy, "low": p.low, "high": p.high} for p in whole.points
        ],
        "law": {"a": law.floor, "b": law.scale, "c": law.power},
        "gains": [_gain(given, probe, label, seed, check) for label in _weakest(given, probe)],
    }
    return {NAME: dump(said)}, ""


def _gain(given: Material, probe: Probe, label: int, seed: int, check: Check | None) -> dict[str, object]:
    found = gain(_curve(given, probe, label, seed, check), more=MORE)
    shares = {"points": found.points / 100, "low": found.low / 100, "high": found.high / 100}
    return {"class": given.catalog.classes[label], "more": MORE, **shares}


def _curve(given: Material, probe: Probe, of_class: int | None, seed: int, check: Check | None) -> Curve:
    return learning_curve(
        given.features[:1],
        given.labels,
        probe.trial,
        classes=given.classes,
        folds=given.folds,
        groups=given.groups,
        class_weights=given.class_weights if probe.balanced else None,
        of_class=of_class,
        seed=seed,
        check=check,
    )


def _weakest(given: Material, probe: Probe) -> list[int]:
    """The classes that are recognised least often, of those that were held out; the first of equals."""
    asked = np.isfinite(probe.logits).all(axis=1)
    right = probe.logits[asked].argmax(axis=1) == given.labels[asked]
    recall = {int(label): right[given.labels[asked] == label].mean() for label in np.unique(given.labels[asked])}
    return sorted(recall, key=lambda label: (recall[label], label))[:CLASSES]
