import numpy as np
import pytest

from finetune.errors import UsageError
from finetune.frozen import curve as module
from finetune.frozen.curve import Curve, Law, Point, gain, learning_curve, power_law
from finetune.frozen.families import Trial
from finetune.frozen.folds import folds
from finetune.frozen.probe import cross_validate

TRIAL = Trial("lda", "raw", 0.5)


def drawn(images=120, width=30, *, classes=3, apart=0.4):
    generator = np.random.default_rng(0)
    labels = np.arange(images) % classes
    centres = generator.normal(size=(classes, width))
    return (apart * centres[labels] + generator.normal(size=(2, images, width))).astype(np.float32), labels


def alone(n):
    return [str(number) for number in range(n)]


def on(features, labels, **choices):
    of = folds(labels, alone(len(labels)), seed=0)
    return learning_curve(features, labels, TRIAL, classes=3, folds=of, seed=0, **choices)


def following(law, images, *, n=4_000, repeats=2, total=200):
    """A curve of which the errors are those of a law, as exactly as `n` images allow."""
    right = np.ones((len(images), repeats, n), dtype=bool)
    for place, number in enumerate(images):
        wrong = round(law.error(number) * n)
        right[place, :, np.random.default_rng(place).permutation(n)[:wrong]] = False
    return Curve(np.array(images, dtype=float), right, np.arange(n), total, None, 0)


def test_more_images_give_more_right_answers():
    found = on(*drawn())
    assert found.images.tolist() == sorted(found.images.tolist())
    assert len(found.points) == 10
    assert found.points[-1].accuracy > found.points[0].accuracy + 0.1
    for point in found.points:
        assert 0 <= point.low <= point.accuracy <= point.high <= 1
    assert found.total == 120


def test_all_the_images_give_the_accuracy_of_cross_validation():
    features, labels = drawn()
    of = folds(labels, alone(120), seed=0)
    out = cross_validate(features, labels, TRIAL, classes=3, folds=of)
    last = on(features, labels).points[-1]
    assert last.images == 96
    assert last.accuracy == pytest.approx((out.argmax(axis=1) == labels).mean())


def test_a_share_is_one_of_every_class_and_the_smaller_lies_in_the_larger(monkeypatch):
    seen = []
    real = module.fit

    def spy(features, labels, *rest, **named):
        seen.append((set(features[0, :, 0].tolist()), np.bincount(labels, minlength=3).tolist()))
        return real(features, labels, *rest, **named)

    monkeypatch.setattr(module, "fit", spy)
    features, labels = drawn()
    found = on(features, labels, shares=(1.0, 0.01, 0.5), repeats=1)
    assert [counts for _, counts in seen] == 5 * [[1, 1, 1]] + 5 * [[16, 16, 16]] + 5 * [[32, 32, 32]]
    for small, middle, large in zip(seen[:5], seen[5:10], seen[10:], strict=True):
        assert small[0] < middle[0] < large[0]
    assert found.images.tolist() == [3, 48, 96]


def test_a_curve_of_a_class_takes_images_from_that_class_alone(monkeypatch):
    seen = []
    real = module.fit

    def spy(features, labels, *rest, class_weights, **named):
        seen.append((np.bincount(labels, minlength=3), class_weights))
        return real(features, labels, *rest, class_weights=class_weights, **named)

    monkeypatch.setattr(module, "fit", spy)
    features, labels = drawn()
    found = on(features, labels, of_class=1, shares=(0.25, 1.0), repeats=2)
    for counts, weights in seen:
        assert counts[[0, 2]].tolist() == [32, 32]
        np.testing.assert_allclose(counts * weights, 32)  # its frequency stays, so that recall does not rise with it
    assert found.images.tolist() == [8, 32]
    assert found.total == 40
    assert found.right.shape == (2, 2, 40)


def test_the_same_seed_gives_the_same_curve_and_another_another():
    features, labels = drawn()
    of = folds(labels, alone(120), seed=0)
    one, same, other = (
        learning_curve(features, labels, TRIAL, classes=3, folds=of, seed=seed, shares=(0.2, 0.6)) for seed in (1, 1, 2)
    )
    assert one.points == same.points
    assert one.points != other.points


def test_one_held_out_fold_is_enough():
    features, labels = drawn()
    of = np.where(np.arange(120) < 90, -1, 0)
    found = learning_curve(features, labels, TRIAL, classes=3, folds=of, seed=0, shares=(0.5, 1.0))
    assert found.right.shape == (2, 3, 30)
    assert found.images.tolist() == [45, 90]


