"""What `finetune check` takes on ten thousand photographs: python benchmarks/checking.py --help

The images, JPEG files of 500 x 375 in ten class folders, are parts of the photographs of a folder, mirrored or not,
brought to one size, with grain, and compressed so that a file takes about as many bytes as a photograph of that size
does; as many bytes, as much to decode. `check` is a process of its own, timed from its start to its end: with an empty
cache folder (`first`), once more (`second`), and with a page of thumbnails (`page`). The claims, on two cores: the
first time in less than 90 s and 1 GB, the second in less than 15 s.

A line of JSON for each run is appended to the output.
"""

import argparse
import io
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from measure import ROOT, commit, measured
from PIL import Image, ImageOps

SIZE = (500, 375)
CLASSES = 10
GRAIN = 8.0  # standard deviation, of 255
QUALITY = 93
SMALLEST = 240  # short side of a photograph that parts are taken of
WHOLE = (0.6, 1.0)  # of the largest part of that shape
SECONDS = {"first": 90, "second": 15, "page": None}
MEMORY = 1e9

Row = dict[str, Any]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--photographs", type=Path, default=ROOT.parent / "shared" / "data", help="taken parts of")
    options.add_argument("--images", type=int, default=10_000)
    options.add_argument("--folder", type=Path, help="where the images are, or are kept; else made anew")
    options.add_argument("--output", type=Path, default=Path(__file__).parent / "checking.jsonl")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = given.folder or Path(place) / "images"
        if not folder.exists():
            draw(folder, sources(given.photographs), given.images)
        for row in runs(folder, Path(place)):
            print(json.dumps(row, indent=1), flush=True)
            with given.output.open("a") as file:
                file.write(json.dumps(row) + "\n")


def sources(folder: Path) -> list[Path]:
    """The JPEG files below a folder that are large enough, in order."""
    found = []
    for path in sorted([*folder.rglob("*.jpg"), *folder.rglob("*.jpeg")]):
        with Image.open(path) as image:
            if min(image.size) >= SMALLEST:
                found.append(path)
    if not found:
        raise SystemExit(f"{folder}: no JPEG file with a short side of {SMALLEST} pixels or more")
    return found


def draw(folder: Path, photographs: Sequence[Path], images: int) -> None:
    """Writes so many images into class folders, no two the same; always the same ones."""
    for number in range(CLASSES):
        (folder / f"class-{number}").mkdir(parents=True)

    def write(number: int) -> None:
        path = folder / f"class-{number % CLASSES}" / f"{number:05}.jpg"
        path.write_bytes(_part(photographs[number % len(photographs)], np.random.default_rng(number)))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(write, range(images)))


def runs(folder: Path, place: Path) -> list[Row]:
    """`check` of a folder, three times with one cache folder that is empty at first."""
    sizes = [path.stat().st_size for path in folder.rglob("*.jpg")]
    env = {**os.environ, "FINETUNE_CACHE": str(place / "cache"), "PYTHONPATH": str(ROOT)}
    rows = []
    for run, more in {"first": [], "second": [], "page": ["--html", str(place / "page.html")]}.items():
        found = measured([sys.executable, "-m", "finetune", "check", str(folder), "--json", *more], env=env)
        told = json.loads(found.output)
        limit = SECONDS[run]
        rows.append(
            {
                "run": run,
                "images": told["images"],
                "bytes_per_file": round(sum(sizes) / len(sizes)),
                "seconds": round(found.seconds, 2),
                "cpu_seconds": round(found.cpu_seconds, 2),
                "peak_rss_mb": round(found.peak_rss / 1e6),
                "findings": told["counts"],
                "bound_seconds": limit,
                "bound_mb": round(MEMORY / 1e6),
                "holds": (limit is None or found.seconds < limit) and found.peak_rss < MEMORY,
                "cores": os.cpu_count(),
                "load_before": round(os.getloadavg()[0], 2),
                "versions": {name: version(name) for name in ("numpy", "pillow")},
                "date": date.today().isoformat(),
                "commit": commit(),
            }
        )
    return rows


def _part(path: Path, generator: np.random.Generator) -> bytes:
    """A part of a photograph as a JPEG file."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    scale = min(image.width / SIZE[0], image.height / SIZE[1]) * generator.uniform(*WHOLE)
    width, height = (scale * side for side in SIZE)
    left = generator.uniform(0, image.width - width)
    top = generator.uniform(0, image.height - height)
    part = image.resize(SIZE, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    if generator.random() < 0.5:
        part = ImageOps.mirror(part)
    grain = generator.normal(0, GRAIN, (SIZE[1], SIZE[0], 1))
    grainy = np.clip(np.asarray(part) + grain, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grainy).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


if __name__ == "__main__":
    main()
