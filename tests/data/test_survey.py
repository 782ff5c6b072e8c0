import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from finetune.data.survey import Survey, find, survey
from finetune.errors import DataError
from finetune.recipe import file
from tests.conftest import draw, draw_classes


@pytest.fixture
def surveyed(photos: Path, write_recipe: Callable[..., Path]) -> Survey:
    (photos / "blue" / "notes.txt").write_text("x")
    recipe = file.load(write_recipe(photos))
    return survey(recipe, find(recipe))


def test_every_image_is_in_one_part_and_the_rest_is_named(surveyed: Survey) -> None:
    assert surveyed.counts() == {"train": 12, "validation": 6, "test": 6, "left_out": 1}
    assert surveyed.classes == ("blue", "green", "red")
    assert surveyed.left_out[0].key == "blue/notes.txt"


def test_the_table_has_a_row_for_everything_in_the_order_of_keys(surveyed: Survey) -> None:
    rows = list(csv.DictReader(io.StringIO(surveyed.to_csv())))
    assert len(rows) == 25
    images, rest = rows[:24], rows[24:]
    assert [row["key"] for row in images] == sorted(row["key"] for row in images)
    assert all(len(row["sha256"]) == 64 and row["label"] == row["key"].split("/")[0] for row in images)
    assert rest == [
        {"key": "blue/notes.txt", "sha256": "", "label": "", "group": "", "split": "left out", "note": rest[0]["note"]}
    ]
    assert rest[0]["note"]


def test_no_cell_of_the_table_is_a_formula(photos: Path, write_recipe: Callable[..., Path]) -> None:
    (photos / "red").rename(photos / "=red")
    recipe = file.load(write_recipe(photos))
    rows = list(csv.DictReader(io.StringIO(survey(recipe, find(recipe)).to_csv())))
    assert {row["label"] for row in rows} == {"blue", "green", "'=red"}
    assert any(row["key"] == "'=red/000.png" for row in rows)


def test_the_facts_are_those_a_plan_asks_for(photos: Path, write_recipe: Callable[..., Path]) -> None:
    recipe = file.load(write_recipe(photos))
    facts = survey(recipe, find(recipe)).facts(recipe)
    assert (facts.train, facts.validation, facts.test) == (12, 6, 6)
    assert (facts.classes, facts.smallest_class, facts.batch_size) == (3, 4, 4)
    assert not facts.pretrained


def test_an_unreadable_image_is_fatal_when_the_recipe_says_so(photos: Path, write_recipe: Callable[..., Path]) -> None:
    (photos / "red" / "000.png").write_bytes(b"")
    recipe = file.load(write_recipe(photos), overrides=["data.on_bad_image=error"])
    with pytest.raises(DataError, match=r"red/000\.png"):
        survey(recipe, find(recipe))


def test_a_table_is_surveyed_with_its_groups_and_splits(photos: Path, write_recipe: Callable[..., Path]) -> None:
    rows = []
    for image in sorted(photos.rglob("*.png")):
        part = "test" if image.stem > "005" else "train"
        rows.append(f"{image.relative_to(photos).as_posix()},{image.parent.name},{part},{image.stem}")
    (photos / "shots.csv").write_text("\n".join(["path,label,part,shot", *rows]))
    data = f"data={{kind: table, file: {photos / 'shots.csv'}, split: part, group: shot}}"
    path = write_recipe(photos)
    recipe = file.load(path, overrides=[data, "split={kind: given, test: test}"])
    found = survey(recipe, find(recipe))
    assert found.counts() == {"train": 18, "validation": 0, "test": 6, "left_out": 0}
    table = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert {(row["group"], row["split"]) for row in table} == {
        *((f"00{number}", "train") for number in range(6)),
        *((f"00{number}", "test") for number in (6, 7)),
    }
    pooled = file.load(path, overrides=[data, "data.pool=true", "split.kind=grouped"])
    assert survey(pooled, find(pooled)).counts() == {"train": 12, "validation": 6, "test": 6, "left_out": 0}
    unsaid = file.load(path, overrides=[data])
    with pytest.raises(DataError, match="beside split folders on disk"):
        survey(unsaid, find(unsaid))


def test_several_labels_are_split_and_written_down(photos: Path, write_recipe: Callable[..., Path]) -> None:
    rows = [
        f"{image.relative_to(photos).as_posix()},{image.parent.name}|any" for image in sorted(photos.rglob("*.png"))
    ]
    (photos / "shots.csv").write_text("\n".join(["path,label", *rows]))
    recipe = file.load(
        write_recipe(photos), overrides=[f"data={{kind: table, file: {photos / 'shots.csv'}, separator: '|'}}"]
    )
    found = survey(recipe, find(recipe))
    assert found.classes == ("any", "blue", "green", "red")
    assert sum(found.counts().values()) == 24
    assert {row["label"] for row in csv.DictReader(io.StringIO(found.to_csv()))} == {"any|blue", "any|green", "any|red"}


def test_notes_count_what_was_done_to_images(photos: Path, write_recipe: Callable[..., Path]) -> None:
    from PIL import Image

    Image.new("RGBA", (40, 40), (255, 0, 0, 10)).save(photos / "red" / "clear.png")
    recipe = file.load(write_recipe(photos))
    notes = survey(recipe, find(recipe)).notes
    assert any(note.startswith("1 image: ") and "alpha" in note for note in notes)


def without_split(photos: Path, write_recipe: Callable[..., Path], schedule: str) -> Survey:
    path = write_recipe(photos, schedule=schedule)
    path.write_text(path.read_text().replace("split: {kind: stratified, validation: 0.25, test: 0.25}\n", ""))
    recipe = file.load(path)
    return survey(recipe, find(recipe))


