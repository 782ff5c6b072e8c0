import numpy as np
import pytest

from finetune.scores.intervals import (
    _student,
    groups_of,
    mean,
    mean_difference,
    percentiles,
    resampled_share,
    resampled_weights,
    share_difference,
    wilson,
)
from finetune.scores.predictions import Predictions


def predictions(n, *, groups=None, shift=0.0):
    logits = np.full((n, 2), shift, dtype=np.float32)
    return Predictions(tuple(map(str, range(n))), logits, ("a", "b"), np.zeros(n, dtype=np.int64), groups)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Statistics in Medicine 17, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_exact_at_the_ends_and_says_nothing_of_nothing():
    assert wilson(7, 7)[1] == 1.0
    assert wilson(0, 7)[0] == 0.0
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(3, 10) == pytest.approx(tuple(1 - end for end in reversed(wilson(7, 10))))


def test_percentiles_hold_the_value_and_pass_over_undefined_resamples():
    draws = np.array([np.nan, *np.linspace(0, 1, 1001)])
    assert percentiles(draws, value=0.5, otherwise=(0, 0)) == pytest.approx((0.025, 0.975))
    assert percentiles(draws, value=0.99, otherwise=(0, 0)) == pytest.approx((0.025, 0.99))


@pytest.mark.parametrize("draws", [[1.0, 1.0, 1.0], [np.nan, np.nan], [1.0, np.nan]])
def test_resamples_that_do_not_vary_give_the_other_interval(draws):
    assert percentiles(np.array(draws), value=1.0, otherwise=(0.9, 1.0)) == (0.9, 1.0)


def test_a_resample_draws_as_many_images_as_there_are():
    weights = np.concatenate(list(resampled_weights(predictions(50), resamples=40)))
    assert weights.shape == (40, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert len(np.unique(weights, axis=0)) == 40


def test_images_of_a_group_are_drawn_together():
    groups = tuple("ABBCCC")
    weights = np.concatenate(list(resampled_weights(predictions(6, groups=groups), resamples=30)))
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert groups_of(predictions(6, groups=groups), np.array([1, 1, 1, 0, 0, 0], dtype=bool)) == 2


def test_many_resamples_come_in_chunks_that_continue_one_stream():
    chunks = list(resampled_weights(predictions(5000), resamples=1000))
    assert len(chunks) > 1
    assert sum(map(len, chunks)) == 1000
    again = list(resampled_weights(predictions(5000), resamples=1000))
    np.testing.assert_array_equal(np.concatenate(chunks), np.concatenate(again))


def test_other_predictions_are_resampled_otherwise():
    one = np.concatenate(list(resampled_weights(predictions(20), resamples=5)))
    other = np.concatenate(list(resampled_weights(predictions(20, shift=1.0), resamples=5)))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 6, 10, 30, 1000])
def test_the_points_of_students_distribution_are_those_of_the_tables(freedom):
    from scipy.stats import t

    assert _student(freedom) == pytest.approx(t.ppf(0.975, freedom), abs=0.002)


def test_groups_as_varied_as_images_change_little_and_groups_of_one_kind_count_as_one_image():
    generator = np.random.default_rng(0)
    each = generator.binomial(400, 0.9, 20_000) / 400  # as 400 images by themselves vary
    low, high = resampled_share(0.9, each, units=100, n=400)
    assert (low, high) == pytest.approx(wilson(360, 400), abs=0.003)
    whole = generator.binomial(100, 0.9, 20_000) / 100  # as 100 do
    low, high = resampled_share(0.9, whole, units=100, n=400)
    assert (low, high) == pytest.approx(wilson(90, 100), abs=0.004)
    # no more than n
    assert resampled_share(0.9, whole / 3, units=100, n=400) == resampled_share(0.9, whole / 9, units=100, n=400)


@pytest.mark.parametrize("draws", [[1.0, 1.0, 1.0], [np.nan, np.nan], [1.0, np.nan]])
def test_groups_that_do_not_vary_count_one_each(draws):
    assert resampled_share(1.0, np.array(draws), units=7, n=70) == wilson(7, 7)
    assert resampled_share(0.5, np.array([0.1, 0.9]), units=1, n=70) == wilson(0.5, 1)


def test_the_mean_of_what_is_not_skewed_has_students_interval():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    low, high = mean(values, predictions(5))
    assert (low, high) == pytest.approx((3 - 2.776445 * np.sqrt(0.5), 3 + 2.776445 * np.sqrt(0.5)))
    assert mean_difference(values, predictions(5)) == pytest.approx((low, high))


def test_the_interval_of_a_skewed_mean_reaches_further_up():
    values = np.array([0.0] * 45 + [4.0] * 5)
    low, high = mean(values, predictions(50))
    plain_low, plain_high = mean_difference(values, predictions(50))
    assert plain_low < low < 0.4 < plain_high < high
    mirrored = mean(-values, predictions(50))
    assert mirrored == pytest.approx((-high, -low))


def test_a_mean_is_over_groups_where_there_are_groups():
    values = np.tile([1.0, 2.0, 4.0, 5.0], 5)
    groups = tuple("abcd" * 5)
    assert mean_difference(values, predictions(20, groups=groups)) == pytest.approx(
        mean_difference(np.array([1.0, 2.0, 4.0, 5.0]), predictions(4))
    )
    assert mean(values, predictions(20, groups=("a",) * 20)) is None
    assert mean(np.ones(7), predictions(7)) == (1.0, 1.0)


def test_agreement_on_few_images_is_not_certainty():
    low, high = share_difference(0.0, np.zeros(100), units=20, n=20)
    assert (low, high) == pytest.approx((-2.093024 / 21, 2.093024 / 21), rel=1e-3)
    assert share_difference(1.0, np.ones(100), units=4, n=4) == (pytest.approx(0.8 - 3.182446 / 5), 1.0)


def test_the_mean_of_values_none_of_which_is_negative_is_not_said_to_be_below_zero():
    values = np.array([0.0] * 27 + [1.6])
    told = Predictions(tuple(map(str, range(28))), np.zeros((28, 2), np.float32), ("a", "b"))
    low, high = mean(values, told)
    assert low == 0.0 < values.mean() < high
    assert mean(values - 0.5, told)[0] < -0.5
