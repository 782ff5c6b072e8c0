"""`--set key=value`: where it lands, what it may replace, and what it says when it cannot."""

from typing import Any

import pytest

from finetune.errors import RecipeError
from finetune.recipe.assignment import assign
from finetune.recipe.fault import source
from finetune.recipe.grammar import Document, document

TEXT = """
train: {batch_size: 32, patience: 3}
images:
schedule:
  phases:
    - {train: [head], lr: 1}
    - {train: [stage4, head], lr: 2}
"""


def assigned(*assignments: str, text: str = TEXT) -> Document:
    base = document(text, source(text, "x.yaml"))
    for number, assignment in enumerate(assignments):
        assign(base, assignment, number=number)
    return base


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("train.batch_size=64", ("train", "batch_size"), 64),
        ("train.batch_size=", ("train", "batch_size"), None),
        ("train.batch_size=1e-3", ("train", "batch_size"), 0.001),
        ("train.batch_size=no", ("train", "batch_size"), "no"),
        ("train.batch_size='64'", ("train", "batch_size"), "64"),
        ("train.other=a=b", ("train", "other"), "a=b"),
        ("train={batch_size: 8}", ("train",), {"batch_size": 8}),
        ("train.optimizer.kind=sgd", ("train", "optimizer"), {"kind": "sgd"}),
        ("images.augment.flip=false", ("images", "augment"), {"flip": False}),
        ("seed=1", ("seed",), 1),
        ("split.test=0.2", ("split",), {"kind": "stratified", "test": 0.2}),
        ("head.dropout=0.5", ("head",), {"kind": "linear", "dropout": 0.5}),
        ("head.kind=mlp", ("head",), {"kind": "mlp"}),
        ("train.optimizer.weight_decay=0", ("train", "optimizer"), {"kind": "adamw", "weight_decay": 0}),
        ("schedule.phases.0.lr=5", ("schedule", "phases", 0, "lr"), 5),
        ("schedule.phases.1.train.0=stem", ("schedule", "phases", 1, "train"), ["stem", "head"]),
        ("schedule.phases.1={lr: 3}", ("schedule", "phases", 1), {"lr": 3}),
        ("schedule.phases=[]", ("schedule", "phases"), []),
        ("head.kind=cosine", ("head",), {"kind": "cosine"}),
        ("schedule.kind=full", ("schedule",), {"kind": "full"}),
        ("train.optimizer.kind=sgd", ("train",), {"batch_size": 32, "patience": 3, "optimizer": {"kind": "sgd"}}),
    ],
)
def test_a_value_lands_at_its_path(assignment: str, path: tuple[str | int, ...], value: object) -> None:
    base = assigned(assignment)
    found: Any = base.data
    for part in path:
        found = found[part]
    assert found == value
    assert not base.faults
    assert base.places[path].source.name in (f"--set {assignment}", "x.yaml")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train", "an override is written key=value, such as train.batch_size=64"),
        ("=3", "an override is written key=value, such as train.batch_size=64"),
        ("train..lr=3", "an override is written key=value, such as train.batch_size=64"),
        ("train.batch size=3", "an override is written key=value, such as train.batch_size=64"),
        ("train.batch_size.x=3", "train.batch_size has no keys: it is a single value"),
        ("train.batch_size.0=3", "train.batch_size has no items: it is a single value"),
        ("train.0=3", "train has no items: it is a mapping"),
        ("train.0.lr=3", "train has no items: it is a mapping"),
        ("schedule.phases.2.lr=3", "schedule.phases has 2 items, numbered from 0; there is no 2"),
        ("schedule.phases.2=3", "schedule.phases has 2 items, numbered from 0; there is no 2"),
        ("schedule.phases.lr=3", "schedule.phases is a list; give the number of an item from 0, not 'lr'"),
        ("split.folds.0.lr=3", "split.folds is not there, so that it has no item 0"),
        ("split.0=3", "split is not there, so that it has no item 0"),
        ("train.batch_size=*x", "aliases are not allowed; write the value out"),
        ("train.batch_size=!x 3", "tags such as !x are not allowed; a recipe holds plain values only"),
        ("train.batch_size=.nan", ".nan is not a finite number; put it in quotes if it is meant as text"),
    ],
)
def test_what_cannot_be_assigned_is_said_and_changes_nothing(assignment: str, message: str) -> None:
    base = assigned(assignment)
    assert [str(fault) for fault in base.faults] == [f"--set {assignment}: {message}"]
    if not message.endswith(("out", "only", "text")):
        assert base.data == document(TEXT, source(TEXT, "x.yaml")).data


