"""Networks written out, each with one thing that makes a cut impossible or inexact."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from finetune.errors import UsageError
from finetune.model import running
from finetune.model.cut import Cut, cut

LANDMARKS = [{"reduction": 4 * 2**k, "module": f"stage{k + 1}", "num_chs": 4} for k in range(4)]


class Toy(nn.Module):
    """Stem and four stages at strides 4, 8, 16 and 32, with a pooled vector of 4 at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, stride=4)
        self.stage1 = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.stage2 = nn.Conv2d(4, 4, 2, stride=2)
        self.stage3 = nn.Conv2d(4, 4, 2, stride=2)
        self.stage4 = nn.Conv2d(4, 4, 2, stride=2)

    def pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x))))))


def of(network: nn.Module, landmarks: list[dict[str, object]] = LANDMARKS) -> Cut:
    return cut(network, landmarks, torch.rand(2, 3, 64, 64))


def test_stages_channels_and_strides_of_a_plain_network() -> None:
    found = of(Toy())
    assert found.tensors["stage1.0.weight"] == "stage1"
    assert found.stages == {
        "stem": ("stem",),
        "stage1": ("stage1.0", "stage1.1"),
        "stage2": ("stage2",),
        "stage3": ("stage3",),
        "stage4": ("stage4",),
    }
    assert found.channels == dict.fromkeys(("stem", "stage1", "stage2", "stage3", "stage4"), 4)
    assert list(found.strides.values()) == [4, 4, 8, 16, 32]


def test_what_lies_between_the_ends_of_two_stages_belongs_to_the_later_one() -> None:
    class Between(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(4, 4, 1)
            self.between = nn.Conv2d(4, 4, 1)
            self.last = nn.Linear(4, 6)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stage2(self.between(self.stage1(self.first(self.stem(x)))))
            return self.last(self.pool(self.stage4(self.stage3(x))))

    found = of(Between())
    assert found.tensors["first.weight"] == "stem"
    assert found.tensors["between.weight"] == "stage2"
    assert found.tensors["last.weight"] == "stage4"
    assert found.channels["stage4"] == 6


def test_a_module_that_runs_twice_in_one_stage_is_of_that_stage() -> None:
    class Twice(Toy):
        def forward(self, x: Tensor) -> Tensor:
            x = self.stage1(self.stage1(self.stem(x)))
            return self.pool(self.stage4(self.stage3(self.stage2(x))))

    assert of(Twice()).tensors["stage1.0.weight"] == "stage1"


def test_a_part_that_never_runs_belongs_to_what_holds_it() -> None:
    network = Toy()
    network.stage1.register_module("unused", nn.Module())
    network.stage1.forward = lambda x: x + network.stage1[0](x)  # type: ignore[method-assign]
    network.idle = nn.Dropout()
    found = of(network)
    assert found.module_stage["stage1.unused"] == "stage1"
    assert "idle" not in found.module_stage


class Tied(Toy):
    """One tensor in two stages."""

    def __init__(self) -> None:
        super().__init__()
        self.stage3.weight = self.stage2.weight


class Reused(Toy):
    """One module in two stages."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage2(self.shared(self.stage1(self.stem(x))))
        return self.pool(self.stage4(self.stage3(self.shared(x))))


class ReusedDropout(Toy):
    """One module without tensors in two stages."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage2(self.shared(self.stage1(self.stem(x))))
        return self.pool(self.stage4(self.stage3(self.shared(x))))


class Straddling(Toy):
    """A tensor of the whole network."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def pool(self, x: Tensor) -> Tensor:
        return self.scale * super().pool(x)


class Unused(Toy):
    """A module with tensors that does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


class Empty(Toy):
    """A stage without tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.ReLU())


class Silent(Toy):
    """A stage whose module is not called."""

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.stage4(self.stage3(self.stage2(self.stage1[1](self.stage1[0](self.stem(x)))))))


class Backwards(Toy):
    """Stages in another order than their strides."""

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.stage4(self.stage2(self.stage3(self.stage1(self.stem(x))))))


class ChannelsLast(Toy):
    """A map whose channels come last leaves the stem."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = Turn()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(self.stem(x).permute(0, 2, 3, 1))
        return self.pool(self.stage4(self.stage3(self.stage2(x))))


class Turn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.permute(0, 3, 1, 2))


class Maps(Toy):
    """A map instead of a vector."""

    def pool(self, x: Tensor) -> Tensor:
        return x


