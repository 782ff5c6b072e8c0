import pytest

from finetune.report.looked import Corruptions
from finetune.report.plots import by_kind, reliability, risk, robustness
from finetune.report.records import Calibration, Selective
from finetune.report.sees import drawn_places
from finetune.report.words import share
from tests.report import taken


def test_bins_lie_at_their_confidence_and_accuracy_on_one_scale(answers):
    found = Calibration(**taken.calibration(answers(("a", "b", "c"), 200)))
    drawn = reliability(found)
    assert len(drawn.dots) == len(found.bins)
    for (x, y, top, bottom), one in zip(drawn.dots, found.bins, strict=True):
        low = float(drawn.along[0][1])
        assert x == pytest.approx(100 * (one.confidence - low) / (1 - low))
        assert y == pytest.approx(100 - 100 * (one.accuracy.value - low) / (1 - low))
        assert 0 <= top <= y <= bottom <= 100
    assert [mark for _, mark in drawn.up] == [mark for _, mark in drawn.along]
    assert reliability(Calibration()) is None


def test_the_curve_of_risk_holds_its_targets(answers):
    found = Selective(**taken.selective(answers(("a", "b", "c"), 200)))
    drawn = risk(found)
    (_, points), *_ = drawn.lines
    assert len(points) == len(found.coverage)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert len(drawn.dots) == 2  # the third is not reached
    assert all(0 <= y <= 100 for _, y, *_ in drawn.dots)
    assert risk(Selective()) is None


def test_each_corruption_is_drawn_from_the_clean_to_the_strongest(whole):
    found = Corruptions(**whole.read_json("evidence/corruptions.json"))
    drawn = robustness(found)
    assert (
        [one.title for one in drawn] == [kind for kind, _ in by_kind(found.rows)] == [kind for kind, *_ in taken.KINDS]
    )
    assert all(len(one.dots) == 4 for one in drawn)
    assert len({one.up for one in drawn}) == 1
    assert len({one.dots[0] for one in drawn}) == 1


def test_places_keep_their_shape_within_a_square():
    assert drawn_places([[0, 0], [10, 5], [10, 0]]) == [(2, 74), (98, 26), (98, 74)]
    assert drawn_places([[3, 3]]) == [(50, 50)]


@pytest.mark.parametrize(
    ("value", "said"), [(0.714, "71"), (1.0, "100"), (0.998, "99.8"), (0.0004, "0.04"), (0.0, "0")]
)
def test_a_share_in_hundredths_is_all_or_nothing_only_where_it_is(value, said):
    assert share(value) == said
