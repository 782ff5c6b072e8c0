from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finetune.audit.gather import Gathered
from finetune.audit.look import Look
from finetune.bundle import Bundle
from finetune.data.catalog import Catalog, Sample
from finetune.errors import UnreadableImage
from finetune.recipe import file
from finetune.review.material import Material, read
from finetune.review.queue import EXCLUDE, KEEP, Item, Verdict, queue
from finetune.scores.predictions import Predictions
from tests.audit.toys import known, scene, seen

LOOKS = [seen(scene(number)) for number in range(40)]
LARGER = seen(scene(0).resize((320, 240)))
RECIPE = file.loads(
    "data: {kind: folder, root: photos}\nbackbone: {name: resnet18}\n", source="toy.yaml", folder=Path()
)


def held_out(keys: Sequence[str], classes: Sequence[str], logits: object, labels: object) -> Predictions:
    return Predictions(tuple(keys), np.array(logits, np.float32), tuple(classes), np.array(labels))


def material(about: Gathered, held: Predictions | None = None) -> Material:
    return Material("toy", RECIPE, about.catalog, about, held)


def suggested(item: Item) -> dict[str, Verdict]:
    return {shown.sample.key: shown.suggested for shown in item.images}


def of_cats_and_dogs(probability_of_dog: Sequence[float]) -> Material:
    """The first half are labelled cat, the second dog."""
    half = len(probability_of_dog) // 2
    keys = [f"{'cat' if place < half else 'dog'}/{place}" for place in range(2 * half)]
    dog = np.array(probability_of_dog)
    logits = np.log(np.stack([1 - dog, dog], axis=1))
    labels = np.repeat([0, 1], half)
    about = known(dict(zip(keys, LOOKS, strict=False)))
    return material(about, held_out(keys, ("cat", "dog"), logits, labels))


def test_suspected_labels_come_with_the_suggested_one_the_worst_first() -> None:
    found = queue(of_cats_and_dogs([0.1, 0.9, 0.99, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9])).items
    assert [suggested(item) for item in found] == [
        {"cat/2": Verdict("relabel", ("dog",))},
        {"cat/1": Verdict("relabel", ("dog",))},
    ]
    assert found[0].why == "a classifier that had not learnt from it gives 'dog' 99 % and 'cat', its label, 1 %"
    assert found[0].images[0].likely == (1, 0)


def test_labels_that_are_all_right_give_nothing() -> None:
    assert queue(of_cats_and_dogs([0.1] * 5 + [0.9] * 5)).items == ()


def test_without_answers_it_is_said_that_labels_were_not_looked_at() -> None:
    found = queue(material(known({"cat/0": LOOKS[0], "dog/1": LOOKS[1]})))
    assert found.items == ()
    assert found.notes[0].startswith("the bundle holds no out-of-fold answers, so no label is suspected")


def test_of_several_labels_each_is_asked_for_by_itself() -> None:
    keys = [f"{number}" for number in range(10)]
    labels = np.zeros((10, 2), dtype=bool)
    labels[:6, 0] = labels[4:, 1] = True
    dog, out = np.where(labels[:, 0], 0.95, 0.05), np.where(labels[:, 1], 0.9, 0.1)
    dog[9], out[0] = 0.98, 0.97  # a dog that nobody wrote down, and one out of doors
    out[5] = 0.03  # not out of doors
    probability = np.stack([dog, out], axis=1)
    held = held_out(keys, ("dog", "out"), np.log(probability / (1 - probability)), labels)
    names = ("dog", "out")
    samples = tuple(
        Sample(key, None, tuple(name for name, there in zip(names, row, strict=True) if there))
        for key, row in zip(keys, labels, strict=True)
    )
    about = replace(known(dict(zip(keys, LOOKS, strict=False))), catalog=Catalog(samples, names))
    found = queue(material(about, held)).items
    assert [suggested(item) for item in found] == [
        {"9": Verdict("relabel", ("dog", "out"))},
        {"0": Verdict("relabel", ("dog", "out"))},
        {"5": Verdict("relabel", ("dog",))},
    ]
    assert found[0].why == "a classifier that had not learnt from it gives 'dog', which it has not, 98 %"
    assert found[2].why == "a classifier that had not learnt from it gives 'out', which it has, 3 %"


