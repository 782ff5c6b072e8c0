"""Planted faults, `check`, decoding, intervals, labels, reports, maps, CIFAR-10: `RESULTS.md` without fastai."""

import statistics
from collections.abc import Sequence
from typing import Any

import faults

WITHIN = 0.8  # the share of maps that are asked to be highest on what decides
DECIDES = 0.95  # the accuracy from which on the patch is what decides

Row = dict[str, Any]


def planted_faults(rows: Sequence[Row]) -> str:
    """A section for each fault and data set: what was planted, and what was found."""
    parts = ["# Planted faults", "`benchmarks/faults.py` plants and counts; every run is a line of `faults.jsonl`."]
    for fault, data in dict.fromkeys((row["fault"], row["data"]) for row in rows):
        own = [row for row in rows if (row["fault"], row["data"]) == (fault, data)]
        parts += [f"## {fault}, {data}", "\n".join(faults.TABLES[fault](own)).strip(), _made(own)]
    return "\n\n".join(parts) + "\n" if rows else ""


def reading(checked: Sequence[Row], decoded: Sequence[Row]) -> str:
    """What looking at many images takes, and what decoding once is worth."""
    parts = []
    if checked:
        head = "| images | `check` | seconds | processor seconds | peak memory, MB | asked | shown |"
        lines = ["# Looking at many images", "", head, "| --- | --- | --- | --- | --- | --- | --- |"]
        for row in checked:
            time = f"under {row['bound_seconds']} s, " if row["bound_seconds"] else ""
            cells = f"{row['seconds']:.1f} | {row['cpu_seconds']:.1f} | {row['peak_rss_mb']}"
            asked = f"{time}under {row['bound_mb']} MB"
            lines.append(f"| {row['images']} | {row['run']} | {cells} | {asked} | {_yes(row['holds'])} |")
        cores = ", ".join(sorted({str(row["cores"]) for row in checked}))
        lines += ["", f"JPEG files of 500 x 375, on {cores} cores; `benchmarks/checking.py` says how. {_made(checked)}"]
        parts.append("\n".join(lines))
    if decoded:
        lines = ["# Decoding once", "", "| what | measured | asked | shown |", "| --- | --- | --- | --- |"]
        for row in decoded:
            if row["what"] == "kept":
                text = f"{row['slices_per_second']} images read a second and core, by views {row['light_per_second']}"
                asked = f"at least {row['bound_per_second']}"
            else:
                ends = f"{row['ratio_lowest']:.2f} to {row['ratio_highest']:.2f}"
                text = f"twelve megapixels {row['ratio']:.2f} times as fast as Pillow that decodes all ({ends})"
                asked = f"at least {row['bound']}"
            lines.append(f"| {row['what']} | {text} | {asked} | {_yes(row['holds'])} |")
        parts.append("\n".join([*lines, "", f"`benchmarks/decoding.py` says how. {_made(decoded)}"]))
    return "\n\n".join(parts) + "\n" if parts else ""


def intervals(grouped: Sequence[Row], problems: Sequence[Row]) -> str:
    """How often intervals hold the truth in simulations."""
    parts = []
    if grouped:
        lines = [
            "# Intervals of images in groups",
            "",
            "| groups | images in each | accuracy | alike | by image, % | by group, % |",
        ]
        lines.append("| --- | --- | --- | --- | --- | --- |")
        for row in grouped:
            size = f"about {row['images']}" if row["varied"] else row["images"]
            held = f"{100 * row['by_image']:.1f} | {100 * row['by_group']:.1f}"
            lines.append(f"| {row['groups']} | {size} | {row['accuracy']} | {row['alike']} | {held} |")
        said = "How often the interval of accuracy holds the truth; asked by group: 93 to 97. `benchmarks/coverage.py`."
        parts.append("\n".join([*lines, "", f"{said} {_made(grouped)}"]))
    if problems:
        lines = [
            "# Intervals on simulated problems",
            "",
            "| score | by image, % | by group, % | few wrong, % | asked | shown |",
        ]
        lines.append("| --- | --- | --- | --- | --- | --- |")
        for name in problems[0]["held"]:
            held = [100 * row["held"][name] for row in problems]
            few = " and ".join(f"{100 * row['held_few_wrong'][name]:.1f}" for row in problems)
            cells = " | ".join(f"{one:.1f}" for one in held)
            lines.append(f"| {name} | {cells} | {few} | 93 to 97 | {_yes(all(93 <= one <= 97 for one in held))} |")
        sets = problems[0]["problems"] * problems[0]["sets"]
        said = (
            f"{sets:,} test sets without and {sets:,} with groups; few wrong: those of them where fewer than ten wrong "
            "answers are expected, by image and by group. `benchmarks/problems.py` says how."
        )
        parts.append("\n".join([*lines, "", f"{said} {_made(problems)}"]))
    return "\n\n".join(parts) + "\n" if parts else ""


def several_labels(rows: Sequence[Row]) -> str:
    """Pairs of digits side by side: scores and the threshold of each label."""
    parts = []
    for row in rows:
        lines = [
            f"# Several labels, head on {row['head']}",
            "",
            "| score | test | out of fold |",
            "| --- | --- | --- |",
        ]
        lines += [
            f"| {name} | {_within(one)} | {_within(row['out_of_fold'][name])} |" for name, one in row["test"].items()
        ]
        lines += ["", "| digit | threshold | F1 on test images |", "| --- | --- | --- |"]
        lines += [
            f"| {name} | {_within(one)} | {_within(row['f1'][name])} |" for name, one in row["thresholds"].items()
        ]
        counts = row["images"]
        said = (
            f"{counts['train']} pairs to learn from, {counts['test']} to test on; `benchmarks/multilabel.py` says how."
        )
        parts.append("\n".join([*lines, "", f"{said} {_made([row])}"]))
    return "\n\n".join(parts) + "\n" if parts else ""


