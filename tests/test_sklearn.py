import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from PIL import Image
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import validate_data

import finetune.sklearn
from finetune.errors import DataError, UsageError
from finetune.frozen.extract import Extractor
from finetune.frozen.table import features
from finetune.model import backbone
from finetune.recipe.network import Random
from finetune.scores.metrics import scores
from finetune.scores.thresholds import choose
from finetune.sklearn import FinetuneClassifier, ImageFeatures
from tests.conftest import draw

RANDOM = {"kind": "random"}


def paths(photos: Path) -> list[Path]:
    return sorted(photos.rglob("*.png"))


def names(photos: Path) -> list[str]:
    return [path.parent.name for path in paths(photos)]


def transformer(**settings: Any) -> ImageFeatures:
    return ImageFeatures("test_resnet", RANDOM, **{"size": 32, **settings})


def classifier(**settings: Any) -> FinetuneClassifier:
    return FinetuneClassifier("test_resnet", RANDOM, **{"size": 32, "stage": "stage1", **settings})


# scikit-learn's own checks, which draw tables of numbers: a stand-in draws an image of each row


def drawn(table: object) -> object:
    """Each row of a table of finite numbers as an image of stripes; anything else as it is."""
    try:
        numbers = np.asarray(table)
    except ValueError:
        return table
    if numbers.ndim != 2 or numbers.dtype.kind not in "iuf" or not numbers.size or not np.isfinite(numbers).all():
        return table
    stripes = np.stack([np.tanh(numbers / 4), np.sin(numbers), np.cos(numbers)], axis=2)
    pixels = np.round(128 + 127 * stripes).astype(np.uint8)[:, np.arange(32) * numbers.shape[1] // 32]
    return [np.repeat(row[None], 32, axis=0) for row in pixels]


class OfTables:
    """The number of columns of a table is the stand-in's to know: images have none."""

    def images(self, table: object, *, reset: bool = False) -> object:
        images = drawn(table)
        if images is not table:
            validate_data(self, table, reset=reset, skip_check_array=True)
        return images

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


class TableFeatures(OfTables, ImageFeatures):
    def __init__(self, backbone: str = "test_resnet", weights: object = RANDOM, *, stage: str = "stage1") -> None:
        super().__init__(backbone, weights, stage=stage, size=32)  # type: ignore[arg-type]

    def fit(self, X: object, y: object = None) -> "TableFeatures":
        return super().fit(self.images(X, reset=True), y)

    def transform(self, X: object) -> np.ndarray:
        return super().transform(self.images(X) if hasattr(self, "n_features_in_") else drawn(X))


class TableClassifier(OfTables, FinetuneClassifier):
    def __init__(self, backbone: str = "test_resnet", weights: object = RANDOM, *, stage: str = "stage1") -> None:
        super().__init__(backbone, weights, stage=stage, size=32)  # type: ignore[arg-type]

    def fit(self, X: object, y: object, groups: object = None) -> "TableClassifier":
        return super().fit(self.images(X, reset=True), y, groups)

    def _logits(self, X: object) -> np.ndarray:
        return super()._logits(self.images(X))


NO_TABLE = "what is no table of finite numbers is no list of images either, and is refused as such, in other words"
EXCEPTIONS = {
    "check_parameters_default_constructible": "there is no backbone by default: none is right for everyone",
    "check_complex_data": NO_TABLE,
    "check_dtype_object": NO_TABLE,
    "check_estimators_empty_data_messages": NO_TABLE,
    "check_estimators_nan_inf": NO_TABLE,
    "check_estimator_sparse_tag": NO_TABLE,
    "check_estimator_sparse_array": NO_TABLE,
    "check_estimator_sparse_matrix": NO_TABLE,
    "check_fit2d_predict1d": NO_TABLE,
}


def checks() -> Iterator[Any]:
    for estimator in (TableFeatures(), TableClassifier()):
        for given, check in estimator_checks_generator(estimator):
            function: Any = check
            while isinstance(function, partial) and "readonly_memmap" not in function.keywords:
                function = function.func
            if isinstance(function, partial):
                continue  # how a table lies in memory has no say in what is drawn of it
            yield pytest.param(given, check, function.__name__, id=f"{type(given).__name__}-{function.__name__}")


@pytest.mark.parametrize(("estimator", "check", "name"), list(checks()))
def test_scikit_learns_checks_pass_but_for_those_that_images_cannot(
    estimator: Any, check: Callable[[Any], None], name: str
) -> None:
    if name not in EXCEPTIONS:
        check(estimator)
        return
    with pytest.raises((AssertionError, UsageError)):
        check(estimator)


def test_an_estimator_says_that_it_takes_a_list() -> None:
    for estimator in (transformer(), classifier()):
        tags = get_tags(estimator).input_tags
        assert (tags.one_d_array, tags.string, tags.two_d_array) == (True, True, False)


# features


def test_they_are_those_of_finetune_features(photos: Path) -> None:
    files = paths(photos)
    expected = features("test_resnet", files, weights=RANDOM, size=32, fit="pad", stage=["stage2", "stage4"]).values
    found = transformer(frame="pad", stage=["stage2", "stage4"]).fit_transform(files)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    mirrored = features("test_resnet", files, weights=RANDOM, size=32, pool="avgmax", mirrored=True).values
    assert np.array_equal(transformer(pool="avgmax", mirrored=True, cache=False).transform(files), mirrored)


class Column:
    """A column of a table, as libraries of tables have it."""

    def __init__(self, values: list[str]) -> None:
        self.values = values

    def to_numpy(self) -> np.ndarray:
        return np.array(self.values, dtype=object)


def test_any_list_of_images_is_taken(photos: Path) -> None:
    files = paths(photos)[:3]
    texts = [str(path) for path in files]
    pictures = [Image.open(path).convert("RGB") for path in files]
    expected = transformer().transform(files)
    for given in (
        tuple(files),
        texts,
        np.array(texts),
        np.array(texts)[:, None],
        Column(texts),
        pictures,
        [np.asarray(picture) for picture in pictures],
        np.stack([np.asarray(picture) for picture in pictures]),
    ):
        assert np.array_equal(transformer().transform(given), expected)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("a.png", "X is a str; it must be a list or an array, with an entry per image"),
        ({"a.png"}, "X is a set; "),
        (np.zeros((8, 8, 3), np.uint8), r"X is a ndarray of shape \(8, 8, 3\); "),
        ([], "X has 0 images; there must be at least one"),
        ([b"a.png"], "an entry of X is a bytes; give paths, PIL images or uint8 arrays"),
        (["."], "'.' is a folder, and an entry of X is one image"),
    ],
)
def test_what_is_no_list_of_images_is_refused(given: object, reason: str) -> None:
    for method in (transformer().fit, transformer().transform, partial(classifier().fit, y=["a"])):
        with pytest.raises(ValueError, match=reason) as caught:
            method(given)
        assert isinstance(caught.value, UsageError)


