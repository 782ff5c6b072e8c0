import contextlib
import io
import os
import zipfile

import numpy as np
import pytest

from finetune.errors import BundleError, OutOfResources, UsageError
from finetune.scores.predictions import Predictions

CLASSES = ("cat", "dog", "eel")


def some(**changes):
    fields = {
        "keys": ("a.jpg", "b.jpg"),
        "logits": np.array([[1, 2, 3], [3, 2, 1]], dtype=np.float32),
        "classes": CLASSES,
        "labels": np.array([2, 1]),
    }
    return Predictions(**(fields | changes))


def same(one, other):
    assert (one.keys, one.classes, one.groups) == (other.keys, other.classes, other.groups)
    np.testing.assert_array_equal(one.logits, other.logits)
    if one.labels is None:
        assert other.labels is None
    else:
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.labels.dtype == other.labels.dtype


def test_probabilities_are_a_softmax_in_double_precision():
    probabilities = some().probabilities
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities[0], np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum(), rtol=1e-12)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)


def test_probabilities_of_huge_logits_do_not_overflow():
    huge = some(logits=np.array([[1e38, -1e38, 0], [-1e38, -1e38, -1e38]], dtype=np.float32))
    np.testing.assert_allclose(huge.probabilities, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])


def test_labels_of_two_dimensions_make_probabilities_a_sigmoid_of_each_logit():
    several = some(
        labels=np.array([[True, False, True], [False, False, False]]),
        logits=np.array([[0, 1e38, -1e38], [1, -1, 2]], dtype=np.float32),
    )
    assert several.multilabel
    assert not some().multilabel
    expected = [[0.5, 1, 0], [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1)), 1 / (1 + np.exp(-2))]]
    np.testing.assert_allclose(several.probabilities, expected, rtol=1e-12)


def test_the_predicted_class_is_the_first_of_the_largest_logits():
    tied = some(logits=np.array([[0, 5, 5], [1, 1, 1]], dtype=np.float32))
    assert tied.predicted.tolist() == [1, 0]
    assert tied.predicted.dtype == np.int64


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"labels": None},
        {"labels": np.array([[True, False, True], [False, False, False]])},
        {"groups": ("scene 1", "scene 1")},
        {"keys": ("\udcff\udcfe.jpg", "a\nb\x00\x00"), "classes": ("<svg onload=x>", "שלום", " ")},
        {"keys": (), "logits": np.zeros((0, 3), dtype=np.float32), "labels": np.zeros(0, dtype=np.int64)},
    ],
)
def test_predictions_come_back_from_disk_as_they_were(tmp_path, changes):
    some(**changes).save(tmp_path / "p.npz")
    same(some(**changes), Predictions.load(tmp_path / "p.npz"))


def test_equal_predictions_have_equal_bytes():
    assert some().to_bytes() == some().to_bytes()
    transposed = np.asfortranarray(some().logits)
    assert some(logits=transposed).to_bytes() == some().to_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ()}, "classes must be at least one and all different, but are ''"),
        ({"classes": ("cat", "cat", "eel")}, "all different, but are 'cat, cat, eel'"),
        ({"logits": np.zeros((2, 4), np.float32)}, r"float32 of shape \(2, 3\) .* are float32 of shape \(2, 4\)"),
        ({"logits": np.zeros((2, 3))}, "but are float64"),
        ({"logits": np.array([[0, 0, 0], [0, np.nan, 0]], np.float32)}, "not for 1 of 2 images, first 'b.jpg'"),
        ({"groups": ("scene",)}, "groups must be one per key, but are 1 for 2 keys"),
        ({"labels": np.array([0, 1], np.int32)}, r"labels must be int64 of shape \(2,\).* but are int32"),
        ({"labels": np.zeros((2, 2), bool)}, r"but are bool of shape \(2, 2\)"),
        ({"labels": np.array([0, 3])}, "labels must be 0 to 2, but the one of 'b.jpg' is 3"),
        ({"labels": np.array([-1, 0])}, "but the one of 'a.jpg' is -1"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused_with_a_sentence(changes, message):
    with pytest.raises(UsageError, match=message):
        some(**changes)


def test_a_missing_file_is_a_bundle_error(tmp_path):
    with pytest.raises(BundleError, match=r"cannot read .*none\.npz"):
        Predictions.load(tmp_path / "none.npz")


def test_a_file_that_cannot_be_written_is_out_of_resources(tmp_path):
    with pytest.raises(OutOfResources, match=r"cannot write .*: Is a directory"):
        some().save(tmp_path)


def archive(**members):
    buffer = io.BytesIO()
    np.savez(buffer, **members)
    return buffer.getvalue()


def text(value):
    return np.frombuffer(value, dtype=np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04",
        b"not a zip at all",
        archive(keys=text(b'["a"]'), classes=text(b'["x"]')),  # no logits
        archive(keys=text(b'{"a": 1}'), classes=text(b'["x"]'), logits=np.zeros((1, 1), np.float32)),
        archive(keys=text(b"[1]"), classes=text(b'["x"]'), logits=np.zeros((1, 1), np.float32)),
        archive(keys=text(b"[" * 100_000), classes=text(b'["x"]'), logits=np.zeros((1, 1), np.float32)),
        archive(keys=np.array(["a"], dtype=object), classes=text(b'["x"]'), logits=np.zeros((1, 1), np.float32)),
        archive(keys=text(b'["a"]'), classes=text(b'["x"]'), logits=np.zeros((3, 1), np.float32)),
        archive(keys=text(b'["a"]'), classes=text(b'["x"]'), logits=np.full((1, 1), np.inf, np.float32)),
    ],
)
def test_a_file_of_another_kind_is_a_bundle_error_naming_it(data):
    with pytest.raises(BundleError, match=r"odd\.npz"):
        Predictions.from_bytes(data, source="odd.npz")


