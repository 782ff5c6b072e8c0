import inspect
from dataclasses import replace

import pytest

from finetune.choose import course
from finetune.recipe import tiers
from finetune.report import trials
from finetune.report.course import Head, Trial
from finetune.report.evidence import gather
from finetune.train import settle
from tests.report.tried import BASELINE, HEADS, TUNED, head, way

SHORTER = "what ships lies 0.25 of the way from the probe to the trained weights"
UNDONE = "training from the probe made it worse on the training images; the probe itself ships"
VIEWS = way("views", "a head on 8 views of each image", 0.012, 0.01, "taken")


def heads(*rows):
    return [Head(**row) for row in rows]


def test_the_words_that_are_looked_for_are_those_that_are_written():
    assert f'"{trials.TAKEN}" if better' in inspect.getsource(course)
    for module in (course, tiers):
        assert trials._NOT_TRIED in inspect.getsource(module)
    for text in (trials._GAVE_UP, "what ships lies "):
        assert text in inspect.getsource(settle)


@pytest.mark.parametrize(
    ("ways", "share", "notes", "sentence", "place"),
    [
        ([BASELINE], None, (), "What ships is the frozen baseline, a head on the frozen features: nothing else", 0),
        (
            [BASELINE, way("stages", "a head on stage3 + stage4")],
            None,
            (),
            "What ships is the frozen baseline, a head on the frozen features: nothing that was tried beat it",
            0,
        ),
        (
            [BASELINE, VIEWS, way("stages", "a head on stage3")],
            None,
            (),
            "What ships did better on images held out than what was best before it: a head on 8 views of each image.",
            1,
        ),
        (
            [BASELINE, VIEWS, TUNED | {"name": "training all stages, 1 of the way"}],
            1.0,
            (),
            "What ships did better on images held out than what was best before it: training all stages.",
            2,
        ),
        (
            [BASELINE, VIEWS, TUNED],
            0.5,
            ("9 images: transparency laid on white", SHORTER),
            "What ships did better on images held out than what was best before it: training the last stage. "
            "What ships lies 0.25 of the way from the probe to the trained weights.",
            2,
        ),
        (
            [BASELINE, TUNED],
            0.5,
            (UNDONE,),
            "Training the last stage, 0.5 of the way did best on images held out, but it does not ship. "
            "Training from the probe made it worse on the training images; the probe itself ships.",
            None,
        ),
    ],
)
def test_the_guard_says_what_ships(make_chosen, ways, share, notes, sentence, place):
    evidence = gather(make_chosen(ways, share, notes=notes))
    assert trials.guard(evidence).startswith(sentence)
    assert trials.shipped(evidence) == place


def test_where_no_ways_were_compared_only_what_training_came_to_is_said(make_probed):
    assert trials.guard(gather(make_probed(folder="a"))) == ""
    evidence = gather(make_probed(notes=(SHORTER,), folder="b"))
    assert trials.guard(evidence) == "What ships lies 0.25 of the way from the probe to the trained weights."
    assert trials.shipped(evidence) is None


def test_what_was_not_tried_is_said_once(make_chosen, make_bundle):
    evidence = gather(make_chosen([BASELINE]))
    assert trials.not_tried(evidence) == [("training all stages", "about 2692 s are needed and 118 s are left")]
    said = trials.reasons(evidence)
    assert len(said) == len(set(said)) == 2
    assert not any("not tried" in reason for reason in said)
    assert any("not tried" in reason for reason in trials.reasons(replace(evidence, ways=())))
    assert trials.not_tried(replace(evidence, plan=None)) == trials.reasons(replace(evidence, plan=None)) == []


def test_of_each_family_and_scaling_the_best_leads():
    rows = heads(head("ncm", "raw", None, 0.5), *HEADS, *(head("lda", str(i), 0.5, 0.1 + i / 100) for i in range(20)))
    worst = heads(head("logistic", "l2", 1e-6, 0.9))[0]
    shown = trials.leaders([worst, *rows], worst)
    losses = [one.log_loss for one in shown]
    assert losses == sorted(losses)
    assert shown[-1] is worst  # it was taken
    kinds = [(one.trial.family, one.trial.scaling) for one in shown[:-1]]
    assert len(kinds) == len(set(kinds)) == trials.LEADERS
    assert shown[0].trial.strength == 1.0
    last = heads(head("knn", "l2", 5.0, 0.8))
    assert trials.leaders([*rows, *last], None)[-1] is not last[0]
    assert trials.leaders([one for one in rows if one.trial.family != "knn"] + last, None)[-1] is last[0]


def test_the_head_that_was_taken_is_marked_or_known_by_its_log_loss(make_probed):
    evidence = gather(make_probed(sealed=False))
    assert trials.taken_head(evidence) is evidence.heads[3]
    unmarked = [row | {"chosen": False} for row in HEADS]
    loss = evidence.out_of_fold.log_loss.value
    alike = heads(*unmarked, head("knn", "l2", 1.0, 0.0, log_loss=loss), head("ncm", "l2", None, 0.0, log_loss=loss))
    assert trials.taken_head(replace(evidence, heads=tuple(alike))) is alike[-1]
    assert trials.taken_head(replace(evidence, heads=tuple(alike[:-1]))) is None
    assert trials.taken_head(replace(evidence, heads=tuple(alike), out_of_fold=None)) is None


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        (("logistic", "l2", 0.21544), "features of length 1, C = 0.215"),
        (("lda", "raw", None), "features as they are, shrinkage of Ledoit and Wolf"),
        (("lda", "centred l2", 0.9), "centred features of length 1, shrinkage 0.9"),
        (("ridge", "standardised", 10.0), "standardised features, penalty 10"),
        (("knn", "l2", 5.0), "features of length 1, the nearest 5"),
        (("ncm", "raw", None), "features as they are"),
        (("forest", "ranked", 3.0), "ranked, strength 3"),
    ],
)
def test_what_a_head_was_fitted_with_is_said_in_words(trial, words):
    family, scaling, strength = trial
    assert trials.setting(Trial(family=family, scaling=scaling, strength=strength)) == words


def test_families_have_names_and_a_new_one_its_own():
    assert trials.family(Trial(family="lda", scaling="raw")) == "linear discriminants"
    assert trials.family(Trial(family="forest", scaling="raw")) == "forest"
