"""What recipes say differently."""

from pathlib import Path

from finetune.compare.recipes import Change, changes
from tests.compare.toys import RECIPE, bundle


def test_only_keys_whose_values_differ_are_named_in_the_order_of_the_recipe(tmp_path: Path) -> None:
    first = bundle(tmp_path / "toy" / "1")
    second = bundle(
        tmp_path / "toy" / "2",
        recipe=RECIPE.replace("name: toy", "name: other")
        .replace("{kind: full, epochs: 2, lr: 0.001}", "{kind: probe}")
        .replace("batch_size: 16", "batch_size: 32"),
    )
    found = changes([first, second])
    assert Change("schedule.kind", ("full", "probe")) in found
    assert Change("schedule.epochs", (2, None)) in found
    assert found[-1] == Change("train.batch_size", (16, 32))
    assert not [change for change in found if change.key in ("name", "data.root")]
    assert changes([first, first]) == []


def test_paths_are_the_same_that_lead_to_the_same_place(tmp_path: Path) -> None:
    first = bundle(tmp_path / "toy" / "1")
    deeper = bundle(tmp_path / "toy" / "more" / "1", recipe=RECIPE.replace("../../photos", "../../../photos"))
    other = bundle(tmp_path / "toy" / "more" / "2")
    assert changes([first, deeper]) == []
    assert changes([deeper, other]) == [Change("data.root", ("../../../photos", "../../photos"))]
    found = changes([bundle(tmp_path / "a" / "b"), bundle(tmp_path / "c" / "d" / "e")])
    assert found == [Change("data.root", (str(tmp_path / "photos"), str(tmp_path / "c" / "photos")))]


def test_a_recipe_of_another_version_is_compared_as_far_as_it_is_text(tmp_path: Path) -> None:
    first = bundle(tmp_path / "1")
    newer = bundle(tmp_path / "2", recipe=RECIPE + "mixing: {kind: cutmix}\n")
    assert Change("mixing.kind", (None, "cutmix")) in changes([first, newer])
    broken = bundle(tmp_path / "3", recipe="[")
    assert Change("schedule.kind", ("full", None)) in changes([first, broken])
    without = bundle(tmp_path / "4", sealed=False)
    (without.folder / "recipe.yaml").unlink()
    assert Change("schedule.kind", (None, "full")) in changes([without, first])
