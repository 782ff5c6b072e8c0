from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from finetune.audit.shortcuts import Fact, Shortcut, shortcuts
from finetune.errors import UsageError
from finetune.scores.paired import holm


def names(n: int) -> list[str]:
    return [f"image {number}" for number in range(n)]


def noise(n: int, generator: np.random.Generator) -> list[Fact]:
    """Facts of every form that have nothing to do with any label."""
    sides = np.stack([generator.choice([240, 320, 500], n), generator.integers(200, 500, n)], axis=1)
    brightness = generator.normal(size=n)
    brightness[generator.random(n) < 0.2] = np.nan
    return [
        Fact("size", "acquisition", sides),
        Fact("quality", "acquisition", generator.choice([75, 80, 95], n)),
        Fact("camera", "acquisition", generator.choice(["", "one", "two", "three"], n)),
        Fact("brightness", "content", brightness),
        Fact("colour", "content", generator.normal(size=(n, 3))),
    ]


def alone(fact: Fact, labels: np.ndarray, *, classes: int, probe_skill: float | None = None) -> Shortcut:
    return shortcuts([fact], labels, names(len(labels)), classes=classes, probe_skill=probe_skill)[0]


def same(one: Sequence[Shortcut], other: Sequence[Shortcut]) -> bool:
    return all(
        (a.fact, a.p, a.adjusted, a.flagged) == (b.fact, b.p, b.adjusted, b.flagged)
        and a.accuracy == pytest.approx(b.accuracy)
        for a, b in zip(one, other, strict=True)
    )


