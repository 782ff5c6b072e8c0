import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from finetune.data.decode import Fit, Preprocessing
from finetune.diagnose import maps as drawn
from finetune.diagnose.maps import maps
from finetune.errors import UsageError
from finetune.model import backbone
from finetune.model.backbone import Backbone, InputContract
from finetune.model.classifier import Classifier
from finetune.model.cut import STAGES, cut
from finetune.scores.predictions import Predictions
from tests.diagnose import toys

SIDE = 64
LANDMARKS = [{"reduction": 4 * 2**k, "module": f"stage{k + 1}", "num_chs": 3} for k in range(4)]
COLOURS = (0, 1, 2)  # the classes of `colours`: red, green, blue


def pixels(fit: Fit = "squash") -> Preprocessing:
    working = SIDE + 8 if fit == "crop" else SIDE
    return Preprocessing(
        size=SIDE, working=working, fit=fit, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )


class Colours(nn.Module):
    """Means of each colour above grey, over ever larger squares that do not overlap."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = mean_of(4)
        self.stage1 = nn.Sequential(mean_of(1), nn.ReLU())
        self.stage2, self.stage3, self.stage4 = mean_of(2), mean_of(2), mean_of(2)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.stage4(self.stage3(self.stage2(self.stage1(self.stem(images)))))
        return found.mean((2, 3))


def mean_of(side: int) -> nn.Conv2d:
    layer = nn.Conv2d(3, 3, side, stride=side, bias=False)
    nn.init.zeros_(layer.weight)
    for colour in COLOURS:
        nn.init.constant_(layer.weight[colour, colour], 1 / side**2)
    return layer


def colours(weight: float = 1.0, seen: Sequence[str] = ("stage4",)) -> Classifier:
    """The logit of a class is `weight` times the mean of its colour above grey: what decides is known."""
    network = Colours()
    found = cut(network, LANDMARKS, torch.rand(2, 3, SIDE, SIDE))
    contract = InputContract(SIDE, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    named = {name: getattr(found, name) for name in ("stages", "module_stage", "tensors", "channels", "strides")}
    parts = Backbone(name="colours", tag=None, module=network, features=3, contract=contract, cut=found, **named)
    head = nn.Linear(3, 3, bias=False)
    head.weight.data = weight * torch.eye(3)
    return Classifier(parts, head, pixels(), seen)


def patched(corners: Sequence[tuple[int, int]], side: int = 16) -> np.ndarray:
    """A black image with a red, a green and a blue square at these corners, x and y."""
    image = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    for colour, (x, y) in enumerate(corners):
        image[y : y + side, x : x + side, colour] = 255
    return image


def noise(images: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (images, side, side, 3), dtype=np.uint8)


def test_a_map_is_highest_on_what_decides() -> None:
    generator = np.random.default_rng(0)
    classifier = colours()
    for _ in range(12):
        down, across = np.divmod(generator.permutation(9)[:3], 3)
        corners = [
            (int(x), int(y)) for x, y in 20 * np.stack([across, down], axis=1) + generator.integers(0, 5, (3, 2))
        ]
        found = maps(classifier, np.stack([patched(corners)] * 3), COLOURS)
        for one, (x, y) in zip(found, corners, strict=True):
            top, left = np.unravel_index(one.argmax(), one.shape)
            assert x <= left < x + 16, (corners, left, top)
            assert y <= top < y + 16, (corners, left, top)


def test_of_the_last_stage_it_is_what_a_linear_head_adds_up() -> None:
    classifier, images = toys.classifier(), noise(3)
    with torch.no_grad():
        normalised = classifier.normalise(torch.from_numpy(images).permute(0, 3, 1, 2))
        seen = classifier.backbone.forward_features(normalised)
        weight = classifier.head[-1].weight[[2, 0, 1]]
        terms = torch.einsum("nchw,nc->nhw", seen, weight)
        whole = terms.mean((1, 2)) + classifier.head[-1].bias[[2, 0, 1]]
        assert torch.allclose(whole, classifier(torch.from_numpy(images).permute(0, 3, 1, 2))[range(3), [2, 0, 1]])
        fine = functional.interpolate(terms.clamp(min=0)[:, None], (32, 32), mode="bilinear")[:, 0]
        expected = fine / fine.amax((1, 2), keepdim=True)
    assert maps(classifier, images, [2, 0, 1], stages=["stage4"]) == pytest.approx(expected.numpy(), abs=1e-5)


def test_all_stages_count_alike() -> None:
    classifier, images = toys.classifier(), noise(2)
    alone = [maps(classifier, images, [0, 1], stages=[stage]) for stage in STAGES[1:]]
    assert [one.max(axis=(1, 2)).tolist() for one in alone] == [[1, 1]] * 4
    assert maps(classifier, images, [0, 1]) == pytest.approx(np.mean(alone, axis=0), abs=1e-6)
    assert len({one.tobytes() for one in alone}) == 4


def test_a_map_depends_on_its_image_alone_and_on_nothing_that_is_frozen() -> None:
    classifier, images = toys.classifier(), noise(9)
    found = maps(classifier, images, [0, 1, 2] * 3)
    classifier.requires_grad_(False).train()
    for place in (0, 7, 8):
        assert maps(classifier, images[place : place + 1], [place % 3])[0] == pytest.approx(found[place], abs=1e-5)
    assert not classifier.training
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert maps(classifier, images[:0], []).shape == (0, 32, 32)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext", "densenet121", "resnetv2_50"])
def test_every_family_has_maps(name: str) -> None:
    torch.manual_seed(0)
    network = backbone.build(name, size=SIDE)
    head = nn.Linear(network.features, 3)
    found = maps(Classifier(network, head, pixels()), noise(1, SIDE), [1])
    assert found.shape == (1, SIDE, SIDE)
    assert found.dtype == np.float32
    assert 0 <= found.min() < found.max() <= 1


def test_where_nothing_speaks_for_a_class_nothing_is_drawn() -> None:
    image = patched([(0, 0), (20, 20), (40, 40)])
    found = maps(colours(weight=-1.0), image[None], [0])
    assert not found.any()
    tile = np.full((96, 96, 3), 90, dtype=np.uint8)
    assert np.array_equal(drawn.over(tile, found[0], (0.0, 0.0, 1.0, 1.0)), tile)


@pytest.mark.parametrize("stages", [["stage3"], ["stage1", "stage4"], ["stem"], ["stage9"], []])
def test_stages_that_the_head_sees_nothing_of_are_refused(stages: list[str]) -> None:
    classifier = colours(seen=["stage2"])
    assert maps(classifier, patched([(0, 0)])[None], [0], stages=["stage2", "stage1"]).any()
    with pytest.raises(UsageError) as caught:
        maps(classifier, patched([(0, 0)])[None], [0], stages=stages)
    named = ", ".join(stages)
    assert str(caught.value) == (
        f"no map can be drawn of stages {named!r}; choose from those the head sees: stage1, stage2"
    )


def test_no_colour_of_a_tile_is_taken_for_that_of_the_map() -> None:
    tile = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    made = drawn.over(tile, np.zeros((20, 20), dtype=np.float32), (0.0, 0.0, 1.0, 1.0))
    grey = np.asarray(Image.fromarray(tile).convert("L")).astype(int)
    assert np.abs(made - grey[:, :, None]).max() <= 1


def test_a_tile_is_coloured_where_the_map_is_high_and_faded_where_the_network_saw_nothing() -> None:
    tile = np.full((100, 100, 3), 100, dtype=np.uint8)
    found = np.zeros((50, 50), dtype=np.float32)
    found[:25] = 0.4
    made = drawn.over(tile, found, (0.25, 0.5, 0.5, 0.25)).astype(int)
    assert (made[:50] == made[0, 0]).all()
    assert made[0, 0].tolist() == [178, 178, 178]
    assert made[52, 50].tolist() == [201, 74, 35]
    assert made[73, 50].tolist() == [100, 100, 100]
    assert made[60, 20].tolist() == made[60, 80].tolist() == made[80, 50].tolist() == made[0, 0].tolist()


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_what_is_written_says_where_in_each_tile_the_answer_was_seen(photos: Path, fit: Fit) -> None:
    red = np.zeros((100, 200, 3), dtype=np.uint8)
    red[30:70, 70:110, 0] = 255
    Image.fromarray(red).save(photos / "blue" / "000.png")
    given = toys.asked(photos)
    answers = np.full(len(given.catalog), 0)
    answers[0] = 2
    predictions = toys.told(given.catalog, np.where(answers == 2, answers, given.catalog.labels))
    found = drawn.files(predictions, given.catalog, reversed_colours(), pixels(fit))
    said = json.loads(found["evidence/maps.json"])
    assert said["keys"] == ["blue/000.png"]
    assert (said["method"], said["stages"]) == (drawn.METHOD, ["stage1", "stage2", "stage3", "stage4"])
    ((x, y),) = said["peaks"]
    assert 0.35 <= x <= 0.55
    assert 0.25 + 0.15 <= y <= 0.25 + 0.35
    picture = np.asarray(Image.open(io.BytesIO(found["evidence/maps.jpg"]))).astype(int)
    assert picture.shape == (96, 96, 3)
    coloured = picture[:, :, 0] - picture[:, :, 2]
    assert coloured[round(96 * y), round(96 * x)] > 100
    assert abs(coloured[48, 90]) < 50


def reversed_colours() -> Classifier:
    """The classes of the photographs are blue, green and red, in this order."""
    classifier = colours()
    classifier.head.weight.data = torch.eye(3).flip(0)  # type: ignore[operator]
    return classifier


def test_a_map_of_nothing_has_no_peak_and_without_mistakes_there_are_no_maps(photos: Path) -> None:
    given = toys.asked(photos, wrong=[3])
    found = drawn.files(given.predictions, given.catalog, colours(weight=-1.0), pixels())
    assert json.loads(found["evidence/maps.json"])["peaks"] == [None]
    right = toys.told(given.catalog, given.catalog.labels)
    assert drawn.files(right, given.catalog, colours(), pixels()) == {}


def test_of_several_labels_the_map_is_that_of_the_surest_wrong_answer(photos: Path) -> None:
    given = toys.asked(photos)
    three = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    for place, colour in enumerate((2, 1, 0)):
        three[20:36, 4 + 20 * place : 20 + 20 * place, colour] = 255  # blue on the left, red on the right
    Image.fromarray(three).save(photos / "blue" / "000.png")
    labels = np.eye(3, dtype=bool)[given.catalog.labels]
    logits = np.where(labels, 4, -4).astype(np.float32)
    for wrong, place in (([4, 1, 2], 2), ([4, 3, -4], 1), ([-5, 1, -4], 0)):
        logits[0] = wrong
        predictions = Predictions(given.catalog.keys, logits, given.catalog.classes, labels)
        found = drawn.files(predictions, given.catalog, reversed_colours(), pixels())
        ((x, _),) = json.loads(found["evidence/maps.json"])["peaks"]
        assert (4 + 20 * place) / SIDE <= x <= (20 + 20 * place) / SIDE
