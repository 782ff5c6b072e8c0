"""Facts on images that tell the class by themselves, from looks at pixels."""

import re
from dataclasses import replace

import numpy as np

from finetune.audit import facts
from finetune.audit.deep import Measured
from finetune.audit.gather import Gathered
from finetune.audit.look import Look
from finetune.audit.shortcuts import MARGIN
from finetune.data.catalog import Catalog
from tests.audit.toys import asked_deeply, kinds, known, scene, seen, with_header


def scenes(classes: str, each: int, **of_a: object) -> dict[str, Look]:
    """So many images of each class, all of their own; those of class a are encoded with other options."""
    usual = {"quality": 90}
    return {
        f"{name}/{number}": seen(scene(100 * place + number), "JPEG", **(of_a if name == "a" and of_a else usual))
        for place, name in enumerate(classes)
        for number in range(each)
    }


def flagged(whole: Gathered) -> list[tuple[str, str]]:
    return [(one.kind, str((one.figures or {})["fact"])) for one in facts.check(whole) if one.severity == "warning"]


def test_a_class_that_was_compressed_more_is_flagged_and_named() -> None:
    found = [one for one in facts.check(known(scenes("abc", 15, quality=40))) if one.severity == "warning"]
    assert [(one.check, one.kind) for one in found] == [("shortcuts", "acquisition")] * 2
    assert [(one.figures or {})["fact"] for one in found] == ["JPEG quality", "encoder"]
    assert re.fullmatch(
        r"JPEG quality alone tells the class with a balanced accuracy of 0\.[56]\d, where chance is 0\.33; "
        r"'a' from all others with 1\.00, where chance is 0\.50; "
        r"a network can learn how images came about instead of what they show",
        found[0].text,
    )
    assert found[0].keys == tuple(f"a/{number}" for number in range(facts.EXAMPLES))
    assert found[0].figures is not None
    assert (found[0].figures["class"], found[0].figures["against_rest"]) == ("a", 1.0)


def test_images_that_came_about_alike_are_not_flagged() -> None:
    assert flagged(known(scenes("abc", 15))) == []


def test_one_class_of_ten_is_flagged_where_all_classes_together_would_not_be() -> None:
    found = [one for one in facts.check(known(scenes("abcdefghij", 8, quality=40))) if one.severity == "warning"]
    assert [(one.figures or {})["class"] for one in found] == ["a", "a"]
    figures = found[0].figures or {}
    assert float(figures["balanced_accuracy"] or 0) - float(figures["chance"] or 0) < MARGIN


def test_camera_time_and_size_are_asked_too() -> None:
    looks = scenes("ab", 20)
    generator = np.random.default_rng(0)
    cameras = {key: with_header(look, camera="X" if key[0] == "a" else "Y") for key, look in looks.items()}
    assert flagged(known(cameras)) == [("acquisition", "camera")]
    times = {
        key: with_header(look, taken=float(generator.uniform(0, 9) + (90 if key[0] == "a" else 0)))
        for key, look in looks.items()
    }
    assert flagged(known(times)) == [("acquisition", "time")]
    sizes = {key: replace(look, width=200 if key[0] == "a" else 160) for key, look in looks.items()}
    assert flagged(known(sizes)) == [("acquisition", "size"), ("acquisition", "shape")]


def lit() -> dict[str, Look]:
    """Two classes of which one is brighter."""
    return {key: replace(look, brightness=0.8 if key[0] == "a" else 0.2) for key, look in scenes("ab", 20).items()}


def test_what_images_show_is_only_reported() -> None:
    (found,) = facts.check(known(lit()))
    assert (found.kind, found.severity) == ("content", "note")
    assert found.text.startswith("brightness alone tells the class with a balanced accuracy of 1.00")


def test_what_images_show_is_flagged_from_half_of_what_the_probe_does() -> None:
    whole = known(lit())
    deep = replace(asked_deeply(whole), balanced_accuracy=Measured(1.0, 0.9, 1.0), chance=0.5)
    (found,) = facts.check(replace(whole, deep=deep))
    assert (found.kind, found.severity) == ("content-alone", "warning")
    assert (found.figures or {})["probe_skill"] == 0.5
    dim = {key: replace(one, brightness=one.brightness + hash_of(key)) for key, one in scenes("ab", 40).items()}
    deep = replace(asked_deeply(known(dim)), balanced_accuracy=Measured(1.0, 0.9, 1.0), chance=0.5)
    assert flagged(replace(known(dim), deep=deep)) == []


def hash_of(key: str) -> float:
    """Light that says a little of the class."""
    generator = np.random.default_rng([ord(letter) for letter in key])
    return float(generator.normal(0.1 if key[0] == "a" else 0, 0.25))


def test_copies_do_not_count_as_many() -> None:
    looks = scenes("ab", 2)
    looks["a/0"] = with_header(looks["a/0"], camera="X")
    many = {f"{key} {copy}": look for key, look in looks.items() for copy in range(30)}
    assert flagged(known(many)) == []


def test_each_of_any_number_of_labels_is_asked_how_its_images_came_about() -> None:
    looks = scenes("ab", 20, quality=40)
    whole = known(looks)
    several = tuple(
        replace(sample, label=(sample.labels[0], *("c" for _ in range(int(sample.key[2:]) % 2))))
        for sample in whole.catalog.samples
    )
    found = [*facts.check(replace(whole, catalog=Catalog(several, ("a", "b", "c"))))]
    assert [(one.kind, one.severity, (one.figures or {})["fact"]) for one in found] == [
        ("acquisition", "warning", "JPEG quality"),
        ("acquisition", "warning", "encoder"),
    ]
    assert found[0].text == (
        "JPEG quality alone tells label 'a' with a balanced accuracy of 1.00, where chance is 0.50, and 1 other label "
        "too; a network can learn how images came about instead of what they show"
    )
    assert found[0].keys == tuple(f"a/{number}" for number in range(facts.EXAMPLES))
    alike = known(scenes("ab", 20))
    assert kinds(facts.check(replace(alike, catalog=Catalog(several, ("a", "b", "c"))))) == []


def test_no_images_are_not_asked() -> None:
    assert kinds(facts.check(replace(known(scenes("ab", 10, quality=40)), looks={}))) == []
