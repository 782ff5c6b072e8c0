import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finetune.errors import Diverged
from finetune.recipe.plan import Phase, Plan
from finetune.train import optimizer as optimizers
from finetune.train.loop import Epoch, Step, _is_best, fit
from tests.conftest import draw_classes
from tests.laws import epochs, tensors, training

Write = Callable[..., Path]
HEAD = Phase(("head",), 3, 1e-2, 1.0, "pretrained")
ALL = Phase(("stem", "stage1", "stage2", "stage3", "stage4", "head"), 2, 3e-3, 0.9, "batch")


def test_steps_and_epochs_come_in_order_and_say_where_they_are(photos: Path, write_recipe: Write) -> None:
    run = training(write_recipe(photos), Plan((HEAD, ALL), ()))
    events = list(fit(run))
    assert [event.epoch for event in events if isinstance(event, Epoch)] == [1, 2, 3, 4, 5]
    assert [event.phase for event in events if isinstance(event, Epoch)] == [1, 1, 1, 2, 2]
    first = [event for event in events if isinstance(event, Step) and event.epoch == 1]
    assert [(step.step, step.steps) for step in first] == [(1, 3), (2, 3), (3, 3)]
    assert first[-1].images == 12
    rates = [event.rate for event in events if isinstance(event, Step) and event.phase == 1]
    assert max(rates) == pytest.approx(1e-2)
    assert rates[-1] < rates[len(rates) // 2]


def test_training_learns_what_can_be_learnt(tmp_path: Path, write_recipe: Write) -> None:
    photos = draw_classes(tmp_path / "photos", {"red": 16, "green": 16})
    run = training(write_recipe(photos), Plan((Phase(ALL.train, 8, 3e-3, 1.0, "batch"),), ()))
    history = list(epochs(run))
    assert history[-1].train_loss < 0.7 * history[0].train_loss
    best = min(history, key=lambda epoch: epoch.validation_loss or math.inf)
    assert best.validation_accuracy == 1.0


def test_the_epoch_with_the_lowest_validation_loss_is_kept(photos: Path, write_recipe: Write) -> None:
    run = training(write_recipe(photos), Plan((Phase(ALL.train, 4, 0.3, 1.0, "batch"),), ()))
    kept = {}
    for epoch in epochs(run):
        if epoch.best:
            kept = {name: tensor for name, tensor in tensors(run).items() if name in run.trained}
    assert kept
    run.take_best()
    assert all(torch.equal(run.classifier.state_dict()[name], tensor) for name, tensor in kept.items())
    losses = [epoch.validation_loss for epoch in run.history]
    assert [epoch.best for epoch in run.history] == [losses[i] == min(losses[: i + 1]) for i in range(len(losses))]


def test_the_epoch_with_the_highest_validation_accuracy_is_kept_where_that_chooses(
    photos: Path, write_recipe: Write
) -> None:
    run = training(write_recipe(photos, more=", best: accuracy"), Plan((Phase(ALL.train, 5, 0.3, 1.0, "batch"),), ()))
    list(epochs(run))
    known = [(-(e.validation_accuracy or 0.0), e.validation_loss) for e in run.history]
    assert [e.best for e in run.history] == [one == min(known[: i + 1]) for i, one in enumerate(known)]
    by_loss = training(write_recipe(photos), Plan((HEAD,), ()))
    better, worse = Epoch(1, 1, ALL.train, 1.0, 0.5, 0.6, 0.5, 1e-3, True), (0.4, 0.4)
    for chosen, is_best in ((run, False), (by_loss, True)):
        chosen.history = [better]
        assert _is_best(chosen, worse) == is_best
        assert _is_best(chosen, (0.5, 0.5))  # of equals the one with the lower loss


def test_the_last_epoch_is_kept_where_validation_images_do_not_choose(photos: Path, write_recipe: Write) -> None:
    run = training(write_recipe(photos, more=", best: last"), Plan((Phase(ALL.train, 3, 0.3, 1.0, "batch"),), ()))
    history = list(epochs(run))
    assert all(epoch.validation_loss is not None and not epoch.best for epoch in history)
    last = tensors(run)
    run.take_best()
    assert all(torch.equal(last[name], tensor) for name, tensor in tensors(run).items())


def test_patience_watches_the_loss_whatever_chooses_the_epoch(photos: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, schedule="{kind: full, epochs: 9}", more=", patience: 2, best: last")
    run = training(recipe, Plan((Phase(ALL.train, 9, 1e-3, 1.0, "batch"),), ()))
    run.optimizer = optimizers.build(run.classifier, run.setting.plan.phases[0], run.setting.train.optimizer)
    for losses, goes_on in (([0.5, 0.4, 0.3], True), ([0.3, 0.4, 0.5], False)):
        run.history = [Epoch(n, 1, ALL.train, 1.0, 0.5, loss, 0.5, 1e-3, False) for n, loss in enumerate(losses, 1)]
        assert (next(fit(run), None) is not None) == goes_on


def test_the_history_says_at_which_rate_an_epoch_ended(photos: Path, write_recipe: Write) -> None:
    schedule, steps = "{kind: full, epochs: 4}", "{kind: steps, at: [1, 3], factor: [0.1, 0.5]}"
    recipe = write_recipe(photos, schedule=schedule, more=f", warmup: 0, rate: {steps}")
    run = training(recipe, Plan((Phase(ALL.train, 4, 1e-2, 0.5, "batch"),), ()))
    events = list(fit(run))
    assert [epoch.lr for epoch in run.history] == pytest.approx([1e-2, 1e-3, 1e-3, 5e-4])
    assert {event.rate for event in events if isinstance(event, Step) and event.epoch == 1} == {1e-2}


def test_the_rate_of_an_epoch_follows_the_losses_of_its_phase(photos: Path, write_recipe: Write) -> None:
    plateau = "{kind: plateau, factor: 0.5, patience: 2, lowest: 1.0e-6}"
    recipe = write_recipe(photos, schedule="{kind: full, epochs: 9}", more=f", warmup: 0, rate: {plateau}")
    run = training(recipe, Plan((Phase(ALL.train, 3, 1e-2, 1.0, "batch"), Phase(ALL.train, 9, 4e-3, 1.0, "batch")), ()))
    run.optimizer = optimizers.build(run.classifier, run.setting.plan.phases[1], run.setting.train.optimizer)
    losses = [(1, 0.1), (1, 0.2), (1, 0.3), (2, 0.9), (2, 0.9), (2, 1.0)]  # the first phase is over and forgotten
    run.history = [Epoch(n, p, ALL.train, 1.0, 0.5, loss, 0.5, 1e-3, n == 1) for n, (p, loss) in enumerate(losses, 1)]
    assert next(epochs(run)).lr == pytest.approx(2e-3)


def test_without_validation_images_the_last_epoch_is_kept(photos: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos)
    recipe.write_text(recipe.read_text().replace("validation: 0.25", "validation: 0.0"))
    run = training(recipe, Plan((HEAD,), ()))
    history = list(epochs(run))
    assert [epoch.validation_loss for epoch in history] == [None, None, None]
    assert all(epoch.best for epoch in history)
    last = tensors(run)
    run.take_best()
    assert all(torch.equal(last[name], tensor) for name, tensor in tensors(run).items())


def test_patience_ends_a_phase_and_the_next_one_begins(photos: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, schedule="{kind: full, epochs: 9}", more=", patience: 2")
    run = training(recipe, Plan((Phase(ALL.train, 9, 1e-3, 1.0, "batch"), HEAD), ()))
    one, two, three = (
        Epoch(n, 1, ALL.train, 1.0, 0.5, loss, 0.5, 1e-3, n == 1) for n, loss in ((1, 0.5), (2, 0.6), (3, 0.5))
    )
    run.history = [one, two, three]
    event = next(fit(run))
    assert isinstance(event, Step)
    assert (event.epoch, event.phase) == (4, 2)
    run.history = [
        one,
        two,
        three,
        replace(one, epoch=4, phase=2),
        replace(two, epoch=5, phase=2),
        replace(two, epoch=6, phase=2),
    ]
    assert list(fit(run)) == []


def test_an_epoch_that_improves_renews_the_patience(photos: Path, write_recipe: Write) -> None:
    recipe = write_recipe(photos, schedule="{kind: full, epochs: 9}", more=", patience: 2")
    run = training(recipe, Plan((Phase(ALL.train, 9, 1e-3, 1.0, "batch"),), ()))
    best = [True, False, True, False]
    run.history = [Epoch(n, 1, ALL.train, 1.0, 0.5, 1.0 / n, 0.5, 1e-3, b) for n, b in enumerate(best, start=1)]
    run.optimizer = optimizers.build(run.classifier, run.setting.plan.phases[0], run.setting.train.optimizer)
    event = next(fit(run))
    assert isinstance(event, Step)
    assert (event.epoch, event.phase) == (5, 1)


def test_a_loss_that_is_not_finite_stops_before_the_step(photos: Path, write_recipe: Write) -> None:
    run = training(write_recipe(photos), Plan((HEAD,), ()))
    with torch.no_grad():
        run.classifier.head[-1].bias[0] = math.nan
    before = tensors(run)
    with pytest.raises(Diverged, match=r"the loss is nan at epoch 1, step 1 of 3, at a learning rate of") as diverged:
        list(fit(run))
    assert str(diverged.value).count(".png") == 4
    assert diverged.value.exit_code == 5
    after = tensors(run)
    assert all(torch.equal(before[name].nan_to_num(), after[name].nan_to_num()) for name in before)


def test_a_gradient_that_is_not_finite_stops_before_the_step(photos: Path, write_recipe: Write) -> None:
    run = training(write_recipe(photos, more=", clip_norm: null"), Plan((HEAD,), ()))
    run.classifier.head[-1].weight.register_hook(lambda gradient: gradient * math.inf)
    before = tensors(run)
    with pytest.raises(Diverged, match=r"the gradient is (inf|nan) at epoch 1, step 1"):
        list(fit(run))
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(run).items())


