import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data import ledger
from finetune.data.catalog import Catalog, Sample
from finetune.data.split import split
from finetune.errors import DataError
from finetune.recipe.splits import Given, Grouped, Stored, Stratified


def sha(text):
    return hashlib.sha256(str(text).encode()).hexdigest()


def catalog(counts, **fields):
    """{class: images}, every image with a content of its own."""
    samples = [
        Sample(f"{label}/{number:04}", None, label, sha256=sha((label, number)), **fields)
        for label, images in counts.items()
        for number in range(images)
    ]
    return Catalog(tuple(samples), tuple(sorted(counts)))


def in_folders(**folders):
    """Split folders, each {class: images}; contents differ between folders."""
    samples = [
        Sample(f"{name}/{label}/{number:04}", None, label, split=name, sha256=sha((name, label, number)))
        for name, counts in folders.items()
        for label, images in counts.items()
        for number in range(images)
    ]
    return Catalog(tuple(samples), ("a", "b"))


def sizes(parts):
    return len(parts.train), len(parts.validation), len(parts.test)


def sides(parts):
    return {key: side for side in ("train", "validation", "test") for key in getattr(parts, side).keys}


FOLDERS = in_folders(train={"a": 20, "b": 20}, val={"a": 8, "b": 7})


@pytest.mark.parametrize(
    ("images", "choice", "expected"),
    [
        (40, Stratified(), (28, 6, 6)),
        (40, None, (28, 6, 6)),
        (10, Stratified(), (6, 2, 2)),  # 1.5 is rounded up
        (5, Stratified(), (3, 1, 1)),
        (4, Stratified(), (2, 1, 1)),
        (3, Stratified(), (2, 0, 1)),
        (3, Stratified(test=0.0), (2, 1, 0)),
        (3, Stratified(test=0.5, validation=0.49), (1, 0, 2)),
        (4, Stratified(test=0.9, validation=0.09), (1, 0, 3)),
        (100, Stratified(test=0.01, validation=0.0), (99, 0, 1)),
        (20, Stratified(test=0.01, validation=0.01), (18, 1, 1)),
        (40, Stratified(test=0.0, validation=0.0), (40, 0, 0)),
    ],
)
def test_every_class_is_divided_by_the_shares(images, choice, expected):
    parts = split(catalog({"a": images, "b": images}), choice, seed=0)
    assert sizes(parts) == tuple(2 * count for count in expected)
    for part in (parts.train, parts.validation, parts.test):
        assert part.classes == ("a", "b")
        assert len(set(part.counts().values())) == 1


def test_small_classes_are_for_training_and_are_named():
    parts = split(catalog({"a": 20, "b": 2, "c": 1}), Stratified(), seed=0)
    assert parts.train.counts() == {"a": 14, "b": 2, "c": 1}
    assert parts.notes == (
        "no test images of 2 of 3 classes: 'b', 'c'",
        "no validation images of 2 of 3 classes: 'b', 'c'",
        "only one training image of 1 of 3 classes: 'c'",
    )


def test_long_lists_of_classes_are_cut():
    parts = split(catalog({"a": 20} | {f"x{n}": 1 for n in range(9)}), Stratified(), seed=0)
    assert parts.notes[0] == "no test images of 9 of 10 classes: 'x0', 'x1', 'x2', 'x3', 'x4' and 4 more"


def test_nothing_to_hold_out_is_an_error():
    with pytest.raises(DataError) as refusal:
        split(catalog({"a": 2, "b": 1}), None, seed=0)
    assert str(refusal.value) == (
        "3 images of 2 classes, at most 2 in a class: too few to hold any out; "
        "three different images of a class are needed"
    )


def test_the_order_of_a_part_is_that_of_the_catalog():
    parts = split(catalog({"a": 30, "b": 30}), Stratified(), seed=3)
    for part in (parts.train, parts.validation, parts.test):
        assert list(part.keys) == sorted(part.keys)


def test_another_seed_is_another_split():
    whole = catalog({"a": 100})
    assert split(whole, None, seed=0) == split(whole, None, seed=0)
    assert split(whole, None, seed=0).test.keys != split(whole, None, seed=1).test.keys


