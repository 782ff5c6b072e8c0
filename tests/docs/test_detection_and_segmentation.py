"""The page's blocks as one program, on a small untrained network in place of the one that it names."""

import copy
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import finetune
from finetune.model.maps import Maps

PAGE = Path(__file__).parents[2] / "docs" / "detection-and-segmentation.md"
NAMED = 'NETWORK, WEIGHTS = "resnet50", {"kind": "hub"}'
SMALL = 'NETWORK, WEIGHTS = "test_resnet", {"kind": "random"}'


@pytest.fixture(scope="module")
def page() -> Iterator[dict[str, Any]]:
    """What the page's program leaves."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    program = "\n".join(blocks)
    assert program.count(NAMED) == 1
    threads, left = torch.get_num_threads(), dict[str, Any]()
    torch.set_num_threads(1)
    exec(compile(program.replace(NAMED, SMALL), PAGE, "exec"), left)
    yield left
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["detection", "segmentation"])
def test_losses_are_finite_and_fall(name: str, page: dict[str, Any]) -> None:
    losses = page[name]
    assert len(losses) == 8
    assert all(map(math.isfinite, losses))
    assert sum(losses[-2:]) / 2 < 0.8 * losses[0]


@pytest.mark.parametrize("name", ["maps", "scores"])
def test_frozen_stages_are_as_they_were_and_others_have_moved(name: str, page: dict[str, Any]) -> None:
    trained: Maps = page[name]
    before = finetune.backbone("test_resnet", weights={"kind": "random"}).state_dict()
    moved = {key: not torch.equal(tensor, before[key]) for key, tensor in trained.state_dict().items()}
    for stage in ("stem", "stage1"):
        assert not any(moved[key] for key in moved if trained.stage_of(key) == stage)
    for stage in trained.trained:
        assert any(moved[key] for key in moved if trained.stage_of(key) == stage)
    assert trained.trained == ("stage2", "stage3", "stage4")[: len(trained.trained)]


def test_normalising_twice_is_refused(page: dict[str, Any]) -> None:
    assert page["refusal"].startswith("images have values from -")
    assert "image_mean and image_std of this backbone" in page["refusal"]


def test_what_was_trained_answers(page: dict[str, Any]) -> None:
    image, _, classes = page["scene"](100)
    with torch.no_grad():
        (found,) = page["detector"].eval()([image])
        pixels = page["segmenter"].eval()(image[None])["out"].argmax(1)[0]
    assert {"boxes", "labels", "scores"} <= set(found)
    assert pixels.shape == classes.shape


def test_it_trains_in_reduced_precision_too(page: dict[str, Any]) -> None:
    detector = copy.deepcopy(page["detector"]).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = detector(list(page["images"]), list(page["targets"]))
    assert all(math.isfinite(one.item()) for one in losses.values())
