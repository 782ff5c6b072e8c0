import time

import pytest

from finetune.choose.budget import Budget, OutOfTime, ending


def test_without_an_end_nothing_is_cut_off() -> None:
    called: list[tuple[int, int]] = []
    ending(lambda done, total: called.append((done, total)), Budget().over)(1, 2)
    assert called == [(1, 2)]
    assert Budget().left_to_choose() == float("inf")


def test_what_is_kept_for_the_test_images_is_not_there_to_choose() -> None:
    left = Budget(time.monotonic() + 100, scoring=30).left_to_choose()
    assert 60 < left <= 70


def test_when_all_is_over_what_can_be_left_out_ends_but_is_shown_first() -> None:
    called: list[tuple[int, int]] = []
    check = ending(lambda done, total: called.append((done, total)), Budget(time.monotonic() - 1).over)
    with pytest.raises(OutOfTime):
        check(3, 4)
    assert called == [(3, 4)]
