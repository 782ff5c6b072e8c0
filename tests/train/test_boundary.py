from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from finetune.data.catalog import Catalog, Sample
from finetune.data.store import Store
from finetune.errors import UsageError, size
from finetune.frozen.activations import StoredAs
from finetune.model import backbone
from finetune.model.classifier import set_training
from finetune.predict import evaluate
from finetune.recipe.plan import Phase, Plan
from finetune.runtime import start
from finetune.train.batches import order
from finetune.train.boundary import Boundary, Onward, boundary, needed
from finetune.train.loop import Training
from tests.conftest import draw_classes
from tests.laws import epochs, training

Write = Callable[..., Path]
FAMILIES = ("test_resnet", "resnetv2_18", "densenet121", "test_efficientnet")
UPPER = {
    "stage4": ("head",),
    "stage3": ("stage4", "head"),
    "stage1": ("stage2", "stage3", "stage4", "head"),
}
SEVERAL = "head: {kind: multilayer, stages: [stage2, stage4]}\n"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    start(threads=1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eleven images to learn from: no multiple of the batch in which they are evaluated."""
    return draw_classes(tmp_path / "photos", {"blue": 12, "red": 11})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "kept") as opened:
        yield opened


def phase(train: tuple[str, ...], *, views: int | None = 3, batch_norm: str = "batch") -> Phase:
    return Phase(train, 2, 1e-2, 1.0, batch_norm, views)  # type: ignore[arg-type]


def begun(recipe: Path, chosen: Phase, store: Store | None = None) -> Training:
    run = training(recipe, Plan((chosen,), ()))
    run.setting = replace(run.setting, store=store)
    return run


def below(run: Training, *, stored_as: StoredAs = "float32", views: int | None = None) -> Boundary:
    setting = run.setting
    return boundary(
        run.classifier,
        setting.plan.phases[0],
        setting.split.train,
        extractor=setting.extractor(run.classifier.cut),
        runtime=setting.runtime,
        stored_as=stored_as,
        views=views,
    )


def live(run: Training) -> np.ndarray:
    setting = run.setting
    return evaluate(
        run.classifier, setting.split.train, preprocessing=setting.preprocessing, runtime=setting.runtime
    ).logits


# law 3: what is kept, run onward, is what the live network says


@pytest.mark.parametrize(
    ("family", "train"),
    [
        *((family, UPPER["stage3"]) for family in FAMILIES),
        *(("test_resnet", UPPER[stage]) for stage in ("stage4", "stage1")),
        *((family, ("stage3", "head")) for family in ("cifar_resnet20", "cifar_resnetv2_11")),
        ("cifar_resnet20", ("head",)),
    ],
)
def test_kept_activations_run_onward_give_the_live_logits_bit_for_bit(
    family: str, train: tuple[str, ...], photos: Path, store: Store, write_recipe: Write
) -> None:
    run = begun(write_recipe(photos, backbone=family), phase(train), store)
    assert len(run.setting.split.train) % run.setting.runtime.evaluation_batch
    cold = below(run).logits(len(run.setting.split.train))
    warm = below(run).logits(len(run.setting.split.train))
    assert np.array_equal(cold, live(run))
    assert np.array_equal(warm, cold)


def test_it_follows_the_stages_above_as_they_are_trained(photos: Path, write_recipe: Write) -> None:
    run = begun(write_recipe(photos), phase(UPPER["stage3"]))
    kept = below(run)
    images = len(run.setting.split.train)
    before = kept.logits(images)
    with torch.no_grad():
        for name, tensor in run.classifier.state_dict().items():
            if run.classifier.stage_of(name) == "stage4" and tensor.is_floating_point():
                tensor.mul_(1.5)
    assert not np.array_equal(kept.logits(images), before)
    assert np.array_equal(kept.logits(images), live(run))


@pytest.mark.parametrize("stage", UPPER)
def test_a_step_has_the_gradients_of_a_step_through_the_whole_network(
    stage: str, photos: Path, write_recipe: Write
) -> None:
    run = begun(write_recipe(photos, more=", batch_norm: batch"), phase(UPPER[stage]))
    kept, classifier = below(run, views=1), run.classifier
    (batch,) = kept.batches(run.setting.split.train, epoch=1, seed=0, batch_size=99)
    samples = dict(zip(run.setting.split.train.keys, run.setting.split.train.samples, strict=True))
    looks = run.setting.extractor(classifier.cut).looks
    pixels = np.stack([plain(samples[key], looks.preprocessing) for key in batch.keys])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def gradients(logits: Callable[[], Tensor]) -> dict[str, Tensor]:
        classifier.zero_grad()
        nn.functional.cross_entropy(logits(), batch.labels).backward()
        return {name: p.grad.clone() for name, p in classifier.named_parameters() if p.grad is not None}

    set_training(classifier, UPPER[stage], batch_norm="pretrained")
    kept.network.follow()
    onward = gradients(lambda: kept.network(batch.images))
    whole = gradients(lambda: classifier(images))
    assert {classifier.stage_of(name) for name in onward} == set(UPPER[stage])
    assert onward.keys() == whole.keys()
    for name, gradient in onward.items():
        assert torch.allclose(gradient, whole[name], rtol=1e-4, atol=1e-6), name


def plain(sample: Sample, preprocessing: object) -> np.ndarray:
    from finetune.data import decode
    from finetune.views import evaluation_view

    return evaluation_view(decode.working_image(decode.read(sample.file), preprocessing), preprocessing)  # type: ignore[arg-type]


# modes


@pytest.mark.parametrize("family", ["test_resnet", "densenet121", "test_convnext"])
@pytest.mark.parametrize("batch_norm", ["batch", "pretrained"])
def test_every_part_takes_over_the_mode_that_it_has_in_the_whole(
    batch_norm: str, family: str, photos: Path, write_recipe: Write
) -> None:
    run = begun(write_recipe(photos, backbone=family), phase(UPPER["stage3"], batch_norm=batch_norm))
    onward = Onward(run.classifier, "stage3")
    run.classifier.train()
    onward.eval()
    set_training(run.classifier, UPPER["stage3"], batch_norm=batch_norm)  # type: ignore[arg-type]
    onward.follow()
    whole = dict(run.classifier.backbone.named_modules())
    own = [name for name, module in onward.upper.named_modules() if module is not whole[name]]
    assert own, "a copy of a part that lies across the cut"
    assert all(module.training == whole[name].training for name, module in onward.upper.named_modules())
    assert any(module.training for module in onward.upper.modules())


def test_batch_statistics_move_above_the_boundary_and_nowhere_else(photos: Path, write_recipe: Write) -> None:
    run = begun(write_recipe(photos), phase(UPPER["stage3"]))
    means = {name: t.clone() for name, t in run.classifier.state_dict().items() if name.endswith("running_mean")}
    next(epochs(run))
    now = run.classifier.state_dict()
    moved = {run.classifier.stage_of(name) for name, mean in means.items() if not torch.equal(now[name], mean)}
    assert moved == {"stage4"}


# views in turn


class Recording:
    """Rows that say which image and which view they are."""

    def __call__(self, places: np.ndarray, views: np.ndarray) -> np.ndarray:
        return np.stack([places, views], axis=1).astype(np.float32)


@pytest.fixture
def toy() -> Catalog:
    samples = [Sample(f"{number}", Path(f"{number}.png"), "ab"[number % 2], sha256=f"{number}") for number in range(23)]
    return Catalog(tuple(samples), ("a", "b"))


def shown(toy: Catalog, *, epoch: int, views: int, seed: int = 5) -> dict[int, int]:
    """The view of each image in an epoch."""
    kept = Boundary(None, Recording(), views, start("float32"))  # type: ignore[arg-type]
    found = {}
    sequence = []
    for batch in kept.batches(toy, epoch=epoch, seed=seed, batch_size=5):
        rows = batch.images.long().tolist()
        sequence += [place for place, _ in rows]
        assert batch.keys == tuple(toy.samples[place].key for place, _ in rows)
        assert batch.labels.tolist() == [place % 2 for place, _ in rows]
        assert batch.labels.dtype == torch.int64
        found.update(rows)
    assert sequence == order(len(toy), seed=seed, epoch=epoch).tolist()
    return dict(found)


def test_every_image_shows_every_view_in_turn(toy: Catalog) -> None:
    in_epochs = [shown(toy, epoch=epoch, views=4) for epoch in range(1, 9)]
    for place in range(len(toy)):
        views = [epoch[place] for epoch in in_epochs]
        assert sorted(views[:4]) == [0, 1, 2, 3]
        assert views[4:] == views[:4]


def test_images_do_not_all_show_the_same_view(toy: Catalog) -> None:
    assert set(shown(toy, epoch=1, views=4).values()) == {0, 1, 2, 3}
    assert shown(toy, epoch=1, views=4, seed=6) != shown(toy, epoch=1, views=4, seed=5)
    assert shown(toy, epoch=3, views=4) == shown(toy, epoch=3, views=4)


def test_one_view_is_the_plain_one(toy: Catalog) -> None:
    assert set(shown(toy, epoch=7, views=1).values()) == {0}


def test_the_rows_of_a_batch_are_those_of_its_images_and_views(photos: Path, write_recipe: Write) -> None:
    run = begun(write_recipe(photos), phase(UPPER["stage3"]))
    setting, kept = run.setting, below(run)
    apart = setting.extractor(run.classifier.cut).activations(
        setting.split.train.samples, stage="stage3", views=3, stored_as="float32"
    )
    places, views = np.array([4, 0, 4]), np.array([2, 1, 0])
    assert np.array_equal(kept.rows(places, views), apart.batch(places, views))
    assert not np.array_equal(*kept.rows(np.array([4, 4]), np.array([2, 0])))


# a head alone, and heads on several stages


def calls(network: nn.Module) -> list[int]:
    """Filled with the size of each batch that the network is given from now on."""
    found: list[int] = []
    network.conv1.register_forward_pre_hook(lambda _, given: found.append(len(given[0])))  # type: ignore[union-attr, operator]
    return found


@pytest.mark.parametrize("stage", ["stage4", "stage3"])
def test_epochs_run_nothing_below_the_boundary(stage: str, photos: Path, write_recipe: Write) -> None:
    run = begun(write_recipe(photos), phase(UPPER[stage], views=2))
    seen = calls(run.classifier.backbone)
    history = epochs(run)
    next(history)
    filled = len(seen)
    assert filled > 0
    next(history)
    assert len(seen) == filled


def test_a_head_alone_learns_from_kept_features(tmp_path: Path, write_recipe: Write) -> None:
    photos = draw_classes(tmp_path / "photos", {"red": 12, "green": 12})
    run = training(write_recipe(photos), Plan((Phase(("head",), 15, 3e-2, 1.0, "pretrained", 2),), ()))
    history = list(epochs(run))
    assert history[-1].train_loss < 0.7 * history[0].train_loss
    assert history[-1].validation_accuracy == 1.0


def test_a_head_on_several_stages_reads_the_features_of_all_of_them(photos: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, schedule="head")
    recipe.write_text(recipe.read_text() + SEVERAL)
    run = begun(recipe, phase(("head",)))
    kept = below(run)
    widths = run.classifier.cut.channels
    assert kept.rows(np.array([0]), np.array([2])).shape == (1, widths["stage2"] + widths["stage4"])
    assert np.array_equal(kept.logits(len(run.setting.split.train)), live(run))


def test_maps_below_a_head_on_several_stages_are_refused(photos: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, schedule="head")
    recipe.write_text(recipe.read_text() + SEVERAL)
    run = begun(recipe, phase(UPPER["stage3"]))
    with pytest.raises(UsageError, match="where stage4 and head train, for the head sees stage2 and stage4"):
        below(run)


# kept in fewer bits


@pytest.mark.parametrize(("stored_as", "tolerance"), [("float16", 2e-3), ("int8", 5e-2)])
def test_fewer_bits_are_close(stored_as: StoredAs, tolerance: float, photos: Path, write_recipe: Write) -> None:
    run = begun(write_recipe(photos), phase(UPPER["stage3"]))
    with torch.no_grad():
        run.classifier.head[-1].weight.mul_(100)
    exact = live(run)
    found = below(run, stored_as=stored_as).logits(len(exact))
    assert not np.array_equal(found, exact)
    assert np.abs(found - exact).max() < tolerance * np.abs(exact).max()


def test_every_batch_that_is_asked_about_has_one_size(photos: Path, write_recipe: Write) -> None:
    run = begun(write_recipe(photos), phase(UPPER["stage3"]))
    kept, sizes = below(run), list[int]()
    kept.network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    assert len(kept.logits(len(run.setting.split.train))) == 11
    assert sizes == [8, 8]


def test_it_says_how_far_it_is_and_may_be_stopped(photos: Path, write_recipe: Write) -> None:
    run = begun(write_recipe(photos), phase(("head",)))
    kept, seen = below(run), list[tuple[int, int]]()
    images = len(run.setting.split.train)
    kept.logits(images, check=lambda done, total: seen.append((done, total)))
    assert seen == [(8, images), (images, images)]


def test_what_maps_will_take_is_said_before_they_are_computed() -> None:
    network = backbone.build("test_resnet", size=32)
    shape = network.shape("stage3", size=32)
    told = needed(network, "stage3", images=100, views=8, size=32, stored_as="float32")
    assert told.startswith("maps kept of 100 images in 8 views after stage3: ")
    assert f"{size(3200 * int(np.prod(shape)))} on the disk as float32; " in told
    assert told.endswith(f"in memory {size(4 * int(np.prod(shape)))} for each image of a batch")
