import pytest

from finetune.report.records import Score
from finetune.report.words import (
    counted,
    digits,
    duration,
    gained,
    in_words,
    interval,
    number,
    probability,
    signed,
    significant,
)


def score(value, low=None, high=None):
    return Score(value=value, low=low, high=high)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (score(0.92, 0.87, 0.96), "about 9 in 10"),
        (score(0.93, 0.925, 0.935), "about 93 in 100"),
        (score(0.75, 0.59, 0.86), "about 3 in 4"),
        (score(0.954, 0.93, 0.97), "about 19 in 20"),
        (score(0.667, 0.61, 0.72), "about 2 in 3"),
        (score(0.004, 0.001, 0.006), "fewer than 1 in 100"),
        (score(0.997, 0.994, 0.999), "more than 99 in 100"),
        (score(0.31), "about 31 in 100"),
        (score(1.0, 0.9, 1.0), "all"),
        (score(0.0, 0.0, 0.1), "no"),
        (score(None), "an unknown share"),
    ],
)
def test_a_share_in_words_claims_no_more_than_its_interval(given, words):
    assert in_words(given) == words


def test_words_always_lie_inside_the_interval():
    for hundredth in range(2, 99):
        value = hundredth / 100
        for half in (0.006, 0.02, 0.08, 0.2):
            given = score(value, max(0.0, value - half), min(1.0, value + half))
            _, part, _, whole = in_words(given).split()
            assert given.low <= int(part) / int(whole) <= given.high


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (score(0.93, 0.89, 0.97), 2),
        (score(0.93, 0.5, 1.0), 2),
        (score(0.93, 0.925, 0.935), 3),
        (score(0.93, 0.92999, 0.93001), 4),
        (score(0.93), 3),
        (score(0.93, 0.93, 0.93), 3),
    ],
)
def test_a_narrow_interval_deserves_more_decimals(given, count):
    assert digits(given) == count


def test_numbers_are_not_rounded_into_certainty():
    assert number(0.12345) == "0.123"
    assert number(0.9996) == "> 0.999"
    assert number(0.0004) == "< 0.001"
    assert number(1.0, 2) == "1.00"
    assert number(0.0, 2) == "0.00"
    assert number(None) == "–"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.8312, "0.83"), (0.9971, "0.997"), (0.99987, "0.9999"), (0.999987, "> 0.9999"), (1.0, "1.00")],
)
def test_two_bins_of_high_confidence_can_be_told_apart(value, shown):
    assert probability(value) == shown


def test_differences_have_a_sign_where_anything_is_left_of_them():
    assert [signed(value) for value in (0.0123, -0.0123, 0.0002, -0.0002, 0.0)] == [
        "+0.012",
        "−0.012",
        "0.000",
        "0.000",
        "0.000",
    ]
    assert signed(-1.26, 1) == "−1.3"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((0.021, -0.001, 0.043), "+2 points [0, 4]"),
        ((-0.009, -0.03, 0.012), "−1 point [−3, 1]"),
        ((0.001, -0.02, 0.02), "0 points [−2, 2]"),
        ((0.004, -0.001, 0.009), "+0.4 points [−0.1, 0.9]"),
    ],
)
def test_what_is_gained_is_no_finer_than_its_interval(given, words):
    assert gained(*given) == words


def test_intervals_counts_and_durations_read_well():
    assert interval(score(0.9, 0.8, 0.95), 2) == "0.80 to 0.95"
    assert interval(score(0.9), 2) == "–"
    assert [counted(n, "image", "images") for n in (0, 1, 1234)] == ["0 images", "1 image", "1,234 images"]
    assert [duration(s) for s in (0.44, 9.94, 9.99, 38.4, 59.6, 252, 3599.6, 7500)] == [
        "0.4 s",
        "9.9 s",
        "10.0 s",
        "38 s",
        "1 min 0 s",
        "4 min 12 s",
        "1 h 0 min",
        "2 h 5 min",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.01234, "0.0123"),
        (4.5678, "4.57"),
        (123.4, "123"),
        (7890.1, "7,890"),
        (0.00001234, "0.000012"),
        (1e-9, "< 0.000001"),
        (0.9999, "1.000"),
        (0.0096, "0.00960"),
    ],
)
def test_numbers_of_any_size_have_three_digits_and_no_exponent(value, shown):
    assert significant(value) == shown
