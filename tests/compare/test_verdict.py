"""What a comparison comes to, in sentences."""

from pathlib import Path

import pytest

from finetune.compare import verdict
from finetune.compare.comparison import compare
from tests.compare.test_comparison import WORSE, compared
from tests.compare.toys import answers, bundle


def test_the_better_one_is_named_whichever_comes_first(tmp_path: Path) -> None:
    found = compared(tmp_path, WORSE, [1])
    said = verdict.verdict(found, found.pairs[0])
    assert said.startswith("B is right on more images than A: B − A lies between +")
    turned = compare([side.bundle.folder for side in found.sides[::-1]])
    assert verdict.verdict(turned, turned.pairs[0]).startswith("A is right on more images than B")
    assert verdict.test(found, found.pairs[0]) == (
        "Of 120 images A alone has 1 right and B alone 15; exact McNemar test: p < 0.001."
    )


def test_no_difference_is_said_with_its_bounds(tmp_path: Path) -> None:
    found = compared(tmp_path, [0, 5], [7])
    assert verdict.verdict(found, found.pairs[0]).startswith("No difference is shown: B − A lies between −")
    alike = compared(tmp_path / "alike", [0], [0])
    assert verdict.verdict(alike, alike.pairs[0]) == "A and B are right on the same images, and wrong on the same."
    assert verdict.test(alike, alike.pairs[0]).endswith("B alone 0.")


def test_images_that_folds_held_out_are_called_so(tmp_path: Path) -> None:
    assert verdict.called(compared(tmp_path / "apart", [0], [1])) == "test"
    facts = {"images": {"train": 120, "folds": 3}}
    folders = [bundle(tmp_path / name, answers(wrong=[int(name)]), facts=facts).folder for name in ("1", "2")]
    found = compare(folders)
    assert (found.part, verdict.called(found)) == ("test", "held-out")


def test_the_correction_is_named_where_there_is_one(tmp_path: Path) -> None:
    found = compared(tmp_path, WORSE, [1], [2])
    assert "corrected for 2 comparisons (Holm)" in verdict.test(found, found.pairs[1])


def test_what_makes_scores_less_comparable_is_noted(tmp_path: Path) -> None:
    assert verdict.notes(compared(tmp_path, [0], [1])) == []
    for part, word in (("validation", "chosen its epoch"), ("out_of_fold", "slightly optimistic")):
        folders = [
            bundle(
                tmp_path / part / name, answers(wrong=[int(name)]), part=part, facts={"images": {"train": count}}
            ).folder
            for name, count in (("1", 200), ("2", 1400))
        ]
        first, second = verdict.notes(compare(folders))
        assert word in first
        assert second == "They have learnt from different numbers of images: A from 200, B from 1,400."


@pytest.mark.parametrize(("p", "said"), [(0.5, "p = 0.50"), (0.0123, "p = 0.012"), (0.0001, "p < 0.001")])
def test_a_probability_has_the_digits_it_needs(p: float, said: str) -> None:
    assert verdict.probability(p) == said


@pytest.mark.parametrize(("share", "said"), [(0.0123, "+1.2"), (-0.5, "−50.0"), (-0.0001, "0.0")])
def test_points_have_a_sign_unless_nothing_is_left_of_them(share: float, said: str) -> None:
    assert verdict.points(share) == said
