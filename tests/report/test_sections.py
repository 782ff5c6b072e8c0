from dataclasses import replace

import numpy as np
import pytest

from finetune import report
from finetune.bundle import Bundle
from finetune.recipe.plan import Plan
from finetune.report.evidence import gather
from finetune.report.questions import QUESTIONS
from finetune.report.records import Network
from finetune.report.sound import issues_of, verdict
from finetune.report.stages import stages
from finetune.report.trusted import calibration
from finetune.scores.predictions import Predictions
from tests.report.conftest import PLAN
from tests.report.test_page import Parsed
from tests.report.tried import BASELINE, CURVE, HEADS, REASONS, TIERS, TUNED, way


def named(bundle):
    evidence = gather(bundle)
    return {part.name: part.values for make in QUESTIONS for part in make(evidence).parts}


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
    assert stages(names) == words


def test_all_stages_are_those_that_the_network_has():
    three = ("stem", "stage1", "stage2", "stage3", "head")
    assert stages(three, Network(name="cifar_resnet20")) == "all stages"
    assert stages(three[2:], Network(name="cifar_resnet20")) == "stage2 to head"
    assert stages(three, Network(name="resnet18")) == "stem, stage1, stage2, stage3, head"
    assert stages(three, Network(name="no such")) == "stem, stage1, stage2, stage3, head"


TITLES = [
    "How good is it?",
    "Where is it wrong?",
    "Can its confidence be used?",
    "Is the data sound?",
    "What does it see?",
    "How robust is it?",
    "For whom is it worse?",
    "What would help?",
    "How did it learn?",
    "What exactly is this?",
]


def test_every_report_answers_ten_questions_in_order(whole, make_bundle, tmp_path):
    for bundle in (whole, make_bundle(folder="plain"), Bundle.create(tmp_path / "bare")):
        evidence = gather(bundle)
        assert [make(evidence).title for make in QUESTIONS] == TITLES


def test_a_run_that_chose_and_trained_and_was_looked_at_has_every_part(whole):
    evidence = gather(whole)
    parts = {section.name: [part.name for part in section.parts] for section in (make(evidence) for make in QUESTIONS)}
    assert parts == {
        "good": ["headline", "against", "scores"],
        "wrong": ["confusion", "classes", "mistakes"],
        "trusted": ["selective", "calibration"],
        "sound": ["soundness", "images", "findings", "suspected", "leaks"],
        "sees": ["embedding", "views"],
        "robust": ["corruptions"],
        "worse": ["slices"],
        "helps": ["more", "check_first", "untried"],
        "learnt": ["choice", "learning", "health", "seconds"],
        "exactly": ["repeat", "weights", "plan", "recipe", "files"],
    }


def test_what_was_not_taken_is_said_in_one_line_with_how_to_take_it(make_bundle):
    evidence = gather(make_bundle())
    lacking = {
        section.name: [part.values["how"] for part in section.parts if part.name == "missing"]
        for section in (make(evidence) for make in QUESTIONS)
    }
    how = ["finetune evaluate BUNDLE --evidence"]
    assert {name: value for name, value in lacking.items() if value} == {
        "trusted": [""],
        "sound": how,
        "sees": how,
        "robust": how,
        "worse": how,
        "helps": [""],
    }


def test_the_data_is_called_sound_only_where_no_finding_is_a_warning(whole):
    evidence = gather(whole)
    doubts = verdict(evidence).values
    assert [(name, count.number) for name, count in doubts["doubtful"]] == [
        ("files: truncated", 1),
        ("exact copies in several parts of the split", 1),
        ("labels that are probably wrong", len(issues_of(evidence.audited))),
    ]
    notes = [one for one in evidence.audited.findings if one.severity == "note"]
    calm = verdict(replace(evidence, audited=evidence.audited.model_copy(update={"findings": notes}))).values
    assert (calm["doubtful"], calm["notes"]) == ([], True)
    assert verdict(replace(evidence, audited=None)) is None


