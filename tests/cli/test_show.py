import io
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from finetune.cli import show
from finetune.train.loop import Epoch, Step

STEP = Step(epoch=1, phase=1, step=3, steps=8, loss=0.5, images=12, rate=1e-3)
EPOCH = Epoch(
    epoch=2, phase=1, train=("stage4", "head"), train_loss=0.4321, train_accuracy=0.8, validation_loss=0.3,
    validation_accuracy=0.912, lr=1e-3, best=True,
)  # fmt: skip


def test_an_epoch_is_one_line_of_eighty_columns() -> None:
    line = show.epoch_line(EPOCH, 120)
    assert line == "epoch   2/120  loss 0.432  validation loss 0.300, accuracy 0.912  stage4+head  best"[: len(line)]
    assert "best" in line
    everything = replace(EPOCH, train=("stem", "stage1", "stage2", "stage3", "stage4", "head"), best=False)
    assert show.epoch_line(everything, 20).endswith("stem to head")
    assert len(show.epoch_line(everything, 20)) <= 80


def test_without_validation_images_nothing_is_called_best() -> None:
    line = show.epoch_line(replace(EPOCH, validation_loss=None, validation_accuracy=None), 5)
    assert line == "epoch 2/5  loss 0.432  stage4+head"


def test_plain_lines_come_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(show.time, "monotonic", lambda: now[0])
    with show.Lines() as lines:
        lines.progress("reading images", 1, 9)
        now[0] += 11
        lines.progress("reading images", 5, 9)
        now[0] += 11
        lines.event(STEP, epochs=4)
        lines.event(EPOCH, epochs=4)
        lines.event(STEP, epochs=4)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["reading images: 5 of 9", "epoch 1, step: 3 of 8", show.epoch_line(EPOCH, 4)]


def test_a_terminal_has_a_moving_line_and_the_epochs_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        show, "Console", lambda **named: Console(**{**named, "file": screen}, force_terminal=True, width=80)
    )
    with show.Live() as live:
        live.say("[red]markup is text[/red]")
        live.say("word " * 30)
        live.progress("reading images", 1, 9)
        live.progress("reading images", 9, 9)
        live.event(STEP, epochs=4)
        live.event(EPOCH, epochs=4)
    drawn = screen.getvalue()
    assert "[red]markup is text[/red]" in drawn
    assert " ".join(["word"] * 16) + "\n    word word" in drawn
    assert "epoch 2/4" in drawn
    assert "loss 0.500" in drawn


def test_what_watches_depends_on_where_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(show.watch(), show.Lines)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert isinstance(show.watch(), show.Live)
