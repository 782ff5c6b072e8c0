from pathlib import Path

import pytest

from finetune.bundle import Bundle, sameness
from finetune.errors import BundleError

CSV = "key,sha256,label,group,split,note\nred/1.png,ab,red,,train,\nred/2.png,cd,red,,test,\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    made = Bundle.create(tmp_path / "run")
    made.write("catalog.csv", CSV.encode())
    made.describe({"decided": {"device": "cpu", "threads": 2}, "versions": {"torch": "2.10", "timm": "1.0"}})
    return made


def test_the_same_images_are_the_same(bundle: Bundle) -> None:
    sameness.same_images(bundle, CSV)


def test_images_that_went_and_came_are_named(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="the images are not those that the run began with") as error:
        sameness.same_images(bundle, CSV.replace("red/2.png,cd", "red/3.png,ef"))
    assert str(error.value).splitlines()[1:] == [
        "    then: red/2.png,cd,red,,test,",
        "    now:  red/3.png,ef,red,,test,",
    ]


def test_an_image_with_another_content_is_another_image(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"then: red/1.png,ab") as error:
        sameness.same_images(bundle, CSV.replace(",ab,", ",ff,"))
    assert "now:  red/1.png,ff" in str(error.value)


def test_an_image_in_another_part_of_the_split_is_not_the_same(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"then: red/2.png,cd,red,,test"):
        sameness.same_images(bundle, CSV.replace(",test,", ",train,"))


def test_images_that_only_stand_in_another_order_are_not_the_same(bundle: Bundle) -> None:
    first, *rows = CSV.splitlines()
    with pytest.raises(BundleError, match="the images are not those"):
        sameness.same_images(bundle, "\n".join([first, *reversed(rows)]) + "\n")


def test_before_the_weights_are_known_any_will_do(bundle: Bundle) -> None:
    sameness.same_weights(bundle, "ab12")
    sameness.same_weights(bundle, None)


def test_the_weights_that_a_run_began_with_are_held(bundle: Bundle) -> None:
    bundle.describe({**bundle.facts, "receipt": {"sha256": "ab12"}})
    sameness.same_weights(bundle, "ab12")
    with pytest.raises(BundleError, match="SHA-256 ab12 then, cd34 now"):
        sameness.same_weights(bundle, "cd34")


def test_weights_without_a_file_stay_without_one(bundle: Bundle) -> None:
    bundle.describe({**bundle.facts, "receipt": {"sha256": None}})
    sameness.same_weights(bundle, None)
    with pytest.raises(BundleError, match="SHA-256 None then, cd34 now"):
        sameness.same_weights(bundle, "cd34")


def test_nothing_is_said_where_nothing_differs(bundle: Bundle) -> None:
    decided, versions = {"device": "cpu", "threads": 2}, {"torch": "2.10", "timm": "1.0"}
    assert sameness.differences(bundle, decided, versions) == ""


def test_what_differs_is_named_with_both_values(bundle: Bundle) -> None:
    said = sameness.differences(bundle, {"device": "cuda", "threads": 2}, {"torch": "2.11"})
    assert said == (
        "resumed elsewhere, so not bit for bit what an uncut run leaves: device cpu then, cuda now; torch 2.10 then, "
        "2.11 now; timm 1.0 then, None now"
    )


def test_what_was_not_known_then_does_not_differ(bundle: Bundle) -> None:
    decided, versions = {"device": "cpu", "threads": 2, "new": 1}, {"torch": "2.10", "timm": "1.0", "numpy": "2"}
    assert sameness.differences(bundle, decided, versions) == ""