def test_names_and_order_do_not_decide_but_content_does():
    whole = catalog({"a": 50, "b": 50})
    renamed = Catalog(
        tuple(Sample(f"renamed {n}", None, s.label, sha256=s.sha256) for n, s in enumerate(reversed(whole.samples))),
        whole.classes,
    )
    hashes = [{s.sha256 for s in split(which, None, seed=0).test.samples} for which in (whole, renamed)]
    assert hashes[0] == hashes[1]


counts = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 30), min_size=2)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(counts, st.integers(1, 12), st.floats(0, 0.6), st.floats(0, 0.39), st.integers(0, 99))
def test_parts_are_disjoint_copies_stay_together_and_every_class_trains(images, contents, test, validation, seed):
    samples = [
        Sample(f"{label}{n}", None, label, sha256=sha(n % contents if n % 3 else (label, n)))
        for label in images
        for n in range(images[label])
    ]
    whole = Catalog(tuple(samples), tuple(sorted(images)))
    labels = {sample.sha256: {s.label for s in samples if s.sha256 == sample.sha256} for sample in samples}
    plain = [label for found in labels.values() if len(found) == 1 for label in found]
    if (test or validation) and max(map(plain.count, images)) < 3:
        with pytest.raises(DataError, match="too few to hold any out"):
            split(whole, Stratified(test=test, validation=validation), seed=seed)
        return
    parts = split(whole, Stratified(test=test, validation=validation), seed=seed)
    assert sorted(sides(parts)) == sorted(whole.keys)
    assert sum(sizes(parts)) == len(whole)
    by_content = {}
    for part in ("train", "validation", "test"):
        for sample in getattr(parts, part).samples:
            assert by_content.setdefault(sample.sha256, part) == part
    assert min(parts.train.counts().values()) >= 1
    assert parts.test.keys == () or test > 0
    assert parts.validation.keys == () or validation > 0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(4, 60), st.integers(1, 5), st.integers(0, 99))
def test_adding_images_moves_almost_none(images, added, seed):
    before = sides(split(catalog({"a": images, "b": 20}), None, seed=seed))
    after = sides(split(catalog({"a": images + added, "b": 20}), None, seed=seed))
    moved = [key for key in before if before[key] != after[key]]
    assert all(key.startswith("a/") for key in moved)
    assert len(moved) <= 3 * added


def test_content_under_two_labels_is_for_training_and_is_named():
    samples = [
        *catalog({"a": 10, "b": 10}).samples,
        Sample("a/z", None, "a", sha256="00"),
        Sample("b/z", None, "b", sha256="00"),
    ]
    for seed in range(20):
        parts = split(Catalog(tuple(samples), ("a", "b")), Stratified(test=0.4, validation=0.4), seed=seed)
        assert {"a/z", "b/z"} <= set(parts.train.keys)
        assert parts.notes[0] == "2 images have an exact copy under another label, such as a/z and b/z"


def test_images_with_many_labels_are_divided_and_every_class_trains():
    samples = [Sample(f"{n:03}", None, ("a",) if n % 2 else ("a", "b"), sha256=sha(n)) for n in range(100)]
    samples += [Sample("rare", None, ("a", "c"), sha256=sha("rare")), Sample("none", None, (), sha256=sha("none"))]
    for seed in range(20):
        parts = split(Catalog(tuple(samples), ("a", "b", "c")), Stratified(test=0.4, validation=0.4), seed=seed)
        assert "rare" in parts.train.keys
        assert sizes(parts)[2] in (40, 41)
        assert parts.test.labels.shape[1] == 3


def test_images_without_a_hash_are_refused():
    with pytest.raises(DataError, match="1 images without a hash; take the census before the split\n    x"):
        split(Catalog((Sample("x", None, "a"),), ("a",)), None, seed=0)


def test_a_class_without_images_is_refused():
    with pytest.raises(DataError, match="classes without a training image; every class needs one\n    'c'"):
        split(Catalog(catalog({"a": 9}).samples, ("a", "c")), None, seed=0)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (("train", "val"), "split: {kind: given, test: val, validation: 0.15}"),
        (("train", "test"), "split: {kind: given, test: test, validation: 0.15}"),
        (("Train", "Test", "Valid"), "split: {kind: given, test: Test, validation: Valid}"),
    ],
)
def test_split_folders_and_no_choice_print_the_two_ways(names, line):
    whole = in_folders(**{name: {"a": 5, "b": 5} for name in names})
    with pytest.raises(DataError) as refusal:
        split(whole, None, seed=0)
    assert str(refusal.value) == (
        f"split folders on disk ({', '.join(f'{name}: 10' for name in sorted(names))}), "
        "and the recipe does not say what they are for; add\n"
        f"    {line}\nor\n"
        "    pool: true    # in data: all folders are put together and split anew"
    )


