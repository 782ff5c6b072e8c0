import pytest

from finetune.report.course import Curve, Epoch
from finetune.report.curves import accuracy, bands, growth, loss, rate, ticks
from tests.report.tried import CURVE


def epoch(number, phase=1, **changes):
    fields = {
        "epoch": number,
        "phase": phase,
        "train": ["head"],
        "train_loss": 1.0 / number,
        "validation_loss": 2.0 / number,
    }
    return Epoch(**(fields | changes))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1.43, [0, 0.5, 1, 1.5]),
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0.41, 1, [0.4, 0.6, 0.8, 1]),
        (0.93, 1, [0.92, 0.94, 0.96, 0.98, 1]),
        (0, 0.003, [0, 0.001, 0.002, 0.003]),
        (0, 2500, [0, 1000, 2000, 3000]),
        (1, 1, [1, 1.00000025]),
    ],
)
def test_ticks_are_round_and_hold_the_values(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_curves_lie_inside_the_chart_and_fall_when_the_loss_falls():
    chart = loss([epoch(i, best=i == 3) for i in range(1, 5)])
    training, validation = chart.lines
    assert (training.kind, validation.kind) == ("training", "validation")
    assert [x for x, _ in training.points] == [12.5, 37.5, 62.5, 87.5]
    heights = [y for _, y in validation.points]
    assert heights == sorted(heights)  # from the top
    assert all(0 <= y <= 100 for line in chart.lines for _, y in line.points)
    assert chart.best == validation.points[2]
    assert chart.up[0] == (100, "0")
    assert chart.along == ((12.5, "1"), (37.5, "2"), (62.5, "3"), (87.5, "4"))
    assert training.said == "training loss 1.000 in epoch 1 and 0.250 in epoch 4"


def test_what_was_not_measured_is_not_drawn():
    chart = loss([epoch(1, validation_loss=None), epoch(2, validation_loss=None, best=True)])
    assert [line.kind for line in chart.lines] == ["training"]
    assert chart.best is None
    assert accuracy([epoch(1)]) is None
    assert loss([]) is None


def test_accuracy_is_drawn_up_to_one():
    chart = accuracy([epoch(1, train_accuracy=0.55), epoch(2, train_accuracy=0.8)])
    assert chart.up[-1] == (0, "1")


def test_many_epochs_have_few_labels():
    assert len(loss([epoch(i) for i in range(1, 101)]).along) <= 12


def test_phases_are_bands_that_fill_the_chart():
    found = bands([epoch(1), epoch(2), epoch(3, phase=2, train=["stage4", "head"]), epoch(4, phase=3)])
    assert [(band.left, band.width, band.number) for band in found] == [(0, 50, 1), (50, 25, 2), (75, 25, 3)]
    assert found[1].train == ("stage4", "head")
    assert bands([]) == ()


def test_accuracy_grows_to_the_right_with_its_intervals_and_the_law():
    drawn = growth(Curve(**CURVE | {"points": CURVE["points"][::-1]}))
    assert [x for x, *_ in drawn.points] == sorted(x for x, *_ in drawn.points)
    assert all(0 <= top < y < bottom <= 100 for _, y, top, bottom in drawn.points)
    assert drawn.fitted[0] == pytest.approx(drawn.points[0][:2])
    assert drawn.fitted[-1] == pytest.approx(drawn.points[-1][:2])
    heights = [y for _, y in drawn.fitted]
    assert heights == sorted(heights, reverse=True)
    assert [label for _, label in drawn.up] == ["1", "0.95", "0.9", "0.85", "0.8"][::-1]
    assert [label for _, label in drawn.along] == ["0", "200", "400", "600"]
    assert drawn.said == "accuracy 0.884 with 61 images and 0.941 with 612 images"


def test_without_a_law_or_with_one_point_no_line_is_drawn():
    assert growth(Curve(points=CURVE["points"])).fitted == ()
    alone = growth(Curve(**CURVE | {"points": CURVE["points"][:1]}))
    assert (len(alone.points), alone.fitted) == (1, ())
    assert alone.said == "accuracy 0.884 with 61 images"
    assert growth(Curve(law=CURVE["law"])) is None


@pytest.mark.parametrize("law", [{"a": 0, "b": 1e300, "c": -1e300}, {"a": -1e300, "b": -1e300, "c": -9}])
def test_no_law_leads_out_of_the_chart(law):
    drawn = growth(Curve(**CURVE | {"law": law}))
    assert all(0 <= y <= 100 for _, y in drawn.fitted)


def test_a_rate_that_falls_in_steps_is_drawn_in_powers_of_ten():
    chart = rate([epoch(i, lr=lr) for i, lr in enumerate([0.1, 0.1, 0.1, 0.01, 0.01, 5e-4], 1)])
    assert chart.title == "Learning rate, in powers of ten"
    assert chart.up == (
        (100, "0.0001"),
        (pytest.approx(200 / 3), "0.001"),
        (pytest.approx(100 / 3), "0.01"),
        (0, "0.1"),
    )
    (line,) = chart.lines
    assert [y for _, y in line.points] == pytest.approx([0, 0, 0, 100 / 3, 100 / 3, 100 * (1 - 0.69897 / 3)], abs=1e-3)


@pytest.mark.parametrize("rates", [[0.1, 0.09, 0.05, 0.001], [0.1, 0.1, 0.1], [0.1, 0.1, 0.05, 0.05], [0.1, 0.1, 0.0]])
def test_another_rate_is_drawn_from_zero(rates):
    chart = rate([epoch(i, lr=lr) for i, lr in enumerate(rates, 1)])
    assert chart.title == "Learning rate"
    assert chart.up[0] == (100, "0")
