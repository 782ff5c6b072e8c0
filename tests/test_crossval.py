"""The job done for each fold: what is joined, that a cut run goes on exactly, and what is left of it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune import job
from finetune.bundle import Bundle
from finetune.data import ledger
from finetune.errors import BundleError, Stopped
from finetune.predict import load
from finetune.runtime import StopRequests
from finetune.scores.metrics import scores
from finetune.scores.reliability import trust
from tests.conftest import draw, draw_alike
from tests.laws import Crash, CutAfter, CutAfterSigns, assert_same, signs_of_life, steps_of

Write = Callable[..., Path]
FOLDS = "split={kind: folds, folds: 3}"
PROBE = "schedule={kind: probe}"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Images that nobody could tell apart without a mistake."""
    return draw_alike(tmp_path / "photos", {"blue": 12, "green": 11, "red": 10})


def run(recipe: Path, output: Path, *more: str, **given: Any) -> Bundle:
    return job.run(recipe, output=output, overrides=[FOLDS, *more], **given)


def fold_of(bundle: Bundle) -> dict[str, int]:
    return {row["key"]: int(row["note"].removeprefix("fold ")) for row in bundle.catalog}


@pytest.mark.parametrize("schedule", ["probe", "full"])
def test_each_image_is_answered_by_the_model_that_its_fold_alone_would_leave(
    schedule: str, photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(photos, schedule=schedule)
    bundle = run(recipe, tmp_path / "run", "split.validation=0")
    bundle.verify()
    joined, folds = bundle.predictions("test"), fold_of(bundle)
    assert joined.keys == tuple(sorted(folds))
    assert sorted({*folds.values()}) == [1, 2, 3]
    rows = [{**row, "split": "test" if row["note"] == "fold 2" else "train", "note": ""} for row in bundle.catalog]
    lines = [",".join(row[column] for column in ledger.COLUMNS) for row in rows]
    (tmp_path / "second.csv").write_text("\n".join([",".join(ledger.COLUMNS), *lines]) + "\n")
    alone = job.run(recipe, output=tmp_path / "alone", overrides=["split={kind: stored, of: second.csv}"])
    answers = alone.predictions("test")
    assert set(answers.keys) == {key for key, fold in folds.items() if fold == 2}
    places = [joined.keys.index(key) for key in answers.keys]
    assert np.array_equal(joined.logits[places], answers.logits)


def test_the_score_is_that_of_all_answers_together_and_each_fold_has_its_line(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    bundle = run(write_recipe(photos), tmp_path / "run", PROBE)
    joined, folds = bundle.predictions("test"), fold_of(bundle)
    assert bundle.metrics["test"] == {**scores(joined), **trust(joined)}
    right = joined.predicted == joined.labels
    assert bundle.metrics["test"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert 0.4 < right.mean() < 1
    assert bundle.metrics["images"] == {"train": 33, "validation": 0, "test": 0, "left_out": 0, "folds": 3}
    lines = bundle.read_json("evidence/folds.json")
    assert [line["fold"] for line in lines] == [1, 2, 3]
    for line in lines:
        own = [hit for key, hit in zip(joined.keys, right, strict=True) if folds[key] == line["fold"]]
        assert line["images"] == len(own)
        assert line["learnt_from"] == 33 - len(own)
        assert line["scores"]["accuracy"]["value"] == pytest.approx(np.mean(own))


def test_what_ships_has_learnt_from_all_images_and_answers_by_itself(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(photos)
    bundle = run(recipe, tmp_path / "run", PROBE)
    everything = job.run(
        recipe, output=tmp_path / "all", overrides=["split={kind: stratified, validation: 0, test: 0}", PROBE]
    )
    assert bundle.read("model.safetensors") == everything.read("model.safetensors")
    assert not (bundle.folder / "checkpoints").exists()
    reference = bundle.read_json("reference/reference.json")
    answers = load(bundle.folder).predict([photos / line["key"] for line in reference])
    assert np.array_equal(answers.logits, np.array([line["logits"] for line in reference], dtype=np.float32))
    assert {line["part"] for line in bundle.timings} >= {"fold 1", "fold 2", "fold 3", "probe"}


@pytest.mark.parametrize("schedule", ["full", "lp_ft"])
def test_a_run_cut_in_any_fold_and_resumed_equals_the_uncut_one(
    schedule: str, photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(photos, schedule=schedule)
    uncut, cut = tmp_path / "a" / "uncut", tmp_path / "a" / "cut"
    steps = steps_of(lambda show: run(recipe, uncut, show=show))
    for after in (steps // 8, 3 * steps // 8, steps - 1):
        with pytest.raises(Crash):
            run(recipe, cut, show=CutAfter(after))
        assert not any("elsewhere" in note for note in job.resume(cut).facts["notes"])
        assert_same(uncut, cut)
        shutil.rmtree(cut)


def test_a_run_cut_at_any_sign_of_life_equals_the_uncut_one(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos)
    uncut, cut = tmp_path / "a" / "uncut", tmp_path / "a" / "cut"
    signs = signs_of_life(lambda show: run(recipe, uncut, PROBE, show=show))
    for after in range(1, signs, signs // 8):
        with pytest.raises(Crash):
            run(recipe, cut, PROBE, show=CutAfterSigns(after))
        job.resume(cut)
        assert_same(uncut, cut)
        shutil.rmtree(cut)


def test_a_fold_that_had_not_begun_in_earnest_begins_again(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos)
    uncut, cut = tmp_path / "a" / "uncut", tmp_path / "a" / "cut"
    run(recipe, uncut, PROBE)
    with pytest.raises(Crash):
        run(recipe, cut, PROBE, show=CutAfterSigns(1))
    shutil.rmtree(cut / "checkpoints", ignore_errors=True)
    Bundle.create(cut / "checkpoints" / "folds" / "1")
    job.resume(cut)
    assert_same(uncut, cut)


def test_folds_that_are_complete_are_not_done_again(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    class UntilThird(job.Silent):
        said: tuple[str, ...] = ()

        def say(self, text: str) -> None:
            self.said += (text,)
            if text.startswith("fold 3 of 3"):
                raise Crash

    watching = UntilThird()
    with pytest.raises(Crash):
        run(write_recipe(photos), tmp_path / "run", PROBE, show=watching)
    assert any(text.startswith("fold 1 of 3: 22 images to learn from, 11 held out") for text in watching.said)
    with pytest.raises(Crash):
        job.resume(tmp_path / "run", show=(again := UntilThird()))
    assert not any(text.startswith(("fold 1", "fold 2")) for text in again.said)
    assert any("after fold 2" in text for text in again.said)


def test_images_that_come_in_between_are_refused(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    with pytest.raises(Crash):
        run(write_recipe(photos), tmp_path / "run", show=CutAfter(2))
    draw(photos / "red" / "new.png", hue=(200, 0, 0), seed=99)
    with pytest.raises(BundleError, match=r"now:  red/new.png"):
        job.resume(tmp_path / "run")


def test_a_request_to_stop_in_a_fold_names_the_run_and_not_the_fold(
    photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[StopRequests] = []
    real = StopRequests.check

    def check(self: StopRequests) -> None:
        asked.append(self)
        real(self)

    monkeypatch.setattr(StopRequests, "check", check)

    class InSecond(job.Silent):
        def progress(self, what: str, done: int, total: int) -> None:
            if what.startswith("fold 2"):
                asked[-1].note(2, None)

    with pytest.raises(Stopped) as stopped:
        run(write_recipe(photos), tmp_path / "run", PROBE, show=InSecond())
    monkeypatch.undo()
    message = str(stopped.value)
    assert "1 of 3 folds is complete and kept; go on with\n" in message
    assert message.endswith(f"finetune resume {tmp_path / 'run'}")
    assert job.resume(tmp_path / "run").complete


def test_groups_stay_whole_and_their_score_is_by_group(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    bundle = run(write_recipe(photos), tmp_path / "run", PROBE, r"split={kind: folds, folds: 3, pattern: '(\d).png'}")
    joined, folds = bundle.predictions("test"), fold_of(bundle)
    groups: dict[str, set[int]] = {}
    for row in bundle.catalog:
        groups.setdefault(row["group"], set()).add(folds[row["key"]])
    assert all(len(places) == 1 for places in groups.values())
    assert joined.groups == tuple(row["group"] for row in bundle.catalog)
