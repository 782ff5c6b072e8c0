import json

import pytest

from finetune.bundle.facts import dump, parse, read_facts
from finetune.errors import BundleError

WHOLE = {
    "schema": 1,
    "complete": True,
    "name": "flowers",
    "classes": ["daisy", "rose"],
    "preprocessing": {},
    "backbone": {},
    "head": {},
    "files": {"plan.json": "0" * 64},
}


def refused(folder, text):
    (folder / "bundle.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BundleError) as caught:
        read_facts(folder)
    assert "bundle.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_written_is_read(tmp_path):
    (tmp_path / "bundle.json").write_bytes(dump(WHOLE))
    assert read_facts(tmp_path) == WHOLE
    assert dump({"name": "café \udcff"}) == b'{\n "name": "caf\\u00e9 \\udcff"\n}\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is damaged: Expecting value"),
        ('{"schema": 1', "is damaged"),
        (b"\xff\xfe", "cannot be read: 'utf-8' codec"),
        ("[]", "is not a JSON object"),
        ('{"schema": 1, "schema": 1, "complete": false}', "a key occurs twice"),
        ('{"schema": 1, "complete": false, "lr": NaN}', "NaN is not a finite number"),
        ('{"schema": 1, "complete": false, "lr": -Infinity}', "-Infinity is not a finite number"),
        ('{"schema": 1, "complete": false, "lr": 1e999}', "1e999 is not a finite number"),
        ("[" * 100_000, "is damaged: maximum recursion"),
        ("1" * 10_000, "is damaged: Exceeds the limit"),
        ('{"complete": false}', "schema must be a whole number from 1, but is None"),
        ('{"schema": true, "complete": false}', "but is True"),
        ('{"schema": "1", "complete": false}', "but is '1'"),
        ('{"schema": 0, "complete": false}', "but is 0"),
        ('{"schema": 999, "complete": false}', "newer finetune (schema 999, this one reads up to 1): update finetune"),
        ('{"schema": 1}', "complete must be true or false"),
        ('{"schema": 1, "complete": 1}', "complete must be true or false"),
    ],
)
def test_a_bundle_json_that_is_damaged_or_newer_is_refused_with_a_sentence(tmp_path, text, reason):
    assert reason in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": 3}, "name must be a text"),
        ({"classes": "daisy"}, "classes must be a list of texts"),
        ({"classes": ["daisy", 1]}, "classes must be a list of texts"),
        ({"receipt": []}, "receipt must be an object"),
        ({"files": []}, "files must be an object of SHA-256 texts"),
        ({"files": {"plan.json": 7}}, "files must be an object of SHA-256 texts"),
        ({"files": None}, "files must be"),
    ],
)
def test_facts_of_another_kind_are_refused(tmp_path, changes, reason):
    assert reason in refused(tmp_path, json.dumps(WHOLE | changes))


def test_a_complete_bundle_must_say_what_a_reader_relies_on(tmp_path):
    lacking = {name: value for name, value in WHOLE.items() if name not in ("classes", "head")}
    assert "a complete bundle must say its classes, head" in refused(tmp_path, json.dumps(lacking))


def test_an_enormous_bundle_json_is_not_read(tmp_path):
    with open(tmp_path / "bundle.json", "wb") as file:
        file.truncate(2**30)
    with pytest.raises(BundleError, match="larger than 16 MiB"):
        read_facts(tmp_path)


def test_a_folder_of_bundles_names_them(tmp_path):
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "bundle.json").touch()
    with pytest.raises(BundleError, match=r"holds no bundle\.json; these folders in it do:\n    1\n    2"):
        read_facts(tmp_path)
    with pytest.raises(BundleError, match=r"none' is not a bundle: it holds no bundle\.json$"):
        read_facts(tmp_path / "none")


def test_the_place_of_a_fault_is_named():
    with pytest.raises(BundleError, match=r"'history\.jsonl:3' is damaged"):
        parse("{", source="history.jsonl:3")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"multi_label": 1}, "multi_label must be true or false"),
        ({"multi_label": True, "thresholds": [0.5]}, "thresholds must be numbers from 0 to 1, one for each class"),
        ({"multi_label": True, "thresholds": [0.5, 1.5]}, "thresholds must be numbers from 0 to 1, one for each class"),
        (
            {"multi_label": True, "thresholds": [0.5, True]},
            "thresholds must be numbers from 0 to 1, one for each class",
        ),
        ({"multi_label": True, "thresholds": "ab"}, "thresholds must be numbers from 0 to 1, one for each class"),
        ({"multi_label": True}, "has thresholds where multi_label is true, and nowhere else"),
        ({"thresholds": [0.5, 0.5]}, "has thresholds where multi_label is true, and nowhere else"),
    ],
)
def test_thresholds_that_a_reader_cannot_rely_on_are_refused(tmp_path, changes, reason):
    assert reason in refused(tmp_path, json.dumps(WHOLE | changes))


def test_a_bundle_of_any_number_of_labels_has_thresholds(tmp_path):
    facts = WHOLE | {"multi_label": True, "thresholds": [0.25, 1]}
    (tmp_path / "bundle.json").write_bytes(dump(facts))
    assert read_facts(tmp_path) == facts