def test_a_stratified_split_beside_split_folders_is_refused():
    with pytest.raises(DataError, match="say `pool: true` in data to put them together first"):
        split(FOLDERS, Stratified(), seed=0)


def test_a_training_folder_alone_is_no_split():
    assert sizes(split(in_folders(train={"a": 40, "b": 40}), None, seed=0)) == (56, 12, 12)


def test_given_folders_are_taken_as_they_are():
    whole = in_folders(train={"a": 5, "b": 5}, val={"a": 2, "b": 2}, test={"a": 3, "b": 3})
    parts = split(whole, Given(test="test", validation="val"), seed=0)
    assert sizes(parts) == (10, 4, 6)
    assert {s.split for s in parts.test.samples} == {"test"}
    assert parts.notes == ()


def test_given_validation_may_be_a_share_of_the_training_images():
    parts = split(FOLDERS, Given(test="val", validation=0.15), seed=0)
    assert sizes(parts) == (34, 6, 15)
    assert {s.split for s in parts.validation.samples} == {"train"}


def test_given_parts_may_be_left_out():
    assert sizes(split(FOLDERS, Given(test="val"), seed=0)) == (40, 0, 15)
    assert sizes(split(FOLDERS, Given(validation="val"), seed=0)) == (40, 15, 0)


def test_folders_that_are_not_used_are_said():
    whole = in_folders(train={"a": 5, "b": 5}, val={"a": 2}, test={"a": 3, "b": 3})
    parts = split(whole, Given(test="test"), seed=0)
    assert parts.notes == ("2 images of part 'val' are not used: split names neither test nor validation so",)


def test_classes_that_a_given_folder_lacks_are_said():
    whole = in_folders(train={"a": 5, "b": 5}, val={"a": 2})
    assert split(whole, Given(test="val"), seed=0).notes == ("no test images of 1 of 2 classes: 'b'",)


def test_copies_between_given_folders_are_counted():
    whole = in_folders(train={"a": 5, "b": 5}, val={"a": 5, "b": 5})
    copied = [Sample("val/a/copy", None, "a", split="val", sha256=whole.samples[0].sha256)]
    parts = split(Catalog((*whole.samples, *copied), ("a", "b")), Given(test="val"), seed=0)
    assert parts.notes == ("1 of 11 test images are exact copies of training images",)


def test_folders_that_are_not_there_are_named_with_a_near_match():
    with pytest.raises(DataError) as refusal:
        split(FOLDERS, Given(test="vall", validation="dev"), seed=0)
    assert str(refusal.value) == (
        "split.test is 'vall', but the split folders are 'train', 'val'; did you mean 'val'?\n"
        "split.validation is 'dev', but the split folders are 'train', 'val'"
    )


def test_given_folders_where_there_are_none():
    with pytest.raises(DataError, match=r"split\.test is 'test', but there are no split folders"):
        split(catalog({"a": 5, "b": 5}), Given(test="test"), seed=0)


def test_without_split_folders_the_shares_are_those_of_the_caller():
    assert sizes(split(catalog({"a": 40}), None, seed=0, default=Stratified(validation=0.0))) == (34, 0, 6)
    assert sizes(split(catalog({"a": 40}), Stratified(), seed=0, default=Stratified(validation=0.0))) == (28, 6, 6)


@pytest.mark.parametrize("choice", [Stratified(), Given(test="val", validation=0.25), Given(validation="val")])
def test_validation_images_may_be_learnt_from(choice):
    images = FOLDERS if isinstance(choice, Given) else catalog({"a": 40, "b": 20})
    apart = split(images, choice, seed=0)
    together = split(images, choice, seed=0, learn_from_validation=True)
    assert set(together.train.keys) == {*apart.train.keys, *apart.validation.keys}
    assert together.train.keys == tuple(key for key in images.keys if key in set(together.train.keys))
    assert len(together.validation) == 0
    assert together.test.keys == apart.test.keys
    assert together.notes[-1] == (
        f"{len(apart.validation)} validation images are learnt from too: what ships is chosen on folds of all that is "
        "not for testing"
    )


