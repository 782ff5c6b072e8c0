"""Everything bad that a folder of images may hold, met at once by `check`, `run` and `predict`: each its documented
result, nothing crashes or hangs, and not a byte of the data set is changed.
"""

import csv
import html
import io
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import COMMAND, MISSING, Page
from tests.hazards import tables
from tests.hazards.folders import ABSENT, FOLDERS, ODD_CLASSES, PLANTED, Planted, build, fingerprint
from tests.hazards.images import AFTER, FIRST, INK, NONSENSE, PROFILE, SCALED, TURNED, WHITE
from tests.hazards.running import FORBIDDEN, Ended, finetune, may_read_everything
from tests.hazards.tables import TABLES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names, pipes and devices of Linux")

KINDS = {  # what check calls what was done to an image
    "PNG without its last block": "no-end",
    AFTER: "trailing-bytes",
    SCALED: "16-bit",
    WHITE: "transparent",
    INK: "cmyk",
    NONSENSE: "broken-exif",
    PROFILE: "colour-profile",
    FIRST: "animated",
    TURNED: None,
}

RECIPE = """\
name: hazards
data: {{kind: folder, root: {root}, on_bad_image: skip}}
split: {{kind: stratified, validation: 0.2, test: 0.2}}
backbone: {{name: test_resnet, weights: {{kind: random}}}}
schedule: {{kind: head, epochs: 1, lr: 1.0e-2}}
images: {{size: 32, augment: {{kind: standard, flip: true}}}}
train: {{batch_size: 32}}
"""


@dataclass(frozen=True)
class Met:
    """What the commands made of the folder."""

    root: Path
    here: Path
    check: Ended
    run: Ended
    predict: Ended
    fingerprints: tuple[str, ...]

    @property
    def audit(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.check.out)
        return found

    @property
    def catalog(self) -> dict[str, dict[str, str]]:
        """The rows of the run's catalog.csv by key, without the mark that keeps a cell from being a formula."""
        table = csv.DictReader(io.StringIO((self.here / "bundle" / "catalog.csv").read_text("utf-8"), newline=""))
        return {row["key"].removeprefix("'") if row["key"][1:2] in "=+-@" else row["key"]: row for row in table}

    @property
    def answers(self) -> dict[str, dict[str, Any]]:
        """What was predicted, by path below the root."""
        start = f"{self.root}/"
        return {row["path"].removeprefix(start): row for row in json.loads(self.predict.out)["images"]}


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Met]:
    here = tmp_path_factory.mktemp("hazards")
    root = build(here / "set", good=340)
    recipe = here / "hazards.yaml"
    recipe.write_text(RECIPE.format(root=root))
    before = fingerprint(root)
    checked = finetune(here, "check", root, "--json", "--html", here / "page.html")
    after_check = fingerprint(root)
    ran = finetune(here, "run", recipe, "--output", here / "bundle", seconds=300)
    after_run = fingerprint(root)
    predicted = finetune(here, "predict", here / "bundle", root, "--json")
    written = finetune(here, "predict", here / "bundle", root, "--output", here / "answers.csv", "--top", 20)
    assert written.code == predicted.code == 0
    yield Met(root, here, checked, ran, predicted, (before, after_check, after_run, fingerprint(root)))
    shutil.rmtree(here, ignore_errors=True)


@pytest.fixture(scope="module")
def found(met: Met) -> dict[str, set[str]]:
    """What check says of each file's content, by key."""
    kinds = defaultdict(set)
    for finding in met.audit["findings"]:
        if finding["check"] == "unreadable":
            for key in finding["keys"]:
                kinds[key].add(finding["kind"])
    return kinds


def test_nothing_in_the_data_set_has_changed(met: Met) -> None:
    assert len(set(met.fingerprints)) == 1


def test_nothing_is_written_but_what_was_asked_for(met: Met) -> None:
    there = {path.name for path in met.here.iterdir()}
    assert there == {"set", "hazards.yaml", "page.html", "bundle", "answers.csv", "cache", "bin", "peak"}


def test_the_commands_go_through(met: Met) -> None:
    assert (met.check.code, met.run.code, met.predict.code) == (0, 0, 0)
    assert [finding for finding in met.audit["findings"] if finding["severity"] == "error"] == []


@pytest.mark.parametrize("one", PLANTED, ids=lambda one: f"{one.row} {one.path!a}")
def test_each_has_its_documented_result(one: Planted, met: Met, found: dict[str, set[str]]) -> None:
    if one.kind == "permission" and may_read_everything():
        pytest.skip("root reads every file, and there is no setpriv to make it a user")
    in_run = met.catalog[one.key]
    answer = met.answers.get(one.path) or met.answers.get(one.key)
    left_out = {left["key"]: left["reason"] for left in met.audit["left_out"]}
    if one.left_out is not None:
        assert left_out[one.key] == one.left_out
        assert (in_run["split"], in_run["note"]) == ("left out", one.left_out)
        assert answer is None
    elif one.kind is not None:
        assert found[one.key] == {one.kind}
        assert left_out[one.key].startswith(f"{one.kind}: ")
        assert in_run["split"] == "left out"
        assert in_run["note"] == left_out[one.key]
        assert answer is not None
        assert answer["error"] == left_out[one.key]
    else:
        expected = {kind for note in one.notes if (kind := KINDS[note])}
        assert found[one.key] == expected | ({"wrong-suffix"} if one.misnamed else set())
        assert one.key not in left_out
        assert in_run["split"] in ("train", "validation", "test")
        assert answer is not None
        assert answer["error"] is None


