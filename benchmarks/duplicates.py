"""Copies planted across splits, and how many of them `finetune.audit` finds: the fault `duplicates` of `faults.py`.

A folder with train/ and val/ becomes one with train/, validation/ and test/, val/ shared out by the seed. Half of the
copies are of training images and lie in validation/, half are of validation images and lie in test/. What counts is
what the audit of that folder says: a planted copy is found when one finding across parts, of its kind, names it and its
original. Two different images in one finding are a false one, unless the data had that pair by itself and it was looked
at: `duplicates.json` holds the verdicts, by the hashes of the files.
"""

import base64
import hashlib
import html
import io
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import planted
from measure import commit
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from finetune.audit.finding import Finding
    from finetune.audit.gather import Gathered

EACH = 40  # copies of either kind
NEAR, FALSE = 0.90, 0.02  # asked: of near copies found at least, of what is found false at most
VERDICTS = Path(__file__).parent / "duplicates.json"
TRUE = ("same picture", "burst")  # verdicts; any other, and none, is against us
SIDE = 320  # of thumbnails
KINDS = ("exact", "near")
PACKAGES = ("numpy", "pillow")

Row = dict[str, Any]


def duplicates(folder: Path, seed: int) -> Row:
    """One run, as the line it leaves."""
    began = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / folder.name
        _shared_out(folder, root, seed)
        images = [path for path in root.glob("*/*/*") if path.is_file()]
        pool = hashlib.sha256("".join(sorted(map(_hash, images))).encode()).hexdigest()[:12]
        half = {"exact": EACH // 2, "near": EACH // 2, "seed": seed}
        copies = [
            *planted.copies(root, source="validation", target="test", **half),
            *planted.copies(root, source="train", target="validation", **half),
        ]
        known, findings = _audited(root)
        original = {copy.copy: copy.original for copy in copies}
        content = {path.relative_to(root).as_posix(): _hash(path) for path in images}
    named = {kind: [set(one.keys) for one in findings if one.kind == f"{kind}-across-parts"] for kind in KINDS}
    found = {copy: any({copy.copy, copy.original} <= keys for keys in named[_kind(copy)]) for copy in copies}
    counts = {kind: sum(found[copy] for copy in copies if _kind(copy) == kind) for kind in KINDS}
    groups = {frozenset(content[original.get(key, key)] for key in one.keys) for one in findings}
    own = _judged(folder.name)
    false = sum(_strangers(group, own) for group in groups)
    return {
        "fault": "duplicates", "data": folder.name, "seed": seed, "images": len(images), "pool": pool,
        **{kind: [counts[kind], sum(_kind(copy) == kind for copy in copies)] for kind in KINDS},
        "false": false, "own": sum(pair <= group for pair in own for group in groups),
        "missed": [
            {"scale": round(copy.scale, 3), "quality": copy.quality, "brightness": round(copy.brightness, 3)}
            for copy in copies if not found[copy]
        ],
        "lowest": _lowest(findings), "seen": len(known.seen),
        "versions": {name: version(name) for name in PACKAGES}, "date": began.date().isoformat(), "commit": commit(),
    }  # fmt: skip


def own_pairs(folder: Path, page: Path) -> int:
    """Writes the pairs that the untouched data has, with thumbnails and verdicts, and says how many have no verdict."""
    _, findings = _audited(folder)
    judged, rows, open_ = _judged(folder.name), [], 0
    for one in findings:
        paths = [folder / key for key in one.keys]
        for left, right in pairwise(paths):
            verdict = judged.get(frozenset((_hash(left), _hash(right))), "")
            open_ += not verdict
            cells = "".join(
                f'<td><img src="data:image/jpeg;base64,{_thumbnail(path)}"><br>'
                f"{html.escape(path.relative_to(folder).as_posix())}<br>{_hash(path)}</td>"
                for path in (left, right)
            )
            correlation = (one.figures or {}).get("correlation")
            rows.append(f"<tr>{cells}<td>{one.kind}<br>{correlation}<br>{verdict or 'not looked at'}</td></tr>")
    page.parent.mkdir(parents=True, exist_ok=True)
    head = f"<!doctype html><meta charset=utf-8><h1>{html.escape(folder.name)}: {len(rows)} pairs</h1>"
    page.write_text(f"{head}<table>{''.join(rows)}</table>\n")
    return open_


def table(rows: Sequence[Row]) -> list[str]:
    """Development and table apart: what was found of either kind, what was false, and what was asked."""
    lines = []
    for name, seeds in (("development", range(5)), ("table", range(100, 105))):
        runs = sorted((row for row in rows if row["seed"] in seeds), key=lambda row: int(row["seed"]))
        if not runs:
            continue
        lines += [f"{name}: {len(runs)} seeds, {runs[0]['exact'][1]} exact and {runs[0]['near'][1]} near copies in "
                  f"{runs[0]['images']} images", "",
                  "| seed | exact found | near found | false | pairs that the data has by itself |",
                  "| --- | --- | --- | --- | --- |"]  # fmt: skip
        lines += [
            f"| {row['seed']} | {row['exact'][0]} of {row['exact'][1]} | {row['near'][0]} of {row['near'][1]} | "
            f"{row['false']} | {row['own']} |"
            for row in runs
        ]
        (exact, exacts), (near, nears) = (_summed(runs, kind) for kind in KINDS)
        false = sum(row["false"] for row in runs)
        share = false / max(1, exact + near + false)
        shown = exact == exacts and near >= NEAR * nears and share <= FALSE
        lines += ["", f"asked: all exact, at least {NEAR:.0%} of near, false at most {FALSE:.0%} of found: "
                  f"{exact} of {exacts}, {near / nears:.1%}, {share:.1%}, {'shown' if shown else 'NOT shown'}",
                  ""]  # fmt: skip
    for data in sorted({row["data"] for row in rows}):
        lines += [
            f"- by itself, looked at: {' and '.join(one['keys'])}: {one['verdict']}; {one['because']}"
            for one in _verdicts(data)
        ]
    return lines


def _shared_out(folder: Path, root: Path, seed: int) -> None:
    """A copy of a folder with train/ and val/, with val/ divided between validation/ and test/ within each class."""
    shutil.copytree(folder / "train", root / "train")
    generator = np.random.default_rng(seed)
    for label in sorted(path for path in (folder / "val").iterdir() if path.is_dir()):
        files = sorted(label.iterdir())
        for number, place in enumerate(generator.permutation(len(files)).tolist()):
            target = root / ("validation", "test")[number % 2] / label.name / files[place].name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(files[place], target)
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # the data may be read-only


def _audited(root: Path) -> "tuple[Gathered, list[Finding]]":
    from finetune.audit.audit import audit
    from finetune.audit.gather import gather
    from finetune.starter import recipe_to_check

    known = gather(recipe_to_check(root, ["schedule={kind: lp_ft}"]))  # one for which validation images are apart
    return known, [one for one in audit(known).findings if one.check == "duplicates" and one.keys]


def _kind(copy: planted.Copy) -> str:
    return "near" if copy.made == "near" else "exact"


def _strangers(group: frozenset[str], own: dict[frozenset[str], str]) -> int:
    """How many links between different images a finding takes beside those that were looked at and are true."""
    apart = {content: {content} for content in group}
    for pair in combinations(sorted(group), 2):
        if own.get(frozenset(pair)) in TRUE:
            joined = apart[pair[0]] | apart[pair[1]]
            apart |= dict.fromkeys(joined, joined)
    return len({id(joined) for joined in apart.values()}) - 1


def _judged(data: str) -> dict[frozenset[str], str]:
    return {frozenset(one["images"]): one["verdict"] for one in _verdicts(data)}


def _verdicts(data: str) -> list[Row]:
    found: dict[str, list[Row]] = json.loads(VERDICTS.read_text())
    return found.get(data, [])


def _lowest(findings: "Iterable[Finding]") -> float:
    """The lowest correlation of a near finding, 1 without any."""
    found = [float((one.figures or {})["correlation"] or 1) for one in findings if one.kind.startswith("near")]
    return min(found, default=1.0)


def _summed(runs: Sequence[Row], kind: str) -> tuple[int, int]:
    found, planted_ = (sum(row[kind][place] for row in runs) for place in (0, 1))
    return found, planted_


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _thumbnail(path: Path) -> str:
    stream = io.BytesIO()
    with Image.open(path) as image:
        small = ImageOps.exif_transpose(image).convert("RGB")
        small.thumbnail((SIDE, SIDE))
        small.save(stream, "JPEG", quality=85)
    return base64.b64encode(stream.getvalue()).decode()