def test_notes_are_on_what_is_left_when_validation_images_are_learnt_from():
    images = in_folders(train={"a": 1, "b": 5}, val={"a": 1})
    copies = Catalog((*images.samples, replace(images.samples[-1], key="val/a/9")), images.classes)
    choice = Given(validation="val")
    assert any("only one training image of 1 of 2 classes: 'a'" in note for note in split(copies, choice, seed=0).notes)
    together = split(copies, choice, seed=0, learn_from_validation=True)
    assert together.notes == (
        "2 validation images are learnt from too: what ships is chosen on folds of all that is not for testing",
    )


def test_a_class_that_only_validation_has_is_learnt_from_there():
    images = in_folders(train={"b": 5}, val={"a": 1, "b": 2})
    with pytest.raises(DataError, match="classes without a training image"):
        split(images, Given(validation="val"), seed=0)
    together = split(images, Given(validation="val"), seed=0, learn_from_validation=True)
    assert together.train.counts() == {"a": 1, "b": 7}


def test_without_validation_images_there_is_nothing_to_say_of_them():
    found = split(catalog({"a": 40}), Stratified(validation=0.0), seed=0, learn_from_validation=True)
    assert found == split(catalog({"a": 40}), Stratified(validation=0.0), seed=0)
    one = split(catalog({"a": 5}), Stratified(test=0.0, validation=0.2), seed=0, learn_from_validation=True)
    assert one.notes[-1].startswith("1 validation image is learnt from too:")


# groups


def in_groups(sizes_of_groups, *, labels=("a", "b")):
    """Groups of so many images; the classes take turns within each."""
    samples = [
        Sample(f"{name}/{number}", None, labels[number % len(labels)], group=name, sha256=sha((name, number)))
        for name, size in sizes_of_groups.items()
        for number in range(size)
    ]
    return Catalog(tuple(samples), tuple(sorted(labels)))


@given(
    st.lists(st.integers(2, 12), min_size=8, max_size=40),
    st.sampled_from([0.0, 0.1, 0.2, 0.4]),
    st.sampled_from([0.1, 0.2, 0.4]),
    st.integers(0, 3),
)
@settings(deadline=None)
def test_no_group_lies_on_two_sides_and_parts_are_about_as_large_as_asked(counts, validation, test, seed):
    images = in_groups({f"g{place}": size for place, size in enumerate(counts)})
    parts = split(images, Grouped(validation=validation, test=test), seed=seed)
    homes = {}
    for side in ("train", "validation", "test"):
        for sample in getattr(parts, side).samples:
            assert homes.setdefault(sample.group, side) == side
    assert sum(sizes(parts)) == len(images)
    assert abs(len(parts.test) - test * len(images)) <= max(counts)
    assert abs(len(parts.validation) - validation * len(images)) <= max(counts)
    assert not any("groups" in note for note in parts.notes)
    assert parts.validation.samples == () or validation


def test_groups_of_one_class_each_are_divided_class_by_class():
    a = in_groups({f"a{place}": 4 for place in range(20)}, labels=("a",))
    b = in_groups({f"b{place}": 4 for place in range(10)}, labels=("b",))
    parts = split(Catalog((*a.samples, *b.samples), ("a", "b")), Grouped(validation=0.1, test=0.2), seed=0)
    assert parts.test.counts() == {"a": 16, "b": 8}
    assert parts.validation.counts() == {"a": 8, "b": 4}


def test_another_seed_divides_groups_otherwise_and_order_does_not():
    images = in_groups({f"g{place}": 3 for place in range(30)})
    turned = Catalog(images.samples[::-1], images.classes)
    first, again, other = (split(one, Grouped(), seed=seed) for one, seed in ((images, 0), (turned, 0), (images, 1)))
    assert sides(first) == sides(again)
    assert sides(first) != sides(other)


