import pytest

from finetune import report
from finetune.errors import BundleError
from finetune.report import evidence, folds, good
from finetune.scores.metrics import scores
from tests.report.test_page import Parsed

TRIAL = {"family": "lda", "scaling": "l2", "strength": 0.9}


@pytest.fixture
def make_folded(make_bundle, answers):
    """make_folded(accuracies, …) -> the Bundle of a run in folds, each with so many of ten images right."""

    def make(*right, **changes):
        lines = [
            {
                "fold": number,
                "images": 10,
                "learnt_from": 20,
                "validation": 0,
                "epochs": 0,
                "trained": [],
                "trial": TRIAL,
                "backbone": "tf_efficientnet_lite0",
                "notes": [],
                "scores": {"accuracy": {"value": share, "low": 0.1, "high": 0.99}, "log_loss": {"value": 0.5}},
            }
            | changes
            for number, share in enumerate(right, start=1)
        ]
        return make_bundle(evidence={"folds": lines}, validation=0)

    return make


def test_each_fold_has_a_row_and_their_span_is_no_interval(make_folded):
    found = folds.table(evidence.gather(make_folded(0.7, 0.8, 0.9)))
    assert [(fold.fold, score.value, learnt) for fold, score, learnt in found["rows"]] == [
        (1, 0.7, "linear discriminants"),
        (2, 0.8, "linear discriminants"),
        (3, 0.9, "linear discriminants"),
    ]
    assert (found["low"].number, found["high"].number) == (0.7, 0.9)
    assert found["deviation"].number == pytest.approx(0.1)


def test_a_fold_says_what_was_trained_and_from_which_network(make_folded):
    every = ["stem", "stage1", "stage2", "stage3", "stage4", "head"]
    changes = {"epochs": 1, "trained": every, "trial": None, "backbone": "resnet50"}
    (_, _, learnt), *_ = folds.table(evidence.gather(make_folded(0.7, 0.8, **changes)))["rows"]
    assert learnt == "resnet50, then training all stages for 1 epoch"


def test_the_page_says_that_no_model_had_seen_what_it_answered(make_folded):
    bundle = make_folded(0.7, 0.8, 0.9)
    page = report.render(bundle)
    words = Parsed(page).words
    assert "3-fold: each image was answered by a model that had not seen it" in words
    assert "held-out images are answered right" in words
    assert "with a standard deviation of 0.100" in words
    assert 'class="part folds"' in page
    assert "There are no test images" not in page


def test_without_folds_there_is_no_section(make_bundle):
    assert good.folds(evidence.gather(make_bundle())) is None


def test_a_damaged_line_is_refused(make_bundle, answers):
    found = scores(answers(("a", "b"), 20), resamples=20)
    bundle = make_bundle(
        evidence={"folds": [{"fold": 0, "images": 20, "learnt_from": 1, "epochs": 0, "scores": found}]}
    )
    with pytest.raises(BundleError, match=r"folds.json' is damaged: 0.fold"):
        report.render(bundle)
