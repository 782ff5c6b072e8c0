import numpy as np
import pytest

from finetune.frozen.choice import Jury
from finetune.frozen.families import Trial
from finetune.scores.calibration import temperature
from finetune.scores.metrics import log_losses

N = 120
NCM, COSINE, LDA, LOGISTIC = (
    Trial("ncm", "raw"),
    Trial("cosine", "l2"),
    Trial("lda", "raw", 0.5),
    Trial("logistic", "raw", 1.0),
)


def jury(*, groups=None, folds=None, weights=None, n=N):
    labels = np.arange(n) % 3
    return Jury(
        labels,
        np.ones(n) if weights is None else weights,
        np.arange(n) // (n // 5) if folds is None else folds,
        np.arange(n) if groups is None else groups,
    )


def scores(*, right, n=N, seed=0, sure=4.0, noise=0.3):
    """Logits that are right for about this share of the images, the same images for every share above."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    shown = np.where(np.random.default_rng(7).uniform(size=n) < right, labels, (labels + 1) % 3)
    return (sure * np.eye(3)[shown] + noise * generator.normal(size=(n, 3))).astype(np.float32)


def test_a_fold_is_divided_by_the_temperature_of_the_others():
    judging, found = jury(), scores(right=0.8)
    tempered = judging.tempered(found)
    assert tempered.dtype == np.float32
    for fold in range(5):
        inside = judging.folds == fold
        heat = temperature(found[~inside], judging.labels[~inside], smoothing=1 / (N + 2))
        np.testing.assert_allclose(tempered[inside], found[inside] / np.float32(heat), rtol=1e-6)


def test_no_label_of_a_fold_has_a_say_in_how_it_is_judged():
    judging, found = jury(), scores(right=0.8)
    other = jury()
    other.labels[judging.folds == 2] = 0
    inside = judging.folds == 2
    np.testing.assert_array_equal(other.tempered(found)[inside], judging.tempered(found)[inside])
    assert (other.tempered(found)[~inside] != judging.tempered(found)[~inside]).any()


def test_a_fold_alone_is_tempered_by_halves():
    judging, found = jury(folds=np.zeros(N, dtype=int)), scores(right=0.8)
    tempered = judging.tempered(found)
    heat = temperature(found[1::2], judging.labels[1::2], smoothing=1 / (N + 2))
    np.testing.assert_allclose(tempered[::2], found[::2] / np.float32(heat), rtol=1e-6)


def test_one_image_alone_is_tempered_by_itself():
    judging = Jury(np.array([1]), np.ones(1), np.zeros(1, dtype=int), np.zeros(1, dtype=int))
    assert np.isfinite(judging.tempered(np.array([[0.0, 1.0]], dtype=np.float32))).all()


def test_the_table_has_the_losses_and_their_differences():
    judging = jury()
    found = {NCM: scores(right=0.6), LOGISTIC: scores(right=0.9), LDA: scores(right=0.7)}
    rows = judging.table(found)
    assert [row.trial for row in rows] == [LOGISTIC, LDA, NCM]
    assert rows[0].difference == rows[0].standard_error == 0
    losses = {trial: log_losses(judging.tempered(of_trial), judging.labels) for trial, of_trial in found.items()}
    for row in rows:
        assert row.log_loss == pytest.approx(losses[row.trial].mean())
        difference = losses[row.trial] - losses[LOGISTIC]
        assert row.difference == pytest.approx(difference.mean())
        assert row.standard_error == pytest.approx(difference.std(ddof=1) / np.sqrt(N))
        assert row.accuracy == pytest.approx((found[row.trial].argmax(axis=1) == judging.labels).mean())


def test_images_of_a_group_are_one_piece_of_evidence():
    differences = np.repeat(np.random.default_rng(0).normal(size=N // 4), 4)
    alone, together = jury().error(differences), jury(groups=np.repeat(np.arange(N // 4), 4)).error(differences)
    assert together == pytest.approx(differences[::4].std(ddof=1) / np.sqrt(N // 4))
    assert together == pytest.approx(2 * alone, rel=0.05)


def test_group_numbers_that_no_image_has_do_not_count():
    differences = np.random.default_rng(0).normal(size=N)
    assert jury(groups=7 * np.arange(N)).error(differences) == pytest.approx(jury().error(differences))


def test_weights_make_classes_count_the_same():
    labels = np.array([0] * 90 + [1] * 10)
    weights = np.where(labels == 0, 100 / 180, 100 / 20)
    always_first = np.tile(np.array([1.0, 0.0], dtype=np.float32), (100, 1))
    judging = Jury(labels, weights, np.arange(100) % 5, np.arange(100))
    (row,) = judging.table({NCM: always_first})
    assert row.accuracy == pytest.approx(0.5)
    assert row.log_loss == pytest.approx(np.log(2), rel=1e-3)


def test_the_best_is_chosen_where_nothing_simple_is_near():
    found = {NCM: scores(right=0.5), COSINE: scores(right=0.5), LDA: scores(right=0.6), LOGISTIC: scores(right=0.95)}
    assert jury().choice(found) == LOGISTIC


@pytest.mark.parametrize("simplest", [NCM, COSINE, LDA])
def test_the_simplest_family_within_one_standard_error_is_chosen(simplest):
    order = [NCM, COSINE, LDA, LOGISTIC]
    near = order[order.index(simplest) :]
    found = {trial: scores(right=0.9 if trial in near else 0.5) for trial in order}
    assert jury().choice(found) == simplest


def test_what_is_for_comparison_never_wins_and_sets_no_mark():
    found = {Trial("ridge", "raw", 1.0): scores(right=0.99), Trial("knn", "l2", 5): scores(right=1.0)}
    assert jury().choice(found | {LOGISTIC: scores(right=0.8), NCM: scores(right=0.5)}) == LOGISTIC


@pytest.mark.parametrize(
    ("family", "strengths", "chosen"),
    [
        ("logistic", (0.01, 0.1, 1.0), 0.01),
        ("lda", (0.9, 0.5, 0.1), 0.9),
        ("lda", (None, 0.9), 0.9),
        ("lda", (None, 0.1), None),
    ],
)
def test_of_equals_the_strongest_regularisation_is_chosen(family, strengths, chosen):
    for order in (strengths, strengths[::-1]):
        found = {Trial(family, "raw", strength): scores(right=0.9) for strength in order}
        assert jury().choice(found) == Trial(family, "raw", chosen)


def test_strengths_are_compared_within_the_best_scaling_alone():
    best, same, other = Trial("logistic", "l2", 10.0), Trial("logistic", "l2", 1.0), Trial("logistic", "raw", 1e-3)
    found = dict.fromkeys([best, same, other], scores(right=0.9))  # the first of equals is the best
    assert jury().choice(found) == same


def test_a_difference_that_is_sure_decides_however_small_it_is():
    slightly = scores(right=0.9, noise=0.0)
    better = slightly + 0.05 * np.eye(3)[jury().labels].astype(np.float32)
    assert jury().choice({NCM: slightly, LOGISTIC: better}) == LOGISTIC


def test_log_losses_of_huge_logits_do_not_overflow():
    losses = log_losses(np.array([[1e30, 0], [0, 1e30]], dtype=np.float32), np.array([0, 0]))
    assert losses[0] == 0
    assert losses[1] == pytest.approx(1e30, rel=1e-6)
