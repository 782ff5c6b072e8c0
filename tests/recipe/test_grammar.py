"""What YAML means in a recipe, and what is refused before anything is built from it."""

import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.errors import RecipeError
from finetune.recipe import grammar
from finetune.recipe.fault import refusal, source
from finetune.recipe.grammar import Document, document

PROFILE = settings(max_examples=100, derandomize=True, deadline=None, database=None)

SCALARS: list[tuple[str, object]] = [
    ("", None),
    ("~", None),
    ("null", None),
    ("Null", None),
    ("NULL", None),
    ("nUll", "nUll"),
    ("'null'", "null"),
    ("none", "none"),
    ("true", True),
    ("True", True),
    ("TRUE", True),
    ("tRUE", "tRUE"),
    ("false", False),
    ("False", False),
    ("FALSE", False),
    ('"false"', "false"),
    ("yes", "yes"),
    ("no", "no"),
    ("No", "No"),
    ("on", "on"),
    ("off", "off"),
    ("y", "y"),
    ("n", "n"),
    ("0", 0),
    ("-0", 0),
    ("1", 1),
    ("+1", 1),
    ("-12", -12),
    ("9223372036854775807", 2**63 - 1),
    ("1_000", "1_000"),
    ("1,000", "1,000"),
    ("010", "010"),
    ("00", "00"),
    ("-010", "-010"),
    ("0o10", "0o10"),
    ("0x10", "0x10"),
    ("0b10", "0b10"),
    ("1:30", "1:30"),
    ("1:30:00", "1:30:00"),
    ("190:20:30.15", "190:20:30.15"),
    ("1e-3", 0.001),
    ("1E-3", 0.001),
    ("1e3", 1000.0),
    ("1.e3", 1000.0),
    ("1.0e-3", 0.001),
    ("1.0e+3", 1000.0),
    (".001", 0.001),
    ("-.5", -0.5),
    ("1.", 1.0),
    ("0.5", 0.5),
    ("00.5", "00.5"),
    ("1.2.3", "1.2.3"),
    ("1e", "1e"),
    ("e1", "e1"),
    (".", "."),
    ("+", "+"),
    ("inf", "inf"),
    ("nan", "nan"),
    ("NaN", "NaN"),
    ("'.nan'", ".nan"),
    ("2026-01-01", "2026-01-01"),
    ("2026-01-01 10:00:00", "2026-01-01 10:00:00"),
    ("=", "="),
    ("'1'", "1"),
    ('"1e-3"', "1e-3"),
    ("{{7*7}}", None),
    ("'{{7*7}}'", "{{7*7}}"),
    ("a b  # comment", "a b"),
    ("|\n  a\n  b\n", "a\nb\n"),
    (">\n  a\n  b\n", "a b\n"),
]


def read(text: str) -> Document:
    return document(text, source(text, "x.yaml"))


def faults(text: str) -> str:
    try:
        found = read(text).faults
    except RecipeError as error:
        return str(error)
    return str(refusal(found)) if found else ""


@pytest.mark.parametrize(("text", "value"), [row for row in SCALARS if row[0] != "{{7*7}}"])
def test_a_scalar_means_what_it_looks_like(text: str, value: object) -> None:
    data = read(f"key: {text}").data
    assert data == {"key": value}
    assert isinstance(data, dict)
    assert type(data["key"]) is type(value)


def test_templates_are_not_filled_in() -> None:
    assert "a key is a word" in faults("key: {{7*7}}")
    assert read("key: a {{7*7}} ${HOME} $(id)").data == {"key": "a {{7*7}} ${HOME} $(id)"}


def test_class_names_stay_words() -> None:
    assert read("classes: [no, yes, on, off]").data == {"classes": ["no", "yes", "on", "off"]}


@pytest.mark.parametrize("text", [".inf", "-.inf", ".Inf", "+.INF", ".nan", ".NaN", "1e999", "-1e999"])
def test_a_number_that_is_not_finite_is_refused(text: str) -> None:
    assert faults(f"key: {text}") == (
        f"x.yaml:1:6: {text} is not a finite number; put it in quotes if it is meant as text\n    key: {text}"
    )


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775808", "1" * 5000])
def test_a_number_of_more_than_63_bits_is_refused(text: str) -> None:
    assert "is too large" in faults(f"key: {text}")


