from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finetune.choose import heads
from finetune.choose.heads import Material
from finetune.data.adapters import folder
from finetune.data.catalog import Catalog, Sample, census
from finetune.errors import DataError
from finetune.frozen.design import DIRECTIONS, Scaling
from finetune.frozen.extract import Extractor, Looks
from finetune.frozen.families import Trial
from finetune.frozen.probe import fit
from finetune.model import backbone
from finetune.recipe.dataset import FolderData
from finetune.recipe.images import Augment, Images
from finetune.recipe.network import Cosine, HeadChoice, Linear, Multilayer
from finetune.runtime import start
from tests.choose.toys import CATALOG, LABELS, features, material, of_module
from tests.conftest import draw_alike, draw_classes


def sample(name: str, *, content: str | None = None, group: str | None = None) -> Sample:
    return Sample(name, Path(name), "red", group=group, sha256=content or name)


# material


@pytest.fixture
def extractor() -> Extractor:
    network = backbone.build("test_resnet", size=32)
    looks = Looks(network.contract.preprocessing(Images(size=32)), Augment(kind="standard"))
    return Extractor(network, looks=looks, runtime=start("float32"))


def catalog_of(root: Path) -> Catalog:
    return census(folder.read(FolderData(root=str(root))), on_bad_image="error", threads=1)[0]


def test_material_is_features_of_all_views_and_folds_that_part_no_copies(tmp_path: Path, extractor: Extractor) -> None:
    photos = draw_classes(tmp_path / "photos", {"blue": 6, "red": 6})
    for name in ("blue", "red"):
        for number in range(4):
            copy = photos / name / f"copy {number}.png"
            copy.write_bytes((photos / name / f"00{number}.png").read_bytes())
    catalog = catalog_of(photos)
    grouped = [
        replace(one, group="trip") if one.key in ("blue/004.png", "blue/005.png") else one for one in catalog.samples
    ]
    catalog = replace(catalog, samples=tuple(grouped))
    given = heads.material(extractor, catalog, stages=("stage3", "stage4"), views=3, seed=0)
    assert given.features.shape == (3, 20, extractor.network.width(("stage3", "stage4")))
    assert np.array_equal(given.features, extractor.pooled(catalog.samples, stages=("stage3", "stage4"), views=3))
    assert given.labels.tolist() == [0] * 10 + [1] * 10
    assert given.classes == 2
    assert (given.folds >= 0).all()
    for key in (lambda one: one.sha256, lambda one: one.group):
        for name in {key(one) for one in catalog.samples} - {None}:
            inside = [place for place, one in enumerate(catalog.samples) if key(one) == name]
            assert len({int(fold) for fold in given.folds[inside]}) == 1


def test_classes_of_one_image_leave_nothing_to_hold_out(tmp_path: Path, extractor: Extractor) -> None:
    catalog = catalog_of(draw_classes(tmp_path / "photos", {"blue": 1, "red": 1}))
    with pytest.raises(DataError, match="nothing can be held out"):
        heads.material(extractor, catalog, stages=("stage4",), views=1, seed=0)


def test_the_weights_of_classes_make_them_count_the_same() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    given = Material(CATALOG, features(1.0)[:, :8], labels, ("x",) * 8, np.zeros(8, np.int64))
    assert given.class_weights.tolist() == [8 / 12, 8 / 6, 8 / 6]
    assert np.bincount(labels, given.class_weights[labels]).tolist() == pytest.approx([8 / 3] * 3)


# fitting


def tried(probe: heads.Probe) -> set[str]:
    return {row.trial.scaling for row in probe.table}


def test_without_a_head_in_the_recipe_every_shape_may_win() -> None:
    assert tried(heads.fit(material(), head=None, threads=1)) == {"raw", "standardised", "l2", "centred l2"}


@pytest.mark.parametrize("choice", [Linear(), Multilayer(stages=("stage3", "stage4"))])
def test_a_linear_head_is_never_one_of_directions(choice: HeadChoice) -> None:
    probe = heads.fit(material(), head=choice, threads=1)
    assert {row.trial.scaling for row in probe.table if row.trial.family != "knn"} == {"raw", "standardised"}
    assert probe.fitted.kind == "linear"


def test_a_cosine_head_is_always_one_of_directions() -> None:
    probe = heads.fit(material(), head=Cosine(), threads=1)
    assert tried(probe) == set(DIRECTIONS)
    assert probe.fitted.kind == "cosine"


def test_trials_that_are_given_are_the_only_ones() -> None:
    only = Trial("lda", "raw", 0.5)
    assert [row.trial for row in heads.fit(material(), head=None, threads=1, trials=[only]).table] == [only]


