"""The report in a browser: at every width, light and dark, with names that attack it; by mouse and by keyboard."""

import json
import time
from importlib.resources import files
from importlib.util import find_spec

import pytest

from finetune import report
from finetune.scores.predictions import Predictions
from tests.chromium import COMMAND, MISSING, Page
from tests.report.test_page import HOSTILE
from tests.report.tried import BASELINE, CURVE, HEADS, TUNED, head, way

pytestmark = pytest.mark.skipif(COMMAND is None, reason=MISSING)

PAST = "e => e.getClientRects().length && e.getBoundingClientRect().right > innerWidth + 1"
WIDE = (
    "Array.from(document.querySelectorAll('main *, header *, nav *'))"
    f".filter(e => !e.closest('.scroll, svg, .chosen ul')).filter({PAST}).map(e => e.outerHTML.slice(0, 200))"
)
HANDLERS = "Array.from(document.querySelectorAll('*')).flatMap(e => Array.from(e.attributes)).map(a => a.name)"
REQUESTS = "performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
MADE = "['script', 'img', 'iframe', 'object', 'a:not(nav a)', 'h1'].map(name => document.querySelectorAll(name).length)"
CELL = "#confusion-matrix td[role=button]"
CHOSEN = "Array.from(document.querySelectorAll('#chosen li bdi'), e => e.title)"
SEEN = "document.querySelector('.seen').hidden ? null : document.querySelector('.seen').textContent"


@pytest.fixture(scope="module")
def page():
    with Page() as one:
        yield one
    assert one.errors == []


def shown(page, bundle, tmp_path, *, width=1400, dark=False):
    page.resize(width)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page._ask("Emulation.setEmulatedMedia", media="", features=[scheme])
    (tmp_path / "page.html").write_text(report.render(bundle), encoding="utf-8")
    page.open(tmp_path / "page.html")
    return page


@pytest.fixture
def attacked(make_chosen, answers):
    """A bundle in which everything was looked at, and every text that a stranger could choose is an attack."""
    given = answers(HOSTILE, 300)
    keys = tuple(f"{name}/{i}" for i, name in enumerate(HOSTILE * 15))[:300]
    predictions = {"test": Predictions(keys, given.logits, given.classes, given.labels)}
    predictions["out_of_fold"] = answers(HOSTILE, 300, seed=2)
    bundle = make_chosen(
        [BASELINE, TUNED],
        0.5,
        classes=HOSTILE,
        predictions=predictions,
        taken=True,
        sealed=False,
        left_out=tuple((name, name) for name in HOSTILE),
        notes=HOSTILE,
        facts={"versions": {name: name for name in HOSTILE}, "command": list(HOSTILE)},
        evidence={
            "choice": [way("frozen", name, verdict=name) for name in HOSTILE],
            "probe": [*HEADS, *(head(name, name, 1.0, 0.1) for name in HOSTILE)],
            "curve": {"gains": [CURVE["gains"][0] | {"class": name} for name in HOSTILE]},
        },
        views=HOSTILE,
    )
    for name, texts in (
        ("audit", ("check", "kind", "severity", "text")),
        ("slices", ("fact", "slice")),
        ("corruptions", ("kind", "unit")),
        ("maps", ("method",)),
        ("embedding", ("reason",)),
    ):
        value = bundle.read_json(f"evidence/{name}.json")
        if name == "maps":
            value["stages"] = list(HOSTILE)[:10]
        rows = value if isinstance(value, list) else value.get("findings") or value.get("rows") or [value]
        for place, row in enumerate(rows):
            row |= dict.fromkeys(texts, HOSTILE[place % len(HOSTILE)])
            if "figures" in row:
                row["figures"] |= {"given": HOSTILE[3], "suggested": HOSTILE[0]}
        bundle.write_json(f"evidence/{name}.json", value)
    bundle.seal()
    return bundle


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1400, 800, 390])
def test_no_name_does_anything_or_makes_the_page_wider(page, attacked, tmp_path, width, dark):
    shown(page, attacked, tmp_path, width=width, dark=dark)
    assert page.get(MADE) == [2, 0, 0, 0, 0, 1]
    assert not [name for name in page.get(HANDLERS) if name.startswith("on")]
    page.get(f"document.querySelectorAll('{CELL}').forEach(cell => cell.click())")
    page.get("document.querySelector('details').open = true")
    assert page.get("document.querySelectorAll('#chosen .little').length") > 0
    assert page.get(MADE) == [2, 0, 0, 0, 0, 1]
    assert page.get("document.documentElement.scrollWidth") <= width
    assert page.get(WIDE) == []
    assert page.get(REQUESTS) == 0
    assert page.errors == []


@pytest.mark.parametrize("width", [1400, 800, 390])
def test_no_part_of_a_report_is_wider_than_the_window(page, whole, tmp_path, width):
    shown(page, whole, tmp_path, width=width)
    assert page.get("document.documentElement.scrollWidth") <= width
    assert page.get(WIDE) == []
    assert page.errors == []