class Tuples(Toy):
    """Two maps leave a stage."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = Two()

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.stage4(self.stage3(self.stage2(self.stage1(self.stem(x))[0]))))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(x), x


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Tied, "its tensor 'stage3.weight' is used in more than one stage"),
        (Reused, "its tensor 'shared.weight' is used in more than one stage"),
        (ReusedDropout, "its module 'shared' runs in more than one stage"),
        (Straddling, "its tensor 'scale' is used in more than one stage"),
        (Unused, "it has tensors whose module never ran, so that they are in no stage:\n    spare.weight"),
        (Empty, "its stage1 holds no tensors"),
        (Silent, "its module 'stage1', which should end a stage, never ran"),
        (Backwards, "its stages do not run one after the other"),
        (ChannelsLast, r"what leaves its stem is no map \(images, channels, height, width\) but \(2, 16, 16, 4\)"),
        (Maps, "it does not give one vector per image"),
        (Tuples, "what leaves its stage1 is no map"),
    ],
)
def test_a_network_whose_cut_would_be_in_doubt_is_refused(network: Callable[[], nn.Module], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        of(network())


def test_a_network_without_four_strides_is_refused() -> None:
    with pytest.raises(UsageError, match="its stages have strides 4, 8, 16; networks with stages at"):
        of(Toy(), LANDMARKS[:3])
    with pytest.raises(UsageError, match="its stages have strides that it does not tell"):
        of(Toy(), [])
    with pytest.raises(UsageError, match="its stages end at 'stage1', 'stage2', 'stage3', 'body', which are not"):
        of(Toy(), [*LANDMARKS[:3], {"reduction": 32, "module": "body", "num_chs": 4}])


def test_what_no_module_does_belongs_to_the_stage_in_which_it_happens() -> None:
    toy = Doubling().eval()
    images = torch.rand(2, 3, 64, 64)
    activation = running.upto(toy, of(toy), "stage2")(images)
    with pytest.raises(UsageError):
        running.onward(toy, of(toy), "stage2", size=64)
    assert torch.equal(activation, toy.stage2(toy.stage1(2 * toy.stem(images))))


def test_hooks_are_gone_after_a_cut() -> None:
    network = Toy()
    of(network)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class Doubling(Toy):
    """Before the end of stage 1 something happens that no module does."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(2 * self.stem(x))
        return self.pool(self.stage4(self.stage3(self.stage2(x))))


class Counting(Toy):
    """Looks at the size of what lies before a cut."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        assert x.shape[2] == 16, "a side of 16 pixels"
        return self.pool(self.stage4(self.stage3(self.stage2(self.stage1(x)))))


class InPlaceModule(Toy):
    """The first module after the cut works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Conv2d(4, 4, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stage1(self.stem(x)))
        return self.pool(self.stage4(self.stage3(self.stage2(x))))


class Constant(Toy):
    """The same for all images."""

    def pool(self, x: Tensor) -> Tensor:
        return 0 * super().pool(x)


class Hidden(Toy):
    """Calls a stage by another way than its name."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "secret", [self.stage1])

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.stage4(self.stage3(self.stage2(self.secret[0](self.stem(x))))))


@pytest.mark.parametrize(
    ("network", "stage", "reason"),
    [
        (Doubling, "stage1", "more happens there than its modules do"),
        (Counting, "stage2", r"it fails \(a side of 16 pixels"),
        (InPlaceModule, "stage1", "it changes the activation that it is given"),
        (Constant, "stage1", "on a trial it gives nothing that could be compared"),
        (Hidden, "stage1", r"it fails \(the network ran past the end of stage1"),
    ],
)
def test_running_onward_is_refused_where_it_is_not_running_the_whole(
    network: type[Toy], stage: str, reason: str
) -> None:
    toy = network()
    with pytest.raises(UsageError, match=f"the network cannot run onward from {stage}: {reason}"):
        running.onward(toy, of(toy), stage, size=64)


def test_a_network_that_bypasses_its_names_is_found_out_when_it_runs_up_to_a_cut() -> None:
    toy = Hidden()
    with pytest.raises(UsageError, match="the network ran past the end of stage1"):
        running.upto(toy, of(toy), "stage1")(torch.rand(2, 3, 64, 64))


class Large(nn.Conv2d):
    """Takes images from 128 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2] >= 128
        return super().forward(x)


def test_a_network_that_takes_no_small_images_is_tried_on_its_own_size() -> None:
    toy = Toy().eval()
    toy.stem = Large(3, 4, 4, stride=4)
    images = torch.rand(2, 3, 128, 128)
    found = cut(toy, LANDMARKS, images)
    activation = running.upto(toy, found, "stage2")(images)
    assert torch.equal(running.onward(toy, found, "stage2", size=128)(activation), toy(images))


def test_branches_that_start_at_zero_do_not_hide_a_difference() -> None:
    toy = Doubling()
    nn.init.zeros_(toy.stage2.weight)
    with pytest.raises(UsageError, match="more happens there"):
        running.onward(toy, of(toy), "stage1", size=64)