def test_of_several_views_the_head_is_near_that_of_the_plain_ones() -> None:
    several = material(views=3)
    plain = heads.fit(replace(several, features=several.features[:1]), head=None, threads=1)
    probe = heads.fit(several, head=None, threads=1)
    assert (probe.trial.family, probe.trial.scaling) == (plain.trial.family, plain.trial.scaling)
    assert {row.trial for row in probe.table} == set(heads.near(plain.trial))
    assert not np.array_equal(probe.fitted.weight, plain.fitted.weight)


@pytest.mark.parametrize("family", ["ncm", "cosine", "lda"])
def test_near_a_head_without_a_strength_to_speak_of_is_itself(family: str) -> None:
    trial = Trial(family, "l2", 0.5 if family == "lda" else None)  # type: ignore[arg-type]
    assert heads.near(trial) == (trial,)


def test_near_a_logistic_head_are_strengths_on_both_sides() -> None:
    found = heads.near(Trial("logistic", "raw", 2.0))
    assert [trial.strength for trial in found] == pytest.approx([0.06, 0.2, 0.6, 2.0, 6.0])
    assert {(trial.family, trial.scaling) for trial in found} == {("logistic", "raw")}


def test_a_head_without_a_fold_knows_nothing_of_it() -> None:
    given = material()
    probe = heads.fit(given, head=None, threads=1)
    inside = given.folds == 1
    other = replace(
        given,
        features=np.where(inside[None, :, None], 1e3, given.features).astype(np.float32),
        labels=np.where(inside, (LABELS + 1) % 3, LABELS),
    )
    found, blind = (one.fitted_without(1, probe) for one in (given, other))
    assert np.array_equal(found.weight, blind.weight)
    assert np.array_equal(found.bias, blind.bias)
    assert not np.array_equal(found.weight, given.fitted_without(0, probe).weight)
    by_hand = fit(given.features[:, ~inside], LABELS[~inside], probe.trial, classes=3, temperature=probe.temperature)
    assert np.array_equal(found.weight, by_hand.weight)


def test_a_head_without_a_fold_counts_classes_as_the_probe_does() -> None:
    kept = np.flatnonzero((LABELS > 0) | (np.arange(60) % 12 == 0))  # 5 of the first class, 20 of each other
    full = material(1.0)
    given = Material(CATALOG, full.features[:, kept], LABELS[kept], tuple(f"{p}" for p in kept), full.folds[kept])
    probe = heads.fit(given, head=None, threads=1, trials=[Trial("logistic", "raw", 0.1)])
    assert probe.balanced
    inside = given.folds == 0
    expected = fit(
        given.features[:, ~inside],
        given.labels[~inside],
        probe.trial,
        classes=3,
        temperature=probe.temperature,
        class_weights=given.class_weights,
    )
    assert np.array_equal(given.fitted_without(0, probe).weight, expected.weight)
    uneven = replace(probe, balanced=False)
    assert not np.allclose(given.fitted_without(0, uneven).weight, expected.weight)


# as a module


@pytest.mark.parametrize("choice", [Linear(), Cosine()])
def test_the_module_says_what_the_probe_says(choice: HeadChoice) -> None:
    given = material()
    probe = heads.fit(given, head=choice, threads=1)
    rows = given.features[0]
    assert np.allclose(of_module(heads.module(probe), rows), probe.fitted.logits(rows), atol=1e-5)
    part = given.fitted_without(0, probe)
    assert np.allclose(of_module(heads.module(part), rows), part.logits(rows), atol=1e-5)


@pytest.mark.parametrize(
    ("choice", "scaling", "expected"),
    [
        (Linear(), "raw", Linear()),
        (None, "raw", Linear()),
        (None, "l2", Cosine()),
        (Cosine(), "l2", Cosine()),
        (Multilayer(stages=("stage2", "stage4")), "raw", Multilayer(stages=("stage2", "stage4"))),
        (Multilayer(stages=("stage3",)), "raw", Multilayer(stages=("stage3",))),
    ],
)
def test_it_is_described_as_a_recipe_would_name_it(
    choice: HeadChoice | None, scaling: Scaling, expected: HeadChoice
) -> None:
    probe = heads.fit(material(), head=choice, threads=1, trials=[Trial("ncm", scaling)])
    assert heads.described(probe, choice) == expected


def test_images_that_resemble_each_other_are_told_apart_about_as_well_as_they_can_be(
    tmp_path: Path, extractor: Extractor
) -> None:
    catalog = catalog_of(draw_alike(tmp_path / "photos", {"blue": 40, "green": 40, "red": 40}, apart=45))
    given = heads.material(extractor, catalog, stages=("stage4",), views=1, seed=0)
    probe = heads.fit(given, head=None, threads=1)
    assert 0.6 < np.mean(probe.logits.argmax(axis=1) == given.labels) < 0.95
