import numpy as np
import pytest
import torch

from finetune.train.losses import balanced_weights, loss

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def test_integer_labels_mean_softmax_cross_entropy() -> None:
    probabilities = torch.softmax(LOGITS, 1)
    expected = -(probabilities[0, 0].log() + probabilities[1, 2].log()) / 2
    assert loss(LOGITS, torch.tensor([0, 2])).item() == pytest.approx(expected.item(), abs=1e-6)


def test_boolean_labels_mean_binary_cross_entropy() -> None:
    labels = torch.tensor([[True, False, True], [False, False, True]])
    probabilities = torch.sigmoid(LOGITS)
    expected = -torch.where(labels, probabilities.log(), (1 - probabilities).log()).mean()
    assert loss(LOGITS, labels).item() == pytest.approx(expected.item(), abs=1e-6)


def test_smoothing_moves_a_share_of_the_target_to_all_classes() -> None:
    labels = torch.tensor([0, 1])
    log_shares = torch.log_softmax(LOGITS, 1)
    targets = torch.full((2, 3), 0.1 / 3) + 0.9 * torch.eye(3)[labels]
    expected = -(targets * log_shares).sum(1).mean()
    assert loss(LOGITS, labels, smoothing=0.1).item() == pytest.approx(expected.item(), abs=1e-6)


def test_smoothing_of_many_labels_draws_answers_toward_a_half() -> None:
    sure = torch.tensor([[9.0]])
    assert loss(sure, torch.tensor([[True]]), smoothing=0.2).item() == pytest.approx(0.1 * 9, abs=1e-3)


def test_a_rare_class_counts_as_much_as_a_frequent_one() -> None:
    labels = np.array([0] * 8 + [1] * 2)
    weights = balanced_weights(labels, classes=3)
    assert weights[0] * 8 == pytest.approx(float(weights[1] * 2))
    assert weights[labels].mean().item() == pytest.approx(1)
    assert weights[2] == 1


def test_weights_of_many_labels_are_negatives_per_positive() -> None:
    labels = np.array([[True, False], [False, False], [False, False], [True, False]])
    assert balanced_weights(labels, classes=2).tolist() == [1.0, 1.0]
    assert balanced_weights(labels[:3], classes=2).tolist() == [2.0, 1.0]


def test_logits_in_half_precision_give_a_float32_loss() -> None:
    assert loss(LOGITS.bfloat16(), torch.tensor([0, 1])).dtype == torch.float32


def test_weights_of_many_labels_are_at_most_ten_and_at_least_a_tenth() -> None:
    labels = np.zeros((100, 4), dtype=np.bool_)
    labels[0, 0] = labels[:99, 1] = labels[:, 2] = True
    assert balanced_weights(labels, classes=4).tolist() == pytest.approx([10.0, 0.1, 0.1, 1.0])
