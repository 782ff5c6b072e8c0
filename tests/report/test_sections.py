import numpy as np
import pytest

from finetune.bundle import Bundle
from finetune.report import sections
from finetune.report.evidence import gather
from finetune.scores.predictions import Predictions


def named(bundle):
    evidence = gather(bundle)
    return {section.name: section.values for make in sections.SECTIONS if (section := make(evidence))}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("head",), "head"),
        (("stage4", "head"), "stage4, head"),
        (("head", "stage4", "stage3"), "stage3 to head"),
        (("stem", "stage4", "head"), "stem, stage4, head"),
        (("stem", "stage1", "stage2", "stage3", "stage4", "head"), "all stages"),
        (("nose",), "nose"),
        ((), ""),
    ],
)
def test_stages_are_named_in_short(names, words):
    assert sections.stages(names) == words


def test_a_finished_run_has_every_section(make_bundle):
    assert list(named(make_bundle())) == [make.__name__ for make in sections.SECTIONS]


def test_a_run_that_has_only_begun_has_the_sections_it_can(tmp_path):
    assert list(named(Bundle.create(tmp_path / "run"))) == ["headline", "repeat"]


def test_the_headline_is_the_test_accuracy_beside_the_commonest_class(make_bundle):
    bundle = make_bundle()
    values = named(bundle)["headline"]
    test = bundle.metrics["test"]
    assert values["score"].value == test["accuracy"]["value"]
    assert values["images"] == 153
    largest = max(test["per_class"], key=lambda row: row["support"])
    assert values["guess"] == (largest["class"], largest["support"] / 153)


def test_classes_come_weakest_first_and_unknown_ones_last(make_bundle):
    labels = np.array([0, 0, 1, 1, 3])
    logits = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 0]]
    predictions = Predictions(tuple("abcde"), logits, ("p", "q", "r", "s"), labels)
    rows = named(make_bundle(predictions.classes, predictions={"test": predictions}, validation=0))["classes"]["rows"]
    assert [row.name for row in rows] == ["s", "q", "p", "r"]


def test_confusions_come_largest_first_of_the_smallest_class(make_bundle):
    labels = np.array([0] * 9 + [1] * 4 + [2] * 8)
    answers = np.array([0] * 7 + [1] * 2 + [1] * 2 + [0] * 2 + [2] * 5 + [0] * 3)
    logits = np.eye(3, dtype=np.float32)[answers]
    predictions = Predictions(tuple(map(str, range(21))), logits, ("p", "q", "r"), labels)
    values = named(make_bundle(predictions.classes, predictions={"test": predictions}, validation=0))["confusion"]
    assert values["pairs"] == [(3, "r", "p", 8), (2, "q", "p", 4), (2, "p", "q", 9)]
    assert values["rows"][1] == ("q", [(2, 0.71), (2, 0.71), (0, 0.0)])
    assert values["kind"] == "roomy"


@pytest.mark.parametrize(("count", "kind", "drawn"), [(13, "tight", True), (31, "tiny", True), (101, "tiny", False)])
def test_a_large_matrix_is_drawn_small_and_a_larger_one_not(make_bundle, count, kind, drawn):
    values = named(make_bundle(tuple(map(str, range(count))), test=200))["confusion"]
    assert (values["kind"], values["drawn"]) == (kind, drawn)


def test_files_left_out_are_grouped_by_reason_while_reasons_are_few(make_bundle):
    few = (*tuple((f"{i}.gif", "a GIF") for i in range(30)), ("x.jpg", "truncated"))
    values = named(make_bundle(left_out=few, folder="few"))["images"]
    assert [(reason, len(keys)) for reason, keys in values["grouped"]] == [("a GIF", 30), ("truncated", 1)]
    many = tuple((f"{i}.jpg", f"byte {i} is missing") for i in range(30))
    values = named(make_bundle(left_out=many, folder="many"))["images"]
    assert values["grouped"] == []
    assert values["single"] == many


def test_scores_of_several_labels_have_their_own_rows(make_bundle, several):
    found = named(make_bundle(several.classes, predictions={"test": several}, test=0, validation=0))
    assert "confusion" not in found
    assert found["headline"]["images"] == 40
    assert found["headline"]["several"]
    assert found["headline"]["guess"] is None
    assert [row.name for row in found["scores"]["rows"]] == [
        "All labels right",
        "Macro F1",
        "Micro F1",
        "Macro AUROC",
        "Macro average precision",
        "Log-loss",
        "Brier score",
    ]


def test_the_time_of_the_epochs_is_one_sum(make_bundle):
    values = named(make_bundle())["repeat"]
    assert values["seconds"] == [("reading images", "6.1 s"), ("epochs", "3 min 41 s")]
    assert values["total"] == "3 min 47 s"
    assert values["command"] == "finetune run recipes/flowers.yaml --set train.batch_size=32"


def test_settings_are_read_as_words(make_bundle):
    settings = dict(named(make_bundle(facts={"decided": {"device": "cpu", "limit": None}}))["repeat"]["settings"])
    assert settings["limit"] == "not set"
    assert settings["mean"] == "0.5, 0.5, 0.5"