def marked(share: float, *, seed: int) -> tuple[list[Fact], np.ndarray]:
    """Facts and labels of 600 images of three classes; a share of those of class 1 has a quality of its own."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, 600)
    facts = noise(600, generator)
    own = (labels == 1) & (generator.random(600) < share)
    facts[1] = Fact("quality", "acquisition", np.where(own, 50, facts[1].values))
    return facts, labels


@pytest.mark.parametrize("share", [0.7, 0.85, 1.0])
def test_a_quality_that_most_of_one_class_have_is_flagged_and_nothing_else(share: float) -> None:
    for seed in range(5):
        facts, labels = marked(share, seed=seed)
        found = {one.fact: one for one in shortcuts(facts, labels, names(600), classes=3)}
        assert [one.fact for one in found.values() if one.flagged] == ["quality"]
        assert found["quality"].skill == pytest.approx(share / 3, abs=0.07)
        assert found["quality"].recalls[1] > share - 0.1


def test_a_quality_that_few_of_one_class_have_tells_too_little_to_be_flagged() -> None:
    skills = []
    for seed in range(10):
        facts, labels = marked(0.15, seed=seed)
        found = shortcuts(facts, labels, names(600), classes=3)
        assert not any(one.flagged for one in found)
        skills.append(found[1].skill)
    assert np.mean(skills) == pytest.approx(0.05, abs=0.03)


def test_what_tells_one_class_of_many_is_flagged_by_that_class() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 20
    quality = np.where(labels == 7, 50, generator.choice([75, 80, 95], 400))
    found = alone(Fact("quality", "acquisition", quality), labels, classes=20)
    assert found.skill < 0.1
    assert found.flagged
    assert found.one is not None
    assert found.one.label == 7
    assert found.one.accuracy > 0.8
    assert found.one.adjusted <= 0.05
    content = alone(Fact("brightness", "content", quality), labels, classes=20)
    assert content.one is None
    assert not content.flagged


def test_a_class_of_few_images_does_not_hide_what_tells_a_large_one() -> None:
    generator = np.random.default_rng(1)
    labels = np.array([0] * 150 + [1] * 150 + [2] * 3)
    told = (labels == 0) & (generator.random(303) < 0.7)
    found = alone(Fact("size", "acquisition", np.where(told, -1, generator.normal(size=303))), labels, classes=3)
    assert found.one is not None
    assert found.one.label in (0, 1)
    assert found.one.adjusted <= 0.05


def test_among_very_many_classes_only_what_may_be_flagged_is_compared_with_luck() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(1010) % 101
    size = np.where(labels == 9, -1.0, generator.normal(size=1010))
    facts = [Fact("size", "acquisition", size), Fact("colour", "content", labels + generator.normal(size=1010))]
    told, colour = shortcuts(facts, labels, names(1010), classes=101)
    assert told.flagged
    assert told.one is not None
    assert told.one.label == 9
    assert (told.p, colour.p) == (1.0, 1.0)
    assert shortcuts(facts, labels, names(1010), classes=101, probe_skill=0.01)[1].flagged


def test_of_two_classes_one_is_not_asked_about_again() -> None:
    labels = np.arange(60) % 2
    assert alone(Fact("size", "acquisition", labels), labels, classes=2).one is None


def test_sizes_that_only_tell_together_are_found() -> None:
    generator = np.random.default_rng(0)
    wide, labels = generator.random(400) < 0.5, generator.integers(0, 2, 400)
    tall = wide ^ (labels == 1)
    sides = np.stack([np.where(wide, 500, 333), np.where(tall, 500, 333)], axis=1)
    found = shortcuts(
        [Fact("width", "acquisition", sides[:, 0]), Fact("size", "acquisition", sides)], labels, names(400), classes=2
    )
    assert abs(found[0].skill) < 0.1
    assert found[1].accuracy == 1.0
    assert [one.flagged for one in found] == [False, True]


def test_what_is_unknown_can_tell_the_class() -> None:
    labels = np.repeat([0, 1], 60)
    values = np.random.default_rng(0).normal(size=120)
    values[labels == 1] = np.nan
    assert alone(Fact("time", "acquisition", values), labels, classes=2).accuracy == 1.0
    camera = np.array([None if label else "x" for label in labels], dtype=object)
    assert alone(Fact("camera", "acquisition", camera), labels, classes=2).flagged


def test_among_facts_that_tell_nothing_one_is_found_in_at_most_five_of_a_hundred_data_sets() -> None:
    found, skills = 0, []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        labels = generator.choice(4, 150, p=[0.55, 0.25, 0.15, 0.05])
        told = shortcuts(noise(150, generator), labels, names(150), classes=4, probe_skill=0.0, seed=seed)
        found += any(one.adjusted <= 0.05 or (one.one is not None and one.one.adjusted <= 0.05) for one in told)
        skills += [one.skill for one in told]
    assert found <= 8  # of 60 at 5 %, more in 1 of 200
    assert abs(np.mean(skills)) < 0.01  # large classes are no advantage


def test_images_of_a_group_are_not_taken_for_many() -> None:
    careful, careless = 0, 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        group = np.sort(generator.integers(0, 30, 300))
        labels, fact = generator.integers(0, 3, 30)[group], generator.normal(size=30)[group]
        told = [Fact("time", "acquisition", fact)]
        careful += shortcuts(told, labels, [f"scene {one}" for one in group], classes=3)[0].adjusted <= 0.05
        careless += shortcuts(told, labels, names(300), classes=3)[0].adjusted <= 0.05
    assert careful <= 4  # of 20 at 5 %, more in 3 of 1,000
    assert careless == 20


def test_content_is_flagged_from_half_of_the_probes_skill_and_never_without_a_probe() -> None:
    labels = np.arange(400) % 2
    bright = labels + np.random.default_rng(0).normal(0, 0.7, 400)
    skill = alone(Fact("brightness", "content", bright), labels, classes=2).skill
    assert 0.15 < skill < 0.4
    flags = {
        known: alone(Fact("brightness", "content", bright), labels, classes=2, probe_skill=known).flagged
        for known in (None, 2.1 * skill, 1.9 * skill)
    }
    assert list(flags.values()) == [False, False, True]
    assert alone(Fact("brightness", "acquisition", bright), labels, classes=2).flagged
    dull = Fact("brightness", "content", np.random.default_rng(1).normal(size=400))
    assert not alone(dull, labels, classes=2, probe_skill=-0.5).flagged


def test_neither_the_order_of_images_nor_the_numbers_of_classes_matter() -> None:
    generator = np.random.default_rng(4)
    labels = generator.integers(0, 4, 200)
    facts = [*noise(200, generator), Fact("near", "acquisition", labels + generator.normal(size=200))]
    found = shortcuts(facts, labels, names(200), classes=4)
    order = generator.permutation(200)
    moved = [replace(fact, values=fact.values[order]) for fact in facts]
    assert same(found, shortcuts(moved, labels[order], [names(200)[place] for place in order], classes=4))
    renamed = np.array([2, 0, 3, 1])
    other = shortcuts(facts, renamed[labels], names(200), classes=4)
    assert same(found, other)
    assert other[-1].recalls[renamed] == pytest.approx(found[-1].recalls)


def test_values_that_are_all_equal_tell_nothing() -> None:
    for values in (np.full(30, 3.0), np.full(30, np.nan), np.full(30, "x")):
        found = alone(Fact("quality", "acquisition", values), np.arange(30) % 3, classes=3)
        assert found.accuracy == pytest.approx(1 / 3)
        assert found.chance == pytest.approx(1 / 3)
        assert found.recalls == pytest.approx([1 / 3] * 3)
        assert (found.p, found.adjusted, found.flagged) == (1.0, 1.0, False)


def test_a_class_of_one_group_is_not_asked_for() -> None:
    labels = np.array([0, 1] * 30 + [2] * 6 + [4])
    groups = [*names(60), *["one scene"] * 6, "image 60"]
    values = np.array([0.0, 1.0] * 30 + [2.0] * 7)
    found = shortcuts([Fact("quality", "acquisition", values)], labels, groups, classes=5)[0]
    assert found.accuracy == 1.0
    assert found.chance == 0.5
    assert np.isnan(found.recalls).tolist() == [False, False, True, True, True]


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 0, 1], []])
def test_where_no_two_classes_can_be_held_out_nothing_is_asked_and_the_reason_is_given(labels: list[int]) -> None:
    found = alone(Fact("quality", "acquisition", np.arange(len(labels))), np.array(labels, dtype=int), classes=2)
    assert found.reason == "there are no two classes of two images each that could be held out and learnt"
    assert not found.flagged
    assert np.isnan([found.accuracy, found.skill, found.p, found.adjusted, *found.recalls]).all()


def test_four_images_are_too_few_to_find_anything() -> None:
    found = alone(Fact("quality", "acquisition", np.array([0, 0, 1, 1])), np.array([0, 0, 1, 1]), classes=2)
    assert found.reason == ""
    assert found.p > 0.05
    assert not found.flagged


def test_groups_of_several_labels_are_asked_too() -> None:
    generator = np.random.default_rng(5)
    labels = np.tile([0, 1, 1], 40)
    groups = [f"scene {number // 3}" for number in range(120)]
    facts = [Fact("told", "acquisition", labels.astype(float)), Fact("not", "content", generator.normal(size=120))]
    found = shortcuts(facts, labels, groups, classes=2)
    assert found[0].accuracy == 1.0
    assert found[0].flagged
    assert found[1].adjusted > 0.05


def test_no_fact_has_no_answer() -> None:
    assert shortcuts([], np.array([0, 1, 0, 1]), names(4), classes=2) == ()


def test_the_smallest_p_that_permutations_can_show_survives_holm_over_many_facts() -> None:
    labels = np.arange(100) % 2
    found = shortcuts([Fact(str(n), "acquisition", labels) for n in range(40)], labels, names(100), classes=2)
    assert all(one.flagged for one in found)
    assert found[0].p == 1 / 1600


def test_each_of_several_families_of_questions_has_its_part_of_the_error() -> None:
    labels = np.arange(100) % 2
    facts = [Fact("told", "acquisition", labels), Fact("not told", "acquisition", np.arange(100) // 2 % 2)]
    for families in (50, 100):  # of two facts the first has Holm's factor 2
        told, other = shortcuts(facts, labels, names(100), classes=2, families=families)
        assert told.p == 1 / (80 * families)
        assert (told.adjusted, told.flagged) == (pytest.approx(2 * families * told.p), True)
        assert (other.p, other.adjusted, other.flagged) == (1.0, 1.0, False)


def test_holm_gives_the_values_of_an_example() -> None:
    # by hand: 4 * 0.01, 3 * 0.013, 2 * 0.03, 1 * 0.04, none below the one before it
    assert holm([0.04, 0.01, 0.03, 0.013]) == pytest.approx((0.06, 0.04, 0.06, 0.04))
    assert holm([0.9, 0.6]) == (1.0, 1.0)
    assert holm([]) == ()


def test_what_tells_is_found_among_twenty_facts() -> None:
    generator = np.random.default_rng(6)
    labels = generator.integers(0, 10, 1000)
    told = [
        Fact(f"told {n}", "acquisition", labels[:, None] + generator.normal(0, 2, (1000, 1 + n % 3))) for n in range(8)
    ]
    facts = [*told, *noise(1000, generator), *noise(1000, generator)]
    found = shortcuts(facts, labels, names(1000), classes=10)
    assert all(one.adjusted <= 0.05 for one in found[:8])


@pytest.mark.parametrize(
    ("values", "labels", "groups", "message"),
    [
        (np.zeros(3), np.array([0, 1, 2]), 3, "whole numbers from 0 to 1"),
        (np.zeros(3), np.array([0.0, 1.0, 1.0]), 3, "whole numbers from 0 to 1"),
        (np.zeros(3), np.array([0, 1, 1]), 2, "groups must be one per image, but are 2 for 3 images"),
        (np.zeros(2), np.array([0, 1, 1]), 3, r"fact 'size' must .* but has float64 of shape \(2,\)"),
        (np.zeros((3, 1, 1)), np.array([0, 1, 1]), 3, r"of shape \(3, 1, 1\)"),
        (np.full((3, 2), "x"), np.array([0, 1, 1]), 3, r"of shape \(3, 2\)"),
        (np.zeros(3, complex), np.array([0, 1, 1]), 3, "has complex128"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    values: np.ndarray, labels: np.ndarray, groups: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        shortcuts([Fact("size", "acquisition", values)], labels, names(groups), classes=2)
