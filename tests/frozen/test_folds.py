import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.errors import DataError
from finetune.frozen.folds import folds, never_held_out


def alone(n):
    """Each image its own group."""
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(n)]


def classes_of(*counts):
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize(
    ("counts", "number"),
    [((10, 30), 5), ((9, 30), 3), ((5, 5), 3), ((4, 9), 4), ((3, 3, 30), 3), ((2, 50), 2), ((2, 2), 2), ((1, 12), 5)],
)
def test_the_smallest_class_decides_how_many_folds_there_are(counts, number):
    labels = classes_of(*counts)
    found = folds(labels, alone(len(labels)), seed=0)
    assert found.dtype == np.int64
    assert sorted(set(found[labels > 0].tolist())) == list(range(number))


def test_every_class_is_spread_evenly_and_so_are_all_images():
    labels = np.random.default_rng(0).permutation(classes_of(41, 38, 23, 57, 41))
    found = folds(labels, alone(200), seed=0)
    table = np.array([np.bincount(labels[found == fold], minlength=5) for fold in range(5)])
    assert np.ptp(table, axis=0).max() <= 1
    assert np.ptp(table.sum(axis=1)) <= 2


def test_above_two_thousand_images_one_fifth_is_held_out_once():
    labels = np.arange(2_001) % 3
    found = folds(labels, alone(2_001), seed=0)
    assert Counter(found.tolist()) == pytest.approx({-1: 1_600, 0: 401}, abs=2)
    assert np.ptp(np.bincount(labels[found == 0])) <= 1
    assert folds(labels[:2_000], alone(2_000), seed=0).min() == 0


def test_a_class_that_is_one_group_is_always_trained_on_and_can_be_named():
    labels = classes_of(10, 1, 10, 3)
    groups = [*alone(21), "burst", "burst", "burst"]
    found = folds(labels, groups, seed=0)
    assert (found[labels == 1] == -1).all()
    assert (found[labels == 3] == -1).all()
    assert (found[(labels == 0) | (labels == 2)] >= 0).all()
    assert never_held_out(labels, found) == (1, 3)


def test_the_order_of_the_images_has_no_say():
    labels, groups = classes_of(14, 11, 12), [f"g{number // 2}" for number in range(37)]
    order = np.random.default_rng(3).permutation(37)
    found = folds(labels, groups, seed=5)
    np.testing.assert_array_equal(folds(labels[order], [groups[place] for place in order], seed=5), found[order])


def test_another_seed_gives_other_folds():
    labels, groups = classes_of(20, 20), alone(40)
    np.testing.assert_array_equal(folds(labels, groups, seed=1), folds(labels, groups, seed=1))
    assert (folds(labels, groups, seed=1) != folds(labels, groups, seed=2)).any()


def test_large_groups_do_not_unbalance_the_folds():
    labels = classes_of(60, 60)
    groups = [f"a{number // 6}" for number in range(60)] + [f"b{number}" for number in range(60)]
    found = folds(labels, groups, seed=0)
    assert Counter(found.tolist()) == dict.fromkeys(range(5), 24)


def test_groups_of_several_classes_that_would_leave_one_untrained_are_trained_on():
    groups = {"g1": {0: 1, 1: 9}, "g2": {0: 2, 2: 5}, "g3": {2: 8}, "g4": {1: 3}}
    pairs = [(label, name) for name, counts in groups.items() for label, n in counts.items() for _ in range(n)]
    labels, names = np.array([label for label, _ in pairs]), [name for _, name in pairs]
    found = folds(labels, names, seed=0)  # g1 and g2, all of class 0, would have been one fold
    assert {name: int(fold) for name, fold in zip(names, found, strict=True)} == {"g1": -1, "g2": -1, "g3": 0, "g4": 0}


def test_group_names_that_are_not_text_of_any_encoding_are_taken():
    assert folds(classes_of(2, 2), ["\udcff", "\udcfe", "a", "שלום"], seed=0).tolist().count(0) == 2


def test_nothing_to_hold_out_is_an_error():
    with pytest.raises(DataError) as refusal:
        folds(np.array([0, 0, 1]), ["x", "x", "y"], seed=0)
    assert str(refusal.value) == (
        "3 images: nothing can be held out, for no class has two different images (or two groups)"
    )


some = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 15)), min_size=2, max_size=60)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(some, st.integers(0, 9))
def test_groups_never_straddle_and_every_class_is_trained_on_outside_every_fold(images, seed):
    labels = np.array([label for label, _ in images])
    groups = [f"g{group}" for _, group in images]
    mixed = len(set(zip(labels, groups, strict=True))) > len(set(groups))
    if len(set(groups)) == len(set(labels)) and not mixed:  # each class is one group
        with pytest.raises(DataError, match="nothing can be held out"):
            folds(labels, groups, seed=seed)
        return
    try:
        found = folds(labels, groups, seed=seed)
    except DataError:
        assert mixed, "only groups of several classes can tie all classes together"
        return
    homes = {}
    for group, fold in zip(groups, found.tolist(), strict=True):
        assert homes.setdefault(group, fold) == fold
    for fold in set(found[found >= 0].tolist()):
        assert set(labels[found != fold].tolist()) == set(labels.tolist())


def several(n, *, seed=0):
    """Any number of five labels, one of them rare."""
    return np.random.default_rng(seed).random((n, 5)) < (0.6, 0.4, 0.25, 0.2, 0.07)


def test_of_any_number_of_labels_each_is_spread_evenly():
    labels = several(200)
    found = folds(labels, alone(200), seed=0)
    table = np.array([labels[found == fold].sum(axis=0) for fold in range(5)])
    assert np.ptp(table, axis=0).max() <= 2
    assert np.ptp(np.bincount(found)) <= 2
    order = np.random.default_rng(3).permutation(200)
    names = alone(200)
    np.testing.assert_array_equal(folds(labels[order], [names[place] for place in order], seed=0), found[order])
    assert (folds(labels, names, seed=1) != found).any()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(4, 60), st.integers(2, 20), st.integers(0, 99))
def test_of_any_number_of_labels_groups_stay_whole_and_each_label_is_trained_on(images, names, seed):
    labels = several(images, seed=seed)
    groups = [f"g{number}" for number in np.random.default_rng(seed).integers(0, names, images)]
    try:
        found = folds(labels, groups, seed=seed)
    except DataError:
        assert names < 6 or images < 20, "only few images and groups can tie all labels together"
        return
    assert all(len(set(found[[name == one for name in groups]])) == 1 for one in set(groups))
    for fold in set(found[found >= 0].tolist()):
        assert np.array_equal(labels[found != fold].any(axis=0), labels.any(axis=0))
    never = {place for place in range(5) if labels[:, place].any() and not labels[found >= 0, place].any()}
    assert set(never_held_out(labels, found)) == never
