import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from finetune.data.catalog import Catalog, Sample
from finetune.errors import UnreadableImage, UsageError
from finetune.review.decisions import Decisions
from finetune.review.queue import EXCLUDE, KEEP, Item, Queue, Shown, Verdict
from finetune.review.walk import Choices, Walk
from tests.audit.toys import scene

CLASSES = ("cat", "dog", "out")
Make = Callable[..., Walk]


@pytest.fixture
def walk(tmp_path: Path) -> Make:
    """A walk over one suspected label, a and its copies b and c, and a file that cannot be read."""

    def make(*, several: bool = False) -> Walk:
        scene(1, size=(2000, 1000)).save(tmp_path / "a.png")
        labels = dict.fromkeys("abf", "cat") | dict.fromkeys("cde", "dog")
        samples = {
            key: Sample(key, tmp_path / f"{key}.png", (label,) if several else label) for key, label in labels.items()
        }
        catalog = Catalog(tuple(samples.values()), CLASSES)
        copies = ((samples["a"], KEEP), (samples["b"], EXCLUDE), (samples["c"], EXCLUDE))
        items = (
            Item("label", "why", (Shown(samples["a"], "train", True, Verdict("relabel", ("dog",)), (1, 0, 2)),)),
            Item("duplicates", "same", tuple(Shown(sample, "", True, verdict) for sample, verdict in copies)),
            Item("unreadable", "torn", (Shown(samples["d"], "", False, EXCLUDE),)),
        )
        given = {key: sample.labels for key, sample in samples.items()}
        decisions = Decisions(tmp_path / "c.csv", catalog=catalog, given=given)
        return Walk(Queue(items), decisions, name="toy", classes=CLASSES, several=several, advice="do it")

    return make


def chosen(*choices: dict[str, object]) -> Choices:
    return Choices.model_validate({"choices": list(choices)})


def test_the_summary_says_what_there_is(walk: Make, tmp_path: Path) -> None:
    assert walk().summary() == {
        "name": "toy",
        "output": str(tmp_path / "c.csv"),
        "advice": "do it",
        "classes": ["cat", "dog", "out"],
        "several": False,
        "total": 3,
        "kinds": [
            {"kind": "label", "first": 0, "count": 1},
            {"kind": "duplicates", "first": 1, "count": 1},
            {"kind": "unreadable", "first": 2, "count": 1},
        ],
        "notes": [],
        "open": 0,
        "decided": 0,
        "relabel": 0,
        "exclude": 0,
    }


def test_an_item_is_told_without_a_path(walk: Make) -> None:
    image = {
        "key": "a",
        "part": "train",
        "labels": [0],
        "readable": True,
        "likely": [1, 0, 2],
        "suggested": {"action": "relabel", "labels": [1]},
        "made": None,
    }
    assert walk().item(0) == {"number": 0, "kind": "label", "why": "why", "images": [image]}


def test_what_is_chosen_is_recorded_and_told(walk: Make, tmp_path: Path) -> None:
    made = walk()
    done = made.decide(0, chosen({"image": 0, "action": "relabel", "labels": [1]}))
    assert done["item"]["images"][0]["made"] == {"action": "relabel", "labels": [1]}
    assert done["progress"] == {"open": 1, "decided": 1, "relabel": 1, "exclude": 0}
    done = made.decide(1, chosen({"image": 1, "action": "exclude"}, {"image": 2, "action": "keep"}))
    assert done["progress"] == {"open": 2, "decided": 2, "relabel": 1, "exclude": 1}  # a was decided before
    assert (tmp_path / "c.csv").read_text() == "path,action,label\na,relabel,dog\nb,exclude,\n"
    assert made.undo()["number"] == 1
    assert made.undo() == {"number": 0, "progress": {"open": 0, "decided": 0, "relabel": 0, "exclude": 0}}
    assert made.undo()["number"] is None


def test_the_label_that_an_image_has_is_no_other(walk: Make) -> None:
    done = walk().decide(0, chosen({"image": 0, "action": "relabel", "labels": [0]}))
    assert done["item"]["images"][0]["made"] == {"action": "keep", "labels": []}


def test_several_labels_are_given_at_once(walk: Make, tmp_path: Path) -> None:
    walk(several=True).decide(0, chosen({"image": 0, "action": "relabel", "labels": [2, 0]}))
    assert (tmp_path / "c.csv").read_text() == "path,action,label\na,relabel,cat|out\n"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"image": 1, "action": "keep"}, "there is no image 1 in this item; it has 1"),
        ({"image": 0, "action": "relabel", "labels": [3]}, "there is no class 3; there are 3"),
        ({"image": 0, "action": "relabel", "labels": []}, "an image needs a label; leave it out instead"),
        ({"image": 0, "action": "relabel", "labels": [0, 1]}, "an image has one label"),
        ({"image": 0, "action": "exclude", "labels": [0]}, "an image that is kept or left out gets no labels"),
    ],
)
def test_what_cannot_be_chosen_is_refused(choice: dict[str, object], message: str, walk: Make) -> None:
    made = walk()
    with pytest.raises(UsageError, match=message):
        made.decide(0, chosen(choice))
    assert made.progress()["decided"] == 0


@pytest.mark.parametrize(
    "text",
    [
        '{"choices": []}',
        '{"choices": [{"image": -1, "action": "keep"}]}',
        '{"choices": [{"image": "0", "action": "keep"}]}',
        '{"choices": [{"image": 0, "action": "delete"}]}',
        '{"choices": [{"image": 0, "action": "keep", "path": "/etc/passwd"}]}',
    ],
)
def test_nothing_but_choices_is_taken(text: str) -> None:
    with pytest.raises(ValidationError):
        Choices.model_validate_json(text)


def test_a_picture_is_drawn_anew_and_no_larger_than_it_is_shown(walk: Make) -> None:
    data = walk().picture(1, 0)
    with Image.open(io.BytesIO(data)) as shown:
        assert (shown.format, shown.size, shown.info.get("exif")) == ("JPEG", (1024, 512), None)


def test_a_picture_that_is_not_there_is_refused(walk: Make) -> None:
    with pytest.raises(UnreadableImage, match="missing"):
        walk().picture(2, 0)
    for number, place in ((3, 0), (-1, 0), (0, 1), (0, -1)):
        with pytest.raises(UsageError, match="there is no i"):
            walk().picture(number, place)
