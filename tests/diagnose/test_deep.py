"""A deep look at small folders with an untrained network, which tells hues apart."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune import job
from finetune.audit.audit import Audit, audit
from finetune.audit.gather import Gathered, gather
from finetune.audit.related import related
from finetune.cli import main
from finetune.data.catalog import Catalog
from finetune.diagnose.deep import deepened, frozen
from finetune.errors import Stopped, WeightsError
from finetune.frozen.extract import Extractor
from finetune.recipe import file
from finetune.recipe.schema import Recipe
from tests.conftest import draw_alike, draw_classes

Write = Callable[..., Path]


def quiet(what: str) -> Callable[[int, int], None]:
    return lambda done, total: None


def looked(recipe: Recipe, known: Gathered | None = None) -> Audit:
    return audit(deepened(known or gather(recipe), recipe, frozen(recipe), check=quiet))


@pytest.fixture
def hues(tmp_path: Path) -> Path:
    """Three classes of twenty images that are easily told apart."""
    return draw_classes(tmp_path / "hues", {"blue": 20, "green": 20, "red": 20})


def test_labels_that_are_wrong_are_found_with_the_right_ones(hues: Path, write_recipe: Write) -> None:
    for name in ("000.png", "001.png", "002.png"):
        shutil.move(hues / "red" / name, hues / "blue" / f"wrong {name}")
    recipe = file.load(write_recipe(hues, schedule="probe"))
    found = looked(recipe)
    issues = [one for one in found.findings if one.kind == "label-issue"]
    assert {one.keys[0] for one in issues} <= {f"blue/wrong 00{n}.png" for n in range(3)}
    assert len(issues) >= 2
    assert {((one.figures or {})["given"], (one.figures or {})["suggested"]) for one in issues} == {("blue", "red")}
    assert found.known.deep is not None
    assert found.known.deep.held_out.all()
    assert found.known.deep.skill is not None
    assert found.known.deep.skill > 0.5
    assert found.known.deep.leak is None


def test_what_leaked_test_images_do_to_the_score_is_measured(tmp_path: Path, write_recipe: Write) -> None:
    root = tmp_path / "set"
    draw_alike(root / "train", dict.fromkeys("ab", 40), apart=6, spread=20, seed=1)
    draw_alike(root / "test", dict.fromkeys("ab", 12), apart=6, spread=20, seed=2)
    for name in "ab":
        for number in range(6):
            shutil.copy(root / "train" / name / f"{number:03d}.png", root / "test" / name / f"copy {number}.png")
    overrides = ["split={kind: given, test: test}"]
    found = looked(file.load(write_recipe(root, schedule="probe"), overrides=overrides))
    leak = found.to_dict()["deep"]["test"]
    assert (leak["images"], leak["leaked"]) == (36, 12)
    assert leak["difference"]["value"] == pytest.approx(
        leak["all"]["value"] - leak["without_leaked"]["value"], abs=2e-4
    )
    for name in ("all", "without_leaked", "difference"):
        assert leak[name]["low"] <= leak[name]["value"] <= leak[name]["high"]
    assert leak["difference"]["low"] < leak["difference"]["high"]
    assert len(found.leaked) == 12
    for name in "ab":
        for path in (root / "test" / name).glob("0*.png"):
            path.unlink()
    leak = looked(file.load(write_recipe(root, schedule="probe"), overrides=overrides)).to_dict()["deep"]["test"]
    assert (leak["leaked"], leak["without_leaked"], leak["difference"]) == (12, None, None)


def test_copies_and_groups_are_held_out_together(hues: Path, write_recipe: Write) -> None:
    Image.open(hues / "red" / "000.png").save(hues / "red" / "near.jpg", quality=95)
    shutil.copy(hues / "blue" / "000.png", hues / "blue" / "copy.png")
    recipe = file.load(write_recipe(hues, schedule="probe"))
    known = gather(recipe)
    samples = tuple(
        replace(sample, group="walk") if sample.key in ("green/001.png", "green/002.png") else sample
        for sample in known.catalog.samples
    )
    known = replace(known, catalog=replace(known.catalog, samples=samples))
    home = related(known)
    assert home["green/002.png"] == "green/001.png"
    assert home["blue/copy.png"] == "blue/000.png"
    seen: list[tuple[str, ...]] = []

    from finetune.diagnose import deep

    def folds(labels: np.ndarray, groups: tuple[str, ...], **options: object) -> np.ndarray:
        seen.append(groups)
        return original(labels, groups, **options)  # type: ignore[arg-type]

    original = deep.folds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deep, "folds", folds)
        looked(recipe, known)
    whole = dict(zip([sample.key for sample in known.seen], seen[0], strict=True))
    assert whole["green/001.png"] == whole["green/002.png"]
    assert whole["blue/copy.png"] == whole["blue/000.png"]


def test_what_was_computed_is_there_for_a_run_and_for_the_next_look(
    hues: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    path = write_recipe(hues, schedule="probe")
    first = looked(file.load(path)).to_dict()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a feature is computed again")

    monkeypatch.setattr(Extractor, "_run", fail)
    assert looked(file.load(path)).to_dict() == first
    assert job.run(path, output=tmp_path / "bundle").complete


def test_of_any_number_of_labels_each_has_a_probability_and_is_asked_for(hues: Path, write_recipe: Write) -> None:
    recipe = file.load(write_recipe(hues, schedule="probe"))
    known = gather(recipe)
    wrong = {"blue/000.png": ("red",), "blue/001.png": ("blue", "red")}
    samples = tuple(
        replace(sample, label=wrong.get(sample.key, (str(sample.label),))) for sample in known.catalog.samples
    )
    found = looked(recipe, replace(known, catalog=Catalog(samples, known.catalog.classes)))
    deep = found.known.deep
    assert deep is not None
    assert ((deep.probabilities >= 0) & (deep.probabilities <= 1)).all()
    assert deep.accuracy is None
    issues = {one.keys[0]: one.figures or {} for one in found.findings if one.kind == "label-issue"}
    assert {key: issues[key]["suggested"] for key in wrong} == dict.fromkeys(wrong, "blue")


def test_where_nothing_can_be_held_out_the_reason_is_given(tmp_path: Path, write_recipe: Write) -> None:
    recipe = file.load(write_recipe(draw_classes(tmp_path / "one", {"a": 1, "b": 1}), schedule="probe"))
    found = looked(recipe)
    assert found.known.deep is not None
    assert "nothing can be held out" in found.known.deep.reason
    assert not found.known.deep.held_out.any()
    alone = draw_classes(tmp_path / "two", {"a": 5})
    (alone / "b").mkdir()
    (alone / "b" / "1.png").write_bytes(b"<html>")
    found = looked(file.load(write_recipe(alone, schedule="probe")))
    assert found.known.deep is not None
    assert found.known.deep.reason == "there are no two classes with images that can be read"


def test_where_no_image_can_be_read_there_is_nothing_to_see(tmp_path: Path, write_recipe: Write) -> None:
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "1.png").write_bytes(b"<html>")
    found = looked(file.load(write_recipe(tmp_path / "set", schedule="probe")))
    assert found.known.deep is not None
    assert len(found.known.deep.keys) == 0
    assert found.to_dict()["deep"]["images"] == 0


def test_classes_without_a_readable_image_have_no_probability(hues: Path, write_recipe: Write) -> None:
    (hues / "aaa").mkdir()
    (hues / "aaa" / "1.png").write_bytes(b"<html>")
    found = looked(file.load(write_recipe(hues, schedule="probe")))
    assert found.known.deep is not None
    assert found.known.catalog.classes[0] == "aaa"
    assert (found.known.deep.probabilities[:, 0] == 0).all()
    assert found.known.deep.probabilities.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["kind: grouped, validation: 0, test: 0.2", "kind: folds, folds: 3"])
def test_groups_that_the_split_finds_in_names_are_held_out_together(
    kind: str, hues: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []

    from finetune.diagnose import deep

    def folds(labels: np.ndarray, groups: tuple[str, ...], **options: object) -> np.ndarray:
        seen.append(groups)
        return original(labels, groups, **options)  # type: ignore[arg-type]

    original = deep.folds
    monkeypatch.setattr(deep, "folds", folds)
    split = rf"split={{{kind}, pattern: '([a-z]+/\d\d)'}}"
    found = looked(file.load(write_recipe(hues, schedule="probe"), overrides=[split]))
    whole = dict(zip([sample.key for sample in found.known.seen], seen[0], strict=True))
    assert len({whole[f"{name}/{number:03}.png"] for name in ("blue", "red") for number in range(10)}) == 2
    assert found.known.deep is not None
    assert found.known.deep.accuracy is not None


def test_who_watches_may_stop_it(hues: Path, write_recipe: Write) -> None:
    recipe = file.load(write_recipe(hues, schedule="probe"))
    seen = []

    def check(what: str) -> Callable[[int, int], None]:
        def called(done: int, total: int) -> None:
            seen.append(what)
            if what == "heads":
                raise Stopped("stopped", signal=2)

        return called

    with pytest.raises(Stopped):
        deepened(gather(recipe), recipe, frozen(recipe), check=check)
    assert set(seen) == {"features", "heads"}


def test_weights_that_are_not_there_are_an_error_before_anything_is_read(
    hues: Path, write_recipe: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(hues, schedule="probe")
    weights = "backbone.weights={kind: file, path: gone.safetensors}"
    with pytest.raises(WeightsError):
        frozen(file.load(recipe, overrides=[weights]))

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("an image is read")

    monkeypatch.setattr("finetune.audit.gather.looks", fail)
    with pytest.raises(SystemExit) as end:
        main(["check", str(recipe), "--deep", "--set", weights])
    assert end.value.code == WeightsError.exit_code
    assert "gone.safetensors" in capsys.readouterr().err