def test_a_pickle_inside_is_never_opened(tmp_path):
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(canary),)

    data = archive(
        keys=np.array([Payload()], dtype=object), classes=text(b'["x"]'), logits=np.zeros((1, 1), np.float32)
    )
    with pytest.raises(BundleError):
        Predictions.from_bytes(data, source="evil.npz")
    assert not canary.exists()


def test_an_array_that_claims_to_be_enormous_is_refused():
    buffer = io.BytesIO(some().to_bytes())
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }".ljust(117) + b"\n"
    with zipfile.ZipFile(buffer) as whole, zipfile.ZipFile(out := io.BytesIO(), "w") as made:
        for name in whole.namelist():
            magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
            made.writestr(name, magic + header if name == "logits.npy" else whole.read(name))
    with pytest.raises(BundleError, match="big"):
        Predictions.from_bytes(out.getvalue(), source="big")


def test_any_cut_or_flipped_byte_is_refused_or_harmless():
    whole = some(groups=("g", "h")).to_bytes()
    generator = np.random.default_rng(0)
    damaged = [whole[: generator.integers(len(whole))] for _ in range(100)]
    for _ in range(300):
        flipped = bytearray(whole)
        flipped[generator.integers(len(whole))] ^= 1 << generator.integers(8)
        damaged.append(bytes(flipped))
    for data in damaged:
        with contextlib.suppress(BundleError):
            assert len(Predictions.from_bytes(data, source="p")) == 2


def test_thresholds_decide_which_of_several_labels_are_answered_and_are_kept():
    logits = np.array([[0.0, 2.0], [-1.0, 0.5]], np.float32)
    several = Predictions(("0", "1"), logits, ("a", "b"), None, thresholds=np.array([0.25, 0.7]))
    assert several.multilabel
    assert several.predicted.tolist() == [[True, True], [True, False]]
    again = Predictions.from_bytes(several.to_bytes(), source="x")
    assert again.thresholds.tolist() == [0.25, 0.7]
    half = Predictions(("0", "1"), logits, ("a", "b"), np.zeros((2, 2), np.bool_))
    assert half.predicted.tolist() == [[False, True], [False, True]]


@pytest.mark.parametrize(
    ("thresholds", "labels", "reason"),
    [
        (np.array([0.5]), None, r"thresholds must be float64 of shape \(2,\), but are float64 of shape \(1,\)"),
        (np.array([0.5, 0.5], np.float32), None, "but are float32 of shape"),
        (np.array([0.5, 1.5]), None, "thresholds must be probabilities, 0 to 1"),
        (np.array([0.5, np.nan]), None, "thresholds must be probabilities, 0 to 1"),
        (np.array([0.5, 0.5]), np.array([0]), "thresholds belong to images that may have several labels"),
    ],
)
def test_thresholds_that_do_not_fit_are_refused(thresholds, labels, reason):
    with pytest.raises(UsageError, match=reason):
        Predictions(("0",), np.zeros((1, 2), np.float32), ("a", "b"), labels, thresholds=thresholds)


def test_thresholds_may_be_those_of_each_image_where_several_models_answered():
    logits = np.array([[0.0, 2.0], [0.0, 2.0]], np.float32)
    thresholds = np.array([[0.25, 0.7], [0.6, 0.95]])
    several = Predictions(("0", "1"), logits, ("a", "b"), None, thresholds=thresholds)
    assert several.predicted.tolist() == [[True, True], [False, False]]
    assert Predictions.from_bytes(several.to_bytes(), source="x").thresholds.tolist() == thresholds.tolist()
    with pytest.raises(UsageError, match="thresholds must be float64 of shape"):
        Predictions(("0", "1"), logits, ("a", "b"), None, thresholds=thresholds[:1])
