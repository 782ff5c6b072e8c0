"""Recipe files: what loads, what every bad one says, and that a recipe survives being written."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from finetune.errors import RecipeError
from finetune.recipe import backbones
from finetune.recipe.file import dump, load, loads, override
from finetune.recipe.network import BundleWeights, Cosine, File, Hub, Linear
from finetune.recipe.schedule import Auto, Gradual
from finetune.recipe.schema import Recipe
from finetune.recipe.splits import Given, Stratified

PROFILE = settings(max_examples=100, derandomize=True, deadline=None, database=None)
BAD = Path(__file__).with_name("bad")
LEAST = "data: {root: photos}\nbackbone: {name: resnet50}\n"
FLOWERS = """
name: flowers
seed: 0
data: {kind: folder, root: data/flowers}
split: {kind: stratified, validation: 0.15, test: 0.15}
backbone: {name: resnet50, weights: {kind: hub, tag: tv_in1k}}
head: {kind: linear}
schedule: {kind: full, epochs: 12, lr: 1.0e-3, lr_decay: 0.5}
images: {size: 224, fit: crop, augment: {kind: standard, flip: true}}
train: {batch_size: 32, patience: 5}
"""


def read(text: str, *overrides: str) -> Recipe:
    return loads(text, source="x.yaml", folder=Path("/data"), overrides=overrides)


def fault(text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        read(text, *overrides)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(path.stem for path in BAD.glob("*.yaml")))
def test_a_bad_recipe_says_what_was_recorded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    with pytest.raises(RecipeError) as caught:
        load(f"{name}.yaml")
    assert str(caught.value) + "\n" == Path(f"{name}.txt").read_text(encoding="utf-8")


def test_every_recorded_message_has_its_recipe() -> None:
    assert {path.stem for path in BAD.glob("*.txt")} == {path.stem for path in BAD.glob("*.yaml")}
    assert {path.suffix for path in BAD.iterdir()} == {".txt", ".yaml"}


def test_no_recorded_message_speaks_of_the_machinery() -> None:
    for path in BAD.glob("*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("    "):  # the recipe's own line
                for word in (
                    "Input should",
                    "pydantic",
                    "discriminator",
                    "validator",
                    "NoneType",
                    "dict",
                    "tuple",
                    "None",
                ):
                    assert word not in line, path


def test_what_is_not_said_has_defaults(tmp_path: Path) -> None:
    path = tmp_path / "least.yaml"
    path.write_text(LEAST)
    recipe = load(path)
    assert recipe.name == "least"
    assert recipe.data.root == str(tmp_path / "photos")
    assert recipe.split is None
    assert recipe.backbone.weights == Hub()
    assert recipe.schedule.kind == "head"
    assert recipe.images.augment.kind == "light"
    assert (recipe.train.batch_size, recipe.train.patience, recipe.train.balance) == (32, None, "none")


def test_the_example_says_what_it_says() -> None:
    recipe = read(FLOWERS)
    assert recipe.name == "flowers"
    assert recipe.split == Stratified(validation=0.15, test=0.15)
    assert recipe.schedule.kind == "full"
    assert (recipe.schedule.lr, recipe.schedule.lr_decay) == (1e-3, 0.5)
    assert recipe.images.size == 224


def test_a_given_split_takes_folders_or_a_share() -> None:
    assert read(LEAST + "split: {kind: given, test: val, validation: 0.15}").split == Given(test="val", validation=0.15)
    assert read(LEAST + "split: {kind: given, test: test, validation: valid}").split == Given(
        test="test", validation="valid"
    )
    assert read(LEAST + "split: {kind: given, validation: no}").split == Given(validation="no")


def test_a_name_is_that_of_the_file_unless_it_is_given(tmp_path: Path) -> None:
    path = tmp_path / "Blüten-2.v1.yaml"
    path.write_text(LEAST, encoding="utf-8")
    assert load(path).name == "Blüten-2.v1"
    assert load(path, overrides=["name=other"]).name == "other"


def test_paths_start_from_the_recipe_and_not_from_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    text = "data: {root: ../photos}\nbackbone: {name: resnet50, weights: {kind: file, path: w.safetensors}}\n"
    (tmp_path / "a" / "x.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    here = load("a/x.yaml")
    monkeypatch.chdir("/")
    assert load(tmp_path / "a" / "x.yaml") == here
    assert here.data.root == str(tmp_path / "photos")
    assert here.backbone.weights == File(path=str(tmp_path / "a" / "w.safetensors"))


def test_an_absolute_path_stays() -> None:
    assert read(LEAST.replace("photos", "/srv/photos")).data.root == "/srv/photos"


@pytest.mark.parametrize("name", ["{{7*7}}", "US$ 5", "data~1", "no", "c#", "010"])
def test_text_in_a_path_is_literal(name: str) -> None:
    assert read(f"data: {{root: '{name}'}}\nbackbone: {{name: resnet50}}").data.root == f"/data/{name}"


def test_every_fault_is_told_at_once_in_the_order_of_the_file() -> None:
    text = "seed: -1\nseed: 2\ndata: {root: &a photos}\nbackbone: {name: resnet50}\nheads: {kind: linear}\n"
    assert fault(text).splitlines() == [
        "x.yaml:1:1: seed must be at least 0, not -1",
        "    seed: -1",
        "x.yaml:2:1: key 'seed' is given twice, first in line 1",
        "    seed: 2",
        "x.yaml:3:14: anchors are not allowed; write the value where it is needed",
        "    data: {root: &a photos}",
        "x.yaml:5:1: unknown key 'heads'; did you mean 'head'?",
        "    heads: {kind: linear}",
    ]


def test_what_was_refused_once_is_not_complained_of_again() -> None:
    assert len(fault(LEAST + "train: !x {patience: 0}").splitlines()) == 2
    assert len(fault("data: *d\nbackbone: {name: resnet50}").splitlines()) == 2
    assert len(fault(LEAST + "schedule: {<<: {kind: full}, epochs: 0, kind: head}").splitlines()) == 4
    assert len(fault("*x").splitlines()) == 2


def test_a_source_from_outside_is_made_printable() -> None:
    with pytest.raises(RecipeError) as caught:
        loads("", source="a\x1b[31m\n.yaml", folder=Path())
    assert str(caught.value).startswith("a\\x1b[31m\\x0a.yaml:1:1: the recipe is empty")


def test_a_recipe_is_written_whole_and_in_order() -> None:
    text = dump(read(FLOWERS))
    assert [line.split(":")[0] for line in text.splitlines() if line[0] != " "] == list(Recipe.model_fields)
    assert "split: {kind: stratified, validation: 0.15, test: 0.15}\n" in text
    assert "schedule: {kind: full, epochs: 12, lr: 0.001, lr_decay: 0.5}\n" in text
    assert "  weights: {kind: hub, tag: tv_in1k}\n" in text
    assert text == dump(read(FLOWERS))


def test_a_written_recipe_may_hold_relative_paths() -> None:
    recipe = read(LEAST)
    text = dump(recipe, relative_to=Path("/data/runs/x/1"))
    assert "root: ../../../photos" in text
    assert loads(text, source="recipe.yaml", folder=Path("/data/runs/x/1")) == recipe
    moved = loads(text, source="recipe.yaml", folder=Path("/else/runs/x/1"))
    assert moved.data.root == "/else/photos"


def test_a_recipe_made_in_python_keeps_its_relative_path_when_written() -> None:
    recipe = Recipe.model_validate({"name": "x", "data": {"root": "photos"}, "backbone": {"name": "resnet50"}})
    assert "root: photos" in dump(recipe, relative_to=Path("/somewhere"))


@pytest.mark.parametrize(
    "root",
    ["no", "0x10", "1e-3", "a: b", "a #b", "'", '"', "é", "\U0001f600", "-", "[a]", "*a", "a\u2028b", "null", " x"],
)
def test_any_text_survives_being_written(root: str) -> None:
    text = LEAST.replace("photos", json.dumps(root, ensure_ascii=False))
    if "\u2028" in root:
        assert "no line breaks" in fault(text)
        return
    recipe = read(text)
    assert read(dump(recipe)) == recipe
    assert yaml.safe_load(dump(recipe))["data"]["root"] == recipe.data.root  # another reader sees the same


def test_overrides_come_before_checking() -> None:
    recipe = read(
        LEAST + "train: {batch_size: 0}", "train.batch_size=64", "schedule={kind: full, epochs: 3}", "schedule.lr=1e-4"
    )
    assert recipe.train.batch_size == 64
    assert (recipe.schedule.epochs, recipe.schedule.lr) == (3, 1e-4)
    assert recipe.name == "x"


def test_a_fault_of_an_override_is_the_override_s() -> None:
    assert fault(LEAST, "train.batch_size=0") == "--set train.batch_size=0: batch_size must be at least 1, not 0"
    assert fault(LEAST, "trian.batch_size=3") == "--set trian.batch_size=3: unknown key 'trian'; did you mean 'train'?"


def test_a_recipe_in_hand_is_overridden_too() -> None:
    recipe = read(FLOWERS)
    assert override(recipe, []) is recipe
    changed = override(recipe, ["images.size=64", "name=small"])
    assert (changed.images.size, changed.name) == (64, "small")
    assert changed.model_copy(update={"images": recipe.images, "name": recipe.name}) == recipe
    with pytest.raises(RecipeError, match=r"--set images\.size=0: size must be at least 16, not 0"):
        override(recipe, ["images.size=0"])


def test_a_recipe_becomes_one_of_another_kind_by_overrides() -> None:
    asked = "schedule.kind=auto", "schedule.budget=5m"
    for text in (LEAST, FLOWERS.replace(", patience: 5", ""), LEAST + "schedule: {kind: gradual, stages: 2}"):
        text = text.replace("head: {kind: linear}\n", "")
        assert read(text, *asked).schedule == Auto(budget="5m")
        assert read(text, *asked[::-1]).schedule == Auto(budget="5m")
        assert override(read(text), asked).schedule == Auto(budget="5m")
    assert read(FLOWERS, "schedule.kind=gradual").schedule == Gradual(epochs=12, lr=1e-3, lr_decay=0.5)


def test_the_head_is_linear_where_only_its_dropout_is_given() -> None:
    assert read(LEAST, "head.dropout=0.2").head == Linear(dropout=0.2)
    assert read(LEAST, "head.kind=cosine").head == Cosine()
    assert read(LEAST + "head: {kind: mlp, hidden: 9, dropout: 0.1}", "head.kind=cosine").head == Cosine()
    assert override(read(LEAST), ["head.kind=cosine"]).head == Cosine()


def test_a_key_of_another_kind_names_the_kind_that_has_it() -> None:
    said = "--set schedule.budget=5m: unknown key 'budget' of kind 'head'; kind auto has it"
    assert fault(LEAST, "schedule.budget=5m") == said
    assert fault(FLOWERS, "schedule.budget=5m") == said.replace("'head'", "'full'")


CANDIDATES = """
schedule:
  kind: auto
  candidates:
    - {name: resnet18, weights: {kind: file, path: weights/r18.pth}}
    - {name: resnet34, weights: {kind: bundle, path: ../runs/birds/1}}
