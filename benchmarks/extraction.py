"""What a feature pass costs beside its parts, and how much memory it needs: python benchmarks/extraction.py --help

speed: CPU seconds per image of `Extractor.pooled` from JPEG files (hashing, decoding, the network, the store) against
those of the bare network on random tensors and of a bare Pillow decode-and-resize of the same files, with the same
filter, in alternating rounds in one process; the claim is a median ratio of at most 1 / 0.90.
memory: the peak of `finetune.features` over many different images against that over few, each in a process of its own;
the claim is at most 50 MB more.

A line of JSON for each row is appended to the output. Weights are random: neither figure depends on them.
"""

import argparse
import contextlib
import importlib.metadata
import io
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
SIZE = 224
BOUND = 1 / 0.90


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", choices=["speed", "memory", "peak"], help="peak is what memory calls")
    options.add_argument("--networks", nargs="+", help="[resnet18 and resnet50 for speed, resnet18 for memory]")
    options.add_argument("--precisions", nargs="+", default=["float32", "bf16"])
    options.add_argument(
        "--images", type=int, nargs="+", help="speed: per round [512]; memory: few and many [2000 20000]"
    )
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--size", type=int, default=64, help="side of the network's input, for memory")
    options.add_argument("--folder", type=Path, help="where the images of memory are, for peak")
    options.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "extraction.jsonl")
    given = options.parse_args()
    if given.what == "peak":
        print(json.dumps(peak(given.folder, network=given.networks[0], size=given.size)))
    elif given.what == "speed":
        networks = given.networks or ["resnet18", "resnet50"]
        for network, precision in itertools.product(networks, given.precisions):
            row = speed(network, precision, images=(given.images or [512])[0], rounds=given.rounds)
            keep(row, given.output)
    else:
        keep(
            memory(given.images or [2000, 20000], network=(given.networks or ["resnet18"])[0], size=given.size),
            given.output,
        )


def speed(network: str, precision: Any, *, images: int, rounds: int) -> dict[str, Any]:
    import torch

    from finetune.data.catalog import Sample
    from finetune.data.store import Store
    from finetune.frozen.extract import Extractor, Looks
    from finetune.model import backbone
    from finetune.recipe.images import Images
    from finetune.runtime import start

    runtime = start(precision)
    built = backbone.build(network, size=SIZE)
    preprocessing = built.contract.preprocessing(Images())
    batch = runtime.evaluation_batch
    noise = torch.randn(batch, 3, SIZE, SIZE, device=runtime.device).contiguous(memory_format=torch.channels_last)

    with tempfile.TemporaryDirectory() as place:
        paths = draw(Path(place), images, size=(500, 375))
        samples = [Sample(path.name, path, "") for path in paths]

        def features() -> None:
            with tempfile.TemporaryDirectory() as cold, Store.open(Path(cold)) as store:
                extractor = Extractor(
                    built, looks=Looks(preprocessing), runtime=runtime, store=store, precision=precision
                )
                extractor.pooled(samples)

        def bare() -> None:
            with torch.inference_mode(), runtime.autocast():
                for _ in range(images // batch):
                    built.module.eval()(noise).float().cpu()

        def pillow() -> None:
            working, filtered = preprocessing.working, Image.Resampling[preprocessing.interpolation.upper()]
            for path in paths:
                with Image.open(path) as image:
                    width = working * image.width // image.height
                    np.asarray(image.convert("RGB").resize((width, working), filtered))

        parts = {"features": features, "network": bare, "pillow": pillow}
        spent: dict[str, list[float]] = {name: [] for name in parts}
        for number in range(rounds + 1):  # the first does not count
            for name, part in parts.items():
                seconds = cpu_seconds(part) / images
                if number:
                    spent[name].append(seconds)
    ratios = [f / (n + p) for f, n, p in zip(*spent.values(), strict=True)]
    return {
        "what": "speed", "network": network, "precision": precision, "size": SIZE, "images": images, "rounds": rounds,
        **{f"{name}_ms": round(1000 * statistics.median(values), 3) for name, values in spent.items()},
        "ratio": round(statistics.median(ratios), 4), "ratio_lowest": round(min(ratios), 4),
        "ratio_highest": round(max(ratios), 4), "bound": round(BOUND, 4), "holds": statistics.median(ratios) <= BOUND,
        "batch": batch, "device": str(runtime.device), "threads": runtime.threads, **about(),
    }  # fmt: skip


def cpu_seconds(part: Callable[[], None]) -> float:
    begun = time.process_time()
    part()
    return time.process_time() - begun


def memory(counts: list[int], *, network: str, size: int) -> dict[str, Any]:
    peaks = {}
    with tempfile.TemporaryDirectory() as place:
        for count in counts:
            folder = Path(place) / str(count)
            draw(folder, count, size=(256, 256))
            command = [sys.executable, __file__, "peak", "--folder", str(folder), "--networks", network]
            environment = {**os.environ, "FINETUNE_CACHE": str(Path(place) / f"cache of {count}")}
            done = subprocess.run(
                [*command, "--size", str(size)], env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            peaks[count] = json.loads(done.stdout)
    few, many = min(counts), max(counts)
    more = round(peaks[many]["peak_mb"] - peaks[few]["peak_mb"], 1)
    return {
        "what": "memory", "network": network, "size": size, "few": few, "many": many,
        "peak_few_mb": peaks[few]["peak_mb"], "peak_many_mb": peaks[many]["peak_mb"], "more_mb": more,
        "result_many_mb": peaks[many]["result_mb"], "seconds_many": peaks[many]["seconds"], "bound_mb": 50,
        "holds": more <= 50, **about(),
    }  # fmt: skip


def peak(folder: Path, *, network: str, size: int) -> dict[str, float]:
    """The largest resident memory of this process, when the features of a folder have been made."""
    from finetune.frozen.table import features

    begun = time.perf_counter()
    found = features(network, folder, weights={"kind": "random"}, size=size)
    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        "peak_mb": round(most / 1e6, 1),
        "result_mb": round(found.values.nbytes / 1e6, 1),
        "seconds": round(time.perf_counter() - begun, 1),
    }


def draw(folder: Path, count: int, *, size: tuple[int, int]) -> list[Path]:
    """So many JPEG files, no two the same: blurred noise, which compresses about as a photograph does."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        noise = random.integers(0, 256, (size[1] // 12, size[0] // 12, 3), dtype=np.uint8)
        data = io.BytesIO()
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
        paths.append(folder / f"{number:05}.jpg")
        paths[-1].write_bytes(data.getvalue())
    return paths


def keep(row: dict[str, Any], output: Path) -> None:
    print(json.dumps(row, indent=1))
    with output.open("a") as file:
        file.write(json.dumps(row) + "\n")


def about() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in ("torch", "timm", "pillow")}
    return {**versions, "date": date.today().isoformat(), "commit": commit()}


def commit() -> str:
    with contextlib.suppress(OSError):
        asked = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or "unknown"
    return "unknown"


if __name__ == "__main__":
    main()
