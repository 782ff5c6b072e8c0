"""What a run's own answers say of its data: a deep look that asks no network again."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from finetune.audit import duplicates
from finetune.audit.deep import Deep
from finetune.audit.gather import Gathered
from finetune.diagnose.deep import leak_effect, measured
from finetune.scores.metrics import scores
from finetune.scores.predictions import Array, Predictions

NOTHING = "no image was answered by a model that had not learnt from it"

_PARTS = ("out_of_fold", "validation", "test")  # the later say more of what ships


def looked(known: Gathered, answers: Mapping[str, Predictions], *, network: str) -> Gathered:
    """The same with what models said of images that they had not learnt from; without features, so that nothing is
    said of neighbours.

    answers: by part, "test" also what folds answered. Of images with a copy in another part only what was said out of
    fold counts, where copies are never apart. The leak is that of what ships, of its own test score. network: the name
    of what answered.
    """
    samples, classes = known.seen, known.catalog.classes
    keys = tuple(sample.key for sample in samples)
    place = {key: number for number, key in enumerate(keys)}
    found = list(duplicates.check(known))
    apart = {key for one in found if one.kind.endswith("across-parts") for key in one.keys}
    probabilities = np.full((len(keys), len(classes)), np.nan)
    for part in _PARTS:
        if part in answers:
            _fill(probabilities, answers[part], place, classes, without=apart if part != "out_of_fold" else set())
    held = np.isfinite(probabilities).all(axis=1)
    deep = Deep(network, keys, np.zeros((len(keys), 0), np.float32), (), probabilities)
    if not held.any():
        return replace(known, deep=replace(deep, reason=NOTHING))
    tested, leaked = answers.get("test"), set(duplicates.leaked(found, known.parts))
    if tested is not None and leaked.intersection(tested.keys):
        deep = replace(deep, leak=leak_effect(tested, np.array([key in leaked for key in tested.keys])))
    several = known.catalog.multi_label
    labels = [
        [name in sample.labels for name in classes] if several else classes.index(sample.labels[0])
        for sample in samples
    ]
    groups = np.array([sample.group or sample.key for sample in samples], dtype=object)
    said = Predictions(
        keys=tuple(np.array(keys, dtype=object)[held]),
        logits=(_log_odds if several else _log)(probabilities[held]).astype(np.float32),
        classes=classes,
        labels=np.array(labels, dtype=bool if several else np.int64)[held],
        groups=tuple(groups[held]) if any(sample.group for sample in samples) else None,
    )
    told = scores(said)
    return replace(
        known,
        deep=replace(
            deep,
            accuracy=measured(told.get("accuracy")),
            balanced_accuracy=measured(told.get("balanced_accuracy")),
            auroc=measured(told.get("macro_auroc")),
            chance=1 / len(classes),
        ),
    )


def _log(probabilities: Array) -> Array:
    return np.asarray(np.log(np.maximum(probabilities, 1e-30)))


def _log_odds(probabilities: Array) -> Array:
    return _log(probabilities) - _log(1 - probabilities)


def _fill(
    probabilities: Array, said: Predictions, place: Mapping[str, int], classes: tuple[str, ...], *, without: set[str]
) -> None:
    columns = [classes.index(name) for name in said.classes]
    rows = [row for row, key in enumerate(said.keys) if key in place and key not in without]
    places = [place[said.keys[row]] for row in rows]
    probabilities[places] = 0.0
    probabilities[np.ix_(places, columns)] = said.probabilities[rows]