def copies(parts: dict[str, str], held: Predictions | None = None) -> tuple[Item, ...]:
    """Two exact copies a/1 and b/1, and a larger one of a/2 and a/3."""
    looks = {"a/1": LOOKS[5], "b/1": LOOKS[5], "a/2": LOOKS[0], "a/3": LARGER}
    return queue(material(known(looks, parts=parts), held)).items


def test_of_copies_the_largest_stays_and_where_labels_differ_nothing_is_suggested() -> None:
    found = copies({"a/1": "train", "b/1": "train", "a/2": "train", "a/3": "test"})
    assert [suggested(item) for item in found] == [
        {"a/1": KEEP, "b/1": KEEP},
        {"a/2": EXCLUDE, "a/3": KEEP},
    ]
    assert found[0].why == "2 images under the labels 'a' and 'b' show exactly the same"
    assert [shown.part for shown in found[1].images] == ["train", "test"]


def test_of_copies_under_two_labels_the_one_that_was_answered_stays() -> None:
    held = held_out(("a/1", "b/1", "a/2"), ("a", "b"), [[-2, 2], [-2, 2], [2, -2]], [0, 1, 0])
    found = [item for item in copies({}, held) if item.kind == "duplicates"]
    assert suggested(found[0]) == {"a/1": EXCLUDE, "b/1": KEEP}


def test_pictures_of_one_burst_in_one_part_may_stay() -> None:
    found = copies({"a/1": "train", "b/1": "train", "a/2": "train", "a/3": "train"})
    assert suggested(found[1]) == {"a/2": KEEP, "a/3": KEEP}


def test_a_group_with_two_faults_is_one_item_that_names_both() -> None:
    found = copies({"a/1": "train", "b/1": "test"})
    assert found[0].why == (
        "2 images in train and test show exactly the same; 2 images under the labels 'a' and 'b' show exactly the same"
    )


def test_outliers_are_one_item_each_the_farthest_first() -> None:
    looks: dict[str, Look] = {f"{'ab'[number % 2]}/{number}": look for number, look in enumerate(LOOKS[:30])}
    looks["a/dark"] = replace(LOOKS[31], brightness=0.001, blur=LOOKS[31].blur * 1e6)
    looks["b/blank"] = replace(LOOKS[32], contrast=0.0)
    found = [item for item in queue(material(known(looks))).items if item.kind == "outlier"]
    assert [suggested(item) for item in found] == [{"b/blank": EXCLUDE}, {"a/dark": KEEP}]
    assert "much darker than the others" in found[1].why
    assert "noise than the others" in found[1].why


def test_what_cannot_be_read_comes_last_and_is_to_be_left_out() -> None:
    looks = {"a/1": LOOKS[0], "b/1": LOOKS[0], "a/2": LOOKS[2]}
    about = known(looks, unreadable={"a/torn": UnreadableImage("truncated", "the file ends before its image does")})
    *_, last = queue(material(about)).items
    assert (last.kind, last.why) == ("unreadable", "cannot be read: the file ends before its image does")
    assert suggested(last) == {"a/torn": EXCLUDE}
    assert not last.images[0].readable


def test_the_queue_of_a_bundle_holds_what_was_planted(doubtful: Path) -> None:
    found = queue(read(Bundle.open(doubtful)))
    labels = {key: verdict for item in found.items if item.kind == "label" for key, verdict in suggested(item).items()}
    assert labels["blue/was red.png"] == Verdict("relabel", ("red",))
    assert labels["blue/green too.png"] == Verdict("relabel", ("green",))
    groups = [{shown.sample.key for shown in item.images} for item in found.items if item.kind == "duplicates"]
    assert groups == [{"blue/green too.png", "green/d.png"}, {"red/c.png", "red/copy.png"}]
    assert [shown.sample.key for item in found.items if item.kind == "outlier" for shown in item.images] == [
        "green/white.png"
    ]
    assert found.notes == ()


@pytest.mark.parametrize("kind", ["label", "duplicates", "outlier", "unreadable"])
def test_items_are_counted_by_kind(kind: str, doubtful: Path) -> None:
    found = queue(read(Bundle.open(doubtful)))
    assert found.counts()[kind] == sum(item.kind == kind for item in found.items)  # type: ignore[index]