def test_fit_refuses_what_cannot_be_and_opens_no_image(tmp_path: Path) -> None:
    nowhere = [tmp_path / "nowhere.png"]
    transformer().fit(nowhere)
    with pytest.raises(DataError, match=r"nowhere.png: missing"):
        transformer().transform(nowhere)
    for settings, reason in (
        ({"stage": "stage7"}, "no stage 'stage7'"),
        ({"pool": "sum"}, "no pool 'sum'"),
        ({"pool": "none"}, "pool 'none' gives maps, and X becomes a table"),
        ({"size": 4}, "size"),
    ):
        with pytest.raises(UsageError, match=reason):
            transformer(**settings).fit(nowhere)
    with pytest.raises(UsageError, match="resnet_18"):
        ImageFeatures("resnet_18").fit(nowhere)


def test_a_feature_is_named_after_its_stage_and_place(photos: Path) -> None:
    assert transformer().get_feature_names_out()[[0, -1]].tolist() == ["stage4_0", "stage4_95"]
    several = transformer(stage=["stage4", "stage2"]).get_feature_names_out()
    assert several[[0, 48]].tolist() == ["stage2_0", "stage4_0"]
    assert len(several) == transformer(stage=["stage4", "stage2"]).transform(paths(photos)[:1]).shape[1]


def test_set_output_gives_a_data_frame(photos: Path) -> None:
    pandas = pytest.importorskip("pandas")
    files = pandas.Series(paths(photos)[:4], index=[3, 5, 7, 9]).map(str)
    frame = transformer().set_output(transform="pandas").fit_transform(files)
    assert frame.columns[1] == "stage4_1"
    assert frame.index.tolist() == [3, 5, 7, 9]
    with config_context(transform_output="pandas"):
        fitted = classifier().fit(paths(photos), names(photos))
        assert fitted.predict(files).tolist() == ["blue"] * 4


