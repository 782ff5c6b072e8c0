from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from finetune.errors import BundleError
from finetune.model import heads
from finetune.recipe.network import Cosine, HeadChoice, Linear, Mlp, Multilayer


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


# directions


def test_directions_see_no_length() -> None:
    head = heads.build(Cosine(), features=6, classes=3).eval()
    given = torch.randn(5, 6)
    assert torch.allclose(head(given), head(7.0 * given), atol=1e-5)
    assert not torch.allclose(head(given), head(-given), atol=1e-3)


def test_directions_are_taken_from_the_centre_and_multiplied_by_the_scale() -> None:
    head = heads.Directions(2, 2)
    weights = {"weight": [[1.0, 0.0], [0.0, 2.0]], "bias": [0.5, -1.0], "centre": [1.0, 1.0], "scale": 10.0}
    head.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    assert torch.allclose(head(torch.tensor([[4.0, 5.0]])), torch.tensor([[6.5, 15.0]]))
    assert torch.allclose(head(torch.tensor([[1.0, 1.0]])), torch.tensor([[0.5, -1.0]]))  # no direction at all


def test_the_centre_does_not_train_and_the_scale_does() -> None:
    head = heads.build(Cosine(), features=6, classes=3)
    assert sorted(name for name, _ in head.named_parameters()) == ["bias", "scale", "weight"]
    assert sorted(head.state_dict()) == ["bias", "centre", "scale", "weight"]
    head(torch.randn(4, 6)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in head.parameters())


# heads that were fitted

GENERATOR = np.random.default_rng(0)
WEIGHT, BIAS, CENTRE = (GENERATOR.normal(size=shape).astype(np.float32) for shape in ((3, 6), (3,), (6,)))
ROWS = GENERATOR.normal(size=(5, 6)).astype(np.float32)


def said(head: nn.Module) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = head.eval()(torch.from_numpy(ROWS)).numpy()
    return found


def test_a_linear_head_holds_its_numbers() -> None:
    assert np.allclose(said(heads.fitted("linear", WEIGHT, BIAS, None)), ROWS @ WEIGHT.T + BIAS, atol=1e-6)


@pytest.mark.parametrize("centre", [None, CENTRE])
def test_a_cosine_head_holds_its_numbers(centre: np.ndarray | None) -> None:
    own = ROWS if centre is None else ROWS - centre
    expected = own / np.linalg.norm(own, axis=1, keepdims=True) @ WEIGHT.T + BIAS
    assert np.allclose(said(heads.fitted("cosine", WEIGHT, BIAS, centre)), expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "choice"), [("linear", Linear()), ("cosine", Cosine())])
def test_a_fitted_head_fits_into_a_built_one(kind: Literal["linear", "cosine"], choice: HeadChoice) -> None:
    fitted = heads.fitted(kind, WEIGHT, BIAS, CENTRE if kind == "cosine" else None)
    empty = heads.build(choice, features=6, classes=3)
    empty.load_state_dict(fitted.state_dict())
    assert np.array_equal(said(empty), said(fitted))


def test_a_fitted_head_does_not_share_its_numbers() -> None:
    weight = WEIGHT.copy()
    head = heads.fitted("linear", weight, BIAS, None)
    before = said(head).copy()
    weight[:] = 0
    assert np.array_equal(said(head), before)


def test_a_head_on_several_stages_is_a_linear_one() -> None:
    head = heads.build(Multilayer(stages=("stage2", "stage4")), features=6, classes=3)
    fitted = heads.fitted("linear", WEIGHT, BIAS, None)
    head.load_state_dict(fitted.state_dict())
    assert np.array_equal(said(head), said(fitted))
    assert heads.from_dict({"kind": "multilayer", "stages": ["stage2", "stage4"]}) == Multilayer(
        stages=("stage2", "stage4")
    )


@pytest.mark.parametrize("choice", [Linear(), Linear(dropout=0.5), Mlp(hidden=4), Cosine()])
def test_tempering_divides_the_logits(choice: HeadChoice) -> None:
    head = heads.build(choice, features=6, classes=3)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn(parameter.shape))
    before = said(head)
    heads.temper(head, 4.0)
    assert np.allclose(said(head), before / 4, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("choice", [Linear(), Mlp(hidden=7), Cosine(), Multilayer(stages=("stage3", "stage4"))])
def test_what_a_head_says_of_an_image_depends_on_no_other(choice: HeadChoice) -> None:
    torch.manual_seed(0)
    features = torch.randn(8, 48)
    for classes in range(2, 12):
        head = heads.build(choice, features=48, classes=classes).eval()
        together = heads.logits(head, features)
        assert together.shape == (8, classes)
        for place in range(8):
            turned = heads.logits(head, features.roll(place, dims=0))
            assert torch.equal(turned.roll(-place, dims=0), together)


def test_a_head_that_trains_sees_a_batch_at_once() -> None:
    seen: list[int] = []
    head = heads.build(Linear(), features=4, classes=2)
    head.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    heads.logits(head.train(), torch.zeros(3, 4))
    heads.logits(head.eval(), torch.zeros(3, 4))
    assert seen == [3, 1, 1, 1]
