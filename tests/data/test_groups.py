import random
from pathlib import Path

import pytest

from finetune.data.catalog import Catalog, LeftOut, Sample
from finetune.data.groups import matched, of_samples
from finetune.errors import DataError


def catalog(*keys):
    samples = tuple(Sample(key, None, key.split("/")[0], sha256=key) for key in keys)
    return Catalog(samples, ("a", "b"), left_out=(LeftOut("c.txt", "not an image suffix"),))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"p\d+", ["p1", "p1", "p2"]),
        (r"(p\d+)_\d", ["p1", "p1", "p2"]),
        (r"^(\w)/(p\d)", ["a/p1", "b/p1", "b/p2"]),
        (r"(x)?p(\d)", ["1", "1", "2"]),
    ],
)
def test_a_group_is_what_the_pattern_finds(pattern, expected):
    if expected[0] == "a/p1":
        found = matched(catalog("a/p1_1.png", "b/p1_2.png", "b/p2_1.png", "b/p2_2.png"), pattern)
        expected = [*expected, "b/p2"]
    else:
        found = matched(catalog("a/p1_1.png", "b/p1_2.png", "b/p2_1.png"), pattern)
    assert [sample.group for sample in found.samples] == expected
    assert found.left_out == (LeftOut("c.txt", "not an image suffix"),)


def test_images_without_a_group_are_named():
    with pytest.raises(DataError, match=r"finds no group in 1 of 3 images\n    b/other.png"):
        matched(catalog("a/p1_1.png", "a/p1_2.png", "b/other.png"), r"p\d")


def test_a_match_of_nothing_names_no_group():
    with pytest.raises(DataError, match="finds no group in 2 of 2"):
        matched(catalog("a/1.png", "b/2.png"), r"(p\d)?\.png")


def test_a_pattern_that_tells_all_images_apart_is_refused():
    with pytest.raises(DataError, match="makes every image a group of its own"):
        matched(catalog("a/1.png", "b/2.png"), r".+")


def test_a_pattern_beside_groups_of_the_data_is_refused():
    samples = (Sample("a/1", None, "a", group="g", sha256="1"), Sample("b/1", None, "b", group="g", sha256="2"))
    with pytest.raises(DataError, match="pattern has no effect"):
        matched(Catalog(samples, ("a", "b")), "a")


def drawn(content, group=None):
    return Sample(f"{content} {group} {random.random()}", None, "a", group=group, sha256=content)


@pytest.mark.parametrize("seed", range(5))
def test_copies_groups_and_what_links_them_are_together_whatever_their_order(seed):
    samples = [drawn("1"), drawn("1"), drawn("2", "x"), drawn("3", "x"), drawn("3", "y"), drawn("4", "y")]
    samples += [drawn("5", "z"), drawn("6", "z"), drawn("7")]
    expected = ["content 1"] * 2 + ["group x"] * 4 + ["group z"] * 2 + ["content 7"]
    order = random.Random(seed).sample(range(len(samples)), len(samples))
    assert of_samples([samples[place] for place in order]) == tuple(expected[place] for place in order)


def sample(name: str, *, content: str | None = None, group: str | None = None) -> Sample:
    return Sample(name, Path(name), "red", group=group, sha256=content or name)


def together(*samples: Sample) -> list[set[str]]:
    """The keys that are in one piece, in the order of their first."""
    pieces: dict[str, set[str]] = {}
    for one, name in zip(samples, of_samples(samples), strict=True):
        pieces.setdefault(name, set()).add(one.key)
    return list(pieces.values())


def test_images_of_their_own_are_apart_and_copies_and_groups_together() -> None:
    assert together(sample("1"), sample("2")) == [{"1"}, {"2"}]
    assert together(sample("1", content="x"), sample("2"), sample("3", content="x")) == [{"1", "3"}, {"2"}]
    assert together(sample("1", group="g"), sample("2"), sample("3", group="g")) == [{"1", "3"}, {"2"}]


def test_groups_that_share_a_copy_are_one() -> None:
    chained = (
        sample("1", group="a"),
        sample("2", content="x", group="a"),
        sample("3", content="x"),
        sample("4", content="x", group="b"),
        sample("5", group="b"),
        sample("6", content="y", group="c"),
    )
    assert together(*chained) == [{"1", "2", "3", "4", "5"}, {"6"}]
    assert sorted(map(sorted, together(*reversed(chained)))) == [["1", "2", "3", "4", "5"], ["6"]]


def test_the_name_of_a_group_is_no_content() -> None:
    assert together(sample("1", content="g"), sample("2", group="g")) == [{"1"}, {"2"}]


def test_images_without_a_hash_are_known_by_their_key() -> None:
    unhashed = [Sample(name, Path(name), "red") for name in "12"]
    assert together(*unhashed) == [{"1"}, {"2"}]
