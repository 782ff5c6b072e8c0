"""What decoding once is worth, in processor time of one thread: python benchmarks/decoding.py --help

kept: working images a second (256 pixels on the short side) read back from the store on disk, cropped to 224 x 224 and
mirrored half of the time, by slices of what is mapped into memory; the claim is at least 4,000. Beside it: the same
through `TrainingViews` of kind light, and decoding anew.
photographs: seconds of decoding JPEG files of twelve megapixels to the working size against those of Pillow that
decodes all pixels before it scales them, with the same filter; the claim is a median ratio of at least 3.5.

Rounds alternate in one process, the first does not count. A line of JSON for each row is appended to the output.
"""

import argparse
import hashlib
import io
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.extraction import about, cpu_seconds, draw, keep  # noqa: E402
from finetune.data import decode  # noqa: E402
from finetune.data.catalog import Sample  # noqa: E402
from finetune.data.decode import Preprocessing  # noqa: E402
from finetune.data.pixels import Pixels  # noqa: E402
from finetune.data.store import Store  # noqa: E402

SIZE = 224
LOOK = Preprocessing(SIZE, 256, "crop", "bicubic", (0.5,) * 3, (0.5,) * 3)
KEPT, FASTER = 4000, 3.5


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", choices=["kept", "photographs"])
    options.add_argument("--images", type=int, help="[2000 kept, 12 photographs]")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "decoding.jsonl")
    given = options.parse_args()
    if given.what == "kept":
        keep(kept(given.images or 2000, given.rounds), given.output)
    else:
        keep(photographs(given.images or 12, given.rounds), given.output)


def kept(images: int, rounds: int) -> dict[str, Any]:
    from finetune.recipe.images import Augment
    from finetune.views import TrainingViews

    views = TrainingViews(Augment(kind="light"), LOOK, seed=0)
    with tempfile.TemporaryDirectory() as place:
        paths = draw(Path(place) / "photos", images, size=(500, 375))
        samples = [Sample(path.name, path, "", sha256=hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths]
        with Store.open(Path(place) / "cache") as store:
            source = Pixels(store, where="disk")
            source.prepare(samples, LOOK, must=True)
            for sample in samples:
                source.working(sample.file, sample.sha256, LOOK)
        with Store.open(Path(place) / "cache") as store:
            source = Pixels(store, where="disk")
            source.prepare(samples, LOOK, must=True)

            def slices() -> None:
                random = np.random.default_rng(0)
                for sample in samples:
                    working = source.working(sample.file, sample.sha256, LOOK)
                    top, left = (int(random.integers(0, side - SIZE + 1)) for side in working.shape[:2])
                    view = working[top : top + SIZE, left : left + SIZE].view("V3")  # whole pixels
                    np.ascontiguousarray(view[:, ::-1] if random.random() < 0.5 else view)

            def light() -> None:
                for sample in samples:
                    views.view(source.working(sample.file, sample.sha256, LOOK), epoch=1, key=sample.key)

            def anew() -> None:
                for sample in samples[: len(samples) // 10]:
                    decode.working_image(decode.read(sample.file), LOOK)

            spent = alternating({"slices": slices, "light": light, "anew": anew}, rounds)
    rates = {name: images / seconds for name, seconds in medians(spent).items()}
    rates["anew"] /= images / (images // 10)
    slowest = images / max(spent["slices"])
    return {
        "what": "kept", "images": images, "rounds": rounds,
        **{f"{name}_per_second": round(rate) for name, rate in rates.items()}, "slowest_per_second": round(slowest),
        "bound_per_second": KEPT, "holds": rates["slices"] >= KEPT, **about(),
    }  # fmt: skip


def photographs(images: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        files = [path.read_bytes() for path in draw(Path(place), images, size=(4000, 3000))]
    filtered = Image.Resampling[LOOK.interpolation.upper()]

    def ours() -> None:
        for data in files:
            decode.working_image(data, LOOK)

    def pillow() -> None:
        for data in files:
            with Image.open(io.BytesIO(data)) as image:
                width = int(LOOK.working * image.width / image.height)
                np.asarray(image.convert("RGB").resize((width, LOOK.working), filtered))

    spent = alternating({"ours": ours, "pillow": pillow}, rounds)
    ratios = [slow / fast for fast, slow in zip(spent["ours"], spent["pillow"], strict=True)]
    return {
        "what": "photographs", "images": images, "rounds": rounds,
        **{f"{name}_ms": round(1000 * seconds / images, 2) for name, seconds in medians(spent).items()},
        "ratio": round(statistics.median(ratios), 3), "ratio_lowest": round(min(ratios), 3),
        "ratio_highest": round(max(ratios), 3), "bound": FASTER, "holds": statistics.median(ratios) >= FASTER,
        **about(),
    }  # fmt: skip


def alternating(parts: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """The processor seconds of each part, round by round."""
    spent: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(rounds + 1):
        for name, part in parts.items():
            seconds = cpu_seconds(part)
            if number:
                spent[name].append(seconds)
    return spent


def medians(spent: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


if __name__ == "__main__":
    main()
