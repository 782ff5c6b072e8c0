"""The laws: what must hold for every schedule, family and precision, whatever the code looks like."""

import ast
import contextlib
import graphlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import finetune
from finetune import job
from finetune.bundle import Bundle
from finetune.choose import heads as probes
from finetune.cli import main
from finetune.data.adapters import folder
from finetune.data.catalog import Catalog, Sample, census
from finetune.data.store import Store
from finetune.data.survey import find, survey
from finetune.frozen.extract import Extractor, Looks
from finetune.frozen.families import Trial
from finetune.frozen.folds import folds
from finetune.model import backbone
from finetune.model.classifier import Classifier
from finetune.predict import evaluate
from finetune.recipe import file, planfile, planning
from finetune.recipe.dataset import FolderData
from finetune.recipe.facts import Facts
from finetune.recipe.images import Augment, Images
from finetune.recipe.network import Linear, Random
from finetune.recipe.plan import Phase, Plan
from finetune.recipe.splits import Given
from finetune.recipe.training import SGD, Adam
from finetune.recipe.transforms import RandomCrop
from finetune.runtime import start
from finetune.train.batches import sizes
from finetune.train.optimizer import rate_share
from tests.conftest import SCHEDULES, draw_alike, draw_classes
from tests.laws import (
    Crash,
    CutAfter,
    CutAfterSigns,
    assert_same,
    contents,
    differing,
    epochs,
    signs_of_life,
    steps_of,
    tensors,
    training,
)

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "finetune"
FAMILIES = ("test_resnet", "resnetv2_18", "densenet121", "test_convnext", "test_efficientnet", "cifar_resnet8")
Write = Callable[..., Path]


GRADIENT = [name for name in SCHEDULES if name not in ("probe", "auto")]

# 1. frozen is frozen, trained is trained


def phases_of(recipe_file: Path, *, batch_norm: str) -> list[Phase]:
    """The phases of the recipe's schedule, each cut down to one epoch; those that train the same stages once. Where
    nothing trains the stem, they once more read kept activations.
    """
    recipe = file.load(recipe_file)
    planned = planning.plan(recipe, survey(recipe, find(recipe)).facts(recipe)).phases
    trained = dict.fromkeys((phase.train, phase.views) for phase in planned)
    return [Phase(stages, 1, 1e-3, 0.9, batch_norm, views) for stages, views in trained]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("schedule", GRADIENT)
def test_a_frozen_stage_does_not_move_and_a_trained_one_does(
    schedule: str, family: str, precision: str, tmp_path: Path, write_recipe: Write
) -> None:
    photos = draw_classes(tmp_path / "photos", {"red": 7, "green": 5, "blue": 4})
    recipe = write_recipe(photos, schedule=schedule, backbone=family)
    batch_norm = "pretrained" if precision == "bf16" else "batch"
    for phase in phases_of(recipe, batch_norm=batch_norm):
        run = training(recipe, Plan((phase,), ()), precision=_available(precision))
        before = tensors(run)
        list(epochs(run))
        moved = differing(before, tensors(run))
        parameters = {name for name, _ in run.classifier.named_parameters()}
        for name in before:
            stage = run.classifier.stage_of(name)
            if stage not in phase.train:
                assert name not in moved, f"{name} of frozen {stage} moved"
            elif name in parameters:
                assert name in moved, f"{name} of trained {stage} did not move"
            else:
                assert (name in moved) == (batch_norm == "batch"), f"{name} does not follow the policy {batch_norm}"


RATES = {
    "steps": ", best: accuracy, optimizer: {kind: sgd, nesterov: false, decayed: all}, "
    "rate: {kind: steps, at: [1, 3], factor: [0.1, 0.5]}",
    "plateau": ", best: last, optimizer: {kind: adam, weight_decay: 1.0e-3}, "
    "rate: {kind: plateau, factor: 0.5, patience: 1}",
    "constant": ", patience: 2, optimizer: {kind: sgd}, rate: {kind: constant}",
}
PADDED = [
    "images.augment.kind=custom",
    "images.augment.transforms=[{name: RandomCrop, padding: 4}]",
    "train.warmup=0",
    "train.clip_norm=null",
]


