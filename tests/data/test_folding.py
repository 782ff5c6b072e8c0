import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data import ledger
from finetune.data.catalog import Catalog, Sample
from finetune.data.folding import folds, remarks
from finetune.data.groups import of_samples
from finetune.data.split import Split, split
from finetune.errors import DataError
from finetune.recipe.splits import Folds, Stored


def sha(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def catalog(counts: Mapping[str, int]) -> Catalog:
    """{class: images}, every image with a content of its own."""
    samples = [
        Sample(f"{label}/{number:04}", None, label, sha256=sha((label, number)))
        for label, images in counts.items()
        for number in range(images)
    ]
    return Catalog(tuple(samples), tuple(sorted(counts)))


def tagged(images: int, *, seed: int = 0) -> Catalog:
    """Images with any number of the labels a, b and c, the last of them rare."""
    drawn = np.random.default_rng(seed).random((images, 3)) < (0.5, 0.4, 0.1)
    samples = [
        Sample(f"{number:04}", None, tuple(np.array(["a", "b", "c"])[has].tolist()), sha256=sha(number))
        for number, has in enumerate(drawn)
    ]
    return Catalog(tuple(samples), ("a", "b", "c"))


def grouped(found: Catalog, size: int) -> Catalog:
    """Every `size` images that follow each other are a group."""
    samples = (replace(sample, group=f"g{place // size}") for place, sample in enumerate(found.samples))
    return Catalog(tuple(samples), found.classes)


def divided(found: Catalog, number: int = 5, **fields: object) -> Split:
    return split(found, Folds(folds=number, **fields), seed=0)


def test_every_image_is_held_out_once_and_learnt_from_in_all_other_folds() -> None:
    found = catalog({"a": 20, "b": 13})
    whole = divided(found, validation=0.0)
    assert whole.held_out.keys == found.keys
    assert whole.train.keys == found.keys
    assert not len(whole.test)
    for fold in whole.folds:
        assert set(fold.train.keys) == set(found.keys) - set(fold.test.keys)
        assert fold.train.classes == found.classes
    assert "each image is held out in one of 5 folds of 6 to 7 images, and learnt from in the others" in whole.notes


def test_each_class_is_shared_out_evenly() -> None:
    whole = divided(catalog({"a": 20, "b": 13, "c": 7}))
    for fold in whole.folds:
        counts = fold.test.counts()
        assert counts["a"] == 4
        assert counts["b"] in (2, 3)
        assert counts["c"] in (1, 2)


def test_validation_images_are_a_share_of_what_is_not_held_out() -> None:
    whole = divided(catalog({"a": 100, "b": 100}))
    assert [(len(fold.train), len(fold.validation), len(fold.test)) for fold in whole.folds] == [(136, 24, 40)] * 5
    assert (len(whole.train), len(whole.validation)) == (170, 30)
    for fold in whole.folds:
        assert not set(fold.validation.keys) & {*fold.train.keys, *fold.test.keys}


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    number=st.integers(2, 6),
    size=st.integers(1, 5),
    several=st.booleans(),
    copies=st.integers(0, 6),
)
def test_copies_and_groups_never_straddle_and_no_class_is_unlearnt(
    seed: int, number: int, size: int, several: bool, copies: int
) -> None:
    found = tagged(40, seed=seed) if several else catalog({"a": 21, "b": 12, "c": 7})
    found = grouped(found, size) if size > 1 else found
    first = found.samples[:copies]
    again = tuple(replace(sample, key=f"copy of {sample.key}", group=None) for sample in first)
    found = Catalog((*found.samples, *again), found.classes)
    places = folds(found, number, seed=seed)
    homes: dict[str, set[int]] = {}
    for unit, place in zip(of_samples(found.samples), places.tolist(), strict=True):
        homes.setdefault(unit, set()).add(place)
    assert all(len(home) == 1 for home in homes.values())
    assert {*places.tolist()} - {0} == {*range(1, number + 1)}
    for fold in range(1, number + 1):
        learnt = {
            label
            for sample, place in zip(found.samples, places, strict=True)
            if place != fold
            for label in sample.labels
        }
        assert learnt >= {label for sample in found.samples for label in sample.labels}


