import signal

import pytest

from finetune.errors import Stopped
from finetune.runtime import StopRequests
from finetune.train.loop import Step
from finetune.train.watching import Silent, checking


class Kept(Silent):
    def __init__(self) -> None:
        self.shown: list[tuple[str, int, int]] = []

    def progress(self, what: str, done: int, total: int) -> None:
        self.shown.append((what, done, total))


def test_a_check_shows_how_far_a_part_is() -> None:
    kept = Kept()
    check = checking(kept, StopRequests(), "features")
    check(8, 20)
    check(16, 20)
    assert kept.shown == [("features", 8, 20), ("features", 16, 20)]


def test_a_check_stops_where_that_was_asked_and_shows_first() -> None:
    kept, stop = Kept(), StopRequests()
    check = checking(kept, stop, "heads")
    check(1, 3)
    stop.note(signal.SIGTERM, None)
    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        check(2, 3)
    assert kept.shown[-1] == ("heads", 2, 3)


def test_who_is_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Silent()
    silent.say("something")
    silent.progress("features", 1, 2)
    silent.event(Step(1, 1, 1, 1, 0.5, 4, 1e-3), epochs=1)
    assert capsys.readouterr() == ("", "")
