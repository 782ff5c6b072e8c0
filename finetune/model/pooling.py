"""A map of a network -> one vector per image. Knows nothing of stages and networks."""

from typing import Literal, assert_never

from torch import Tensor

Pool = Literal["avg", "avgmax", "gem", "none"]

_POWER = 3.0
_LEAST = 1e-6


def pooled(map: Tensor, pool: Pool) -> Tensor:
    """The map (n, channels, h, w) pooled to (n, channels), in float32; "none" leaves it a map.

    avg: the mean; avgmax: half the mean and half the maximum; gem: the generalised mean with p = 3, of values raised to
    at least 1e-6 (Radenovic et al. 2018, Fine-tuning CNN Image Retrieval with No Human Annotation, equation 2).
    """
    values = map.float()
    match pool:
        case "avg":
            return values.mean((2, 3))
        case "avgmax":
            return (values.mean((2, 3)) + values.amax((2, 3))) / 2
        case "gem":
            return values.clamp(min=_LEAST).pow(_POWER).mean((2, 3)).pow(1 / _POWER)
        case "none":
            return values
        case _:
            assert_never(pool)
