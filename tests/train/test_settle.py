import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from finetune.data.catalog import Catalog
from finetune.data.split import Split
from finetune.predict import evaluate
from finetune.recipe.plan import Phase, Plan
from finetune.recipe.section import STAGES
from finetune.scores.metrics import log_loss
from finetune.train.loop import Training, fit
from finetune.train.settle import asking, between, settle
from tests.conftest import draw_alike, draw_classes
from tests.laws import differing, epochs, from_probe, tensors, training

Write = Callable[..., Path]
LAST = Phase(("stage4", "head"), 2, 1e-3, 1.0, "pretrained", 2)
ALL = Phase(STAGES, 2, 1e-3, 1.0, "batch")
HEAD = Phase(("head",), 2, 1e-3, 1.0, "pretrained", 2)


def kept_as(stored_as: str, run: Training) -> Training:
    """With what enters the stages that train kept so; as float32 it is kept as it is."""
    run.setting = replace(run.setting, train=run.setting.train.model_copy(update={"activations": stored_as}))
    return run


@pytest.fixture
def alike(tmp_path: Path) -> Path:
    return draw_alike(tmp_path / "photos", {"blue": 20, "green": 20, "red": 20})


def loss_of(run: Training, part: Catalog) -> float:
    setting = run.setting
    return log_loss(evaluate(run.classifier, part, preprocessing=setting.preprocessing, runtime=setting.runtime))


# never below the start


