from dataclasses import replace

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from finetune.errors import UsageError
from finetune.frozen.design import DIRECTIONS, SCALINGS, Design
from finetune.frozen.families import Trial, fit, heads, votes
from finetune.frozen.logistic import EXACT

FEW, MANY = (40, 120), (150, 24)  # images and features: rotated into their span, and as they are
TRIALS = [
    *(Trial("ncm", scaling) for scaling in SCALINGS),
    *(Trial("cosine", scaling) for scaling in DIRECTIONS),
    *(Trial("lda", scaling, strength) for scaling in SCALINGS for strength in (0.3, None)),
    *(Trial("logistic", scaling, 0.1) for scaling in SCALINGS),
    *(Trial("ridge", scaling, 1.0) for scaling in SCALINGS),
]


def drawn(images, width, *, classes=4, views=1, seed=0, apart=1.0):
    """Features like those of a network: not negative, of different sizes; and labels."""
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    sizes = generator.uniform(0.2, 3, width)
    places = apart * generator.normal(size=(classes, width))[labels] + generator.normal(size=(views, images, width))
    return np.maximum(sizes * (places + 1), 0).astype(np.float32), labels


def centred(logits):
    return logits - logits.mean(axis=1, keepdims=True)


def scaled(features, scaling, fitted_on):
    """The scaling by its description, in float64: (n, d) features in the units of (n, d) training features."""
    training, asked = fitted_on.astype(np.float64), features.astype(np.float64)
    if scaling == "centred l2":
        training, asked = training - training.mean(axis=0), asked - training.mean(axis=0)
    if scaling in DIRECTIONS:
        training, asked = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (training, asked))
    each = training.std(axis=0) if scaling == "standardised" else np.sqrt(training.var(axis=0).mean())
    return (training - training.mean(axis=0)) / each, (asked - training.mean(axis=0)) / each


def by_hand(trial, training, labels, asked):
    """Logits (but for a factor of ncm and ridge) of an unfolded pipeline of scikit-learn's parts."""
    rows, questions = scaled(asked, trial.scaling, training)
    match trial.family:
        case "ncm":
            means = NearestCentroid().fit(rows, labels).centroids_
            return -((questions[:, None] - means) ** 2).sum(axis=2) / 2
        case "lda":
            peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=trial.strength).fit(rows, labels)
            return peer.decision_function(questions)
        case "logistic":
            peer = LogisticRegression(C=trial.strength, tol=1e-9, max_iter=20_000).fit(rows, labels)
            return peer.decision_function(questions)
        case "ridge":
            peer = Ridge(alpha=trial.strength * len(rows)).fit(rows, np.eye(labels.max() + 1)[labels])
            return peer.predict(questions)


@pytest.mark.parametrize("shape", [FEW, MANY])
@pytest.mark.parametrize(
    "trial", [trial for trial in TRIALS if trial.family != "cosine" and trial.strength is not None]
)
def test_a_folded_head_says_what_the_pipeline_of_scikit_learn_says(trial, shape):
    features, labels = drawn(*shape)
    asked, _ = drawn(*shape, seed=1)
    found = centred(fit(features, labels, trial, classes=4).logits(asked[0]))
    expected = centred(by_hand(trial, features[0], labels, asked[0]))
    expected *= found.std() / expected.std() if trial.family == "ridge" else 1
    np.testing.assert_allclose(found, expected, atol=5e-3, rtol=2e-3)


@pytest.mark.parametrize("shape", [FEW, MANY])
@pytest.mark.parametrize("trial", TRIALS)
def test_a_head_says_of_features_what_was_fitted_says_of_rows(trial, shape):
    features, labels = drawn(*shape, views=2)
    asked = drawn(*shape, seed=1)[0][0]
    design = Design.of(features, labels, trial.scaling, classes=4)
    weight = np.random.default_rng(0).normal(size=(4, design.rows.shape[1])) / shape[1]
    unfolded = design.scaled(asked) @ weight.T
    np.testing.assert_allclose(design.folded(weight, np.zeros(4)).logits(asked), unfolded, atol=1e-5)


@pytest.mark.parametrize("shape", [FEW, MANY])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_nearest_mean_is_the_nearest(scaling, shape):
    features, labels = drawn(*shape)
    asked, _ = drawn(*shape, seed=1)
    found = centred(fit(features, labels, Trial("ncm", scaling), classes=4).logits(asked[0]))
    expected = centred(by_hand(Trial("ncm", scaling), features[0], labels, asked[0]))
    np.testing.assert_allclose(found, expected * found.std() / expected.std(), atol=1e-4)