def test_a_cell_shows_its_images_by_mouse_and_by_keyboard(page, whole, tmp_path):
    shown(page, whole, tmp_path)
    assert page.get("document.getElementById('chosen').hidden")
    answers = whole.predictions("test")
    cells = page.get(
        f"Array.from(document.querySelectorAll('{CELL}'), c => [c.parentNode.rowIndex - 1, c.cellIndex - 1])"
    )
    row, column = next(pair for pair in cells if pair[0] != pair[1])
    page.get(f"document.querySelectorAll('{CELL}')[{cells.index([row, column])}].click()")
    there = (answers.labels == row) & (answers.predicted == column)
    assert sorted(page.get(CHOSEN)) == sorted(key for key, inside in zip(answers.keys, there, strict=True) if inside)
    page.get("document.querySelector('#confusion-matrix td[tabindex=\"0\"]').focus()")
    assert page.get("document.activeElement.cellIndex - 1") == column
    page.press("ArrowLeft")
    before = page.get("[document.activeElement.parentNode.rowIndex - 1, document.activeElement.cellIndex - 1]")
    assert before[0] == row
    assert before[1] < column
    page.press("Enter")
    there = (answers.labels == row) & (answers.predicted == before[1])
    assert len(page.get(CHOSEN)) == there.sum()
    assert page.get("document.querySelectorAll('[aria-pressed=true]').length") == 1
    assert page.get("document.querySelectorAll('#confusion-matrix [tabindex=\"0\"]').length") == 1


def test_a_point_shows_its_image_by_mouse_and_by_keyboard(page, whole, tmp_path):
    shown(page, whole, tmp_path)
    assert page.get(SEEN) is None
    page.get("document.getElementById('plane').scrollIntoView({behavior: 'instant'})")
    x, y, side = page.get("(b => [b.left, b.top, b.width])(document.getElementById('plane').getBoundingClientRect())")
    left, top = page.get("JSON.parse(document.getElementById('data').textContent).points.pca[7]")
    move = {"x": x + side * left / 100, "y": y + side * top / 100}
    page._ask("Input.dispatchMouseEvent", type="mouseMoved", **move)
    assert page.get(SEEN) is not None
    assert page.get("document.querySelector('.seen .little') !== null")
    page._ask("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert page.get(SEEN) is None
    page.get("document.getElementById('plane').focus()")
    first = page.get(SEEN)
    assert first
    page.press("ArrowDown")
    assert page.get(SEEN) != first
    page.press("Escape")
    assert page.get(SEEN) is None


def test_the_map_is_switched_and_one_class_is_picked_out(page, whole, tmp_path):
    shown(page, whole, tmp_path)
    visible = "['pca', 'tsne'].map(n => getComputedStyle(document.querySelector('.map-' + n)).visibility)"
    assert page.get(visible) == ["visible", "hidden"]
    page.get("document.getElementById('map-tsne').click()")
    assert page.get(visible) == ["hidden", "visible"]
    page.get("(e => { e.value = '1'; e.dispatchEvent(new Event('change')) })(document.getElementById('only'))")
    drawn = page.get("document.querySelector('.map-tsne .picked').getAttribute('d').split('M').length - 1")
    assert drawn == (whole.predictions("test").labels == 1).sum()


def test_without_its_script_the_page_says_the_same_and_promises_nothing_more(page, whole, tmp_path):
    text = report.render(whole)
    bare = text[: text.index('<script type="application/json"')] + "</body></html>"
    (tmp_path / "page.html").write_text(bare, encoding="utf-8")
    page.resize(1400)
    page.open(tmp_path / "page.html")
    assert page.get("document.querySelectorAll('main > section').length") == 10
    assert page.get("document.querySelectorAll('[tabindex=\"-1\"], [role=button]').length") == 0
    words = page.get("document.body.innerText")
    assert "Click a cell" not in words
    assert "Point at a dot" not in words


def test_in_print_nothing_is_cut_off_and_no_control_is_left(page, whole, tmp_path):
    shown(page, whole, tmp_path, width=800)
    page._ask("Emulation.setEmulatedMedia", media="print")
    assert page.get("getComputedStyle(document.querySelector('.switches')).display") == "none"
    assert page.get("getComputedStyle(document.querySelector('nav')).display") == "none"
    wide = f"Array.from(document.querySelectorAll('main *')).filter(e => !e.closest('svg')).filter({PAST})"
    wide += ".map(e => e.outerHTML.slice(0, 160))"
    assert page.get(wide) == []
    closed = "Array.from(document.querySelectorAll('main details:not([open]) > table, main details:not([open]) > div'))"
    assert page.get(f"{closed}.length") > 0
    assert page.get(f"{closed}.filter(e => !e.checkVisibility() || e.offsetHeight < 40).map(e => e.className)") == []
    page._ask("Emulation.setEmulatedMedia", media="")


@pytest.mark.skipif(find_spec("axe_core_python") is None, reason="axe-core-python, of the extra dev, is not installed")
@pytest.mark.parametrize(("width", "dark"), [(1400, False), (1400, True), (800, False), (390, False)])
def test_axe_finds_nothing_serious(page, whole, tmp_path, width, dark):
    shown(page, whole, tmp_path, width=width, dark=dark)
    page.get(f"document.querySelector('{CELL}').click()")
    page.get("document.querySelector('details').open = true")
    page.get((files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8") + "; 0")
    page.get("window.found = null; axe.run().then(r => { window.found = r.violations }); 0")
    until = time.monotonic() + 60
    while (found := page.get("window.found")) is None:
        assert time.monotonic() < until, "axe does not answer"
        time.sleep(0.1)
    serious = [one for one in found if one["impact"] != "minor"]
    nodes = [(one["id"], node["html"][:160], node["failureSummary"]) for one in serious for node in one["nodes"][:4]]
    assert nodes == [], json.dumps(nodes, indent=1)
