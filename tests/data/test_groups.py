import random

import pytest

from finetune.data.catalog import Catalog, LeftOut, Sample
from finetune.data.groups import matched, together
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


def sample(content, group=None):
    return Sample(f"{content} {group} {random.random()}", None, "a", group=group, sha256=content)


@pytest.mark.parametrize("seed", range(5))
def test_copies_groups_and_what_links_them_are_together_whatever_their_order(seed):
    samples = [sample("1"), sample("1"), sample("2", "x"), sample("3", "x"), sample("3", "y"), sample("4", "y")]
    samples += [sample("5", "z"), sample("6", "z"), sample("7")]
    expected = ["content 1"] * 2 + ["group x"] * 4 + ["group z"] * 2 + ["content 7"]
    order = random.Random(seed).sample(range(len(samples)), len(samples))
    assert together([samples[place] for place in order]) == tuple(expected[place] for place in order)
