import os
import random
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from finetune import runtime
from finetune.errors import Stopped, UsageError


def test_the_same_parts_give_the_same_draws_in_every_generator() -> None:
    def drawn() -> tuple[float, float, float]:
        runtime.seed(3, "epoch", 2)
        return torch.rand(1).item(), random.random(), float(np.random.rand())

    first = drawn()
    assert drawn() == first
    runtime.seed(3, "epoch", 3)
    assert torch.rand(1).item() != first[0]


def test_numbers_are_a_function_of_their_parts_in_every_process() -> None:
    code = "from finetune.runtime import number_from; print(number_from(7, 'order', 1))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == runtime.number_from(7, "order", 1) < 2**63
    assert runtime.number_from(7, 1) != runtime.number_from(71)


def test_a_library_call_leaves_the_callers_generators_as_they_were() -> None:
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    expected = torch.rand(1).item(), random.random(), float(np.random.rand())
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    with runtime.generators_kept():
        runtime.seed(1)
    assert (torch.rand(1).item(), random.random(), float(np.random.rand())) == expected


def test_results_come_in_order_and_no_further_ahead_than_asked() -> None:
    begun = []
    lock = threading.Lock()

    def work(number: int) -> int:
        with lock:
            begun.append(number)
        return number * number

    results = runtime.in_order(work, range(100), threads=4, ahead=5)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(begun) <= 3 + 5 + 1
    assert list(results) == [n * n for n in range(3, 100)]


def test_an_exception_is_raised_where_its_result_would_have_been() -> None:
    results = runtime.in_order(lambda number: 6 // number, [3, 2, 0, 1], threads=2, ahead=4)
    assert [next(results), next(results)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_items_handed_over_together_come_in_order_and_with_their_exceptions() -> None:
    begun: list[int] = []

    def work(number: int) -> float:
        begun.append(number)
        return 6 / (number - 77)

    results = runtime.in_order(work, range(100), threads=2, ahead=64)
    assert next(results) == 6 / -77
    assert len(begun) <= 64 + 8  # eight at once
    assert [next(results) for _ in range(76)] == [6 / (n - 77) for n in range(1, 77)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_signal_is_noted_and_raised_at_the_next_check() -> None:
    with runtime.stop_requests() as requests:
        requests.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped) as stopped:
            requests.check()
    assert stopped.value.exit_code == 143
    assert "SIGTERM" in str(stopped.value)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_second_signal_ends_the_process_at_once() -> None:
    code = (
        "import os, signal\nfrom finetune.runtime import stop_requests\n"
        "with stop_requests():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    os.kill(os.getpid(), signal.SIGINT)\n    print('still here')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (130, "")


def test_outside_the_main_thread_there_is_nothing_to_listen_to() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with runtime.stop_requests() as requests:
            requests.check()
            seen.append(signal.getsignal(signal.SIGINT) == before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


def test_precision_is_what_was_asked_or_what_the_hardware_has() -> None:
    assert runtime.start("float32").precision == "float32"
    device = torch.device("cpu")
    assert runtime.start().precision == ("bf16" if runtime.has_bf16(device) else "float32")
    assert not runtime.has_bf16(torch.device("mps"))


def test_bf16_is_refused_where_the_hardware_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "has_bf16", lambda device: False)
    with pytest.raises(UsageError, match="no bf16 instructions; write 'float32'"):
        runtime.start("bf16")


def test_one_of_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_accelerator", lambda: SimpleNamespace(num_processes=2))
    with pytest.raises(UsageError, match="one of 2 processes"):
        runtime.start()


def test_a_float32_run_has_no_autocast() -> None:
    product = torch.ones(2, 2)
    with runtime.Runtime(torch.device("cpu"), "float32", 1).autocast():
        assert (product @ product).dtype == torch.float32
    with runtime.Runtime(torch.device("cpu"), "bf16", 1).autocast():
        assert (product @ product).dtype == torch.bfloat16


def test_on_a_processor_a_depthwise_network_takes_its_steps_in_float32() -> None:
    found = runtime.start(depthwise=True)
    assert found.precision == "float32" or found.device.type != "cpu"
    if runtime.has_bf16(found.device):
        assert runtime.start("bf16", depthwise=True).precision == "bf16"
