from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from finetune.data.adapters import folder
from finetune.data.catalog import Sample, census
from finetune.data.pixels import Pixels
from finetune.data.store import Store
from finetune.errors import DataError, OutOfResources, UsageError
from finetune.frozen import extract
from finetune.frozen.extract import Extractor, Looks
from finetune.frozen.sources import InMemory, working
from finetune.model import backbone
from finetune.model.backbone import Backbone
from finetune.model.classifier import Classifier
from finetune.predict import logits
from finetune.recipe.dataset import FolderData
from finetune.recipe.images import Augment, Images
from finetune.runtime import Runtime, has_bf16, start
from tests.conftest import draw, draw_classes

FAMILIES = ("test_resnet", "resnetv2_18", "densenet121", "test_efficientnet")
SIZE = 64


@pytest.fixture(autouse=True)
def runtime() -> Iterator[Runtime]:
    threads = torch.get_num_threads()
    yield start("float32", threads=1)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def network() -> Backbone:
    return backbone.build("test_resnet", size=SIZE)


@pytest.fixture
def samples(tmp_path: Path) -> Sequence[Sample]:
    root = draw_classes(tmp_path / "photos", {"blue": 7, "red": 6}, suffix=".jpg")
    return census(folder.read(FolderData(root=str(root))), on_bad_image="error", threads=1)[0].samples


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "cache") as opened:
        yield opened


def looks_of(network: Backbone, kind: str = "standard", seed: int = 0) -> Looks:
    return Looks(network.contract.preprocessing(Images(size=SIZE)), Augment(kind=kind), seed)  # type: ignore[arg-type]


class Counted(Extractor):
    """Counts the views that go through the network."""

    views = 0

    def _padded(self, looks):  # type: ignore[no-untyped-def]
        self.views += len(looks)
        return super()._padded(looks)


def extractor(network: Backbone, store: Store | None = None, **settings: object) -> Counted:
    given = {"looks": looks_of(network), "runtime": start("float32", threads=1), **settings}
    return Counted(network, store=store, **given)  # type: ignore[arg-type]


# law 3: cold = warm = live


