from dataclasses import replace
from pathlib import Path

import numpy as np

from finetune.data.catalog import Catalog, Sample
from finetune.diagnose.asked import Asked, right, selected
from finetune.scores.predictions import Predictions
from tests.diagnose import toys


def many(n: int, *, wrong: set[int]) -> Asked:
    samples = tuple(Sample(f"{number:05d}", None, "ab"[number % 2], group=f"g{number // 3}") for number in range(n))
    catalog = Catalog(samples, ("a", "b"))
    answers = [1 - label if place in wrong else label for place, label in enumerate(catalog.labels)]
    return Asked("test", toys.told(catalog, answers, groups=tuple(str(s.group) for s in samples)), catalog)


def several() -> Predictions:
    """Three images with two labels, of which the second is answered above 0.5 and the first above 0.9, or, of the last
    image, above 0.1.
    """
    return Predictions(
        ("x", "y", "z"),
        np.array([[1, 1], [1, -1], [-1, 1]], dtype=np.float32),
        ("a", "b"),
        np.array([[False, True], [True, False], [True, True]]),
        thresholds=np.array([[0.9, 0.5], [0.9, 0.5], [0.1, 0.5]]),
    )


def test_an_image_is_right_when_all_its_labels_are() -> None:
    assert right(several()).tolist() == [True, False, True]
    assert right(several()).dtype == bool
    assert many(4, wrong={1, 2}).right.tolist() == [True, False, False, True]


def test_what_is_selected_has_the_order_that_was_asked_and_everything_of_each_image() -> None:
    found = selected(several(), [2, 0])
    assert found.keys == ("z", "x")
    assert found.logits.tolist() == [[-1, 1], [1, 1]]
    assert found.labels is not None
    assert found.labels.tolist() == [[True, True], [False, True]]
    assert found.thresholds is not None
    assert found.thresholds.tolist() == [[0.1, 0.5], [0.9, 0.5]]
    assert right(found).tolist() == [True, True]


def test_thresholds_of_labels_are_not_taken_for_those_of_images() -> None:
    shared = replace(several(), thresholds=np.array([0.9, 0.5]))
    found = selected(shared, [1])
    assert found.thresholds is not None
    assert found.thresholds.tolist() == [0.9, 0.5]


def test_selected_images_without_labels_have_none() -> None:
    assert selected(replace(several(), labels=None), [1]).labels is None


def test_catalog_predictions_and_groups_stay_together() -> None:
    found = many(9, wrong={4}).select([7, 4, 0])
    assert found.catalog.keys == found.predictions.keys == ("00007", "00004", "00000")
    assert found.predictions.groups == tuple(sample.group for sample in found.catalog.samples) == ("g2", "g1", "g0")
    assert found.right.tolist() == [True, False, True]
    assert found.part == "test"


def test_a_few_are_a_sample_in_order_that_is_always_the_same() -> None:
    whole = many(100, wrong=set(range(90, 100)))
    found = whole.few(30)
    assert len(found.catalog) == 30
    assert list(found.catalog.keys) == sorted(found.catalog.keys)
    assert found.catalog.keys == found.predictions.keys == whole.few(30).catalog.keys
    assert found.catalog.keys == many(100, wrong=set()).few(30).catalog.keys  # nothing but their number decides
    assert found.catalog.keys != whole.catalog.keys[:30]
    assert whole.few(100) is whole


def test_what_is_wrong_comes_along_as_far_as_it_fits() -> None:
    wrong = set(range(3, 100, 5))
    whole = many(100, wrong=wrong)
    found = whole.few(30, mistakes_first=True)
    assert {int(key) for key in found.catalog.keys} >= wrong
    assert int((~found.right).sum()) == 20
    assert list(found.catalog.keys) == sorted(found.catalog.keys)
    fewer = whole.few(8, mistakes_first=True)
    assert not fewer.right.any()
    assert len(fewer.catalog) == 8


def test_any_image_may_be_among_the_few() -> None:
    taken = [int(key) for key in many(2000, wrong=set()).few(500).catalog.keys]
    assert 900 < np.mean(taken) < 1100
    assert 100 < sum(number < 500 for number in taken) < 150


def test_the_images_of_a_folder_are_asked_as_they_are(photos: Path) -> None:
    found = toys.asked(photos, wrong=[0, 23])
    assert np.flatnonzero(~found.right).tolist() == [0, 23]
