"""How a run looks: a live line on a terminal, plain lines elsewhere; all of it on standard error."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from finetune.cli.wording import fitted

if TYPE_CHECKING:
    from finetune.train.loop import Epoch, Step

_EVERY = 10.0  # seconds between plain progress lines


class Lines:
    """Plain lines, for logs and pipes: one for each epoch, and now and then how far a long part is."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def say(self, text: str) -> None:
        click.echo(text, err=True)

    def progress(self, what: str, done: int, total: int) -> None:
        if time.monotonic() - self._last > _EVERY:
            self._last = time.monotonic()
            self.say(f"{what}: {done} of {total}")

    def event(self, event: "Step | Epoch", *, epochs: int) -> None:
        from finetune.train.loop import Step

        if isinstance(event, Step):
            self.progress(f"epoch {event.epoch}, step", event.step, event.steps)
        else:
            self._last = time.monotonic()
            self.say(epoch_line(event, epochs))


class Live:
    """One moving line at the bottom of a terminal, and a line for each epoch above it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._what = ""

    def __enter__(self) -> "Live":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        self._console.print("\n".join(fitted(text, self._console.width)), markup=False, soft_wrap=True)

    def progress(self, what: str, done: int, total: int, *, note: str = "") -> None:
        if self._task is None or what != self._what:
            self._clear()
            self._task, self._what = self._bar.add_task(what, total=total, note=note), what
        self._bar.update(self._task, completed=done, total=total, note=note)
        if done >= total:
            self._clear()

    def event(self, event: "Step | Epoch", *, epochs: int) -> None:
        from finetune.train.loop import Step

        if isinstance(event, Step):
            self.progress(f"epoch {event.epoch}/{epochs}", event.step, event.steps, note=f"loss {event.loss:.3f}")
        else:
            self.say(epoch_line(event, epochs))

    def _clear(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None


def epoch_line(epoch: "Epoch", epochs: int) -> str:
    """One epoch in at most 80 columns."""
    parts = [f"epoch {epoch.epoch:>{len(str(epochs))}}/{epochs}", f"loss {epoch.train_loss:.3f}"]
    if epoch.validation_loss is not None:
        parts.append(f"validation loss {epoch.validation_loss:.3f}, accuracy {epoch.validation_accuracy:.3f}")
    parts.append("+".join(epoch.train) if len(epoch.train) <= 2 else f"{epoch.train[0]} to {epoch.train[-1]}")
    if epoch.best and epoch.validation_loss is not None:
        parts.append("best")
    return "  ".join(parts)


def watch() -> "Live | Lines":
    """Live on a terminal, plain elsewhere."""
    return Live() if sys.stderr.isatty() else Lines()