def test_a_temperature_that_made_these_answers_worse_is_said_to_have(whole):
    evidence = gather(whole)
    scores = evidence.test
    found = scores.calibration.temperature
    swapped = found.model_copy(update={"before": found.after, "after": found.before})
    spoilt = scores.calibration.model_copy(update={"temperature": swapped})
    assert not calibration(evidence, scores).values["worse"]
    assert calibration(evidence, scores.model_copy(update={"calibration": spoilt})).values["worse"]


def test_a_run_without_an_epoch_has_no_section_on_learning(make_probed):
    found = named(make_probed())
    assert "learning" not in found
    assert found["plan"]["rows"] == []
    assert found["plan"]["probe_views"] == 1


def test_a_run_that_compared_nothing_has_no_section_on_choosing(make_bundle):
    assert not {"choice", "more"} & named(make_bundle()).keys()


def test_a_run_that_has_only_begun_has_the_sections_it_can(tmp_path):
    assert list(named(Bundle.create(tmp_path / "run"))) == ["headline", "missing", "repeat"]


def test_the_headline_is_the_test_accuracy_beside_the_commonest_class(make_bundle):
    bundle = make_bundle()
    values = named(bundle)["headline"]
    test = bundle.metrics["test"]
    assert values["score"].value == test["accuracy"]["value"]
    assert values["images"].number == 153
    largest = max(test["per_class"], key=lambda row: row["support"])
    assert (values["guess"][0], values["guess"][1].number) == (largest["class"], largest["support"] / 153)


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
    pairs = [(count.number, *names, total.number) for count, *names, total in values["pairs"]]
    assert pairs == [(3, "r", "p", 8), (2, "q", "p", 4), (2, "p", "q", 9)]
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
    assert not {"classes", "confusion"} & set(found)
    assert found["headline"]["images"].number == 40
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
    found = named(make_bundle())
    values = found["seconds"]
    assert [(name, str(taken)) for name, taken, _ in values["rows"]] == [
        ("reading images", "6.1 s"),
        ("epochs", "3 min 41 s"),
    ]
    assert str(values["total"]) == "3 min 47 s"
    assert found["repeat"]["command"] == "finetune run recipes/flowers.yaml --set train.batch_size=32"


def test_settings_are_read_as_words(make_bundle):
    settings = dict(named(make_bundle(facts={"decided": {"device": "cpu", "limit": None}}))["repeat"]["settings"])
    assert settings["limit"] == "not set"
    assert settings["mean"] == "0.5, 0.5, 0.5"


def test_scores_out_of_fold_stand_beside_the_test_scores_where_there_is_no_validation(make_probed, answers):
    bundle = make_probed()
    values = named(bundle)["scores"]
    assert (values["part"], values["beside"], values["images"].number) == ("test", "out_of_fold", 612)
    beside = {row.name: row.beside.value for row in values["rows"]}
    assert beside["Accuracy"] == bundle.metrics["out_of_fold"]["accuracy"]["value"]
    both = {name: answers(("p", "q"), 30, seed=i) for i, name in enumerate(("out_of_fold", "validation", "test"))}
    assert named(make_probed(classes=("p", "q"), predictions=both, folder="both"))["scores"]["beside"] == "validation"


@pytest.mark.parametrize(("part", "words"), [("validation", "validation"), ("out_of_fold", "held-out")])
def test_without_test_images_the_next_best_speak_alone(make_probed, answers, part, words):
    predictions = {part: answers(("p", "q"), 40)}
    found = named(make_probed(classes=("p", "q"), predictions=predictions, test=0))
    assert (found["headline"]["words"], found["headline"]["images"].number) == (words, 40)
    assert (found["scores"]["part"], found["scores"]["beside"]) == (words, "")
    assert all(row.beside is None for row in found["scores"]["rows"])


@pytest.mark.parametrize(
    ("ways", "share", "notes", "whose"),
    [
        ([BASELINE], None, (), ""),
        ([BASELINE, TUNED], 0.5, (), ""),
        ([BASELINE, TUNED], 0.5, ("training made it worse; the probe itself ships",), "the trained weights"),
    ],
)
def test_out_of_fold_answers_of_something_else_than_what_ships_are_told_apart(make_chosen, ways, share, notes, whose):
    found = named(make_chosen(ways, share, notes=notes))
    assert found["headline"]["other"] == found["scores"]["other"] == whose


