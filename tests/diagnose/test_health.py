"""What is seen of a step, against numbers worked out otherwise; and that looking changes nothing."""

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from finetune import job
from finetune.diagnose import health
from finetune.errors import Diverged
from finetune.model.classifier import Classifier, set_training
from finetune.recipe.plan import Phase, Plan
from finetune.runtime import has_bf16
from finetune.train.loop import Epoch, Health, Training, fit
from tests.laws import differing, from_probe, tensors, training

Write = Callable[..., Path]
STAGES = ("stem", "stage1", "stage2", "stage3", "stage4", "head")
ALL = Phase(STAGES, 2, 1e-2, 1.0, "batch")
UPPER = Phase(("stage4", "head"), 1, 1e-2, 1.0, "batch")
SGD = ", optimizer: {kind: sgd, momentum: 0.5, weight_decay: 0.0}, warmup: 0.0, clip_norm: null"


def looked(run: Training) -> list[Epoch]:
    return [event for event in fit(run, look=health.looking) if isinstance(event, Epoch)]


def by_stage(run: Training, found: dict[str, Tensor]) -> dict[str, float]:
    """The norms of tensors by the stage that their names belong to."""
    parts: dict[str, list[Tensor]] = {}
    for name, tensor in found.items():
        parts.setdefault(run.classifier.stage_of(name), []).append(tensor.flatten().double())
    return {stage: float(torch.cat(its).norm()) for stage, its in parts.items()}


def test_every_stage_is_seen_at_the_first_and_the_last_step_of_each_epoch(photos: Path, write_recipe: Write) -> None:
    for epoch in looked(training(write_recipe(photos), Plan((ALL,), ()))):
        assert [(one.step, one.stage) for one in epoch.health] == [(s, name) for s in (1, 3) for name in STAGES]
        assert all(one.gradient and one.weights and one.update and one.activation for one in epoch.health)


def test_gradients_weights_and_updates_are_those_of_the_step(photos: Path, write_recipe: Write) -> None:
    run = training(write_recipe(photos, more=SGD), Plan((ALL,), ()))
    weights = dict(run.classifier.named_parameters())
    before = {name: one.detach().clone() for name, one in weights.items()}
    first: list[Health] = []

    @contextlib.contextmanager
    def once(classifier: Classifier, step: int) -> Iterator[list[Health]]:
        with health.looking(classifier, step) as found:
            yield found
        first.extend(found)

    next(fit(run, look=once))
    changed = by_stage(run, {name: one.detach() - before[name] for name, one in weights.items()})
    gradients = by_stage(run, {name: one.grad for name, one in weights.items() if one.grad is not None})
    norms = by_stage(run, before)
    for one in first:
        assert one.gradient == pytest.approx(gradients[one.stage], rel=1e-4)
        assert one.weights == pytest.approx(norms[one.stage], rel=1e-4)
        assert one.update == pytest.approx(changed[one.stage] / norms[one.stage], rel=1e-3)
        assert one.update == pytest.approx(1.5e-2 * one.gradient / norms[one.stage], rel=1e-2)  # Nesterov's first step


def test_a_gradient_is_that_before_it_is_clipped(photos: Path, write_recipe: Write) -> None:
    clipped = training(write_recipe(photos, more=", clip_norm: 1.0e-4", name="clipped"), Plan((ALL,), ()))
    free = training(write_recipe(photos, more=", clip_norm: null", name="free"), Plan((ALL,), ()))
    one, other = looked(clipped)[0].health[0], looked(free)[0].health[0]
    assert one.gradient == other.gradient
    assert clipped.setting.train.clip_norm == 1e-4


