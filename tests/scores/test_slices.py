import numpy as np
import pytest

from finetune.errors import UsageError
from finetune.scores.predictions import Predictions
from finetune.scores.slices import slices


def answers(right, groups=None):
    right = np.asarray(right, dtype=bool)
    labels = np.zeros(len(right), dtype=np.int64)
    logits = np.stack([right, ~right], axis=1).astype(np.float32)
    return Predictions(tuple(map(str, range(len(right)))), logits, ("a", "b"), labels, groups)


def test_a_slice_that_is_worse_is_found_first_and_called_a_difference():
    generator = np.random.default_rng(0)
    brightness = generator.random(600)
    right = generator.random(600) < np.where(brightness < 1 / 3, 0.6, 0.95)
    facts = {"width": generator.random(600).tolist(), "brightness": brightness.tolist()}
    found = slices(answers(right), facts)
    assert found[0]["differs"]
    assert found[0]["fact"] == "brightness"
    assert found[0]["slice"].startswith("up to")
    assert found[0]["images"] == pytest.approx(200, abs=1)
    assert found[0]["difference"]["value"] == pytest.approx(
        found[0]["accuracy"]["value"] - found[0]["rest"]["value"], abs=1e-12
    )
    assert found[0]["difference"]["high"] < 0
    assert not any(one["differs"] for one in found if one["fact"] == "width")


def test_words_are_slices_by_value_and_few_images_are_none():
    camera = ["Canon"] * 30 + ["Nikon"] * 25 + ["rare"] * 5 + [None] * 20
    found = slices(answers(np.arange(80) % 4 > 0), {"camera": camera})
    assert {one["slice"]: one["images"] for one in found} == {"Canon": 30, "Nikon": 25}


def test_numbers_that_hardly_vary_have_no_empty_slices():
    found = slices(answers(np.arange(90) % 3 > 0), {"width": [100.0] * 60 + [200.0] * 30, "height": [5.0] * 90})
    assert {one["slice"]: one["images"] for one in found} == {"up to 100": 60, "above 100": 30}


def test_where_nothing_differs_seldom_anything_is_called_a_difference():
    called = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        right = generator.random(200) < 0.8
        found = slices(answers(right), {name: generator.random(200).tolist() for name in ("a", "b", "c", "d")})
        called += any(one["differs"] for one in found)
    assert called <= 5


def test_groups_that_are_right_as_one_are_not_many_images():
    generator = np.random.default_rng(3)
    called = {True: 0, False: 0}
    for _ in range(40):
        groups = np.repeat(np.arange(24), 10)
        right = (generator.random(24) < 0.8)[groups]
        bright = (groups % 2).astype(float).tolist()
        for grouped in called:
            names = tuple(map(str, groups)) if grouped else None
            called[grouped] += any(one["differs"] for one in slices(answers(right, names), {"bright": bright}))
    assert called[True] <= 6
    assert called[False] >= 15


def test_facts_of_other_images_and_answers_without_labels_are_refused():
    with pytest.raises(UsageError, match="width has 2 values for 60 images"):
        slices(answers(np.ones(60)), {"width": [1.0, 2.0]})
    with pytest.raises(UsageError, match="without labels"):
        slices(Predictions(("a",), np.zeros((1, 2), np.float32), ("a", "b")), {})
