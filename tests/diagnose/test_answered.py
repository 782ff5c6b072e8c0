from collections.abc import Sequence

import numpy as np
import pytest

from finetune.audit.audit import audit
from finetune.audit.deep import Deep
from finetune.audit.gather import Gathered
from finetune.audit.look import Look
from finetune.diagnose.answered import NOTHING, looked
from finetune.scores.metrics import scores
from finetune.scores.predictions import Predictions
from tests.audit.toys import known, scene, seen

CLASSES = ("a", "b")


@pytest.fixture(scope="module")
def looks() -> list[Look]:
    return [seen(scene(seed)) for seed in range(46)]


def data(looks: Sequence[Look], *, copies: int = 0) -> Gathered:
    """Thirty images to learn from and sixteen to test, of which the first so many are copies of images learnt from."""
    keys = [f"{'ab'[number % 2]}/{number:02d}.png" for number in range(46)]
    taken = [looks[number - 30] if 30 <= number < 30 + copies else look for number, look in enumerate(looks)]
    parts = {key: "train" if number < 30 else "test" for number, key in enumerate(keys)}
    return known(dict(zip(keys, taken, strict=True)), parts=parts)


def said(
    gathered: Gathered, part: str, *, wrong: Sequence[int] = (), classes: tuple[str, ...] = CLASSES
) -> Predictions:
    """Answers of 0.95 to all images of a part, those at some places wrong."""
    keys = tuple(key for key in gathered.looks if gathered.part(key) == part)
    labels = np.array([classes.index(key[0]) for key in keys])
    answers = labels.copy()
    answers[list(wrong)] = 1 - answers[list(wrong)]
    logits = np.log(np.where(np.eye(2)[answers] == 1, 0.95, 0.05)).astype(np.float32)
    return Predictions(keys, logits, tuple(classes), labels)


def deep(gathered: Gathered, answers: dict[str, Predictions]) -> Deep:
    found = looked(gathered, answers, network="net").deep
    assert found is not None
    return found


def test_labels_that_held_out_answers_contradict_are_suspected(looks: list[Look]) -> None:
    gathered = data(looks)
    answers = {"out_of_fold": said(gathered, "train", wrong=[4]), "test": said(gathered, "test", wrong=[3])}
    found = audit(looked(gathered, answers, network="net"))
    issues = [one for one in found.findings if one.kind == "label-issue"]
    assert {one.keys for one in issues} == {("a/04.png",), ("b/33.png",)}
    figures = [one.figures or {} for one in issues]
    assert [one["probability_suggested"] for one in figures] == pytest.approx([0.95, 0.95], abs=1e-4)
    (expected,) = (one for one in found.findings if one.kind == "expected")
    assert (expected.figures or {})["asked"] == 46
    assert not any(one.kind == "nearest-of-another-label" for one in found.findings)


def test_of_images_that_nobody_held_out_nothing_is_said(looks: list[Look]) -> None:
    gathered = data(looks)
    found = deep(gathered, {"test": said(gathered, "test")})
    assert found.held_out.tolist() == 30 * [False] + 16 * [True]
    assert np.isnan(found.probabilities[:30]).all()
    assert found.accuracy is not None
    assert found.accuracy.value == 1


def test_what_was_answered_of_a_copy_does_not_count_and_out_of_fold_it_does(looks: list[Look]) -> None:
    gathered = data(looks, copies=4)
    found = deep(gathered, {"out_of_fold": said(gathered, "train"), "test": said(gathered, "test")})
    assert np.flatnonzero(~found.held_out).tolist() == [30, 31, 32, 33]


def test_the_score_without_leaks_is_that_of_the_other_test_images(looks: list[Look]) -> None:
    gathered = data(looks, copies=6)
    tested = said(gathered, "test", wrong=[0, 8, 9, 10])
    leak = deep(gathered, {"test": tested}).leak
    assert leak is not None
    assert (leak.images, leak.leaked) == (16, 6)
    score = scores(tested)["accuracy"]
    assert (leak.whole.value, leak.whole.low, leak.whole.high) == (score["value"], score["low"], score["high"])
    assert leak.without is not None
    assert leak.difference is not None
    assert leak.without.value == pytest.approx(7 / 10)
    assert leak.difference.value == pytest.approx(12 / 16 - 7 / 10)
    assert leak.difference.low < leak.difference.value < leak.difference.high
    assert deep(data(looks), {"test": said(data(looks), "test")}).leak is None


def test_classes_of_another_order_are_told_apart(looks: list[Look]) -> None:
    gathered = data(looks)
    found = deep(gathered, {"test": said(gathered, "test", classes=("b", "a"))})
    assert found.accuracy is not None
    assert found.accuracy.value == 1
    assert found.probabilities[30] == pytest.approx([0.95, 0.05], abs=1e-4)


def test_where_nothing_was_held_out_it_says_so(looks: list[Look]) -> None:
    gathered = data(looks)
    assert deep(gathered, {}).reason == NOTHING
    notes = [one.text for one in audit(looked(gathered, {}, network="net")).findings if one.check == "labels"]
    assert notes == [f"whether labels are wrong was not asked: {NOTHING}"]
