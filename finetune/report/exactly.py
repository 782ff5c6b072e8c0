"""What exactly is this? Weights, preprocessing, plan, recipe, versions, hashes, and the command to repeat it."""

import shlex
from collections.abc import Mapping

from finetune.errors import size
from finetune.recipe.tiers import named
from finetune.report import curves, trials
from finetune.report.evidence import Evidence
from finetune.report.section import Part, Section, section
from finetune.report.sourced import shown
from finetune.report.stages import stages


def what_exactly_is_this(evidence: Evidence) -> Section:
    """Everything that it takes to make the same again."""
    parts = (repeat(evidence), weights(evidence), plan(evidence), recipe(evidence), files(evidence))
    return section("exactly", "What exactly is this?", "What exactly", *parts)


def repeat(evidence: Evidence) -> Part:
    """The command, the versions and the machine's settings that lead to this bundle again, and what memory it took."""
    facts = evidence.facts
    values = {
        "command": shlex.join(facts.command),
        "commit": facts.commit,
        "settings": _pairs(facts.decided) + _pairs(facts.preprocessing),
        "memory": [
            (name, shown(size(held.number), held.source, verb="size"))
            for name, held in (("memory", evidence.memory), ("accelerator memory", evidence.device_memory))
            if held.number is not None
        ],
        "versions": _pairs(facts.versions),
    }
    return Part("repeat", "To make it again", values)


def weights(evidence: Evidence) -> Part | None:
    """Where the weights came from, what of them was used, and which file holds the result."""
    facts = evidence.facts
    if facts.receipt is None:
        return None
    values = {"receipt": facts.receipt, "backbone": facts.backbone, "model": facts.files.get("model.safetensors")}
    return Part("weights", "Weights", values)


def plan(evidence: Evidence) -> Part | None:
    """The phases that were planned, or the ways that are yet to be tried, and why these."""
    if evidence.plan is None:
        return None
    ran = {
        band.number: sum(epoch.phase == band.number for epoch in evidence.epochs)
        for band in curves.bands(evidence.epochs)
    }
    rows = [
        (number, phase, stages(phase.train, evidence.facts.backbone), ran.get(number, 0))
        for number, phase in enumerate(evidence.plan.phases, 1)
    ]
    tiers = [] if evidence.plan.chosen else [(named(tier), tier) for tier in evidence.plan.tiers]
    values = {
        "rows": rows,
        "tiers": tiers,
        "probe_views": evidence.plan.probe_views,
        "reasons": trials.reasons(evidence),
    }
    return Part("plan", "Plan", values)


def recipe(evidence: Evidence) -> Part | None:
    """The recipe with every default filled in."""
    return Part("recipe", "Recipe", {"lines": evidence.recipe.splitlines()}) if evidence.recipe.strip() else None


def files(evidence: Evidence) -> Part | None:
    """Every file of a complete bundle with its hash."""
    found = evidence.facts.files
    return Part("files", "Files", {"files": sorted(found.items())}) if found else None


def _pairs(values: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), _plain(value)) for name, value in values.items()]


def _plain(value: object) -> str:
    return ", ".join(map(_plain, value)) if isinstance(value, list) else "not set" if value is None else str(value)