"""


def test_paths_of_candidates_start_from_the_recipe_too() -> None:
    recipe = read(LEAST + CANDIDATES)
    assert isinstance(recipe.schedule, Auto)
    first, second = (candidate.weights for candidate in recipe.schedule.candidates)
    assert (first, second) == (File(path="/data/weights/r18.pth"), BundleWeights(path="/runs/birds/1"))
    text = dump(recipe, relative_to=Path("/data/runs/x/1"))
    assert "path: ../../../weights/r18.pth" in text
    assert loads(text, source="recipe.yaml", folder=Path("/data/runs/x/1")) == recipe
    assert read(dump(recipe)) == recipe


def test_equal_recipes_are_equal_and_hash_alike() -> None:
    assert hash(read(FLOWERS)) == hash(read(FLOWERS))
    assert read(FLOWERS) != read(LEAST)


def test_reading_recipes_is_quick(tmp_path: Path) -> None:
    code = (
        "import sys, time; began = time.process_time()\n"
        "from pathlib import Path\n"
        "from finetune.recipe.file import loads\n"
        f"loads({FLOWERS!r}, source='x.yaml', folder=Path())\n"
        "print(time.process_time() - began)\n"
        "print(sorted({'torch', 'timm', 'numpy', 'PIL', 'albumentations'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    runs = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        )
        seconds, loaded = done.stdout.splitlines()
        assert loaded == "[]"
        runs.append(float(seconds))
    assert min(runs) < 0.6  # 0.15 s alone on its machine


def test_nothing_in_a_recipe_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in (
        '!!python/object/apply:os.system ["touch canary"]',
        '{_target_: os.system, command: "touch canary"}',
        "{kind: $(touch canary)}",
        "\"{{ cycler.__init__.__globals__.os.system('touch canary') }}\"",
    ):
        with pytest.raises(RecipeError):
            read(f"{LEAST}head: {text}\n")
    assert not list(tmp_path.iterdir())


WORDS = st.text("abcXYZ019-_. éß", min_size=1, max_size=12).filter(lambda text: bool(text.strip()))
SHARES = st.floats(0.0, 0.45, allow_nan=False)
RATES = st.floats(1e-6, 1.0, exclude_min=True)
STAGES = ["stem", "stage1", "stage2", "stage3", "stage4"]


def kinds(**choices: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(*(inner.map(lambda keys, kind=kind: {"kind": kind, **keys}) for kind, inner in choices.items()))


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


TRAINED = st.lists(st.sampled_from(STAGES), unique=True, min_size=1).map(lambda stages: [*stages, "head"])
PHASES = st.lists(
    st.fixed_dictionaries(
        {"train": TRAINED, "epochs": st.integers(6, 50), "lr": RATES},
        optional={"lr_decay": st.floats(0.01, 1.0), "batch_norm": st.sampled_from([None, "batch"])},
    ),
    min_size=1,
    max_size=3,
)
SEEN = st.lists(st.sampled_from(STAGES[1:-1]), unique=True, min_size=1).map(
    lambda stages: {"stages": [*stages, "stage4"]}
)
RECIPES = st.fixed_dictionaries(
    {
        "data": WORDS.filter(lambda text: text[0] not in "~$").map(lambda root: {"root": root}),
        "backbone": st.fixed_dictionaries(
            {"name": st.sampled_from(["resnet18", "resnet50", "convnext_tiny"])},
            optional={
                "weights": kinds(
                    file=WORDS.map(lambda path: {"path": path}), random=some(), package=st.just({"name": "a-b"})
                )
            },
        ),
        "schedule": kinds(
            full=some(epochs=st.integers(6, 99), lr=RATES, lr_decay=st.floats(0.1, 1.0)),
            gradual=some(epochs=st.integers(6, 99), lr=RATES, stages=st.integers(1, 5)),
            stages=TRAINED.map(lambda train: {"train": train}),
            phases=PHASES.map(lambda phases: {"phases": phases}),
        ),
    },
    optional={
        "seed": st.integers(0, 2**32 - 1),
        "name": st.from_regex(r"[a-z0-9_][a-z0-9_-]{0,9}", fullmatch=True),
        "split": kinds(
            stratified=st.fixed_dictionaries({"validation": SHARES.filter(bool), "test": SHARES}),
            given=st.sampled_from(
                [{"test": "val", "validation": 0.2}, {"test": "010", "validation": "no"}, {"validation": "v"}]
            ),
            grouped=st.fixed_dictionaries(
                {
                    "validation": SHARES.filter(bool),
                    "test": SHARES,
                    "pattern": st.sampled_from([None, r"(p\d+)_", "^no"]),
                }
            ),
            stored=st.fixed_dictionaries({"of": st.sampled_from(["runs/x/1", "../catalog.csv"])}),
        ),
        "head": kinds(
            linear=some(dropout=SHARES),
            cosine=some(),
            mlp=some(hidden=st.integers(1, 999), dropout=SHARES),
            multilayer=SEEN,
        ),
        "images": some(
            size=st.one_of(st.none(), st.integers(16, 2048)),
            fit=st.sampled_from(["crop", "pad", "squash"]),
            augment=some(kind=st.sampled_from(["none", "light", "standard"]), flip=st.booleans()),
        ),
        "train": some(
            batch_size=st.integers(2, 4096),
            patience=st.one_of(st.none(), st.integers(1, 3)),
            balance=st.sampled_from(["none", "weights"]),
            optimizer=kinds(
                adamw=some(weight_decay=SHARES),
                adam=st.fixed_dictionaries({"weight_decay": SHARES.filter(bool), "decayed": st.just("all")}),
                sgd=some(momentum=st.floats(0.1, 0.99), weight_decay=SHARES, nesterov=st.booleans()),
            ),
            rate=kinds(cosine=some(), constant=some()),
            label_smoothing=SHARES,
            warmup=SHARES,
            clip_norm=st.one_of(st.none(), st.floats(1e-3, 1000.0)),
            precision=st.sampled_from([None, "bf16", "float32"]),
        ),
    },
)


LEAST_KEYS = {"data": st.just({"root": "photos"}), "backbone": st.just({"name": "resnet50"})}
VIEWS = st.one_of(st.none(), st.integers(1, 64))
OTHERS = st.lists(st.sampled_from(["resnet18", "resnet34", "convnext_tiny"]), unique=True)
PROBED = st.fixed_dictionaries(
    {
        **LEAST_KEYS,
        "schedule": kinds(
            probe=some(),
            lp_ft=some(train=TRAINED, epochs=st.integers(1, 99), lr=RATES, interpolate=st.floats(0.01, 1.0)),
        ),
    },
    optional={
        "head": kinds(linear=some(), cosine=some(), multilayer=SEEN),
        "split": kinds(stratified=some(validation=SHARES, test=SHARES)),
        "train": some(batch_size=st.integers(1, 99), views=VIEWS),
    },
)
AUTOMATIC = st.fixed_dictionaries(
    {
        **LEAST_KEYS,
        "schedule": kinds(
            auto=some(
                budget=st.sampled_from(["10s", "90s", "1.5h", "48h"]),
                candidates=OTHERS.map(lambda names: [{"name": name} for name in names]),
            )
        ),
    },
    optional={
        "train": some(
            views=VIEWS,
            activations=st.sampled_from(["float32", "float16", "int8"]),
            batch_norm=st.sampled_from([None, "batch", "pretrained"]),
        )
    },
)


@PROFILE
@given(st.one_of(RECIPES, PROBED, AUTOMATIC))
def test_a_recipe_that_is_written_and_read_is_the_same(data: dict[str, Any]) -> None:
    recipe = read(json.dumps(data, ensure_ascii=False))
    text = dump(recipe)
    assert read(text) == recipe
    assert dump(read(text)) == text
    folder = Path("/data/deep/down")
    assert loads(dump(recipe, relative_to=folder), source="y.yaml", folder=folder) == recipe


def nodes(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every path into plain data but the root."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [one for key, value in inner for one in ((*path, key), *nodes(value, (*path, key)))]


@PROFILE
@given(st.one_of(RECIPES, PROBED, AUTOMATIC), st.data())
def test_a_mutated_recipe_loads_or_says_where(data: dict[str, Any], draw: st.DataObject) -> None:
    data = json.loads(json.dumps(data))
    path = draw.draw(st.sampled_from(nodes(data)))
    holder = data
    for part in path[:-1]:
        holder = holder[part]
    value, key = holder.pop(path[-1]), path[-1]
    change = draw.draw(st.sampled_from(["delete", "rename", "retype", "nest"]))
    if change != "delete":
        assume(not (change == "rename" and isinstance(key, int)))
        new = {
            "rename": value,
            "nest": {"kind": value},
            "retype": draw.draw(st.sampled_from([None, True, "x", -1, 0.5, [], {}])),
        }
        if isinstance(holder, list):
            holder.insert(int(key), new[change])
        else:
            holder[f"{key}x" if change == "rename" else key] = new[change]
    text = json.dumps(data, indent=1, ensure_ascii=False)
    began = time.process_time()
    message = ""
    try:
        read(text)
    except RecipeError as error:
        message = str(error)
    assert time.process_time() - began < 0.5
    assert "Input" not in message
    places = [line.split(":")[1] for line in message.splitlines() if line.startswith("x.yaml:")]
    assert bool(places) == bool(message)
    assert all(1 <= int(number) <= len(text.splitlines()) for number in places)


def test_every_backbone_can_be_named() -> None:
    for name in backbones.names()[::40]:
        recipe = read(f"data: {{root: x}}\nbackbone: {{name: {name}, weights: {{kind: random}}}}\n")
        assert read(dump(recipe)) == recipe