@pytest.mark.parametrize("shape", [FEW, MANY])
@pytest.mark.parametrize("scaling", DIRECTIONS)
def test_a_cosine_head_gives_cosines(scaling, shape):
    features, labels = drawn(*shape)
    asked = drawn(*shape, seed=1)[0][0]
    fitted = fit(features, labels, Trial("cosine", scaling), classes=4)
    centre = features[0].mean(axis=0) if scaling == "centred l2" else 0

    def directions(rows):
        return (rows - centre) / np.linalg.norm(rows - centre, axis=1, keepdims=True)

    means = np.stack([directions(features[0])[labels == label].mean(axis=0) for label in range(4)])
    cosines = directions(asked) @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    found = fitted.logits(asked)
    np.testing.assert_allclose(found, cosines * found.std() / cosines.std(), atol=1e-4)
    np.testing.assert_array_equal(fitted.bias, 0)


@pytest.mark.parametrize("shape", [FEW, MANY])
def test_the_shrinkage_that_the_data_decides_is_that_of_ledoit_and_wolf(shape):
    features, labels = drawn(*shape, apart=0.3)
    features += 3 * np.random.default_rng(5).uniform(size=(1, shape[0], 1)).astype(np.float32)  # what all share
    within = scaled(features[0], "standardised", features[0])[0]
    within -= np.stack([within[labels == label].mean(axis=0) for label in range(4)])[labels]
    shrinkage = float(ledoit_wolf_shrinkage(within, assume_centered=True))
    assert 0.01 < shrinkage < 0.9
    decided = fit(features, labels, Trial("lda", "standardised"), classes=4).logits(features[0])
    given = fit(features, labels, Trial("lda", "standardised", shrinkage), classes=4).logits(features[0])
    np.testing.assert_allclose(decided, given, atol=2e-3, rtol=1e-4)


def test_neighbours_vote_as_those_of_scikit_learn():
    features, labels = drawn(*MANY, views=2)
    asked = drawn(*MANY, seed=1)[0][0]
    for scaling in SCALINGS:
        design = Design.of(features, labels, scaling, classes=4)
        rows = np.asarray(design.rows[: design.images], dtype=np.float64)
        peer = KNeighborsClassifier(7).fit(rows, labels).predict_proba(design.scaled(asked).astype(np.float64))
        found = np.exp(votes(design, asked, neighbours=7))
        np.testing.assert_allclose(found, (7 * peer + 1 / 4) / 8, rtol=1e-5)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_neighbours_are_no_head():
    features, labels = drawn(*FEW)
    with pytest.raises(UsageError, match="nearest neighbours are for comparison: they make no head"):
        fit(features, labels, Trial("knn", "l2", 5), classes=4)


