"""Planted faults, `check` on many images and decoding as tables: all of `RESULTS.md` that is not against fastai."""

from collections.abc import Sequence
from typing import Any

import faults

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


def _made(rows: Sequence[Row]) -> str:
    """When, and at which commits."""
    dates = sorted({str(row["date"]) for row in rows})
    commits = ", ".join(sorted({str(row["commit"]).removesuffix("-dirty") for row in rows}))
    return f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, commit {commits}."


def _yes(shown: bool) -> str:
    return "yes" if shown else "**no**"
