from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.survey import Survey, find, survey
from finetune.errors import DataError
from finetune.model import backbone
from finetune.recipe import file
from finetune.recipe.plan import Plan
from finetune.runtime import Runtime
from finetune.train.batches import Batch, order, sizes, training_batches
from finetune.train.setting import Setting


@given(st.integers(1, 500), st.integers(1, 70))
def test_no_image_is_dropped_and_no_batch_is_far_smaller_than_another(images: int, batch_size: int) -> None:
    found = sizes(images, batch_size)
    assert sum(found) == images
    assert max(found) <= batch_size
    assert max(found) - min(found) <= 1


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_number_alone() -> None:
    assert sorted(order(50, seed=1, epoch=3)) == list(range(50))
    assert np.array_equal(order(50, seed=1, epoch=3), order(50, seed=1, epoch=3))
    assert not np.array_equal(order(50, seed=1, epoch=3), order(50, seed=1, epoch=4))
    assert not np.array_equal(order(50, seed=1, epoch=3), order(50, seed=2, epoch=3))


def setting(recipe_file: Path, *, threads: int) -> Setting:
    recipe = file.load(recipe_file)
    surveyed: Survey = survey(recipe, find(recipe))
    runtime = Runtime(torch.device("cpu"), "float32", threads)
    network = backbone.build("test_resnet", size=32)
    return Setting.of(recipe, surveyed.split, Plan((), ()), network=network, runtime=runtime)


def batches(chosen: Setting, *, batch_size: int, epoch: int = 1) -> list[Batch]:
    return list(
        training_batches(
            chosen.split.train,
            chosen.views,
            preprocessing=chosen.preprocessing,
            epoch=epoch,
            seed=chosen.seed,
            batch_size=batch_size,
            runtime=chosen.runtime,
        )
    )


def views(found: list[Batch]) -> dict[str, bytes]:
    return {
        key: image.numpy().tobytes() for batch in found for key, image in zip(batch.keys, batch.images, strict=True)
    }


def test_a_view_is_the_same_for_any_threads_and_batch_size_and_another_in_another_epoch(
    photos: Path, write_recipe: Callable[..., Path]
) -> None:
    one, two = setting(write_recipe(photos), threads=1), setting(write_recipe(photos), threads=2)
    expected = views(batches(one, batch_size=4))
    assert views(batches(two, batch_size=4)) == expected
    assert views(batches(two, batch_size=7)) == expected
    assert len(set(expected.values())) == len(expected)
    other = views(batches(two, batch_size=4, epoch=2))
    assert other.keys() == expected.keys()
    assert not set(other.values()) & set(expected.values())


def test_labels_belong_to_their_images(photos: Path, write_recipe: Callable[..., Path]) -> None:
    chosen = setting(write_recipe(photos), threads=2)
    classes = chosen.split.train.classes
    found = batches(chosen, batch_size=5)
    for batch in found:
        assert [key.split("/")[0] for key in batch.keys] == [classes[label] for label in batch.labels]
        assert batch.images.shape == (len(batch.keys), 3, 32, 32)
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert Counter(key for batch in found for key in batch.keys) == Counter(chosen.split.train.keys)


def test_a_file_that_has_gone_is_named(photos: Path, write_recipe: Callable[..., Path]) -> None:
    chosen = setting(write_recipe(photos), threads=1)
    (photos / chosen.split.train.keys[0]).write_bytes(b"cut")
    with pytest.raises(DataError, match=f"{chosen.split.train.keys[0]}.*could be read when the run started"):
        batches(chosen, batch_size=4)
