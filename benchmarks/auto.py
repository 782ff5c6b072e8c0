"""Schedule `auto` against the plain frozen probe, on the same images and splits: python benchmarks/auto.py --help

For every seed the photographs are pooled and split anew, as in `fastai.py`, and the digits by the recipe's own split.
Each run is a process of its own with caches that are empty. A line of JSON for each run is appended to `auto.jsonl`,
and a run that has its line is not repeated. At the end the paired differences, with t intervals over seeds.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastai  # the script beside this one
import numpy as np
from measure import ROOT, commit, measured
from scipy import stats

HERE = Path(__file__).parent
SETTINGS = {"probe": "{kind: probe}", "auto 1m": "{kind: auto, budget: 1m}"}
DATA = ("flowers", "hymenoptera", "digits")
DIGITS = """\
name: comparison
seed: {seed}
data: {{kind: folder, root: {root}}}
split: {{kind: stratified, validation: 0, test: 0.25}}
backbone: {{name: {network}, weights: {{kind: package, name: {package}}}}}
schedule: {schedule}
images: {{size: 64, fit: squash, augment: {{kind: light, flip: false}}}}
"""


def main() -> None:
    given = _options().parse_args()
    rows = [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    done = {(row["data"], row["setting"], row["seed"]) for row in rows}
    for seed in range(given.seeds):
        for data in given.data:
            for setting in SETTINGS:
                if (data, setting, seed) in done:
                    continue
                row = run(data, setting, seed, given.data_root)
                print(f"{data} seed {seed} {setting}: {row['accuracy']:.3f} in {row['seconds']:.0f} s", flush=True)
                rows.append(row)
                with given.output.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    print("\n".join(table(rows)))


def run(data: str, setting: str, seed: int, data_root: Path) -> dict[str, Any]:
    """One run, as the line it leaves."""
    begun, load = datetime.now(UTC), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        values = {"seed": seed, "network": fastai.NETWORK, "package": fastai.PACKAGE, "schedule": SETTINGS[setting]}
        if data == "digits":
            text, where = DIGITS.format(root=ROOT / "data" / "digits", **values), Path(place)
            found = _run(text, where)
        else:
            with fastai.division(data_root / data, seed=seed, size=fastai.SIZES[data]) as split:
                found = _run(fastai.RECIPE.format(root=split.root, **values), Path(place))
    return {
        "data": data, "setting": setting, "seed": seed, **found, "load_before": round(load, 2),
        "cores": os.cpu_count(), "date": begun.date().isoformat(), "commit": commit(),
    }  # fmt: skip


def _run(text: str, place: Path) -> dict[str, Any]:
    recipe = place / "recipe.yaml"
    recipe.write_text(text)
    command = [sys.executable, "-m", "finetune", "run", str(recipe), "--output", str(place / "bundle"), "--json"]
    env = {**os.environ, "FINETUNE_CACHE": str(place / "cache"), "HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    took = measured(command, env=env)
    said = json.loads(took.output)["metrics"]
    plan = json.loads((place / "bundle" / "plan.json").read_text())
    outcomes = place / "bundle" / "evidence" / "choice.json"
    return {
        "accuracy": said["test"]["accuracy"]["value"],
        "log_loss": said["test"]["log_loss"]["value"],
        "out_of_fold": said["out_of_fold"]["accuracy"]["value"],
        "n": said["images"]["test"],
        "seconds": round(took.seconds, 2),
        "cpu_seconds": round(took.cpu_seconds, 2),
        "peak_rss_mb": round(took.peak_rss / 2**20),
        "chosen": plan["chosen"] and {key: plan["chosen"][key] for key in ("head", "schedule", "views")},
        "tried": [f"{one['kind']}: {one['verdict']}" for one in json.loads(outcomes.read_text())]
        if outcomes.exists()
        else [],
    }


def table(rows: list[Mapping[str, Any]]) -> list[str]:
    """Means, and the paired difference with its 95 % t interval over seeds."""
    lines = [f"{'data':<12} {'seeds':>5} {'probe':>7} {'auto':>7}  difference [95 %]          seconds probe / auto"]
    for data in DATA:
        of = {
            setting: {r["seed"]: r for r in rows if (r["data"], r["setting"]) == (data, setting)}
            for setting in SETTINGS
        }
        seeds = sorted(of["probe"].keys() & of["auto 1m"].keys())
        if len(seeds) < 2:
            continue
        probe, auto = (np.array([of[setting][seed]["accuracy"] for seed in seeds]) for setting in SETTINGS)
        gain = auto - probe
        reach = stats.t.ppf(0.975, len(seeds) - 1) * gain.std(ddof=1) / len(seeds) ** 0.5
        took = [np.median([of[setting][seed]["seconds"] for seed in seeds]) for setting in SETTINGS]
        lines.append(
            f"{data:<12} {len(seeds):>5} {probe.mean():>7.4f} {auto.mean():>7.4f}  {gain.mean():+.4f} "
            f"[{gain.mean() - reach:+.4f}, {gain.mean() + reach:+.4f}]  {took[0]:.0f} / {took[1]:.0f}"
        )
    return lines


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data-root", type=Path, default=ROOT.parent / "shared" / "data")
    options.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--output", type=Path, default=HERE / "auto.jsonl")
    return options


if __name__ == "__main__":
    main()
