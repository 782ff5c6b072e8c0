from pathlib import Path

from finetune.bundle import Bundle, Timings


def test_parts_are_timed_and_an_earlier_sitting_is_kept(tmp_path: Path) -> None:
    bundle = Bundle.create(tmp_path / "bundle")
    timings = Timings()
    with timings.part("reading images"):
        pass
    timings.add("epoch 1", 1.23456)
    timings.write_to(bundle)
    again = Timings(bundle)
    again.add("epoch 2", 2.0)
    again.write_to(bundle)
    lines = bundle.timings
    assert [line["part"] for line in lines] == ["reading images", "epoch 1", "epoch 2"]
    assert [line["seconds"] for line in lines[1:]] == [1.235, 2.0]
    assert 0 <= lines[0]["seconds"] < 1


def test_a_run_that_was_cut_before_anything_was_timed_begins_anew(tmp_path: Path) -> None:
    assert Timings(Bundle.create(tmp_path / "bundle")).lines == []
