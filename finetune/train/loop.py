"""Training, phase by phase: a generator that the caller drives, watches, saves from, and stops by not asking for more.

It knows nothing of files, signals or screens. What an epoch does is a function of the weights at its start, the seed
and its number; that is what makes a resumed run equal to an uncut one.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from finetune.data.catalog import Catalog
from finetune.errors import Diverged, UsageError, listing
from finetune.model.classifier import Classifier, set_training
from finetune.predict import Check, evaluate
from finetune.recipe.plan import Phase
from finetune.runtime import seed
from finetune.scores.metrics import accuracy, log_loss
from finetune.scores.predictions import Predictions
from finetune.train import optimizer as optimizers
from finetune.train.batches import Batch, sizes, training_batches
from finetune.train.boundary import Boundary, boundary
from finetune.train.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer
from finetune.train.losses import balanced_weights, loss
from finetune.train.setting import Setting


@dataclass(frozen=True)
class Step:
    """One optimizer step; epoch, phase and `step` count from 1, `step` within its epoch, which has `steps`."""

    epoch: int
    phase: int
    step: int
    steps: int
    loss: float
    images: int
    rate: float


@dataclass(frozen=True)
class Health:
    """How a stage stood at one step of an epoch, counted from 1.

    gradient: the norm of its gradient; weights: that of its weights before the step; update: the norm of what the step
    changed over that; all None where it is frozen. activation: the root mean square of what left it. What was not
    finite is None.
    """

    step: int
    stage: str
    gradient: float | None
    weights: float | None
    update: float | None
    activation: float | None


Look = Callable[[Classifier, int], AbstractContextManager[Sequence[Health]]]  # around a step; filled once it is taken


@dataclass(frozen=True)
class Epoch:
    """One line of `history.jsonl`, without a clock. `train_loss` and `train_accuracy` are means over the images as they
    were seen in training; the validation scores are None without validation images. `lr` is the rate of the last step
    for the phase's full-rate stages. `health` is that of each stage at the first and at the last step, where somebody
    looked.
    """

    epoch: int
    phase: int
    train: tuple[str, ...]
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float
    best: bool
    health: tuple[Health, ...] = ()

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> "Epoch":
        """The epoch of a line of the history."""
        health = tuple(Health(**one) for one in line.get("health", ()))
        return cls(**{**line, "train": tuple(line["train"]), "health": health})


@dataclass
class Training:
    """The one thing that changes: weights, optimizer, history, and the best epoch so far.

    `best` holds the trained tensors of the epoch that is to ship: the one with the lowest validation loss or the
    highest validation accuracy, as the recipe says, or the last one, as always where there are no validation images.
    """

    classifier: Classifier
    setting: Setting
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    optimizer: torch.optim.Optimizer | None = None

    @property
    def trained(self) -> dict[str, Tensor]:
        """CPU copies of every tensor of the stages that some phase trains."""
        return self._tensors(trained=True)

    @property
    def frozen(self) -> dict[str, Tensor]:
        """CPU copies of every tensor of the stages that no phase trains."""
        return self._tensors(trained=False)

    def checkpoint(self) -> Checkpoint:
        """What has to be kept at the end of an epoch to go on from there."""
        assert self.optimizer is not None, "a checkpoint is taken after an epoch"
        history = [asdict(epoch) for epoch in self.history]
        return Checkpoint(
            model=self.trained, best=self.best, optimizer=optimizer_tensors(self.optimizer), state={"history": history}
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes back to the end of the epoch at which the checkpoint was taken."""
        self.classifier.load_state_dict(dict(checkpoint.model))
        self.history = [Epoch.from_dict(line) for line in checkpoint.state["history"]]
        self.best = {name: checkpoint.best[name] for name in self.trained}
        phase = self.setting.plan.phases[self.history[-1].phase - 1]
        self.optimizer = optimizers.build(self.classifier, phase, self.setting.train.optimizer)
        restore_optimizer(self.optimizer, checkpoint.optimizer)

    def take_best(self) -> None:
        """Puts the best epoch into the classifier: what ships."""
        self.classifier.load_state_dict({**self.classifier.state_dict(), **self.best})

    def _tensors(self, *, trained: bool) -> dict[str, Tensor]:
        stages = {stage for phase in self.setting.plan.phases for stage in phase.train}
        return {
            name: tensor.detach().cpu().clone().contiguous()
            for name, tensor in self.classifier.state_dict().items()
            if (self.classifier.stage_of(name) in stages) == trained
        }


