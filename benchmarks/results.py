"""What was measured, the lines of the `.jsonl` files here, as tables in `RESULTS.md`: python benchmarks/results.py

The last of runs of one kind counts. `tables.py` draws all but the first. Against fastai two settings are compared on
the same splits, and the interval of the mean difference is given twice, because the splits of one pool share images:

- crossed: images and seeds are both drawn anew with replacement, an image with all its answers (Owen 2007, The
  Pigeonhole Bootstrap, Annals of Applied Statistics 1(2), section 3);
- t: Student's, over the differences of the seeds, as if these were independent.

A comparison is a win or a loss only where both leave 0 out.
"""

import argparse
import functools
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tables
from scipy import stats

HERE = Path(__file__).parent
DRAWS = 10_000
# what finetune set out to show: (its setting, fastai's, at most this share of the time or memory)
TIMES = (("probe", "fine_tune(4)", 1 / 5), ("auto 1m", "fine_tune(8)", 1 / 4))
MEMORY = 0.45

Row = dict[str, Any]
Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Pair:
    """The runs of two settings on the same splits of one data set, in the order of the seeds."""

    data: str
    ours: tuple[Row, ...]
    theirs: tuple[Row, ...]

    @property
    def name(self) -> str:
        return f"{self.ours[0]['setting']} − {self.theirs[0]['setting']}"

    @property
    def differences(self) -> list[float]:
        """Of accuracy, in points, for each seed."""
        return [100 * (a["accuracy"] - b["accuracy"]) for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def mean(self) -> float:
        return statistics.mean(self.differences)

    def ratios(self, key: str) -> list[float]:
        """Ours over theirs, for each seed; of memory the reading that is against us: pages shared between processes
        count every time in ours and once in theirs.
        """
        if key == "memory":
            return [
                a["peak_rss_mb"] / (b["peak_pss_mb"] or b["peak_rss_mb"])
                for a, b in zip(self.ours, self.theirs, strict=True)
            ]
        return [a[key] / b[key] for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def verdict(self) -> str:
        """Whether both intervals lie on one side of 0."""
        ends = [student(self.differences), crossed(self)]
        if all(low > 0 for low, _ in ends):
            return "win"
        return "loss" if all(high < 0 for _, high in ends) else "tie"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--input", type=Path, default=HERE / "fastai.jsonl")
    options.add_argument("--faults", type=Path, default=HERE / "faults.jsonl")
    options.add_argument("--checking", type=Path, default=HERE / "checking.jsonl")
    options.add_argument("--decoding", type=Path, default=HERE / "decoding.jsonl")
    for name in ("coverage", "problems", "multilabel", "reporting", "maps", "scratch", "small"):
        options.add_argument(f"--{name}", type=Path, default=HERE / f"{name}.jsonl")
    options.add_argument("--output", type=Path, default=HERE / "RESULTS.md")
    given = options.parse_args()
    parts = [document(_latest(given.input, "data", "setting", "seed"))]
    parts.append(tables.planted_faults(_latest(given.faults, "fault", "data", "seed")))
    parts.append(tables.reading(_latest(given.checking, "run", "images"), _latest(given.decoding, "what", "images")))
    grouped = _latest(given.coverage, "groups", "images", "accuracy", "varied")
    parts.append(tables.intervals(grouped, _latest(given.problems, "grouped")))
    parts.append(tables.several_labels(_latest(given.multilabel, "head", "seed")))
    parts.append(tables.reports(_latest(given.reporting, "images", "classes")))
    parts.append(tables.maps(_latest(given.maps, "network", "schedule", "seed")))
    parts.append(tables.from_scratch(_latest(given.scratch, "recipe", "epochs", "seed", "device", "threads")))
    parts.append(tables.small_images(_latest(given.small, "stride", "side", "seed")))
    given.output.write_text("\n".join(part for part in parts if part))


def document(rows: Sequence[Row]) -> str:
    """The whole file, as Markdown."""
    pairs = [pair for data in _each(rows, "data") for pair in paired([row for row in rows if row["data"] == data])]
    parts = [_opening(rows), *(_data(rows, pairs, data) for data in _each(rows, "data")), _asked(pairs), _how(rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def paired(rows: Sequence[Row]) -> list[Pair]:
    """Each setting of finetune against each of fastai, where both have run on the same split."""
    found = []
    ours = [row for row in rows if row["tool"] == "finetune"]
    theirs = [row for row in rows if row["tool"] == "fastai"]
    for one in sorted(_each(ours, "setting"), reverse=True):
        for other in sorted(_each(theirs, "setting")):
            left = {row["seed"]: row for row in ours if row["setting"] == one}
            right = {row["seed"]: row for row in theirs if row["setting"] == other}
            seeds = [seed for seed in sorted(left) if seed in right and _same_split(left[seed], right[seed])]
            if seeds:
                pairs = tuple(left[seed] for seed in seeds), tuple(right[seed] for seed in seeds)
                found.append(Pair(rows[0]["data"], *pairs))
    return found


def student(values: Sequence[float]) -> Interval:
    """The 95 % interval of a mean by Student's t; all numbers for a single value."""
    if len(values) < 2:
        return -math.inf, math.inf
    spread = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values) - spread, statistics.mean(values) + spread


@functools.cache
def crossed(pair: Pair) -> Interval:
    """The 95 % interval of the mean difference in points, over images and seeds; all numbers for a single seed."""
    if len(pair.ours) < 2:
        return -math.inf, math.inf
    right, tested = _answers(pair.ours)
    difference = right - _answers(pair.theirs)[0]
    seen = tested.any(axis=1)
    difference, tested = difference[seen], tested[seen].astype(np.float64)
    generator = np.random.Generator(np.random.PCG64(0))
    images, seeds = tested.shape
    by_image = generator.multinomial(images, np.full(images, 1 / images), size=DRAWS).astype(np.float64)
    by_seed = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS)
    above, below = ((by_image @ table * by_seed).sum(axis=1) for table in (difference, tested))
    low, high = np.percentile(100 * above / below, [2.5, 97.5])
    return float(low), float(high)


def _answers(rows: Sequence[Row]) -> tuple[Any, Any]:
    """(images, seeds) float64: 1 where right; (images, seeds) bool: where the image was tested."""
    table = np.array([list(row["answers"]) for row in rows]).T
    return (table == "1").astype(np.float64), table != "."


def _same_split(one: Row, other: Row) -> bool:
    """Whether two runs were scored on the same images of the same pool."""
    masks = [[answer == "." for answer in row["answers"]] for row in (one, other)]
    return one["pool"] == other["pool"] and one["train"] == other["train"] and masks[0] == masks[1]


def _opening(rows: Sequence[Row]) -> str:
    seeds = _each(rows, "seed")
    return (
        "# Against fastai\n\n"
        f"{len(rows)} runs, {len(seeds)} splits of each data set. `benchmarks/results.py` writes this page from the "
        "lines of `benchmarks/fastai.jsonl`, which `benchmarks/fastai.py` measures. Losses stand beside wins."
    )


def _data(rows: Sequence[Row], pairs: Sequence[Pair], data: str) -> str:
    own = [row for row in rows if row["data"] == data]
    sizes = f"{own[0]['train']} images to learn from, {own[0]['n']} to be scored on"
    head = (
        "| tool | setting | runs | accuracy, mean (lowest to highest) | seconds | processor seconds | peak memory, GB |"
    )
    lines = [f"## {data}: {sizes}", "", head, "| --- | --- | --- | --- | --- | --- | --- |"]
    for tool, setting in sorted({(row["tool"], row["setting"]) for row in own}, reverse=True):
        runs = [row for row in own if (row["tool"], row["setting"]) == (tool, setting)]
        scored = [row["accuracy"] for row in runs]
        accuracy = f"{statistics.mean(scored):.3f} ({min(scored):.3f} to {max(scored):.3f})"
        cells = [_mean(runs, "seconds", 1), _mean(runs, "cpu_seconds", 1), _mean(runs, "peak_rss_mb", 1024)]
        lines.append(f"| {tool} | {setting} | {len(runs)} | {accuracy} | {' | '.join(cells)} |")
    head = (
        "| points between | mean | 95 %, crossed | 95 %, t | splits won / tied / lost | time | processor | memory | |"
    )
    lines += ["", head, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *(_pair(pair) for pair in pairs if pair.data == data)])


def _pair(pair: Pair) -> str:
    signs = [(value > 0) - (value < 0) for value in pair.differences]
    counts = " / ".join(str(signs.count(sign)) for sign in (1, 0, -1))
    ends = " | ".join(_interval(end) for end in (crossed(pair), student(pair.differences)))
    ratios = " | ".join(_ratio(pair.ratios(key)) for key in ("seconds", "cpu_seconds", "memory"))
    return f"| {pair.name} | {pair.mean:+.1f} | {ends} | {counts} | {ratios} | {pair.verdict} |"


def _asked(pairs: Sequence[Pair]) -> str:
    """What was to be shown, and whether it was."""
    lines = ["## What was asked", "", "| data | asked | measured | shown |", "| --- | --- | --- | --- |"]
    for pair in pairs:
        names = pair.ours[0]["setting"], pair.theirs[0]["setting"]
        if names in {("auto 1m", "fine_tune(4)"), ("auto 1m", "fine_tune(8)")}:
            measured = f"{pair.mean:+.1f} {_interval(crossed(pair))}, {_interval(student(pair.differences))}"
            text = f"`{names[0]}` above `{names[1]}`, the interval above 0"
            lines.append(f"| {pair.data} | {text} | {measured} | {_yes(pair.verdict == 'win')} |")
        limits = [("seconds", "time", most) for one, other, most in TIMES if names == (one, other)]
        plain = "," not in names[1]  # not a variant of fastai's setting
        for key, what, most in [*limits, *([("memory", "peak memory", MEMORY)] if plain else [])]:
            value = _middle(pair.ratios(key))
            text = f"{what} of `{names[0]}` at most {most:.2f} of `{names[1]}`"
            lines.append(f"| {pair.data} | {text} | {value:.2f} | {_yes(value <= most)} |")
    return "\n".join(lines) if len(lines) > 4 else ""


def _how(rows: Sequence[Row]) -> str:
    tools = {tool: [row for row in rows if row["tool"] == tool] for tool in _each(rows, "tool")}
    shown = ("fastai", "torch", "torchvision", "timm", "pillow", "numpy")
    versions = {
        f"{tool}: " + ", ".join(f"{name} {row['versions'][name]}" for name in shown if name in row["versions"])
        for tool, runs in tools.items()
        for row in runs
    }
    commits = ", ".join(sorted({str(row["commit"]) for row in rows}))
    dates = sorted({str(row["date"]) for row in rows})
    threads = ", ".join(sorted({f"{row['threads']} threads on {row['cores']} cores" for row in rows}))
    precision = "; ".join(f"{tool} in {', '.join(sorted(_each(runs, 'precision')))}" for tool, runs in tools.items())
    return f"""\
## How

- Same EfficientNet-Lite0 weights, same images in training and test, {threads}, caches empty at
  the start of every run, no network; each run is a process, timed with its imports, the test and (finetune) the report.
  Steps: {precision}.
- fastai is called as in its quick start, on all training images; `benchmarks/fastai_side.py` says what was chosen.
- Ratios are finetune's over fastai's, geometric means over the splits (smallest to largest). Peak memory of a process
  and its workers: in the first table resident memory, pages shared between them counted each time; in the ratio they
  count once for fastai.
- "crossed" draws images and seeds anew (Owen 2007), "t" is Student's over the seeds; a win or a loss needs both.
- The two runs of a comparison began at most {_apart(rows)} minutes apart; the machine's load before a run was
  {min(row["load_before"] for row in rows):.1f} to {max(row["load_before"] for row in rows):.1f}.
- {dates[0]} to {dates[-1]}, commit {commits}. {"; ".join(sorted(versions))}."""


def _apart(rows: Sequence[Row]) -> int:
    """The longest time between the starts of two runs on one split, in minutes."""
    found = [0]
    for data in _each(rows, "data"):
        for pair in paired([row for row in rows if row["data"] == data]):
            for one, other in zip(pair.ours, pair.theirs, strict=True):
                gap = datetime.fromisoformat(one["started"]) - datetime.fromisoformat(other["started"])
                found.append(round(abs(gap.total_seconds()) / 60))
    return max(found)


def _latest(path: Path, *keys: str) -> list[Row]:
    """The lines of a file, of those with the same keys the last; none where there is no file."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return list({tuple(row[key] for key in keys): row for row in lines}.values())


def _each(rows: Iterable[Row], key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows))


def _mean(rows: Sequence[Row], key: str, unit: float) -> str:
    value = statistics.mean(row[key] / unit for row in rows)
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _middle(values: Sequence[float]) -> float:
    return statistics.geometric_mean(values)


def _ratio(values: Sequence[float]) -> str:
    return f"{_middle(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _interval(ends: Interval) -> str:
    return "—" if math.isinf(ends[0]) else f"[{ends[0]:+.1f}, {ends[1]:+.1f}]"


def _yes(shown: bool) -> str:
    return "yes" if shown else "**no**"


if __name__ == "__main__":
    main()
