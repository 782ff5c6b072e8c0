"""Images that belong together, from all that says so."""

from finetune.audit.related import related
from tests.audit.toys import known, scene, seen


def test_copies_groups_series_and_what_else_is_said_belong_together_and_join() -> None:
    looks = {f"a/{name}": seen(scene(number)) for number, name in enumerate("pqrst")}
    looks["b/copy"] = seen(scene(0))
    looks["b/small"] = seen(scene(1), "JPEG", quality=60)
    whole = known(looks, groups={"b/copy": "walk", "a/r": "walk"})
    home = related(whole, also=[["a/s", "a/t"]])
    assert home == {
        "a/p": "a/p", "a/q": "a/q", "a/r": "a/p", "a/s": "a/s", "a/t": "a/s", "b/copy": "a/p", "b/small": "a/q",
    }  # fmt: skip


def test_series_of_names_belong_together() -> None:
    looks = {f"a/day{day}_{number}": seen(scene(10 * day + number)) for day in range(6) for number in range(2)}
    home = related(known(looks))
    assert all(home[key] == f"{key[:-1]}0" for key in looks)


def test_what_has_no_look_belongs_to_nothing() -> None:
    whole = known({"a/0": seen(scene(0))})
    assert related(whole) == {"a/0": "a/0"}
    assert related(known({})) == {}
