"""The residual networks made for images of 32 pixels, and the plain ones beside them, with random weights.

`recipe/cifar.py` says which there are. Tensors are named as in the PyTorch files of such networks that are shared most:
conv1, bn1, layer1.0.conv1 … layer3, linear.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from finetune.recipe.cifar import EXPANSION, STRIDES, WIDTHS, Member


class CifarNet(nn.Module):
    """(n, 3, h, w) -> (n, features), or with `classes` their logits; stem, then three stages at strides 1, 2 and 4.

    v1: He et al. 2015, section 4.2. v2: He et al. 2016, with its appendix: what normalises and activates after the
    first convolution does so for the first block too, and after the last block once more. Weights of convolutions are
    drawn as He et al. 2015, Delving Deep into Rectifiers, section 2.2, has it, from what leaves them (fan out).
    """

    feature_info: list[dict[str, Any]]

    def __init__(self, member: Member, *, classes: int = 0) -> None:
        super().__init__()
        self.num_features = member.features
        self.conv1 = _convolution(3, WIDTHS[0], 3)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU()
        self.layer1, self.layer2, self.layer3 = _stages(member)
        self.norm = nn.Sequential(nn.BatchNorm2d(member.features), nn.ReLU()) if member.bottleneck else nn.Identity()
        self.linear = nn.Linear(member.features, classes) if classes else nn.Identity()
        widths = [width * (EXPANSION if member.bottleneck else 1) for width in WIDTHS]
        self.feature_info = [
            {"reduction": stride, "module": f"layer{place}", "num_chs": width}
            for place, (stride, width) in enumerate(zip(STRIDES, widths, strict=True), start=1)
        ]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, images: Tensor) -> Tensor:
        """The map that the features are pooled from."""
        entering = self.relu(self.bn1(self.conv1(images)))
        map: Tensor = self.norm(self.layer3(self.layer2(self.layer1(entering))))
        return map

    def forward_head(self, map: Tensor) -> Tensor:
        """Features, or logits, of that map."""
        found: Tensor = self.linear(map.mean((2, 3)))
        return found

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))


class Plain(nn.Module):
    """Two 3 x 3 convolutions, each normalised and activated."""

    def __init__(self, given: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = _convolution(given, width, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self._branch(x))

    def _branch(self, x: Tensor) -> Tensor:
        within = functional.relu(self.bn1(self.conv1(x)))
        found: Tensor = self.bn2(self.conv2(within))
        return found


class Basic(Plain):
    """The same, to which what came in is added before the last activation.

    Where widths change that is every second pixel, with half of the new channels, all zero, on either side of the old
    ones (option A: the paper does not say where they stand; those files have them so), or a projection (option B).
    """

    def __init__(self, given: int, width: int, *, stride: int, projected: bool) -> None:
        super().__init__(given, width, stride=stride)
        self.wider = width - given
        projection = (_convolution(given, width, 1, stride=stride), nn.BatchNorm2d(width))
        self.shortcut = nn.Sequential(*projection) if projected and self.wider else None

    def forward(self, x: Tensor) -> Tensor:
        beside = self._padded(x) if self.shortcut is None else self.shortcut(x)
        return functional.relu(self._branch(x) + beside)

    def _padded(self, x: Tensor) -> Tensor:
        if not self.wider:
            return x
        half = self.wider // 2
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.wider - half))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, each after what normalises and activates; what came in is added as it is.

    Where widths change it is projected, from what the first convolution is given. first: that is activated already.
    """

    def __init__(self, given: int, width: int, *, stride: int, first: bool) -> None:
        super().__init__()
        made = EXPANSION * width
        self.bn1 = None if first else nn.BatchNorm2d(given)
        self.conv1 = _convolution(given, width, 1, stride=stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, made, 1)
        self.shortcut = _convolution(given, made, 1, stride=stride) if given != made else None

    def forward(self, x: Tensor) -> Tensor:
        entering = x if self.bn1 is None else functional.relu(self.bn1(x))
        beside = x if self.shortcut is None else self.shortcut(entering)
        within = functional.relu(self.bn2(self.conv1(entering)))
        within = functional.relu(self.bn3(self.conv2(within)))
        found: Tensor = self.conv3(within) + beside
        return found


def _stages(member: Member) -> Iterator[nn.Sequential]:
    given = WIDTHS[0]
    for place, width in enumerate(WIDTHS):
        blocks = []
        for number in range(member.blocks):
            stride = 2 if place and not number else 1
            blocks.append(_block(member, given, width, stride=stride, first=not place and not number))
            given = width * (EXPANSION if member.bottleneck else 1)
        yield nn.Sequential(*blocks)


def _block(member: Member, given: int, width: int, *, stride: int, first: bool) -> nn.Module:
    if member.kind == "plain":
        return Plain(given, width, stride=stride)
    if member.kind == "resnet":
        return Basic(given, width, stride=stride, projected=member.projected)
    return Bottleneck(given, width, stride=stride, first=first)


def _convolution(given: int, made: int, kernel: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(given, made, kernel, stride=stride, padding=kernel // 2, bias=False)
