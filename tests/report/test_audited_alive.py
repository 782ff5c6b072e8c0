"""The page of an audit in a browser: its controls do what they say, by keyboard too, and no name does anything."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune.audit.audit import Audit
from finetune.audit.finding import Finding
from finetune.data.catalog import LeftOut
from finetune.report.audited import render
from tests.audit.toys import known, scene, seen
from tests.chromium import COMMAND, MISSING, Page

pytestmark = pytest.mark.skipif(COMMAND is None, reason=MISSING)

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</script><script>alert(1)</script>",
    "</bdi></li></ol><h1>gone</h1>",
    "javascript:alert(1)",
    "{{7*7}}",
    "\u202egpj.exe",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "a\nb\r\tc",
    "w" * 200,
    "no space " * 22,
)

SHOWN = "Array.from(document.querySelectorAll('#findings > li')).filter(l => !l.hidden).map(l => l.dataset.place)"
FOCUS = "document.activeElement.id"
OUTLINE = "(s => s.outlineStyle + ' ' + s.outlineWidth)(getComputedStyle(document.activeElement))"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with Page() as one:
        yield one
    assert one.errors == []


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four findings of three kinds, the clearest and that of the most images not the worst."""
    looks = {f"{'ab'[n % 2]}/{n}.png": seen(scene(n)) for n in range(6)}
    keys = tuple(looks)
    findings = (
        Finding("data", "refused", "error", "two of the images cannot be read"),
        Finding("duplicates", "near-copies", "warning", "nearly the same", keys[:2], {"correlation": 0.91}),
        Finding("outliers", "blurred", "note", "Zebra is blurred", keys[2:3], {"z": -7.5}),
        Finding("outliers", "small", "note", "small", keys[1:6], {"z": 3.0}),
    )
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(render(Audit(known(looks), findings), name="photos"), encoding="utf-8")
    return path


@pytest.fixture
def opened(page: Page, file: Path) -> Page:
    page.resize(1280)
    page.open(file)
    assert page.get(SHOWN) == ["1", "2", "3", "4"]
    assert page.get("document.getElementById('shown').value") == "4 of 4 shown"
    return page


def choose(page: Page, control: str, value: str) -> None:
    page.get(
        f"(e => {{ e.value = '{value}'; e.dispatchEvent(new Event('change')) }})(document.getElementById('{control}'))"
    )


def test_findings_are_sorted_as_asked(opened: Page) -> None:
    choose(opened, "order", "score")
    assert opened.get(SHOWN) == ["3", "4", "2", "1"]
    choose(opened, "order", "images")
    assert opened.get(SHOWN) == ["4", "2", "3", "1"]
    choose(opened, "order", "worst")
    assert opened.get(SHOWN) == ["1", "2", "3", "4"]


def test_findings_are_filtered_by_all_that_is_asked_at_once(opened: Page) -> None:
    choose(opened, "severity", "note")
    assert opened.get(SHOWN) == ["3", "4"]
    choose(opened, "kind", "outliers small")
    assert opened.get(SHOWN) == ["4"]
    assert opened.get("document.getElementById('shown').value") == "1 of 4 shown"
    choose(opened, "severity", "error")
    assert opened.get(SHOWN) == []
    choose(opened, "severity", "")
    choose(opened, "kind", "")
    assert opened.get(SHOWN) == ["1", "2", "3", "4"]


def test_what_is_filtered_stays_so_when_it_is_sorted(opened: Page) -> None:
    choose(opened, "severity", "note")
    choose(opened, "order", "images")
    assert opened.get(SHOWN) == ["4", "3"]


def test_everything_can_be_done_with_the_keyboard(opened: Page) -> None:
    places = []
    for _ in range(4):
        opened.press("Tab")
        places.append(opened.get(FOCUS))
        assert opened.get(OUTLINE) == "solid 2px"
    assert places == ["severity", "kind", "order", "words"]
    opened.type("zebra")
    assert opened.get(SHOWN) == ["3"]
    for _ in range(5):
        opened.press("Backspace")
    assert opened.get(SHOWN) == ["1", "2", "3", "4"]
    opened.press("Tab", shift=True)
    assert opened.get(FOCUS) == "order"
    opened.press("ArrowDown")
    assert opened.get(SHOWN) == ["3", "4", "2", "1"]


def test_findings_without_images_and_figures_do_not_break_the_script(page: Page, tmp_path: Path) -> None:
    looks = {f"{'ab'[n]}/{n}.png": seen(scene(n)) for n in range(2)}
    path = tmp_path / "page.html"
    path.write_text(render(Audit(known(looks), ()), name="photos"), encoding="utf-8")
    page.open(path)
    assert page.get("document.getElementById('shown').value") == "0 of 0 shown"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    looks = {f"{name}/{n}.png": seen(scene(n)) for name in HOSTILE for n in range(2)}
    labels = {key: key.rpartition("/")[0] for key in looks}
    findings = [Finding(name[:20], name, "warning", name, tuple(looks)[:3], {name: name}) for name in HOSTILE]
    findings += [Finding("x", "y", "note", "z", (f"{name}/0.png", f"{name}/1.png")) for name in HOSTILE]
    whole = known(
        looks, labels=labels, left_out=[LeftOut(name, name) for name in HOSTILE], parts=dict.fromkeys(looks, "train")
    )
    path = tmp_path_factory.mktemp("hostile") / "page.html"
    path.write_text(render(Audit(whole, tuple(findings)), name="<b>" + "n" * 200), encoding="utf-8")
    return path


def test_no_name_is_more_than_text(page: Page, hostile: Path) -> None:
    page.resize(1280)
    page.open(hostile)
    count: Any = page.get(
        "Object.fromEntries(['script', 'img', 'svg', 'h1', 'b b', 'a', 'iframe', 'object'].map("
        "name => [name, document.querySelectorAll(name).length]))"
    )
    assert count == {"script": 1, "img": 0, "svg": 0, "h1": 1, "b b": 0, "a": 0, "iframe": 0, "object": 0}
    handlers = "Array.from(document.querySelectorAll('*')).flatMap(e => Array.from(e.attributes)).map(a => a.name)"
    assert not [name for name in page.get(handlers) if name.startswith("on")]
    text = page.get("document.body.innerText")
    for name in HOSTILE[:7]:
        assert name in text
    assert "\\u202egpj.exe" in text
    assert page.get("document.querySelectorAll('#findings > li').length") == 2 * len(HOSTILE)
    choose(page, "kind", HOSTILE[1].replace("'", "\\'"))
    assert page.errors == []


@pytest.mark.parametrize("width", [1280, 400, 320])
def test_no_name_makes_the_page_wider_than_the_window(width: int, page: Page, hostile: Path) -> None:
    page.resize(width)
    page.open(hostile)
    page.get("document.documentElement.style.scrollBehavior = 'auto'")
    for _ in range(4):
        page.get("window.scrollTo(0, document.documentElement.scrollHeight)")
    assert page.get("document.documentElement.scrollWidth") <= width
    wide = (
        "Array.from(document.querySelectorAll('main *, header *')).filter(e => !e.closest('.scroll') && "
        "e.getClientRects().length && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"
    )
    assert page.get(wide) == []
    narrow = (
        "Math.min(...Array.from(document.querySelectorAll('#classes tbody tr > :first-child'), e => e.offsetWidth))"
    )
    assert page.get(narrow) >= 100


def test_a_badge_looks_like_a_badge(opened: Page) -> None:
    style = "(s => [s.borderLeftWidth, s.marginTop])(getComputedStyle(document.querySelector('.severity.is-warning')))"
    assert opened.get(style) == ["0px", "0px"]
