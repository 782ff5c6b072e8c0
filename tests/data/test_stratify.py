import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.stratify import dealt


def ones(n):
    return np.ones(n, dtype=np.int64)


def drawn(n, labels, *, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.random((n, labels)) < np.linspace(0.02, 0.2, labels)).astype(np.int64)


@pytest.mark.parametrize("shares", [(0.15, 0.15, 0.7), (0.25, 0.25, 0.5), (0.2,) * 5, (0.5, 0.0, 0.5)])
def test_every_label_is_shared_out_as_was_asked(shares):
    counts = drawn(600, 12)
    parts = dealt(counts, ones(600), shares)
    for part, share in enumerate(shares):
        inside = parts == part
        np.testing.assert_allclose(counts[inside].sum(axis=0), share * counts.sum(axis=0), atol=1)
        assert inside.sum() == pytest.approx(600 * share, abs=1)


def test_it_is_nearer_to_what_was_asked_than_a_deal_in_order():
    counts, shares = drawn(300, 20, seed=1), np.array([0.15, 0.15, 0.7])

    def far(parts):
        found = np.array([counts[parts == part].sum(axis=0) for part in range(3)])
        return np.abs(found / counts.sum(axis=0) - shares[:, None]).mean()

    in_order = np.searchsorted(np.cumsum(shares) * 300, np.arange(300), side="right")
    assert far(dealt(counts, ones(300), shares)) < 0.5 * far(in_order)


def test_the_rarest_label_comes_first_and_of_equal_parts_the_first_does():
    counts = np.array([[1, 0], [1, 0], [0, 1], [1, 1], [0, 0], [0, 0]])
    # the two images of the second label are dealt before the others of the first
    assert dealt(counts, ones(6), (0.5, 0.5)).tolist() == [0, 1, 0, 1, 0, 1]


def test_units_of_several_images_count_as_many():
    counts, sizes = np.array([[8, 0], [1, 3], [0, 3], [7, 0]]), np.array([8, 4, 3, 7])
    parts = dealt(counts, sizes, (0.5, 0.5))
    assert parts[0] != parts[3]
    assert parts[1] != parts[2]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.integers(0, 40), st.integers(1, 6), st.integers(0, 99), st.sampled_from([(1.0,), (0.3, 0.7), (0.0, 0.4, 0.6)])
)
def test_each_unit_has_one_part_and_a_part_of_no_share_gets_none(n, labels, seed, shares):
    counts = drawn(n, labels, seed=seed)
    parts = dealt(counts, ones(n), shares)
    assert parts.shape == (n,)
    assert all(shares[part] > 0 for part in parts)
    assert np.array_equal(dealt(counts, ones(n), shares), parts)
