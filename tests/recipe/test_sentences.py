"""Pydantic's errors in words, for every type of error that a recipe can meet."""

import json
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, ValidationError

from finetune.recipe.section import Section
from finetune.recipe.sentences import quoted, sentences, shown


class Red(Section):
    kind: Literal["red"] = "red"
    share: float = Field(0.5, gt=0, lt=1)


class Blue(Section):
    kind: Literal["blue"] = "blue"
    depth: int


class Spot(Section):
    example: ClassVar[str] = "{x: 1}"
    x: int
    words: Annotated[tuple[Literal["up", "down"], ...], Field(min_length=1, max_length=2)] = ("up",)


class Page(Section):
    title: str
    colour: Red | Blue | None = Field(None, discriminator="kind")
    spots: tuple[Spot, ...] = ()
    spot: Spot | None = None
    mix: tuple[float, float, float] | None = None
    open: bool = True
    number: float = 1.0


def told(**keys: Any) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        Page.model_validate_json(json.dumps({"title": "x", **keys}))
    return list(sentences(caught.value, Page))


@pytest.mark.parametrize(
    ("keys", "path", "text"),
    [
        ({"title": None}, ("title",), "title is empty; it must be text"),
        ({"title": 3}, ("title",), "title must be text, not 3; put it in quotes"),
        ({"title": [3]}, ("title",), "title must be text, not a list"),
        ({"open": "yes"}, ("open",), "open must be true or false, not 'yes'"),
        ({"number": "1.5"}, ("number",), "number must be a number, not '1.5'; write 1.5 without quotes"),
        (
            {"number": "015"},
            ("number",),
            "number must be a number, not '015'; numbers are written like 10, 0.001 or 1.0e-3",
        ),
        ({"number": "x"}, ("number",), "number must be a number, not 'x'"),
        ({"number": {}}, ("number",), "number must be a number, not a mapping"),
        ({"number": float("nan")}, ("number",), "number must be a finite number, not nan"),
        ({"colour": {"kind": "red", "share": 1}}, ("colour", "share"), "share must be below 1, not 1"),
        (
            {"colour": {"kind": "red", "depth": 1}},
            ("colour", "depth"),
            "unknown key 'depth' of kind 'red'; kind blue has it",
        ),
        ({"colour": {"kind": "blue"}}, ("colour", "depth"), "colour needs 'depth'"),
        (
            {"colour": {"kind": "bleu"}},
            ("colour", "kind"),
            "unknown kind 'bleu' of colour; choose red or blue; did you mean 'blue'?",
        ),
        ({"colour": {"kind": 3}}, ("colour", "kind"), "kind must be red or blue, not 3"),
        ({"colour": {"kind": None}}, ("colour", "kind"), "kind is empty; it must be red or blue"),
        ({"colour": {}}, ("colour",), "colour needs 'kind': red or blue"),
        ({"colour": {"kin": "red"}}, ("colour", "kin"), "unknown key 'kin'; did you mean 'kind'?"),
        (
            {"colour": "blue"},
            ("colour",),
            "colour must be a mapping, not 'blue'; write colour: {kind: blue}, or leave it out",
        ),
        ({"spot": 3}, ("spot",), "spot must be a mapping, not 3; write spot: {x: 1}, or leave it out"),
        ({"spots": [3]}, ("spots", 0), "item 1 of spots must be a mapping, not 3; write {x: 1}"),
        ({"spots": [{}]}, ("spots", 0, "x"), "item 1 of spots needs 'x', such as {x: 1}"),
        ({"spots": {}}, ("spots",), "spots must be a list, not a mapping"),
        ({"mix": [1, 2]}, ("mix",), "mix takes exactly 3 items, not 2"),
        ({"mix": [1, 2, 3, 4]}, ("mix",), "mix takes exactly 3 items, not 4"),
        ({"mix": [1, "2", 3]}, ("mix", 1), "item 2 of mix must be a number, not '2'; write 2 without quotes"),
        ({"spots": [{"x": 1, "words": []}]}, ("spots", 0, "words"), "words needs at least 1 item, not 0"),
        ({"spot": {"x": 1, "words": ["up"] * 3}}, ("spot", "words"), "words takes at most 2 items, not 3"),
        (
            {"spot": {"x": 1, "words": ["dwn"]}},
            ("spot", "words", 0),
            "item 1 of words must be up or down, not 'dwn'; did you mean 'down'?",
        ),
        ({"share": 1}, ("share",), "unknown key 'share'; it belongs to colour"),
        ({"shore": 1}, ("shore",), "unknown key 'shore'; did you mean 'share', which belongs to colour?"),
        ({"x": 1}, ("x",), "unknown key 'x'; it belongs to spots or spot"),
        (
            {"colour": {"kind": "red", "title": 1}},
            ("colour", "title"),
            "unknown key 'title'; it belongs to the top of the recipe",
        ),
        ({"zzz": 1}, ("zzz",), "unknown key 'zzz'; the recipe has title, colour, spots, spot, mix, open, number"),
        ({"openn": 1}, ("openn",), "unknown key 'openn'; did you mean 'open'?"),
        (
            {"\x1b[31m": 1},
            ("\x1b[31m",),
            "unknown key '\\x1b[31m'; the recipe has title, colour, spots, spot, mix, open, number",
        ),
    ],
)
def test_an_error_is_one_sentence_at_one_path(keys: dict[str, Any], path: tuple[str | int, ...], text: str) -> None:
    assert told(**keys) == [(path, text)]


def test_a_misspelt_key_is_not_missing_too() -> None:
    assert told(spot={"y": 1}) == [
        (("spot", "y"), "unknown key 'y'; spot has x, words"),
        (("spot", "x"), "spot needs 'x', such as {x: 1}"),
    ]
    assert told(colour={"kind": "blue", "dept": 1}) == [
        (("colour", "dept"), "unknown key 'dept'; did you mean 'depth'?")
    ]


def test_a_list_is_not_short_because_its_items_are_wrong() -> None:
    assert told(spot={"x": 1, "words": ["left"]}) == [
        (("spot", "words", 0), "item 1 of words must be up or down, not 'left'")
    ]


def test_values_are_shown_as_in_a_recipe_and_safe_to_print() -> None:
    assert [shown(value) for value in (True, "a", 1.5, [1], {"a": 1}, ())] == [
        "true",
        "'a'",
        "1.5",
        "a list",
        "a mapping",
        "a list",
    ]
    assert shown("a\x1b\u202e") == "'a\\x1b\\u202e'"
    assert len(quoted("x" * 500)) == 62