def test_images_of_a_group_make_wider_intervals():
    features, labels = drawn(images=40)
    features, labels = np.repeat(features, 4, axis=1), np.repeat(labels, 4)
    groups = [str(number // 4) for number in range(160)]
    of = folds(labels, groups, seed=0)
    curves = [
        learning_curve(features, labels, TRIAL, classes=3, folds=of, groups=by, shares=(0.5, 1.0), seed=0)
        for by in (groups, None)
    ]
    together, single = (one.points[-1].high - one.points[-1].low for one in curves)
    assert together > 1.5 * single


@pytest.mark.parametrize("law", [Law(0.1, 1.5, 0.5), Law(0.0, 2.0, 0.7), Law(0.05, 0.0, 0.1), Law(0.02, 3.0, 1.0)])
def test_a_law_is_found_from_points_on_it(law):
    points = [Point(n, 1 - law.error(n), 0, 1) for n in (20, 40, 80, 120, 160)]
    found = power_law(points)
    for images in (30, 160, 400):
        assert found.error(images) == pytest.approx(law.error(images), abs=0.003)
    assert found.floor >= 0
    assert found.scale >= 0


def test_errors_that_rise_are_a_level_and_errors_that_fall_fast_end_at_nothing():
    rising = power_law([Point(n, 1 - error, 0, 1) for n, error in ((10, 0.1), (20, 0.2), (40, 0.3))])
    assert rising.scale == 0
    falling = power_law([Point(n, 1 - error, 0, 1) for n, error in ((10, 0.5), (20, 0.1), (40, 0.0))])
    assert falling.floor == 0
    assert 0 <= falling.error(1_000) < 0.02
    assert falling.error(0.1) == 1


def test_one_number_of_images_says_nothing_of_more():
    found = power_law([Point(2.1, 0.6, 0, 1), Point(2.1, 0.8, 0, 1), Point(2.1, 0.7, 0, 1)])
    assert (found.floor, found.scale) == (pytest.approx(0.3), 0)
    of_class = gain(following(Law(0.3, 0.0, 0.5), (2.1, 2.1, 2.1)), more=50)
    assert (of_class.low, of_class.points, of_class.high) == (0, 0, 100)


def test_the_gain_is_what_the_law_falls():
    law = Law(0.05, 1.5, 0.5)
    found = gain(following(law, (20, 40, 80, 120, 160)), more=100)
    expected = 100 * (law.error(200) - law.error(300))
    assert found.more == 100
    assert found.low <= expected <= found.high
    assert found.points == pytest.approx(expected, abs=0.6)
    assert gain(following(law, (20, 40, 80, 120, 160)), more=400).points > found.points


def test_a_level_curve_promises_nothing():
    found = gain(following(Law(0.2, 0.0, 0.5), (20, 40, 80, 120, 160)), more=50)
    assert found.low == 0
    assert 0 <= found.points < 0.5


def test_few_images_make_a_gain_less_sure():
    law = Law(0.05, 1.5, 0.5)
    few, many = (gain(following(law, (20, 40, 80, 160), n=n), more=100) for n in (60, 4_000))
    assert few.high - few.low > 2 * (many.high - many.low)


def test_a_check_hears_of_progress_and_may_stop_it():
    class Enough(Exception):
        pass

    heard = []

    def check(done, total):
        heard.append((done, total))
        if done == 2:
            raise Enough

    with pytest.raises(Enough):
        on(*drawn(), shares=(0.5, 1.0), repeats=1, check=check)
    assert heard == [(1, 10), (2, 10)]


@pytest.mark.parametrize("shares", [(), (0.5,), (0.5, 0.5), (0.0, 1.0), (0.5, 1.1)])
def test_shares_that_make_no_curve_are_refused(shares):
    with pytest.raises(UsageError, match="shares must be at least two numbers above 0 and up to 1, but are "):
        on(*drawn(), shares=shares)


def test_a_class_that_is_never_held_out_is_refused():
    features, labels = drawn(images=31)
    labels[:] = np.where(np.arange(31) == 0, 2, np.arange(31) % 2)
    of = folds(labels, alone(31), seed=0)
    with pytest.raises(UsageError, match="class 2 is never held out: nothing can be said of it"):
        learning_curve(features, labels, TRIAL, classes=3, folds=of, of_class=2, seed=0)
