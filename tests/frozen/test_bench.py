from dataclasses import replace

import numpy as np
import pytest

from finetune.frozen import bench
from finetune.frozen.bench import Bench
from finetune.frozen.families import Trial, fit
from finetune.frozen.logistic import EXACT

TRIALS = (
    Trial("ncm", "raw"),
    Trial("lda", "standardised", 0.5),
    Trial("logistic", "l2", 0.1),
    Trial("logistic", "l2", 0.01),
    Trial("cosine", "centred l2"),
    Trial("ridge", "raw", 1.0),
    Trial("knn", "l2", 5.0),
)


def drawn(images=60, width=40, *, classes=3, views=2, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    places = generator.normal(size=(classes, width))[labels]
    return (places + generator.normal(size=(views, images, width))).astype(np.float32), labels


def of(features, labels, *, folds=None, threads=1, check=None):
    n, classes = len(labels), int(labels.max()) + 1
    folds = np.arange(n) // classes % 4 if folds is None else folds
    return Bench(features, labels, classes, folds, np.ones(classes), np.arange(n), threads, check)


def test_a_fold_is_asked_of_heads_fitted_on_all_others():
    features, labels = drawn()
    on = of(features, labels)
    found = on.scores(TRIALS, precision=EXACT)
    for fold in range(4):
        inside = on.folds == fold
        for trial in TRIALS[:-1]:
            head = fit(features[:, ~inside], labels[~inside], trial, classes=3)
            np.testing.assert_allclose(found[trial][inside], head.logits(features[0, inside]), atol=1e-3)
    assert list(found) == list(TRIALS)


@pytest.mark.parametrize("trial", TRIALS)
def test_nothing_of_a_held_out_image_but_its_plain_view_has_a_say(trial):
    features, labels = drawn()
    on = of(features, labels)
    changed = features.copy()
    changed[1:, on.folds == 2] = 1e3
    changed[0, np.flatnonzero(on.folds == 2)[0]] *= -50  # nor has another held-out image
    before, after = on.scores([trial])[trial], of(changed, labels).scores([trial])[trial]
    rest = np.flatnonzero(on.folds == 2)[1:]
    np.testing.assert_array_equal(after[rest], before[rest])
    assert (after != before).any()


def test_images_that_are_never_held_out_are_trained_on_in_every_fold():
    features, labels = drawn()
    folds = np.where(np.arange(60) < 30, -1, np.arange(60) // 3 % 4)
    on = of(features, labels, folds=folds)
    (scores,) = on.scores(TRIALS[:1]).values()
    assert scores.shape == (30, 3)
    table = on.spread(scores)
    assert np.isnan(table[:30]).all()
    np.testing.assert_array_equal(table[30:], scores)
    without = fit(features[:, folds != 1], labels[folds != 1], TRIALS[0], classes=3)
    np.testing.assert_allclose(table[folds == 1], without.logits(features[0, folds == 1]), atol=1e-5)


def test_threads_change_nothing(monkeypatch):
    features, labels = drawn()
    alone = of(features, labels).scores(TRIALS)
    monkeypatch.setattr(bench, "LIGHT", 0)
    together = of(features, labels, threads=3).scores(TRIALS)
    for trial in TRIALS:
        np.testing.assert_array_equal(together[trial], alone[trial])


class Enough(Exception):
    pass


@pytest.mark.parametrize("threads", [1, 2])
def test_a_check_hears_of_progress_and_may_stop_it(threads, monkeypatch):
    monkeypatch.setattr(bench, "LIGHT", 0)
    heard = []

    def check(done, total):
        heard.append((done, total))
        if done == 3:
            raise Enough

    features, labels = drawn()
    with pytest.raises(Enough):
        of(features, labels, threads=threads, check=check).scores(TRIALS)
    assert heard == [(1, 16), (2, 16), (3, 16)]


def test_the_first_bench_has_one_fold_and_a_like_share_of_every_class(monkeypatch):
    features, labels = drawn(images=120)
    labels = np.where(np.arange(120) < 100, 0, 1 + np.arange(120) % 2)
    monkeypatch.setattr(bench, "SCREENED", 60)
    small = of(features, labels, folds=np.arange(120) % 4).first()
    held = small.folds == 0
    assert set(small.folds.tolist()) == {-1, 0}
    assert held.sum() == 30
    assert np.bincount(small.labels[~held]).tolist() == [25, 2, 4]
    np.testing.assert_array_equal(small.features[:, held], features[:, np.arange(120) % 4 == 0])
    assert len(small.groups) == len(small.labels) == small.features.shape[1]


def test_no_class_is_left_without_training_images_in_the_first_bench(monkeypatch):
    monkeypatch.setattr(bench, "SCREENED", 1)
    features, labels = drawn()
    small = of(features, labels).first()
    assert np.bincount(small.labels[small.folds == -1]).tolist() == [1, 1, 1]


def test_a_bench_is_light_by_the_products_in_a_pass():
    features, labels = drawn()
    assert of(features, labels).light
    large = np.broadcast_to(np.zeros(1, dtype=np.float32), (8, 3_680, 2_048))
    assert not replace(of(features, labels), features=large, classes=37).light
