import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import manifold
from sklearn.decomposition import PCA

from finetune.data import decode
from finetune.diagnose import embedding
from finetune.diagnose.embedding import embedded
from finetune.runtime import start
from finetune.views import evaluation_view
from tests.diagnose import toys


def features(n: int, width: int = 20, *, classes: int = 3) -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = 6 * generator.normal(size=(classes, width))
    return (centres[np.arange(n) % classes] + generator.normal(size=(n, width))).astype(np.float32)


@pytest.mark.parametrize("n", [2, 3, 40, 200])
def test_principal_components_are_those_of_scikit_learn(n: int) -> None:
    found, given = embedded(features(n)), features(n).astype(np.float64)
    peer = PCA(2, svd_solver="full").fit(given)
    assert np.array(found["pca"]) == pytest.approx(peer.transform(given), abs=1e-3)
    assert found["explained"] == pytest.approx(peer.explained_variance_ratio_.tolist(), abs=1e-9)


def test_the_same_features_lie_in_the_same_places() -> None:
    assert embedded(features(60)) == embedded(features(60))
    assert embedded(features(60, 80)) == embedded(features(60, 80))


def test_what_is_near_stays_near() -> None:
    found = embedded(features(90))
    for name in ("pca", "tsne"):
        places, labels = np.array(found[name]), np.arange(90) % 3
        distances = np.linalg.norm(places[:, None] - places[None], axis=2)
        np.fill_diagonal(distances, np.inf)
        assert (labels[distances.argmin(axis=1)] == labels).mean() == 1, name


@pytest.mark.parametrize(("n", "perplexity"), [(10, 3.0), (31, 10.0), (91, 30.0), (120, 30.0)])
def test_few_images_have_a_smaller_perplexity(n: int, perplexity: float) -> None:
    found = embedded(features(n))
    assert found["perplexity"] == perplexity
    assert "reason" not in found
    assert np.array(found["tsne"]).shape == (n, 2)
    assert np.isfinite(np.array(found["tsne"])).all()


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_too_few_images_have_no_neighbours_to_tell(n: int) -> None:
    found = embedded(features(n))
    assert found["tsne"] is None
    assert found["perplexity"] is None
    be = "is" if n == 1 else "are"
    assert found["reason"] == f"t-SNE needs at least 10 images, and there {be} {n}"
    assert np.array(found["pca"]).shape == (n, 2)
    assert np.isfinite(np.array(found["pca"])).all()
    assert len(found["explained"]) == 2  # type: ignore[arg-type]


def test_one_image_lies_in_the_middle() -> None:
    assert embedded(features(1))["pca"] == [[0, 0]]
    assert embedded(features(1))["explained"] == [0, 0]


def test_two_images_are_all_of_one_direction() -> None:
    found = embedded(features(2))
    assert found["explained"] == pytest.approx([1, 0], abs=1e-9)
    (left, up), (right, down) = found["pca"]  # type: ignore[misc]
    assert abs(left - right) == pytest.approx(np.linalg.norm(features(2)[0] - features(2)[1]), rel=1e-3)
    assert abs(up) + abs(down) < 1e-3


def test_features_that_are_all_the_same_or_lie_on_a_line_have_no_map_of_neighbours() -> None:
    for given in (np.ones((30, 8), np.float32), features(30, 1)):
        found = embedded(given)
        assert found["tsne"] is None
        assert found["reason"] == "the features of all images are the same, or vary in one direction only"
        assert np.isfinite(np.array(found["pca"])).all()


def test_many_features_are_brought_down_before_neighbours_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []

    class Spy(manifold.TSNE):  # type: ignore[misc]
        def fit_transform(self, given: np.ndarray) -> np.ndarray:
            widths.append(given.shape)
            return np.asarray(super().fit_transform(given))

    monkeypatch.setattr(manifold, "TSNE", Spy)
    embedded(features(70, 90))
    embedded(features(40, 20))
    assert widths == [(70, 50), (40, 20)]


def test_the_features_are_what_the_head_is_given(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, given = toys.classifier(), toys.asked(photos)
    taken: list[np.ndarray] = []
    real = embedding.embedded

    def spy(features: np.ndarray) -> dict[str, object]:
        taken.append(features)
        return real(features)

    monkeypatch.setattr(embedding, "embedded", spy)
    found = embedding.files(given, network, toys.PIXELS, start("float32", threads=1))
    views = [
        evaluation_view(decode.working_image(decode.read(sample.file), toys.PIXELS), toys.PIXELS)
        for sample in given.catalog.samples
    ]
    with torch.inference_mode():
        peer = network.features(torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2))
    assert taken[0] == pytest.approx(peer.numpy(), rel=1e-3, abs=1e-4)
    said = json.loads(found["evidence/embedding.json"])
    assert said["keys"] == list(given.catalog.keys)
    assert said["part"] == "test"
    assert len(said["pca"]) == len(said["tsne"]) == 24
    assert embedding.files(given, network, toys.PIXELS, start("float32", threads=1)) == found


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_test_part_of_a_few_images_has_an_embedding(photos: Path, n: int) -> None:
    given = toys.asked(photos).select(range(n))
    found = embedding.files(given, toys.classifier(), toys.PIXELS, start("float32", threads=1))
    said = json.loads(found["evidence/embedding.json"])
    assert np.array(said["pca"]).shape == (n, 2)
    assert said["tsne"] is None
