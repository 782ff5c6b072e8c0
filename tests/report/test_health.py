import math

import pytest

from finetune.report import health
from finetune.report.course import Epoch
from finetune.report.sourced import located
from tests.report import conftest as toys

ALL = toys.STAGES
UPPER = ("stage4", "head")


def epoch(number, train=ALL, **shape):
    line = Epoch(epoch=number, phase=1, train=list(train), health=toys.health(train, epoch=number, **shape))
    return located(line, f"history.jsonl:{number - 1}")


def test_charts_hold_every_stage_at_both_ends_of_each_epoch():
    drawn = health.charts([epoch(1), epoch(2)])
    assert [chart.title for chart in drawn] == [
        "Norm of the gradient",
        "Update over weights",
        "Activations, root mean square",
    ]
    for chart in drawn:
        assert [line.kind for line in chart.lines] == list(ALL)
        assert [x for x, _ in chart.lines[0].points] == [12.5, 37.5, 62.5, 87.5]
        assert all(0 <= y <= 100 for line in chart.lines for _, y in line.points)
        assert chart.along == ((25, "1"), (75, "2"))


def test_heights_are_those_of_powers_of_ten():
    one = Epoch(epoch=1, phase=1, train=["head"], health=[])
    values = [(1, "stem", 0.01), (2, "stem", 1.0), (1, "head", 0.1), (2, "head", 0.0)]
    seen = [{"step": step, "stage": stage, "gradient": value} for step, stage, value in values]
    (chart,) = health.charts([Epoch(**one.model_dump() | {"health": seen})])
    assert chart.up == ((100, "10⁻²"), (50, "10⁻¹"), (0, "1"))
    assert [y for _, y in chart.lines[0].points] == [100, 0]
    assert [line.points for line in chart.lines if line.kind == "head"] == [((25, 50),)]  # zero has no place
    assert [line.said for line in chart.lines] == ["stem 0.0100 and 1.00", "head 0.100 and 0.100"]


@pytest.mark.parametrize(("low", "high"), [(1e-12, 1e9), (3.0, 3.0), (1.0, 1.0)])
def test_an_axis_has_few_labels_whatever_the_numbers(low, high):
    seen = [{"step": step, "stage": "head", "update": value} for step, value in ((1, low), (2, high))]
    (chart,) = health.charts([Epoch(epoch=1, phase=1, train=["head"], health=seen)])
    assert 2 <= len(chart.up) <= 7
    assert all(0 <= y <= 100 for line in chart.lines for _, y in line.points)


def test_a_stage_that_did_not_learn_in_between_is_drawn_in_pieces():
    drawn = health.charts([epoch(1), epoch(2, train=UPPER), epoch(3)])[0]
    assert [len(line.points) for line in drawn.lines if line.kind == "stem"] == [2, 2]
    assert [len(line.points) for line in drawn.lines if line.kind == "head"] == [6]


def test_where_nobody_looked_there_is_nothing_to_show():
    lines = [Epoch(epoch=1, phase=1, train=["head"])]
    assert (health.charts(lines), health.ends(lines), health.trend(lines), health.silent(lines)) == ((), [], None, [])
    assert health.silent([]) == []


def test_the_first_and_the_last_of_a_stage_are_those_while_it_learnt():
    rows = health.ends([epoch(1, train=UPPER), epoch(2), epoch(3, train=UPPER)])
    found = {stage: (first.origin, last.origin) for stage, first, last in rows}
    assert found["stem"] == ("history.jsonl:1.health.0", "history.jsonl:1.health.6")
    assert found["head"] == ("history.jsonl:0.health.5", "history.jsonl:2.health.11")
    frozen = health.ends([epoch(1, train=UPPER)])[0]
    assert (frozen[0], frozen[1].gradient, frozen[1].activation) == ("stem", None, 0.5)


def test_gradients_that_grow_a_hundredfold_on_their_way_down_explode():
    found = health.trend([epoch(1, grows=3.3), epoch(2, grows=3.2)])
    assert (found.grows, found.above, found.below, found.always) == (True, "stage4", "stem", True)
    assert str(found.times) == f"{3.3**4:.0f}"
    assert found.times.source == (
        "fold(history.jsonl:0.health.0.gradient history.jsonl:0.health.0.weights "
        "history.jsonl:0.health.4.gradient history.jsonl:0.health.4.weights)"
    )
    assert (found.epoch.number, found.first) == (1, True)


def test_gradients_that_shrink_a_hundredfold_vanish():
    found = health.trend([epoch(1), epoch(2, grows=0.3)])
    assert (found.grows, found.above, found.below, found.always) == (False, "stage4", "stem", False)
    assert str(found.times) == f"{0.3**-4:.0f}"
    assert found.epoch.number == 2


@pytest.mark.parametrize("grows", [3.1, 1.0, 1 / 3.1])
def test_less_is_not_spoken_of(grows):
    assert health.trend([epoch(1, grows=grows)]) is None


def test_of_fewer_than_three_stages_and_of_an_exception_between_nothing_is_said():
    assert health.trend([epoch(1, train=("stage3", "stage4", "head"), grows=99.0)]) is None
    line = epoch(1, grows=99.0).model_dump()
    line["health"][2]["gradient"] = line["health"][8]["gradient"] = 0.001
    assert health.trend([Epoch(**line)]) is None


def test_a_stage_that_no_gradient_comes_to_is_named():
    line = epoch(1).model_dump()
    assert health.silent([Epoch(**line)]) == []
    line["health"][1]["gradient"] = 0.0  # of the first step
    assert health.silent([Epoch(**line)]) == []
    line["health"][7]["gradient"] = 0.0
    assert health.silent([Epoch(**line)]) == ["stage1"]


def test_the_threshold_is_the_span_of_sound_updates():
    assert math.isclose(health.APART, 1e-2 / 1e-4)
