"""Every number on the page names its source, and is what is found there when it is worked out again."""

import json
import re
import statistics
from html.parser import HTMLParser

import numpy as np
import pytest

from finetune import report
from finetune.diagnose.asked import right
from finetune.errors import printable, size
from finetune.report import words
from finetune.report.records import Score
from finetune.report.sourced import Record, Shown, Value, at, located, shown
from finetune.scores import mislabelled
from finetune.scores.metrics import scores
from tests.report import taken
from tests.report.conftest import epochs, health

# what no number is worked out for: names and sentences of others, the level of intervals and other constants of a
# method, names of measures, axes, commands and hashes
ALLOWED = {"bdi", "code", "pre", ".level", ".measure", ".up", ".along", ".scale"}
NUMBER = re.compile(r"([<>] )?([−+-]?\d[\d,]*(?:\.\d+)?)")


class Texts(HTMLParser):
    """The texts of sections that hold a digit, each with its source: '' where none is named, None where none needs."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.above, self.found = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "input"):
            self.above.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.above.pop()

    def handle_data(self, data):
        if re.search(r"\d", data) and any(tag == "section" for tag, _ in self.above):
            self.found.append((" ".join(data.split()), self._source()))

    def _source(self):
        for tag, attributes in reversed(self.above):
            if source := attributes.get("data-source"):
                return source
            if tag in ALLOWED or any(f".{name}" in ALLOWED for name in (attributes.get("class") or "").split()):
                return None
        return ""


class Bundled:
    """The values of a bundle by their sources; those of metrics.json worked out again from the predictions."""

    def __init__(self, bundle):
        self.bundle, self.files = bundle, {}

    def value(self, source):
        name, _, way = source.partition(":")
        found = self._file(name)
        for step in way.split(".") if way else ():
            found = found[int(step)] if isinstance(found, list) else found[step]
        return found

    def _file(self, name):
        if name not in self.files:
            self.files[name] = self._read(name)
        return self.files[name]

    def _read(self, name):
        bundle = self.bundle
        if name == "metrics.json":
            return self._metrics()
        if name.startswith("predictions/"):
            predictions = bundle.predictions(name.removeprefix("predictions/").removesuffix(".npz"))
            if predictions.multilabel:
                return [{"confidence": float(sure)} for sure in mislabelled.confidence(predictions)]
            return [{"probability": float(sure)} for sure in predictions.probabilities.max(axis=1)]
        if name in ("bundle.json", "plan.json"):
            return json.loads((bundle.folder / name).read_text(encoding="utf-8"))
        if name.endswith(".jsonl"):
            return [json.loads(line) for line in bundle.read(name).decode().splitlines()]
        if name in ("catalog.csv", "recipe.yaml"):
            return bundle.catalog if name == "catalog.csv" else bundle.recipe_text
        return bundle.read_json(name)

    def _metrics(self):
        kept, found = self.bundle.metrics, {}
        for part in ("test", "validation", "out_of_fold"):
            if part in kept:
                predictions = self.bundle.predictions(part)
                found[part] = scores(predictions, resamples=200)
                if "calibration" in kept[part]:
                    found[part]["calibration"] = taken.calibration(predictions)
                    found[part]["selective"] = taken.selective(predictions)
        return kept | json.loads(json.dumps(found))


def made(verb, paths, bundled):
    """The numbers that a verb makes of what its sources hold."""
    if verb == "left_out":
        rows = [row for row in bundled.value(paths[0]) if row["split"] == "left out"]
        reasons = sorted({row["note"] for row in rows})
        return [sum(len(paths) == 1 or row["note"] == reasons[int(paths[1])] for row in rows)]
    if verb == "kinds":
        severity, check, kind = paths[1:]
        return [
            sum(
                (one["severity"], one["check"], one["kind"]) == (severity, check, kind)
                for one in bundled.value(paths[0])
            )
        ]
    if verb == "epochs":
        return [sum(line["phase"] == int(paths[1]) for line in bundled.value(paths[0]))]
    values = [bundled.value(path) for path in paths]
    match verb:
        case "":
            return values
        case "percent":
            return [100 * value for value in values]
        case "minus":
            return [-value for value in values]
        case "less":
            return [values[0] - values[1]]
        case "sum":
            return [int(np.sum(values[0]))]
        case "fold":
            return [values[0] / values[1] / (values[2] / values[3])]
        case "count":
            return [len(values[0])]
        case "differing":
            return [sum(one["differs"] for one in values[0])]
        case "majority":
            support = [row["support"] for row in values[0]]
            return [max(support) / sum(support)]
        case "wrong":
            answers = bundled.bundle.predictions(bundled.value("evidence/embedding.json:part"))
            wrong = dict(zip(answers.keys, ~right(answers), strict=True))
            return [sum(wrong[key] for key in values[0])]
        case "least" | "most" | "deviation":
            of = {"least": min, "most": max, "deviation": statistics.stdev}[verb]
            return [of(fold["scores"]["accuracy"]["value"] for fold in values[0])]
    raise AssertionError(f"no verb {verb}")


def fault(text, source, bundled):
    """What is wrong with a text of this source, or nothing."""
    if source is None:
        return ""
    matched = re.fullmatch(r"(?:(\w+)\()?([^()]*)\)?", source)
    if not source or not matched:
        return "names no source"
    verb, paths = matched[1] or "", matched[2].split(" ")
    if verb == "text":
        return "" if text in quoted(bundled.value(paths[0])) else "is not quoted"
    if verb == "words":
        right = words.in_words(Score(**bundled.value(paths[0])))
        return "" if text.lower() == right.lower() else f"should be {right}"
    if verb == "duration":
        right = words.duration(sum(bundled.value(path) for path in paths))
        return "" if text == right else f"should be {right}"
    if verb == "size":
        right = size(bundled.value(paths[0]))
        return "" if text == right else f"should be {right}"
    values = [value for value in made(verb, paths, bundled) if value is not None]
    numbers = NUMBER.findall(text)
    if len(numbers) != len(values):
        return f"holds {len(numbers)} numbers, but its sources {len(values)}"
    for (beyond, shown_as), value in zip(numbers, values, strict=True):
        plain = shown_as.replace("−", "-").replace(",", "")
        places = len(plain.partition(".")[2])
        if abs(float(plain) - value) > (1 if beyond else 0.5) * 10**-places + 1e-9:
            return f"should be {value}"
    return ""


def quoted(value):
    """Everything that is text in a value, as the page shows it."""
    if isinstance(value, str):
        return " ".join(printable(line, limit=300) for line in value.split()) + " | " + " ".join(value.split())
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return " | ".join(quoted(item) for item in items)


class Evaluated(Bundled):
    """The values of files that are in memory, as they are."""

    def _read(self, name):
        if name == "metrics.json":
            return self.bundle.metrics
        return self.bundle.facts if name == "bundle.json" else super()._read(name)


def faults(bundle, known=Bundled):
    bundled, found = known(bundle), Texts(report.render(bundle)).found
    assert sum(source is not None for _, source in found) > 20
    return [(text, source, why) for text, source in found if (why := fault(text, source, bundled))]


def test_every_number_of_a_whole_report_is_what_its_source_says(whole):
    assert faults(whole) == []


def test_every_number_of_a_plain_report_is_what_its_source_says(make_bundle):
    assert faults(make_bundle()) == []
    assert faults(make_bundle(test=0, folder="validation", taken=True)) == []


def test_every_number_of_a_report_on_several_labels_is_what_its_source_says(make_bundle, several):
    assert faults(make_bundle(several.classes, predictions={"test": several}, test=0, validation=0)) == []


def test_every_number_of_a_report_in_folds_is_what_its_source_says(make_probed):
    score = {"value": 0.8, "low": 0.6, "high": 0.9}
    lines = [
        {"fold": fold, "images": 51, "learnt_from": 102, "epochs": 0, "backbone": "x", "trained": []}
        | {"scores": {"accuracy": score | {"value": 0.8 + fold / 50}, "log_loss": score}}
        for fold in (1, 2, 3)
    ]
    assert faults(make_probed(evidence={"folds": lines})) == []


@pytest.mark.parametrize("grows", [9.0, 1 / 9])
def test_every_number_on_gradients_that_explode_or_vanish_is_what_its_source_says(make_bundle, grows):
    history = [line | {"health": health(line["train"], epoch=line["epoch"], grows=grows)} for line in epochs()]
    bundle = make_bundle(history=history)
    assert faults(bundle) == []
    assert f"Gradients {'explode' if grows > 1 else 'vanish'} on their way down" in report.render(bundle)


def test_a_number_that_is_not_that_of_its_source_is_found(make_bundle):
    bundled = Bundled(make_bundle())
    accuracy = bundled.value("metrics.json:test.accuracy.value")
    assert fault(f"{accuracy:.3f}", "metrics.json:test.accuracy.value", bundled) == ""
    assert fault(f"{accuracy + 0.001:.3f}", "metrics.json:test.accuracy.value", bundled)
    assert fault(f"{accuracy:.3f}", "", bundled)
    assert fault("9", "text(bundle.json:notes)", bundled) == ""
    assert fault("another note of 3", "text(bundle.json:notes)", bundled)


class Inner(Record):
    number: int = 3


class Outer(Record):
    inner: Inner
    many: list[Inner]


def test_records_know_their_place_and_their_numbers_too():
    outer = located(Outer(inner=Inner(), many=[Inner(), Inner(number=4)]), "a.json:")
    assert at(outer.inner, "number") == Value(3, "a.json:inner.number")
    assert at(outer.many[1], "number") == Value(4, "a.json:many.1.number")
    assert at(Inner(), "number") == Value(3, "")


def test_what_is_shown_stands_in_an_element_with_its_source_and_is_escaped():
    one = shown("<3>", "a.json:x", 'b.json:"y', verb="sum")
    assert isinstance(one, Shown)
    assert one.__html__() == '<span data-source="sum(a.json:x b.json:&#34;y)">&lt;3&gt;</span>'
    assert shown("3", "a.json:x", "") == "3"


@pytest.mark.parametrize("kind", sorted(ALLOWED))
def test_each_kind_that_needs_no_source_is_used(kind, whole):
    page = report.render(whole)
    assert (f'class="{kind[1:]}' in page) if kind.startswith(".") else (f"<{kind}" in page)
    assert len(ALLOWED) <= 10
