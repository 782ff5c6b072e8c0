import pytest
import torch
from torch import nn

from finetune.errors import BundleError
from finetune.model import heads
from finetune.recipe.network import Linear, Mlp


@pytest.mark.parametrize("choice", [Linear(), Linear(dropout=0.5), Mlp(hidden=7), Mlp(hidden=7, dropout=0.0)])
def test_a_new_head_guesses(choice: Linear | Mlp) -> None:
    head = heads.build(choice, features=16, classes=5).eval()
    shares = torch.softmax(head(torch.randn(8, 16)), 1)
    assert shares.shape == (8, 5)
    assert (shares - 0.2).abs().max() < 0.1
    assert any(isinstance(module, nn.Dropout) for module in head) == (choice.dropout > 0)


def test_an_mlp_has_one_hidden_layer_of_the_width_asked_for() -> None:
    shapes = [tuple(p.shape) for p in heads.build(Mlp(hidden=7), features=16, classes=5).parameters()]
    assert shapes == [(7, 16), (7,), (5, 7), (5,)]


def test_what_a_bundle_says_of_its_head_is_read_back() -> None:
    assert heads.from_dict(Mlp(hidden=3).model_dump(mode="json")) == Mlp(hidden=3)
    with pytest.raises(BundleError, match="does not know"):
        heads.from_dict({"kind": "tree"})
