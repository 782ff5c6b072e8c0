import pytest

from finetune.model import speed
from finetune.runtime import start


def test_the_rates_of_this_machine_are_positive_and_dated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_SECONDS", 0.05)
    runtime = start("float32")
    rates = speed.measure(runtime)
    assert rates.forward_gmacs > rates.training_gmacs > 0
    assert rates.decode_images > 0
    assert rates.threads == runtime.threads
    assert rates.measured.count("-") == 2
