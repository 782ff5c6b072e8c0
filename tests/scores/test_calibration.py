import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from finetune.errors import UsageError
from finetune.scores.calibration import temperature, tempered


def drawn(n, classes, *, true, seed=0, size=2.0):
    """Logits whose labels were drawn from softmax(logits / true)."""
    generator = np.random.default_rng(seed)
    logits = size * generator.normal(size=(n, classes))
    noise = generator.gumbel(size=(n, classes))
    return logits.astype(np.float32), (logits / true + noise).argmax(axis=1)


def mean_loss(logits, labels, heat, weights=None):
    exact = logits.astype(np.float64) / heat
    exact -= exact.max(axis=1, keepdims=True)
    losses = np.log(np.exp(exact).sum(axis=1)) - exact[np.arange(len(labels)), labels]
    return np.average(losses, weights=weights)


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_the_temperature_that_the_labels_were_drawn_with_is_found(true):
    logits, labels = drawn(40_000, 4, true=true)
    assert temperature(logits, labels) == pytest.approx(true, rel=0.03)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(2, 60), st.integers(2, 12), st.floats(0.05, 20), st.integers(0, 99), st.floats(1e-3, 30))
def test_no_other_temperature_has_a_smaller_loss(n, classes, true, seed, size):
    logits, labels = drawn(n, classes, true=true, seed=seed, size=size)
    weights = np.random.default_rng(seed).uniform(0.1, 3, n)
    found = temperature(logits, labels, weights)
    assert 0.01 <= found <= 100
    other = minimize_scalar(
        lambda power: mean_loss(logits, labels, np.exp(power), weights),
        bounds=(np.log(0.01), np.log(100)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert mean_loss(logits, labels, found, weights) <= other.fun + 1e-9


def test_weights_count_as_repeated_images():
    logits, labels = drawn(50, 3, true=2.0)
    times = np.arange(50) % 4
    repeated = temperature(np.repeat(logits, times, axis=0), np.repeat(labels, times))
    assert temperature(logits, labels, times.astype(float)) == pytest.approx(repeated, rel=1e-6)


def test_logits_times_a_number_have_a_temperature_times_it():
    logits, labels = drawn(500, 3, true=2.0)
    assert temperature(3 * logits, labels) == pytest.approx(3 * temperature(logits, labels), rel=1e-5)


def test_answers_that_are_all_right_or_all_wrong_meet_the_bounds():
    logits = np.eye(3, dtype=np.float32)
    assert temperature(logits, np.arange(3)) == 0.01
    assert temperature(logits, np.array([1, 2, 0])) == 100.0
    assert temperature(np.zeros((3, 3)), np.arange(3)) == 100.0


def test_smoothing_leaves_doubt_where_all_answers_are_right():
    logits, labels = np.eye(3, dtype=np.float32), np.arange(3)
    found = temperature(logits, labels, smoothing=0.3)
    likely = np.exp(1 / found) / (np.exp(1 / found) + 2)
    assert likely == pytest.approx(1 - 0.3 + 0.3 / 3)


def test_huge_logits_do_not_overflow():
    assert temperature(np.array([[1e30, -1e30], [-1e30, 1e30]]), np.array([0, 0])) == 100.0


def test_tempered_logits_keep_their_type_and_order():
    logits, _ = drawn(20, 5, true=1.0)
    cooled = tempered(logits, 0.25)
    assert cooled.dtype == np.float32
    np.testing.assert_array_equal(cooled, logits * 4)


@pytest.mark.parametrize("weights", [None, np.zeros(0)])
def test_nothing_to_learn_from_is_refused(weights):
    with pytest.raises(UsageError, match="no image to take a temperature from: there must be at least one that counts"):
        temperature(np.zeros((0, 3)), np.zeros(0, dtype=int), weights)


def test_weights_that_are_all_nothing_are_refused():
    with pytest.raises(UsageError, match="at least one that counts"):
        temperature(np.ones((2, 3)), np.zeros(2, dtype=int), np.zeros(2))


def several(n, classes, *, true, seed=0):
    """Logits of labels that were each drawn from sigmoid(logits / true)."""
    generator = np.random.default_rng(seed)
    logits = 3 * generator.normal(size=(n, classes))
    return logits.astype(np.float32), generator.random((n, classes)) < 1 / (1 + np.exp(-logits / true))


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_the_temperature_that_several_labels_were_drawn_with_is_found(true):
    logits, labels = several(20_000, 3, true=true)
    assert temperature(logits, labels) == pytest.approx(true, rel=0.03)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(2, 60), st.integers(1, 8), st.floats(0.05, 20), st.integers(0, 99), st.floats(0, 0.2))
def test_no_other_temperature_of_several_labels_has_a_smaller_loss(n, classes, true, seed, smoothing):
    logits, labels = several(n, classes, true=true, seed=seed)
    weights = np.random.default_rng(seed).uniform(0.1, 3, n)
    targets = labels * (1 - smoothing) + smoothing / 2

    def loss(heat):
        exact = logits.astype(np.float64) / heat
        return np.average((np.logaddexp(0, exact) - targets * exact).mean(axis=1), weights=weights)

    found = temperature(logits, labels, weights, smoothing=smoothing)
    assert all(loss(found) <= loss(other) + 1e-9 for other in np.geomspace(0.01, 100, 60))
