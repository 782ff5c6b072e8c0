"""Images with any number of labels, from a catalog to a bundle that answers by itself."""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import finetune
from finetune import job
from finetune.cli.app import main
from finetune.data.adapters import folder
from finetune.data.catalog import Catalog, Sample
from finetune.data.survey import find
from finetune.errors import UsageError
from finetune.predict import score, score_folder
from finetune.recipe import file as recipe_file
from finetune.recipe.dataset import FolderData
from finetune.recipe.schema import Recipe
from finetune.scores.metrics import scores
from finetune.scores.thresholds import choose
from tests.conftest import SCHEDULES, draw
from tests.laws import Crash, CutAfter, assert_same

Write = Callable[..., Path]
LABELS = ("blue", "rare", "red")
RARE = 6  # images, too few to choose a threshold on


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """Ninety images, each of which may be reddish, bluish, both or neither; some of these are hard to tell. Six have a
    label that nothing shows.
    """
    generator = np.random.default_rng(0)
    root = tmp_path / "marked"
    for number in range(90):
        red, blue = generator.random(2) < 0.5
        hue = (90 + 60 * red + generator.normal(0, 16), 120, 90 + 60 * blue + generator.normal(0, 16))
        name = f"{'r' if red else ''}{'b' if blue else ''}{'x' if number % 15 == 0 else ''}"
        draw(root / (name or "none") / f"{number:03d}.png", hue=hue, seed=number, size=(32, 32))
    return root


def catalog(recipe: Recipe) -> Catalog:
    """The letters of the folder are the labels of an image; a table says them itself."""
    if not isinstance(recipe.data, FolderData):
        return find(recipe)
    found = folder.read(recipe.data)
    letters = {"b": "blue", "x": "rare", "r": "red"}

    def labelled(sample: Sample) -> Sample:
        name = str(sample.label)
        labels = tuple(label for letter, label in letters.items() if letter in name and name != "none")
        return replace(sample, label=labels)

    return Catalog(tuple(map(labelled, found.samples)), LABELS)


@pytest.fixture(autouse=True)
def _labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "find", catalog)


def test_a_probe_of_any_number_of_labels_ends_in_a_bundle_that_answers_by_itself(
    marked: Path, tmp_path: Path, write_recipe: Write
) -> None:
    bundle = job.run(write_recipe(marked, schedule="probe"), output=tmp_path / "run")
    bundle.verify()
    assert bundle.facts["multi_label"] is True
    assert bundle.facts["classes"] == list(LABELS)
    assert bundle.facts["head"]["kind"] == "linear"
    assert set(bundle.metrics) == {"test", "out_of_fold", "thresholds", "images"}
    areas = {row["class"]: row["auroc"]["value"] for row in bundle.metrics["test"]["per_class"]}
    assert min(areas["red"], areas["blue"]) > 0.9
    assert bundle.metrics["test"]["macro_f1"]["low"] <= bundle.metrics["test"]["macro_f1"]["value"]
    trials = json.loads(bundle.read("evidence/probe.json"))
    assert {row["trial"]["family"] for row in trials} == {"logistic"}
    test = bundle.predictions("test")
    again = finetune.load(bundle.folder).predict([marked / key for key in test.keys])
    assert again.logits.tobytes() == test.logits.tobytes()
    assert np.array_equal(again.predicted, test.predicted)
    assert again.predicted.dtype == np.bool_


