import json
from pathlib import Path

from finetune.model import backbone, listing
from finetune.recipe import backbones


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
    chosen = ("test_resnet", "test_vit", "resnet50", "efficientnet_lite0", "tf_efficientnet_lite0", "resnet50_clip")
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
