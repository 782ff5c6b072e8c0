import json
import os
import shutil

import numpy as np
import pytest

from finetune.bundle import Bundle
from finetune.data import ledger
from finetune.errors import BundleError, OutOfResources, OutputTaken
from finetune.recipe import planfile
from finetune.recipe.plan import Phase, Plan
from finetune.scores.predictions import Predictions

FACTS = {
    "name": "flowers",
    "classes": ["daisy", "rose"],
    "preprocessing": {},
    "backbone": {"name": "resnet18", "tag": None},
    "head": {"kind": "linear"},
}


@pytest.fixture
def unfinished(tmp_path):
    bundle = Bundle.create(tmp_path / "run")
    bundle.describe(FACTS)
    bundle.write("recipe.yaml", "name: flowers  # käfer\n".encode())
    bundle.write("model.safetensors", b"\x00" * 100)
    bundle.write("timings.jsonl", b'{"part": "epoch 1", "seconds": 1.5}\n')
    return bundle


@pytest.fixture
def sealed(unfinished):
    unfinished.write("predictions/test.npz", b"not yet")
    unfinished.seal()
    return unfinished


def test_a_new_bundle_is_incomplete_and_opens(tmp_path):
    created = Bundle.create(tmp_path / "deep" / "run")
    assert not created.complete
    opened = Bundle.open(tmp_path / "deep" / "run")
    assert opened.facts == {"schema": 1, "complete": False}
    assert not opened.complete


def test_runs_are_numbered_after_the_highest(tmp_path):
    root = tmp_path / "runs" / "flowers"
    assert Bundle.next(root).folder == root / "1"
    (root / "7").mkdir()
    (root / "notes").mkdir()
    assert Bundle.next(root).folder == root / "8"


def test_a_folder_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutOfResources, match=r"cannot write .*file/run"):
        Bundle.create(tmp_path / "file" / "run")


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(OutputTaken):
        Bundle.create(tmp_path)
    assert os.listdir(tmp_path) == ["x"]


def test_sealing_hashes_every_file_but_clocks_pages_and_what_passes(unfinished):
    unfinished.write("report.html", b"<p>")
    unfinished.write("checkpoints/epoch-1/model", b"m")
    (unfinished.folder / ".DS_Store").touch()
    (unfinished.folder / ".tmp-123").touch()
    unfinished.seal()
    assert sorted(unfinished.facts["files"]) == ["model.safetensors", "recipe.yaml"]
    assert unfinished.facts["name"] == "flowers"
    assert Bundle.open(unfinished.folder).facts == unfinished.facts
    assert unfinished.complete


def test_facts_given_at_the_seal_replace_those_before(unfinished):
    unfinished.seal({**FACTS, "name": "weeds"})
    assert Bundle.open(unfinished.folder).facts["name"] == "weeds"


def test_a_complete_bundle_is_not_written_but_for_pages(sealed):
    with pytest.raises(OutputTaken, match=r"'model\.safetensors' stays as it is: run into a new folder"):
        sealed.write("model.safetensors", b"")
    with pytest.raises(OutputTaken, match=r"'bundle\.json' stays as it is"):
        sealed.describe(FACTS)
    sealed.write("report.html", b"drawn again")
    assert Bundle.open(sealed.folder).read("report.html") == b"drawn again"


def test_a_bundle_can_be_moved_and_copied(sealed, tmp_path):
    shutil.copytree(sealed.folder, tmp_path / "copy")
    sealed.folder.rename(tmp_path / "moved")
    for name in ("copy", "moved"):
        bundle = Bundle.open(tmp_path / name)
        bundle.verify()
        assert bundle.read("model.safetensors") == b"\x00" * 100


def test_a_half_copied_bundle_names_what_is_missing(sealed):
    (sealed.folder / "model.safetensors").unlink()
    shutil.rmtree(sealed.folder / "predictions")
    with pytest.raises(BundleError, match=r"missing 2 of its files\n    model\.safetensors\n    predictions/test\.npz"):
        Bundle.open(sealed.folder)


def test_a_changed_file_is_refused_when_it_is_read(sealed):
    (sealed.folder / "model.safetensors").write_bytes(b"\x00" * 99 + b"\x01")
    bundle = Bundle.open(sealed.folder)
    with pytest.raises(BundleError, match=r"model\.safetensors' is not the file that the run left"):
        bundle.read("model.safetensors")


def test_verify_names_everything_that_is_not_as_it_was(sealed):
    sealed.verify()
    (sealed.folder / "model.safetensors").write_bytes(b"")
    (sealed.folder / "recipe.yaml").unlink()
    (sealed.folder / "extra.txt").touch()
    with pytest.raises(BundleError) as caught:
        sealed.verify()
    assert str(caught.value).split("\n    ")[1:] == [
        "extra.txt: not of the run",
        "model.safetensors: changed",
        "recipe.yaml: missing",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "a//b",
        "./a",
        "C:\\x",
        "a\\b",
        "c:x",
        "",
        "a\0",
        ".lock",
        "bundle.json",
        ".tmp-1",
    ],
)
def test_a_name_that_leads_out_of_the_folder_is_refused(sealed, name):
    facts = json.loads((sealed.folder / "bundle.json").read_text())
    facts["files"][name] = "0" * 64
    (sealed.folder / "bundle.json").write_text(json.dumps(facts))
    with pytest.raises(BundleError, match="cannot hold a file named"):
        Bundle.open(sealed.folder)


def test_a_link_that_leads_out_of_the_folder_is_refused(sealed, tmp_path):
    (tmp_path / "private").write_bytes(b"secret")
    (sealed.folder / "model.safetensors").unlink()
    (sealed.folder / "model.safetensors").symlink_to(tmp_path / "private")
    with pytest.raises(BundleError, match="is a link that leads out of the bundle"):
        Bundle.open(sealed.folder)


