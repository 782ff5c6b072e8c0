"""How a run is watched: what the command line draws, and a program may ignore."""

from typing import Protocol

from finetune.predict import Check
from finetune.runtime import StopRequests
from finetune.train.loop import Epoch, Step


class Show(Protocol):
    """Somebody who watches a run."""

    def say(self, text: str) -> None:
        """A line for people."""

    def progress(self, what: str, done: int, total: int) -> None:
        """How far a part of the run is."""

    def event(self, event: Step | Epoch, *, epochs: int) -> None:
        """A step or an epoch of training, of at most `epochs`."""


class Silent:
    """Watches nothing."""

    def say(self, text: str) -> None: ...
    def progress(self, what: str, done: int, total: int) -> None: ...
    def event(self, event: Step | Epoch, *, epochs: int) -> None: ...


def checking(show: Show, stop: StopRequests, what: str) -> Check:
    """What is called between the batches of a part of a run: shows how far it is, stops it where that was asked."""

    def check(done: int, total: int) -> None:
        show.progress(what, done, total)
        stop.check()

    return check
