"""Planted shortcuts, and data without any: what `finetune check` flags. Called by `faults.py`."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import planted
from measure import commit

PACKAGES = ("numpy", "pillow", "torch", "timm")

Row = dict[str, Any]


def shortcuts(folder: Path, seed: int) -> Row:
    """One run: in a copy of the folder the images of one class bear a trace, of each kind in turn; without weights."""
    began = datetime.now(UTC)
    names = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    found = []
    for trace in planted.TRACES:
        with tempfile.TemporaryDirectory() as place:
            root = Path(place) / folder.name
            shutil.copytree(folder, root, copy_function=shutil.copyfile)
            label = names[seed % len(names)]
            made = planted.shortcut(root, label=label, trace=trace, seed=seed, splits=("train", "val"))
            flagged = [one for one in _checked(root, deep=False) if one["severity"] == "warning"]
            facts = [_told(one) for one in flagged]
        named = any(one.get("class") == label or one["clearest"] == label for one in facts)
        found.append({
            "trace": trace, "label": label, "strength": round(made.strength, 3), "files": len(made.files),
            "flagged": facts, "names_the_class": named,
        })  # fmt: skip
    return {"fault": "shortcuts", "data": folder.name, "seed": seed, "planted": found, **_made(began)}


def clean(folder: Path, seed: int) -> Row:
    """One run on a folder as it is, with the probe's skill, so that content can be flagged too."""
    began = datetime.now(UTC)
    found = _checked(folder, deep=True)
    skill = next((one["figures"]["probe_skill"] for one in found if "probe_skill" in one["figures"]), None)
    told = [_told(one) for one in found if one["severity"] != "warning"]
    flagged = [_told(one) for one in found if one["severity"] == "warning"]
    return {
        "fault": "clean", "data": folder.name, "seed": seed, "probe_skill": skill, "flagged": flagged, "told": told,
        **_made(began),
    }  # fmt: skip


def shortcuts_table(rows: Sequence[Row]) -> list[str]:
    """Development and table apart: of each kind of trace how many were flagged."""
    lines = []
    for name, seeds in (("development", range(5)), ("table", range(100, 105))):
        runs = [one for row in rows if row["seed"] in seeds for one in row["planted"]]
        if not runs:
            continue
        lines += [name, "", "| trace in one class | strength | flagged | the class named | by |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        for trace in planted.TRACES:
            own = [one for one in runs if one["trace"] == trace]
            strengths = [one["strength"] for one in own]
            facts = sorted({fact["fact"] for one in own for fact in one["flagged"]})
            lines.append(
                f"| {trace} | {min(strengths):g} to {max(strengths):g} | {sum(bool(one['flagged']) for one in own)} of "
                f"{len(own)} | {sum(one['names_the_class'] for one in own)} | {', '.join(facts)} |"
            )
        lines.append("")
    return lines


def clean_table(rows: Sequence[Row]) -> list[str]:
    """What was flagged of data without a planted shortcut, and what was only reported."""
    lines = ["| data | flagged | content that is reported: skill above chance, of the probe's |", "| --- | --- | --- |"]
    for row in rows:
        told = [
            f"{one['fact']} {one['balanced_accuracy'] - one['chance']:.2f} of {row['probe_skill']:.2f}"
            for one in row["told"]
        ]
        flagged = ", ".join(one["fact"] for one in row["flagged"]) or "none"
        lines.append(f"| {row['data']} | {flagged} | {', '.join(told) or 'none'} |")
    return lines


def _checked(folder: Path, *, deep: bool) -> list[Mapping[str, Any]]:
    """The findings on shortcuts, as JSON has them."""
    from finetune.audit import facts
    from finetune.audit.gather import gather
    from finetune.audit.look import Looks
    from finetune.diagnose.deep import deepened, frozen
    from finetune.starter import recipe_to_check

    recipe = recipe_to_check(folder)
    with Looks() as memory:
        known = gather(recipe, memory=memory)
    if deep:
        known = deepened(known, recipe, frozen(recipe), check=lambda what: partial(_quiet, what))
    return [finding.to_dict() for finding in facts.check(known)]


def _quiet(what: str, done: int, total: int) -> None:
    return None


def _told(finding: Mapping[str, Any]) -> Row:
    return {"kind": finding["kind"], "clearest": finding["keys"][0].split("/")[1], **finding["figures"]}


def _made(began: datetime) -> Row:
    versions = {name: version(name) for name in PACKAGES}
    return {"versions": versions, "date": began.date().isoformat(), "commit": commit()}
