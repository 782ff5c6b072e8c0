import json

import numpy as np
import pytest

from finetune.bundle import Bundle
from finetune.errors import BundleError
from finetune.report.evidence import gather
from finetune.scores.predictions import Predictions
from tests.report.tried import BASELINE, HEADS, TUNED


def test_everything_that_a_run_left_is_there(make_bundle):
    found = gather(make_bundle())
    assert found.facts.name == "flowers"
    assert found.scores is found.test
    assert found.validation.accuracy.low < found.validation.accuracy.value
    assert len(found.epochs) == 12
    assert len(found.plan.phases) == 3
    assert found.left_out == (("rose/broken.jpg", "truncated: the file ends in the middle of the picture"),)
    assert found.seconds[1] == ("epoch 0", 18.4)
    worst = found.mistakes[0]
    assert worst.labels != worst.said
    assert 0 < worst.probability <= 1
    assert found.mistakes == tuple(sorted(found.mistakes, key=lambda one: -one.probability))


def test_an_unfinished_run_has_what_it_has(make_bundle, tmp_path):
    found = gather(make_bundle(finished=False))
    assert not found.finished
    assert found.scores is None
    assert len(found.epochs) == 12
    bare = gather(Bundle.create(tmp_path / "bare"))
    assert (bare.epochs, bare.plan, bare.recipe, bare.left_out, bare.mistakes) == ((), None, "", (), ())


def test_without_test_images_the_validation_images_speak(make_bundle):
    found = gather(make_bundle(test=0))
    assert found.test is None
    assert found.scores is found.validation
    assert found.mistakes


def test_mistakes_of_several_labels_name_them_all(make_bundle, several):
    found = gather(make_bundle(several.classes, predictions={"test": several}, validation=0, test=0))
    for mistake in found.mistakes:
        row = several.keys.index(mistake.key)
        assert mistake.labels == tuple(np.array(several.classes)[several.labels[row]])
        assert mistake.said == tuple(np.array(several.classes)[several.logits[row] > 0])
        assert mistake.probability > 0.5


def test_without_either_the_images_held_out_speak(make_probed):
    found = gather(make_probed(test=0))
    assert (found.test, found.validation) == (None, None)
    assert found.part == "out_of_fold"
    assert found.scores is found.out_of_fold
    assert gather(make_probed(folder="tested")).part == "test"


def test_what_was_tried_is_there(make_chosen, make_bundle):
    found = gather(make_chosen([BASELINE, TUNED], 0.5))
    assert [head.trial.family for head in found.heads] == [row["trial"]["family"] for row in HEADS]
    assert [way.name for way in found.ways] == [BASELINE["name"], TUNED["name"]]
    assert [gain.name for gain in found.curve.gains] == ["daisy", "rose", "tulip"]
    bare = gather(make_bundle(folder="bare"))
    assert (bare.heads, bare.ways, bare.curve, bare.out_of_fold) == ((), (), None, None)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("metrics.json", {"test": []}, r"metrics\.json' is damaged: test: Input should be"),
        (
            "metrics.json",
            {"test": {"accuracy": {"value": "high"}}},
            r"damaged: test\.accuracy\.value: Input should be a valid",
        ),
        ("metrics.json", {"test": {"confusion": [[1]]}}, r"damaged: confusion must be 0 rows of 0 numbers"),
        ("history.jsonl", {"epoch": "one"}, r"history\.jsonl' is damaged: epoch: Input should be a valid integer"),
        (
            "timings.jsonl",
            {"part": 1, "seconds": 2},
            r"timings\.jsonl' is damaged: part: Input should be a valid string",
        ),
        ("metrics.json", {"out_of_fold": {"confusion": [[1]]}}, r"damaged: confusion must be 0 rows of 0 numbers"),
        ("evidence/probe.json", {}, r"probe\.json' is damaged: its value: Input should be a valid list"),
        ("evidence/probe.json", [HEADS[0] | {"trial": 3}], r"probe\.json' is damaged: 0\.trial: Input should be"),
        ("evidence/probe.json", [HEADS[0] | {"standard_error": -1}], r"damaged: 0\.standard_error: Input should be gr"),
        ("evidence/choice.json", [BASELINE, BASELINE | {"kind": "odd"}], r"choice\.json' is damaged: 1\.kind: Input"),
        ("evidence/choice.json", [BASELINE | {"accuracy": 90.0}], r"damaged: 0\.accuracy: Input should be less than"),
        ("evidence/choice.json", [BASELINE | {"gain": "much"}], r"damaged: 0\.gain: Input should be a valid number"),
        ("evidence/curve.json", [], r"curve\.json' is damaged: its value: Input should be"),
        ("evidence/curve.json", {"points": [{"images": 0}]}, r"damaged: points\.0\.images: Input should be greater"),
        ("evidence/curve.json", {"law": {"a": 0, "b": 1}}, r"curve\.json' is damaged: law\.c: Field required"),
        ("evidence/curve.json", {"gains": [{"class": "rose"}]}, r"damaged: gains\.0\.more: Field required"),
        (
            "evidence/views.json",
            {"keys": [], "tiles": 6},
            r"views\.json' is damaged: keys: List should have",
        ),
        ("evidence/views.json", {"keys": ["a"], "tiles": 1}, r"views\.json' is damaged: tiles: Input should be"),
        ("evidence/thumbnails.json", {}, r"thumbnails\.json' is damaged: its value: Input should be a valid list"),
        ("evidence/thumbnails.json", ["<odd>"], r"damaged: '<odd>' has no labelled test prediction"),
    ],
)
def test_what_a_stranger_wrote_is_refused_with_its_place(make_bundle, name, value, reason):
    bundle = make_bundle(sealed=False)
    bundle.write(name, json.dumps(value).encode() + b"\n")
    with pytest.raises(BundleError, match=reason):
        gather(bundle)