def test_an_epoch_that_drove_the_weights_away_is_no_score(photos: Path, write_recipe: Write) -> None:
    run = training(write_recipe(photos), Plan((HEAD,), ()))
    steps = fit(run)
    while (step := next(steps)).step < step.steps:  # type: ignore[union-attr]
        pass
    with torch.no_grad():
        run.classifier.head[-1].weight.fill_(math.inf)
    with pytest.raises(Diverged, match="after epoch 1 there is no score: logits must be finite, but are not for 6 of"):
        next(steps)
    assert run.history == []


def test_clipping_limits_the_step_and_null_leaves_it(photos: Path, write_recipe: Write) -> None:
    def moved(more: str) -> float:
        run = training(
            write_recipe(photos, more=f", optimizer: {{kind: sgd, weight_decay: 0}}{more}"), Plan((HEAD,), ())
        )
        before = run.classifier.head[-1].weight.detach().clone()
        next(fit(run))
        return float((run.classifier.head[-1].weight.detach() - before).norm())

    assert moved(", clip_norm: 1.0e-4") < 0.01 * moved(", clip_norm: null")


def test_weights_of_classes_balance_the_loss(tmp_path: Path, write_recipe: Write) -> None:
    photos = draw_classes(tmp_path / "photos", {"red": 24, "green": 6})

    def first_loss(more: str) -> float:
        run = training(write_recipe(photos, more=more), Plan((HEAD,), ()))
        with torch.no_grad():
            run.classifier.head[-1].bias.copy_(torch.tensor([-3.0, 3.0]))  # says red to everything
        return next(epochs(run)).train_loss

    assert first_loss(", balance: weights") > 1.3 * first_loss("")


def test_label_smoothing_reaches_the_loss(photos: Path, write_recipe: Write) -> None:
    def last_loss(more: str) -> float:
        run = training(write_recipe(photos, more=more), Plan((Phase(ALL.train, 6, 3e-3, 1.0, "batch"),), ()))
        return list(epochs(run))[-1].train_loss

    assert last_loss(", label_smoothing: 0.3") > last_loss("") + 0.1
