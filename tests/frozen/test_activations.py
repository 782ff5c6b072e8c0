import numpy as np
import pytest

from finetune.data.scratch import Scratch
from finetune.frozen.activations import Activations, StoredAs, activation_bytes, packed, record, unpacked
from finetune.model import backbone


def maps(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)


def test_float32_comes_back_as_it_was() -> None:
    values = maps(2, 4, 3, 3)
    assert np.array_equal(unpacked(packed(values, "float32"), "float32"), values)


def test_float16_is_within_half_a_thousandth_and_never_infinite() -> None:
    values = maps(2, 4, 3, 3)
    assert np.allclose(unpacked(packed(values, "float16"), "float16"), values, rtol=5e-4, atol=1e-6)
    far = np.array([[[[1e9]], [[-1e9]]]], np.float32)
    assert unpacked(packed(far, "float16"), "float16").ravel().tolist() == [65504, -65504]


@pytest.mark.parametrize("shape", [(3, 4, 5, 5), (3, 4)])
def test_int8_is_within_half_a_step_of_each_channel(shape: tuple[int, ...]) -> None:
    values = maps(*shape) * np.logspace(-3, 3, 4, dtype=np.float32).reshape(1, 4, *(1,) * (len(shape) - 2))
    step = np.abs(values.reshape(3, 4, -1)).max(2) / 127
    back = unpacked(packed(values, "int8"), "int8")
    assert back.dtype == np.float32
    assert back.shape == values.shape
    assert (np.abs(back - values).reshape(3, 4, -1).max(2) <= 0.5001 * step).all()


def test_a_channel_of_zeros_and_one_of_denormals_stay_finite() -> None:
    values = np.zeros((1, 2, 2, 2), np.float32)
    values[0, 1] = 1e-44
    back = unpacked(packed(values, "int8"), "int8")
    assert np.isfinite(back).all()
    assert not back[0, 0].any()
    assert np.abs(back).max() < 1e-40


@pytest.mark.parametrize(("stored_as", "each"), [("float32", 4 * 36), ("float16", 2 * 36), ("int8", 36 + 4 * 4)])
def test_a_batch_holds_the_views_that_are_asked_for(stored_as: StoredAs, each: int) -> None:
    values = maps(4, 4, 3, 3)
    kind = record((4, 3, 3), stored_as)
    records = Scratch(dtype=kind.base, shape=kind.shape)
    entries = [(sha256, name) for sha256 in "ab" for name in ("plain", "light 1")]
    records.put(entries, packed(values, stored_as))
    kept = Activations(records, ("a", "b", "a"), ("plain", "light 1"), (4, 3, 3), stored_as)
    batch = kept.batch(np.array([2, 1, 1]), np.array([1, 1, 0]))
    assert batch.dtype == np.float32
    assert np.allclose(batch, values[[1, 3, 2]], atol=0.1)
    assert len(kept) == 3
    assert kept.bytes_needed == 4 * each


def test_the_bytes_are_known_before_anything_is_computed() -> None:
    network = backbone.build("test_resnet", size=64)
    assert network.shape("stage3", size=64) == (192, 4, 4)
    for stored_as, each in (("float32", 4 * 3072), ("float16", 2 * 3072), ("int8", 3072 + 4 * 192)):
        found = activation_bytes(network, "stage3", images=100, views=8, stored_as=stored_as)  # type: ignore[arg-type]
        assert found == 800 * each
    assert activation_bytes(network, "stage3", images=1, views=1, stored_as="float32", size=128) == 4 * 192 * 64
