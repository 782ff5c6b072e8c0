"""Labels that a probe does not believe, as findings."""

from dataclasses import replace

import numpy as np
import pytest

from finetune.audit import label_issues
from finetune.audit.deep import Measured
from finetune.audit.gather import Gathered
from finetune.data.catalog import Catalog
from tests.audit.toys import asked_deeply, kinds, known, scene, seen


def images(each: int = 6) -> Gathered:
    one = seen(scene(0))
    return known({f"{name}/{number}": one for name in "abc" for number in range(each)})


def test_a_wrong_label_is_named_with_the_one_that_is_suggested() -> None:
    whole = images()
    found = list(label_issues.check(replace(whole, deep=asked_deeply(whole, wrong=["b/3"]))))
    assert kinds(found) == [("label-issue", "warning", ("b/3",)), ("expected", "note", ())]
    assert found[0].text == "labelled 'b', and looks like 'c': 0.96 against 0.02"
    assert found[0].figures == {
        "given": "b", "suggested": "c", "probability_given": 0.02, "probability_suggested": 0.96, "rank": 1,
    }  # fmt: skip
    assert found[1].figures == {"expected": 1.0, "asked": 18, "left_out": 0}
    assert found[1].text.startswith("about 1 of 18 labels are expected to be wrong (5.6 %)")


def test_the_worst_comes_first() -> None:
    whole = images()
    deep = asked_deeply(whole, wrong=["a/1", "c/2"])
    rows = deep.probabilities.copy()
    rows[deep.keys.index("c/2")] = [0.98, 0.01, 0.01]
    found = list(label_issues.check(replace(whole, deep=replace(deep, probabilities=rows))))
    assert [one.keys for one in found[:2]] == [("c/2",), ("a/1",)]
    assert [(one.figures or {})["rank"] for one in found[:2]] == [1, 2]


@pytest.mark.parametrize(("low", "asked"), [(0.30, False), (0.34, True)])
def test_what_is_not_shown_to_beat_chance_is_not_asked_about_labels(low: float, asked: bool) -> None:
    whole = images()
    deep = asked_deeply(whole, wrong=["b/3"])
    weak = replace(deep, balanced_accuracy=Measured(0.4, low, 0.5), chance=1 / 3)
    found = list(label_issues.check(replace(whole, deep=weak)))
    assert [one.kind for one in found] == (["label-issue", "expected"] if asked else ["not-asked"])
    if not asked:
        assert (
            "is not shown to do better than chance (balanced accuracy 0.40 [0.30, 0.50], by chance 0.33)"
            in found[0].text
        )


def test_of_any_number_of_labels_it_is_the_auroc_that_has_to_beat_chance() -> None:
    whole = images()
    weak = replace(asked_deeply(whole), auroc=Measured(0.52, 0.49, 0.55))
    (found,) = label_issues.check(replace(whole, deep=weak))
    assert "(mean AUROC of the labels 0.52 [0.49, 0.55], by chance 0.50)" in found.text


def test_without_a_network_nothing_is_said() -> None:
    assert list(label_issues.check(images())) == []


def test_of_any_number_of_labels_those_missing_and_those_too_many_are_named() -> None:
    whole = images()
    deep = asked_deeply(whole)
    wrong = {"a/1": ("a", "b"), "b/2": (), "c/3": ("a",)}
    several = tuple(replace(sample, label=wrong.get(sample.key, sample.labels)) for sample in whole.catalog.samples)
    marked = replace(whole, catalog=Catalog(several, whole.catalog.classes), deep=deep)
    *found, expected = label_issues.check(marked)
    assert {one.keys for one in found} == {(key,) for key in wrong}
    said = {one.keys[0]: one for one in found}
    assert said["a/1"].text == "labelled 'a|b', and looks like 'a' (too much: 'b' 0.05)"
    assert said["b/2"].text == "labelled nothing, and looks like 'b' (missing: 'b' 0.90)"
    assert said["c/3"].text == "labelled 'a', and looks like 'c' (too much: 'a' 0.05, missing: 'c' 0.90)"
    assert said["b/2"].figures == {
        "given": "", "suggested": "b", "probability_given": 0.1, "probability_suggested": 0.9, "rank": 3,
    }  # fmt: skip
    assert (expected.kind, expected.severity) == ("expected", "note")
    assert (expected.figures or {})["asked"] == 54
    assert expected.text.startswith("about 4 of 54 labels are expected to be wrong (7.4 %)")


def test_what_was_not_asked_is_said() -> None:
    whole = images()
    deep = asked_deeply(whole)
    none = replace(deep, probabilities=np.full_like(deep.probabilities, np.nan), reason="too few")
    (found,) = label_issues.check(replace(whole, deep=none))
    assert found.text == "whether labels are wrong was not asked: too few"


def test_images_that_were_never_held_out_are_counted() -> None:
    whole = images()
    deep = asked_deeply(whole, wrong=["a/0"])
    rows = deep.probabilities.copy()
    rows[0] = np.nan
    (found,) = label_issues.check(replace(whole, deep=replace(deep, probabilities=rows)))
    assert found.figures == {"expected": 0.0, "asked": 17, "left_out": 1}