def test_a_file_that_the_bundle_does_not_hold_is_named(sealed, unfinished):
    (sealed.folder / "late.txt").touch()  # on disk, and not of the run
    assert not sealed.has("late.txt")
    with pytest.raises(BundleError, match=r"holds no 'late\.txt'"):
        sealed.read("late.txt")
    assert sealed.has("model.safetensors")
    assert sealed.has("timings.jsonl")
    assert not sealed.has("report.html")


def test_a_file_that_cannot_be_read_is_a_bundle_error(sealed, tmp_path):
    # a folder in the place of a file is the one refusal that root gets too
    (sealed.folder / "model.safetensors").unlink()
    (sealed.folder / "model.safetensors").mkdir()
    with pytest.raises(BundleError, match=r"model\.safetensors' cannot be read"):
        sealed.read("model.safetensors")


def test_texts_come_back(unfinished):
    assert unfinished.recipe_text == "name: flowers  # käfer\n"
    assert unfinished.timings == [{"part": "epoch 1", "seconds": 1.5}]
    unfinished.write_json("metrics.json", {"test": {"accuracy": {"value": 1.0}}})
    assert unfinished.metrics["test"]["accuracy"]["value"] == 1.0
    plan = Plan((Phase(("head",), 5, 0.01, 1.0, "pretrained"),), ("because",))
    unfinished.write("plan.json", planfile.to_json(plan).encode())
    assert unfinished.plan == plan
    with pytest.raises(ValueError, match="Out of range"):
        unfinished.write_json("metrics.json", {"loss": float("nan")})


def test_texts_of_another_kind_are_refused(unfinished):
    unfinished.write("metrics.json", b"[]")
    with pytest.raises(BundleError, match=r"metrics\.json' is not a JSON object"):
        _ = unfinished.metrics
    unfinished.write("recipe.yaml", b"\xff")
    with pytest.raises(BundleError, match=r"recipe\.yaml' is damaged: it is not UTF-8 text"):
        _ = unfinished.recipe_text
    with open(unfinished.folder / "recipe.yaml", "wb") as file:
        file.truncate(2**30)
    with pytest.raises(BundleError, match=r"recipe\.yaml' is no text of a bundle: it is larger than 64\.0 MB"):
        _ = unfinished.recipe_text


def test_predictions_come_back(unfinished):
    predictions = Predictions(("a",), np.zeros((1, 2), np.float32), ("x", "y"), np.array([1]))
    unfinished.write("predictions/test.npz", predictions.to_bytes())
    assert unfinished.predictions("test").to_bytes() == predictions.to_bytes()
    with pytest.raises(BundleError, match=r"holds no 'predictions/validation\.npz'"):
        unfinished.predictions("validation")


def test_lines_that_are_damaged_are_named(unfinished):
    unfinished.write("history.jsonl", b'{"epoch": 1}\n[]\n')
    with pytest.raises(BundleError, match=r"history\.jsonl': line 2 is not a JSON object"):
        _ = unfinished.history
    unfinished.write("history.jsonl", b'{"epoch": 1}\n{"epoch": 2}\n{"e')
    assert len(unfinished.history) == 2
    unfinished.seal()
    with pytest.raises(BundleError, match=r"history\.jsonl' is damaged: it ends in the middle of a line"):
        _ = unfinished.history


def test_the_catalog_comes_back_whatever_the_names(unfinished):
    header = ",".join(ledger.COLUMNS)
    unfinished.write("catalog.csv", f'{header}\n"a\n,""b.jpg",00,<b>,,test,\nü.gif,,,,left out,a GIF\n'.encode())
    first, second = unfinished.catalog
    assert first == {"key": 'a\n,"b.jpg', "sha256": "00", "label": "<b>", "group": "", "split": "test", "note": ""}
    assert second["note"] == "a GIF"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a table"),
        ("key,label\n", "must have the columns key, sha256, label, group, split, note"),
        (",".join(ledger.COLUMNS) + "\na,b\n", "row 2 must have 6 cells, but has 2"),
        (",".join(ledger.COLUMNS) + '\n"a', "is not a table: unexpected end of data"),
    ],
)
def test_a_catalog_of_another_kind_is_refused(unfinished, text, reason):
    unfinished.write("catalog.csv", text.encode())
    with pytest.raises(BundleError, match=reason):
        _ = unfinished.catalog


def test_a_locked_bundle_drops_what_a_killed_run_left_half_written(unfinished):
    (unfinished.folder / "checkpoints").mkdir()
    (unfinished.folder / "checkpoints" / ".tmp-3").touch()
    (unfinished.folder / ".tmp-4").touch()
    with Bundle.open(unfinished.folder).locked() as bundle:
        assert list(bundle.folder.rglob(".tmp-*")) == []
        with pytest.raises(OutputTaken), unfinished.locked():
            pass


def test_the_lock_goes_when_the_run_is_complete(unfinished):
    stale = Bundle.open(unfinished.folder)
    with unfinished.locked():
        assert (unfinished.folder / ".lock").exists()
        unfinished.seal()
    assert not (unfinished.folder / ".lock").exists()
    with pytest.raises(OutputTaken, match="is complete: there is nothing left to run"), stale.locked():
        pass
    assert not (unfinished.folder / ".lock").exists()


def test_two_bundles_of_the_same_content_are_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        with Bundle.create(tmp_path / name).locked() as bundle:
            bundle.describe(FACTS)
            bundle.write("evidence/thumbnails.json", b"[]")
            bundle.seal()
    one, two = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
