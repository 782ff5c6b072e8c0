"""How the learning rate of a phase goes on from its peak: the kinds of curve that a recipe may name, their rules."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from finetune.recipe.section import Conflict, Section

_MOST = 50  # steps of a phase
_FACTOR = "factor is a number above 0 and below 1, or a list of them, one for each epoch in 'at'"

StepEpoch = Annotated[int, Field(ge=1, le=10_000)]


def _factors(value: object) -> object:
    """A number, or one for each step; pydantic's own union would name its members."""
    listed = tuple(value) if isinstance(value, list | tuple) else (value,)
    numbers = [one for one in listed if isinstance(one, int | float) and not isinstance(one, bool) and 0 < one < 1]
    if not listed or len(numbers) < len(listed):
        raise ValueError(_FACTOR)
    return listed if isinstance(value, list | tuple) else value


class CosineRate(Section):
    """Half a cosine from the peak down towards zero."""

    kind: Literal["cosine"] = "cosine"


class ConstantRate(Section):
    """The peak, to the end."""

    kind: Literal["constant"] = "constant"


class SteppedRate(Section):
    """The peak, multiplied by a factor each time that so many epochs of a phase are over."""

    example: ClassVar[str] = "{kind: steps, at: [80, 120], factor: 0.1}"
    kind: Literal["steps"] = "steps"
    at: Annotated[tuple[StepEpoch, ...], Field(min_length=1, max_length=_MOST)] = Field(
        description="epochs of a phase after which the rate is multiplied"
    )
    factor: Annotated[float | tuple[float, ...], BeforeValidator(_factors)] = Field(
        0.1, description="what the rate is multiplied by each time; a list: a factor for each"
    )

    @property
    def factors(self) -> tuple[float, ...]:
        """One for each epoch in `at`."""
        return self.factor if isinstance(self.factor, tuple) else (self.factor,) * len(self.at)

    def conflicts(self) -> Iterator[Conflict]:
        for place, (before, after) in enumerate(zip(self.at, self.at[1:], strict=False), start=1):
            if after <= before:
                yield ("at", place), f"the epochs in 'at' rise, and {after} comes after {before}"
        if isinstance(self.factor, tuple) and len(self.factor) != len(self.at):
            counted = f"{len(self.factor)} for {len(self.at)}"
            yield ("factor",), f"a list of factors has one for each epoch in 'at', not {counted}"


class PlateauRate(Section):
    """The peak, multiplied by a factor each time that the validation loss has not improved for some epochs."""

    kind: Literal["plateau"] = "plateau"
    factor: float = Field(0.1, gt=0, lt=1, description="what the rate is multiplied by each time")
    patience: int = Field(5, ge=1, le=10_000, description="epochs without a better validation loss, after the warm-up")
    lowest: float = Field(0.0, ge=0, le=10, description="learning rate of the head that it does not fall below")


Rate = CosineRate | SteppedRate | PlateauRate | ConstantRate


def stepped_beyond(rate: SteppedRate, *, epochs: int, warmup: float) -> Iterator[Conflict]:
    """Steps that the longest phase, of so many epochs, does not come to, and a warm-up that lasts beyond the first."""
    for place, after in enumerate(rate.at):
        if after >= epochs:
            yield ("rate", "at", place), f"no phase goes on after {_epochs(after)}: the longest has {epochs}"
    if rate.at[0] < warmup * epochs:
        yield (
            ("warmup",),
            f"the rate would still rise, for {warmup * epochs:g} of {epochs} epochs, when its first step comes after "
            f"{rate.at[0]}; lower warmup, or step later",
        )


def never_reduced(
    rate: PlateauRate, *, epochs: int, warmup: float, patience: int | None, peaks: Sequence[float]
) -> Iterator[Conflict]:
    """What keeps a rate from ever being reduced: phases that end before, a floor that is not below the peak.

    epochs: of the longest phase. patience: epochs without a better loss that end a phase. peaks: of all phases.
    """
    rising = math.ceil(warmup * epochs)
    most = epochs - rising - 2  # the first epoch is always the best so far, the last comes too late
    if rate.patience > most:
        after = f", of which the rate rises in {rising}," if rising else ""
        could = f"patience can be at most {most}" if most > 0 else "write more epochs"
        yield (
            ("rate", "patience"),
            f"the rate is never reduced: the longest phase has {_epochs(epochs)}{after} and is over before; {could}",
        )
    if patience is not None and patience <= rate.patience:
        yield (
            ("rate", "patience"),
            f"the rate is never reduced: train.patience ends a phase after {_epochs(patience)} without a better loss; "
            "it has to be above the patience of the rate",
        )
    if rate.lowest >= min(peaks):
        yield ("rate", "lowest"), f"lowest has to be below the rate of every phase, which is down to {min(peaks):g}"


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"
