import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from finetune.model import backbone, listing
from finetune.recipe import backbones
from finetune.recipe.cost import memory


def test_the_listing_is_the_same_every_time_and_one_architecture_a_line(tmp_path: Path) -> None:
    chosen = ("test_resnet", "test_vit", "test_convnext")
    for name in ("first.json", "second.json"):
        listing.write(tmp_path / name, only=chosen)
    text = (tmp_path / "first.json").read_text()
    assert text == (tmp_path / "second.json").read_text()
    assert len(text.splitlines()) == len(chosen) + 2
    table = json.loads(text)
    assert list(table["backbones"]) == sorted(chosen)
    assert table["timm"] == backbone.library().__version__


def test_the_file_in_the_package_says_what_the_installed_timm_says(tmp_path: Path) -> None:
    chosen = (
        "test_resnet",
        "test_vit",
        "resnet50",
        "resnet50x4_clip",
        "ecaresnet26t",
        "efficientnet_lite0",
        "tf_efficientnet_lite0",
        "resnet50_clip",
    )
    listing.write(tmp_path / "fresh.json", only=chosen)
    fresh = json.loads((tmp_path / "fresh.json").read_text())
    stored = json.loads(backbones.FILE.read_text(encoding="utf-8"))
    assert fresh["timm"] == stored["timm"]
    assert fresh["backbones"] == {name: stored["backbones"][name] for name in sorted(chosen)}
    assert set(stored["backbones"]) == set(backbone.library().list_models())


def test_known_costs_and_sizes() -> None:
    facts = listing.facts("resnet50")
    assert facts["parameters"] == 25_557_032 - 2048 * 1000 - 1000  # torchvision's number, less the classifier
    assert 4.0e9 < facts["macs"] < 4.2e9  # 4.1 in He et al. 2016 and in torchvision
    assert facts["features"] == 2048
    assert facts["cut"]
    assert not listing.facts("test_vit")["cut"]


def test_costs_are_of_224_pixels_where_a_network_takes_them() -> None:
    assert listing.facts("ecaresnet26t")["measured_at"] == 224  # made for 256
    fixed = listing.facts("resnet50x4_clip")
    assert fixed["measured_at"] == fixed["input_size"] == 288
    assert "macs" not in listing.facts("test_vit")  # which cannot be cut


def test_activations_are_those_that_are_alive_together() -> None:
    class Chain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(10, 1000), torch.nn.Linear(1000, 100)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x.flatten(2)[0, 0, :10].reshape(1, 10))
            x = x.relu_()  # in its place
            x = self.second(x)
            return torch.cat([x, x + 1], 1)

    with torch.device("meta"):
        found = listing._pass(Chain(), (3, 8, 8))
    image = 4 * 3 * 8 * 8
    assert found.activations == image + 4 * (1000 + 100)
    assert (found.macs, found.features) == (10 * 1000 + 1000 * 100, 200)


def test_a_network_that_takes_no_224_pixels_is_measured_at_its_own() -> None:
    class Own(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(1, 3 * 100 * 100)

    assert listing._measure(Own(), (3, 100, 100), fixed=False).size == 100


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel tells the most memory held")
def test_the_memory_that_is_told_is_about_what_is_held() -> None:
    """In a process of its own, as the kernel counts it: a network that is built, and passes of a batch."""
    code = """
import sys, torch
from pathlib import Path
from finetune.model import backbone
from finetune.recipe.machine import EVALUATION_BATCH
def held(what):
    status = Path("/proc/self/status").read_text().split(what)[1]
    return 1024 * int(status.split()[0])
small = backbone.create("test_resnet", seed=0).eval()
with torch.inference_mode():
    small(torch.rand(1, 3, 64, 64))
    before = held("VmRSS:")
Path("/proc/self/clear_refs").write_text("5")
network = backbone.create(sys.argv[1], seed=0).eval().requires_grad_(False).to(memory_format=torch.channels_last)
with torch.inference_mode():
    for _ in range(2):
        network(torch.rand(EVALUATION_BATCH, 3, 224, 224).contiguous(memory_format=torch.channels_last))
print(held("VmHWM:") - before)
"""
    done = subprocess.run([sys.executable, "-c", code, "resnet18"], capture_output=True, text=True, check=True)
    assert int(done.stdout) == pytest.approx(memory(backbones.entry("resnet18")), rel=0.4)