def test_where_training_began_from_a_head_its_answers_are_not_those_of_what_ships(make_probed):
    found = named(make_probed(plan=PLAN, history=None))
    assert found["scores"]["other"] == "the head that training began from"


def test_ways_are_shown_in_the_order_they_were_tried_and_one_of_them_ships(make_chosen):
    ways = [BASELINE, way("views", "a head on 8 views", 0.02, 0.01, "taken"), way("stages", "a head on stage3")]
    values = named(make_chosen(ways))["choice"]
    assert [(name, ships) for _, name, ships in values["ways"]] == [
        (BASELINE["name"], False),
        ("a head on 8 views", True),
        ("a head on stage3", False),
    ]
    assert [name for name, _ in values["not_tried"]] == ["training all stages"]


def test_of_the_heads_one_is_marked_as_taken(make_probed):
    values = named(make_probed())["choice"]
    assert [family for _, family, _, taken in values["heads"] if taken] == ["linear discriminants"]
    assert values["count"] == len(HEADS) == len(values["heads"]) + 1  # a second strength of one scaling
    assert (values["ways"], values["not_tried"], values["guard"]) == ([], [], "")


def test_what_would_help_most_comes_first_and_not_all_of_it(make_chosen):
    gains = [CURVE["gains"][0] | {"class": f"class {i}", "points": i / 100} for i in range(20)]
    evidence = {"choice": [BASELINE], "curve": {"gains": gains}}
    values = named(make_chosen([BASELINE], evidence=evidence, folder="many"))["more"]
    assert [gain.name for gain, _ in values["gains"]] == [f"class {i}" for i in range(19, 7, -1)]
    assert (values["left"], values["growth"]) == (8, None)
    assert "more" not in named(make_chosen([BASELINE], evidence={"curve": {}}, folder="none"))


def test_curves_without_validation_promise_none(make_chosen, make_bundle):
    values = named(make_chosen([BASELINE, TUNED], 0.5))["learning"]
    assert (values["validation"], values["best"]) == (False, None)
    values = named(make_bundle(folder="validated"))["learning"]
    assert (values["validation"], values["best"].number) == (True, 10)


def test_where_training_ended_is_said_among_the_choice_and_not_the_images(make_chosen):
    note = "what ships lies 0.5 of the way from the probe to the trained weights"
    found = named(make_chosen([BASELINE, TUNED], 0.5, notes=(note, "1 image: transparency laid on white")))
    assert found["images"]["notes"] == ["1 image: transparency laid on white"]
    assert "0.5 of the way from the probe" in found["choice"]["guard"]


def test_a_part_without_images_is_not_counted(make_probed):
    assert [name for name, _ in named(make_probed())["images"]["parts"]] == ["train", "test", "left out"]


def test_what_is_yet_to_be_tried_stands_in_the_plan(make_bundle):
    plan = Plan((), REASONS, tiers=TIERS)
    found = named(make_bundle(plan=plan, history=[], finished=False))
    assert [name for name, _ in found["plan"]["tiers"]] == ["a head on the frozen features", "training the last stage"]
    assert any("not tried" in reason for reason in found["plan"]["reasons"])
    assert not found["headline"]["trains"]


def test_labels_stand_with_their_thresholds_the_weakest_first(make_bundle, several):
    rows = [
        {"class": "boat", "value": 0.31, "low": 0.2, "high": 0.5, "positives": 17, "reason": ""},
        {"class": "cow", "value": 0.5, "low": None, "high": None, "positives": 4, "reason": "too few"},
        {"class": "sky", "value": 0.62, "low": 0.4, "high": 0.7, "positives": 20, "reason": ""},
    ]
    bundle = make_bundle(several.classes, predictions={"test": several}, test=0, validation=0, sealed=False)
    bundle.write_json("metrics.json", {**bundle.metrics, "thresholds": {"part": "out_of_fold", "per_class": rows}})
    bundle.seal()
    found = named(bundle)["labels"]
    weakest = [row.f1.value for row, _ in found["rows"]]
    assert weakest == sorted(weakest)
    assert {row.name: threshold.value for row, threshold in found["rows"]} == {"boat": 0.31, "cow": 0.5, "sky": 0.62}
    assert found["kept"] == [("cow", "too few")]
    assert (found["chosen_on"], found["same"]) == ("images held out in turn", False)
    text = report.render(bundle)
    assert "keeps 0.5: too few" in Parsed(text).words
    assert "Thresholds have the highest F1 on images held out in turn." in Parsed(text).words


