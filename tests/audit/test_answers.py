"""What a classifier that knows only the cell answers."""

import numpy as np
import pytest

from finetune.audit.answers import Asked, Table
from finetune.audit.cells import cut


def asked(labels: np.ndarray, classes: int) -> Asked:
    return Asked.of(labels, [f"image {number}" for number in range(len(labels))], classes)


def table(values: np.ndarray, labels: np.ndarray, classes: int) -> tuple[Table, np.ndarray]:
    who = asked(labels, classes)
    made = Table(cut(values[who.images]), who)
    return made, made.counts(who.labels[None])


def test_a_fact_that_is_the_label_tells_all_classes_and_each_from_the_rest() -> None:
    labels = np.arange(90) % 3
    made, held = table(np.array(["x", "y", "z"])[labels], labels, 3)
    assert held.sum() == 90
    assert made.recalls(held).tolist() == [[1, 1, 1]]
    assert made.against_rest(held).tolist() == [[1, 1, 1]]


def test_a_fact_of_one_class_tells_that_one_from_the_rest_and_little_else() -> None:
    labels = np.arange(90) % 3
    made, held = table(np.where(labels == 1, "own", "usual"), labels, 3)
    assert made.recalls(held)[0, 1] == 1
    assert made.recalls(held)[0, [0, 2]].mean() <= 0.5
    assert made.against_rest(held)[0, 1] == 1
    assert (made.against_rest(held)[0, [0, 2]] <= 0.75).all()


def test_values_that_are_all_equal_are_a_coin() -> None:
    labels = np.arange(60) % 2
    made, held = table(np.zeros(60), labels, 2)
    assert made.trivial
    assert made.against_rest(held) == pytest.approx(0.5)


def test_of_two_classes_each_against_the_rest_is_the_mean_of_the_recalls() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(200) % 2
    made, held = table(labels + generator.normal(size=200), labels, 2)
    assert made.against_rest(held)[0] == pytest.approx(made.recalls(held).mean(), abs=1e-9)


def test_only_classes_of_two_groups_are_asked_and_groups_stay_in_one_fold() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    groups = ["p", "q", "r", "s", "t", "t"]
    who = Asked.of(labels, groups, 4)
    assert who.classes.tolist() == [0, 1]
    assert who.sizes.tolist() == [2, 2]
    assert sorted(who.images.tolist()) == [0, 1, 2, 3]