@pytest.mark.parametrize("form", ["separator", "classes"])
def test_a_table_of_several_labels_is_learnt_from_asked_and_scored(
    form: str, marked: Path, tmp_path: Path, write_recipe: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(marked, schedule="probe")
    samples = catalog(recipe_file.load(recipe)).samples
    rows = [(f"marked/{one.key}", *one.labels) for one in samples]
    columns = {
        "separator": ["path,label", *(f"{path},{'|'.join(labels)}" for path, *labels in rows)],
        "classes": [
            f"path,{','.join(LABELS)}",
            *(f"{path},{','.join('01'[name in labels] for name in LABELS)}" for path, *labels in rows),
        ],
    }
    table = tmp_path / "marked.csv"
    table.write_text("\n".join(columns[form]))
    named = {"separator": "separator: '|'", "classes": f"classes: [{', '.join(LABELS)}]"}[form]
    data = f"data={{kind: table, file: {table}, {named}}}"
    bundle = job.run(recipe, output=tmp_path / "run", overrides=[data])
    area = bundle.metrics["test"]["macro_auroc"]
    assert area["low"] < area["value"] < area["high"]
    assert {row["class"] for row in bundle.metrics["thresholds"]["per_class"]} == set(LABELS)
    main(["evaluate", str(bundle.folder), str(table), "--json"])
    assert json.loads(capsys.readouterr().out)["scores"]["macro_auroc"]["value"] > 0.5


@pytest.mark.parametrize(("schedule", "part"), [("probe", "out_of_fold"), ("head", "validation")])
def test_thresholds_are_those_of_images_that_are_not_for_testing(
    schedule: str, part: str, marked: Path, tmp_path: Path, write_recipe: Write
) -> None:
    bundle = job.run(write_recipe(marked, schedule=schedule), output=tmp_path / "run", overrides=["split.test=0.3"])
    asked, chosen = bundle.predictions(part), bundle.metrics["thresholds"]
    expected = choose(replace(asked, thresholds=None))
    assert chosen["part"] == part
    assert bundle.facts["thresholds"] == [one.value for one in expected]
    assert [(row["low"], row["high"]) for row in chosen["per_class"]] == [(one.low, one.high) for one in expected]
    of_test = [one.value for one in choose(bundle.predictions("test"))]
    assert bundle.facts["thresholds"] != of_test
    rows = {row["class"]: row for row in chosen["per_class"]}
    assert rows["rare"]["value"] == 0.5
    assert rows["rare"]["reason"].startswith("fewer than 10 images")
    assert any(note.startswith("labels answered above 0.5") and "rare" in note for note in bundle.facts["notes"])
    for name in ("test", part):
        assert bundle.predictions(name).thresholds.tolist() == bundle.facts["thresholds"]
        assert scores(bundle.predictions(name)).items() <= bundle.metrics[name].items()


@pytest.mark.parametrize("schedule", ["full", "gradual", "stages", "lp_ft", "phases"])
def test_every_schedule_takes_any_number_of_labels(
    schedule: str, marked: Path, tmp_path: Path, write_recipe: Write
) -> None:
    written = re.sub(r"epochs: \d", "epochs: 1", SCHEDULES[schedule])
    recipe = write_recipe(marked, schedule=written, more=", balance: weights, label_smoothing: 0.05, views: 2")
    if schedule in ("full", "gradual"):
        recipe.write_text(recipe.read_text().replace(", views: 2", ""))
    bundle = job.run(recipe, output=tmp_path / "run", overrides=["train.batch_size=16"])
    assert all(0 < line["validation_loss"] < 2 for line in bundle.history)
    best = min(bundle.history, key=lambda line: line["validation_loss"])
    assert best["best"]
    assert bundle.metrics["thresholds"]["part"] == "validation"
    test = bundle.predictions("test")
    again = finetune.load(bundle.folder).predict([marked / key for key in test.keys])
    assert again.logits.tobytes() == test.logits.tobytes()


def test_auto_compares_by_the_mean_of_the_binary_log_losses(marked: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(marked, schedule="{kind: auto, budget: 1h}")
    bundle = job.run(recipe, output=tmp_path / "run", overrides=["train.batch_size=16"])
    tried = json.loads(bundle.read("evidence/choice.json"))
    assert len(tried) > 2
    best = [row for row in tried if row["verdict"] in ("the baseline", "taken")][-1]
    held_out = bundle.metrics["out_of_fold"]
    if best["images"] == held_out["errors"]["images"]:
        assert best["log_loss"] == pytest.approx(held_out["log_loss"]["value"], abs=1e-6)
    assert bundle.metrics["thresholds"]["part"] == "out_of_fold"
    assert held_out["log_loss"]["value"] < 0.6


def test_a_cut_run_goes_on_to_the_same_bytes(marked: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(marked, schedule="head")
    whole = job.run(recipe, output=tmp_path / "a" / "whole")
    with pytest.raises(Crash):
        job.run(recipe, output=tmp_path / "a" / "cut", show=CutAfter(15))
    assert_same(whole.folder, job.resume(tmp_path / "a" / "cut").folder)


def test_without_held_out_images_every_label_keeps_a_half(marked: Path, tmp_path: Path, write_recipe: Write) -> None:
    none = ["split.test=0", "split.validation=0"]
    bundle = job.run(write_recipe(marked, schedule="head"), output=tmp_path / "run", overrides=none)
    assert bundle.facts["thresholds"] == [0.5] * 3
    assert bundle.facts["notes"][-1] == "all labels are answered above 0.5: no image was held out to choose it on"
    assert set(bundle.metrics) == {"thresholds", "images"}


def test_predict_and_the_report_speak_of_labels(
    marked: Path, tmp_path: Path, write_recipe: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = job.run(write_recipe(marked, schedule="probe"), output=tmp_path / "run")
    test = bundle.predictions("test")
    paths = [str(marked / key) for key in test.keys]
    (tmp_path / "broken.png").write_text("no image")
    asked = ["predict", str(bundle.folder), *paths, str(tmp_path / "broken.png")]
    main([*asked, "--json", "--output", str(tmp_path / "answers.csv")])
    said = json.loads(capsys.readouterr().out)["images"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "answers.csv").read_text())))
    for number in range(len(test)):
        named = {LABELS[place] for place in np.flatnonzero(test.predicted[number])}
        assert {answer["class"] for answer in said[number]["answers"]} == named
        shares = [answer["probability"] for answer in said[number]["answers"]]
        assert shares == sorted(shares, reverse=True)
        assert list(said[number]["probabilities"].values()) == pytest.approx(test.probabilities[number].tolist())
        assert set(filter(None, rows[number]["labels"].split("|"))) == named
        expected = [f"{share:.6f}" for share in test.probabilities[number]]
        assert [rows[number][f"probability of {name}"] for name in LABELS] == expected
    assert said[-1]["probabilities"] == dict.fromkeys(LABELS)
    assert rows[-1]["error"]
    with pytest.raises(SystemExit):
        main([*asked, "--top", "2"])
    assert "--top has no effect" in capsys.readouterr().err
    page = (bundle.folder / "report.html").read_text()
    assert "Missed and added" in page
    assert "3 labels" in page
    assert "Confusions" not in page
    assert "images held out in turn" in page


def test_a_bundle_of_labels_is_scored_on_a_catalog_and_refuses_class_folders(
    marked: Path, tmp_path: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(marked, schedule="probe")
    bundle = job.run(recipe, output=tmp_path / "run")
    predictor = finetune.load(bundle.folder)
    known = catalog(recipe_file.load(recipe))
    rows = [place for place, key in enumerate(known.keys) if key in bundle.predictions("test").keys]
    found = score(predictor, known.select(rows))
    assert found.scores["log_loss"]["value"] == pytest.approx(bundle.metrics["test"]["log_loss"]["value"])
    assert found.scores["macro_f1"]["value"] == pytest.approx(bundle.metrics["test"]["macro_f1"]["value"])
    with pytest.raises(UsageError, match="its images have one label each, and this bundle answers with any number"):
        score_folder(predictor, marked)
    with pytest.raises(UsageError, match="one label each, and the predictor answers with any number of labels"):
        score(predictor, replace(known, samples=tuple(replace(one, label="red") for one in known.samples)))
    with pytest.raises(UsageError, match="other classes than the predictor"):
        score(predictor, Catalog((), ("red",)))


def test_folds_answer_by_the_thresholds_of_their_own_models(marked: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(marked, schedule="probe")
    bundle = job.run(recipe, output=tmp_path / "run", overrides=["split={kind: folds, folds: 3}"])
    bundle.verify()
    joined = bundle.predictions("test")
    assert len(joined) == 90
    assert joined.thresholds.shape == (90, 3)
    folds = {row["key"]: row["note"] for row in bundle.catalog}
    by_fold = {(folds[key], tuple(row)) for key, row in zip(joined.keys, joined.thresholds.tolist(), strict=True)}
    assert len(by_fold) == 3
    assert len({row for _, row in by_fold}) > 1
    assert np.array_equal(joined.predicted, joined.probabilities > joined.thresholds)
    assert scores(joined).items() <= bundle.metrics["test"].items()
    assert len(bundle.facts["thresholds"]) == 3  # those of what ships
    assert "3-fold" in re.sub("<[^>]*>", "", (bundle.folder / "report.html").read_text())
