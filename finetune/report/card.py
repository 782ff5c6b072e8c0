"""The model card of a bundle: one Markdown file that the hub of Hugging Face understands, with the report's numbers.

Front matter: https://huggingface.co/docs/hub/model-cards, `model-index` as there. It is made from the bundle alone,
says nothing that a clock wrote, and holds no character of a name from outside that Markdown, HTML or YAML would act on.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from finetune.bundle import Bundle
from finetune.errors import RecipeError, printable
from finetune.recipe import backbones, file
from finetune.recipe.dataset import FolderData, HuggingfaceData, TorchvisionData
from finetune.recipe.network import Hub, Random
from finetune.recipe.schema import Recipe
from finetune.report import words
from finetune.report.evidence import Evidence, gather
from finetune.report.records import Score, Scores

CARD = "MODEL_CARD.md"

_FEW = 20  # images to learn from, below which a class is named
_NAMED = 10  # of a list that may be long
_CLASSES = 1000
_PARTS = {"test": "test", "validation": "validation", "out_of_fold": "held-out"}
_SAFE = re.compile(r"[^\W_]|(?<!^)[ ,/-]|(?<!^)(?<!www)[.](?=\w)|(?<=[^\W_])_(?=[^\W_])", re.IGNORECASE)
_METRICS = (
    # name in metrics.json, the hub's name of the metric, ours
    ("accuracy", "accuracy", "Accuracy"),
    ("subset_accuracy", "subset_accuracy", "All labels right"),
    ("balanced_accuracy", "balanced_accuracy", "Balanced accuracy"),
    ("macro_f1", "f1", "Macro F1"),
    ("micro_f1", "f1", "Micro F1"),
    ("macro_auroc", "roc_auc", "Macro AUROC"),
    ("macro_average_precision", "average_precision", "Macro average precision"),
    ("log_loss", "log_loss", "Log-loss (nats)"),
    ("brier", "brier_score", "Brier score"),
)


def write(bundle: Bundle) -> Path:
    """Writes MODEL_CARD.md into the bundle and returns its path. Raises BundleError and OutOfResources."""
    bundle.write(CARD, render(bundle).encode())
    return bundle.folder / CARD


def render(bundle: Bundle) -> str:
    """The model card of a bundle; the same bundle gives the same text. Raises BundleError."""
    evidence = gather(bundle)
    recipe = _recipe(evidence, bundle)
    front = yaml.safe_dump(_front(evidence, recipe), sort_keys=False, allow_unicode=False, width=10**9)
    sections = (
        _what(evidence, recipe),
        _how_good(evidence),
        _use(evidence),
        _limits(evidence, bundle),
        _learnt_from(evidence, bundle),
        _left_out(evidence),
        _preprocessing(evidence),
        _weights(evidence, recipe),
        _exactly(evidence),
    )
    return f"---\n{front}---\n\n" + "\n\n".join("\n".join(lines) for lines in map(list, sections) if lines) + "\n"


def plain(text: object) -> str:
    """Text as Markdown that shows just it, on one line: what could be markup is written as its character number."""
    shown = printable(str(text))
    return "".join(c if ord(c) > 127 or _SAFE.match(shown, place) else f"&#{ord(c)};" for place, c in enumerate(shown))


# Front matter


def _front(evidence: Evidence, recipe: Recipe | None) -> dict[str, Any]:
    known = _hub(evidence, recipe)
    front: dict[str, Any] = {
        "license": known.license if known else None,
        "library_name": "finetune-vision",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "transfer-learning", "timm", "finetune"],
        "base_model": known.hub if known else None,
        "datasets": [recipe.data.name] if recipe and isinstance(recipe.data, HuggingfaceData) else None,
        "metrics": list(dict.fromkeys(metric for _, metric, _, _ in _measured(evidence.scores))) or None,
    }
    front = {key: value for key, value in front.items() if value is not None}
    if evidence.scores:
        front["model-index"] = [{"name": _name(evidence), "results": [_result(evidence, evidence.scores, recipe)]}]
    return front


def _result(evidence: Evidence, scores: Scores, recipe: Recipe | None) -> dict[str, Any]:
    return {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {**_dataset(evidence, recipe), "split": "cross-validation" if evidence.folds else evidence.part},
        "metrics": [
            {"type": metric, "name": f"{title}{_between(score)}", "value": score.value}
            for _, metric, title, score in _measured(scores)
        ],
    }


def _dataset(evidence: Evidence, recipe: Recipe | None) -> dict[str, str]:
    """The hub wants a name and a type, which is the name of a set on the hub or of a way to load one."""
    match recipe.data if recipe else None:
        case HuggingfaceData(name=name) | TorchvisionData(name=name):
            return {"type": name, "name": name}
        case FolderData():
            return {"type": "imagefolder", "name": _name(evidence)}
        case _:
            return {"type": "images", "name": _name(evidence)}


def _between(score: Score) -> str:
    places = words.digits(score)
    return "" if score.low is None else f", 95 % interval {words.interval(score, places)}"


def _measured(scores: Scores | None) -> list[tuple[str, str, str, Score]]:
    """Of each score that there is: its name in metrics.json, that of the hub, and ours."""
    if scores is None:
        return []
    given = [(name, metric, title, getattr(scores, name)) for name, metric, title in _METRICS]
    given += [
        (f"top_k.{k}", f"top_{k}_accuracy", f"Top-{k} accuracy", score) for k, score in scores.top_k.items() if k != "1"
    ]
    return [row for row in given if row[3] is not None and row[3].value is not None]


def _name(evidence: Evidence) -> str:
    return printable(evidence.facts.name) or "classifier"


def _recipe(evidence: Evidence, bundle: Bundle) -> Recipe | None:
    """The recipe, where this finetune still understands it."""
    try:
        return file.loads(evidence.recipe, source="recipe.yaml", folder=bundle.folder.absolute())
    except RecipeError:
        return None


def _hub(evidence: Evidence, recipe: Recipe | None) -> backbones.TagFacts | None:
    """What is known of the weights that a run began with, where they are those of the hub."""
    network = evidence.facts.backbone
    if recipe is None or network is None or not isinstance(recipe.backbone.weights, Hub):
        return None
    try:
        known = backbones.entry(network.name)
    except RecipeError:
        return None
    return known.tags.get(network.tag or known.default_tag or "")


# Text


def _what(evidence: Evidence, recipe: Recipe | None) -> Iterator[str]:
    facts = evidence.facts
    network = plain(facts.backbone.name) if facts.backbone else "a network that is not yet known"
    begun = " that began untrained" if recipe and isinstance(recipe.backbone.weights, Random) else ""
    answer = "any number of labels out of" if evidence.several else "one of"
    yield f"# {plain(_name(evidence))}"
    yield ""
    classes = words.counted(len(facts.classes), "class", "classes")
    yield f"An image classifier: it answers an image with {answer} {classes}."
    yield f"It is the network {network}{begun}, made with {plain(facts.created_by or 'finetune')}."
    yield ""
    yield f"Classes: {_listed(facts.classes)}."
    if not evidence.finished:
        yield ""
        yield "The run has not finished: this card says what is known so far."


def _how_good(evidence: Evidence) -> Iterator[str]:
    yield "## How good it is"
    yield ""
    scores = evidence.scores
    if scores is None:
        yield "No images were kept apart and answered, so nothing is known of how good it is."
        return
    images = evidence.facts.images.get(evidence.part) or sum(row.support for row in scores.per_class)
    score = scores.accuracy or scores.subset_accuracy
    part = "held-out" if evidence.folds else _PARTS[evidence.part]
    if score and score.value is not None:
        said = "have all their labels" if evidence.several else "are"
        yield (
            f"{words.in_words(score).capitalize()} {part} images {said} answered right: {_figure(score)}, with a 95 % "
            f"interval of {words.interval(score, words.digits(score))} from {words.counted(images, 'image', 'images')}."
        )
    yield from _reservations(evidence)
    yield ""
    yield "| score | value | 95 % interval |"
    yield "| --- | --- | --- |"
    for _, _, title, one in _measured(scores):
        yield f"| {title} | {_figure(one)} | {words.interval(one, words.digits(one))} |"
    yield ""
    yield "| class | images | recall | 95 % interval | precision | 95 % interval |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in scores.per_class[:_CLASSES]:
        recall, precision = (
            f"{_figure(one)} | {words.interval(one, words.digits(one))}" for one in (row.recall, row.precision)
        )
        yield f"| {plain(row.name)} | {row.support} | {recall} | {precision} |"


def _reservations(evidence: Evidence) -> Iterator[str]:
    if evidence.folds:
        yield (
            f"Each image was answered by one of {len(evidence.folds)} models that had not seen it; what ships has "
            "learnt from all of them, and is estimated by that."
        )
    elif evidence.part == "validation":
        yield "There are no test images; validation images may have chosen what ships, so this is optimistic."
    elif evidence.part == "out_of_fold":
        yield "There are no test images; what ships was chosen on these answers, so this may be slightly optimistic."


def _use(evidence: Evidence) -> Iterator[str]:
    yield from ("## How to use it", "", "The folder of this card is all that is needed.", "")
    yield from ("```console", "$ pip install finetune-vision", "$ finetune predict FOLDER photo.jpg", "```", "")
    yield from ("```python", "import finetune", "", 'predictions = finetune.load("FOLDER").predict("photo.jpg")')
    yield from ("predictions.probabilities  # (images, classes)", "```")


def _limits(evidence: Evidence, bundle: Bundle) -> Iterator[str]:
    yield "## Limits"
    yield ""
    answers = "It gives every image some answer" if not evidence.several else "It looks for its own labels in any image"
    yield f"- {answers}: of images of another kind than those it learnt from, the answer means nothing."
    counts = _by_class(bundle)
    few = [f"{plain(name)} ({counts[name]})" for name in evidence.facts.classes if counts and counts[name] < _FEW]
    if few:
        more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
        yield f"- Classes learnt from fewer than {_FEW} images: {', '.join(few[:_NAMED])}{more}."
    untested = [row.name for row in evidence.scores.per_class if not row.support] if evidence.scores else []
    if untested:
        yield f"- Nothing was measured of: {_listed(untested)}."
    for note in evidence.facts.notes:
        yield f"- {plain(note)}"
    for text in _warnings(evidence):
        yield f"- The data: {plain(text)}"


def _learnt_from(evidence: Evidence, bundle: Bundle) -> Iterator[str]:
    counts = _by_class(bundle)
    if not counts:
        return
    several = " (an image may count for several)" if evidence.several else ""
    yield "## What it learnt from"
    yield ""
    yield f"{words.counted(evidence.facts.images.get('train', 0), 'image', 'images')}{several}:"
    yield ""
    yield "| class | training images |"
    yield "| --- | --- |"
    for name in evidence.facts.classes[:_CLASSES]:
        yield f"| {plain(name)} | {counts[name]} |"


def _left_out(evidence: Evidence) -> Iterator[str]:
    if evidence.left_out:
        reasons = Counter(reason for _, reason in evidence.left_out).most_common(_NAMED)
        yield "## What was left out"
        yield ""
        yield f"{words.counted(len(evidence.left_out), 'image was', 'images were')} left out, most often because of:"
        yield ""
        for reason, count in reasons:
            yield f"- {plain(reason)} ({count})"


def _preprocessing(evidence: Evidence) -> Iterator[str]:
    if evidence.facts.preprocessing:
        yield "## Preprocessing"
        yield ""
        yield "Done by `finetune predict`; it is the same in training, evaluation and prediction."
        yield ""
        for name, value in evidence.facts.preprocessing.items():
            yield f"- {plain(name)}: {plain(value)}"


def _weights(evidence: Evidence, recipe: Recipe | None) -> Iterator[str]:
    receipt, known = evidence.facts.receipt, _hub(evidence, recipe)
    if receipt:
        yield "## Weights it began with"
        yield ""
        yield f"- source: {plain(receipt.source)}"
        yield f"- SHA-256: {plain(receipt.sha256 or 'none, for they are random')}"
        yield f"- tensors of the backbone that were loaded: {receipt.loaded} of {receipt.total}"
        yield f"- head: {plain(receipt.head)}"
        yield f"- licence: {plain(known.license) if known and known.license else 'not known to finetune'}"


def _exactly(evidence: Evidence) -> Iterator[str]:
    facts = evidence.facts
    yield "## What exactly this is"
    yield ""
    model = facts.files.get("model.safetensors")
    yield f"- model.safetensors: SHA-256 {plain(model)}" if model else "- the weights are not yet sealed"
    for name, version in facts.versions.items():
        yield f"- {plain(name)}: {plain(version)}"


def _figure(score: Score) -> str:
    return words.number(score.value, words.digits(score))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 100} more" if len(names) > 100 else ""
    return ", ".join(map(plain, names[:100])) + more


def _by_class(bundle: Bundle) -> Counter[str]:
    """How many training images there are of each class; with folds all that are learnt from."""
    known = [row for row in bundle.catalog if row["split"] == "train"] if bundle.has("catalog.csv") else []
    return Counter(label for row in known for label in row["label"].split("|") if label)


def _warnings(evidence: Evidence) -> list[str]:
    """What the audit of the data warned of, where it is in the bundle."""
    found = evidence.audited.findings if evidence.audited else []
    return [
        f"{one.keys[0]}: {one.text}" if len(one.keys) == 1 else one.text
        for one in found
        if one.severity in ("error", "warning")
    ][:_NAMED]
