import subprocess
import sys

import numpy as np
import pytest

from finetune.errors import UsageError
from finetune.frozen import bench
from finetune.frozen.design import DIRECTIONS, SCALINGS
from finetune.frozen.families import Trial
from finetune.frozen.folds import folds
from finetune.frozen.probe import FINER, IMBALANCED, STRENGTHS, cross_validate, probe
from finetune.scores.calibration import temperature

FEW = (Trial("ncm", "raw"), Trial("logistic", "raw", 0.01), Trial("logistic", "raw", 1.0))


def drawn(images=60, width=80, *, classes=3, views=1, seed=0, apart=0.5):
    """Images of classes that overlap; views are an image's own place and a little noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = np.random.default_rng(99).normal(size=(classes, width))
    own = apart * centres[labels] + generator.normal(size=(images, width))
    return (own + 0.05 * generator.normal(size=(views, images, width))).astype(np.float32), labels


def alone(n):
    return [str(number) for number in range(n)]


def log_loss(logits, labels):
    exact = logits.astype(np.float64)
    exact = exact - exact.max(axis=1, keepdims=True)
    return float((np.log(np.exp(exact).sum(axis=1)) - exact[np.arange(len(labels)), labels]).mean())


def accuracy(logits, labels):
    return float((logits.argmax(axis=1) == labels).mean())


def test_a_search_tries_every_family_and_strength_and_looks_closer_around_the_best():
    features, labels = drawn()
    found = probe(features, labels, classes=3, folds=folds(labels, alone(60), seed=0))
    tried = [row.trial for row in found.table]
    assert {trial.family for trial in tried} == {"ncm", "cosine", "lda", "logistic", "ridge", "knn"}
    for scaling in SCALINGS:
        assert {trial.strength for trial in tried if (trial.family, trial.scaling) == ("logistic", scaling)} >= set(
            STRENGTHS
        )
    finer = [trial for trial in tried if trial.family == "logistic" and trial.strength not in STRENGTHS]
    assert len(finer) == len(FINER) == 4
    assert len(STRENGTHS) == 12
    assert found.trial.family not in ("ridge", "knn")


def test_the_probe_is_its_own_evidence():
    features, labels = drawn()
    of = folds(labels, alone(60), seed=0)
    found = probe(features, labels, classes=3, folds=of)
    np.testing.assert_array_equal(found.folds, of)
    assert found.logits.dtype == found.fitted.weight.dtype == found.fitted.bias.dtype == np.float32
    assert found.fitted.weight.shape == (3, 80)
    (row,) = (row for row in found.table if row.trial == found.trial)
    assert row.log_loss == pytest.approx(log_loss(found.logits, labels), rel=1e-5)
    assert row.accuracy == pytest.approx(accuracy(found.logits, labels))
    assert [row.log_loss for row in found.table] == sorted(row.log_loss for row in found.table)
    again = cross_validate(features, labels, found.trial, classes=3, folds=of)
    np.testing.assert_allclose(again, found.logits, atol=1e-6)


def test_the_same_images_give_the_same_probe():
    features, labels = drawn(views=2)
    of = folds(labels, alone(60), seed=0)
    one, other = (probe(features, labels, classes=3, folds=of) for _ in range(2))
    assert one.table == other.table
    np.testing.assert_array_equal(one.fitted.weight, other.fitted.weight)
    np.testing.assert_array_equal(one.logits, other.logits)


def test_temperatures_are_those_of_the_logits_before_them():
    features, labels = drawn(apart=0.2)
    of = folds(labels, alone(60), seed=0)
    found = probe(features, labels, classes=3, folds=of, trials=FEW)
    raw = bench.Bench(features, labels, 3, of, np.ones(3), np.arange(60), 1, None).scores([found.trial])[found.trial]
    assert found.temperature == pytest.approx(temperature(raw, labels, smoothing=1 / 62), rel=1e-3)
    assert 0.8 < temperature(found.logits, labels) < 1.25


def test_views_of_an_image_never_straddle_a_fold():
    features, _ = drawn(images=100, views=4, apart=0.0)  # nothing to learn but the images themselves
    labels = np.random.default_rng(5).integers(0, 2, 100)
    found = probe(features, labels, classes=2, folds=folds(labels, alone(100), seed=0))
    assert accuracy(found.logits, labels) < 0.65
    assert log_loss(found.logits, labels) > 0.6


def test_out_of_fold_and_test_accuracy_agree_over_ten_seeds():
    differences = []
    for seed in range(10):
        features, labels = drawn(images=150, width=40, classes=5, views=2, seed=seed, apart=0.35)
        asked, truth = drawn(images=1_000, width=40, classes=5, seed=1_000 + seed, apart=0.35)
        found = probe(features, labels, classes=5, folds=folds(labels, alone(150), seed=seed))
        differences.append(accuracy(found.logits, labels) - accuracy(found.fitted.logits(asked[0]), truth))
    assert abs(np.mean(differences)) < 0.02


def test_copies_in_one_group_do_not_flatter():
    features, _ = drawn(images=40, apart=0.0)
    labels = np.random.default_rng(3).integers(0, 2, 40)
    features, labels = np.repeat(features, 3, axis=1), np.repeat(labels, 3)
    groups = [str(number // 3) for number in range(120)]
    of = folds(labels, groups, seed=0)
    found = probe(features, labels, classes=2, folds=of, groups=groups)
    assert accuracy(found.logits, labels) < 0.7
    ungrouped = probe(features, labels, classes=2, folds=of, trials=FEW)
    grouped = probe(features, labels, classes=2, folds=of, trials=FEW, groups=groups)
    assert grouped.table[-1].standard_error > 1.3 * ungrouped.table[-1].standard_error


def test_images_that_are_never_held_out_have_no_logits():
    features, labels = drawn()
    of = folds(labels, alone(60), seed=0)
    of[::2] = -1
    found = probe(features, labels, classes=3, folds=of, trials=FEW)
    assert np.isnan(found.logits[::2]).all()
    assert np.isfinite(found.logits[1::2]).all()


def test_only_the_trials_that_are_given_are_tried():
    features, labels = drawn()
    of = folds(labels, alone(60), seed=0)
    found = probe(features, labels, classes=3, folds=of, trials=FEW)
    assert {row.trial for row in found.table} == set(FEW)
    assert found.trial in FEW


def test_only_the_scalings_that_are_given_can_win():
    features, labels = drawn()
    of = folds(labels, alone(60), seed=0)
    for scalings, kind in ((DIRECTIONS, "cosine"), (("raw", "standardised"), "linear")):
        found = probe(features, labels, classes=3, folds=of, scalings=scalings)
        assert found.fitted.kind == kind
        assert {row.trial.scaling for row in found.table if row.trial.family != "knn"} == set(scalings)


def test_small_classes_count_as_much_where_the_largest_is_over_three_times_as_large():
    for images, balanced in ((IMBALANCED * 12, False), (IMBALANCED * 12 + 1, True)):
        features, labels = drawn(images=2 * images, classes=2, apart=0.15)
        kept = (labels == 0) | (np.cumsum(labels == 1) <= 12)
        features, labels = features[:, kept], labels[kept]
        found = probe(features, labels, classes=2, folds=folds(labels, alone(len(labels)), seed=0), trials=FEW)
        assert found.balanced == balanced
        recalls = [accuracy(found.logits[labels == label], labels[labels == label]) for label in range(2)]
        row = next(row for row in found.table if row.trial == found.trial)
        assert row.accuracy == pytest.approx(np.mean(recalls) if balanced else accuracy(found.logits, labels))


def test_a_long_search_finds_about_what_a_whole_one_does(monkeypatch):
    features, labels = drawn(images=150, apart=0.25)
    of = folds(labels, alone(150), seed=0)
    whole = probe(features, labels, classes=3, folds=of)
    monkeypatch.setattr(bench, "LIGHT", 0)
    monkeypatch.setattr(bench, "SCREENED", 80)
    short, threaded = (probe(features, labels, classes=3, folds=of, threads=threads) for threads in (1, 2))
    assert len(short.table) < 20 < len(whole.table)
    assert log_loss(short.logits, labels) < log_loss(whole.logits, labels) + 0.05
    assert short.table == threaded.table
    np.testing.assert_array_equal(short.fitted.weight, threaded.fitted.weight)


@pytest.mark.parametrize(
    ("images", "classes", "apart"), [(4, 2, 1.0), (60, 3, 50.0), (160, 40, 1.0), (13, 3, 0.3), (60, 2, 0.0)]
)
@pytest.mark.parametrize("factor", [1e-2, 1e3])
def test_little_and_easy_and_hopeless_data_give_a_sane_probe(images, classes, apart, factor):
    features, labels = drawn(images=images, classes=classes, apart=apart)
    of = folds(labels, alone(images), seed=0)
    found = probe(features * np.float32(factor), labels, classes=classes, folds=of)
    assert np.isfinite(found.logits[of >= 0]).all()
    assert np.isfinite(found.fitted.logits(features[0])).all()
    assert log_loss(found.logits[of >= 0], labels[of >= 0]) < 1.2 * np.log(classes)
    if apart == 50.0:
        assert accuracy(found.logits, labels) == 1


def test_a_class_of_one_image_is_learnt_and_not_judged():
    features, labels = drawn(images=41, classes=2, apart=2.0)
    labels[0] = 2
    features[:, 0] += 5
    of = folds(labels, alone(41), seed=0)
    found = probe(features, labels, classes=3, folds=of)
    assert np.isnan(found.logits[0]).all()
    assert found.fitted.logits(features[0])[0].argmax() == 2


def test_features_that_are_all_the_same_give_the_shares_of_the_classes():
    labels = np.array([0] * 20 + [1] * 10)
    found = probe(np.ones((1, 30, 8), dtype=np.float32), labels, classes=2, folds=folds(labels, alone(30), seed=0))
    assert log_loss(found.logits, labels) < np.log(2) + 0.05


REFUSED = [
    ({"features": np.zeros((60, 80), dtype=np.float32)}, r"features \(60, 80\), .* do not fit together"),
    ({"labels": np.zeros(59, dtype=int)}, r"labels \(59,\) and folds \(60,\) do not fit together"),
    ({"folds": np.zeros(61, dtype=int)}, r"and folds \(61,\) do not fit together"),
    ({"folds": np.full(60, -1)}, "folds without an image: nothing is held out"),
    ({"folds": np.arange(60) % 3}, "outside fold 0 there must be images of the classes 0 to 2 and no others"),
    ({"classes": 4}, "among the labels there must be images of the classes 0 to 3 and no others"),
    ({"classes": 2}, "among the labels there must be images of the classes 0 to 1 and no others"),
    ({"trials": [Trial("ridge", "raw", 1.0)]}, "no trial that can win: one of ncm, cosine, lda, logistic is needed"),
    ({"trials": []}, "no trial that can win"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_does_not_fit_together_is_refused(changes, message):
    features, labels = drawn()
    given = {"features": features, "labels": labels, "classes": 3, "folds": folds(labels, alone(60), seed=0)} | changes
    with pytest.raises(UsageError, match=message):
        probe(given.pop("features"), given.pop("labels"), **given)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value):
    features, labels = drawn(views=2)
    features[1, 7, 3] = value
    with pytest.raises(UsageError, match="features that are not finite: nothing can be fitted on them"):
        cross_validate(features, labels, FEW[0], classes=3, folds=folds(labels, alone(60), seed=0))


def test_a_probe_loads_no_torch():
    script = "import sys, finetune.frozen.probe, finetune.frozen.curve; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def marked(images=90, width=40, *, views=1, seed=0):
    """Features and any number of three labels, the last of which nothing tells."""
    generator = np.random.default_rng(seed)
    labels = generator.random((images, 3)) < (0.5, 0.3, 0.4)
    own = labels[:, :2] @ np.random.default_rng(99).normal(size=(2, width)) + generator.normal(size=(images, width))
    return (own + 0.05 * generator.normal(size=(views, images, width))).astype(np.float32), labels


def test_of_any_number_of_labels_the_probe_is_a_regression_for_each():
    features, labels = marked(views=2)
    of = folds(labels, alone(90), seed=0)
    found = probe(features, labels, classes=3, folds=of, scalings=("raw", "standardised"))
    assert {row.trial.family for row in found.table} == {"logistic"}
    assert (found.fitted.kind, found.balanced) == ("linear", False)
    losses = np.logaddexp(0, np.where(labels, -1, 1) * found.logits).mean(axis=1)
    (row,) = (row for row in found.table if row.trial == found.trial)
    assert row.log_loss == pytest.approx(losses.mean(), rel=1e-5)
    assert row.accuracy == pytest.approx(((found.logits > 0) == labels).all(axis=1).mean())
    right = ((found.logits > 0) == labels).mean(axis=0)
    assert right[:2].min() > 0.8 > right[2]
    near = [
        one for one in found.table if one.difference <= one.standard_error and one.trial.scaling == found.trial.scaling
    ]
    assert found.trial.strength == min(one.trial.strength for one in near)
    again = cross_validate(features, labels, found.trial, classes=3, folds=of)
    np.testing.assert_allclose(again, found.logits, atol=1e-6)


def test_of_any_number_of_labels_a_long_search_gives_a_probe_too(monkeypatch):
    features, labels = marked(300)
    monkeypatch.setattr(bench, "LIGHT", 0)
    monkeypatch.setattr(bench, "SCREENED", 100)
    found = probe(features, labels, classes=3, folds=folds(labels, alone(300), seed=0), threads=2)
    assert found.trial.family == "logistic"
    assert (((found.logits > 0) == labels).mean(axis=0)[:2] > 0.8).all()


def test_labels_that_no_image_outside_a_fold_has_are_refused():
    features, labels = marked()
    labels[:, 2] = np.arange(90) < 3
    of = np.where(np.arange(90) < 3, 0, 1)
    with pytest.raises(UsageError, match="outside fold 0 there must be images of the classes 0 to 2"):
        probe(features, labels, classes=3, folds=of)
    with pytest.raises(UsageError, match=r"\(n,\) or bool \(n, classes\)"):
        probe(features, labels.astype(int), classes=3, folds=of)
