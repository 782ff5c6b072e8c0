"""The page in a browser: keys and mouse in, `corrections.csv` out."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from finetune.bundle import Bundle
from finetune.data.catalog import Catalog, Sample
from finetune.data.survey import find
from finetune.recipe import file
from finetune.review.begin import begin
from finetune.review.decisions import Decisions
from finetune.review.queue import Item, Queue, Shown, Verdict
from finetune.review.server import Server
from finetune.review.walk import Walk
from tests.audit.toys import scene
from tests.review.chromium import PROGRAM, Page, browser

pytest.importorskip("fastapi", reason="the extra `review` is not installed")
pytest.importorskip("uvicorn", reason="the extra `review` is not installed")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium on PATH")

HEADER = "path,action,label\n"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@contextmanager
def shown(chromium: Page, walk: Walk) -> Iterator[Page]:
    """The page of a walk, loaded; at its end nothing may have gone wrong in it."""
    server = Server(walk)
    thread = threading.Thread(target=server.run)
    thread.start()
    chromium._session = None
    chromium.events.clear()
    try:
        chromium.open(server.address)
        chromium.wait("document.querySelector('h1').innerText && !document.querySelector('#main').hidden")
        yield chromium
        faults = [event for event in chromium.events if event["method"] == "Runtime.exceptionThrown"]
        sent = [
            event["params"]["request"]["url"]
            for event in chromium.events
            if event["method"] == "Network.requestWillBeSent"
        ]
        assert faults == []
        assert all(url.startswith(server.address) for url in sent), sent
    finally:
        server.stop()
        thread.join(timeout=10)


def at(page: Page, words: str) -> None:
    """Waits until the title has these words."""
    page.wait(f"document.querySelector('#title').innerText.includes({words!r})")


def test_a_walk_with_the_keyboard_leaves_exactly_what_was_decided(
    chromium: Page, doubtful: Path, tmp_path: Path
) -> None:
    output = tmp_path / "c.csv"
    before = _contents(doubtful.parent)
    with shown(chromium, begin(Bundle.open(doubtful), output=output).walk) as page:
        at(page, "Suspected label, 1 of 5")
        assert page.wait("[...document.images].every((one) => one.complete && one.naturalWidth === 160)")
        page.press("Enter")  # blue/was red.png: accepted
        at(page, "Suspected label, 2 of 5")
        page.press("x")  # blue/green too.png: left out
        at(page, "Duplicates, 3 of 5")
        assert "decided: left out" in page.text("#images")
        page.press("Enter")  # the one that is left stays
        at(page, "Duplicates, 4 of 5")
        assert page.text("#accept") == "Enter Accept: leave 1 out"
        page.press("Enter")
        at(page, "Outlier, 5 of 5")
        page.press("u")
        at(page, "Duplicates, 4 of 5")
        page.press("k")
        at(page, "Outlier, 5 of 5")
        page.press("k")
        page.wait("document.querySelector('#over-title').innerText === 'All of it is decided'")
        assert page.text("#file") == f"2 corrections in {output}: 1 relabelled, 1 left out"
    assert output.read_text() == HEADER + "blue/green too.png,exclude,\nblue/was red.png,relabel,red\n"
    assert _contents(doubtful.parent) == before


def test_a_recipe_with_what_was_decided_has_those_labels(chromium: Page, doubtful: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.csv"
    with shown(chromium, begin(Bundle.open(doubtful), output=output).walk) as page:
        page.press("3")
        at(page, "2 of 5")
        page.press("x")
        at(page, "3 of 5")
    recipe = tmp_path / "again.yaml"
    written = (doubtful.parent / "toy.yaml").read_text().replace("root: photos", f"root: {doubtful.parent / 'photos'}")
    recipe.write_text(written + "corrections: c.csv\n")
    labels = {sample.key: sample.label for sample in find(file.load(recipe)).samples}
    assert labels["blue/was red.png"] == "red"
    assert "blue/green too.png" not in labels
    assert len(labels) == 44


def test_what_was_decided_before_is_shown_and_can_be_changed(chromium: Page, doubtful: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.csv"
    output.write_text(HEADER + "blue/was red.png,relabel,green\n")
    with shown(chromium, begin(Bundle.open(doubtful), output=output).walk) as page:
        at(page, "2 of 5")  # the first that is open
        page.press("ArrowLeft")
        at(page, "1 of 5")
        assert "decided: now green" in page.text("#images")
        assert page.text("#accept") == "Enter Go on"
        page.press("Enter")
        at(page, "2 of 5")
        assert output.read_text() == HEADER + "blue/was red.png,relabel,green\n"
        page.press("ArrowLeft")
        at(page, "1 of 5")
        page.press("a")
        at(page, "2 of 5")
    assert output.read_text() == HEADER + "blue/was red.png,relabel,red\n"


def test_the_mouse_does_what_the_keys_do(chromium: Page, doubtful: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.csv"
    with shown(chromium, begin(Bundle.open(doubtful), output=output).walk) as page:
        page.click("#accept")
        at(page, "2 of 5")
        page.click("#classes button:nth-child(2)")
        at(page, "3 of 5")
        assert page.text("#status") == "now green"
        page.click("#kinds button:nth-child(2)")
        page.wait("document.querySelector('#status').innerText === ''")
        page.click("#images li:nth-child(2) button")
        page.wait("document.querySelector('#images li:nth-child(2) button').getAttribute('aria-pressed') === 'true'")
        page.click("#exclude")
        page.wait("document.querySelector('#images li:nth-child(2)').innerText.includes('left out')")
        page.click("#undo")
        page.wait("document.querySelector('#status').innerText === 'undone'")
        page.click("#end")
        page.wait("document.querySelector('#over-title').innerText.startsWith('Finished')")
        assert page.run("['status', 'keyboard', 'legend'].every((id) => document.getElementById(id).hidden)")
    assert output.read_text() == HEADER + "blue/green too.png,relabel,green\nblue/was red.png,relabel,red\n"


def walk_over(tmp_path: Path, classes: int, *, several: bool) -> Walk:
    """Two images of many classes, or with several labels, and what looks like markup for a name."""
    names = ("<b>cat</b>", *(f"class {number}" for number in range(1, classes)))
    samples = []
    for key in ("<img src=x onerror=alert(1)>", "b", "c", "stays"):
        path = tmp_path / f"{len(samples)}.png"
        scene(len(samples)).save(path)
        label = names[min(len(samples), 1)]
        samples.append(Sample(key, path, (label,) if several else label))
    catalog = Catalog(tuple(samples), names)
    likely = tuple(np.arange(classes)[::-1].tolist())
    wanted = Verdict("relabel", (names[0], names[2]) if several else (names[2],))
    items = tuple(Item("label", "<i>why</i>", (Shown(one, "train", True, wanted, likely),)) for one in samples[1:3])
    first = Item("outlier", "<i>why</i>", (Shown(samples[0], "train", True, Verdict("keep")),))
    decisions = Decisions(tmp_path / "c.csv", catalog=catalog, given={one.key: one.labels for one in samples})
    return Walk(Queue((*items, first)), decisions, name="<script>", classes=names, several=several, advice="do it")


def test_a_class_among_many_is_found_by_its_name(chromium: Page, tmp_path: Path) -> None:
    with shown(chromium, walk_over(tmp_path, 40, several=False)) as page:
        assert page.text("#classes").split("\n")[0] == "1 class 39"  # the most probable has the first key
        assert page.text("#file") == f"nothing is corrected yet; what is goes to {tmp_path / 'c.csv'}"
        page.press("/")
        page.press("q")
        page.wait("document.querySelector('#found').innerText === 'no class has these letters'")
        page.run("document.querySelector('#search').value = ''")
        for letter in "s 27":
            page.press(letter)
        page.wait("document.querySelectorAll('#found button').length === 1")
        page.press("Enter")
        at(page, "2 of 3")
        assert (tmp_path / "c.csv").read_text() == HEADER + "b,relabel,class 27\n"


def test_several_labels_are_put_on_and_taken_off(chromium: Page, tmp_path: Path) -> None:
    with shown(chromium, walk_over(tmp_path, 4, several=True)) as page:
        page.press("4")
        page.press("2")
        page.wait("document.querySelector('#accept').innerText.endsWith('Record class 3')")
        page.press("Enter")
        at(page, "2 of 3")
        page.press("a")
        at(page, "3 of 3")
    assert (tmp_path / "c.csv").read_text() == HEADER + "b,relabel,class 3\nc,relabel,<b>cat</b>|class 2\n"


def test_an_image_without_any_label_is_refused_in_words(chromium: Page, tmp_path: Path) -> None:
    with shown(chromium, walk_over(tmp_path, 4, several=True)) as page:
        page.press("2")
        page.press("Enter")
        page.wait("!document.querySelector('#fault').hidden")
        assert page.text("#fault") == "an image needs a label; leave it out instead"
        assert page.run("document.querySelector('#fault').getAttribute('role')") == "alert"
        page.press("x")
        at(page, "2 of 3")


def test_names_are_shown_as_they_are_and_no_markup_comes_of_them(chromium: Page, tmp_path: Path) -> None:
    with shown(chromium, walk_over(tmp_path, 3, several=False)) as page:
        page.press("ArrowRight")
        page.press("ArrowRight")
        at(page, "3 of 3")
        assert "<img src=x onerror=alert(1)>" in page.text("#images")
        assert page.text("#why") == "<i>why</i>"
        assert page.run("document.querySelectorAll('#images img').length") == 1
        assert page.run("document.querySelectorAll('main i, main b b, header script').length") == 0


def test_the_browser_runs_and_loads_nothing_else(chromium: Page, tmp_path: Path) -> None:
    with shown(chromium, walk_over(tmp_path, 3, several=False)) as page:
        page.run(
            "document.body.insertAdjacentHTML('beforeend', '<button id=bad onclick=\"window.ran = 1\">x</button>')"
        )
        page.run("document.querySelector('#bad').click()")
        assert page.run("window.ran === undefined")
        assert page.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'not sent')") == "not sent"
        page.events.clear()


def test_a_reader_of_the_screen_is_told_what_happens(chromium: Page, doubtful: Path, tmp_path: Path) -> None:
    with shown(chromium, begin(Bundle.open(doubtful), output=tmp_path / "c.csv").walk) as page:
        page.press("Enter")
        at(page, "2 of 5")
        page.wait("document.activeElement.id === 'title'")
        assert page.text("#status") == "now red"
        nodes = page.ask("Accessibility.getFullAXTree")["nodes"]
        told = {(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node and "role" in node}
        assert ("heading", "Suspected label, 2 of 5") in told
        assert ("image", "image 1 of 1, labelled blue") in told
        assert ("button", "k Keep") in told
        named = [
            node
            for node in nodes
            if node.get("role", {}).get("value") in ("button", "progressbar", "searchbox", "checkbox")
        ]
        assert all(node["name"]["value"] for node in named)


def test_keys_can_be_switched_off(chromium: Page, doubtful: Path, tmp_path: Path) -> None:
    with shown(chromium, begin(Bundle.open(doubtful), output=tmp_path / "c.csv").walk) as page:
        page.click("#keys")
        page.press("x")
        page.press("Enter")
        page.click("#on")
        at(page, "2 of 5")
        assert not (tmp_path / "c.csv").exists()


def test_a_server_that_has_gone_is_told(chromium: Page, doubtful: Path, tmp_path: Path) -> None:
    server = Server(begin(Bundle.open(doubtful), output=tmp_path / "c.csv").walk)
    thread = threading.Thread(target=server.run)
    thread.start()
    chromium._session = None
    chromium.open(server.address)
    at(chromium, "1 of 5")
    server.stop()
    thread.join(timeout=10)
    chromium.press("x")
    chromium.wait("!document.querySelector('#fault').hidden")
    assert chromium.text("#fault").startswith("finetune does not answer")


def _contents(folder: Path) -> dict[str, bytes]:
    found = {}
    for top, _, names in os.walk(folder):
        found.update({os.path.join(top, name): Path(top, name).read_bytes() for name in names})
    return found
