import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from finetune.frozen.logistic import EXACT, SEARCH, logistic, minimum, path


def drawn(m, r, classes, *, seed=0, spread=1.0):
    """Standardised rows around class means, and weights of about 1."""
    generator = np.random.default_rng(seed)
    labels = np.arange(m) % classes
    rows = spread * generator.normal(size=(classes, r))[labels] + generator.normal(size=(m, r))
    return (rows - rows.mean(axis=0)) / rows.std(axis=0), labels, generator.uniform(0.2, 2, m)


def loss(rows, labels, weights, strength, parameters):
    """As the docstring says it, plainly."""
    logits = rows @ parameters[:, :-1].T + parameters[:, -1]
    logits = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(rows)), labels]
    return strength * (weights * losses).sum() + (parameters[:, :-1] ** 2).sum() / 2


def centred(logits):
    return logits - logits.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("strength", [1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("shape", [(60, 10, 3), (30, 80, 2), (200, 20, 12)])
def test_it_is_the_logistic_regression_of_scikit_learn(shape, strength):
    rows, labels, weights = drawn(*shape)
    found = logistic(rows, labels, weights, classes=shape[2], strength=strength)
    # of two classes scikit-learn fits one vector: our two are its halves, of which the squares add up to half of its
    factor = 2 if shape[2] == 2 else 1
    peer = LogisticRegression(C=factor * strength, tol=1e-10, max_iter=50_000).fit(rows, labels, sample_weight=weights)
    if shape[2] == 2:
        np.testing.assert_allclose(found[1] - found[0], [*peer.coef_[0], *peer.intercept_], atol=2e-3, rtol=2e-3)
        return
    logits = rows @ found[:, :-1].T + found[:, -1]
    np.testing.assert_allclose(centred(logits), centred(peer.decision_function(rows)), atol=2e-3, rtol=2e-3)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 40), st.integers(1, 12), st.integers(2, 6), st.floats(-4, 4), st.integers(0, 99))
def test_at_the_minimum_no_direction_leads_down(m, r, classes, power, seed):
    rows, labels, weights = drawn(max(m, classes), r, classes, seed=seed)
    rows = np.nan_to_num(rows)
    found = logistic(rows, labels, weights, classes=classes, strength=10**power)
    least = loss(rows, labels, weights, 10**power, found)
    generator = np.random.default_rng(seed)
    for size in (1e-3, 1e-1):
        other = found + size * generator.normal(size=found.shape)
        assert loss(rows, labels, weights, 10**power, other) >= least * (1 - 1e-9)


def test_a_path_leads_to_where_each_fit_alone_does():
    rows, labels, weights = drawn(80, 120, 4)
    strengths = (1e-4, 1e-2, 1.0)
    found = list(path(rows, labels, weights, classes=4, strengths=strengths, precision=EXACT))
    for strength, parameters in zip(strengths, found, strict=True):
        alone = logistic(rows, labels, weights, classes=4, strength=strength)
        np.testing.assert_allclose(rows @ parameters[:, :-1].T, rows @ alone[:, :-1].T, atol=1e-3)


def test_a_search_is_within_its_share_of_the_least_loss():
    rows, labels, weights = drawn(300, 40, 5)
    for strength in (1e-3, 1.0, 1e3):
        exact = loss(rows, labels, weights, strength, logistic(rows, labels, weights, classes=5, strength=strength))
        rough = logistic(rows, labels, weights, classes=5, strength=strength, precision=SEARCH)
        assert exact <= loss(rows, labels, weights, strength, rough) < exact * (1 + 50 * SEARCH)


def test_single_precision_gives_the_same_answers():
    rows, labels, weights = drawn(400, 60, 6)
    double = logistic(rows, labels, weights, classes=6, strength=0.1)
    single = logistic(rows.astype(np.float32), labels, weights, classes=6, strength=0.1)
    np.testing.assert_allclose(centred(rows @ single[:, :-1].T), centred(rows @ double[:, :-1].T), atol=0.01)


def test_what_can_be_told_apart_does_not_run_away():
    rows, labels, weights = drawn(30, 10, 3, spread=100.0)
    found = logistic(rows, labels, weights, classes=3, strength=1e5)
    assert np.isfinite(found).all()
    assert ((rows @ found[:, :-1].T + found[:, -1]).argmax(axis=1) == labels).all()


def test_rows_without_features_leave_the_shares_of_the_classes():
    labels = np.array([0, 0, 0, 1])
    found = logistic(np.zeros((4, 0)), labels, np.ones(4), classes=2, strength=1.0)
    assert found[0, 0] - found[1, 0] == pytest.approx(np.log(3), abs=1e-4)


def test_the_minimum_of_a_badly_scaled_bowl_is_found():
    scales = 10.0 ** np.arange(6)
    found = minimum(lambda x: (1 + (scales * (x - 3) ** 2).sum(), 2 * scales * (x - 3)), np.zeros(6), precision=1e-14)
    np.testing.assert_allclose(found, 3, atol=1e-4)


def test_a_start_at_the_minimum_is_left_alone():
    start = np.full(3, 3.0)
    found = minimum(lambda x: (1 + ((x - 3) ** 2).sum(), 2 * (x - 3)), start, precision=1e-12)
    np.testing.assert_array_equal(found, start)


def test_a_gradient_that_lies_ends_the_search():
    assert minimum(lambda x: (1 + float(x @ x), -2 * x), np.ones(2), precision=1e-12).tolist() == [1.0, 1.0]
