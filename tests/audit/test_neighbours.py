"""What a network finds alike: copies that hashes miss, and test images nearest to another label."""

from dataclasses import replace

import numpy as np

from finetune.audit import neighbours
from finetune.audit.audit import audit
from finetune.audit.gather import Gathered
from finetune.audit.look import Look
from tests.audit.toys import asked_deeply, kinds, known, scene, seen

PARTS = {"a/0": "train", "a/1": "test", "b/0": "train", "b/1": "test"}


def far(look: Look) -> Look:
    """The same with a hash that nobody would compare with its own."""
    return replace(look, phash=look.phash ^ (2**64 - 1), pixels="other")


def images(**looks: Look) -> Gathered:
    own = {key: seen(scene(number)) for number, key in enumerate(PARTS)}
    return known({**own, **looks}, parts=PARTS)


def features(*alike: tuple[int, int], value: float = 1.0) -> np.ndarray:
    """Four images that have nothing in common but for these pairs, whose features have about this cosine."""
    found = np.eye(4, 8, dtype=np.float32)
    for one, other in alike:
        found[other] = value * found[one] + np.sqrt(1 - value**2) * found[other]
    return found


def test_a_copy_that_hashes_miss_is_found_as_others_are_and_counts_as_a_leak() -> None:
    whole = images(**{"a/1": far(seen(scene(0)))})
    assert audit(whole).leaked == ()
    found = replace(whole, deep=asked_deeply(whole, features=features((0, 1))))
    assert kinds(neighbours.check(found))[0] == ("near-across-parts", "warning", ("a/0", "a/1"))
    assert audit(found).leaked == ("a/1",)


def test_a_copy_that_is_known_is_not_found_again() -> None:
    whole = images(**{"a/1": seen(scene(0))})
    found = replace(whole, deep=asked_deeply(whole, features=features((0, 1))))
    assert kinds(neighbours.check(found)) == []
    assert audit(found).leaked == ("a/1",)


def test_images_that_look_alike_only_to_the_network_are_a_note() -> None:
    whole = images()
    found = replace(whole, deep=asked_deeply(whole, features=features((0, 1), value=0.97)))
    assert kinds(neighbours.check(found)) == [("embedding-neighbours", "note", ("a/0", "a/1"))]
    less = replace(whole, deep=asked_deeply(whole, features=features((0, 1), value=0.6)))
    assert kinds(neighbours.check(less)) == []


def test_test_images_nearest_to_another_label_are_one_note_and_a_list() -> None:
    whole = images()
    found = replace(whole, deep=asked_deeply(whole, features=features((0, 3), (2, 1), value=0.6)))
    (note,) = neighbours.check(found)
    assert (note.kind, note.severity, note.keys) == ("nearest-of-another-label", "note", ("a/1", "b/0", "b/1", "a/0"))
    assert note.text == "2 of 2 test images are nearest, to a network, to a training image of another label"
    assert note.figures == {"images": 2, "test_images": 2, "share": 1.0}
    listed = audit(found).to_dict()["deep"]["nearest_of_another_label"]
    assert [(one["test"], one["nearest"]) for one in listed] == [("a/1", "b/0"), ("b/1", "a/0")]
    assert all(0 < one["cosine"] < 1 for one in listed)


def test_the_labels_that_most_often_meet_are_named() -> None:
    parts = {"a/0": "test", "a/1": "test", "b/0": "train", "b/1": "test"}
    whole = known({key: seen(scene(number)) for number, key in enumerate(parts)}, parts=parts)
    (note,) = neighbours.check(replace(whole, deep=asked_deeply(whole, features=features())))
    assert note.text == (
        "2 of 3 test images are nearest, to a network, to a training image of another label; most often, 2 times, "
        "labelled 'a' and nearest to 'b'"
    )


def test_without_a_network_or_without_test_images_nothing_is_said() -> None:
    whole = images()
    assert list(neighbours.check(whole)) == []
    learnt = replace(whole, parts={})
    assert list(neighbours.check(replace(learnt, deep=asked_deeply(learnt)))) == []


def test_neighbours_are_found_across_blocks_each_pair_once() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(1500, 64)).astype(np.float32)
    rows[1400] = rows[3]
    found = neighbours.near(rows)
    assert found[0][1:] == (3, 1400)
    assert found[0][0] > 0.99
    assert len(found) == len({pair[1:] for pair in found})
    assert all(one < other for _, one, other in found)
    assert neighbours.near(rows[:1]) == ()
