"""How a fault is told: its place, its line, and not more of them than one reads."""

from finetune.recipe.fault import Fault, Place, Source, refusal, source


def test_a_fault_names_its_place_and_shows_its_line() -> None:
    where = Place(2, 3, source("a: 1\n  b: \x1b[31m\n", "dir/x\n.yaml"))
    assert str(Fault(where, "is wrong")) == "dir/x\\x0a.yaml:2:3: is wrong\n    b: \\x1b[31m"


def test_a_line_that_is_empty_or_not_there_is_not_shown() -> None:
    text = source("a: 1\n  \n", "x.yaml")
    assert str(Fault(Place(2, 1, text), "is wrong")) == "x.yaml:2:1: is wrong"
    assert str(Fault(Place(9, 1, text), "is wrong")) == "x.yaml:9:1: is wrong"


def test_a_source_without_lines_is_its_own_place() -> None:
    assert str(Fault(Place(10**9, 0, Source("--set a=b")), "is wrong")) == "--set a=b: is wrong"


def test_a_fault_far_to_the_right_shows_what_is_around_it() -> None:
    line = "a: [" + "1, " * 200 + "*x]"
    shown = str(Fault(Place(1, len(line) - 2, source(line, "x.yaml")), "is wrong")).splitlines()[1]
    assert shown.startswith("    … 1, 1, ")
    assert shown.endswith("1, *x]")
    assert len(shown) < 80


def test_lines_end_where_the_reader_of_yaml_ends_them() -> None:
    text = source("a\r\nb\rc\x85d\u2028e\u2029f\ng", "x.yaml")
    assert text.lines == tuple("abcdefg")


def test_faults_are_told_once_each_in_order_and_counted_after_twenty() -> None:
    text = source("\n" * 40, "x.yaml")
    faults = [Fault(Place(line, 1, text), "is wrong") for line in (*range(31, 0, -1), 5)]
    lines = str(refusal(faults)).splitlines()
    assert lines[:2] == ["x.yaml:1:1: is wrong", "x.yaml:2:1: is wrong"]
    assert len(lines) == 21
    assert lines[-1] == "… and 11 more faults"
