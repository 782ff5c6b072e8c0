"""Plan <-> JSON: what `plan.json` of a bundle holds, read with suspicion."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from finetune.errors import BundleError, RecipeError, printable
from finetune.recipe import grammar
from finetune.recipe.fault import MOST_SHOWN
from finetune.recipe.plan import Chosen, Phase, Plan, Tier, WrittenPhase
from finetune.recipe.section import Conflict, Section, Views
from finetune.recipe.sentences import sentences


def to_json(plan: Plan) -> str:
    """The plan as JSON; the same plan gives the same text."""
    data = {
        "phases": [asdict(phase) for phase in plan.phases],
        "reasons": plan.reasons,
        "probe_views": plan.probe_views,
        "tiers": [tier.model_dump(mode="json") for tier in plan.tiers],
        "chosen": plan.chosen.model_dump(mode="json") if plan.chosen else None,
    }
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str, *, source: str = "plan.json") -> Plan:
    """The plan in `text`. Raises BundleError, naming `source`, for anything that `to_json` could not have written."""
    shown = printable(source)
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise BundleError(f"{shown}: is not a plan")
        written = _WrittenPlan.model_validate_json(text)
    except ValidationError as error:
        faults = [f"{shown}: {_dotted(path)}{sentence}" for path, sentence in sentences(error, _WrittenPlan)]
        raise BundleError("\n".join(faults[:MOST_SHOWN])) from None
    except (ValueError, RecursionError):
        raise BundleError(f"{shown}: is not JSON; a plan is written by finetune plan --output") from None
    phases = tuple(Phase(p.train, p.epochs, p.lr, p.lr_decay, p.batch_norm, p.views) for p in written.phases)
    return Plan(phases, written.reasons, written.probe_views, written.tiers, written.chosen)


def read(path: Path) -> Plan:
    """The plan in a file. Raises BundleError where there is none."""
    try:
        text = grammar.read(path)
    except RecipeError as error:
        raise BundleError(str(error)) from None
    return from_json(text, source=str(path))


class _WrittenPlan(Section):
    phases: Annotated[tuple[WrittenPhase, ...], Field(max_length=50)]
    reasons: tuple[str, ...]
    probe_views: Views | None = None
    tiers: tuple[Tier, ...] = ()
    chosen: Chosen | None = None

    def conflicts(self) -> Iterator[Conflict]:
        new = self.probe_views is None and not self.tiers
        if new and not any("head" in phase.train for phase in self.phases):
            yield ("phases",), "the head trains in none of the phases, and no probe fits it"


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path) + ": " if path else ""