def test_a_second_call_computes_nothing_unless_the_cache_is_not_wanted(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer(stage="stage3").transform(paths(photos))
    calls: list[int] = []
    monkeypatch.setattr(Extractor, "_run", lambda self, jobs, *_: calls.append(len(jobs)))
    transformer(stage="stage3").transform(paths(photos))
    assert calls == []
    with pytest.raises(KeyError):  # there is nothing to read, as nothing was computed
        transformer(stage="stage3", cache=False).transform(paths(photos))
    assert calls == [24]


def test_trouble_with_the_cache_is_a_warning(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "file"))
    with pytest.warns(RuntimeWarning) as caught:
        transformer().transform(paths(photos)[:2])
    assert caught[0].filename == __file__


def test_a_precision_that_is_not_to_be_had_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no precision 'fp16'"):
        transformer(precision="fp16").transform(paths(photos)[:1])
    monkeypatch.setattr("finetune.frozen.extract.has_bf16", lambda device: False)
    with pytest.raises(UsageError, match="no bf16 instructions"):
        classifier(precision="bf16").fit(paths(photos), names(photos))


# networks


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks that are built while a test runs, beginning with none in memory."""
    found: list[str] = []

    def network(name: Any, *arguments: Any, **settings: Any) -> Any:
        found.append(str(name))
        return original(name, *arguments, **settings)

    original = finetune.sklearn.network
    finetune.sklearn._built.cache_clear()
    monkeypatch.setattr(finetune.sklearn, "network", network)
    return found


def test_a_cross_validation_builds_its_network_once(photos: Path, built: list[str]) -> None:
    cross_val_score(classifier(), paths(photos), names(photos), cv=3)
    assert built == ["test_resnet"]
    transformer(size=64).transform(paths(photos)[:1])
    assert len(built) == 2


def test_a_weights_file_that_has_changed_is_read_again(photos: Path, tmp_path: Path, built: list[str]) -> None:
    file = tmp_path / "own.safetensors"
    tensors = dict(backbone.build("test_resnet", size=32).module.state_dict())
    own = ImageFeatures("test_resnet", {"kind": "file", "path": str(file)}, size=32)
    found = []
    for _ in range(2):
        safetensors.torch.save_file(tensors, file)
        found += [own.transform(paths(photos)[:2]), own.transform(paths(photos)[:2])]
        tensors = {name: tensor * 1.5 if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[2], found[3])
    assert not np.array_equal(found[0], found[2])
    assert len(built) == 2


def test_weights_may_be_a_section_of_a_recipe_and_the_backbone_a_network(photos: Path) -> None:
    files = paths(photos)[:2]
    expected = transformer().transform(files)
    assert np.array_equal(ImageFeatures("test_resnet", Random(), size=32).transform(files), expected)
    network = backbone.build("test_resnet", size=32)
    own = clone(ImageFeatures(network))
    assert np.array_equal(own.transform(files), expected)
    with pytest.raises(UsageError, match="size would have no effect"):
        own.set_params(size=64).fit(files)


# the classifier


@pytest.mark.parametrize(
    "labels", [("rot", "grün", "blau"), (7, -1, 3), (np.True_, np.False_, np.True_), (2.0, 1.0, 0.0)]
)
def test_labels_of_any_kind_come_back_as_they_were_given(labels: tuple[Any, ...], photos: Path) -> None:
    y = np.array([labels[place // 8] for place in range(24)])
    fitted = classifier().fit(paths(photos), y)
    assert fitted.classes_.tolist() == sorted(set(labels))
    found = fitted.predict(paths(photos))
    assert found.dtype == y.dtype
    assert fitted.score(paths(photos), y) == np.mean(found == y) > 0.9
    probabilities = fitted.predict_proba(paths(photos))
    assert probabilities.dtype == np.float64
    assert np.allclose(probabilities.sum(axis=1), 1)
    assert np.array_equal(fitted.classes_[probabilities.argmax(axis=1)], found)


def test_of_two_classes_the_decision_is_one_number(photos: Path) -> None:
    red, blue = sorted((photos / "red").iterdir()), sorted((photos / "blue").iterdir())
    fitted = classifier().fit(red + blue, ["red"] * 8 + ["blue"] * 8)
    decision = fitted.decision_function(red + blue)
    assert decision.shape == (16,)
    assert np.array_equal(fitted.classes_[(decision > 0).astype(int)], fitted.predict(red + blue))
    assert np.allclose(fitted.predict_proba(red)[:, 1], 1 / (1 + np.exp(-decision[:8])))
    assert classifier().fit(paths(photos), names(photos)).decision_function(red).shape == (8, 3)


def test_an_image_gets_its_answer_whatever_stands_beside_it(photos: Path) -> None:
    fitted = classifier().fit(paths(photos), names(photos))
    together = fitted.predict_proba(paths(photos))
    alone = np.concatenate([fitted.predict_proba([path]) for path in paths(photos)])
    assert np.allclose(together, alone, rtol=0, atol=1e-12)


def test_any_number_of_labels_is_a_column_for_each(photos: Path) -> None:
    given = np.array([[name == "red", name != "blue"] for name in names(photos)])
    files = paths(photos)
    fitted = classifier().fit(files, given.astype(int))
    assert fitted.classes_.tolist() == [0, 1]
    shares, decision, said = fitted.predict_proba(files), fitted.decision_function(files), fitted.predict(files)
    np.testing.assert_allclose(shares, 1 / (1 + np.exp(-decision)))
    assert said.dtype == int
    assert np.array_equal(said, shares > fitted.thresholds_)
    assert (said == given).mean() > 0.9
    held_out = fitted.out_of_fold_
    assert fitted.thresholds_.tolist() == held_out.thresholds.tolist()
    assert [one.value for one in choose(held_out)] == fitted.thresholds_.tolist()
    assert fitted.out_of_fold_accuracy_ == scores(held_out)["subset_accuracy"]["value"]


def test_out_of_fold_scores_are_those_of_images_that_were_held_out(photos: Path) -> None:
    fitted = classifier().fit(paths(photos), names(photos))
    held = fitted.out_of_fold_
    assert held.keys == tuple(map(str, paths(photos)))
    assert held.classes == ("blue", "green", "red")
    assert np.array_equal(held.logits, fitted.probe_.logits)
    assert fitted.out_of_fold_accuracy_ == np.mean(held.predicted == np.repeat([0, 1, 2], 8))
    chosen = np.take_along_axis(held.probabilities, np.repeat([0, 1, 2], 8)[:, None], axis=1)
    assert fitted.out_of_fold_log_loss_ == pytest.approx(-np.log(chosen).mean())
    assert fitted.out_of_fold_scores_ == scores(held)
    assert fitted.out_of_fold_scores_["accuracy"]["low"] < fitted.out_of_fold_accuracy_


def test_they_say_nothing_where_nothing_can_be_learnt(photos: Path) -> None:
    fitted = classifier().fit(paths(photos), ["a", "b"] * 12)
    assert fitted.out_of_fold_accuracy_ < 0.9


def test_an_image_that_is_never_held_out_has_no_score(photos: Path) -> None:
    alone = photos / "grey" / "only.png"
    draw(alone, hue=(120, 120, 120), seed=9)
    fitted = classifier().fit(paths(photos), names(photos))
    assert "grey" in fitted.classes_
    assert len(fitted.out_of_fold_) == 24
    assert str(alone) not in fitted.out_of_fold_.keys


def test_groups_and_copies_are_held_out_together(photos: Path) -> None:
    groups = np.arange(24) // 2
    fitted = classifier().fit(paths(photos), names(photos), groups=groups)
    folds = fitted.probe_.folds
    assert np.array_equal(folds[::2], folds[1::2])
    assert fitted.out_of_fold_.groups == tuple(f"group {group}" for group in groups)
    copies = [path for path in paths(photos)[::2] for _ in range(2)]
    copied = classifier().fit([np.asarray(Image.open(path)) for path in copies], names(photos))
    assert np.array_equal(copied.probe_.folds[::2], copied.probe_.folds[1::2])
    assert copied.out_of_fold_.groups is None
    apart = classifier().fit(copies, names(photos), groups=np.arange(24))  # groups do not take copies apart
    assert np.array_equal(apart.probe_.folds[::2], apart.probe_.folds[1::2])


def test_random_state_says_what_is_held_out_together(photos: Path) -> None:
    def folds(state: object) -> list[int]:
        found: list[int] = classifier(random_state=state).fit(paths(photos), names(photos)).probe_.folds.tolist()
        return found

    assert folds(0) == folds(0) == folds(np.random.RandomState(0))
    assert folds(0) != folds(1)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (None, "y should be a 1d array"),
        (["a"] * 23, "inconsistent numbers of samples"),
        (np.tile([0, 1, 2], (24, 1)), "y should be a 1d array"),
        (np.zeros((24, 2)), "no image has label 0 of y; each of its 2 columns needs one"),
        (np.linspace(0, 1, 24), "Unknown label type: continuous"),
        ([np.nan] * 24, "Input y contains NaN"),
        (["a"] * 24, "y has 1 class, 'a'; there must be two to tell apart"),
    ],
)
def test_labels_that_are_none_are_refused(labels: object, reason: str, photos: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        classifier().fit(paths(photos), labels)


def test_groups_that_do_not_fit_and_other_schedules_are_refused(photos: Path) -> None:
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier().fit(paths(photos), names(photos), groups=[1, 2])
    with pytest.raises(UsageError, match=r"schedule is 'lp_ft', and an estimator has 'probe' alone; finetune\.run"):
        classifier(schedule="lp_ft").fit(paths(photos), names(photos))
    with pytest.raises(DataError, match="nothing can be held out"):
        classifier().fit(paths(photos)[7:9], ["a", "b"])


def test_before_fit_there_is_no_answer(photos: Path) -> None:
    for method in ("predict", "predict_proba", "decision_function"):
        with pytest.raises(NotFittedError):
            getattr(classifier(), method)(paths(photos))
    for score in ("accuracy", "log_loss", "scores"):
        with pytest.raises(NotFittedError):
            getattr(classifier(), f"out_of_fold_{score}_")


def test_a_fitted_estimator_goes_through_pickle_and_keeps_its_parameters(photos: Path) -> None:
    fitted = classifier().fit(paths(photos), names(photos))
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(paths(photos)), fitted.predict_proba(paths(photos)))
    assert again.out_of_fold_accuracy_ == fitted.out_of_fold_accuracy_
    assert clone(fitted).get_params() == fitted.get_params() == classifier().get_params()
    before = fitted.predict_proba(paths(photos))
    fitted.set_params(stage="stage2")
    assert np.array_equal(fitted.predict_proba(paths(photos)), before)  # until it is fitted again
    extra = {"schedule", "random_state"}
    assert set(classifier().get_params()) - set(transformer().get_params()) == extra


# among scikit-learn's own


def test_a_pipeline_is_searched_over_stages(photos: Path) -> None:
    pipeline = make_pipeline(transformer(), RidgeClassifier())
    grid = {"imagefeatures__stage": ["stem", "stage1", ("stage1", "stage2")], "ridgeclassifier__alpha": [1.0, 100.0]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(paths(photos), names(photos))
    assert search.best_score_ > 0.9
    assert search.predict(paths(photos)[:1]).tolist() == ["blue"]


def test_the_classifier_is_searched_over_what_images_become(photos: Path) -> None:
    grid = {"frame": ["crop", "squash"], "mirrored": [True]}
    search = GridSearchCV(classifier(), grid, cv=2, error_score="raise").fit(paths(photos), names(photos))
    assert search.best_estimator_.out_of_fold_accuracy_ > 0.9


def test_cross_validation_by_group_keeps_groups_out_of_fit_or_hands_them_on(photos: Path) -> None:
    files, labels, groups = paths(photos), names(photos), np.arange(24) % 4
    plain = cross_val_score(classifier(), files, labels, groups=groups, cv=GroupKFold(4), error_score="raise")
    assert plain.mean() > 0.9
    with config_context(enable_metadata_routing=True):
        asked = classifier().set_fit_request(groups=True)
        routed = cross_val_score(asked, files, labels, params={"groups": groups}, cv=GroupKFold(4), error_score="raise")
    assert routed.mean() > 0.9


def test_features_in_a_pipeline_are_as_good_as_features_beforehand(photos: Path) -> None:
    values = transformer().transform(paths(photos))
    inside = cross_val_score(make_pipeline(transformer(), RidgeClassifier()), paths(photos), names(photos), cv=4)
    assert np.array_equal(inside, cross_val_score(RidgeClassifier(), values, names(photos), cv=4))