@pytest.mark.parametrize("rate", RATES)
def test_a_frozen_stage_does_not_move_at_any_rate(rate: str, photos: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, schedule="{kind: stages, train: [stage3, head], epochs: 4}", more=RATES[rate])
    run = training(recipe, Plan((Phase(("stage3", "head"), 4, 0.1, 0.9, "batch"),), ()))
    before = tensors(run)
    list(epochs(run))
    moved = differing(before, tensors(run))
    assert moved == {name for name in before if run.classifier.stage_of(name) in ("stage3", "head")}


def _available(precision: str) -> str:
    from finetune.runtime import has_bf16

    return precision if has_bf16(torch.device("cpu")) else "float32"


def test_evaluation_moves_nothing(photos: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos)
    run = training(recipe, Plan((Phase(("head",), 1, 1e-3, 1.0, "batch"),), ()))
    run.classifier.train()
    before = tensors(run)
    setting = run.setting
    evaluate(run.classifier, setting.split.test, preprocessing=setting.preprocessing, runtime=setting.runtime)
    assert differing(before, tensors(run)) == set()


# 2. a cut run and an uncut one are the same


@pytest.mark.parametrize(
    ("schedule", "family"), [*((one, "test_resnet") for one in GRADIENT), ("gradual", "cifar_resnet8")]
)
def test_a_run_cut_at_any_moment_and_resumed_equals_the_uncut_one(
    schedule: str, family: str, photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    patience = ", patience: 1" if schedule == "full" else ""
    recipe = write_recipe(photos, schedule=schedule, backbone=family, more=patience)
    uncut, cut = tmp_path / "a" / "uncut", tmp_path / "a" / "cut"
    steps = steps_of(lambda show: job.run(recipe, output=uncut, show=show))
    for after in (1, steps // 2, steps):
        with pytest.raises(Crash):
            job.run(recipe, output=cut, show=CutAfter(after))
        assert not job.resume(cut).facts["notes"]
        assert_same(uncut, cut)
        shutil.rmtree(cut)


@pytest.mark.parametrize("rate", RATES)
def test_a_run_from_scratch_cut_and_resumed_equals_the_uncut_one_at_any_rate(
    rate: str, tmp_path: Path, write_recipe: Write
) -> None:
    photos = draw_alike(tmp_path / "photos", {"blue": 8, "green": 8, "red": 8}, apart=5)
    recipe = write_recipe(photos, schedule="{kind: full, epochs: 5, lr: 0.01, lr_decay: 1.0}", more=RATES[rate])
    uncut, cut = tmp_path / "a" / "uncut", tmp_path / "a" / "cut"
    steps = steps_of(lambda show: job.run(recipe, output=uncut, overrides=PADDED, show=show))
    reached = {line["lr"] for line in Bundle.open(uncut).history}
    assert (len(reached) > 1) == (rate != "constant")
    for after in (steps // 3, steps - 1):
        with pytest.raises(Crash):
            job.run(recipe, output=cut, overrides=PADDED, show=CutAfter(after))
        assert not job.resume(cut).facts["notes"]
        assert_same(uncut, cut)
        shutil.rmtree(cut)


@pytest.mark.parametrize("schedule", ["probe", "lp_ft", "auto"])
def test_a_run_cut_while_it_looks_for_a_head_equals_the_uncut_one(
    schedule: str, photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(photos, schedule=schedule)
    uncut, cut = tmp_path / "a" / "uncut", tmp_path / "a" / "cut"
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache of the uncut run"))
    few = ["train.batch_size=9"]
    signs = signs_of_life(lambda show: job.run(recipe, output=uncut, overrides=few, show=show))
    for number, after in enumerate((signs // 3, 2 * signs // 3, signs - 2)):
        monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / f"cache {number}"))
        with pytest.raises(Crash):
            job.run(recipe, output=cut, overrides=few, show=CutAfterSigns(after))
        assert not any("elsewhere" in note for note in job.resume(cut).facts["notes"])
        assert_same(uncut, cut)
        shutil.rmtree(cut)


def test_a_run_cut_again_and_again_equals_the_uncut_one(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, schedule="phases", more=", optimizer: {kind: sgd}")
    uncut, cut = tmp_path / "a" / "uncut", tmp_path / "a" / "cut"
    job.run(recipe, output=uncut)
    with pytest.raises(Crash):
        job.run(recipe, output=cut, show=CutAfter(2))
    for _ in range(2):
        with pytest.raises(Crash):
            job.resume(cut, show=CutAfter(5))
    job.resume(cut)
    assert_same(uncut, cut)


# 4. one image, one answer


def test_evaluation_prediction_and_the_reloaded_bundle_agree_bit_for_bit(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(photos)
    bundle = job.run(recipe, output=tmp_path / "bundle")
    predictor = finetune.load(bundle.folder)
    stored = bundle.predictions("test")
    paths = [photos / key for key in stored.keys]
    together = predictor.predict(paths)
    assert np.array_equal(together.logits, stored.logits)
    alone = [predictor.predict(path).logits[0] for path in paths]
    assert np.array_equal(np.stack(alone), stored.logits)
    mixed = predictor.predict([paths[-1], *paths[:3], paths[-1]])
    assert np.array_equal(mixed.logits[0], stored.logits[-1])
    assert np.array_equal(mixed.logits[4], stored.logits[-1])
    for line in json.loads(bundle.read("reference/reference.json")):
        place = stored.keys.index(line["key"])
        assert np.array_equal(np.float32(line["logits"]), stored.logits[place])


def test_a_picture_in_memory_gets_the_answer_of_its_file_within_three_hundredths(
    tmp_path: Path, write_recipe: Write
) -> None:
    photos = draw_classes(tmp_path / "photos", {"red": 6, "green": 6}, suffix=".jpg")
    large = Image.open(photos / "red" / "000.jpg").resize((640, 480), Image.Resampling.BICUBIC)
    large.save(photos / "red" / "large.jpg")
    predictor = finetune.load(job.run(write_recipe(photos), output=tmp_path / "bundle").folder)
    from_file = predictor.predict(photos / "red" / "large.jpg").probabilities
    picture = Image.open(photos / "red" / "large.jpg")
    assert np.abs(predictor.predict(picture).probabilities - from_file).max() < 0.03
    assert np.abs(predictor.predict(np.asarray(picture)).probabilities - from_file).max() < 0.03


# 5. rooms

ROOMS = (
    "errors", "scores", "recipe", "data", "audit", "starter", "bundle", "compare", "report", "review",
    "runtime", "views", "model", "predict", "frozen", "train", "choose", "diagnose", "record",
    "underway", "crossval", "job", "sklearn", "cli",
)  # fmt: skip
ABOVE_THE_LINE = ROOMS[: ROOMS.index("runtime")]


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, without `finetune.`; the package itself is left out."""
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    names.pop("")
    names.pop("__main__")
    return names


def imports(path: Path) -> set[str]:
    """The modules of this package that a file imports, at its top or inside functions; imports for type checkers do not
    count.
    """
    known, found = modules(), set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if (
            not isinstance(node, ast.ImportFrom)
            or id(node) in typing_only
            or not (node.module or "").startswith("finetune")
        ):
            continue
        base = (node.module or "").removeprefix("finetune").removeprefix(".")
        for alias in node.names:
            name = f"{base}.{alias.name}".removeprefix(".")
            found.add(name if name in known else base)
    return found - {""}


def test_a_room_imports_only_rooms_to_its_left() -> None:
    wrong = []
    for name, path in modules().items():
        room = name.split(".")[0]
        for imported in imports(path):
            other = imported.split(".")[0]
            if other != room and ROOMS.index(other) >= ROOMS.index(room):
                wrong.append(f"{name} imports {imported}")
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: imports(path) - {name} for name, path in modules().items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_every_module_belongs_to_a_room() -> None:
    assert {name.split(".")[0] for name in modules()} == set(ROOMS)


def test_the_page_on_the_house_names_every_room_and_their_order() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert " < ".join(ROOMS).replace("review < runtime", "review ‖ runtime") in page
    missing = [name for name in modules() if "." not in name and not re.search(rf"\b{name}(\.py|/)", page)]
    assert missing == []


def test_each_ageing_package_has_one_importer() -> None:
    importers: dict[str, set[str]] = {}
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for imported in names:
                importers.setdefault(imported.split(".")[0], set()).add(name)
    assert importers["albumentations"] == {"views"}
    assert importers["accelerate"] == {"runtime"}
    assert importers["captum"] == {"diagnose.maps"}
    assert importers["timm"] <= {"model.backbone", "model.listing"}
    assert importers["torchvision"] == {"data.adapters.torchvision"}
    for extra in ("datasets", "fastapi", "uvicorn"):
        assert extra not in importers, "it is an extra, and loaded by name when it is asked for"
    by_name = [name for name, path in modules().items() if 'import_module("fastapi' in path.read_text(encoding="utf-8")]
    assert by_name == ["review.server"]


def test_the_one_importer_of_torchvision_imports_it_when_it_is_called() -> None:
    """What loads torch above the line is a function, for those who ask for a set that torchvision has."""
    tree = ast.parse((PACKAGE / "data" / "adapters" / "torchvision.py").read_text(encoding="utf-8"))
    inside = [
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import) and node.names[0].name == "torchvision"
    ]
    anywhere = [
        n for n in ast.walk(tree) if isinstance(n, ast.Import) and n.names[0].name.split(".")[0] == "torchvision"
    ]
    assert inside == anywhere
    assert len(inside) == 1


def run_without_torch(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process where importing torch is an error."""
    refuse = "import sys\nfor name in ('torch', 'timm', 'albumentations', 'accelerate'): sys.modules[name] = None\n"
    return subprocess.run([sys.executable, "-c", refuse + code], capture_output=True, text=True, cwd=cwd, check=False)


def test_nothing_above_the_line_loads_torch(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos)
    bundle = job.run(recipe, output=tmp_path / "bundle").folder
    again = shutil.copytree(bundle, tmp_path / "again")
    above = [name for name in modules() if name.split(".")[0] in ABOVE_THE_LINE]
    commands = [
        ["--help"], ["run", "--help"], ["init", str(photos), "--output", "new.yaml"], ["check", str(photos)],
        ["check", str(recipe)], ["plan", str(recipe)], ["report", str(bundle)], ["backbones", "resnet*"], ["schema"],
        ["runs", str(tmp_path)], ["compare", str(bundle), str(again)],
    ]  # fmt: skip
    code = f"""
import importlib
for name in {above!r}: importlib.import_module("finetune." + name)
from finetune.cli import main
for arguments in {commands!r}:
    try: main(arguments)
    except SystemExit as end: assert not end.code, (arguments, end.code)
"""
    done = run_without_torch(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_no_public_name_equals_that_of_a_module() -> None:
    """Of one directly in the package: importing it would put the module in the place of what the name stands for."""
    names = {name for name in modules() if "." not in name}
    assert len(names) > 10
    assert set(finetune.__all__) & names == set()


# 6. recipes and README


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_loads_and_plans_against_the_facts_in_its_header(path: Path) -> None:
    recipe = file.load(path)
    line = re.search(r"^# facts: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert line, "the header has a line such as: # facts: train=207 validation=37 test=153 classes=2 smallest_class=104"
    assert re.search(r"^# expect: \S", path.read_text(encoding="utf-8"), re.MULTILINE), "what was measured, or that not"
    numbers = {key: int(value) for key, value in (pair.split("=") for pair in line[1].split())}
    pretrained = recipe.backbone.weights.kind != "random"
    facts = Facts(**numbers, pretrained=pretrained, batch_size=recipe.train.batch_size)
    plan = planning.plan(recipe, facts)
    assert planfile.from_json(planfile.to_json(plan)) == plan
    if isinstance(recipe.data, FolderData) and Path(recipe.data.root).exists():
        assert survey(recipe, find(recipe)).facts(recipe) == facts


@pytest.mark.parametrize(
    ("name", "steps", "rates"),
    [
        ("cifar10_resnet20", 64_000, {0: 0.1, 31_500: 0.1, 32_500: 0.01, 47_500: 0.01, 48_500: 1e-3, 63_999: 1e-3}),
        (
            "cifar10_resnetv2_29",
            200 * 45_000 / 32,
            {0: 1e-3, 80 * 1407 - 1: 1e-3, 80 * 1407: 1e-4, 120 * 1407: 1e-5, 160 * 1407: 1e-6, 180 * 1407: 5e-7},
        ),
    ],
)
def test_the_recipes_from_scratch_take_the_steps_and_rates_of_their_sources(
    name: str, steps: float, rates: dict[int, float]
) -> None:
    recipe = file.load(ROOT / "recipes" / f"{name}.yaml", overrides=["data={kind: folder, root: photos}"])
    (phase,), train = recipe.phases, recipe.train
    each = len(sizes(45_000, train.batch_size))
    assert phase.epochs * each == pytest.approx(steps, rel=0.002)
    for step, rate in rates.items():
        share = rate_share(train.rate, step, epochs=phase.epochs, steps=each, warmup=train.warmup, peak=phase.lr)
        assert phase.lr * share == pytest.approx(rate), step


@pytest.mark.parametrize(
    ("name", "optimizer", "ships"),
    [
        ("cifar10_resnet20", SGD(momentum=0.9, nesterov=False, weight_decay=1e-4, decayed="all"), "last"),
        ("cifar10_resnetv2_29", Adam(weight_decay=2e-4), "accuracy"),
    ],
)
def test_the_recipes_from_scratch_have_the_settings_of_their_sources(name: str, optimizer: object, ships: str) -> None:
    recipe = file.load(ROOT / "recipes" / f"{name}.yaml", overrides=["data={kind: folder, root: photos}"])
    assert isinstance(recipe.backbone.weights, Random)
    assert recipe.train.optimizer == optimizer
    assert (recipe.train.best, recipe.train.warmup, recipe.train.clip_norm) == (ships, 0, None)
    assert recipe.train.label_smoothing == 0
    (phase,) = recipe.phases
    assert phase.train == recipe.all_stages
    augment = recipe.images.augment
    assert (recipe.images.size, augment.flip) == (32, True)
    (crop,) = augment.transforms or ()
    assert isinstance(crop, RandomCrop)
    assert crop.padding == 4
    assert recipe.split == Given(test="test", validation=0.1)


def test_every_console_block_of_the_readme_marked_as_a_test_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- test -->\n```console\n(.*?)```", readme, re.DOTALL)
    commands = [
        shlex.split(line, comments=True)[2:] for block in blocks for line in block.splitlines() if "$ finetune " in line
    ]
    assert len(commands) >= 3
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    draw_classes(Path("photos"), {"ant": 8, "bee": 8})
    shutil.copy(Path("photos/ant/000.png"), "new.jpg")
    for command in commands:
        with contextlib.suppress(SystemExit):
            main(command)
        assert "error[" not in capsys.readouterr().err, command
    assert Path("runs/photos/1/report.html").exists()


# 7. the public names


def test_the_public_names_are_sorted_complete_and_documented() -> None:
    assert finetune.__all__ == sorted(finetune.__all__)
    for name in finetune.__all__:
        assert (getattr(finetune, name).__doc__ or "").strip(), f"{name} has no docstring"
    assert dir(finetune) == sorted([*finetune.__all__, "__version__"])
    with pytest.raises(AttributeError, match="has no attribute 'finetun'"):
        finetune.finetun  # noqa: B018


def test_every_public_function_works_twice_in_one_process(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, schedule="head")
    first = finetune.run(recipe, output=tmp_path / "1")
    second = finetune.run(recipe, output=tmp_path / "2")
    assert contents(first.folder)["model.safetensors"] == contents(second.folder)["model.safetensors"]
    assert finetune.resume(first.folder).complete
    assert finetune.resume(first.folder).complete
    answers = [finetune.load(first.folder).predict(photos).logits for _ in range(2)]
    assert np.array_equal(*answers)
    assert np.array_equal(*(finetune.features(first.folder, photos).values for _ in range(2)))


# 9. what is said of held-out images holds for new ones

FEW_TRIALS = (
    Trial("ncm", "raw"),
    *(Trial("logistic", "raw", strength) for strength in (1e-3, 0.1, 10.0)),
    *(Trial("lda", "raw", strength) for strength in (0.5, 0.9)),
)
STAGES_SEEN = ("stage3", "stage4")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Scenes of three classes that are hard to tell apart. Of a third of them there are exact copies, of a third other
    images under the same group.
    """
    root = draw_alike(tmp_path_factory.mktemp("scenes"), dict.fromkeys("abc", 160), apart=50, spread=20)
    generator = np.random.default_rng(1)
    for path in sorted(root.rglob("*.png")):
        pixels = np.asarray(Image.open(path))
        for number in range(2 if int(path.stem) % 3 < 2 else 0):
            more = path.with_name(f"{path.stem} {number}.png")
            if int(path.stem) % 3 == 0:
                shutil.copy(path, more)
            else:
                Image.fromarray(generator.permuted(pixels.reshape(-1, 3), axis=0).reshape(pixels.shape)).save(more)
    found, _ = census(folder.read(FolderData(root=str(root))), on_bad_image="error", threads=1)
    grouped = (replace(one, group=scene(one) if int(scene(one)[2:]) % 3 == 1 else None) for one in found.samples)
    return replace(found, samples=tuple(grouped))


def scene(sample: Sample) -> str:
    """Such as a/007."""
    return sample.key[:5]


def optimism(given: probes.Material, new: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The accuracy of a probe on new images, and how much that on held-out images is above it."""
    probe = probes.fit(given, head=Linear(), threads=1, trials=FEW_TRIALS)
    accuracy = float(np.mean(probe.fitted.logits(new).argmax(axis=1) == labels))
    return accuracy, float(np.mean(probe.logits.argmax(axis=1) == given.labels)) - accuracy


def test_out_of_fold_and_test_accuracy_agree(scenes: Catalog, tmp_path: Path) -> None:
    network = backbone.build("test_resnet", size=32)
    looks = Looks(network.contract.preprocessing(Images(size=32)), Augment(kind="standard"))
    found, careless = [], []
    with Store.open(tmp_path) as store:
        extractor = Extractor(network, looks=looks, runtime=start("float32"), store=store)
        for seed in range(10):
            learnt = _half(scenes, seed)
            train = scenes.select([place for place, one in enumerate(scenes.samples) if scene(one) in learnt])
            test = scenes.select([place for place, one in enumerate(scenes.samples) if scene(one) not in learnt])
            given = probes.material(extractor, train, stages=STAGES_SEEN, views=2, seed=seed)
            new = extractor.pooled(test.samples, stages=STAGES_SEEN)[0]
            found.append(optimism(given, new, test.labels))
            if seed < 4:
                alone = replace(given, groups=train.keys, folds=folds(given.labels, train.keys, seed=seed))
                careless.append(optimism(alone, new, test.labels))
    accuracy, difference = np.mean(found, axis=0)
    assert 0.7 < accuracy < 0.9
    assert abs(difference) < 0.02
    assert np.mean(careless, axis=0)[1] > 0.03  # with copies and groups on both sides of folds


def _half(scenes: Catalog, seed: int) -> set[str]:
    """The names of half of the scenes, of each class and kind of scene alike."""
    names, generator = sorted({scene(one) for one in scenes.samples}), np.random.default_rng(seed)
    learnt: set[str] = set()
    for name in "abc":
        for kind in range(3):
            alike = [one for one in names if one[0] == name and int(one[2:]) % 3 == kind]
            learnt.update(generator.permutation(alike)[: len(alike) // 2].tolist())
    return learnt


# 10. two runs of one recipe


@pytest.mark.parametrize("schedule", ["probe", "lp_ft"])
def test_a_warm_cache_and_a_cold_one_give_the_same_bytes(
    schedule: str, photos: Path, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(photos, schedule=schedule)
    for name, cache in (("cold", "one"), ("warm", "one"), ("cold again", "another")):
        monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / cache))
        job.run(recipe, output=tmp_path / "a" / name)
    assert_same(tmp_path / "a" / "cold", tmp_path / "a" / "warm")
    assert_same(tmp_path / "a" / "cold", tmp_path / "a" / "cold again")


def test_two_runs_are_the_same_bytes_whatever_the_process(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there" / "deeper"
    schedules = {"full": "{kind: full, epochs: 2}", "lp_ft": "{kind: lp_ft, train: [stage4, head], epochs: 2}"}
    draw_classes(here / "photos", {"red": 8, "green": 8, "blue": 8})
    for path in sorted((here / "photos").rglob("*.png"), reverse=True):
        copy = there / path.relative_to(here)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    for root, seed, where in ((here, "1", here), (there, "2", tmp_path)):
        code = "import finetune\n"
        for name, schedule in schedules.items():
            recipe = root / f"{name}.yaml"
            recipe.write_text(
                "data: {kind: folder, root: photos}\nbackbone: {name: test_resnet, weights: {kind: random}}\n"
                f"schedule: {schedule}\nimages: {{size: 32}}\ntrain: {{batch_size: 4}}\n"
            )
            code += f"finetune.run({str(recipe)!r}, output={str(root / f'{name} bundle')!r})\n"
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": str(ROOT),
            "FINETUNE_CACHE": str(root / "cache"),
        }
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=where, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    for name in schedules:
        assert_same(here / f"{name} bundle", there / f"{name} bundle")


def test_the_classifier_is_the_one_in_the_bundle(photos: Path, tmp_path: Path, write_recipe: Write) -> None:
    bundle = job.run(write_recipe(photos), output=tmp_path / "bundle")
    loaded = finetune.load(bundle.folder).classifier
    assert isinstance(loaded, Classifier)
    best = min(bundle.history, key=lambda line: line["validation_loss"])
    assert best["best"]
    assert bundle.facts["stages"] == loaded.stages()