def test_one_picture_under_two_labels_is_found(met: Met) -> None:
    twice = [set(one["keys"]) for one in met.audit["findings"] if one["kind"] == "exact-two-labels"]
    assert {"cats/same.png", "dogs/same.png"} in twice


def test_class_names_stay_text(met: Met) -> None:
    names = {row["class"] for row in met.audit["classes"]}
    facts = json.loads((met.here / "bundle" / "bundle.json").read_text("utf-8"))
    assert names == set(facts["classes"])
    plain = {name for name in ODD_CLASSES if name.isprintable()}
    assert plain <= names
    assert len(names) == 3 + len(ODD_CLASSES)


def test_no_output_has_a_byte_that_a_terminal_would_obey(met: Met) -> None:
    texts = [path for path in (met.here / "bundle").rglob("*") if path.suffix in (".csv", ".json", ".jsonl", ".html")]
    assert len(texts) > 5
    for path in (*texts, met.here / "page.html", met.here / "answers.csv"):
        assert not FORBIDDEN.search(path.read_text("utf-8")), path


def test_no_cell_is_a_formula(met: Met) -> None:
    for path in (met.here / "bundle" / "catalog.csv", met.here / "answers.csv"):
        cells = [cell for row in csv.reader(io.StringIO(path.read_text("utf-8"), newline="")) for cell in row]
        assert any(cell.startswith("'=1+1") for cell in cells)
        assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]


def test_names_are_text_on_every_page(met: Met) -> None:
    for path in (met.here / "page.html", met.here / "bundle" / "report.html"):
        page = path.read_text("utf-8")
        for tag in ("<img src=x", "<svg onload", "<script>alert"):
            assert tag not in page
        assert html.escape("<img src=x onerror=alert(1)>") in page
        assert "{{7*7}}" in page


@pytest.mark.skipif(COMMAND is None, reason=MISSING)
@pytest.mark.parametrize("place", ["page.html", "bundle/report.html"])
def test_no_name_does_anything_in_a_browser(place: str, met: Met) -> None:
    with Page() as page:
        page.open(met.here / place)
        assert page.get("document.querySelectorAll('img, svg[onload], iframe, object, h1 *:not(bdi)').length") == 0
        assert "<img src=x onerror=alert(1)>" in page.get("document.body.innerText")
        assert page.get("document.documentElement.scrollWidth") <= 1280
        assert page.errors == []


def test_every_row_is_met_or_is_said_to_be_absent() -> None:
    rows = {row for one in (*PLANTED, *FOLDERS.values()) for row in one.row.split()}
    elsewhere = {"N18"}  # files that change during a run, in test_places.py
    asked = {*(f"I{number:02d}" for number in range(1, 51)), *(f"N{number:02d}" for number in range(1, 21))}
    assert rows - {"good"} | elsewhere | set(ABSENT) == asked
    assert not rows & set(ABSENT)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_cannot_be_learnt_from_is_refused_and_left_alone(name: str, tmp_path: Path) -> None:
    folder = FOLDERS[name]
    source = folder.make(tmp_path / "set")
    before = fingerprint(tmp_path / "set") if (tmp_path / "set").exists() else ""
    checked = finetune(tmp_path, "check", source, seconds=60)
    assert checked.code == folder.exit_code, checked.err
    assert folder.words in " ".join((checked.out + checked.err).split())
    if folder.exit_code:
        assert finetune(tmp_path, "plan", source, seconds=60).code == folder.exit_code
    assert not before or before == fingerprint(tmp_path / "set")


@pytest.mark.parametrize("name", TABLES)
def test_check_says_all_that_is_wrong_of_a_table_with_its_lines(name: str, tmp_path: Path) -> None:
    table = TABLES[name]
    file = tables.build(tmp_path, name)
    before = fingerprint(tmp_path / "set")
    checked = finetune(tmp_path, "check", file, "--json", seconds=60)
    found = json.loads(checked.out)
    assert before == fingerprint(tmp_path / "set")
    if not table.said:
        assert checked.code == 0
        assert tuple(row["class"] for row in found["classes"]) == table.classes
        return
    assert checked.code == 3
    assert finetune(tmp_path, "plan", file, seconds=60).code == checked.code
    told = [found["error"]["message"]] if "error" in found else [one["text"] for one in found["findings"]]
    said = " ".join(told).replace(f"{tmp_path}/set/", "")
    assert [words for words in table.said if words not in said] == []
