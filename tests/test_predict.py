from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import finetune
from finetune import job
from finetune.bundle import Bundle
from finetune.errors import BundleError, DataError, UnreadableImage, UsageError
from finetune.predict import evaluate, from_bundle, gather, score_folder
from tests.conftest import draw, draw_classes
from tests.laws import Crash, CutAfter


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundle")
    draw_classes(root / "photos", {"green": 8, "red": 8})
    recipe = root / "toy.yaml"
    recipe.write_text(
        "data: {kind: folder, root: photos}\nbackbone: {name: test_resnet, weights: {kind: random}}\n"
        "schedule: {kind: head, epochs: 1}\nimages: {size: 32}\nhead: {kind: mlp, hidden: 8}\n"
    )
    return job.run(recipe, output=root / "run").folder


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> finetune.Predictor:
    return finetune.load(bundle)


def test_predictions_have_no_labels_and_the_order_that_was_asked(predictor: finetune.Predictor, bundle: Path) -> None:
    photos = bundle.parent / "photos"
    asked = [photos / "red" / "003.png", photos / "green" / "001.png"]
    found = predictor.predict(asked)
    assert found.labels is None
    assert found.keys == tuple(map(str, asked))
    assert found.classes == ("green", "red")
    assert found.logits.shape == (2, 2)
    assert found.probabilities.sum(1) == pytest.approx([1, 1])


def test_a_folder_stands_for_the_images_in_it(predictor: finetune.Predictor, bundle: Path) -> None:
    found = predictor.predict(bundle.parent / "photos")
    assert len(found.keys) == 16
    assert list(found.keys) == sorted(found.keys)
    assert gather([bundle.parent / "photos" / "red", "x.png"])[-1] == Path("x.png")


def test_pictures_and_arrays_are_answered_and_numbered(predictor: finetune.Predictor) -> None:
    array = np.full((50, 70, 3), 200, np.uint8)
    found = predictor.predict([array, Image.fromarray(array)])
    assert found.keys == ("image 0", "image 1")
    assert np.array_equal(found.logits[0], found.logits[1])
    assert np.array_equal(predictor.predict(array).logits, predictor.predict(Image.fromarray(array)).logits)


def test_nothing_asked_is_nothing_answered(predictor: finetune.Predictor) -> None:
    assert predictor.predict([]).logits.shape == (0, 2)


def test_what_is_no_picture_is_refused(predictor: finetune.Predictor) -> None:
    with pytest.raises(UsageError, match="cannot predict on a float"):
        predictor.predict([3.5])  # type: ignore[list-item]


def test_nothing_at_all_is_refused_as_well(predictor: finetune.Predictor) -> None:
    with pytest.raises(UsageError, match="cannot predict on a NoneType"):
        predictor.predict(None)  # type: ignore[arg-type]


def test_images_that_cannot_be_read_are_all_named(predictor: finetune.Predictor, tmp_path: Path) -> None:
    draw(tmp_path / "fine.png", hue=(1, 2, 3), seed=1)
    (tmp_path / "cut.png").write_bytes((tmp_path / "fine.png").read_bytes()[:100])
    pictures = [tmp_path / "cut.png", tmp_path / "fine.png", tmp_path / "gone.png"]
    with pytest.raises(DataError, match="2 of 3 images cannot be read") as error:
        predictor.predict(pictures)
    assert "cut.png" in str(error.value)
    assert "gone.png" in str(error.value)
    answers = predictor.logits(pictures)
    assert [type(answer) for answer in answers] == [UnreadableImage, np.ndarray, UnreadableImage]


def test_progress_is_told_between_batches_and_may_stop(predictor: finetune.Predictor, bundle: Path) -> None:
    told: list[tuple[int, int]] = []
    pictures = gather(bundle.parent / "photos")
    predictor.logits(pictures, check=lambda done, total: told.append((done, total)))
    assert told[0] == (8, 16)
    assert told[-1] == (16, 16)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predictor.logits(pictures, check=stop)


def test_an_unfinished_run_does_not_predict(tmp_path: Path, photos: Path, write_recipe: Callable[..., Path]) -> None:
    with pytest.raises(Crash):
        job.run(write_recipe(photos), output=tmp_path / "run", show=CutAfter(1))
    with pytest.raises(BundleError, match="not complete; `finetune resume"):
        finetune.load(tmp_path / "run")


def test_weights_of_another_network_are_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Bundle.open(bundle)
    tensors = safetensors.torch.load(opened.read("model.safetensors"))
    tensors["head.9.weight"] = tensors.pop(next(name for name in tensors if name.startswith("head.")))
    monkeypatch.setattr(Bundle, "read", lambda self, name: safetensors.torch.save(tensors))
    with pytest.raises(BundleError, match="2 of its tensors are missing, unknown or of another shape"):
        from_bundle(opened)


def test_weights_of_another_shape_are_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Bundle.open(bundle)
    tensors = safetensors.torch.load(opened.read("model.safetensors"))
    name = next(name for name in tensors if name.startswith("head."))
    tensors[name] = torch.zeros(1)
    monkeypatch.setattr(Bundle, "read", lambda self, name: safetensors.torch.save(tensors))
    with pytest.raises(BundleError, match="1 of its tensors"):
        from_bundle(opened)


def test_labelled_class_folders_are_scored(predictor: finetune.Predictor, tmp_path: Path) -> None:
    root = draw_classes(tmp_path / "more", {"green": 3, "red": 5})
    scored = score_folder(predictor, root)
    right = scored.predictions.predicted == scored.predictions.labels
    assert scored.scores["accuracy"]["value"] == pytest.approx(right.mean())
    assert scored.predictions.classes == predictor.classes


def test_evaluation_names_a_file_that_has_become_unreadable(predictor: finetune.Predictor, photos: Path) -> None:
    from finetune.data.adapters import folder
    from finetune.recipe.dataset import FolderData

    catalog = folder.read(FolderData(root=str(photos)))
    (photos / "red" / "000.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 24 images cannot be read\n    red/000.png: empty"):
        evaluate(predictor.classifier, catalog, preprocessing=predictor.preprocessing, runtime=predictor.runtime)
