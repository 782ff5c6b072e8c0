import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests

from finetune.errors import UsageError
from finetune.scores.metrics import scores
from finetune.scores.paired import aligned, differences, holm, mcnemar
from finetune.scores.predictions import Predictions

CLASSES = ("a", "b", "c")


def asked(seed=0, n=60, *, skill=1.0, groups=None, order=None, classes=CLASSES):
    """Answers about images whose labels do not depend on the seed, of one label each."""
    labels = np.random.default_rng(99).integers(0, 3, n)
    noise = np.random.default_rng(seed).normal(size=(n, 3))
    logits = (skill * np.eye(3)[labels] + noise).astype(np.float32)
    keys = tuple(f"{i}.png" for i in range(n))
    whole = Predictions(keys, logits, CLASSES, labels, groups)
    if order is None:
        return whole
    columns = [CLASSES.index(name) for name in classes]
    return Predictions(
        tuple(keys[i] for i in order),
        logits[order][:, columns],
        tuple(classes),
        np.array([classes.index(CLASSES[label]) for label in labels[order]]),
        None if groups is None else tuple(f"another name {groups[i]}" for i in order),
    )


def several(seed=0, n=60, skill=1.0):
    labels = np.random.default_rng(98).random((n, 3)) < 0.4
    logits = (skill * (2 * labels - 1) + np.random.default_rng(seed).normal(size=(n, 3))).astype(np.float32)
    return Predictions(tuple(map(str, range(n))), logits, CLASSES, labels)


def test_a_difference_is_that_of_the_scores_and_lies_in_its_interval():
    for one, other in ((asked(1), asked(2, skill=2.0)), (several(1), several(2, skill=2.0))):
        before, after = scores(one, resamples=1), scores(other, resamples=1)
        for name, found in differences(one, other, resamples=100).items():
            assert found["value"] == pytest.approx(after[name]["value"] - before[name]["value"], abs=1e-12)
            assert found["low"] < found["value"] < found["high"]


def test_the_order_of_images_and_of_classes_does_not_matter():
    groups = tuple(f"g{i // 3}" for i in range(60))
    order = np.random.default_rng(5).permutation(60)
    one, other = asked(1, groups=groups), asked(2, skill=2.0, groups=groups)
    turned = asked(2, skill=2.0, groups=groups, order=order, classes=("c", "a", "b"))
    assert differences(one, turned, resamples=50) == differences(one, other, resamples=50)
    assert mcnemar(one, turned) == mcnemar(one, other)
    first, second = aligned(one, turned)
    assert (second.keys, second.classes, second.groups) == (first.keys, first.classes, first.groups)
    np.testing.assert_array_equal(second.logits, other.logits)


def test_what_is_the_same_differs_by_nothing_and_not_for_certain():
    found = differences(asked(1), asked(1), resamples=50)
    assert found["accuracy"]["value"] == 0
    assert found["accuracy"]["low"] == pytest.approx(-found["accuracy"]["high"])
    assert found["accuracy"]["high"] > 0
    assert (found["log_loss"]["low"], found["log_loss"]["high"]) == (0, 0)
    assert mcnemar(asked(1), asked(1)).p == 1


def test_the_pairing_makes_intervals_narrower():
    n = 400
    one = asked(1, n=n, skill=2.0)
    other = Predictions(
        one.keys, one.logits + np.random.default_rng(3).normal(0, 0.2, (n, 3)).astype(np.float32), CLASSES, one.labels
    )
    paired = differences(one, other)["accuracy"]
    alone = scores(one)["accuracy"]
    assert paired["high"] - paired["low"] < 0.7 * (alone["high"] - alone["low"])


@pytest.mark.parametrize(("one", "other"), [((0, 1.0), (1, 1.2)), ((2, 0.5), (3, 3.0)), ((4, 2.0), (4, 2.0))])
def test_mcnemar_agrees_with_statsmodels(one, other):
    first, second = asked(one[0], n=200, skill=one[1]), asked(other[0], n=200, skill=other[1])
    right = [p.predicted == p.labels for p in (first, second)]
    table = [[int((right[0] & right[1]).sum()), int((right[0] & ~right[1]).sum())],
             [int((~right[0] & right[1]).sum()), int((~right[0] & ~right[1]).sum())]]  # fmt: skip
    found = mcnemar(first, second)
    assert (found.lost, found.won, found.by_group) == (table[0][1], table[1][0], False)
    assert found.p == pytest.approx(reference_mcnemar(table, exact=True).pvalue, abs=1e-12)


def test_groups_of_one_give_the_same_test_and_copies_no_more_certainty():
    first, second = asked(2, n=40, skill=0.7), asked(3, n=40, skill=2.0)
    alone = mcnemar(first, second).p
    named = tuple(map(str, range(40)))
    grouped = [Predictions(p.keys, p.logits, CLASSES, p.labels, named) for p in (first, second)]
    assert mcnemar(*grouped).p == pytest.approx(alone, abs=0.005)
    five = [
        Predictions(
            tuple(map(str, range(200))),
            np.repeat(p.logits, 5, axis=0),
            CLASSES,
            np.repeat(p.labels, 5),
            tuple(np.repeat(named, 5).tolist()),
        )
        for p in (first, second)
    ]
    assert mcnemar(*five).p == pytest.approx(alone, abs=0.005)
    assert mcnemar(*five).won == 5 * mcnemar(first, second).won


def test_few_groups_are_exchanged_in_all_ways():
    first, second = asked(2, n=12, skill=0.0), asked(3, n=12, skill=8.0)
    groups = tuple("abc" * 4)
    found = mcnemar(*(Predictions(p.keys, p.logits, CLASSES, p.labels, groups) for p in (first, second)))
    assert found == type(found)(lost=0, won=found.won, p=0.25, by_group=True)


def test_holm_agrees_with_statsmodels():
    p = [0.04, 0.001, 0.9, 0.012, 0.012, 0.3]
    assert holm(p) == pytest.approx(tuple(multipletests(p, method="holm")[1]))
    assert holm([]) == ()


def test_the_area_under_the_roc_curve_agrees_with_scikit_learn():
    predictions = several(4)
    found = scores(predictions, resamples=1)["macro_auroc"]["value"]
    assert found == pytest.approx(roc_auc_score(predictions.labels, predictions.logits, average="macro"))


def replaced(predictions, **changes):
    return Predictions(**{**vars(predictions), **changes})


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (asked(1, n=50), "10 images are only in 1, 0 only in 2"),
        (replaced(asked(1), classes=("a", "b", "d")), "'c' is a class of only one of them, and 2 classes"),
        (replaced(asked(1), labels=(asked(1).labels + 1) % 3), "60 images have another label, the first is '0.png'"),
        (replaced(asked(1), groups=("x",) * 60), "in other groups"),
        (replaced(asked(1), labels=None), "without labels"),
        (replaced(several(1), keys=asked(1).keys), "several labels in only one of them"),
    ],
)
def test_what_cannot_be_compared_is_refused(other, reason):
    with pytest.raises(UsageError, match=reason):
        differences(asked(0), other)
