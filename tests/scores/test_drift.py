import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from finetune.scores.drift import compared, difference, drift, mix
from finetune.scores.intervals import wilson
from finetune.scores.metrics import scores
from finetune.scores.predictions import Predictions


def share(right: int, images: int) -> dict[str, float | None]:
    low, high = wilson(right, images)
    return {"value": right / images, "low": low, "high": high}


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [  # Newcombe 1998, table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0000),
    ],
)
def test_the_intervals_are_those_that_were_published(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    found = difference(share(*other), share(*one))
    assert found is not None
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert found["differs"]


def test_equal_shares_do_not_differ_and_what_is_not_known_says_nothing() -> None:
    found = difference(share(80, 100), share(81, 100))
    assert found is not None
    assert not found["differs"]
    assert difference({"value": None, "low": None, "high": None}, share(1, 2)) is None


def answered(
    name: str,
    labels: Sequence[int] | np.ndarray,
    right: Sequence[bool] | np.ndarray,
    *,
    sure: float = 3.0,
    each: int = 1,
) -> Predictions:
    """Answers to images of three classes, so many in each group."""
    labels = np.asarray(labels, dtype=np.int64)
    said = np.where(right, labels, (labels + 1) % 3)
    keys = tuple(f"{name}{place}" for place in range(len(labels)))
    groups = tuple(f"{name}{place // each}" for place in range(len(labels))) if each > 1 else None
    return Predictions(keys, (sure * np.eye(3)[said]).astype(np.float32), ("a", "b", "c"), labels, groups)


def told(own: Predictions, new: Predictions, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return drift(own, new, before, after, own_scores=scores(own), new_scores=scores(new))


@pytest.mark.parametrize("ties", [0, 1])
def test_the_test_of_one_fact_is_that_of_mann_and_whitney(ties: int) -> None:
    generator = np.random.default_rng(ties)
    own, new = generator.normal(0, 1, 40), generator.normal(0.4, 1.5, 60)
    own, new = (own.round(), new.round()) if ties else (own, new)
    found, right = compared(own, new), mannwhitneyu(new, own, method="asymptotic")
    assert found["p"] == pytest.approx(right.pvalue)
    assert found["above"]["value"] == pytest.approx(right.statistic / 2400)


@pytest.mark.parametrize(("own", "new", "shift"), [(15, 40, 0.0), (30, 30, 1.2), (12, 12, 2.5)])
def test_95_of_100_intervals_hold_how_often_a_new_value_is_the_larger(own: int, new: int, shift: float) -> None:
    generator, right = np.random.default_rng(0), 0.5 * (1 + math.erf(shift / 2))
    inside = 0
    for _ in range(600):
        found = compared(generator.normal(size=own), generator.normal(shift, 1, new))["above"]
        inside += found["low"] <= right <= found["high"]
    assert 0.92 < inside / 600 < 0.98


def test_values_that_are_all_the_same_do_not_differ_and_those_apart_are_not_certain() -> None:
    assert compared(np.ones(20), np.ones(30))["p"] == 1
    apart = compared(np.zeros(20), np.ones(20))["above"]
    assert (apart["value"], apart["high"]) == (1, 1)
    assert 0.8 < apart["low"] < 0.95


def test_what_differs_is_told_and_what_does_not_is_not() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 300)
    own, new = answered("o", labels, np.ones(300, bool)), answered("n", labels, generator.random(300) < 0.7, sure=1.0)
    before = {"brightness": generator.normal(0.5, 0.1, 300).tolist(), "width": generator.normal(0, 1, 300).tolist()}
    after = {"brightness": generator.normal(0.3, 0.1, 300).tolist(), "width": generator.normal(0, 1, 300).tolist()}
    before["camera"], after["camera"] = ["Canon"] * 300, ["Canon", "Nikon", None] * 100
    found = told(own, new, before, after)
    rows = {row["fact"]: row for row in found["facts"]}
    assert [row["fact"] for row in found["facts"]] == ["confidence", "brightness", "width"]
    assert rows["brightness"]["differs"]
    assert rows["brightness"]["above"]["high"] < 0.2
    assert rows["brightness"]["new"] == pytest.approx(np.median(after["brightness"]))
    assert rows["confidence"]["differs"]
    assert not rows["width"]["differs"]
    assert rows["width"]["p_holm"] > rows["width"]["p"]
    classes, cameras = found["shares"]
    assert not classes["differs"]
    assert cameras["differs"]
    assert cameras["rows"][0]["name"] == "Canon"
    assert cameras["rows"][0]["new"]["value"] == pytest.approx(1 / 3)
    assert found["difference"]["value"] == pytest.approx(scores(new)["accuracy"]["value"] - 1)


def test_a_fact_that_either_lacks_is_not_compared() -> None:
    one = answered("o", [0, 1, 2] * 10, np.ones(30, bool))
    found = told(one, one, {"width": [1.0] * 30, "blur": [None] * 30}, {"height": [1.0] * 30, "blur": [2.0] * 30})
    assert [row["fact"] for row in found["facts"]] == ["confidence"]
    few = answered("f", [0, 1, 2], np.ones(3, bool))
    found = told(one, few, {"width": [1.0] * 30}, {"width": [2.0] * 3})
    assert [(row["above"], row["p"], row["differs"]) for row in found["facts"]] == [(None, None, False)] * 2
    assert found["shares"][0]["p"] is None


def test_images_in_groups_count_once_for_each_group() -> None:
    generator = np.random.default_rng(2)
    labels = np.repeat(generator.integers(0, 3, 30), 20)
    both = [answered(name, labels, np.ones(600, bool), each=20) for name in "on"]
    falsely = 0
    for seed in range(40):
        drawn = np.random.default_rng(seed)
        values = [np.repeat(drawn.normal(size=30), 20).tolist() for _ in range(2)]
        found = told(*both, {"width": values[0]}, {"width": values[1]})
        falsely += found["facts"][1]["p"] < 0.05
    assert falsely <= 6  # of 40 where images counted by themselves most would
    assert found["shares"][0]["p"] == 1
    moved = answered("m", np.repeat(np.arange(30) % 2, 20), np.ones(600, bool), each=20)
    share = told(both[0], moved, {}, {})["shares"][0]["rows"][0]
    assert share["own"]["high"] - share["own"]["low"] > 0.2


@pytest.mark.parametrize("each", [1, 2])
def test_shares_differ_by_chance_as_often_as_the_test_says(each: int) -> None:
    generator, few = np.random.default_rng(3), 0
    for _ in range(60):
        sides = [
            answered(name, np.repeat(generator.integers(0, 3, 60), each), np.ones(60 * each, bool), each=each)
            for name in "on"
        ]
        few += told(*sides, {}, {})["shares"][0]["p"] < 0.1
    assert few <= 13
    own = answered("o", [0, 1, 2] * 30, np.ones(90, bool))
    assert told(own, answered("n", [0] * 60 + [1] * 30, np.ones(90, bool)), {}, {})["shares"][0]["differs"]


def test_other_shares_of_classes_alone_make_another_accuracy() -> None:
    own = answered("o", [0] * 100 + [1] * 100, [True] * 100 + [True, False] * 50)
    new = answered("n", [0] * 20 + [1] * 180, [True] * 20 + [True, False] * 90)
    found = mix(own, new, scores(new)["accuracy"])
    assert found["expected"]["value"] == pytest.approx(0.1 + 0.9 * 0.5)
    assert found["expected"]["low"] < 0.55 < found["expected"]["high"]
    assert found["difference"]["value"] == pytest.approx(0)
    assert difference(scores(own)["accuracy"], scores(new)["accuracy"])["differs"]  # type: ignore[index]
    assert not found["difference"]["differs"]
    unknown = mix(own, answered("n", [2] * 5, np.ones(5, bool)), share(5, 5))
    assert unknown["expected"] is None
    assert "1 of these classes" in unknown["reason"]


def test_several_labels_are_compared_by_what_was_said_of_each() -> None:
    generator = np.random.default_rng(0)
    labels = generator.random((40, 3)) < 0.4
    both = [
        Predictions(
            tuple(f"{name}{i}" for i in range(40)),
            (scale * (2 * labels - 1)).astype(np.float32),
            ("a", "b", "c"),
            labels,
        )
        for name, scale in (("o", 3.0), ("n", 1.0))
    ]
    found = told(*both, {}, {})
    assert (found["score"], found["mix"]) == ("subset_accuracy", None)
    assert found["facts"][0]["own"] == pytest.approx(1 / (1 + math.exp(-3)), abs=1e-6)
    assert found["facts"][0]["differs"]
    assert found["shares"][0]["rows"][0]["own"]["value"] == pytest.approx(labels[:, _place(found)].mean())


def _place(found: dict[str, Any]) -> int:
    return ("a", "b", "c").index(found["shares"][0]["rows"][0]["name"])
