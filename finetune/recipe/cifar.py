"""The residual networks made for images of 32 pixels, by name: depth, parameters and multiply-adds, without torch.

He et al. 2015, Deep Residual Learning for Image Recognition, section 4.2: `cifar_resnet20`, with `_b` behind it those
whose shortcuts are 1 x 1 convolutions where widths change (option B; else they are padded with zeros, option A), and
`cifar_plain20`, the same without shortcuts. He et al. 2016, Identity Mappings in Deep Residual Networks:
`cifar_resnetv2_164`, with bottlenecks. A name may have any depth that the formula of its kind gives.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from finetune.errors import RecipeError

Kind = Literal["resnet", "resnetv2", "plain"]

SIZE = 32  # pixels, of the images that they were made for
MEAN = (0.4914, 0.4822, 0.4465)  # of the channels of CIFAR-10's training images, in 0…1
STD = (0.2470, 0.2435, 0.2616)
STRIDES = (1, 2, 4)  # of the maps that leave stages 1 to 3
WIDTHS = (16, 32, 64)  # channels of 3 x 3 convolutions in each of them
EXPANSION = 4  # of a bottleneck
PUBLISHED: dict[Kind, tuple[int, ...]] = {
    "resnet": (20, 32, 44, 56, 110, 1202),
    "resnetv2": (29, 56, 110, 164, 1001),
    "plain": (20, 32, 44, 56),
}

_PREFIXES: dict[Kind, str] = {"resnet": "cifar_resnet", "resnetv2": "cifar_resnetv2_", "plain": "cifar_plain"}
PATTERN = "^cifar_(resnet[1-9][0-9]*(_b)?|resnetv2_[1-9][0-9]*|plain[1-9][0-9]*)$"  # of any depth, for an editor

_NAME = re.compile(r"(cifar_[a-z]+(?:v2_)?)([1-9][0-9]{0,5})(_b)?")
_DEEPEST = 1202


@dataclass(frozen=True)
class Convolution:
    """A square kernel of `kernel` by `kernel`, from `given` to `made` channels, on a map of `side` by `side`."""

    given: int
    made: int
    kernel: int
    side: int

    @property
    def weights(self) -> int:
        return self.given * self.made * self.kernel**2


@dataclass(frozen=True)
class Member:
    """One of the networks: `blocks` in each stage; `projected`: shortcuts of option B."""

    kind: Kind
    blocks: int
    projected: bool = False

    @property
    def bottleneck(self) -> bool:
        return self.kind == "resnetv2"

    @property
    def features(self) -> int:
        return WIDTHS[-1] * (EXPANSION if self.bottleneck else 1)

    @property
    def parameters(self) -> int:
        """Without a classifier: weights of convolutions, and scale and shift of what normalises."""
        return sum(one.weights for one in self._convolutions()) + 2 * sum(self._normalised())

    @property
    def macs(self) -> int:
        """Multiply-adds of the convolutions for one image of 32 pixels."""
        return sum(one.weights * one.side**2 for one in self._convolutions())

    def _convolutions(self) -> Iterator[Convolution]:
        yield Convolution(3, WIDTHS[0], 3, SIZE)
        for given, width, made, side in self._blocks():
            if self.bottleneck:
                yield Convolution(given, width, 1, side)
                yield Convolution(width, width, 3, side)
                yield Convolution(width, made, 1, side)
            else:
                yield Convolution(given, width, 3, side)
                yield Convolution(width, made, 3, side)
            if given != made and (self.projected or self.bottleneck):
                yield Convolution(given, made, 1, side)

    def _normalised(self) -> Iterator[int]:
        """The channels of every normalisation."""
        yield WIDTHS[0]
        for place, (given, width, made, _) in enumerate(self._blocks()):
            if self.bottleneck:
                yield from (given, width, width) if place else (width, width)
            else:
                yield from (width, made, made) if self.projected and given != made else (width, made)
        if self.bottleneck:
            yield self.features

    def _blocks(self) -> Iterator[tuple[int, int, int, int]]:
        """Of every block the channels that it is given, has inside and makes, and the side of its map."""
        given = WIDTHS[0]
        for width, stride in zip(WIDTHS, STRIDES, strict=True):
            made = width * (EXPANSION if self.bottleneck else 1)
            for _ in range(self.blocks):
                yield given, width, made, SIZE // stride
                given = made


def member(name: str) -> Member | None:
    """The network of that name; None for a name that is of another form. Raises RecipeError for a depth that there is
    not, with those next to it.
    """
    found = _NAME.fullmatch(name)
    kinds = [kind for kind, prefix in _PREFIXES.items() if found and found[1] == prefix]
    if found is None or not kinds or (found[3] and kinds != ["resnet"]):
        return None
    step = 9 if kinds == ["resnetv2"] else 6
    blocks, rest = divmod(int(found[2]) - 2, step)
    most = (_DEEPEST - 2) // step
    if rest or not 1 <= blocks <= most:
        near = sorted({min(max(one, 1), most) for one in (blocks, blocks + 1)})
        names = " and ".join(f"{found[1]}{step * one + 2}{found[3] or ''}" for one in near)
        raise RecipeError(
            f"there is no backbone {name!r}: the depth is {step}n + 2, from {step + 2} to {step * most + 2}; "
            f"next to it {'is' if len(near) == 1 else 'are'} {names}"
        )
    return Member(kinds[0], blocks, projected=bool(found[3]))


def names() -> tuple[str, ...]:
    """Those of the papers and of the shortest v2, in alphabetical order; there are others of other depths."""
    found = [f"{_PREFIXES[kind]}{depth}" for kind, depths in PUBLISHED.items() for depth in depths]
    return tuple(sorted([*found, *(f"cifar_resnet{depth}_b" for depth in PUBLISHED["resnet"])]))
