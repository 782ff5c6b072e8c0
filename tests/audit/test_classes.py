import pytest

from finetune.audit.classes import check, table
from finetune.errors import UnreadableImage
from tests.audit.toys import kinds, known, scene, seen

LOOKS = [seen(scene(n)) for n in range(40)]


def of_sizes(**sizes):
    numbers = iter(range(40))
    return {f"{name}/{n}": LOOKS[next(numbers)] for name, size in sizes.items() for n in range(size)}


def test_classes_of_a_good_size_are_fine():
    assert list(check(known(of_sizes(a=10, b=12)))) == []


def test_a_class_too_small_to_hold_an_image_out_is_a_warning_with_its_images():
    looks = of_sizes(a=10, b=2) | {"b/copy": LOOKS[11]}
    found = list(check(known(looks)))
    assert kinds(found) == [("too-small", "warning", ("b/0", "b/1", "b/copy"))]
    assert "class 'b' has 2 different images; 3 different ones are needed" in found[0].text


def test_few_images_are_a_note():
    assert [(f.kind, f.figures["class"]) for f in check(known(of_sizes(a=10, b=9)))] == [("few", "b")]


def test_imbalance_is_a_note_from_more_than_ten_times_on():
    assert [f.kind for f in check(known(of_sizes(a=30, b=3)))] == ["few"]
    few, imbalance = check(known(of_sizes(a=33, b=3)))
    assert (few.kind, imbalance.kind, imbalance.figures) == ("few", "imbalance", {"ratio": 11.0})


def test_a_class_that_is_not_tested_is_named_where_others_are():
    looks = of_sizes(a=10, b=10)
    parts = dict.fromkeys(looks, "train")
    assert list(check(known(looks, parts=parts))) == []
    (found,) = check(known(looks, parts={**parts, "a/0": "test"}))
    assert (found.kind, found.figures["class"]) == ("not-tested", "b")


def test_a_class_without_a_readable_image_is_too_small_and_not_an_error_of_ours():
    unreadable = {"c/0": UnreadableImage("empty", "a file of 0 bytes")}
    whole = known(of_sizes(a=10, b=10), unreadable=unreadable)
    (found,) = check(whole)
    assert found.text.startswith("class 'c' has no image that can be read")
    assert table(whole)[2]["width"] is None


def test_the_table_counts_parts_and_takes_medians():
    looks = of_sizes(a=4)
    (row,) = table(known(looks, parts={"a/0": "test", "a/1": "train", "a/2": "train"}))
    assert {name: row[name] for name in ("class", "images", "different", "train", "validation", "test")} == {
        "class": "a", "images": 4, "different": 4, "train": 2, "validation": 0, "test": 1,
    }  # fmt: skip
    assert (row["width"], row["height"], row["unreadable"]) == (160, 120, 0)
    assert row["brightness"] == pytest.approx(sum(look.brightness for look in LOOKS[:4]) / 4, abs=0.1)
