"""Small things that tests of several rooms draw on: folders of drawn images, recipes over them, an untrained small
network.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may wait for a network
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

HUES = ((220, 60, 40), (40, 160, 60), (50, 80, 220), (200, 180, 40))


def draw(path: Path, *, hue: tuple[float, ...], seed: int, size: tuple[int, int] = (48, 40)) -> None:
    """One image: a hue with noise, so that classes can be told apart and no two files are the same."""
    noise = np.random.default_rng(seed).normal(0, 40, (size[1], size[0], 3))
    pixels = np.clip(np.array(hue) + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def draw_classes(root: Path, counts: Mapping[str, int], *, suffix: str = ".png") -> Path:
    """Class folders below `root` with so many images each."""
    for place, (name, count) in enumerate(counts.items()):
        for number in range(count):
            draw(root / name / f"{number:03d}{suffix}", hue=HUES[place % len(HUES)], seed=1000 * place + number)
    return root


def draw_alike(root: Path, counts: Mapping[str, int], *, apart: float = 36, spread: float = 20, seed: int = 0) -> Path:
    """Class folders of images whose hues overlap, so that nobody could tell all of them apart: the hues of classes lie
    `apart` from each other, those of the images of one class `spread` about theirs.
    """
    generator = np.random.default_rng(seed)
    for place, (name, count) in enumerate(counts.items()):
        centre = 128 + apart / np.sqrt(2) * np.eye(3)[place % 3]
        for number in range(count):
            hue = tuple(centre + generator.normal(0, spread, 3))
            draw(root / name / f"{number:03d}.png", hue=hue, seed=int(generator.integers(2**32)), size=(32, 32))
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of eight images."""
    return draw_classes(tmp_path / "photos", {"blue": 8, "green": 8, "red": 8})


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small networks on small images gain nothing from more, and lose much where processors are shared."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


SCHEDULES = {
    "head": "{kind: head, epochs: 2, lr: 1.0e-2}",
    "full": "{kind: full, epochs: 2, lr: 1.0e-3, lr_decay: 0.7}",
    "gradual": "{kind: gradual, epochs: 1, lr: 1.0e-3, lr_decay: 0.5}",
    "stages": "{kind: stages, train: [stage4, head], epochs: 2, lr: 1.0e-3}",
    "probe": "{kind: probe}",
    "lp_ft": "{kind: lp_ft, train: [stage4, head], epochs: 2, lr: 1.0e-3}",
    "auto": "{kind: auto, budget: 1h}",
    "phases": "{kind: phases, phases: [{train: [head], epochs: 1, lr: 1.0e-2}, "
    "{train: [stage3, head], epochs: 2, lr: 1.0e-3}]}",
}


def of_three(text: str) -> str:
    """What is written of a network of four stages, for one of three: its last two stages."""
    return text.replace("stage3", "stage2").replace("stage4", "stage3")


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a recipe over `photos` with an untrained `test_resnet`, fast on any machine."""

    def write(
        root: Path, *, schedule: str = "full", backbone: str = "test_resnet", more: str = "", name: str = "toy"
    ) -> Path:
        path = tmp_path / f"{name}.yaml"
        chosen = SCHEDULES.get(schedule, schedule)
        path.write_text(
            f"name: {name}\n"
            f"data: {{kind: folder, root: {root}}}\n"
            "split: {kind: stratified, validation: 0.25, test: 0.25}\n"
            f"backbone: {{name: {backbone}, weights: {{kind: random}}}}\n"
            f"schedule: {of_three(chosen) if backbone.startswith('cifar') else chosen}\n"
            "images: {size: 32, augment: {kind: standard, flip: true}}\n"
            f"train: {{batch_size: 4{more}}}\n"
        )
        return path

    return write