def test_places_are_those_of_keys_and_of_items() -> None:
    found = read("# first\na:\n  b: [1, {c: 2}]\n")
    places = {path: (place.line, place.column) for path, place in found.places.items()}
    assert places == {
        (): (2, 1),
        ("a",): (2, 1),
        ("a", "?"): (3, 3),
        ("a", "b"): (3, 3),
        ("a", "b", 0): (3, 7),
        ("a", "b", 1): (3, 10),
        ("a", "b", 1, "?"): (3, 11),
        ("a", "b", 1, "c"): (3, 11),
        ("?",): (2, 1),
    }


@pytest.mark.parametrize(
    "text", ["\ufeffa: 1\r\nb: 2\r\n", "a: 1\rb: 2\r", "a: 1\nb: 2", "%YAML 1.2\n---\na: 1\nb: 2\n...\n"]
)
def test_line_ends_marks_and_one_document_are_fine(text: str) -> None:
    assert read(text).data == {"a": 1, "b": 2}
    assert not read(text).faults


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "\ufeff"])
def test_nothing_is_empty(text: str) -> None:
    found = read(text)
    assert found.data is None
    assert not found.faults


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "%TAG ! tag:x,2000:\n---\na: !b c",
            "x.yaml:3:4: tags such as tag:x,2000:b are not allowed; a recipe holds plain values only",
        ),
        ("a: &x 1", "x.yaml:1:4: anchors are not allowed; write the value where it is needed"),
        ("a: *x", "x.yaml:1:4: aliases are not allowed; write the value out"),
        ("<<: {a: 1}", "x.yaml:1:1: merge keys are not allowed; write the keys out"),
        ("&k a: 1", "x.yaml:1:1: anchors are not allowed; write the value where it is needed"),
        ("*k : 1", "x.yaml:1:1: aliases are not allowed; write the value out"),
        ("!t a: 1", "x.yaml:1:1: tags such as !t are not allowed; a recipe holds plain values only"),
        ("a: 1\nb: 2\na: 3", "x.yaml:3:1: key 'a' is given twice, first in line 1"),
        ("a: [\n1", "x.yaml:2:2: a ',' or ']' is missing before this"),
        ("a: 'b", "x.yaml:1:6: the text ends inside quotes"),
        ("a: {b: ", "x.yaml:1:8: a value is missing before this"),
        ("a\nb: 1", "x.yaml:2:2: a second ': ' in one value; put the value in quotes"),
        ("a: 1\nb\nc: 2", "x.yaml:3:1: a ':' is missing before this"),
        ("a: @b", "x.yaml:1:4: not YAML: found character '@' that cannot start any token"),
        ("%YAML 1.99999999999999999999\n---\na: 1", "x.yaml:1:1: recipes are read as YAML 1.2; drop the %YAML line"),
        ("%YAML 2.0\n---\na: 1", "x.yaml:1:1: not YAML: found incompatible YAML document (version 1.* is required)"),
    ],
)
def test_what_is_refused_is_said_with_its_place(text: str, message: str) -> None:
    assert faults(text).splitlines()[0] == message


def test_a_quoted_merge_sign_is_a_key_like_others() -> None:
    assert read("'<<': 1").data == {"<<": 1}


def test_what_is_inside_a_refused_key_is_not_lost_track_of() -> None:
    found = read("<<: {a: [1, {b: 2}]}\n? [x, y]\n: {z: 1}\nc: 3")
    assert found.data == {"c": 3}
    assert len(found.faults) == 2


@pytest.mark.parametrize("pattern", ["[", "{", "- ", "? ", "a: [", "{a: ", "[[{"])
@pytest.mark.parametrize("count", [21, 2_000, 20_000])
def test_deep_nesting_is_refused_at_once(pattern: str, count: int) -> None:
    text = "x: " + pattern * count if pattern[0] in "[{" else pattern * count
    began = time.process_time()
    assert faults(text)
    assert time.process_time() - began < 0.5


def test_twenty_levels_are_allowed() -> None:
    assert not faults("a: " + "[" * 18 + "1" + "]" * 18)
    assert "nested more than 20 deep" in faults("a: " + "[" * 19 + "1" + "]" * 19)


def test_ten_thousand_values_are_allowed() -> None:
    assert not faults("a: [" + "1," * 9_997 + "]")
    assert "more than 10000 values and keys" in faults("a: [" + "1," * 9_998 + "]")
    assert "more than 10000 values and keys" in faults("".join(f"k{n}: 1\n" for n in range(20_000)))


