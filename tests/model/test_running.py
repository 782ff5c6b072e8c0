"""Several stages from one pass; running up to a stage and onward from one is tested with the cuts."""

import threading

import pytest
import torch
from torch import Tensor

from finetune.errors import UsageError
from finetune.model import backbone, running
from finetune.model.cut import STAGES
from finetune.model.running import MAP
from tests.model.test_cut import Hidden, InPlaceModule, Toy, of

FAMILIES = ("test_resnet", "resnetv2_18", "densenet121", "test_convnext", "test_efficientnet", "mobilenetv3_small_050")


pytestmark = pytest.mark.usefixtures("one_thread")


def images(seed: int = 0) -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", FAMILIES)
def test_what_one_pass_gives_is_what_leaves_each_stage(name: str) -> None:
    network = backbone.build(name)
    module = network.module.eval()
    with torch.no_grad():
        found = running.taps(module, network.cut, [MAP, *reversed(STAGES)], size=64)(images())
        assert list(found) == [*STAGES, MAP]
        for stage in STAGES:
            assert torch.equal(found[stage], running.upto(module, network.cut, stage)(images())), stage
        assert torch.equal(module.forward_head(found[MAP]), module(images()))  # type: ignore[operator]


@pytest.mark.parametrize("stages", [("stem",), ("stem", "stage1"), ("stem", "stage3"), ("stage4",), (MAP,)])
def test_any_choice_of_stages_gives_those_and_no_others(stages: tuple[str, ...]) -> None:
    network = backbone.build("test_resnet")
    module = network.module.eval()
    with torch.no_grad():
        whole = running.taps(module, network.cut, [*STAGES, MAP], size=64)(images())
        found = running.taps(module, network.cut, stages, size=64)(images())
    assert tuple(found) == stages
    assert all(torch.equal(found[stage], whole[stage]) for stage in stages)


class Counted(Toy):
    """Counts how often its last stages run."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = {"stage3": 0, "stage4": 0}
        for name in self.calls:
            self.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: self._count(name))

    def _count(self, name: str) -> None:
        self.calls[name] += 1


def test_what_comes_after_the_last_stage_is_not_run() -> None:
    toy = Counted().eval()
    taps = running.taps(toy, of(toy), ["stage1", "stage3"], size=64)
    toy.calls.update(stage3=0, stage4=0)
    taps(images())
    assert toy.calls == {"stage3": 1, "stage4": 0}


def test_a_pass_leaves_the_network_as_it_was() -> None:
    toy = Toy()
    parts = dict(toy.named_modules())
    running.taps(toy, of(toy), STAGES, size=64)(images())
    assert dict(toy.named_modules()) == parts
    assert not any(module._forward_hooks for module in toy.modules())


def test_weights_and_modes_are_those_of_the_moment() -> None:
    network = backbone.build("test_resnet")
    taps = running.taps(network.module, network.cut, ["stage1", "stage4"], size=64)
    with torch.no_grad():
        network.module.eval()
        still = taps(images())
        network.module.train()
        moving = taps(images())
        for parameter in network.module.parameters():
            parameter.mul_(2)
        network.module.eval()
        assert not torch.equal(taps(images())["stage1"], still["stage1"])
    assert not torch.equal(still["stage1"], moving["stage1"])


def test_gradients_flow_from_every_stage() -> None:
    network = backbone.build("test_resnet")
    found = running.taps(network.module, network.cut, ["stage2", "stage4"], size=64)(images())
    found["stage2"].sum().backward(retain_graph=True)
    reached = {network.tensors[name] for name, one in network.module.named_parameters() if one.grad is not None}
    assert reached == {"stem", "stage1", "stage2"}


def test_threads_that_share_a_module_do_not_meet() -> None:
    network = backbone.build("test_resnet")
    network.module.eval()
    taps = running.taps(network.module, network.cut, ["stage1", "stage4"], size=64)
    with torch.no_grad():
        expected = [taps(images(seed)) for seed in range(4)]
    wrong: list[int] = []

    def work(seed: int) -> None:
        with torch.no_grad():
            for _ in range(20):
                found = taps(images(seed))
                if not all(torch.equal(found[stage], expected[seed][stage]) for stage in found):
                    wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


class NoMap(Toy):
    """Makes its features from something else than a map."""

    def forward_features(self, x: Tensor) -> Tensor:
        return self.forward(x)

    def forward_head(self, x: Tensor) -> Tensor:
        return x


class OtherHead(Toy):
    """Does something between its two halves."""

    def forward_features(self, x: Tensor) -> Tensor:
        return self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x)))))

    def forward_head(self, x: Tensor) -> Tensor:
        return self.pool(2 * x)


@pytest.mark.parametrize(
    ("network", "stages", "reason"),
    [
        (InPlaceModule, ("stage1", "stage4"), "what leaves stage1 is changed by what runs after it"),
        (Hidden, ("stage1", "stage4"), r"it fails \(the network ran past the end of stage1"),
        (Toy, ("stage3", MAP), "it fails .*forward_features"),
        (NoMap, (MAP,), "its features are not pooled from a map"),
        (OtherHead, (MAP,), "its features are not pooled from a map"),
    ],
)
def test_stages_that_one_pass_cannot_give_are_refused(network: type[Toy], stages: tuple[str, ...], reason: str) -> None:
    toy = network()
    with pytest.raises(UsageError, match=f"the network cannot give {' and '.join(stages)} in one pass: {reason}"):
        running.taps(toy, of(toy), stages, size=64)


def test_a_stage_that_changes_in_place_can_be_had_alone() -> None:
    toy = InPlaceModule().eval()
    alone = running.taps(toy, of(toy), ["stage1"], size=64)(images())["stage1"]
    assert torch.equal(alone, toy.stage1(toy.stem(images())))


def test_no_stage_and_an_unknown_one_are_refused() -> None:
    toy = Toy()
    with pytest.raises(UsageError, match="no stage is named; choose from stem, stage1"):
        running.taps(toy, of(toy), [], size=64)
    with pytest.raises(UsageError, match="no stage 'stage5'; did you mean 'stage"):
        running.taps(toy, of(toy), ["stage5"], size=64)
