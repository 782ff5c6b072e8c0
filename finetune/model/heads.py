"""From a feature vector to logits."""

from collections.abc import Mapping
from typing import Literal, assert_never

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from finetune.errors import BundleError
from finetune.recipe.network import Cosine, HeadChoice, Linear, Mlp, Multilayer

_FIRST_SCALE = 10.0  # cosines lie in -1…1; without it no softmax over them could be sure of anything


class Directions(nn.Module):
    """(n, features) -> (n, classes): a linear layer on x - centre divided by its length.

    The rows of `weight` are multiplied by `scale`, so that the step of an optimizer does not depend on how sure the
    logits are.
    """

    centre: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.weight = nn.Parameter(torch.empty(classes, features))
        self.bias = nn.Parameter(torch.zeros(classes))
        self.scale = nn.Parameter(torch.tensor(_FIRST_SCALE))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, features: Tensor) -> Tensor:
        directions = functional.normalize(features - self.centre)
        return functional.linear(directions, self.scale * self.weight, self.bias)


def logits(head: nn.Module, features: Tensor) -> Tensor:
    """What a head says of features, (n, width) -> (n, classes); in evaluation mode of each row by itself.

    Some matrix products round a row by its place among the others: MKL does with three classes and eight images. The
    copy gives every row the same alignment, which its sums follow too.
    """
    if head.training:
        together: Tensor = head(features)
        return together
    return torch.cat([head(row.clone()) for row in features[:, None]])


def from_dict(stored: Mapping[str, object]) -> HeadChoice:
    """The head that a bundle's facts describe. Raises BundleError when they describe none."""
    try:
        choice: HeadChoice = TypeAdapter(HeadChoice).validate_python(_as_tuples(stored))
    except ValidationError as error:
        raise BundleError(f"bundle.json describes a head that this finetune does not know: {dict(stored)!r}") from error
    return choice


def build(head: HeadChoice, *, features: int, classes: int) -> nn.Module:
    """A new head, (n, features) float -> (n, classes) logits, drawn from torch's generator.

    The last layer starts near zero, so that the first loss is that of guessing and the first gradients are those of a
    linear model.
    """
    match head:
        case Cosine():
            return Directions(features, classes)
        case Linear() | Multilayer():
            output = nn.Linear(features, classes)
            layers: list[nn.Module] = [output]
        case Mlp():
            output = nn.Linear(head.hidden, classes)
            hidden = nn.Linear(features, head.hidden)
            nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
            nn.init.zeros_(hidden.bias)
            layers = [hidden, nn.ReLU(), output]
        case _:
            assert_never(head)
    nn.init.normal_(output.weight, std=0.01)
    nn.init.zeros_(output.bias)
    if isinstance(head, Linear | Mlp) and head.dropout > 0:
        layers.insert(len(layers) - 1, nn.Dropout(head.dropout))
    return nn.Sequential(*layers)


def fitted(
    kind: Literal["linear", "cosine"], weight: np.ndarray, bias: np.ndarray, centre: np.ndarray | None
) -> nn.Module:
    """The head with these numbers: weight float32 (classes, features), bias (classes,); of kind cosine the centre
    (features,) that is taken off first, None for zero.
    """
    classes, features = weight.shape
    tensors = {"weight": torch.from_numpy(weight.copy()), "bias": torch.from_numpy(bias.copy())}
    if kind == "linear":
        head = build(Linear(), features=features, classes=classes)
        head.load_state_dict({f"0.{name}": tensor for name, tensor in tensors.items()})
        return head
    head = build(Cosine(), features=features, classes=classes)
    tensors["weight"] /= _FIRST_SCALE
    tensors["scale"] = torch.tensor(_FIRST_SCALE)
    tensors["centre"] = torch.zeros(features) if centre is None else torch.from_numpy(centre.copy())
    head.load_state_dict(tensors)
    return head


def temper(head: nn.Module, temperature: float) -> None:
    """Divides the logits of a head by a temperature, in place; its answers stay the same."""
    with torch.no_grad():
        if isinstance(head, Directions):
            head.scale.div_(temperature)
            head.bias.div_(temperature)
            return
        last = [module for module in head.modules() if isinstance(module, nn.Linear)][-1]
        last.weight.div_(temperature)
        last.bias.div_(temperature)


def _as_tuples(stored: Mapping[str, object]) -> dict[str, object]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
