from pathlib import Path

from finetune.audit import duplicates, leaks
from finetune.audit.alike import SAME, Found
from finetune.audit.duplicates import check, copies, leaked
from finetune.audit.gather import gather
from finetune.starter import recipe_to_check
from tests.audit.test_alike import changed
from tests.audit.toys import kinds, known, scene, seen

DIGITS = Path(__file__).parents[2] / "data" / "digits"
LOOKS = {f"{'ab'[n % 2]}/{n}": seen(scene(n, size=(240, 180))) for n in range(12)}


def test_images_of_their_own_are_not_duplicates() -> None:
    assert list(check(known(LOOKS))) == []


def test_copies_within_a_part_are_a_note_and_across_parts_a_warning() -> None:
    near = seen(changed(scene(0, size=(240, 180)), 1), "JPEG", quality=60)
    looks = {**LOOKS, "a/copy": LOOKS["a/2"], "a/near": near}
    parts = dict.fromkeys(looks, "train")
    assert kinds(check(known(looks, parts=parts))) == [
        ("exact-copies", "note", ("a/2", "a/copy")),
        ("near-copies", "note", ("a/0", "a/near")),
    ]
    parts |= {"a/copy": "test", "a/near": "test"}
    found = list(check(known(looks, parts=parts)))
    assert kinds(found) == [
        ("exact-across-parts", "warning", ("a/2", "a/copy")),
        ("near-across-parts", "warning", ("a/0", "a/near")),
    ]
    assert found[0].text == "2 images in train and test show exactly the same"
    assert found[0].figures == {"images": 2, "correlation": 1}
    assert 0.75 <= found[1].figures["correlation"] < 1
    assert leaked(found, parts) == ("a/copy", "a/near")
    assert leaked(found, dict.fromkeys(parts, "train")) == ()


def test_one_picture_under_two_labels_is_a_warning_of_its_own() -> None:
    looks = {**LOOKS, "b/copy": LOOKS["a/2"]}
    (found,) = check(known(looks))
    assert (found.kind, found.severity, found.keys) == ("exact-two-labels", "warning", ("a/2", "b/copy"))
    assert "under the labels 'a' and 'b'" in found.text
    both = check(known(looks, parts={**dict.fromkeys(looks, "train"), "b/copy": "validation"}))
    assert [finding.kind for finding in both] == ["exact-across-parts", "exact-two-labels"]


def test_hostile_labels_are_printable() -> None:
    (found,) = check(known({"x": LOOKS["a/0"], "y": LOOKS["a/0"]}, labels={"x": "a\x1b[31m", "y": "b\u202e"}))
    assert "\x1b" not in found.text
    assert "\u202e" not in found.text


def test_equal_pixels_and_a_near_copy_of_them_are_two_groups() -> None:
    near = seen(changed(scene(0, size=(240, 180)), 3))
    groups, found = copies(known({**LOOKS, "a/same": LOOKS["a/0"], "a/near": near}))
    assert [tuple(sample.key for sample in group.samples) for group in groups] == [
        ("a/0", "a/same"),
        ("a/0", "a/same", "a/near"),
    ]
    assert groups[0].correlation == 1 > groups[1].correlation
    assert found.untried == 0


def test_what_was_not_compared_is_said(monkeypatch) -> None:
    monkeypatch.setattr(duplicates.alike, "near", lambda hashes, greys: Found((), 7, SAME))
    (found,) = check(known(LOOKS))
    assert (found.kind, found.severity, found.figures) == ("not-all-compared", "note", {"pairs": 7})


def test_the_digits_beside_the_code_have_no_near_duplicates_and_that_is_said_to_be_weak() -> None:
    recipe = recipe_to_check(DIGITS, ())
    looked = gather(recipe)
    (found,) = check(looked)
    assert (found.kind, found.severity) == ("all-alike", "note")
    assert found.figures["correlation"] > 0.95
    assert "agree by more than 0.9" in found.text
    assert list(leaks.check(looked)) == []


def test_a_set_of_unreadable_images_has_no_duplicates() -> None:
    assert list(check(known({}))) == []
