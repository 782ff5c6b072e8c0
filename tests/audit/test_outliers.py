import numpy as np
import pytest
from PIL import Image, ImageFilter

from finetune.audit.outliers import check, z_scores
from tests.audit.toys import known, scene, seen

LOOKS = {f"a/{n}": seen(scene(n)) for n in range(30)}


def found(**more):
    return [
        (one.kind, one.keys) for one in check(known({**LOOKS, **{f"a/{name}": seen(i) for name, i in more.items()}}))
    ]


def test_images_of_one_kind_have_no_outliers():
    assert found() == []


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("small", scene(99, size=(24, 18))),
        ("large", scene(99, size=(1600, 1200))),
        ("oblong", scene(99, size=(640, 30))),
        ("dark", scene(99).point(lambda value: value // 4)),
        ("bright", scene(99).point(lambda value: 255 - value // 4)),
        ("flat", scene(99).point(lambda value: 120 + value // 7)),
        ("blurred", scene(99).filter(ImageFilter.GaussianBlur(20))),
        ("noisy", Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8))),
        ("little-information", scene(99).point(lambda value: 255 * (value > 128))),
    ],
)
def test_one_that_is_far_from_the_others_is_found(kind, image):
    assert (kind, ("a/odd",)) in found(odd=image)
    assert {keys for _, keys in found(odd=image)} == {("a/odd",)}


def test_an_image_of_one_colour_is_a_warning_and_not_an_outlier_besides():
    (one,) = check(known({**LOOKS, "a/blank": seen(Image.new("RGB", (160, 120), (100, 120, 110)))}))
    assert (one.kind, one.severity, one.keys) == ("blank", "warning", ("a/blank",))


def test_among_few_images_nothing_is_far_but_blank_is_blank():
    few = {key: LOOKS[key] for key in list(LOOKS)[:10]} | {"a/odd": seen(scene(99, size=(1600, 1200)))}
    assert list(check(known(few))) == []
    assert [one.kind for one in check(known(few | {"a/blank": seen(Image.new("RGB", (160, 120)))}))] == ["blank"]


def test_many_that_are_far_are_said_to_be_of_another_kind_in_one_note():
    dim = {f"b/{n}": seen(scene(100 + n).point(lambda value: value // 4)) for n in range(8)}
    notes = [one for one in check(known({**LOOKS, **dim})) if one.kind == "dark"]
    assert [one.text for one in notes] == [
        "8 of 38 images are much darker than the others: these are images of two kinds"
    ]
    assert (len(notes[0].keys), notes[0].figures) == (6, {"images": 8, "of": 38})
    few = [one for one in check(known({**LOOKS, **dict(list(dim.items())[:3])})) if one.kind == "dark"]
    assert [len(one.keys) for one in few] == [1, 1, 1]


def test_the_figures_are_those_of_the_sentence():
    (one,) = (
        one for one in check(known({**LOOKS, "a/odd": seen(scene(99, size=(1600, 1200)))})) if one.kind == "large"
    )
    assert one.figures["value"] == 1_920_000
    assert one.figures["median"] == 19_200
    assert one.figures["z"] > 5


def test_scores_are_robust_and_zero_where_all_is_the_same():
    assert z_scores(np.full(9, 3.0)).tolist() == [0] * 9
    values = np.array([1.0, 2, 3, 4, 5, 1e9])
    assert np.abs(z_scores(values)[:5]).max() < 3
    assert z_scores(np.array([3.0] * 20 + [4]))[-1] == pytest.approx(0.7979 * 21)