def test_the_order_and_the_names_of_images_have_no_say() -> None:
    found = catalog({"a": 20, "b": 13})
    places = dict(zip((s.sha256 for s in found.samples), folds(found, 4, seed=3).tolist(), strict=True))
    turned = Catalog(tuple(replace(s, key=s.key[::-1]) for s in reversed(found.samples)), found.classes)
    assert {s.sha256: f for s, f in zip(turned.samples, folds(turned, 4, seed=3).tolist(), strict=True)} == places
    assert folds(found, 4, seed=4).tolist() != folds(found, 4, seed=3).tolist()


def test_new_images_move_few_others() -> None:
    before, after = catalog({"a": 100, "b": 100, "c": 40}), catalog({"a": 103, "b": 100, "c": 40})
    was = dict(zip(before.keys, folds(before, 5, seed=0).tolist(), strict=True))
    now = dict(zip(after.keys, folds(after, 5, seed=0).tolist(), strict=True))
    moved = [key for key in was if was[key] != now[key]]
    assert len(moved) <= 3 * 4  # one at each cut of that class for each new image
    assert all(key.startswith("a/") for key in moved)


def test_a_class_of_one_image_is_always_learnt_from_and_that_is_said() -> None:
    found = catalog({"a": 10, "b": 10, "single": 1})
    places = folds(found, 5, seed=0)
    assert places[-1] == 0
    said = [*remarks(found, places)]
    assert said[1] == (
        "1 image is in no fold, but always learnt from, for a class would have no other image (or group); nothing is "
        "measured of 'single'"
    )
    whole = divided(found)
    assert whole.held_out.keys == found.keys[:-1]
    assert all("single/0000" in fold.train.keys for fold in whole.folds)


def test_a_class_that_is_one_group_is_always_learnt_from() -> None:
    found = catalog({"a": 8, "b": 8})
    samples = tuple(replace(s, group="one" if s.label == "a" else s.key) for s in found.samples)
    places = folds(Catalog(samples, found.classes), 4, seed=0)
    assert [place == 0 for place in places.tolist()] == [True] * 8 + [False] * 8


def test_more_folds_than_images_of_a_class_leave_some_without_it_and_that_is_said() -> None:
    found = catalog({"a": 20, "small": 3})
    places = folds(found, 5, seed=0)
    assert len({*places[20:].tolist()}) == 3
    assert "some folds have no image of 1 of 2 classes: 'small'" in [*remarks(found, places)]


def test_small_classes_fill_every_fold_together() -> None:
    places = folds(catalog(dict.fromkeys("abcd", 2)), 8, seed=0)
    assert sorted(places.tolist()) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_more_folds_than_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"split.folds is 9, but only 8 different images \(or groups\) can be held out"):
        divided(catalog({"a": 4, "b": 4}), 9)
    with pytest.raises(DataError, match=r"only 0 different .* write another kind of split"):
        divided(catalog({"a": 1, "b": 1}), 2)


def test_split_folders_on_disk_are_not_folded_unless_they_are_put_together() -> None:
    found = catalog({"a": 10, "b": 10})
    samples = tuple(
        replace(sample, split="val" if place % 5 == 0 else "train") for place, sample in enumerate(found.samples)
    )
    with pytest.raises(DataError, match="kind: folds} beside split folders"):
        divided(Catalog(samples, found.classes))


def test_labels_are_shared_out_where_images_have_any_number() -> None:
    whole = divided(tagged(200))
    rare = [fold.test.counts()["c"] for fold in whole.folds]
    assert max(rare) - min(rare) <= 1
    assert {len(fold.test) for fold in whole.folds} <= {38, 39, 40, 41, 42}


def test_new_images_move_few_others_where_images_have_any_number_of_labels() -> None:
    whole = tagged(208)
    before, after = (folds(whole.select(range(images)), 5, seed=0)[:200] for images in (200, 208))
    assert 0 < (before != after).sum() <= 10


def test_folds_are_not_taken_for_the_parts_of_a_stored_split() -> None:
    found = catalog({"a": 10, "b": 10})
    whole = divided(found)
    notes = {key: f"fold {number}" for number, fold in enumerate(whole.folds, start=1) for key in fold.test.keys}
    before = ledger.rows(ledger.written({"train": whole.train, "validation": whole.validation}, (), notes))
    with pytest.raises(DataError, match="held out every image in folds and has no test images"):
        split(found, Stored(of="runs/x/1"), seed=0, before=before)
