"""A bundle on images that it was not made with."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from finetune import job, report
from finetune.bundle import Bundle
from finetune.diagnose import elsewhere
from finetune.diagnose.elsewhere import Elsewhere
from finetune.predict import Predictor, Score, load, score_folder
from tests.conftest import draw_classes
from tests.report.test_sourced import Evaluated, faults

Write = Callable[..., Path]


def darker(root: Path, target: Path, *, each: int | None = None) -> Path:
    """The same class folders, every image darker."""
    for file in sorted(root.rglob("*.png")):
        if each is None or int(file.stem) < each:
            place = target / file.relative_to(root)
            place.parent.mkdir(parents=True, exist_ok=True)
            ImageEnhance.Brightness(Image.open(file)).enhance(0.4).save(place)
    return target


def asked(folder: Path, images: Path) -> tuple[Bundle, Predictor, Score, Elsewhere]:
    bundle, predictor = Bundle.open(folder), load(folder)
    result = score_folder(predictor, images)
    return bundle, predictor, result, elsewhere.compared(bundle, predictor, result)


def drawn(bundle: Bundle, predictor: Predictor, result: Score, found: Elsewhere) -> Bundle:
    return elsewhere.evaluation(
        bundle,
        predictor,
        result,
        found,
        command=("finetune", "evaluate"),
        source=Path("dark"),
        check=lambda _: lambda done, total: None,
    )


def digests(folder: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle of three classes with twelve test images of each, and its images."""
    root = tmp_path_factory.mktemp("elsewhere")
    photos = draw_classes(root / "photos", {"blue": 24, "green": 24, "red": 24})
    recipe = root / "toy.yaml"
    recipe.write_text(
        f"data: {{kind: folder, root: {photos}}}\nsplit: {{kind: stratified, validation: 0, test: 0.5}}\n"
        "backbone: {name: test_resnet, weights: {kind: random}}\nschedule: {kind: probe}\nimages: {size: 32}\n"
    )
    return job.run(recipe, output=root / "run").folder, photos


def test_darker_images_are_said_to_be_darker_and_nothing_is_written(made: tuple[Path, Path], tmp_path: Path) -> None:
    folder, photos = made
    before = digests(folder)
    bundle, predictor, result, found = asked(folder, darker(photos, tmp_path / "dark"))
    assert found.drift is not None
    rows = {row["fact"]: row for row in found.drift["facts"]}
    assert rows["brightness"]["differs"]
    assert rows["brightness"]["above"]["value"] < 0.1
    assert not rows["width"]["differs"]
    assert (found.drift["part"], found.drift["own_images"], found.lacking) == ("test", 36, ())
    assert (found.seen, found.own, found.notes) == ((), (), ())
    page = report.render(drawn(bundle, predictor, result, found))
    assert "darker" in page
    assert "How robust is it?" not in page
    assert "Its own test images" in page or "its own test images" in page
    assert digests(folder) == before


def test_every_number_of_the_report_on_new_images_is_what_its_source_says(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, photos = made
    root = darker(photos, tmp_path / "dark", each=11)
    (root / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    draw_classes(root, {"blue": 12})
    evaluation = drawn(*asked(folder, root))
    assert faults(evaluation, Evaluated) == []
    kept, scored = evaluation.metrics["test"], evaluation.predictions("test")
    assert kept["accuracy"]["value"] == pytest.approx(np.mean(scored.predicted == scored.labels))
    assert kept["calibration"]["ece"] > 0
    assert [row["note"] for row in evaluation.catalog if row["split"] == "left out"] != []


def test_images_that_it_was_made_with_are_counted(made: tuple[Path, Path]) -> None:
    _, _, _, found = asked(*made)
    assert (len(found.seen), len(found.own)) == (36, 36)
    assert "the scores are optimistic" in found.notes[0]


def test_own_facts_that_were_not_taken_are_named(made: tuple[Path, Path], tmp_path: Path) -> None:
    folder, photos = made
    bundle, predictor, result, _ = asked(folder, darker(photos, tmp_path / "dark", each=4))
    kept = bundle.has
    bundle.has = lambda name: kept(name) and name != "evidence/facts.json"  # type: ignore[method-assign]
    found = elsewhere.compared(bundle, predictor, result)
    assert found.drift is not None
    assert [row["fact"] for row in found.drift["facts"]] == ["confidence"]
    assert "brightness" in found.lacking
    page = report.render(drawn(bundle, predictor, result, found))
    assert "Of its own images it is not known" in page


@pytest.mark.parametrize(
    ("split", "schedule", "own", "called"),
    [
        ("{kind: folds, folds: 3}", "probe", ("test", 3, 24), "held-out"),
        ("{kind: stratified, validation: 0.25, test: 0}", "head", ("validation", 0, 6), "validation"),
        ("{kind: stratified, validation: 0, test: 0}", "probe", ("out_of_fold", 0, 24), "held-out"),
    ],
)
def test_where_there_are_no_test_images_others_stand_for_them(
    photos: Path,
    tmp_path: Path,
    write_recipe: Write,
    split: str,
    schedule: str,
    own: tuple[str, int, int],
    called: str,
) -> None:
    recipe = write_recipe(photos, schedule=schedule)
    recipe.write_text(recipe.read_text().replace("{kind: stratified, validation: 0.25, test: 0.25}", split))
    *shared, found = asked(job.run(recipe, output=tmp_path / "run").folder, darker(photos, tmp_path / "dark"))
    assert found.drift is not None
    assert (found.drift["part"], found.drift["folds"], found.drift["own_images"]) == own
    evaluation = drawn(*shared, found)
    assert f"its own {called} images" in report.render(evaluation)
    assert faults(evaluation, Evaluated) == []


def test_a_bundle_that_was_scored_on_nothing_has_nothing_to_be_compared_with(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(photos, schedule="head")
    recipe.write_text(recipe.read_text().replace("validation: 0.25, test: 0.25", "validation: 0, test: 0"))
    *shared, found = asked(job.run(recipe, output=tmp_path / "run").folder, darker(photos, tmp_path / "dark"))
    assert found.drift is None
    assert "none to compare these with" in report.render(drawn(*shared, found))


def test_several_labels_are_compared_too(tmp_path: Path, write_recipe: Write) -> None:
    photos = draw_classes(tmp_path / "photos", {"blue": 16, "green": 16})
    lines = [
        f"photos/{name}/{n:03d}.png,{name}{'|odd' if n % 2 else ''}" for name in ("blue", "green") for n in range(16)
    ]
    table = tmp_path / "shots.csv"
    table.write_text("\n".join(["path,labels", *lines]) + "\n")
    recipe = write_recipe(photos, schedule="probe")
    data = f"{{kind: table, file: {table}, label: labels, separator: '|'}}"
    recipe.write_text(recipe.read_text().replace(f"{{kind: folder, root: {photos}}}", data))
    folder = job.run(recipe, output=tmp_path / "run").folder
    darker(photos, tmp_path / "dark")
    (tmp_path / "new.csv").write_text(table.read_text().replace("photos/", "dark/"))
    *shared, found = asked(folder, tmp_path / "new.csv")
    assert found.drift is not None
    assert (found.drift["score"], found.drift["mix"]) == ("subset_accuracy", None)
    evaluation = drawn(*shared, found)
    assert "All labels right" in report.render(evaluation)
    assert faults(evaluation, Evaluated) == []
