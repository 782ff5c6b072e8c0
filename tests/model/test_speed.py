from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finetune.data import decode
from finetune.model import backbone, speed
from finetune.model.backbone import Backbone
from finetune.recipe.cost import Costs
from finetune.recipe.images import Images
from finetune.runtime import start


def test_the_rates_of_this_machine_are_positive_and_dated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_SECONDS", 0.05)
    runtime = start("float32")
    rates = speed.measure(runtime)
    assert rates.forward_gmacs > rates.training_gmacs > 0
    assert rates.decode_images > 0
    assert rates.threads == runtime.threads
    assert rates.measured.count("-") == 2


def test_a_network_is_timed_by_name_alone_and_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that every pass moves by 2 s and 1 s for each image."""
    now, seen = [0.0], []
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    real = backbone.create

    def slow(name: str, *, seed: int) -> torch.nn.Module:
        network = real(name, seed=seed)

        def forward(images: torch.Tensor) -> torch.Tensor:
            assert not network.training
            now[0] += 2 + len(images)
            seen.append(tuple(images.shape))
            return images

        network.forward = forward  # type: ignore[method-assign]
        return network

    monkeypatch.setattr(backbone, "create", slow)
    found = speed.passes("test_resnet", start("float32"))
    assert found == speed.Speed(milliseconds=3000, images_per_second=0.8, batch=8, size=224)
    assert set(seen) == {(1, 3, 224, 224), (8, 3, 224, 224)}


@pytest.fixture
def network() -> Backbone:
    return backbone.build("test_resnet", size=64)


def costs_of(network: Backbone, photos: Path) -> Costs:
    pixels = network.contract.preprocessing(Images(size=64))
    return speed.costs(network, pixels, start("float32"), sorted(photos.rglob("*.png")))


def test_what_an_image_costs_here_is_measured(network: Backbone, photos: Path) -> None:
    found = costs_of(network, photos)
    assert 0 < found.decode < 1
    assert 0 < found.forward < found.step < 10
    assert 0 < found.last < 10


def test_measuring_leaves_the_network_as_it_was(network: Backbone, photos: Path) -> None:
    network.module.train()
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    costs_of(network, photos)
    assert all(torch.equal(network.module.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in network.module.parameters())
    assert all(module.training for module in network.module.modules())


def test_a_few_files_tell_what_many_would(network: Backbone, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    real = decode.read
    monkeypatch.setattr(decode, "read", lambda path: (read.append(path), real(path))[1])
    pixels = network.contract.preprocessing(Images(size=64))
    files = sorted(photos.rglob("*.png"))
    monkeypatch.setattr(speed, "_MOMENT", 0)
    speed.costs(network, pixels, start("float32"), sorted(files * 10))
    assert len(read) == 2 * 16
    assert {path.parent.name for path in read} == {"blue", "green", "red"}  # not of the beginning alone
    read.clear()
    assert speed.costs(network, pixels, start("float32"), files[:1]).decode > 0
    assert read == 2 * files[:1]


def test_a_slow_disk_and_a_slow_network_are_told_apart(
    network: Backbone, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that every decoded image moves by 1 s, and every pass by 40 s, of 8 images or
    of the 32 of a step.

    Such a network cannot be run onward from a stage, so that its last stage costs what lies below it too.
    """
    now = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    runtime = replace(start("float32"), threads=1)

    def slowly(seconds: float, real: Callable[..., object]) -> Callable[..., object]:
        def slow(*given: object, **named: object) -> object:
            now[0] += seconds
            return real(*given, **named)

        return slow

    monkeypatch.setattr(decode, "working_image", slowly(1.0, decode.working_image))
    network.module.forward = slowly(40.0, network.module.forward)  # type: ignore[method-assign]
    found = speed.costs(
        network, network.contract.preprocessing(Images(size=64)), runtime, sorted(photos.rglob("*.png"))
    )
    assert found == Costs(decode=1.0, forward=5.0, step=1.25, last=6.25)


def test_what_happens_once_does_not_decide(network: Backbone, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that moves by 0.1 s for every decoded image, by a minute for the second, and by 1 s for a pass."""
    now, steps = [0.0], iter([0.1, 60.0])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])

    def taking(seconds: Callable[[], float], real: Callable[..., object]) -> Callable[..., object]:
        def slow(*given: object) -> object:
            now[0] += seconds()
            return real(*given)

        return slow

    monkeypatch.setattr(decode, "working_image", taking(lambda: next(steps, 0.1), decode.working_image))
    network.module.forward = taking(lambda: 1.0, network.module.forward)  # type: ignore[method-assign]
    threads = start("float32").threads
    assert costs_of(network, photos).decode == pytest.approx(0.1 / threads)