def fit(training: Training, *, check: Check | None = None, look: Look | None = None) -> Iterator[Step | Epoch]:
    """Trains from where `training` stands to the end of its plan, yielding every step and every epoch.

    After an `Epoch` is yielded, `training` is that of its end and may be saved; after a `Step` it is in the middle of
    one. `check(done, total)` is called between the batches of an evaluation and may raise to stop; `look(classifier,
    step)` is entered around the first and the last step of each epoch. Raises Diverged before a step whose loss or
    gradient is not finite, and after an epoch whose answers are not; DataError when an image file has gone.
    """
    below: dict[int, _Below] = {}
    while (place := _next(training)) is not None:
        number, phase = place
        begun = [epoch for epoch in training.history if epoch.phase == number]
        if not begun:
            training.optimizer = optimizers.build(training.classifier, phase, training.setting.train.optimizer)
        if phase.views is not None and number not in below:
            below = {number: _Below.filled(training, phase, check)}
        at = below.get(number)
        yield from _epoch(training, phase, at, number=number, within=len(begun), check=check, look=look)


def _next(training: Training) -> tuple[int, Phase] | None:
    """The phase that the next epoch belongs to, counted from 1: a function of the plan and the history."""
    phases = training.setting.plan.phases
    if not phases:
        return None
    number = training.history[-1].phase if training.history else 1
    done = sum(epoch.phase == number for epoch in training.history)
    if done >= phases[number - 1].epochs or _out_of_patience(training, number):
        number += 1
    return (number, phases[number - 1]) if number <= len(phases) else None


def _out_of_patience(training: Training, number: int) -> bool:
    """Whether the validation loss has not improved for `patience` epochs of this phase: then the next phase begins."""
    patience, history = training.setting.train.patience, training.history
    own = sum(epoch.phase == number for epoch in history)
    if patience is None or own < patience:
        return False
    return not any(_lowest(history[:place], history[place].validation_loss) for place in range(-patience, 0))


@dataclass(frozen=True)
class _Below:
    """What is kept of the training and of the validation images below the stages that a phase trains."""

    train: Boundary
    validation: Boundary | None

    @classmethod
    def filled(cls, training: Training, phase: Phase, check: Check | None) -> "_Below":
        setting = training.setting
        extractor = setting.extractor(training.classifier.cut)

        def of(catalog: Catalog, views: int | None) -> Boundary:
            return boundary(
                training.classifier,
                phase,
                catalog,
                extractor=extractor,
                runtime=setting.runtime,
                stored_as=setting.train.activations,
                views=views,
                check=check,
            )

        validation = setting.split.validation
        return cls(of(setting.split.train, None), of(validation, 1) if len(validation) else None)


def _epoch(
    training: Training,
    phase: Phase,
    below: _Below | None,
    *,
    number: int,
    within: int,
    check: Check | None,
    look: Look | None,
) -> Iterator[Step | Epoch]:
    setting, epoch = training.setting, len(training.history) + 1
    seed(setting.seed, "epoch", epoch)
    set_training(training.classifier, phase.train, batch_norm=phase.batch_norm)
    network: nn.Module = training.classifier
    if below:
        network = below.train.network
        below.train.network.follow()
    steps = len(sizes(len(setting.split.train), setting.train.batch_size))
    weights = _class_weights(setting)
    losses = [line.validation_loss for line in training.history if line.phase == number]
    total = correct = seen = 0.0
    health: list[Health] = []
    for step, batch in enumerate(_batches(setting, epoch, below), start=1):
        share = optimizers.rate_share(
            setting.train.rate,
            within * steps + step - 1,
            epochs=phase.epochs,
            steps=steps,
            warmup=setting.train.warmup,
            peak=phase.lr,
            losses=losses,
        )
        where = f"epoch {epoch}, step {step} of {steps}"
        looking = look(training.classifier, step) if look and step in (1, steps) else nullcontext(())
        with looking as found:
            value, right = _step(training, network, batch, share=share, weights=weights, where=where)
        health += found
        total += value * len(batch.keys)
        correct += right
        seen += len(batch.keys)
        yield Step(epoch, number, step, steps, total / seen, int(seen), share * phase.lr)
    validation = _validate(training, below, check)
    best = _is_best(training, validation)
    if best or setting.train.best == "last":
        training.best = training.trained
    line = Epoch(
        epoch=epoch,
        phase=number,
        train=phase.train,
        train_loss=total / seen,
        train_accuracy=correct / seen,
        validation_loss=None if validation is None else validation[0],
        validation_accuracy=None if validation is None else validation[1],
        lr=phase.lr * share,
        best=best,
        health=tuple(health),
    )
    training.history.append(line)
    yield line


