"""The page of a comparison: what it shows, and that no name on it is more than text."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.cli import comparing
from finetune.compare.comparison import Comparison, compare
from finetune.errors import printable
from finetune.report import compared
from finetune.report.compared import render
from tests.chromium import COMMAND, MISSING, Page
from tests.compare.toys import CLASSES, RECIPE, answers, bundle
from tests.report.test_page import HOSTILE

KEYS = answers(120).keys
SIZES = [(1400, False), (1400, True), (390, False), (390, True), (320, False)]


class Words(HTMLParser):
    """The tags of a page, and its text in one line."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def tiles(keys: tuple[str, ...]) -> dict[str, bytes]:
    """A sprite of these images, ten to a row."""
    stream = io.BytesIO()
    Image.new("RGB", (320, 32 * -(-len(keys) // 10)), (120, 90, 40)).save(stream, "JPEG")
    said = f'{{"part": "test", "side": 32, "per_row": 10, "keys": {list(keys)}}}'.replace("'", '"')
    return {"evidence/tiles.jpg": stream.getvalue(), "evidence/tiles.json": said.encode()}


@pytest.fixture
def two(tmp_path: Path) -> Comparison:
    """The second better on 15 images and worse on one, with thumbnails of all of them."""
    first = bundle(tmp_path / "1", answers(120, wrong=range(0, 30, 2)), files=tiles(KEYS))
    second = bundle(tmp_path / "2", answers(120, wrong=[1]), recipe=RECIPE.replace("16", "32"))
    return compare([first.folder, second.folder])


@pytest.fixture
def hostile(tmp_path: Path) -> Comparison:
    """Three bundles whose classes, images, groups, names and recipes are all hostile."""
    classes = tuple(dict.fromkeys(printable(name, limit=5000) or "_" for name in HOSTILE))
    keys = tuple(f"{number}/{printable(HOSTILE[number % len(HOSTILE)], limit=5000)}" for number in range(120))
    folders = []
    for place, wrong in enumerate((range(40), range(20, 60), range(5))):
        name = HOSTILE[place].replace("/", "_")
        given = answers(120, wrong=wrong, classes=classes, keys=keys)
        recipe = RECIPE.replace("photos", f"photos{place}").replace("toy", f"toy{place}")
        recipe += f'odd: "{place} <script>alert(1)</script>"\n'
        facts = {"name": name, "backbone": {"name": HOSTILE[0], "tag": HOSTILE[3]}}
        folders.append(bundle(tmp_path / f"{place} {name}", given, facts=facts, recipe=recipe).folder)
    return compare(folders)


def test_the_page_says_which_is_better_how_sure_that_is_and_what_differs(two: Comparison) -> None:
    text = Words(render(two)).text
    assert "the same 120 test images · 3 classes" in text
    assert "+11.7" in text
    assert "B is right on more images than A" in text
    assert "exact McNemar test: p < 0.001" in text
    assert "15 images right in B and wrong in A" in text
    assert "1 image right in A and wrong in B" in text
    assert "train.batch_size 16 32" in text
    assert "1 min 2 s" in text or "62 s" in text
    assert "1.2 GB" in text
    assert "the most of its memory" not in text  # of an accelerator that there was none of
    assert "learnt from different" not in text
    for title in ("Result", "Scores", "Classes", "Flipped images", "Confidence", "Cost", "Recipe"):
        assert title in text


def test_every_flipped_image_has_its_thumbnail_from_either_bundle(two: Comparison) -> None:
    page = render(two)
    assert len(re.findall('class="tile"', page)) == 16
    assert "no thumbnails" not in page
    assert page.count("data:image/jpeg;base64,") == 1


def test_without_thumbnails_the_page_says_so(tmp_path: Path) -> None:
    folders = [bundle(tmp_path / name, answers(wrong=[int(name)])).folder for name in ("1", "2")]
    page = render(compare(folders))
    assert 'class="tile"' not in page
    assert "hold no thumbnails" in page


def test_bundles_that_answer_alike_have_no_flipped_images(tmp_path: Path) -> None:
    folders = [bundle(tmp_path / name, answers(wrong=[3])).folder for name in ("1", "2")]
    text = Words(render(compare(folders))).text
    assert "No image is right in one and wrong in the other" in text
    assert "The recipes say the same" in text


def test_of_many_flipped_images_the_first_are_shown(two: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compared, "SHOWN", 4)
    page = render(two)
    assert len(re.findall('class="tile"', page)) == 5
    assert "and 11 more images" in Words(page).text


def test_confidence_stands_beside_that_of_a_calibrated_model(tmp_path: Path) -> None:
    made = [bundle(tmp_path / name, sealed=False) for name in ("1", "2")]
    metrics = made[0].metrics
    metrics["test"]["calibration"] = {"ece": 0.043, "ece_band": [0.01, 0.05]}
    made[0].write_json("metrics.json", metrics)
    for one in made:
        one.seal()
    text = Words(render(compare([one.folder for one in made]))).text
    assert "0.043 calibrated: 0.010–0.050" in text


def test_several_labels_and_classes_without_images_are_drawn_too(tmp_path: Path) -> None:
    labels = np.arange(40)[:, None] % 3 == np.arange(3)
    labels[:, 2] = False
    thresholds = np.full(3, 0.5)
    folders = []
    for name in ("1", "2"):
        logits = np.where(labels, 2, -2).astype(np.float32)
        logits[: 10 * int(name), 2] = 1
        given = answers(40, labels=labels, logits=logits, thresholds=thresholds)
        folders.append(bundle(tmp_path / name, given).folder)
    text = Words(render(compare(folders))).text
    assert "3 labels" in text
    assert "All labels right" in text
    assert "A has all labels of more images right than B" in text
    assert "is no label" in text


def test_a_single_group_is_drawn_without_what_it_has_no_interval_of(tmp_path: Path) -> None:
    given = {"groups": ("one",) * 12}
    folders = [bundle(tmp_path / name, answers(12, wrong=range(int(name)), **given)).folder for name in ("1", "2")]
    found = compare(folders)
    assert found.pairs[0].differences["log_loss"]["low"] is None
    text = Words(render(found)).text
    assert "1 group" in text
    assert "None" not in text
    assert re.search("log-loss +[+][0-9.]+$", "\n".join(comparing.text(found)), re.MULTILINE)


def test_the_same_bundles_give_the_same_page(two: Comparison) -> None:
    assert render(two) == render(compare([side.bundle.folder for side in two.sides]))


def test_hostile_names_are_inert_text(hostile: Comparison) -> None:
    page = render(hostile)
    words = Words(page)
    assert {"script", "img", "svg", "a b", "iframe"} & set(words.tags) == set()
    assert page.count("<h1>") == 1
    assert "{{7*7}}{% raw %}" in words.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page)
    assert "url(" not in page.replace('url("data:image/jpeg;base64,', "")


@pytest.mark.skipif(COMMAND is None, reason=MISSING)
def test_in_a_browser_nothing_overflows_and_nothing_is_asked_of_the_network(
    two: Comparison, hostile: Comparison, tmp_path: Path
) -> None:
    with Page() as page:
        for name, comparison in (("two", two), ("hostile", hostile)):
            file = tmp_path / f"{name}.html"
            file.write_text(render(comparison), encoding="utf-8")
            for width, dark in SIZES:
                scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
                page._ask("Emulation.setEmulatedMedia", features=[scheme])
                page.resize(width)
                page.open(file)
                assert page.get("document.documentElement.scrollWidth") <= width, name
                wide = (
                    "Array.from(document.querySelectorAll('main *, header *')).filter(e => !e.closest('.scroll') && "
                    "!e.closest('.file') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"
                )
                assert page.get(wide) == [], (name, width)
                paper = page.get("getComputedStyle(document.body).backgroundColor")
                assert (paper == "rgb(19, 21, 23)") == dark
        assert page.get("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0
        assert page.errors == []


def test_classes_stand_with_the_largest_difference_first(two: Comparison) -> None:
    (pair,) = two.pairs
    rows = compared._classes(two, pair)
    values = [abs(row["value"]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert sorted(row["name"] for row in rows) == sorted(CLASSES)