@pytest.mark.parametrize("name", FAMILIES)
def test_a_feature_is_the_same_bits_from_a_cold_cache_a_warm_one_and_the_live_network(
    name: str, samples: Sequence[Sample], store: Store, runtime: Runtime
) -> None:
    network = backbone.build(name, size=SIZE)
    cold = extractor(network, store).pooled(samples)
    warm = extractor(network, store)
    assert torch.equal(torch.from_numpy(warm.pooled(samples)), torch.from_numpy(cold))
    assert warm.views == 0
    pixels = looks_of(network).preprocessing
    classifier = Classifier(network, torch.nn.Identity(), pixels)
    live = logits(classifier, [sample.file for sample in samples], preprocessing=pixels, runtime=runtime)
    assert np.array_equal(np.stack([row for row in live if isinstance(row, np.ndarray)]), cold[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cached_activation_run_onward_is_the_live_feature(
    name: str, samples: Sequence[Sample], store: Store, runtime: Runtime
) -> None:
    network = backbone.build(name, size=SIZE)
    expected = extractor(network).pooled(samples, views=3)
    kept = extractor(network, store).activations(samples, stage="stage3", views=3, stored_as="float32")
    warm = extractor(network, store).activations(samples, stage="stage3", views=3, stored_as="float32")
    places, views = np.arange(8), np.array([0, 1, 2, 0, 1, 2, 0, 1])
    assert np.array_equal(kept.batch(places, views), warm.batch(places, views))
    onward = network.onward("stage3")
    with torch.inference_mode():
        given = torch.from_numpy(warm.batch(places, views)).contiguous(memory_format=torch.channels_last)
        assert torch.equal(onward(given), torch.from_numpy(expected[views, places]))


def test_a_feature_is_a_function_of_the_image_alone(
    network: Backbone, samples: Sequence[Sample], tmp_path: Path
) -> None:
    together = extractor(network).pooled(samples, views=2)[:, 3]
    copied = tmp_path / "another name.jpg"
    copied.write_bytes(samples[3].file.read_bytes())
    alone = Sample("elsewhere", copied, "x")
    assert np.array_equal(extractor(network).pooled([alone], views=2)[:, 0], together)
    backwards = extractor(network).pooled(samples[::-1], views=2)
    assert np.array_equal(backwards[:, len(samples) - 4], together)


def test_chunks_and_threads_that_decode_change_nothing(
    network: Backbone, samples: Sequence[Sample], monkeypatch: pytest.MonkeyPatch, runtime: Runtime
) -> None:
    expected = extractor(network).pooled(samples, views=3, mirrored=True)
    monkeypatch.setattr(extract, "_CHUNK", 8)
    monkeypatch.setattr("finetune.frozen.scratch.LARGE", 100)
    found = extractor(network, runtime=replace(runtime, threads=3)).pooled(samples, views=3, mirrored=True)
    assert not found.flags.owndata  # it is a file, mapped
    assert np.array_equal(found, expected)


def test_a_batch_that_is_under_way_while_the_next_is_decoded_is_not_lost(
    network: Backbone, samples: Sequence[Sample]
) -> None:
    later = extractor(network)
    later._ahead = 1
    assert np.array_equal(later.pooled(samples, views=3), extractor(network).pooled(samples, views=3))
    assert later.views == 3 * len(samples)


# what is computed


def test_only_what_is_missing_is_computed(network: Backbone, samples: Sequence[Sample], store: Store) -> None:
    first = extractor(network, store)
    first.pooled(samples[:5])
    assert first.views == 5
    first.pooled(samples)
    assert first.views == len(samples)
    first.pooled(samples, views=3)
    assert first.views == 3 * len(samples)
    first.pooled(samples, mirrored=True)
    assert first.views == 4 * len(samples)
    first.pooled(samples, stages=("stage2", "stage4"))
    assert first.views == 5 * len(samples)
    first.pooled(samples, stages=("stage2",))
    assert first.views == 5 * len(samples)


def test_equal_files_are_computed_once(network: Backbone, samples: Sequence[Sample]) -> None:
    twice = extractor(network)
    found = twice.pooled([*samples, *samples])
    assert twice.views == len(samples)
    assert np.array_equal(found[:, : len(samples)], found[:, len(samples) :])


def test_without_a_store_nothing_outlives_the_extractor(network: Backbone, samples: Sequence[Sample]) -> None:
    first = extractor(network)
    first.pooled(samples)
    first.pooled(samples)
    second = extractor(network)
    second.pooled(samples)
    assert (first.views, second.views) == (len(samples), len(samples))


def test_pooled_features_come_from_the_pass_that_makes_activations(
    network: Backbone, samples: Sequence[Sample], store: Store
) -> None:
    joint = extractor(network, store)
    joint.activations(samples, stage="stage3", views=2, stored_as="float16", also=("stage3", "stage4"))
    assert joint.views == 2 * len(samples)
    found = joint.pooled(samples, stages=("stage3", "stage4"), views=2)
    assert joint.views == 2 * len(samples)
    assert np.array_equal(found, extractor(network).pooled(samples, stages=("stage3", "stage4"), views=2))


@pytest.mark.parametrize(
    "other",
    [
        {"precision": "bf16"},
        {"runtime": Runtime(torch.device("cpu"), "float32", threads=2)},
        {"looks": Looks(backbone.build("test_resnet", size=SIZE).contract.preprocessing(Images(size=SIZE, fit="pad")))},
    ],
    ids=["precision", "threads", "preprocessing"],
)
def test_another_setting_is_another_feature(
    other: dict[str, object], network: Backbone, samples: Sequence[Sample], store: Store
) -> None:
    if other.get("precision") == "bf16" and not has_bf16(torch.device("cpu")):
        pytest.skip("no bf16 here")
    extractor(network, store).pooled(samples)
    again = extractor(network, store, **other)
    again.pooled(samples)
    assert again.views == len(samples)


def test_features_depend_on_the_weights_of_the_stages_that_they_pass(samples: Sequence[Sample], store: Store) -> None:
    network = backbone.build("test_resnet", size=SIZE)
    found = extractor(network, store)
    before = found.pooled(samples, stages=("stage2", "stage4"))
    with torch.no_grad():
        for name, parameter in network.module.named_parameters():
            if network.tensors[name] == "stage4":
                parameter.mul_(2)
    found.views = 0
    assert np.array_equal(found.pooled(samples, stages=("stage2",)), before[:, :, : network.channels["stage2"]])
    assert found.views == 0
    assert not np.array_equal(found.pooled(samples), before[:, :, network.channels["stage2"] :])


def test_another_seed_gives_other_views_and_the_same_plain_one(
    network: Backbone, samples: Sequence[Sample], store: Store
) -> None:
    first = extractor(network, store, looks=looks_of(network, seed=1)).pooled(samples, views=2)
    second = extractor(network, store, looks=looks_of(network, seed=2))
    found = second.pooled(samples, views=2)
    assert second.views == len(samples)
    assert np.array_equal(found[0], first[0])
    assert not np.array_equal(found[1], first[1])


# what is given back


def test_several_stages_are_those_of_the_backbones_extractor(network: Backbone, samples: Sequence[Sample]) -> None:
    found = extractor(network).pooled(samples, stages=("stage4", "stage1"), pool="avgmax")
    assert found.shape == (1, len(samples), network.width(("stage1", "stage4"), "avgmax"))
    apart = [extractor(network).pooled(samples, stages=(one,), pool="avgmax") for one in ("stage1", "stage4")]
    assert np.array_equal(found, np.concatenate(apart, axis=2))


def test_a_mirrored_feature_is_the_mean_over_both_sides(network: Backbone, samples: Sequence[Sample]) -> None:
    looks = Looks(network.contract.preprocessing(Images(size=SIZE, fit="squash")))  # whose crop is symmetric
    kept, made = looks.preprocessing, Pixels()
    pixels = [looks.pixels(working(one, str(one.sha256), kept, made), (0, False), key="") for one in samples]
    there = extractor(network, looks=looks).pooled([InMemory("", one) for one in pixels])
    turned = [InMemory("", np.ascontiguousarray(one[:, ::-1])) for one in pixels]
    back = extractor(network, looks=looks).pooled(turned)
    assert not np.array_equal(there, back)
    assert np.array_equal(extractor(network, looks=looks).pooled(samples, mirrored=True), (there + back) / 2)


def test_maps_are_given_as_they_leave(network: Backbone, samples: Sequence[Sample], store: Store) -> None:
    maps = extractor(network, store).pooled(samples, stages=("stage2",), pool="none")
    assert maps.shape == (1, len(samples), *network.shape("stage2", size=SIZE))
    means = extractor(network).pooled(samples, stages=("stage2",))
    assert np.allclose(maps.mean((3, 4)), means, atol=1e-6)


def test_maps_of_several_stages_come_from_one_pass_each_as_if_it_were_alone(
    network: Backbone, samples: Sequence[Sample], store: Store
) -> None:
    together = extractor(network, store)
    maps = together.maps(samples, stages=("stage4", "stage2", "stage3"), views=2)
    assert together.views == 2 * len(samples)
    assert list(maps) == ["stage2", "stage3", "stage4"]
    for stage, found in maps.items():
        alone = extractor(network).pooled(samples, stages=(stage,), pool="none", views=2)
        assert np.array_equal(found, alone)
    warm = extractor(network, store)
    again = warm.maps(samples, stages=("stage3", "stage4"), views=2)
    assert warm.views == 0
    assert np.array_equal(again["stage4"], maps["stage4"])
    means = extractor(network).pooled(samples, stages=("stage2", "stage4"), pool="avg")[0]
    assert np.allclose(means, np.concatenate([maps[s][0].mean((2, 3)) for s in ("stage2", "stage4")], 1), atol=1e-6)


def test_the_map_of_a_mirror_image_is_turned_back(network: Backbone, samples: Sequence[Sample]) -> None:
    looks = Looks(network.contract.preprocessing(Images(size=SIZE, fit="squash")))  # whose crop is symmetric
    kept, made = looks.preprocessing, Pixels()
    pixels = [looks.pixels(working(one, str(one.sha256), kept, made), (0, False), key="") for one in samples]
    turned = [InMemory("", np.ascontiguousarray(one[:, ::-1])) for one in pixels]
    there, back = (
        extractor(network, looks=looks).maps(of, stages=("stage1", "stage2"))
        for of in ([InMemory("", one) for one in pixels], turned)
    )
    both = extractor(network, looks=looks).maps(samples, stages=("stage1", "stage2"), mirrored=True)
    for stage, found in both.items():
        assert np.array_equal(found, (there[stage] + back[stage][..., ::-1]) / 2)
    means = extractor(network, looks=looks).pooled(samples, stages=("stage1",), mirrored=True)
    assert np.allclose(both["stage1"].mean((3, 4)), means, atol=1e-6)


def test_no_images_give_no_features(network: Backbone) -> None:
    assert extractor(network).pooled([], views=2).shape == (2, 0, network.features)


def test_the_network_is_in_evaluation_mode_when_it_runs(network: Backbone, samples: Sequence[Sample]) -> None:
    expected = extractor(network).pooled(samples)
    found = extractor(network)
    network.module.train()
    assert np.array_equal(found.pooled(samples), expected)


# what may go wrong


def test_progress_counts_images_and_may_stop_without_losing_what_was_computed(
    network: Backbone, samples: Sequence[Sample], store: Store
) -> None:
    told: list[tuple[int, int]] = []
    extractor(network).pooled(samples, check=lambda done, total: told.append((done, total)))
    assert told == [(7, 13), (12, 13), (13, 13)]  # those before the last that was given to the network

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extractor(network, store).pooled(samples, check=stop)
    rest = extractor(network, store)
    rest.pooled(samples)
    assert rest.views == len(samples) - 8


def test_files_that_are_damaged_or_have_changed_are_all_named(
    network: Backbone, samples: Sequence[Sample], store: Store
) -> None:
    samples[0].file.write_bytes(b"nothing")
    draw(samples[1].file, hue=(1, 2, 3), seed=99)
    told = r"2 images cannot be used\n    blue/000.jpg: changed: .*\n    blue/001.jpg: changed: the file is not"
    with pytest.raises(DataError, match=told):
        extractor(network, store).pooled(samples)
    rest = extractor(network, store)
    rest.pooled(samples[2:])
    assert rest.views < 8
    unhashed = replace(samples[0], sha256=None)
    with pytest.raises(DataError, match=r"1 image cannot be used\n    blue/000.jpg: "):
        extractor(network).pooled([unhashed])


def test_bf16_is_refused_where_there_is_none(network: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "has_bf16", lambda device: False)
    with pytest.raises(UsageError, match="precision is 'bf16', but 'cpu' here has no bf16 instructions"):
        extractor(network, precision="bf16")


def test_activations_that_the_cache_has_no_room_for_go_to_a_temporary_file(
    network: Backbone, samples: Sequence[Sample], tmp_path: Path
) -> None:
    with Store.open(tmp_path / "small", limit=10_000) as store:
        found = extractor(network, store).activations(samples, stage="stage1", views=2, stored_as="int8")
        (note,) = store.notes
        assert "are allowed" in note
        assert note.endswith("; a temporary file is used instead")
        assert store.info().holdings == ()
        live = extractor(network).activations(samples, stage="stage1", views=2, stored_as="int8")
        assert np.array_equal(found.batch([0, 1], [1, 0]), live.batch([0, 1], [1, 0]))


def test_activations_without_room_anywhere_are_refused_before_anything_is_computed(
    network: Backbone, samples: Sequence[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(tmp_path / "small", limit=10_000) as store:
        found = extractor(network, store)
        monkeypatch.setattr("finetune.data.scratch.shutil.disk_usage", lambda folder: SimpleNamespace(free=10**3))
        with pytest.raises(OutOfResources, match=r"1\.0 kB are free; free some space, set TMPDIR"):
            found.activations(samples, stage="stage1", views=2, stored_as="int8")
    assert found.views == 0


def test_maps_as_features_ask_for_room_of_all_stages_together_before_anything_is_computed(
    network: Backbone, samples: Sequence[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = 4 * len(samples) * int(np.prod(network.shape("stage1", size=32)))
    live = extractor(network).pooled(samples, stages=["stage1"], pool="none")
    with Store.open(tmp_path / "small", limit=one // 2) as store:
        found = extractor(network, store)
        with monkeypatch.context() as patch:
            patch.setattr("finetune.data.scratch.shutil.disk_usage", lambda folder: SimpleNamespace(free=10**3))
            with pytest.raises(OutOfResources, match=r"1\.0 kB are free; free some space, set TMPDIR"):
                found.pooled(samples, stages=["stage1"], pool="none")
        assert found.views == 0
        assert np.array_equal(found.pooled(samples, stages=["stage1"], pool="none"), live)
        assert all(note.endswith("; a temporary file is used instead") for note in store.notes)
        assert store.info().holdings == ()


def test_room_for_the_maps_of_several_stages_is_asked_for_together(
    network: Backbone, samples: Sequence[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = 4 * len(samples) * int(np.prod(network.shape("stage1", size=SIZE)))
    monkeypatch.setattr("finetune.data.scratch.shutil.disk_usage", lambda folder: SimpleNamespace(free=one))
    found = extractor(network)
    with pytest.raises(OutOfResources, match="are free; free some space, set TMPDIR"):
        found.maps(samples, stages=["stage1", "stage2"])
    assert found.views == 0
    found.maps(samples, stages=["stage1"])


def test_room_that_was_promised_to_one_is_not_promised_to_another(tmp_path: Path) -> None:
    with Store.open(tmp_path, limit=1_000_000) as store:
        some = store.collection({"name": "one"}, dtype=np.dtype(np.float32), shape=(1000,), large=True)
        some.make_room(100)
        assert store.notes == ()
        some.make_room(100, beside=900_000)
        assert store.notes[0].startswith("1.3 MB are needed in ")
