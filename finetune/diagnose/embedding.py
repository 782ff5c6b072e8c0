"""Where images lie for a classifier: the features that its head is given, brought down to two dimensions."""

import numpy as np
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from finetune.bundle.facts import dump
from finetune.data import decode
from finetune.data.decode import Preprocessing
from finetune.diagnose.asked import Asked
from finetune.model.classifier import Classifier
from finetune.predict import Check, of_views
from finetune.runtime import Runtime, in_order
from finetune.views import evaluation_view

MOST = 5000
FEWEST = 10  # images of which neighbours can be told
PERPLEXITY = 30.0
_COMPONENTS = 50  # that t-SNE is given
_DIGITS = 4


def files(
    asked: Asked,
    classifier: Classifier,
    preprocessing: Preprocessing,
    runtime: Runtime,
    *,
    check: Check | None = None,
) -> dict[str, bytes]:
    """`evidence/embedding.json`: of at most 5,000 asked images, all that are wrong among them, the first two principal
    components, the shares of the variance that they explain, and t-SNE, with a reason where there is none.
    """
    shown = asked.few(MOST, mistakes_first=True)

    views = in_order(
        lambda sample: evaluation_view(decode.working_image(decode.read(sample.file), preprocessing), preprocessing),
        shown.catalog.samples,
        threads=runtime.threads,
        ahead=2 * runtime.evaluation_batch,
    )
    features = of_views(_Features(classifier), views, len(shown.catalog), runtime=runtime, check=check)
    said = {"part": asked.part, "keys": list(shown.catalog.keys), **embedded(features)}
    return {"evidence/embedding.json": dump(said)}


def embedded(features: np.ndarray) -> dict[str, object]:
    """Features (n, width) in two dimensions, as plain JSON values: pca, explained, tsne or None with a reason, and its
    perplexity.

    The perplexity is 30, of few images a third of their number. van der Maaten and Hinton 2008, Visualizing Data using
    t-SNE, begun from the principal components as Kobak and Berens 2019, The art of using t-SNE for single-cell
    transcriptomics, section "Preservation of global geometry", have it. Always the same on one machine.
    """
    from sklearn.decomposition import PCA  # a second to load, and only full evidence needs it
    from sklearn.manifold import TSNE

    count, width = features.shape
    exact = features.astype(np.float64)
    components = min(_COMPONENTS, count, width)
    with threadpool_limits(1):  # several threads add up in the order in which they are done
        reduced, explained = np.zeros((count, 2)), np.zeros(2)
        if count > 1 and np.ptp(exact, axis=0).any():
            pca = PCA(components, svd_solver="full").fit(exact)
            reduced, shares = pca.transform(exact), pca.explained_variance_ratio_
            explained = np.pad(shares, (0, 2))[:2]
        plane = np.pad(reduced, ((0, 0), (0, 2)))[:, :2]
        reason = _reason(reduced)
        perplexity = min(PERPLEXITY, (count - 1) / 3)
        tsne = None
        if reason is None:
            method = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=0)
            tsne = _rounded(method.fit_transform(reduced.astype(np.float32)))
    return {
        "pca": _rounded(plane),
        "explained": [float(share) for share in explained],
        "tsne": tsne,
        **({"reason": reason, "perplexity": None} if reason else {"perplexity": perplexity}),
    }


class _Features(nn.Module):
    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier.features(images)


def _reason(reduced: np.ndarray) -> str | None:
    count = len(reduced)
    if count < FEWEST:
        return f"t-SNE needs at least {FEWEST} images, and there {'is' if count == 1 else 'are'} {count}"
    if reduced.shape[1] < 2 or not np.ptp(reduced, axis=0).all():
        return "the features of all images are the same, or vary in one direction only"
    return None


def _rounded(places: np.ndarray) -> list[list[float]]:
    return [[round(float(x), _DIGITS), round(float(y), _DIGITS)] for x, y in places]