def test_a_group_with_one_content_under_two_labels_is_for_training():
    images = in_groups({f"g{place}": 4 for place in range(12)})
    torn = [replace(s, sha256=sha("torn")) if s.group == "g3" and s.key[-1] in "01" else s for s in images.samples]
    for seed in range(6):
        parts = split(Catalog(tuple(torn), ("a", "b")), Grouped(validation=0.3, test=0.4), seed=seed)
        assert {sample.group for sample in parts.train.samples} >= {"g3"}


def test_copies_tie_groups_together():
    images = in_groups({f"g{place}": 4 for place in range(12)})
    tied = [replace(s, sha256=sha("same")) if s.key in ("g1/0", "g2/0") else s for s in images.samples]
    for seed in range(6):
        parts = split(Catalog(tuple(tied), ("a", "b")), Grouped(validation=0.3, test=0.4), seed=seed)
        assert sides(parts)["g1/0"] == sides(parts)["g2/0"] == sides(parts)["g2/3"]


def test_shares_of_data_with_groups_are_grouped_unless_stratified_is_asked_for():
    images = in_groups({f"g{place}": 4 for place in range(12)})
    assert sides(split(images, None, seed=0)) == sides(split(images, Grouped(), seed=0))
    with pytest.raises(DataError, match="would put images of one group on two sides"):
        split(images, Stratified(), seed=0)


def test_grouped_without_groups_says_how_to_name_them():
    with pytest.raises(DataError, match="nothing names groups; add a pattern"):
        split(catalog({"a": 9, "b": 9}), Grouped(), seed=0)


def test_a_class_that_is_one_group_is_trained_on_and_one_group_cannot_be_divided():
    one = in_groups({"only": 8})
    with pytest.raises(DataError, match="16 images in 2 groups: none can be held out whole"):
        split(
            Catalog(
                (*in_groups({"x": 8}, labels=("a",)).samples, *in_groups({"y": 8}, labels=("b",)).samples), ("a", "b")
            ),
            Grouped(),
            seed=0,
        )
    with pytest.raises(DataError, match="8 images in 1 group: none"):
        split(one, Grouped(test=0.4), seed=0)


def test_a_share_of_given_training_images_keeps_groups_whole():
    samples = [
        replace(s, split="test" if s.group == "g0" else "train") for s in in_groups(dict.fromkeys(GROUPS, 4)).samples
    ]
    parts = split(Catalog(tuple(samples), ("a", "b")), Given(test="test", validation=0.3), seed=0)
    validating = {sample.group for sample in parts.validation.samples}
    assert validating
    assert not validating & {sample.group for sample in parts.train.samples}
    assert {sample.group for sample in parts.test.samples} == {"g0"}


def test_groups_that_given_folders_tear_are_said():
    samples = [
        replace(s, split="test" if s.key.endswith("0") else "train") for s in in_groups({"g0": 4, "g1": 4}).samples
    ]
    more = [Sample("t/b", None, "b", group="g7", split="test", sha256=sha("more"))]
    notes = split(Catalog((*samples, *more), ("a", "b")), Given(test="test"), seed=0).notes
    assert "2 of 3 groups of test images also have training images: 'g0', 'g1'" in notes


GROUPS = [f"g{place}" for place in range(10)]


# as before


def stored(parts):
    return ledger.rows(ledger.written({side: getattr(parts, side) for side in ledger.PARTS}, []))


def test_a_stored_split_is_the_same_whatever_the_names_and_new_images_are_learnt_from():
    images = catalog({"a": 20, "b": 20})
    first = split(images, Stratified(), seed=3)
    renamed = [replace(sample, key=f"new/{sample.key}") for sample in images.samples]
    added = [Sample(f"later/{number}", None, "a", sha256=sha(("later", number))) for number in range(7)]
    again = split(Catalog((*renamed, *added), ("a", "b")), Stored(of="x"), seed=4, before=stored(first))
    assert again.test.keys == tuple(f"new/{key}" for key in first.test.keys)
    assert again.validation.keys == tuple(f"new/{key}" for key in first.validation.keys)
    assert set(again.train.keys) == {f"new/{key}" for key in first.train.keys} | {s.key for s in added}
    assert again.notes == ("7 images are new since the split was made",)


def test_a_new_image_of_a_known_group_goes_where_its_group_is():
    images = in_groups(dict.fromkeys(GROUPS, 4))
    first = split(images, Grouped(test=0.3), seed=0)
    group = first.test.samples[0].group
    added = Sample("later", None, "a", group=group, sha256=sha("later"))
    again = split(Catalog((*images.samples, added), ("a", "b")), Stored(of="x"), seed=0, before=stored(first))
    assert sides(again) == {**sides(first), "later": "test"}


