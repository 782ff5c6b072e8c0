from pathlib import Path

import pytest

from finetune.data import corrections
from finetune.data.catalog import Catalog, Sample
from finetune.errors import DataError, UsageError
from finetune.review.decisions import Decisions
from finetune.review.queue import EXCLUDE, KEEP, Verdict

HEADER = "path,action,label\n"
IMAGES = Catalog(
    tuple(
        Sample(key, None, label) for key, label in {"=1": "cat", "2": "cat", "3": "dog", "4": "dog", "x": "cat"}.items()
    ),
    ("=ant", "cat", "dog"),
)
DOG, CAT = Verdict("relabel", ("dog",)), Verdict("relabel", ("cat",))


def decisions(output: Path, *, given: dict[str, str] | None = None, begin: Path | None = None) -> Decisions:
    labels = {sample.key: (given or {}).get(sample.key, str(sample.label)) for sample in IMAGES.samples}
    return Decisions(output, catalog=IMAGES, given={key: (label,) for key, label in labels.items()}, begin=begin)


def test_every_decision_is_in_the_file_at_once(tmp_path: Path) -> None:
    output = tmp_path / "c.csv"
    made = decisions(output)
    assert not output.exists()
    made.decide({"2": DOG})
    assert output.read_text() == HEADER + "2,relabel,dog\n"
    made.decide({"4": EXCLUDE, "3": KEEP})
    assert output.read_text() == HEADER + "2,relabel,dog\n4,exclude,\n"
    assert made.counts() == {"relabel": 1, "exclude": 1}
    assert [made.verdict(key) for key in ("=1", "2", "3", "4")] == [None, DOG, KEEP, EXCLUDE]


def test_what_is_decided_again_replaces_what_was(tmp_path: Path) -> None:
    made = decisions(tmp_path / "c.csv")
    for verdict, lines in ((DOG, "2,relabel,dog\n"), (EXCLUDE, "2,exclude,\n"), (KEEP, ""), (CAT, "")):
        made.decide({"2": verdict})
        assert made.output.read_text() == HEADER + lines
        assert made.verdict("2") == verdict


def test_each_decision_can_be_taken_back_the_last_first(tmp_path: Path) -> None:
    output = tmp_path / "c.csv"
    output.write_text(HEADER + "4,exclude,\n")
    made = decisions(output)
    made.decide({"2": DOG})
    made.decide({"4": CAT, "2": EXCLUDE})
    assert made.undo() == ("4", "2")
    assert output.read_text() == HEADER + "2,relabel,dog\n4,exclude,\n"
    assert (made.verdict("2"), made.verdict("4")) == (DOG, EXCLUDE)
    assert made.undo() == ("2",)
    assert made.undo() == ()
    assert output.read_text() == HEADER + "4,exclude,\n"
    assert made.verdict("2") is None


def test_what_an_earlier_review_decided_is_known_and_stays(tmp_path: Path) -> None:
    output = tmp_path / "c.csv"
    output.write_text(HEADER + "'=1,relabel,'=ant\n4,exclude,\n")
    made = decisions(output)
    assert (made.verdict("=1"), made.verdict("4")) == (Verdict("relabel", ("=ant",)), EXCLUDE)
    made.decide({"2": DOG})
    assert output.read_text() == HEADER + "'=1,relabel,'=ant\n2,relabel,dog\n4,exclude,\n"
    made.decide({"=1": DOG})
    assert output.read_text() == HEADER + "'=1,relabel,dog\n2,relabel,dog\n4,exclude,\n"


def test_what_somebody_else_writes_into_the_file_in_the_meantime_stays(tmp_path: Path) -> None:
    made = decisions(tmp_path / "c.csv")
    made.decide({"2": DOG})
    made.output.write_text(HEADER + "2,relabel,dog\n4,exclude,\n")
    made.undo()
    assert made.output.read_text() == HEADER + "4,exclude,\n"


def test_a_new_file_begins_with_the_corrections_of_the_run(tmp_path: Path) -> None:
    before = tmp_path / "before.csv"
    before.write_text(HEADER + "4,relabel,cat\n")
    made = decisions(tmp_path / "c.csv", given={"4": "cat"}, begin=before)
    assert made.verdict("4") is None  # the run had it
    made.decide({"2": DOG})
    made.decide({"4": KEEP})
    assert made.output.read_text() == HEADER + "2,relabel,dog\n4,relabel,cat\n"
    made.decide({"4": DOG})
    assert made.output.read_text() == HEADER + "2,relabel,dog\n"
    assert before.read_text() == HEADER + "4,relabel,cat\n"


def test_a_class_is_not_left_without_images_and_then_nothing_is_decided(tmp_path: Path) -> None:
    made = decisions(tmp_path / "c.csv")
    made.decide({"3": EXCLUDE})
    with pytest.raises(DataError, match=r"c.csv leaves no image of 1 class\n    dog"):
        made.decide({"4": CAT})
    assert made.verdict("4") is None
    assert made.output.read_text() == HEADER + "3,exclude,\n"
    assert made.undo() == ("3",)


def test_several_labels_are_written_with_a_bar(tmp_path: Path) -> None:
    images = Catalog((Sample("1", None, ("cat",)), Sample("2", None, ("cat", "dog"))), ("cat", "dog"))
    given = {sample.key: sample.labels for sample in images.samples}
    made = Decisions(tmp_path / "c.csv", catalog=images, given=given)
    made.decide({"1": Verdict("relabel", ("cat", "dog")), "2": Verdict("relabel", ("dog", "cat"))})
    assert made.output.read_text() == HEADER + "1,relabel,cat|dog\n"
    again = Decisions(made.output, catalog=images, given=given)
    assert again.verdict("1") == Verdict("relabel", ("cat", "dog"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("path,label\n", "the columns must be path, action, label"), (HEADER + "5,exclude,\n", "none of the images")],
)
def test_a_file_of_something_else_is_not_touched(text: str, message: str, tmp_path: Path) -> None:
    output = tmp_path / "c.csv"
    output.write_text(text)
    with pytest.raises(DataError, match=message):
        decisions(output)
    assert output.read_text() == text


def test_a_file_that_becomes_faulty_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    made = decisions(tmp_path / "c.csv")
    made.output.write_text("something else\n")
    with pytest.raises(DataError, match="the columns must be"):
        made.decide({"2": DOG})
    assert made.output.read_text() == "something else\n"
    assert made.verdict("2") is None


def test_the_output_must_be_a_file_in_a_folder_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; name a file with --output"):
        decisions(tmp_path)
    with pytest.raises(UsageError, match="would lie in a folder that is not there"):
        decisions(tmp_path / "no" / "c.csv")


def test_written_corrections_are_read_again() -> None:
    found = [corrections.Correction("b,\n", "exclude"), corrections.Correction("=a", "relabel", "=x|y")]
    assert corrections.written(found) == HEADER + "'=a,relabel,'=x|y\n" + '"b,\\x0a",exclude,\n'
