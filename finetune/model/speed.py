"""How fast this machine is: what the estimates of a plan rest on. It measures; it does not guess."""

import copy
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from finetune.data import decode
from finetune.data.decode import Preprocessing
from finetune.errors import UsageError
from finetune.model import backbone
from finetune.model.backbone import Backbone
from finetune.recipe import backbones
from finetune.recipe.cost import Costs
from finetune.recipe.machine import Rates
from finetune.runtime import Runtime, in_order

_NETWORK = "resnet18"
_BATCH = 8
_FILES = 16  # that are decoded to see how long that takes
_STEP = 32  # images of a training step, for those costs depend on it
_PIXELS = _BATCH * 224**2  # of a step of the whole network, for larger ones would take seconds
_MOMENT = (
    0.2  # seconds that each is measured, twice at least: once alone, what else the machine does decides the answer
)
_SECONDS = 1.5  # the least that each measurement lasts, after a first call that does not count


def measure(runtime: Runtime) -> Rates:
    """A ResNet-18 forward in float32 and a training step in the precision of `runtime`, in 1e9 multiply-adds a second,
    and JPEG files of 500 x 375 pixels to working images on all threads, in images a second.
    """
    facts = backbones.entry(_NETWORK)
    network = backbone.build(_NETWORK).module.to(runtime.device).to(memory_format=torch.channels_last)
    images = torch.rand(_BATCH, 3, facts.input_size, facts.input_size, device=runtime.device)
    images = images.contiguous(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode():
            network.eval()(images).sum().item()

    def step() -> None:
        network.train().zero_grad(set_to_none=True)
        with runtime.autocast():
            loss = network(images).square().mean()
        loss.backward()
        loss.item()  # waits for a device of its own

    macs = facts.macs * _BATCH / 1e9
    return Rates(
        forward_gmacs=macs * _per_second(forward),
        training_gmacs=macs * _per_second(step),
        decode_images=_decoding(runtime.threads),
        measured=date.today().isoformat(),
        threads=runtime.threads,
    )


def costs(network: Backbone, pixels: Preprocessing, runtime: Runtime, files: Sequence[Path]) -> Costs:
    """What one image costs here: a few of the files are decoded, a batch passed forward and one trained on, in a copy.

    files: images that can be read. It takes a second or two; what comes of it is rough, and of this moment.
    """
    some = files[:: max(1, len(files) // _FILES)][:_FILES]
    decoding = _seconds(
        lambda: [
            decode.working_image(data, pixels)
            for data in in_order(decode.read, some, threads=runtime.threads, ahead=len(some))
        ]
    ) / (len(some) * runtime.threads)
    module = copy.deepcopy(network.module).to(runtime.device).to(memory_format=torch.channels_last).eval()
    copied = replace(network, module=module)
    images = torch.rand((runtime.evaluation_batch, 3, pixels.size, pixels.size), device=runtime.device)
    images = images.contiguous(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode():
            module(images).sum().item()

    def stepping(part: nn.Module, given: Tensor) -> float:
        def step() -> None:
            with runtime.autocast():
                loss = part(given).float().square().mean()
            loss.backward()
            loss.item()  # waits for a device of its own

        step()
        return _seconds(step) / len(given)

    forward()
    passed = _seconds(forward) / len(images)
    whole = stepping(module, _of(images, min(_STEP, _PIXELS // pixels.size**2)))
    below = tuple(network.stages)[-2]
    try:
        upper = copied.onward(below)
    except UsageError:  # it cannot be run from there, and the last stage is then trained with all that lies below
        return Costs(decoding, passed, whole, passed + whole)
    with torch.no_grad():
        entering = copied.upto(below)(images).contiguous(memory_format=torch.channels_last)
    return Costs(decoding, passed, whole, stepping(upper, _of(entering, _STEP)))


def _of(batch: Tensor, size: int) -> Tensor:
    """A batch of another size, at least 1, made of the same rows."""
    rows = torch.arange(max(1, size), device=batch.device) % len(batch)
    return batch[rows].contiguous(memory_format=torch.channels_last)


def _seconds(work: Callable[[], object]) -> float:
    """Of the fastest call."""
    best, calls, begun = float("inf"), 0, time.perf_counter()
    while calls < 2 or time.perf_counter() - begun < _MOMENT:
        before = time.perf_counter()
        work()
        best, calls = min(best, time.perf_counter() - before), calls + 1
    return best


def _decoding(threads: int) -> float:
    noise = np.random.default_rng(0).normal(128, 40, (24, 32, 3)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    pixels = Preprocessing(size=224, working=256, fit="crop", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
    files = [file.getvalue()] * 32

    def batch() -> None:
        for _ in in_order(lambda data: decode.working_image(data, pixels), files, threads=threads, ahead=len(files)):
            pass

    return len(files) * _per_second(batch)


def _per_second(work: Callable[[], None]) -> float:
    work()
    begun, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < _SECONDS:
        work()
        calls += 1
    return calls / passed
