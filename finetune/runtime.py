"""Where and how the network runs: device, precision, threads and seeds.

The only importer of accelerate. It knows nothing of images, networks or recipes.
"""

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import itertools
import os
import random
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.tracking import MLflowTracker, TensorBoardTracker

from finetune.errors import Stopped, UsageError, printable
from finetune.recipe.machine import EVALUATION_BATCH

Precision = Literal["bf16", "float32"]
_TOGETHER = 16  # items that a thread is given at once, at most
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
        return EVALUATION_BATCH if self.device.type == "cpu" else 64

    def most_memory(self) -> int | None:
        """The most memory of the accelerator that tensors of this process have held, in bytes; None on a processor."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None

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
    augmentation let go of the interpreter lock. A thread is given several items at once, where that leaves enough for
    all of them: to hand one over takes as long as a view of 32 pixels.
    """
    together = max(1, min(_TOGETHER, ahead // (4 * threads)))
    rest = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[tuple[list[R], Exception | None]]] = deque()
        try:
            while some := list(itertools.islice(rest, together)):
                waiting.append(pool.submit(_results, function, some))
                if len(waiting) * together > ahead:
                    yield from _answered(waiting.popleft())
            while waiting:
                yield from _answered(waiting.popleft())
        finally:
            for future in waiting:
                future.cancel()


def _results(function: Callable[[T], R], items: Sequence[T]) -> tuple[list[R], Exception | None]:
    """What comes of items, up to one that raises, and what that raised."""
    found: list[R] = []
    try:
        for item in items:
            found.append(function(item))
    except Exception as error:
        return found, error
    return found, None


def _answered(future: Future[tuple[list[R], Exception | None]]) -> Iterator[R]:
    found, error = future.result()
    yield from found
    if error is not None:
        raise error


class TrackedRun(Protocol):
    """One run in a tracker, begun or gone on with."""

    @property
    def id(self) -> str:
        """What the tracker knows the run by."""

    def steps(self) -> dict[str, int]:
        """The last step at which each value was written."""

    def describe(self, values: Mapping[str, str | int | float | bool]) -> None:
        """Writes the hyper-parameters."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Writes values at a step."""


def has_tracker(kind: Literal["tensorboard", "mlflow"]) -> bool:
    """Whether the packages of a tracker are installed."""
    return importlib.util.find_spec(kind) is not None


@contextlib.contextmanager
def tracked_run(
    kind: Literal["tensorboard", "mlflow"], folder: Path, *, name: str, earlier: str | None
) -> Iterator[TrackedRun]:
    """A run in a tracker, which keeps its files in `folder`/`kind`; `earlier`: the id of the run to go on with.

    MLflow writes to the user's own MLFLOW_TRACKING_URI where there is one; its telemetry is off unless
    MLFLOW_DISABLE_TELEMETRY says otherwise. Raises UsageError where a run of MLflow's is active in this process, or the
    store refuses.
    """
    if kind == "tensorboard":
        writer = TensorBoardTracker(kind, folder)
        writer.start()
        try:
            yield _TensorBoard(writer, folder / kind)
        finally:
            writer.finish()
        return
    for variable in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE"):
        os.environ.setdefault(variable, "true")
    mlflow: Any = importlib.import_module("mlflow")
    if mlflow.active_run() is not None:
        raise UsageError("a run of MLflow's is active in this process: end it with mlflow.end_run() first")
    ours = not os.environ.get("MLFLOW_TRACKING_URI")  # mlflow.set_tracking_uri writes it too
    if ours:
        os.environ["MLFLOW_TRACKING_URI"] = (folder / kind).as_uri()
    try:
        tracker = MLflowTracker(experiment_name=name, run_id=earlier, run_name=name)
        try:
            tracker.start()
        except mlflow.exceptions.MlflowException as error:
            raise UsageError(f"MLflow cannot track this run: {printable(str(error))}") from error
        try:
            yield _Mlflow(tracker, mlflow)
        finally:
            tracker.finish()
    finally:
        if ours:
            os.environ.pop("MLFLOW_TRACKING_URI", None)


@dataclass(frozen=True)
class _TensorBoard:
    tracker: TensorBoardTracker
    folder: Path
    id: str = "tensorboard"

    def steps(self) -> dict[str, int]:
        module: Any = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
        events = module.EventAccumulator(str(self.folder), size_guidance={module.SCALARS: 0}).Reload()
        return {name: max(e.step for e in events.Scalars(name)) for name in events.Tags()["scalars"]}

    def describe(self, values: Mapping[str, str | int | float | bool]) -> None:
        self.tracker.store_init_configuration(dict(values))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.tracker.log(dict(values), step=step)


@dataclass(frozen=True)
class _Mlflow:
    tracker: MLflowTracker
    mlflow: Any

    @property
    def id(self) -> str:
        return str(self.tracker.tracker.info.run_id)

    def steps(self) -> dict[str, int]:
        client = self.mlflow.MlflowClient()
        names = client.get_run(self.id).data.metrics
        return {name: max(one.step for one in client.get_metric_history(self.id, name)) for name in names}

    def describe(self, values: Mapping[str, str | int | float | bool]) -> None:
        self.tracker.store_init_configuration(dict(values))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.tracker.log(dict(values), step=step)


@functools.cache
def _accelerator() -> Accelerator:
    return Accelerator()  # one per process, without mixed_precision: a second one with another precision raises
