"""Where and how the network runs: device, precision, threads and seeds.

The only importer of accelerate. It knows nothing of images, networks or recipes.
"""

import contextlib
import functools
import hashlib
import os
import random
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from accelerate import Accelerator

from finetune.errors import Stopped, UsageError

Precision = Literal["bf16", "float32"]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Runtime:
    """What was decided about the machine; `precision` is that of gradient steps, everything that is reported is
    float32.
    """

    device: torch.device
    precision: Precision
    threads: int

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Reduced precision for a gradient step; a context that does nothing in float32."""
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    @property
    def evaluation_batch(self) -> int:
        """The one batch size that evaluation and prediction are padded to, so that logits depend on the image alone."""
        return 8 if self.device.type == "cpu" else 64

    def to_dict(self) -> dict[str, object]:
        return {**asdict(self), "device": str(self.device), "evaluation_batch": self.evaluation_batch}


def start(precision: Precision | None = None, *, threads: int | None = None, depthwise: bool = False) -> Runtime:
    """The runtime of this process. What is None is decided: bf16 where the hardware has the instructions, all the
    threads that torch takes by itself. depthwise: the network convolves channel by channel, for which processors have
    no fast bf16 kernels.

    Raises UsageError for bf16 where the hardware lacks it, and when started as one of several processes.
    """
    accelerator = _accelerator()
    if accelerator.num_processes > 1:
        raise UsageError(
            f"started as one of {accelerator.num_processes} processes; a run is one process: "
            "start it without a distributed launcher"
        )
    if threads is not None:
        torch.set_num_threads(threads)
    device = accelerator.device
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False  # it picks kernels by timing: two runs would differ
        torch.backends.cudnn.deterministic = True
    if precision == "bf16" and not has_bf16(device):
        raise UsageError(
            f"train.precision is 'bf16', but {device.type!r} here has no bf16 instructions; write 'float32'"
        )
    slow = depthwise and device.type == "cpu"
    chosen: Precision = precision or ("bf16" if has_bf16(device) and not slow else "float32")
    return Runtime(device=device, precision=chosen, threads=torch.get_num_threads())


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 matrix products run in hardware; emulated bf16 is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def seed(run_seed: int, *parts: int | str) -> None:
    """Seeds every generator that a forward pass may draw from with one hash of (run_seed, parts)."""
    number = number_from(run_seed, *parts)
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)


def number_from(*parts: int | str) -> int:
    """A number below 2**63 that is a function of the parts alone: the same in every process and on every machine."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Leaves the caller's random generators as they were: a library call must not reseed its user's process."""
    torch_state, python_state, numpy_state = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        random.setstate(python_state)
        np.random.set_state(numpy_state)


class StopRequests:
    """Whether a signal has asked to stop. The handler only notes it; `check` raises Stopped at the next safe place."""

    def __init__(self) -> None:
        self.received: int | None = None

    def note(self, number: int, _frame: object) -> None:
        if self.received is not None:
            os._exit(128 + number)  # asked twice: at once; whatever was published is whole
        self.received = number

    def check(self) -> None:
        if self.received is not None:
            raise Stopped(f"stopped by {signal.Signals(self.received).name}", signal=self.received)


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Listens to SIGINT and SIGTERM while the block runs; outside the main thread, where Python has no signals, to
    nothing.
    """
    requests = StopRequests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    before = {number: signal.signal(number, requests.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def in_order(function: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int) -> Iterator[R]:
    """`function` of each item, in the order of the items, computed by threads at most `ahead` items before they are
    asked for.

    An exception of `function` is raised where its result would have been. Threads suffice: image decoding and
    augmentation let go of the interpreter lock.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@functools.cache
def _accelerator() -> Accelerator:
    return Accelerator()  # one per process, without mixed_precision: a second one with another precision raises