@pytest.mark.parametrize(("lr", "optimizer"), [(1e-3, "adamw"), (10.0, "adamw"), (10.0, "sgd")])
@pytest.mark.parametrize("phase", [HEAD, LAST, ALL], ids=["head", "last stage", "all stages"])
def test_what_ships_is_never_below_the_probe_on_training_images(
    phase: Phase, lr: float, optimizer: str, alike: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(alike, more=f", optimizer: {{kind: {optimizer}}}")
    run = kept_as("float32", from_probe(recipe, Plan((replace(phase, lr=lr),), ())))
    start, split = run.trained, run.setting.split
    before = [loss_of(run, part) for part in (split.train, split.validation)]
    list(fit(run))
    run.take_best()
    went, notes = settle(run, start, share=1.0)
    after = [loss_of(run, part) for part in (split.train, split.validation)]
    assert all(now <= then for now, then in zip(after, before, strict=True))
    assert (went == 1) == (notes == ())
    if went == 0:
        assert not differing(start, run.trained)
    if phase is HEAD and lr < 1:
        assert went == 1  # nothing is refused that does good


@pytest.mark.parametrize(("stored_as", "rounding"), [("float16", 1e-4), ("int8", 1e-2)])
@pytest.mark.parametrize("lr", [1e-3, 10.0])
def test_maps_kept_with_less_precision_decide_as_the_images_themselves_up_to_their_rounding(
    stored_as: str, rounding: float, lr: float, alike: Path, write_recipe: Write
) -> None:
    run = kept_as(stored_as, from_probe(write_recipe(alike), Plan((replace(LAST, lr=lr),), ())))
    start, split = run.trained, run.setting.split
    before = [loss_of(run, part) for part in (split.train, split.validation)]
    list(fit(run))
    run.take_best()
    settle(run, start, share=1.0)
    after = [loss_of(run, part) for part in (split.train, split.validation)]
    assert all(now <= then + rounding for now, then in zip(after, before, strict=True))


def test_weights_that_say_nothing_finite_are_left(photos: Path, write_recipe: Write) -> None:
    run = from_probe(write_recipe(photos), Plan((LAST,), ()))
    start = run.trained
    for value in (math.nan, math.inf):
        run.best = {
            name: torch.full_like(tensor, value) for name, tensor in start.items() if tensor.is_floating_point()
        }
        run.best = {**start, **run.best}
        went, (note,) = settle(run, start, share=1.0)
        assert went == 0
        assert "training and the validation images; the probe itself ships" in note
        assert not differing(start, run.trained)


def test_a_frozen_stage_is_not_touched(photos: Path, write_recipe: Write) -> None:
    run = from_probe(write_recipe(photos), Plan((LAST,), ()))
    start, before = run.trained, tensors(run)
    list(fit(run))
    settle(run, start, share=0.5)
    stages = {run.classifier.stage_of(name) for name in differing(before, tensors(run))}
    assert stages <= {"stage4", "head"}


# halving, on a head that says the same of every image: its loss is that of three in four being blue


def said_by_bias(photos: Path, write_recipe: Write, bias: float, validation: tuple[int, int] = (0, 0)) -> Training:
    """A training from a head without an opinion to one that says blue with log-odds `bias`."""
    run = training(write_recipe(photos), Plan((HEAD,), ()))
    everything = run.setting.split.train
    blue, red = (
        [place for place, sample in enumerate(everything.samples) if sample.label == name]
        for name in everything.classes
    )
    learnt, held = (
        everything.select(blue[:9] + red[:3]),
        everything.select(blue[9 : 9 + validation[0]] + red[3 : 3 + validation[1]]),
    )
    run.setting = replace(run.setting, split=Split(learnt, held, everything.select([]), ()))
    with torch.no_grad():
        for tensor in run.classifier.head.state_dict().values():
            tensor.zero_()
    run.best = run.trained
    (name,) = (name for name, tensor in run.best.items() if tensor.ndim == 1)
    run.best[name] = torch.tensor([bias, 0.0])
    return run


@pytest.fixture
def mostly_blue(tmp_path: Path) -> Path:
    return draw_classes(tmp_path / "photos", {"blue": 26, "red": 14})


def settled(run: Training, share: float = 1.0) -> tuple[float, tuple[str, ...], float]:
    """How far it went, what it says, and the log-odds that ship."""
    start = {name: torch.zeros_like(tensor) for name, tensor in run.best.items()}
    went, notes = settle(run, start, share=share)
    (bias,) = (t for n, t in run.classifier.head.state_dict().items() if t.ndim == 1)
    return went, notes, float(bias[0] - bias[1])


@pytest.mark.parametrize(("bias", "went"), [(2.0, 1.0), (4.0, 0.5), (8.0, 0.25), (16.0, 0.0)])
def test_the_way_is_halved_until_it_does_not_lose(
    bias: float, went: float, mostly_blue: Path, write_recipe: Write
) -> None:
    found, notes, shipped = settled(said_by_bias(mostly_blue, write_recipe, bias))
    assert found == went
    assert shipped == bias * went
    if went == 1:
        assert notes == ()
    elif went:
        assert notes == (
            f"what ships lies {went:g} of the way from the probe to the trained weights, shorter than the 1 that was "
            "asked for, where it lost to the probe",
        )
    else:
        assert notes == ("training from the probe made it worse on the training images; the probe itself ships",)


def test_a_part_of_the_way_that_was_asked_for_is_said(mostly_blue: Path, write_recipe: Write) -> None:
    found, notes, shipped = settled(said_by_bias(mostly_blue, write_recipe, 4.0), share=0.5)
    assert (found, shipped) == (0.5, 2.0)
    assert notes == ("what ships lies 0.5 of the way from the probe to the trained weights",)


def test_halving_begins_at_what_was_asked_for(mostly_blue: Path, write_recipe: Write) -> None:
    found, _, shipped = settled(said_by_bias(mostly_blue, write_recipe, 10.0), share=0.8)
    assert (found, shipped) == (0.2, 2.0)


def test_validation_images_have_a_say(mostly_blue: Path, write_recipe: Write) -> None:
    equal = said_by_bias(mostly_blue, write_recipe, 2.0, validation=(2, 2))
    found, notes, shipped = settled(equal)
    assert (found, shipped) == (0, 0)
    assert notes == ("training from the probe made it worse on the validation images; the probe itself ships",)
    both = said_by_bias(mostly_blue, write_recipe, -2.0, validation=(3, 1))
    assert "on the training and the validation images" in settled(both)[1][0]


# between


def test_between_is_exact_at_the_end_and_right_on_the_way() -> None:
    generator = torch.Generator().manual_seed(0)
    start = {"weight": torch.randn(4000, generator=generator)}
    end = {"weight": 1e3 * torch.randn(4000, generator=generator)}
    assert torch.equal(between(start, end, 1.0)["weight"], end["weight"])
    for share in (0.25, 0.5, 0.75):
        expected = (1 - share) * start["weight"].double() + share * end["weight"].double()
        assert torch.allclose(between(start, end, share)["weight"].double(), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("share", "counted"), [(0.25, 3), (0.5, 3), (0.75, 90), (1.0, 90)])
def test_a_counter_is_that_of_the_nearer_one(share: float, counted: int) -> None:
    def batches(number: int) -> dict[str, Tensor]:
        return {"batches": torch.tensor(number)}

    assert int(between(batches(3), batches(90), share)["batches"]) == counted


# asking


@pytest.mark.parametrize("views", [None, 2])
def test_it_asks_what_an_evaluation_would_say_after_several_phases(
    views: int | None, photos: Path, write_recipe: Write
) -> None:
    lower = Phase(("stage3", "head"), 1, 1e-2, 1.0, "pretrained", views)
    upper = Phase(("stage4", "head"), 1, 1e-2, 1.0, "pretrained", views)
    run = kept_as("float32", training(write_recipe(photos), Plan((lower, upper), ())))
    setting, start = run.setting, run.trained
    list(epochs(run))
    ask, said = asking(run, setting.split.train), []
    for weights in (start, run.best):
        run.classifier.load_state_dict({**run.classifier.state_dict(), **weights})
        said.append(ask().logits)
        live = evaluate(
            run.classifier, setting.split.train, preprocessing=setting.preprocessing, runtime=setting.runtime
        )
        assert torch.equal(torch.from_numpy(said[-1]), torch.from_numpy(live.logits))
    assert not (said[0] == said[1]).all()
