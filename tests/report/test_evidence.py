import json

import numpy as np
import pytest

from finetune.bundle import Bundle
from finetune.errors import BundleError
from finetune.report.evidence import gather
from finetune.scores.predictions import Predictions


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
        ("evidence/thumbnails.json", {}, r"thumbnails\.json' is damaged: its value: Input should be a valid list"),
        ("evidence/thumbnails.json", ["<odd>"], r"damaged: '<odd>' has no labelled test prediction"),
    ],
)
def test_what_a_stranger_wrote_is_refused_with_its_place(make_bundle, name, value, reason):
    bundle = make_bundle(sealed=False)
    bundle.write(name, json.dumps(value).encode() + b"\n")
    with pytest.raises(BundleError, match=reason):
        gather(bundle)


def test_facts_of_another_kind_are_refused(make_bundle):
    with pytest.raises(BundleError, match=r"bundle\.json' is damaged: receipt\.source"):
        gather(make_bundle(facts={"receipt": {"source": 3, "loaded": 1, "total": 1, "head": "new"}}))


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
