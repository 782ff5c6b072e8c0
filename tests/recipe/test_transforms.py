"""The closed list of transforms: arguments that albumentations takes, in ranges that it does not refuse."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from finetune.recipe import file, transforms
from finetune.recipe.images import Augment
from finetune.recipe.transforms import Transform
from finetune.views import TrainingViews
from tests.test_views import NOISE, preprocessing

LIST = get_args(get_args(Transform)[0])
NEEDED: dict[str, dict[str, Any]] = {"Affine": {"rotate": (-9.0, 9.0)}}
HEAD = "data: {kind: folder, root: photos}\nbackbone: {name: resnet18}\nname: x\n"


def limits(section: Any, low: bool) -> dict[str, Any]:
    """The arguments of a transform, each as small or as large as it may be."""
    found = {}
    for key, field in section.model_fields.items():
        inner = get_args(field.annotation)
        if key not in ("name", "p") and inner:
            rules = inner[0].__metadata__[0].metadata
            bounds = [getattr(rule, "ge" if low else "le", None) for rule in rules]
            value = next(bound for bound in bounds if bound is not None)
            found[key] = (value, value)
    if section is transforms.CoarseDropout and not low:
        found |= {"hole_height_range": (0.99, 0.99), "hole_width_range": (0.99, 0.99)}
    if section is transforms.Erasing and not low:
        found |= {"scale": (0.099, 0.099)}
    return found


@pytest.mark.parametrize("section", LIST, ids=lambda section: section.__name__)
@pytest.mark.parametrize("given", ["default", "low", "high"])
def test_every_transform_makes_views_at_both_ends_of_its_ranges(section: Any, given: str) -> None:
    arguments = NEEDED.get(section.__name__, {}) if given == "default" else limits(section, low=given == "low")
    always = {"p": 1.0} if "p" in section.model_fields else {}
    augment = Augment(kind="custom", flip=False, transforms=(section(**arguments, **always),))
    views = TrainingViews(augment, preprocessing(), seed=0)
    for key in "abcd":
        view = views.view(NOISE, epoch=1, key=key)
        assert (view.shape, view.dtype) == ((32, 32, 3), "uint8")


def test_names_are_those_of_the_classes_and_told_apart() -> None:
    assert [section.model_fields["name"].default for section in LIST] == [section.__name__ for section in LIST]
    assert len(set(LIST)) == len(LIST) == 27


def test_a_pipeline_survives_being_written_with_its_defaults() -> None:
    text = HEAD + "images: {augment: {kind: custom, transforms: [{name: Rotate}, {name: Erasing, p: 0.2}]}}\n"
    recipe = file.loads(text, source="x.yaml", folder=Path())
    assert recipe.images.augment.transforms == (transforms.Rotate(), transforms.Erasing(p=0.2))
    written = file.dump(recipe)
    assert "limit: [-15.0, 15.0]" in written
    assert file.loads(written, source="x.yaml", folder=Path()) == recipe


def test_the_signature_holds_every_argument_in_its_order_and_what_is_left_out_too() -> None:
    def signature(*listed: Any, flip: bool = True) -> str:
        return Augment(kind="custom", flip=flip, transforms=listed).signature

    rotate, grey = transforms.Rotate(), transforms.ToGray()
    found = {
        signature(rotate), signature(grey), signature(rotate, grey), signature(grey, rotate),
        signature(transforms.Rotate(p=0.4)), signature(transforms.Rotate(limit=(-15.0, 14.0))),
        signature(rotate, flip=False), Augment(kind="strong").signature,
        signature(transforms.RandomCrop()), signature(transforms.RandomCrop(padding=4)),
    }  # fmt: skip
    assert len(found) == 10
    assert signature(rotate) == signature(transforms.Rotate(p=0.5, limit=(-15.0, 15.0)))
    assert "\n" not in signature(rotate, grey)
    assert Augment(kind="light").signature == "light flip"


def test_a_range_from_high_to_low_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"limit is a range from low to high, and 3 is above 2"):
        transforms.Rotate(limit=(3.0, 2.0))