def test_what_a_stored_split_had_and_is_gone_or_has_another_label_is_said():
    images = catalog({"a": 20, "b": 20})
    first = split(images, Stratified(), seed=3)
    gone = first.test.keys[0]
    other = first.train.keys[0]
    now = [replace(s, label="b" if s.key == other else s.label) for s in images.samples if s.key != gone]
    again = split(Catalog(tuple(now), ("a", "b")), Stored(of="x"), seed=0, before=stored(first))
    assert again.notes == (
        f"1 of the 6 test images of the stored split are not there any more, such as {gone}",
        f"1 images have another label than when the split was made, such as {other}",
    )


def test_content_that_was_learnt_from_is_never_tested_on_under_another_name():
    samples = [replace(s, split=name) for name in ("train", "test") for s in catalog({"a": 2, "b": 2}).samples]
    samples = [replace(sample, key=f"{sample.split}/{sample.key}") for sample in samples]
    first = split(Catalog(tuple(samples), ("a", "b")), Given(test="test"), seed=0)
    fresh = [replace(s, split=None, key=f"x/{s.key}") for s in catalog({"a": 2, "b": 2}).samples]
    again = split(Catalog(tuple(fresh), ("a", "b")), Stored(of="x"), seed=0, before=stored(first))
    assert sizes(again) == (4, 0, 0)
    same = [replace(sample, split=None) for sample in samples]
    assert sides(split(Catalog(tuple(same), ("a", "b")), Stored(of="x"), seed=0, before=stored(first))) == sides(first)


def test_a_stored_split_of_other_images_is_refused():
    first = split(catalog({"a": 20, "b": 20}), Stratified(), seed=3)
    with pytest.raises(DataError, match="none of the images is in that split"):
        split(in_groups({"g": 9}), Stored(of="x"), seed=0, before=stored(first))


def of_many(n, *, seed=0):
    """Images with any number of four labels, one of them rare."""
    generator = np.random.default_rng(seed)
    has = generator.random((n, 4)) < (0.5, 0.3, 0.15, 0.03)
    samples = [
        Sample(
            f"{number:04}",
            None,
            tuple(name for name, is_so in zip("abcd", row, strict=True) if is_so),
            sha256=sha(number),
        )
        for number, row in enumerate(has)
    ]
    return Catalog(tuple(samples), ("a", "b", "c", "d"))


def test_of_any_number_of_labels_each_is_shared_out():
    known = of_many(400)
    parts = split(known, Stratified(validation=0.2, test=0.2), seed=0)
    assert sizes(parts) == pytest.approx((240, 80, 80), abs=2)
    counts = known.counts()
    for name, images in counts.items():
        for part, share in ((parts.test, 0.2), (parts.validation, 0.2)):
            assert part.counts()[name] == pytest.approx(share * images, abs=1 if images == min(counts.values()) else 6)
    again = split(known.select(np.random.default_rng(0).permutation(400)), Stratified(validation=0.2, test=0.2), seed=0)
    assert sides(again) == sides(parts)
    assert sides(split(known, Stratified(validation=0.2, test=0.2), seed=1)) != sides(parts)


def test_of_any_number_of_labels_new_images_move_few_others():
    whole = of_many(620)
    choice = Stratified(validation=0.2, test=0.2)
    before, after = (sides(split(whole.select(range(images)), choice, seed=0)) for images in (600, 620))
    were = {key for key, part in before.items() if part == "test"}
    assert len(were) == pytest.approx(120, abs=3)
    assert sum(after[key] != "test" for key in were) <= 5


def test_of_any_number_of_labels_copies_stay_together_and_each_label_is_trained():
    known = of_many(60)
    twice = replace(known, samples=(*known.samples, *(replace(one, key=f"copy {one.key}") for one in known.samples)))
    parts = sides(split(twice, Stratified(validation=0.3, test=0.3), seed=0))
    assert all(parts[key] == parts[f"copy {key}"] for key in known.keys)
    trained = split(twice, Stratified(validation=0.3, test=0.3), seed=0).train
    assert min(trained.counts().values()) > 0