@pytest.mark.parametrize("name", ["probe", "choice", "curve"])
def test_evidence_that_is_no_json_is_refused(make_bundle, name):
    bundle = make_bundle(sealed=False)
    bundle.write(f"evidence/{name}.json", b"[{")
    with pytest.raises(BundleError, match=rf"{name}\.json"):
        gather(bundle)


def test_facts_of_another_kind_are_refused(make_bundle):
    with pytest.raises(BundleError, match=r"bundle\.json' is damaged: receipt\.source"):
        gather(make_bundle(facts={"receipt": {"source": 3, "loaded": 1, "total": 1, "head": "new"}}))


def test_views_must_be_a_jpeg_and_are_left_out_without_one(make_bundle):
    bundle = make_bundle(views=("a.jpg",), sealed=False)
    assert gather(bundle).views.keys == ("a.jpg",)
    bundle.write("evidence/views.jpg", b"<svg onload=alert(1)>")
    with pytest.raises(BundleError, match=r"views\.jpg' is not a JPEG picture"):
        gather(bundle)
    (bundle.folder / "evidence" / "views.jpg").unlink()
    assert gather(bundle).views is None


def test_thumbnails_must_be_a_jpeg(make_bundle):
    bundle = make_bundle(sealed=False)
    bundle.write("evidence/thumbnails.jpg", b"<svg onload=alert(1)>")
    with pytest.raises(BundleError, match=r"thumbnails\.jpg' is not a JPEG picture"):
        gather(bundle)


def test_thumbnails_need_labelled_predictions(make_bundle):
    bundle = make_bundle(sealed=False)
    labelled = bundle.predictions("test")
    bare = Predictions(labelled.keys, labelled.logits, labelled.classes)
    bundle.write("predictions/test.npz", bare.to_bytes())
    with pytest.raises(BundleError, match="its images have no labelled test prediction"):
        gather(bundle)


@pytest.mark.parametrize("name", ["missed", "added", "swapped"])
def test_errors_of_another_size_than_the_labels_are_refused(name, make_bundle, several):
    bundle = make_bundle(several.classes, predictions={"test": several}, test=0, validation=0, sealed=False)
    metrics = bundle.metrics
    metrics["test"]["errors"][name] = [[1, 2]]
    bundle.write_json("metrics.json", metrics)
    bundle.seal()
    with pytest.raises(BundleError, match=f"{name} must be 3 rows of 3 numbers"):
        gather(bundle)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("tiles", {"keys": ["odd"]}, r"tiles\.json' is damaged: 'odd' has no labelled test prediction"),
        ("tiles", {"per_row": 0}, r"tiles\.json' is damaged: per_row: Input should be greater"),
        ("embedding", {"keys": ["odd"]}, r"embedding\.json' is damaged: 'odd' has no labelled test prediction"),
        ("embedding", {"pca": [[0.0, 1.0]]}, r"there must be a place for each of its 153 keys"),
        ("embedding", {"pca": [[0.0]]}, r"embedding\.json' is damaged: pca\.0: List should have at least 2"),
        ("maps", {"keys": 3}, r"maps\.json' is damaged: keys"),
        (
            "corruptions",
            {"rows": [{"kind": "noise", "severity": 4}]},
            r"corruptions\.json' is damaged: rows\.0\.severity",
        ),
        ("audit", {"findings": [{"check": 1}]}, r"audit\.json' is damaged: findings\.0\.check"),
    ],
)
def test_evidence_that_does_not_fit_is_refused_with_its_place(make_bundle, name, change, reason):
    bundle = make_bundle(taken=True, sealed=False)
    bundle.write_json(f"evidence/{name}.json", bundle.read_json(f"evidence/{name}.json") | change)
    with pytest.raises(BundleError, match=reason):
        gather(bundle)


@pytest.mark.parametrize("name", ["tiles", "maps", "audit"])
def test_a_sprite_that_is_no_jpeg_is_refused(make_bundle, name):
    bundle = make_bundle(taken=True, sealed=False)
    bundle.write(f"evidence/{name}.jpg", b"<svg onload=alert(1)>")
    with pytest.raises(BundleError, match=rf"{name}\.jpg' is not a JPEG picture"):
        gather(bundle)