@pytest.mark.parametrize("schedule", ["probe", "lp_ft", "auto"])
def test_a_schedule_with_a_probe_holds_out_no_validation_images_unless_it_is_told_to(
    schedule: str, photos: Path, write_recipe: Callable[..., Path]
) -> None:
    assert without_split(photos, write_recipe, schedule).counts() == {
        "train": 21,
        "validation": 0,
        "test": 3,
        "left_out": 0,
    }
    assert without_split(photos, write_recipe, "head").counts()["validation"] == 3


@pytest.mark.parametrize("schedule", ["probe", "auto"])
def test_what_chooses_on_folds_learns_from_validation_images_too_and_says_so(
    schedule: str, photos: Path, write_recipe: Callable[..., Path]
) -> None:
    recipe = file.load(write_recipe(photos, schedule=schedule))
    found = survey(recipe, find(recipe))
    assert found.counts() == {"train": 18, "validation": 0, "test": 6, "left_out": 0}
    assert found.notes == (
        "6 validation images are learnt from too: what ships is chosen on folds of all that is not for testing",
    )
    assert found.facts(recipe).train == 18
    apart = file.load(write_recipe(photos, schedule="full"))
    assert found.split.test.keys == survey(apart, find(apart)).split.test.keys


def test_lp_ft_keeps_validation_images_to_choose_the_epoch_on(photos: Path, write_recipe: Callable[..., Path]) -> None:
    recipe = file.load(write_recipe(photos, schedule="lp_ft"))
    found = survey(recipe, find(recipe))
    assert (found.counts()["validation"], found.notes) == (6, ())


def test_the_largest_class_is_counted_among_training_images(photos: Path, write_recipe: Callable[..., Path]) -> None:
    for number in (0, 1, 2, 3):
        (photos / "red" / f"00{number}.png").unlink()
    recipe = file.load(write_recipe(photos))
    facts = survey(recipe, find(recipe)).facts(recipe)
    assert (facts.smallest_class, facts.largest_class) == (2, 4)


def test_how_large_images_are_is_asked_where_it_is_up_to_the_plan(
    photos: Path, write_recipe: Callable[..., Path]
) -> None:
    recipe = file.load(write_recipe(photos, schedule="auto"))
    found = survey(recipe, find(recipe))
    assert found.facts(recipe).short_side == 40
    for sample in found.split.train.samples[1:]:
        Image.new("RGB", (90, 70)).save(sample.file)
    assert found.facts(recipe).short_side == 70
    found.split.train.samples[0].file.write_bytes(b"nothing")
    assert found.facts(recipe).short_side == 70
    assert found.facts(file.load(write_recipe(photos))).short_side is None
    for sample in found.split.train.samples:
        sample.file.unlink()
    assert found.facts(recipe).short_side is None


def test_groups_are_found_in_names(tmp_path: Path, write_recipe: Callable[..., Path]) -> None:
    photos = draw_classes(tmp_path / "photos", {"blue": 24, "red": 24})
    recipe = file.load(write_recipe(photos), overrides=[r"split={kind: grouped, pattern: '(\d\d)\d\.png'}"])
    found = survey(recipe, find(recipe))
    groups = [{sample.group for sample in part.samples} for part in found.parts.values()]
    assert set.union(*groups) == {"00", "01", "02"}
    assert sum(map(len, groups)) == 3
    assert found.counts()["test"] > 0


def test_a_stored_split_is_kept_when_images_come(
    photos: Path, tmp_path: Path, write_recipe: Callable[..., Path]
) -> None:
    recipe = file.load(write_recipe(photos))
    before = survey(recipe, find(recipe))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "catalog.csv").write_text(before.to_csv())
    draw(photos / "red" / "new.png", hue=(200, 10, 10), seed=99)
    kept = file.load(write_recipe(photos), overrides=[f"split={{kind: stored, of: {tmp_path / 'run'}}}", "seed=7"])
    after = survey(kept, find(kept))
    assert after.split.test.keys == before.split.test.keys
    assert after.split.validation.keys == before.split.validation.keys
    assert set(after.split.train.keys) == {*before.split.train.keys, "red/new.png"}
    assert after.notes[0] == "1 image is new since the split was made"


def test_where_every_image_is_held_out_the_table_says_in_which_fold(
    photos: Path, write_recipe: Callable[..., Path]
) -> None:
    recipe = file.load(write_recipe(photos), overrides=["split={kind: folds, folds: 4, validation: 0.25}"])
    whole = survey(recipe, find(recipe))
    assert whole.counts() == {"train": 18, "validation": 6, "test": 0, "left_out": 0, "folds": 4}
    assert [fold.counts() for fold in whole.folds] == [{"train": 12, "validation": 6, "test": 6, "left_out": 0}] * 4
    assert whole.facts(recipe).folds == 4
    rows = list(csv.DictReader(io.StringIO(whole.to_csv())))
    for number, fold in enumerate(whole.folds, start=1):
        assert {row["key"] for row in rows if row["note"] == f"fold {number}"} == set(fold.split.test.keys)


def test_a_pattern_names_the_groups_that_folds_keep_whole(photos: Path, write_recipe: Callable[..., Path]) -> None:
    recipe = file.load(write_recipe(photos), overrides=[r"split={kind: folds, folds: 4, pattern: '(\d)\.png'}"])
    whole = survey(recipe, find(recipe))
    groups = [{sample.group for sample in fold.split.test.samples} for fold in whole.folds]
    assert [len(found) for found in groups] == [2] * 4
    assert len(set().union(*groups)) == 8
