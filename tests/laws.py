"""What several laws need: a training of a few images, and two bundles compared."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from finetune import job
from finetune.choose import heads as probes
from finetune.data.survey import find, survey
from finetune.model import backbone, heads
from finetune.model.classifier import Classifier
from finetune.recipe import file
from finetune.recipe.network import Linear
from finetune.recipe.plan import Plan
from finetune.runtime import seed, start
from finetune.train.loop import Epoch, Step, Training, fit
from finetune.train.setting import Setting

CLOCK = ("timings.jsonl", "report.html")  # a clock wrote them, or is shown in them


def training(recipe_file: Path, plan: Plan, *, precision: Any = "float32") -> Training:
    """A training that stands at its beginning, with an untrained network."""
    recipe = file.load(recipe_file)
    surveyed = survey(recipe, find(recipe))
    network = backbone.build(recipe.backbone.name, size=recipe.images.size)
    setting = Setting.of(recipe, surveyed.split, plan, network=network, runtime=start(precision))
    seed(recipe.seed, "head")
    head = heads.build(recipe.head or Linear(), features=network.width(recipe.stages), classes=len(surveyed.classes))
    return Training(Classifier(network, head, setting.preprocessing, recipe.stages), setting)


def from_probe(recipe_file: Path, plan: Plan, *, views: int = 1) -> Training:
    """A training that stands at its beginning, with an untrained network and the head of a probe."""
    run = training(recipe_file, plan)
    setting, network = run.setting, run.classifier.cut
    given = probes.material(setting.extractor(network), setting.split.train, stages=("stage4",), views=views, seed=0)
    head = probes.module(probes.fit(given, head=Linear(), threads=1))
    return Training(Classifier(network, head, setting.preprocessing), setting)


def tensors(run: Training) -> dict[str, Tensor]:
    """A copy of every tensor of the classifier, by name."""
    return {name: tensor.detach().clone() for name, tensor in run.classifier.state_dict().items()}


def epochs(run: Training) -> Iterator[Epoch]:
    """Only the epochs of `fit`."""
    return (event for event in fit(run) if isinstance(event, Epoch))


class CutAfter(job.Silent):
    """Ends a run from within, as a crash would, after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def event(self, event: Step | Epoch, *, epochs: int) -> None:
        if isinstance(event, Step):
            self.left -= 1
            if self.left == 0:
                raise Crash


class CutAfterSigns(job.Silent):
    """Ends a run from within after so many signs of life of any kind, counted from when there is a bundle."""

    def __init__(self, signs: int) -> None:
        self.left = signs
        self.begun = False

    def say(self, text: str) -> None:
        self._count()
        self.begun |= text.startswith("bundle: ")

    def progress(self, what: str, done: int, total: int) -> None:
        self._count()

    def event(self, event: Step | Epoch, *, epochs: int) -> None:
        self._count()

    def _count(self) -> None:
        self.left -= self.begun
        if self.left == 0:
            raise Crash


class Crash(BaseException):
    """Nothing in the package catches it."""


def contents(folder: Path) -> dict[str, Any]:
    """Every file of a bundle by name: bytes, and of bundle.json and plan.json what does not depend on when and how the
    run was called: `auto` writes what it expects to take how long.
    """
    files: dict[str, Any] = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in CLOCK and path.relative_to(folder).parts[0] != "track"
    }
    facts = json.loads(files["bundle.json"])
    facts.pop("command")
    plan = json.loads(files.get("plan.json", "null"))
    if plan and plan["tiers"]:
        facts["files"].pop("plan.json", None)
        for tier in plan["tiers"]:
            tier.pop("seconds")
        files["plan.json"] = plan
    return {**files, "bundle.json": facts}


def assert_same(one: Path, other: Path) -> None:
    """Two bundles with the same files, byte for byte."""
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def differing(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The names of tensors that are not bit for bit what they were."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def signs_of_life(run: Callable[[job.Show], object]) -> int:
    """How many signs of life an uncut run gives."""
    counted = CutAfterSigns(-1)
    run(counted)
    return -1 - counted.left


def steps_of(run: Callable[[job.Show], object]) -> int:
    """How many steps an uncut run takes."""

    class Count(job.Silent):
        steps = 0

        def event(self, event: Step | Epoch, *, epochs: int) -> None:
            self.steps += isinstance(event, Step)

    counted = Count()
    run(counted)
    return counted.steps
