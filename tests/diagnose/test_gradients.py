"""The gradients of a network with and without its skip connections, at the start of a run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from finetune import job
from finetune.data.survey import Survey, find, survey
from finetune.diagnose import gradients
from finetune.errors import UsageError, WeightsError
from finetune.model import backbone
from finetune.recipe import file
from finetune.recipe.schema import Recipe
from finetune.runtime import start
from tests.conftest import draw_classes

Write = Callable[..., Path]
STAGES = ["stem", "stage1", "stage2", "stage3", "stage4", "head"]


def asked(recipe_file: Path) -> tuple[Recipe, Survey]:
    recipe = file.load(recipe_file)
    return recipe, survey(recipe, find(recipe))


def test_both_networks_are_seen_stage_by_stage_and_the_same_every_time(photos: Path, write_recipe: Write) -> None:
    recipe, surveyed = asked(write_recipe(photos))
    torch.manual_seed(7)
    before = torch.get_rng_state()
    found = gradients.probe(recipe, surveyed, start("float32"))
    assert torch.equal(torch.get_rng_state(), before)
    assert list(found.with_skips) == list(found.without_skips) == list(found.as_it_starts) == STAGES
    assert all(value > 0 for norms in (found.with_skips, found.without_skips) for value in norms.values())
    assert found.with_skips != found.without_skips
    assert (found.skips, found.layers, found.images, found.size) == (4, 13, 4, 32)
    assert found.weights == "random, seed 0"
    assert gradients.probe(recipe, surveyed, start("float32")) == found


def test_a_run_begins_with_the_gradients_that_were_told(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, schedule="{kind: full, epochs: 1, lr: 1.0e-3}", more=", precision: float32")
    found = gradients.probe(*asked(recipe), start("float32"))
    first = [line for line in job.run(recipe, output=tmp_path / "run").history[0]["health"] if line["step"] == 1]
    assert not found.fits_head
    assert {line["stage"]: line["gradient"] for line in first} == pytest.approx(found.as_it_starts, rel=1e-4)


@pytest.mark.parametrize("schedule", ["lp_ft", "auto"])
def test_a_run_that_fits_its_head_first_is_not_said_to_begin_so(
    schedule: str, photos: Path, write_recipe: Write
) -> None:
    assert gradients.probe(*asked(write_recipe(photos, schedule=schedule)), start("float32")).fits_head


@pytest.mark.parametrize(("name", "blocks"), [("res2next50", 16), ("resnet18", 8), ("regnetx_002", 13)])
def test_the_skips_of_a_network_are_those_of_its_blocks(
    name: str, blocks: int, photos: Path, write_recipe: Write
) -> None:
    """A Res2Net also adds parts of one tensor to each other within a block."""
    assert gradients.probe(*asked(write_recipe(photos, backbone=name)), start("float32")).skips == blocks


def test_a_deep_network_without_skips_has_larger_gradients_below(tmp_path: Path, write_recipe: Write) -> None:
    photos = draw_classes(tmp_path / "photos", {"red": 16, "green": 16})
    recipe = write_recipe(photos, backbone="resnet50")
    recipe.write_text(recipe.read_text().replace("size: 32", "size: 64").replace("batch_size: 4", "batch_size: 8"))
    found = gradients.probe(*asked(recipe), start("float32"))
    grown = {name: norms["stem"] / norms["stage4"] for name, norms in vars(found).items() if isinstance(norms, dict)}
    assert found.skips == 16
    assert grown["without_skips"] > 5 * grown["with_skips"]


def test_weights_are_drawn_as_the_paper_has_it() -> None:
    network = backbone.build("test_resnet").module
    gradients.he(network, seed=0)
    first = [one.detach().clone() for one in network.parameters()]
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            inputs = module.weight[0].numel()
            assert float(module.weight.detach().var()) == pytest.approx(2 / inputs, rel=0.15)
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all()
            assert module.bias.eq(0).all()
    gradients.he(network, seed=0)
    assert all(torch.equal(one, other) for one, other in zip(first, network.parameters(), strict=True))
    gradients.he(network, seed=1)
    assert not torch.equal(first[0], next(network.parameters()))


def test_a_network_that_adds_no_shorter_way_is_refused(photos: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, backbone="densenet121")
    with pytest.raises(UsageError, match=r"'densenet121' has no skip connections that add .* nothing to compare"):
        gradients.probe(*asked(recipe), start("float32"))


def test_a_network_that_cannot_be_followed_is_refused(
    photos: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = backbone.build

    def hidden(*names: object, **options: object) -> backbone.Backbone:
        network = built(*names, **options)
        network.module.register_forward_hook(lambda _, __, left: torch.from_numpy(left.detach().numpy().copy()))
        return network

    recipe, surveyed = asked(write_recipe(photos))
    monkeypatch.setattr(backbone, "build", hidden)
    with pytest.raises(UsageError, match="runs a function that torch cannot follow"):
        gradients.probe(recipe, surveyed, start("float32"))


def test_weights_that_are_out_of_reach_are_said_to_be(photos: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, backbone="resnet18")
    recipe.write_text(recipe.read_text().replace("{kind: random}", "{kind: hub}"))
    found = gradients.probe(*asked(recipe), start("float32"))
    assert found.as_it_starts is None
    assert "are not in the local cache, and the hub is out of reach" in found.weights


def test_weights_that_are_damaged_are_an_error(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    recipe = write_recipe(photos)
    recipe.write_text(recipe.read_text().replace("{kind: random}", "{kind: file, path: broken.safetensors}"))
    with pytest.raises(WeightsError):
        gradients.probe(*asked(recipe), start("float32"))