def _batches(setting: Setting, epoch: int, below: _Below | None) -> Iterator[Batch]:
    if below:
        return below.train.batches(
            setting.split.train, epoch=epoch, seed=setting.seed, batch_size=setting.train.batch_size
        )
    return training_batches(
        setting.split.train,
        setting.views,
        preprocessing=setting.preprocessing,
        epoch=epoch,
        seed=setting.seed,
        batch_size=setting.train.batch_size,
        runtime=setting.runtime,
        pixels=setting.pixels,
    )


def _step(
    training: Training, network: nn.Module, batch: Batch, *, share: float, weights: Tensor | None, where: str
) -> tuple[float, int]:
    """One optimizer step: the mean loss of the batch before it, and how many images were right."""
    optimizer, train = training.optimizer, training.setting.train
    assert optimizer is not None
    optimizers.set_rates(optimizer, share)
    optimizer.zero_grad(set_to_none=True)
    with training.setting.runtime.autocast():
        logits = network(batch.images)
    value = loss(logits, batch.labels, smoothing=train.label_smoothing, class_weights=weights)
    _must_be_finite(value, "loss", batch, optimizer, where)
    torch.autograd.backward(value)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, train.clip_norm or math.inf)
    _must_be_finite(norm, "gradient", batch, optimizer, where)
    optimizer.step()
    return value.item(), _right(logits, batch.labels)


def _right(logits: Tensor, labels: Tensor) -> int:
    if labels.ndim == 1:
        return int((logits.argmax(1) == labels).sum())
    return int(((logits > 0) == labels).all(1).sum())


def _must_be_finite(value: Tensor, what: str, batch: Batch, optimizer: torch.optim.Optimizer, where: str) -> None:
    if not torch.isfinite(value):
        rate = max(group["lr"] for group in optimizer.param_groups)
        raise Diverged(
            f"the {what} is {value.item()} at {where}, at a learning rate of {rate:.3g}; the step was not taken. "
            f"A lower rate or train.clip_norm usually helps. The images of this batch:{listing(batch.keys)}"
        )


def _class_weights(setting: Setting) -> Tensor | None:
    if setting.train.balance == "none":
        return None
    train = setting.split.train
    return balanced_weights(train.labels, classes=len(train.classes)).to(setting.runtime.device)


def _validate(training: Training, below: _Below | None, check: Check | None) -> tuple[float, float] | None:
    """The log-loss and the accuracy on the validation images; None without any."""
    if not len(training.setting.split.validation):
        return None
    try:
        predictions = _of_validation(training, below, check)
    except UsageError as error:  # the last step of the epoch drove the weights away
        raise Diverged(
            f"after epoch {len(training.history) + 1} there is no score: {error}. A lower rate or train.clip_norm "
            "usually helps"
        ) from error
    return log_loss(predictions), accuracy(predictions)


def _of_validation(training: Training, below: _Below | None, check: Check | None) -> Predictions:
    setting, catalog = training.setting, training.setting.split.validation
    if below and below.validation:
        training.classifier.eval()
        logits = below.validation.logits(len(catalog), check=check)
        return Predictions(catalog.keys, logits, catalog.classes, catalog.labels)
    return evaluate(
        training.classifier,
        catalog,
        preprocessing=setting.preprocessing,
        runtime=setting.runtime,
        pixels=setting.pixels,
        check=check,
    )


def _is_best(training: Training, validation: tuple[float, float] | None) -> bool:
    """Whether no epoch so far is as good as one of this validation loss and accuracy, by what chooses among them."""
    if validation is None:
        return True
    loss, accuracy = validation
    match training.setting.train.best:
        case "last":
            return False
        case "loss":
            return _lowest(training.history, loss)
        case "accuracy":  # of equals the one with the lower loss
            known = [(e.validation_accuracy, e.validation_loss) for e in training.history]
            earlier = [(-right, lost) for right, lost in known if right is not None and lost is not None]
            return not earlier or (-accuracy, loss) < min(earlier)


def _lowest(history: Sequence[Epoch], loss: float | None) -> bool:
    """Whether no epoch of this history has a validation loss as low as this."""
    earlier = [epoch.validation_loss for epoch in history if epoch.validation_loss is not None]
    return loss is None or not earlier or loss < min(earlier)