@pytest.mark.parametrize("trial", TRIALS)
def test_rows_in_their_span_and_as_they_are_give_one_head(trial, monkeypatch):
    features, labels = drawn(*FEW, views=1)
    asked = drawn(*FEW, seed=1)[0][0]
    rotated = fit(features, labels, trial, classes=4).logits(asked)
    monkeypatch.setattr("finetune.frozen.design._FEW", 0)
    np.testing.assert_allclose(fit(features, labels, trial, classes=4).logits(asked), rotated, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("trial", TRIALS)
def test_two_equal_views_are_one(trial):
    features, labels = drawn(*FEW)
    twice = np.concatenate([features, features])
    once = fit(features, labels, trial, classes=4).logits(features[0])
    np.testing.assert_allclose(fit(twice, labels, trial, classes=4).logits(features[0]), once, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("trial", TRIALS)
def test_the_size_of_the_features_does_not_matter(trial, factor):
    features, labels = drawn(*FEW)
    asked = drawn(*FEW, seed=1)[0][0]
    plain = fit(features, labels, trial, classes=4).logits(asked)
    large = fit(features * np.float32(factor), labels, trial, classes=4).logits(asked * np.float32(factor))
    np.testing.assert_allclose(large, plain, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("shape", [FEW, MANY])
@pytest.mark.parametrize("trial", TRIALS)
def test_a_constant_column_changes_nothing_but_directions(trial, shape):
    features, labels = drawn(*shape)
    asked = drawn(*shape, seed=1)[0]
    constant = np.full((1, shape[0], 1), 7.0, dtype=np.float32)
    logits = fit(np.concatenate([features, constant], axis=2), labels, trial, classes=4).logits(
        np.concatenate([asked, constant], axis=2)[0]
    )
    assert np.isfinite(logits).all()
    if trial.scaling == "standardised" and trial.family in ("logistic", "ridge"):
        plain = fit(features, labels, trial, classes=4).logits(asked[0])
        np.testing.assert_allclose(logits, plain, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.parametrize(
    "case", ["all features constant", "two images", "four images", "duplicates", "one of a class", "forty classes"]
)
def test_degenerate_data_give_finite_heads(trial, case):
    features, labels = drawn(80, 30, classes=2)
    if case == "all features constant":
        features = np.ones_like(features)
    elif case == "two images":
        features, labels = features[:, :2], labels[:2]
    elif case == "four images":
        features, labels = features[:, :4], labels[:4]
    elif case == "duplicates":
        features = np.repeat(features[:, :2], 40, axis=1)
        labels = np.repeat(labels[:2], 40)
    elif case == "one of a class":
        labels = np.array([1] + 79 * [0])
    else:
        labels = np.arange(80) % 40
    classes = int(labels.max()) + 1
    logits = fit(features, labels, trial, classes=classes).logits(features[0])
    assert np.isfinite(logits).all()
    assert logits.dtype == np.float32
    assert logits.shape == (len(labels), classes)
    if case in ("two images", "four images", "duplicates"):
        assert (logits.argmax(axis=1) == labels).all()


def test_class_weights_count_as_repeated_images():
    features, labels = drawn(60, 8, classes=2, apart=0.3)
    times = np.where(labels == 1, 3, 1)
    for trial in (Trial("logistic", "raw", 0.1), Trial("lda", "raw", 0.3)):
        # of one view and equal centres the scaling is the same; so the centres are taken off beforehand
        base = features - features.mean(axis=1, keepdims=True)
        repeated = Design.of(base, labels, "raw", classes=2)
        weighted = Design.of(base, labels, "raw", classes=2, class_weights=np.array([1.0, 3.0]))
        rows = np.repeat(repeated.rows, times, axis=0)
        many = replace(
            repeated, rows=rows, labels=np.repeat(labels, times), weights=np.ones(len(rows)), images=len(rows)
        )
        (one,), (other,) = (
            list(heads(one, trial.family, [trial.strength], precision=EXACT)) for one in (weighted, many)
        )
        np.testing.assert_allclose(centred(one.logits(base[0])), centred(other.logits(base[0])), atol=1e-3)


def test_the_temperature_divides_the_logits():
    features, labels = drawn(*FEW)
    for trial in TRIALS[:6]:
        plain = fit(features, labels, trial, classes=4).logits(features[0])
        cooled = fit(features, labels, trial, classes=4, temperature=4.0).logits(features[0])
        np.testing.assert_allclose(cooled, plain / 4, rtol=1e-5, atol=1e-6)


def test_a_kind_says_whether_features_are_brought_to_length_one():
    features, labels = drawn(*FEW)
    for trial in TRIALS:
        fitted = fit(features, labels, trial, classes=4)
        assert fitted.kind == ("cosine" if trial.scaling in DIRECTIONS else "linear")
        assert (fitted.centre is not None) == (trial.scaling == "centred l2")
        doubled = fitted.logits(2 * features[0])
        assert np.allclose(doubled, fitted.logits(features[0]), atol=1e-3) == (trial.scaling == "l2")


# any number of labels


def marked(images, width, *, classes=3, views=1, seed=0):
    """Features that tell labels with noise, and labels bool (images, classes)."""
    generator = np.random.default_rng(seed)
    labels = generator.random((images, classes)) < np.linspace(0.2, 0.6, classes)
    own = labels @ generator.normal(size=(classes, width)) + generator.normal(size=(images, width))
    return (own + 0.1 * generator.normal(size=(views, images, width))).astype(np.float32), labels


@pytest.mark.parametrize("shape", [FEW, MANY])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_of_any_number_of_labels_each_has_the_regression_of_its_own(scaling, strength, shape):
    features, labels = marked(*shape)
    asked = marked(*shape, seed=1)[0][0]
    found = fit(features, labels, Trial("logistic", scaling, strength), classes=3)
    training, questions = scaled(asked, scaling, features[0])
    for place in range(3):
        peer = LogisticRegression(C=strength, tol=1e-10, max_iter=20_000).fit(training, labels[:, place])
        np.testing.assert_allclose(
            found.logits(asked)[:, place], peer.decision_function(questions), rtol=1e-3, atol=1e-2
        )


def test_a_label_of_all_images_or_of_none_is_said_to_be_so_as_surely_as_their_number_allows():
    features, labels = marked(*MANY)
    labels[:, 0], labels[:, 2] = True, False
    found = fit(features, labels, Trial("logistic", "raw", 1.0), classes=3)
    assert not found.weight[[0, 2]].any()
    assert found.bias[[0, 2]].tolist() == pytest.approx([np.log(301), -np.log(301)], rel=1e-6)
    alone = fit(features, labels[:, 1:2], Trial("logistic", "raw", 1.0), classes=1)
    np.testing.assert_allclose(found.weight[1], alone.weight[0], atol=1e-5)
    constant = fit(features, labels[:, [0, 2]], Trial("logistic", "raw", 1.0), classes=2)
    assert not constant.weight.any()


@pytest.mark.parametrize("family", ["ncm", "cosine", "lda", "ridge"])
def test_families_of_one_class_each_are_refused_for_any_number_of_labels(family):
    features, labels = marked(*MANY)
    with pytest.raises(UsageError, match=f"{family} has one class for each image"):
        fit(features, labels, Trial(family, "l2", 0.5), classes=3)
