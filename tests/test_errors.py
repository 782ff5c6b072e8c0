import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune import errors
from finetune.errors import FinetuneError, Stopped, UsageError, byte_count, cell, listing, printable, size, suggestion

CODES = {
    "UsageError": 2,
    "RecipeError": 2,
    "DataError": 3,
    "UnreadableImage": 3,
    "WeightsError": 4,
    "BundleError": 4,
    "Diverged": 5,
    "OutOfResources": 6,
    "BrokenInstallation": 6,
    "OutputTaken": 7,
    "Offline": 8,
}


def test_every_error_has_its_exit_code_and_a_name_of_its_own() -> None:
    classes = {n: c for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, FinetuneError)}
    assert {n: c.exit_code for n, c in classes.items() if n not in ("FinetuneError", "Stopped")} == CODES
    assert len({c.id for c in classes.values()}) == len(classes)
    assert [Stopped("x", signal=number).exit_code for number in (2, 15)] == [130, 143]


@given(st.text())
def test_what_is_printed_is_one_line_without_control_or_bidirectional_characters(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 200
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\x1b[2J", "a\\x0ab\\x1b[2J"),
        ("\u202exe.jpg", "\\u202exe.jpg"),
        ("bad\udcff", "bad\\xff"),
        ("\U000e0001", "\\U000e0001"),
        ("été 日本 x", "été 日本 x"),
    ],
)
def test_odd_characters_are_escaped_and_others_are_not(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_texts_are_cut() -> None:
    assert printable("x" * 300) == "x" * 199 + "…"


def test_a_long_list_shows_its_beginning_and_the_count_of_the_rest() -> None:
    assert listing(["a", "b"]) == "\n    a\n    b"
    assert listing([str(n) for n in range(23)]).endswith("\n    19\n    … and 3 more")


def test_a_near_word_is_offered_and_a_far_one_is_not() -> None:
    assert suggestion("validaton", ["validation", "test"]) == "; did you mean 'validation'?"
    assert suggestion("xyz", ["validation", "test"]) == ""


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text) == f"'{text}"


def test_other_cells_are_as_they_are_but_for_what_cannot_be_written() -> None:
    assert cell("a" * 300) == "a" * 300
    assert cell("a\nb\udcff") == "a\\x0ab\\xff"


def test_bytes_are_read_as_people_write_them() -> None:
    wanted = {"20G": 20 * 10**9, "500M": 5 * 10**8, " 1.5 gb": 15 * 10**8, "7": 7, "3k": 3000, "1TB": 10**12}
    assert {text: byte_count(text, what="--fits") for text in wanted} == wanted
    for text in ("20Q", "-5G", "G", "1e9", "ten\n", ""):
        with pytest.raises(UsageError, match=r"--fits is '.*'; a number of bytes is needed, such as 20G or 500M"):
            byte_count(text, what="--fits")


def test_sizes_are_for_people() -> None:
    assert [size(count) for count in (0, 999, 1000, 17_300_000, 2_000_000_000, 5e12)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "17.3 MB",
        "2.0 GB",
        "5000.0 GB",
    ]
