import json
from dataclasses import replace

import numpy as np
import pytest

from finetune.choose import heads as probes
from finetune.choose.heads import Material
from finetune.data.catalog import Catalog, Sample
from finetune.diagnose import growth
from finetune.frozen.folds import folds
from finetune.frozen.probe import Probe, cross_validate


def material(counts: dict[str, int], *, apart: float | dict[str, float] = 1.5, width: int = 12) -> Material:
    """Classes with so many images, each so far from the others, in the order of their names."""
    generator, classes = np.random.default_rng(0), tuple(sorted(counts))
    labels = np.array([place for place, name in enumerate(classes) for _ in range(counts[name])])
    far = np.array([apart if isinstance(apart, float) else apart[name] for name in classes])
    features = far[labels, None] * np.eye(len(classes), width)[labels] + generator.normal(size=(len(labels), width))
    samples = tuple(Sample(f"{place:04d}.png", None, classes[label]) for place, label in enumerate(labels))
    groups = tuple(sample.key for sample in samples)
    return Material(
        Catalog(samples, classes),
        features[None].astype(np.float32),
        labels,
        groups,
        folds(labels, groups, seed=0),
    )


def fitted(given: Material) -> Probe:
    return probes.fit(given, head=None, threads=1)


def written(given: Material, *, seed: int = 0, probe: Probe | None = None) -> dict[str, object]:
    files, why_not = growth.files(given, probe or fitted(given), seed=seed)
    assert why_not == ""
    found: dict[str, object] = json.loads(files[growth.NAME])
    return found


def test_the_curve_rises_with_the_images_to_what_cross_validation_says() -> None:
    given = material({"a": 60, "b": 60, "c": 60}, apart=2.0)
    probe = fitted(given)
    said = written(given, probe=probe)
    points = said["points"]
    images = [point["images"] for point in points]  # type: ignore[attr-defined]
    assert images == [15, 30, 42, 57, 72, 87, 102, 114, 129, 144]  # 48 of each class outside of a fold, shared
    for point in points:  # type: ignore[attr-defined]
        assert 0 <= point["low"] <= point["accuracy"] <= point["high"] <= 1
    out = cross_validate(given.features[:1], given.labels, probe.trial, classes=3, folds=given.folds)
    assert points[-1]["accuracy"] == pytest.approx((out.argmax(axis=1) == given.labels).mean(), abs=0.02)  # type: ignore[index]
    assert points[-1]["accuracy"] > points[0]["accuracy"] + 0.05  # type: ignore[index]


def test_the_law_is_near_its_points() -> None:
    said = written(material({"a": 60, "b": 60, "c": 60}, apart=2.0))
    law = said["law"]
    assert law["a"] >= 0  # type: ignore[index]
    assert law["b"] > 0  # type: ignore[index]
    assert 0.1 <= law["c"] <= 1  # type: ignore[index]
    for point in said["points"]:  # type: ignore[attr-defined]
        error = law["a"] + law["b"] * point["images"] ** -law["c"]  # type: ignore[index]
        assert 1 - point["accuracy"] == pytest.approx(error, abs=0.05)


def test_the_five_weakest_classes_are_asked_about_the_weakest_first() -> None:
    far = {"a": 6.0, "b": 0.5, "c": 6.0, "d": 1.0, "e": 6.0, "f": 1.5, "g": 6.0}
    given = material(dict.fromkeys(far, 25), apart=far)
    probe = fitted(given)
    said = written(given, probe=probe)
    answers = probe.logits.argmax(axis=1)
    recall = {name: (answers == place)[given.labels == place].mean() for place, name in enumerate(far)}
    names = [gain["class"] for gain in said["gains"]]  # type: ignore[attr-defined]
    assert names == sorted(far, key=lambda name: (recall[name], name))[:5]
    assert set(names[:3]) == {"b", "d", "f"}
    for gain in said["gains"]:  # type: ignore[attr-defined]
        assert gain["more"] == 50
        assert 0 <= gain["low"] <= gain["points"] <= gain["high"] <= 1


def test_what_is_recognised_already_gains_less() -> None:
    said = written(material({"a": 40, "b": 40, "c": 40}, apart={"a": 9.0, "b": 1.5, "c": 1.5}))
    gains = {gain["class"]: gain["points"] for gain in said["gains"]}  # type: ignore[attr-defined]
    assert gains["a"] < min(gains["b"], gains["c"])
    assert gains["a"] < 0.01


def test_classes_that_were_never_held_out_are_not_asked_about() -> None:
    given = material({"a": 20, "b": 20, "c": 20})
    given = replace(given, folds=np.where(given.labels == 2, -1, given.folds))
    probe = fitted(given)
    assert [gain["class"] for gain in written(given, probe=probe)["gains"]] in (["a", "b"], ["b", "a"])  # type: ignore[attr-defined]


def test_a_curve_is_the_same_for_the_same_seed() -> None:
    given = material({"a": 30, "b": 30}, apart=1.0)
    probe = fitted(given)
    first, second, other = (written(given, seed=seed, probe=probe) for seed in (0, 0, 1))
    assert first == second != other


@pytest.mark.parametrize("counts", [{"a": 3, "b": 2}, {"a": 3, "b": 3}, {"a": 4, "b": 30}, {"a": 2, "b": 30}])
def test_few_images_have_a_curve_that_promises_nothing_impossible(counts: dict[str, int]) -> None:
    said = written(material(counts, apart=1.0))
    images = [point["images"] for point in said["points"]]  # type: ignore[attr-defined]
    assert images == sorted(images)
    law = said["law"]
    error = law["a"] + law["b"] * images[-1] ** -law["c"]  # type: ignore[index]
    assert 1 - said["points"][-1]["accuracy"] == pytest.approx(error, abs=0.25)  # type: ignore[index]
    for gain in said["gains"]:  # type: ignore[attr-defined]
        assert 0 <= gain["low"] <= gain["points"] <= gain["high"] <= 1


def test_two_images_of_each_class_have_no_curve_and_say_why() -> None:
    given = material({"a": 2, "b": 2})
    files, why_not = growth.files(given, fitted(given), seed=0)
    assert "no smaller number of them to learn from" in why_not
    assert files == {}


def test_only_plain_views_are_asked() -> None:
    given = material({"a": 30, "b": 30}, apart=1.0)
    probe = fitted(given)
    noise = np.random.default_rng(1).normal(size=given.features.shape).astype(np.float32)
    views = replace(given, features=np.concatenate([given.features, noise]))
    assert written(views, probe=probe) == written(given, probe=probe)


def test_a_search_that_would_take_minutes_is_left_out_with_a_sentence() -> None:
    given = material({"a": 10, "b": 10})
    wide = replace(given, features=np.zeros((1, 20, 1_300_000), dtype=np.float32))
    files, why_not = growth.files(wide, fitted(given), seed=0)
    assert why_not.endswith("it would take minutes")
    assert files == {}


def test_any_number_of_labels_has_no_curve_and_says_why() -> None:
    given = material({"a": 10, "b": 10})
    samples = tuple(replace(sample, label=(str(sample.label),)) for sample in given.catalog.samples)
    several = replace(
        given, catalog=Catalog(samples, given.catalog.classes), labels=np.eye(2, dtype=bool)[given.labels]
    )
    assert several.catalog.multi_label
    files, why_not = growth.files(several, fitted(given), seed=0)
    assert "there is no one accuracy" in why_not
    assert files == {}


def test_a_check_may_stop_it_and_nothing_is_written() -> None:
    given = material({"a": 10, "b": 10})

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        growth.files(given, fitted(given), seed=0, check=stop)