def test_activations_are_those_that_leave_the_stages(photos: Path, write_recipe: Write) -> None:
    run = training(write_recipe(photos), Plan((ALL,), ()))
    images = torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8)
    run.classifier.eval()
    run.classifier.head.train()  # else it is asked image by image
    with torch.no_grad(), health.leaving(run.classifier) as seen:
        logits = run.classifier(images)
    normalised = run.classifier.normalise(images)
    with torch.no_grad():
        expected = {stage: run.classifier.cut.upto(stage)(normalised) for stage in STAGES[:-1]}
    for stage, map in (expected | {"head": logits}).items():
        assert seen[stage] == pytest.approx(float(map.double().square().mean().sqrt()), rel=1e-5)


def test_of_a_frozen_stage_only_what_leaves_it_is_known(photos: Path, write_recipe: Write) -> None:
    (epoch,) = looked(training(write_recipe(photos), Plan((UPPER,), ())))
    for one in epoch.health:
        known = one.stage in UPPER.train
        assert [value is not None for value in (one.gradient, one.weights, one.update)] == [known] * 3
        assert one.activation


@pytest.mark.parametrize(("train", "seen"), [(("stage3", "stage4", "head"), STAGES[3:]), (("head",), ("head",))])
def test_above_kept_activations_only_the_stages_that_run_are_seen(
    train: tuple[str, ...], seen: tuple[str, ...], photos: Path, write_recipe: Write
) -> None:
    phase = replace(UPPER, train=train, views=2)
    (epoch,) = looked(from_probe(write_recipe(photos), Plan((phase,), ()), views=2))
    assert [one.stage for one in epoch.health if one.step == 1] == list(seen)
    assert all(one.gradient and one.activation for one in epoch.health)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("phase", [ALL, UPPER, replace(UPPER, views=2)], ids=["all", "upper", "kept"])
def test_looking_changes_no_bit(phase: Phase, precision: str, photos: Path, write_recipe: Write) -> None:
    if precision == "bf16" and not has_bf16(torch.device("cpu")):
        pytest.skip("this processor has no bf16 instructions")
    recipe = write_recipe(photos)
    seen, unseen = (training(recipe, Plan((phase,), ()), precision=precision) for _ in range(2))
    history = looked(seen)
    plain = [event for event in fit(unseen) if isinstance(event, Epoch)]
    assert differing(tensors(seen), tensors(unseen)) == set()
    assert [replace(line, health=()) for line in history] == plain
    assert all(line.health for line in history)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in seen.classifier.modules())


def test_a_run_leaves_it_in_its_history_and_the_same_in_two_runs(
    photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(photos)
    one, other = (job.run(recipe, output=tmp_path / name) for name in "ab")
    assert one.read("history.jsonl") == other.read("history.jsonl")
    lines = [json.loads(line) for line in one.read("history.jsonl").decode().splitlines()]
    assert all({part["stage"] for part in line["health"]} == set(STAGES) for line in lines)
    assert 'class="part health"' in (one.folder / "report.html").read_text(encoding="utf-8")


def test_a_step_that_is_not_taken_leaves_no_hook_behind(photos: Path, write_recipe: Write) -> None:
    run = training(write_recipe(photos), Plan((ALL,), ()))
    with torch.no_grad():
        run.classifier.head[-1].bias[0] = math.nan
    with pytest.raises(Diverged):
        looked(run)
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in run.classifier.modules())
    assert all(not one._post_accumulate_grad_hooks for one in run.classifier.parameters())


def test_what_is_not_finite_and_what_has_no_scale_is_none(photos: Path, write_recipe: Write) -> None:
    run = training(write_recipe(photos), Plan((ALL,), ()))
    set_training(run.classifier, ("head",), batch_norm="batch")
    images = torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8)
    output = run.classifier.head[-1]
    with torch.no_grad():
        output.weight.zero_()
        output.bias.zero_()
    with health.looking(run.classifier, 1) as found:
        (run.classifier(images).square().sum() + math.inf * output.bias.sum()).backward()
    (head,) = [one for one in found if one.stage == "head"]
    assert (head.gradient, head.weights, head.update, head.activation) == (None, 0.0, None, 0.0)
