"""The page of an audit: complete, offline, harmless whatever the files are called, and never too large."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from finetune.audit.audit import Audit, audit
from finetune.audit.deep import LeakEffect, Measured
from finetune.audit.finding import Finding
from finetune.audit.gather import gather
from finetune.report import audited
from finetune.report.audited import render
from finetune.starter import recipe_to_check
from tests.audit.toys import asked_deeply, known, scene, seen
from tests.conftest import draw_classes

HOSTILE = "<script>alert(1)</script>\u202e\x1b\"'>"


class Parsed(HTMLParser):
    """Tags and attributes of a page, and the text inside scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
            self._inside = ""


@pytest.fixture
def one(tmp_path: Path) -> Audit:
    """Of a folder with a copy across the split."""
    root = draw_classes(tmp_path / "set" / "train", {"a": 6, "b": 6}).parent
    draw_classes(root / "test", {"a": 2, "b": 1})
    return audit(gather(recipe_to_check(root)))


def test_the_page_shows_every_finding_with_its_images(one: Audit) -> None:
    page = render(one, name="my photos")
    items = [attributes for tag, attributes in Parsed(page).tags if tag == "li" and "data-place" in attributes]
    assert [item["data-severity"] for item in items] == [finding.severity for finding in one.findings]
    assert len(items) >= 3
    assert "test/a/000.png" in page
    assert "in train and test show exactly the same" in page
    assert page.count('class="tile"') >= 6
    assert "<title>my photos · finetune check</title>" in page


def test_only_our_script_may_run_and_no_request_is_made(one: Audit) -> None:
    page = render(one, name="x")
    parsed = Parsed(page)
    assert len(parsed.scripts) == 1
    digest = base64.b64encode(hashlib.sha256(parsed.scripts[0].encode()).digest()).decode()
    policy = next(a["content"] for tag, a in parsed.tags if tag == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not [tag for tag, attributes in parsed.tags if {"src", "href", "srcset", "action"} & set(attributes)]
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    assert not re.search(r"url\((?!\"data:image/jpeg)", page)
    assert "http" not in re.sub(r"http-equiv", "", page)


def test_hostile_names_are_text() -> None:
    looks = {f"{HOSTILE}{n}": seen(scene(0)) for n in range(2)}
    whole = known(looks, labels=dict.fromkeys(looks, HOSTILE), groups=dict.fromkeys(looks, HOSTILE))
    finding = Finding("x", HOSTILE, "note", HOSTILE, tuple(looks), {HOSTILE: HOSTILE})
    page = render(Audit(whole, (finding,)), name=HOSTILE)
    assert len(Parsed(page).scripts) == 1
    assert "<script>alert" not in page
    assert not set("\u202e\x1b") & set(page)
    assert "&lt;script&gt;alert(1)" in page


def test_the_same_audit_gives_the_same_page(one: Audit) -> None:
    assert render(one, name="x") == render(one, name="x")


def test_long_lists_are_cut_and_counted(one: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    key = one.known.catalog.keys[0]
    many = tuple(Finding("outliers", "small", "note", f"number {n}", (key,) * 9) for n in range(5000))
    page = render(replace(one, findings=(*one.findings, *many)), name="x")
    assert "The first 200 of 5,000 findings of outliers, small are shown" in page
    assert "number 199" in page
    assert "number 200" not in page
    assert "and 3 more images" in page
    assert len(page) < 400_000
    monkeypatch.setattr(audited, "TILES", 1)
    assert page.count('class="tile"') > render(one, name="x").count('class="tile"') >= 1


def test_images_that_are_gone_have_no_thumbnail(one: Audit) -> None:
    for sample in one.known.catalog.samples:
        sample.file.unlink()
    page = render(one, name="x")
    assert 'class="tile"' not in page
    assert "test/a/000.png" in page


def test_nothing_found_is_said() -> None:
    page = render(Audit(known({"a/1": seen(scene(1)), "b/1": seen(scene(2))}), ()), name="x")
    assert "Nothing that may be wrong." in page


def test_what_a_network_says_has_its_section(one: Audit) -> None:
    assert 'id="network"' not in render(one, name="x")
    assert "without a network" in render(one, name="x")
    measured = (Measured(0.91, 0.85, 0.95), Measured(0.88, 0.8, 0.93), Measured(0.03, 0.01, 0.05))
    wrong = one.known.seen[0].key
    deep = replace(asked_deeply(one.known, wrong=[wrong]), leak=LeakEffect(40, 8, *measured))
    page = render(audit(replace(one.known, deep=deep)), name="x")
    assert 'id="network"' in page
    assert "without a network" not in page
    for cell in ("0.910", "0.850 to 0.950", "0.880", "+0.030", "+0.010 to +0.050", "8 left out"):
        assert cell in page
    items = [attributes for tag, attributes in Parsed(page).tags if tag == "li" and "data-place" in attributes]
    (issue,) = [item for item in items if item["data-kind"] == "labels label-issue"]
    assert issue["data-score"] == "0.96"
    assert wrong in page
    none = replace(deep, leak=LeakEffect(8, 8, measured[0], None, None))
    assert "all of them have a copy among the others" in render(audit(replace(one.known, deep=none)), name="x")
    hostile = replace(deep, reason=HOSTILE, network=HOSTILE)
    page = render(audit(replace(one.known, deep=hostile)), name="x")
    assert "&lt;script&gt;alert(1)" in page
    assert len(Parsed(page).scripts) == 1
