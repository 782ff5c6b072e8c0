"""From a feature vector to logits."""

from collections.abc import Mapping
from typing import assert_never

from pydantic import TypeAdapter, ValidationError
from torch import nn

from finetune.errors import BundleError
from finetune.recipe.schema import HeadChoice, Linear, Mlp


def from_dict(stored: Mapping[str, object]) -> HeadChoice:
    """The head that a bundle's facts describe. Raises BundleError when they describe none."""
    try:
        choice: HeadChoice = TypeAdapter(HeadChoice).validate_python(stored)
    except ValidationError as error:
        raise BundleError(f"bundle.json describes a head that this finetune does not know: {dict(stored)!r}") from error
    return choice


def build(head: HeadChoice, *, features: int, classes: int) -> nn.Module:
    """A new head, (n, features) float -> (n, classes) logits, drawn from torch's generator.

    The last layer starts near zero, so that the first loss is that of guessing and the first gradients are those of a
    linear model.
    """
    match head:
        case Linear():
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
    if head.dropout > 0:
        layers.insert(len(layers) - 1, nn.Dropout(head.dropout))
    return nn.Sequential(*layers)