def test_errors_that_come_in_one_image_are_counted_of_the_first(make_bundle, several):
    found = named(make_bundle(several.classes, predictions={"test": several}, test=0, validation=0))["errors"]
    missed, added = several.labels & ~several.predicted, several.predicted & ~several.labels
    assert found["images"].number == 40
    assert {name: (one.number, other.number) for name, one, other in found["rows"]} == {
        name: (missed[:, place].sum(), added[:, place].sum()) for place, name in enumerate(several.classes)
    }
    wrong = {"missed": missed, "added": added}
    for count, first, what, second, other, total in found["pairs"]:
        one, two = (several.classes.index(name) for name in (first, second))
        assert count.number == (wrong[what][:, one] & wrong[other][:, two]).sum() > 0
        assert total.number == wrong[what][:, one].sum()
    counts = [pair[0].number for pair in found["pairs"]]
    assert counts == sorted(counts, reverse=True)


def test_what_ships_stands_against_the_head_on_the_frozen_network(make_chosen, make_probed):
    tuned = named(make_chosen([BASELINE, TUNED], 0.5))["against"]
    assert (tuned["baseline"][0].number, tuned["baseline"][1].number, tuned["itself"]) == (0.9, 612, False)
    asked = named(make_chosen([BASELINE, TUNED], 0.5, folder="asked", taken=True))["against"]
    assert (asked["same"].images, tuned["same"]) == (459, None)
    kept = named(make_chosen([BASELINE], folder="kept"))["against"]
    assert (kept["baseline"], kept["itself"]) == (None, True)
    probed = named(make_probed(folder="probed"))["against"]
    assert (probed["baseline"], probed["itself"]) == (None, True)
    trained = make_probed(folder="trained", plan=PLAN, history=None)
    score, images = named(trained)["against"]["baseline"]
    assert score.value == trained.metrics["out_of_fold"]["accuracy"]["value"]
    assert images.number == 612
    note = "training made it worse; the probe itself ships"
    undone = named(make_probed(folder="undone", plan=PLAN, history=None, notes=(note,)))["against"]
    assert (undone["baseline"], undone["itself"]) == (None, True)


def test_suspected_labels_are_checked_first_and_else_the_surest_mistakes(whole, make_bundle):
    found = named(whole)["check_first"]
    assert [one.figures["rank"] for one, _ in found["issues"]] == [1, 2, 3, 4, 5, 6]
    assert not found["mistakes"]
    found = named(make_bundle(folder="plain"))["check_first"]
    assert not found["issues"]
    sure = [one.probability for one in found["mistakes"]]
    assert len(sure) == 10
    assert sure == sorted(sure, reverse=True)


def test_of_slices_only_what_survives_the_correction_is_called_a_difference(whole):
    found = named(whole)["slices"]
    assert [(one.fact, one.slice) for one in found["differ"]] == [("brightness", "up to 0.31")]
    assert len(found["others"]) == found["count"].number - 1 == 7


def test_the_corruption_that_costs_most_is_named_and_what_costs_nothing(whole):
    found = named(whole)["corruptions"]
    drops = {(row.kind, row.severity): row.drop for _, rows in found["rows"] for row in rows}
    assert found["worst"].drop.value == max(drop.value for (_, severity), drop in drops.items() if severity == 3)
    assert set(found["unharmed"]) == {
        kind for (kind, severity), drop in drops.items() if severity == 3 and drop.low <= 0
    }


def test_maps_of_other_images_than_the_thumbnails_are_not_shown(make_bundle):
    bundle = make_bundle(taken=True, sealed=False)
    assert named(bundle)["mistakes"]["maps"] is not None
    maps = bundle.read_json("evidence/maps.json")
    bundle.write_json("evidence/maps.json", maps | {"keys": maps["keys"][::-1]})
    assert named(bundle)["mistakes"]["maps"] is None