def test_a_large_text_is_refused() -> None:
    assert faults("a: '" + "é" * 140_000 + "'").startswith("x.yaml:1:1: is larger than 256 KiB, which no recipe is")
    assert not faults("a: '" + "e" * 260_000 + "'")


@pytest.mark.parametrize(
    "character", ["\x00", "\x01", "\x08", "\x1b", "\x7f", "\x80", "\ufffe", chr(0xD800), chr(0xDCFF)]
)
def test_a_control_character_is_refused_where_it_stands(character: str) -> None:
    assert faults(f"a: 1\nb: x{character}y").startswith("x.yaml:2:5: the character \\")


@pytest.mark.parametrize("escape", ["\\0", "\\a", "\\e", "\\x7f", "\\x9b", "\\ud800"])
def test_an_escaped_control_character_is_refused(escape: str) -> None:
    assert "cannot be part of a text" in faults(f'a: "{escape}"')
    assert "cannot be part of a text" in faults(f'"{escape}": 1')


def test_an_escape_beyond_unicode_is_refused() -> None:
    assert faults('a: "\\UFFFFFFFF"').startswith("x.yaml:1:7: this cannot be read as YAML")
    assert faults('a: "\\U00110000"').startswith("x.yaml:1:7: this cannot be read as YAML")


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 31)),
        "a: &a [lol]\n" + "".join(f"b{n}: &b{n} [{'*a, ' * 9}]\n" for n in range(9)),
        "a: &a [*a, *a]",
    ],
    ids=["merge bomb", "billion laughs", "recursion"],
)
def test_a_bomb_is_refused_before_it_is_built(text: str) -> None:
    began = time.process_time()
    assert "are not allowed" in faults(text)
    assert time.process_time() - began < 0.2


PIECES = st.sampled_from(
    ["a", "b: ", ": ", "\n", "  ", "- ", "? ", "[", "]", "{", "}", ", ", "&x ", "*x ", "!t ", "!!str ", "<<: ", "'",
     '"', "\\", "|\n", ">\n", "#", "%YAML 1.2\n", "---\n", "...\n", "\t", "\r\n", "\x85",
     "\u2028", "\ufeff", "\x00", "é", "1e3", ".nan", "~", "@"]
)  # fmt: skip


@PROFILE
@given(st.one_of(st.text(), st.lists(PIECES, max_size=60).map("".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    began = time.process_time()
    message = faults(text)
    assert time.process_time() - began < 0.5
    assert message == "" or message.startswith("x.yaml:")


@PROFILE
@given(st.binary(max_size=200))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    message = "any.yaml"
    try:
        document(grammar.read(path), source("", "any.yaml"))
    except RecipeError as error:
        message = str(error)
    assert "any.yaml" in message


def test_the_byte_that_is_not_utf_8_is_pointed_at(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\nb\xc3\xa9: \xe9t\xe9\n")
    with pytest.raises(RecipeError) as caught:
        grammar.read(path)
    assert str(caught.value).endswith(
        "x.yaml:2:5: the byte 0xe9 is not UTF-8; save the file as UTF-8\n    bé: \\xe9t\\xe9"
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be"])
def test_wide_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes("\ufeffa: 1".encode(encoding))
    with pytest.raises(RecipeError, match=r"x\.yaml:1:1: the file is UTF-16 or UTF-32; save it as UTF-8"):
        grammar.read(path)


def test_a_large_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(RecipeError, match="is larger than 256 KiB"):
        grammar.read(path)


def test_what_is_not_a_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, message in (
        (tmp_path, "is a folder, not a recipe file"),
        (tmp_path / "fifo", "is not a regular file"),
        (Path("/dev/null"), "is not a regular file"),
        (tmp_path / "none.yaml", "there is no such file"),
        (tmp_path / "none\0.yaml", "cannot be read: the path holds a NUL character"),
        (tmp_path / ("x" * 300), "cannot be read: file name too long"),
    ):
        with pytest.raises(RecipeError, match=message):
            grammar.read(path)


def test_a_file_is_left_closed(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: 1")
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(3):
        grammar.read(path)
        with pytest.raises(RecipeError):
            grammar.read(tmp_path)
    after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    assert after == before
    assert stat.S_ISREG(path.stat().st_mode)