def reports(rows: Sequence[Row]) -> str:
    """What drawing a large report takes."""
    if not rows:
        return ""
    lines = ["# Reports", "", "| test images | classes | seconds | peak memory, MB | page, MB | asked | shown |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        cells = f"{row['seconds']:.1f} | {row['peak_mb']:.0f} | {row['page_mb']:.2f}"
        shown = _yes(row["seconds"] < 20 and row["peak_mb"] < 1000 and row["page_mb"] < 5)
        lines.append(f"| {row['images']} | {row['classes']} | {cells} | under 20 s, 1 GB, 5 MB | {shown} |")
    return "\n".join([*lines, "", f"`benchmarks/reporting.py` says how. {_made(rows)}"]) + "\n"


def maps(rows: Sequence[Row]) -> str:
    """How often class-activation maps are highest on the planted patch that decides."""
    if not rows:
        return ""
    head = (
        "| network | schedule | runs | accuracy | highest within the patch | of right answers | by the last stage alone"
    )
    lines = ["# Maps", "", f"{head} | asked | shown |", "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for network, schedule in dict.fromkeys((row["network"], row["schedule"]) for row in rows):
        own = [row for row in rows if (row["network"], row["schedule"]) == (network, schedule)]
        names = ("accuracy", "inside", "inside_of_right", "inside_by_last_stage")
        cells = " | ".join(_ends([row[name] for row in own]) for name in names)
        decides = min(row["accuracy"] for row in own) >= DECIDES
        shown = _yes(min(row["inside"] for row in own) >= WITHIN)
        asked = f"at least {WITHIN:.2f} | {shown}" if decides else "nothing: other things decide too | "
        lines.append(f"| {network} | {schedule} | {len(own)} | {cells} | {asked} |")
    methods = " and ".join(sorted({row["method"] for row in rows}))
    said = (
        f"A patch of 32 of 224 pixels, anywhere on photographs of flowers, is the class; maps of {rows[0]['images']} "
        f"answers a run, by {methods}. Means of the runs, lowest to highest; `benchmarks/maps.py` says how."
    )
    return "\n".join([*lines, "", f"{said} {_made(rows)}"]) + "\n"


def from_scratch(rows: Sequence[Row]) -> str:
    """CIFAR-10 from random weights: the whole run of the recipe, or a part of it that says so."""
    if not rows:
        return ""
    lines = ["# From random weights", "", "| recipe | epochs | on | seconds an epoch | test accuracy | whole run |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for row in rows:
        part = f"{row['epochs']}" if row["whole"] else f"{row['epochs']} of {row['of']}: **not the full run**"
        threads = (
            f", {row['threads']} {'thread' if row['threads'] == 1 else 'threads'}" if row["device"] == "cpu" else ""
        )
        score = [row["test"][key] for key in ("value", "low", "high")]
        hours = f"{row['projected_hours']:.0f} h at this pace, {row['projected_cpu_hours']:.0f} h of processor time"
        whole = "this one" if row["whole"] else f"about {hours}"
        on = f"{row['device']}{threads}"
        seconds = f"{row['epoch_seconds']:.0f}"
        lines.append(f"| {row['recipe']} | {part} | {on} | {seconds} | {_within(score)} | {whole} |")
    for row in rows:
        curve = ", ".join(f"{100 * (1 - line['validation_accuracy']):.0f}" for line in row["history"])
        lines += ["", f"Validation error by epoch, %: {curve}. {row['images']['train']:,} images to learn from."]
    return "\n".join([*lines, "", f"`benchmarks/scratch.py` says how. {_made(rows)}"]) + "\n"


def small_images(rows: Sequence[Row]) -> str:
    """What images of 32 pixels are best resized to, and what a stem in steps of one pixel makes of them."""
    if not rows:
        return ""
    lines = [
        "# Small images",
        "",
        "| stem in steps of | resized to | held-out accuracy | log-loss | out of fold | time |",
    ]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    least = statistics.mean(row["milliseconds"] for row in rows if (row["stride"], row["side"]) == (2, 32))
    for stride, side in dict.fromkeys((row["stride"], row["side"]) for row in rows):
        own = [row for row in rows if (row["stride"], row["side"]) == (stride, side)]
        cells = " | ".join(_ends([row[name] for row in own]) for name in ("accuracy", "log_loss", "out_of_fold"))
        time = statistics.mean(row["milliseconds"] for row in own) / least
        lines.append(f"| {stride} | {side} | {cells} | {time:.1f} |")
    said = (
        f"CIFAR-10, images of 32 pixels: {rows[0]['train']} to learn from by a probe of a frozen EfficientNet-Lite0, "
        f"{rows[0]['test']} held out; means of the draws, lowest to highest; processor time of an image against that "
        "of 32 pixels. `benchmarks/small.py` says how."
    )
    return "\n".join([*lines, "", f"{said} {_made(rows)}"]) + "\n"


def _ends(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _within(score: Sequence[float]) -> str:
    value, low, high = score
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _made(rows: Sequence[Row]) -> str:
    """When, and at which commits."""
    dates = sorted({str(row["date"]) for row in rows})
    commits = ", ".join(sorted({str(row["commit"]).removesuffix("-dirty") for row in rows}))
    return f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, commit {commits}."


def _yes(shown: bool) -> str:
    return "yes" if shown else "**no**"
