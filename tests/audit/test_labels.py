import numpy as np
import pytest

from finetune.audit.labels import Doubt, LabelIssue, LabelIssues, doubts, label_issues
from finetune.errors import UsageError


def drawn(*, seed: int, n: int = 600, classes: int = 4, apart: float = 3.5) -> tuple[np.ndarray, np.ndarray]:
    """What a classifier that knows the distributions says of n images, and their true labels."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, classes, n)
    logits = apart * (generator.normal(size=(n, classes)) + apart * np.eye(classes)[truth])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True), truth


def flipped(truth: np.ndarray, share: float, *, seed: int, classes: int = 4) -> np.ndarray:
    generator = np.random.default_rng(1000 + seed)
    wrong = generator.choice(len(truth), round(share * len(truth)), replace=False)
    given = truth.copy()
    given[wrong] = (truth[wrong] + generator.integers(1, classes, len(wrong))) % classes
    return given


def told(found: LabelIssues) -> list[tuple[int, int, int]]:
    return [(issue.index, issue.given, issue.suggested) for issue in found.issues]


@pytest.mark.parametrize("share", [0.02, 0.05, 0.15])
def test_wrong_labels_come_first_and_their_true_class_is_suggested(share: float) -> None:
    hits, suggested = [], []
    for seed in range(5):
        probabilities, truth = drawn(seed=seed)
        given = flipped(truth, share, seed=seed)
        wrong = given != truth
        found = label_issues(probabilities, given)
        hits.append(wrong[found.ranking[: wrong.sum()]].mean())
        suggested += [one.suggested == truth[one.index] for one in found.issues if wrong[one.index]]
        assert found.share == pytest.approx(share, abs=0.02)
    assert np.mean(hits) > 0.9
    assert np.mean(suggested) > 0.9


def test_a_case_small_enough_to_work_out_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6], [0.8, 0.2]])
    found = label_issues(probabilities, np.array([0, 0, 0, 1, 1, 1]))
    assert found.thresholds == pytest.approx([0.6, (0.9 + 0.6 + 0.2) / 3])
    # surely of a class: 0, 1, 5 of the first, 2, 3, 4 of the second
    assert found.joint == pytest.approx(np.array([[2.0, 1.0], [1.0, 2.0]]))
    assert found.expected == pytest.approx(2)
    assert found.share == pytest.approx(1 / 3)
    assert found.issues == (LabelIssue(2, 0, 1, 0.2, 0.8), LabelIssue(5, 1, 0, 0.2, 0.8))
    assert found.ranking.tolist() == [2, 5, 4, 1, 0, 3]


def test_an_image_of_which_no_class_is_sure_is_not_counted() -> None:
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.1, 0.9]])
    found = label_issues(probabilities, np.array([0, 0, 1, 1]))
    assert found.joint == pytest.approx(np.array([[2.0, 0.0], [0.0, 2.0]]))


def test_an_image_whose_own_class_is_the_most_probable_is_no_issue() -> None:
    for seed in range(5):
        probabilities, truth = drawn(seed=seed, apart=1.2)
        given = flipped(truth, 0.3, seed=seed)
        found = label_issues(probabilities, given)
        assert found.issues
        assert all(probabilities[one.index].argmax() == one.suggested != one.given for one in found.issues)
        assert all(one.score == probabilities[one.index, one.given] < one.confidence for one in found.issues)


def test_right_labels_that_are_easy_to_tell_make_no_list() -> None:
    probabilities, truth = drawn(seed=0, apart=7)
    found = label_issues(probabilities, truth)
    assert found.issues == ()
    assert len(found.ranking) == len(truth)


def test_the_estimate_is_too_high_where_classes_overlap_as_it_says() -> None:
    shares = [label_issues(*drawn(seed=seed, n=1000, classes=5, apart=2)).share for seed in range(10)]
    assert np.mean(shares) == pytest.approx(0.10, abs=0.02)


def test_images_that_were_never_held_out_are_left_out_and_change_nothing_else() -> None:
    probabilities, truth = drawn(seed=1)
    given = flipped(truth, 0.05, seed=1)
    out = np.arange(5, 600, 7)
    probabilities[out] = np.nan
    found = label_issues(probabilities, given)
    kept = np.setdiff1d(np.arange(600), out)
    alone = label_issues(probabilities[kept], given[kept])
    assert found.left_out.tolist() == out.tolist()
    assert found.ranking.tolist() == kept[alone.ranking].tolist()
    assert np.array_equal(found.joint, alone.joint)
    assert told(found) == [(int(kept[place]), given, suggested) for place, given, suggested in told(alone)]


def test_neither_the_order_of_images_nor_the_numbers_of_classes_matter() -> None:
    probabilities, truth = drawn(seed=2)
    given = flipped(truth, 0.1, seed=2)
    order, names = np.random.default_rng(0).permutation(600), np.array([2, 0, 3, 1])
    found = label_issues(probabilities, given)
    other = label_issues(probabilities[order][:, np.argsort(names)], names[given[order]])
    assert [int(order[place]) for place in other.ranking] == found.ranking.tolist()
    assert [(int(order[i]), a, b) for i, a, b in told(other)] == [
        (i, int(names[a]), int(names[b])) for i, a, b in told(found)
    ]


def test_of_equally_bad_labels_the_surer_other_class_comes_first() -> None:
    probabilities = np.array([[0.1, 0.5, 0.4], [0.1, 0.9, 0.0], [0.1, 0.5, 0.4], [0.9, 0.1, 0.0]])
    assert label_issues(probabilities, np.array([0, 0, 0, 0])).ranking.tolist() == [1, 0, 2, 3]


def test_a_class_that_was_never_asked_has_no_threshold_and_is_never_surely_meant() -> None:
    probabilities, truth = drawn(seed=3)
    probabilities[truth == 3] = np.nan
    found = label_issues(probabilities, truth)
    assert np.isnan(found.thresholds).tolist() == [False, False, False, True]
    assert not found.joint[:, 3].any()
    assert not found.joint[3].any()


def test_a_class_without_a_sure_image_is_taken_for_right() -> None:
    probabilities = np.array([[0.90, 0.05, 0.05], [0.90, 0.05, 0.05], [0.3, 0.4, 0.3], [0.4, 0.2, 0.4]])
    found = label_issues(probabilities, np.array([0, 0, 1, 1]))
    assert found.joint[1].tolist() == [0, 2, 0]
    unsure = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]])
    found = label_issues(np.vstack([unsure, [[0.0, 1.0, 0.0]]]), np.array([0, 0, 2, 2, 1]))
    assert found.joint.sum(axis=1) == pytest.approx([2, 1, 2])


def test_two_images_or_none_have_an_answer() -> None:
    found = label_issues(np.array([[0.6, 0.4], [0.3, 0.7]], dtype=np.float32), np.array([0, 1]))
    assert found.issues == ()
    assert found.ranking.tolist() == [0, 1]
    nothing = label_issues(np.full((2, 2), np.nan), np.array([0, 1]))
    assert nothing.share is None
    assert nothing.issues == ()
    assert nothing.left_out.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.ones((3, 1)), np.zeros(3, int), r"\(3, 1\) and labels \(3,\) do not fit together"),
        (np.full((3, 2), 0.5), np.zeros(2, int), r"do not fit together"),
        (np.full((2, 2), 0.5), np.array([0, 2]), "whole numbers from 0 to 1"),
        (np.full((2, 2), 0.5), np.array([0.0, 1.0]), "whole numbers from 0 to 1"),
        (np.array([[2.0, -1.0], [0.5, 0.5]]), np.array([0, 1]), "1 of 2 rows are no probabilities"),
        (np.array([[0.5, 0.6], [np.nan, 0.5]]), np.array([0, 1]), "2 of 2 rows are no probabilities"),
    ],
)
def test_what_is_no_probability_or_no_label_is_refused(
    probabilities: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        label_issues(probabilities, labels)


def test_of_any_number_of_labels_an_image_is_named_once_with_all_that_is_doubtful() -> None:
    labels = np.zeros((8, 2), dtype=bool)
    labels[:4, 0] = labels[2:6, 1] = True
    probabilities = np.where(labels, 0.9, 0.1)
    probabilities[0] = [0.04, 0.97]  # labelled the first, and shows the second
    probabilities[7, 1] = 0.98
    found, expected = doubts(probabilities, labels)
    assert found == (Doubt(7, {1: pytest.approx(0.02)}), Doubt(0, {0: pytest.approx(0.04), 1: pytest.approx(0.03)}))
    assert found[1].score == pytest.approx(0.03)
    assert expected == pytest.approx(3)
    probabilities[0] = np.nan
    assert [one.index for one in doubts(probabilities, labels)[0]] == [7]
