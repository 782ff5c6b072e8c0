"""A run as TensorBoard or MLflow show it: the recipe, every epoch, and the scores with their intervals.

What a tracker writes lies in the bundle's `track/`, outside of its seal. Nothing is sent anywhere, but to the server
that the user's own MLFLOW_TRACKING_URI names. It decides nothing, and a run is the same with and without it.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.bundle import write_atomically
from finetune.errors import UsageError
from finetune.recipe.schema import Recipe, Tracker
from finetune.runtime import TrackedRun, has_tracker, tracked_run
from finetune.train.loop import Epoch

FOLDER = "track"

_LONGEST = 500  # characters of a hyper-parameter: the least that any store of MLflow takes
_SCALARS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr")
_HEALTH = ("gradient", "update", "activation")


def must_be_installed(asked: Sequence[Tracker]) -> None:
    """Raises UsageError, with the command that installs them, where trackers of a recipe are not installed."""
    missing = [kind for kind in asked if not has_tracker(kind)]
    if missing:
        raise UsageError(
            f"track names {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            f"pip install 'finetune-vision[{','.join(missing)}]'"
        )


@dataclass
class Trackers:
    """The trackers of a run, none unless said. What is written already, here or before the run was cut off, is not
    written again.
    """

    runs: Sequence[TrackedRun] = ()
    steps: list[dict[str, int]] = field(default_factory=list)

    def epochs(self, history: Iterable[Epoch]) -> None:
        """Losses, accuracies and the rate of each epoch, at its number; how each stage stood at its last step, such as
        gradient/stage1.
        """
        for epoch in history:
            values = {name: getattr(epoch, name) for name in _SCALARS}
            values |= {f"{name}/{one.stage}": getattr(one, name) for one in epoch.health for name in _HEALTH}
            self._write({name: float(value) for name, value in values.items() if value is not None}, epoch.epoch)

    def scores(self, metrics: Mapping[str, Mapping[str, Any]], *, epochs: int) -> None:
        """Every score of each part that is not of one class, with the ends of its interval, after so many epochs: such
        as test/accuracy, test/accuracy_low and test/accuracy_high.
        """
        found: dict[str, float] = {}
        for part, scores in metrics.items():
            for name, score in scores.items():
                if isinstance(score, Mapping) and score.get("value") is not None:
                    ends = {"": score["value"], "_low": score.get("low"), "_high": score.get("high")}
                    found |= {f"{part}/{name}{end}": float(v) for end, v in ends.items() if v is not None}
        self._write(found, epochs)

    def _write(self, values: Mapping[str, float], step: int) -> None:
        for run, last in zip(self.runs, self.steps, strict=True):
            new = {name: value for name, value in values.items() if last.get(name, -1) < step}
            if new:
                run.log(new, step)
                last.update(dict.fromkeys(new, step))


@contextlib.contextmanager
def tracked(recipe: Recipe, bundle: Path) -> Iterator[Trackers]:
    """The trackers that a recipe asks for, begun in the bundle's folder or gone on with where they had begun.

    Raises UsageError where one is not installed or cannot begin.
    """
    must_be_installed(recipe.track)
    with contextlib.ExitStack() as stack:
        trackers = Trackers()
        runs = []
        for kind in recipe.track:
            runs.append(stack.enter_context(_begun(kind, recipe, bundle)))
            trackers.steps.append(runs[-1].steps())
        trackers.runs = tuple(runs)
        yield trackers


@contextlib.contextmanager
def _begun(kind: Tracker, recipe: Recipe, bundle: Path) -> Iterator[TrackedRun]:
    folder = (bundle / FOLDER).absolute()
    folder.mkdir(exist_ok=True)
    marker = folder / f"{kind}.run"
    earlier = marker.read_text("utf-8").strip() if marker.is_file() else None
    with tracked_run(kind, folder, name=recipe.name, earlier=earlier) as run:
        if earlier is None:
            run.describe(dict(_flat(recipe.model_dump(mode="json"))))
            write_atomically(marker, f"{run.id}\n".encode())
        yield run


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    """The recipe's keys as `--set` names them, with values that every tracker takes."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float):
            yield f"{prefix}{name}", value
        else:
            yield f"{prefix}{name}", (value if isinstance(value, str) else json.dumps(value))[:_LONGEST]