AUTO = """
schedule: {kind: auto, candidates: [{name: resnet18}]}
head:
split: {kind: given, test: val, validation: 0.2}
train: {optimizer: {kind: sgd, momentum: 0.5, weight_decay: 0.1}}
"""


def test_what_is_left_out_of_a_candidate_is_made_of_its_default_kind() -> None:
    data: Any = assigned("schedule.candidates.0.weights.tag=tv_in1k", text=AUTO).data
    assert data["schedule"]["candidates"] == [{"name": "resnet18", "weights": {"kind": "hub", "tag": "tv_in1k"}}]


@pytest.mark.parametrize(
    ("assignments", "section", "value"),
    [
        (["schedule.kind=probe"], "schedule", {"kind": "probe"}),
        (["schedule.kind=auto"], "schedule", {"kind": "auto", "candidates": [{"name": "resnet18"}]}),
        (["schedule.kind=full", "schedule.epochs=3"], "schedule", {"kind": "full", "epochs": 3}),
        (["schedule.epochs=3", "schedule.kind=full"], "schedule", {"kind": "full", "epochs": 3}),
        (["split.kind=stratified"], "split", {"kind": "stratified", "test": "val", "validation": 0.2}),
        (["train.optimizer.kind=adamw"], "train", {"optimizer": {"kind": "adamw", "weight_decay": 0.1}}),
    ],
)
def test_a_section_of_another_kind_leaves_behind_what_only_the_former_has(
    assignments: list[str], section: str, value: object
) -> None:
    base: Any = assigned(*assignments, text=AUTO)
    assert base.data[section] == value


def test_nothing_is_remembered_of_what_was_left_behind() -> None:
    assert any("candidates" in path for path in assigned("schedule.kind=auto", text=AUTO).places)
    assert not any("candidates" in path for path in assigned("schedule.kind=probe", text=AUTO).places)


def test_what_an_override_says_is_not_left_behind() -> None:
    data: Any = assigned("schedule.epochs=3", "schedule.kind=auto", text=AUTO).data
    assert data["schedule"] == {"kind": "auto", "candidates": [{"name": "resnet18"}], "epochs": 3}


@pytest.mark.parametrize("kind", ["atuo", "[full]", "", "3"])
def test_a_kind_that_is_none_leaves_everything_in_its_place(kind: str) -> None:
    data: Any = assigned(f"schedule.kind={kind}", text=AUTO).data
    assert data["schedule"]["candidates"] == [{"name": "resnet18"}]


def test_misspelt_keys_are_kept_to_be_told_of() -> None:
    base = assigned("schedule.kind=probe", "kind=3", "odd.kind=3", text="schedule: {kind: full, epohcs: 3, lr: 1}")
    assert base.data == {"schedule": {"kind": "probe", "epohcs": 3}, "kind": 3, "odd": {"kind": 3}}


def test_a_value_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"--set train=\{a: : a value is missing before this"):
        assigned("train={a: ")
    with pytest.raises(RecipeError, match="a second document begins here"):
        assigned("train=1\n---\n2")


def test_the_later_of_two_counts() -> None:
    assert assigned("seed=1", "seed=2").data == {**document(TEXT, source(TEXT, "")).data, "seed": 2}


def test_what_was_refused_can_be_put_right_only_in_the_file() -> None:
    base = assigned("train.batch_size=3", text="train: {batch_size: &a 3}")
    assert [str(fault).splitlines()[0] for fault in base.faults] == [
        "x.yaml:1:21: anchors are not allowed; write the value where it is needed"
    ]
    assert ("train", "batch_size") not in base.spoiled


def test_faults_of_overrides_come_after_those_of_the_file_in_their_order() -> None:
    base = assigned("b.0=1", "a.0=1", text="c: 1\nc: 2")
    assert [str(fault).split(":")[0] for fault in sorted(base.faults)] == ["x.yaml", "--set b.0=1", "--set a.0=1"]


def test_a_long_override_is_cut_in_its_message() -> None:
    base = assigned("train.0=" + "x" * 5000)
    assert len(str(base.faults[0])) < 300


def test_a_number_of_many_digits_is_no_index() -> None:
    assert "key=value" in str(assigned(f"schedule.phases.{'9' * 5000}=1").faults[0])
