import pytest

from finetune.scores.drift import difference
from finetune.scores.intervals import wilson


def share(right: int, images: int) -> dict[str, float | None]:
    low, high = wilson(right, images)
    return {"value": right / images, "low": low, "high": high}


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [  # Newcombe 1998, table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0000),
    ],
)
def test_the_intervals_are_those_that_were_published(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    found = difference(share(*other), share(*one))
    assert found is not None
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    assert found["differs"]


def test_equal_shares_do_not_differ_and_what_is_not_known_says_nothing() -> None:
    found = difference(share(80, 100), share(81, 100))
    assert found is not None
    assert not found["differs"]
    assert difference({"value": None, "low": None, "high": None}, share(1, 2)) is None
