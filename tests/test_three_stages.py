"""A network of three stages goes all the way: run, resume, probe from its weights, features, maps, prediction."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import finetune
from finetune import job
from finetune.bundle import Bundle
from finetune.cli import main
from finetune.diagnose.maps import below, maps
from finetune.errors import UsageError
from finetune.predict import from_bundle
from finetune.recipe import planfile
from finetune.recipe.plan import Phase, Plan
from finetune.sklearn import FinetuneClassifier, ImageFeatures
from tests.conftest import draw_classes

Write = Callable[..., Path]
ALL = ["stem", "stage1", "stage2", "stage3", "head"]
RANDOM = {"kind": "random"}


pytestmark = pytest.mark.usefixtures("one_thread")


def answers_as_stored(bundle: Bundle, photos: Path) -> bool:
    stored, predictor = bundle.predictions("test"), finetune.load(bundle.folder)
    return np.array_equal(predictor.predict([photos / key for key in stored.keys]).logits, stored.logits)


@pytest.mark.parametrize(
    ("schedule", "family"),
    [
        ("full", "cifar_resnet20"),
        ("gradual", "cifar_plain8"),
        ("stages", "cifar_resnetv2_11"),
        ("head", "cifar_resnet8_b"),
    ],
)
def test_a_run_from_scratch_leaves_a_bundle_that_predicts(
    schedule: str, family: str, photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    bundle = job.run(write_recipe(photos, schedule=schedule, backbone=family), output=tmp_path / "run")
    assert list(bundle.facts["stages"]) == ALL
    assert bundle.facts["receipt"]["source"] == "random, seed 0"
    assert bundle.facts["backbone"] == {"name": family, "tag": None}
    assert "stage4" not in bundle.read("plan.json").decode() + bundle.read("recipe.yaml").decode()
    assert answers_as_stored(bundle, photos)
    report = bundle.read("report.html").decode()
    assert "stage4" not in report.partition("</style>")[2]
    assert ("all stages" in report) == (schedule in ("full", "gradual"))


def test_nothing_is_fitted_to_untrained_features_and_nothing_compared_with_them(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    bundle = job.run(write_recipe(photos, schedule="full", backbone="cifar_resnet8"), output=tmp_path / "run")
    assert bundle.plan.probe_views is None
    left = {path.relative_to(bundle.folder).as_posix() for path in bundle.folder.rglob("*")}
    assert not left & {"evidence/probe.json", "evidence/choice.json", "predictions/out_of_fold.npz"}
    assert not any("probe" in note or "frozen" in note for note in bundle.facts["notes"])
    assert {line["part"] for line in map(json.loads, bundle.read("timings.jsonl").decode().splitlines())}.isdisjoint(
        {"probe", "choosing", "settling", "learning curve"}
    )


@pytest.mark.parametrize("schedule", ["probe", "lp_ft"])
def test_what_was_learnt_from_scratch_is_a_start_for_other_images(
    schedule: str, tmp_path: Path, write_recipe: Write
) -> None:
    first = draw_classes(tmp_path / "first", {"red": 8, "green": 8})
    scratch = job.run(write_recipe(first, backbone="cifar_resnet8"), output=tmp_path / "scratch")
    other = draw_classes(tmp_path / "other", {"blue": 8, "green": 8, "red": 8})
    recipe = write_recipe(other, schedule=schedule, backbone="cifar_resnet8")
    recipe.write_text(recipe.read_text().replace("{kind: random}", "{kind: bundle, path: scratch}"))
    bundle = job.run(recipe, output=tmp_path / "run")
    assert bundle.facts["receipt"]["loaded"] == bundle.facts["receipt"]["total"]
    assert bundle.facts["head"]["kind"] in ("linear", "cosine")
    assert answers_as_stored(bundle, other)
    learnt = from_bundle(scratch).state_dict()
    kept = from_bundle(bundle).state_dict()
    below = [name for name in kept if name.startswith(("backbone.conv1", "backbone.layer1", "backbone.layer2"))]
    assert below
    assert all(torch.equal(kept[name], learnt[name]) for name in below)


def test_auto_tries_heads_on_its_stages_and_trains_its_last(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    bundle = job.run(write_recipe(photos, schedule="auto", backbone="cifar_resnet8"), output=tmp_path / "run")
    outcomes = {line["kind"]: line for line in json.loads(bundle.read("evidence/choice.json"))}
    assert {"frozen", "stages", "views", "last_stage", "all_stages"} <= outcomes.keys()
    assert "stage4" not in bundle.read("evidence/choice.json").decode() + bundle.read("plan.json").decode()
    assert outcomes["stages"]["name"].startswith("a head on stage")
    assert answers_as_stored(bundle, photos)


def test_a_plan_of_ones_own_may_name_only_its_stages(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    own = Plan((Phase(("stage3", "head"), 1, 1e-3, 1.0, "batch"),), ())
    recipe = write_recipe(photos, backbone="cifar_resnet8")
    bundle = job.run(recipe, output=tmp_path / "run", plan=own)
    assert planfile.from_json(bundle.read("plan.json").decode()).phases == own.phases
    other = Plan((Phase(("stage4", "head"), 1, 1e-3, 1.0, "batch"),), ())
    with pytest.raises(UsageError, match="phase 1 of the plan trains 'stage4': cifar_resnet8 has stem, stage1, stage2"):
        job.run(recipe, output=tmp_path / "other", plan=other)
    assert not (tmp_path / "other").exists()


def test_features_are_by_default_those_of_its_last_stage(photos: Path) -> None:
    plain = finetune.features("cifar_resnet8", photos, weights=RANDOM)
    assert plain.values.shape == (24, 64)
    last_one = finetune.features("cifar_resnet8", photos, weights=RANDOM, stage="stage3")
    assert np.array_equal(plain.values, last_one.values)
    both = finetune.features("cifar_resnet8", photos, weights=RANDOM, stage=["stage3", "stage1"])
    assert both.values.shape == (24, 16 + 64)
    assert np.array_equal(both.values[:, 16:], plain.values)
    with pytest.raises(UsageError, match="no stage 'stage4'; did you mean 'stage3'"):
        finetune.features("cifar_resnet8", photos, weights=RANDOM, stage="stage4")


def test_estimators_take_it(photos: Path) -> None:
    files = sorted(photos.rglob("*.png"))
    features = ImageFeatures("cifar_resnet8", RANDOM)
    assert list(features.fit(files).get_feature_names_out()[[0, -1]]) == ["stage3_0", "stage3_63"]
    assert features.transform(files).shape == (24, 64)
    classifier = FinetuneClassifier("cifar_resnet8", RANDOM, stage=["stage1", "stage3"])
    assert classifier.fit(files, [path.parent.name for path in files]).out_of_fold_accuracy_ > 0.5


def test_the_commands_take_it(
    photos: Path, tmp_path: Path, write_recipe: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> str:
        main(list(arguments))
        return capsys.readouterr().out

    call(
        "features",
        str(photos),
        "--backbone",
        "cifar_resnet8",
        "--weights",
        "random",
        "--output",
        str(tmp_path / "f.npz"),
    )
    assert np.load(tmp_path / "f.npz")["values"].shape == (24, 64)
    assert "cifar_resnet56" in call("backbones", "cifar")
    planned = call("plan", str(write_recipe(photos, schedule="gradual", backbone="cifar_resnet20")))
    assert "stage3" in planned
    assert "stage4" not in planned


def test_a_map_is_that_of_its_three_stages(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    bundle = job.run(
        write_recipe(photos, schedule="head", backbone="cifar_resnetv2_11"),
        output=tmp_path / "run",
        overrides=["evidence=full"],
    )
    classifier = from_bundle(bundle)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert below(classifier) == ("stage1", "stage2", "stage3")
    drawn = maps(classifier, images, [0, 1])
    assert np.array_equal(drawn, maps(classifier, images, [0, 1], stages=["stage1", "stage2", "stage3"]))
    assert maps(classifier, images, [0, 1], stages=["stage1"]).shape == drawn.shape == (2, 32, 32)
    with pytest.raises(UsageError, match="of stages 'stage4'; choose from those the head sees: stage1, stage2, stage3"):
        maps(classifier, images, [0, 1], stages=["stage4"])
