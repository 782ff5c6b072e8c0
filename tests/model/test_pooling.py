import pytest
import torch

from finetune.model.pooling import pooled

MAP = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[-4.0, 0.0], [0.0, 0.0]]]])


def test_the_mean_and_half_of_mean_and_maximum() -> None:
    assert pooled(MAP, "avg").tolist() == [[3.0, -1.0]]
    assert pooled(MAP, "avgmax").tolist() == [[4.5, -0.5]]


def test_the_generalised_mean_is_the_cube_root_of_the_mean_of_cubes() -> None:
    first = ((1 + 8 + 27 + 216) / 4) ** (1 / 3)
    assert pooled(MAP, "gem")[0, 0].item() == pytest.approx(first, rel=1e-6)


def test_what_is_not_positive_counts_as_a_millionth() -> None:
    assert pooled(MAP, "gem")[0, 1].item() == pytest.approx(1e-6, rel=1e-3)


def test_none_leaves_the_map() -> None:
    assert torch.equal(pooled(MAP, "none"), MAP)


@pytest.mark.parametrize("pool", ["avg", "avgmax", "gem", "none"])
def test_reduced_precision_is_left_before_anything_is_added_up(pool: str) -> None:
    large = torch.full((1, 1, 64, 64), 1.01).bfloat16()
    found = pooled(large, pool)  # type: ignore[arg-type]
    assert found.dtype == torch.float32
    assert found.mean().item() == pytest.approx(large[0, 0, 0, 0].item(), rel=1e-6)
