"""Faults planted into data whose truth is known: wrong labels, copies in another split, shortcuts.

Every strength is drawn from a range by the seed. Files are written only below a folder that the caller has copied.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

Array = npt.NDArray[Any]
Trace = Literal["encode", "resize", "border"]

SCALE = (0.6, 0.9)  # of a near copy
QUALITY = (50, 80)
CROPPED = 0.05  # of the width and of the height, both edges together
BRIGHTNESS = (0.9, 1.1)
TRACES: dict[Trace, tuple[float, float]] = {
    "encode": (30, 60),  # JPEG quality
    "resize": (0.6, 0.8),  # of either side
    "border": (0.04, 0.1),  # of the shorter side, black
}


@dataclass(frozen=True)
class Copy:
    """A copy that was planted: where it lies and of what, below the root, and how it was made.

    made: "bytes" (the file again), "pixels" (the same pixels as PNG), or "near", with what was drawn for it.
    """

    original: str
    copy: str
    made: Literal["bytes", "pixels", "near"]
    scale: float = 1.0
    quality: int | None = None
    brightness: float = 1.0


@dataclass(frozen=True)
class Traced:
    """A shortcut that was planted: the class whose images bear a trace, which and how strong, and the files."""

    label: str
    trace: Trace
    strength: float
    files: tuple[str, ...]


def flipped(labels: Array, *, classes: int, share: float, seed: int) -> Array:
    """The labels with a share of them, rounded, moved to another class, each other class as likely.

    labels: (n,) int in 0..classes - 1.
    """
    generator = np.random.default_rng(seed)
    wrong = generator.choice(len(labels), size=round(share * len(labels)), replace=False)
    found = labels.copy()
    found[wrong] = (labels[wrong] + generator.integers(1, classes, size=len(wrong))) % classes
    return found


def copies(root: Path, *, source: str, target: str, exact: int, near: int, seed: int) -> tuple[Copy, ...]:
    """Writes copies of different images of split `source` into split `target`, under the same class and a new name.

    root: a folder of split folders of class folders. Of the exact copies every other one is the file byte for byte, the
    rest are the same pixels as PNG. A near copy is cropped, scaled, brightened or darkened, and encoded as JPEG, all
    four.
    """
    generator = np.random.default_rng(seed)
    pool = sorted(path for path in (root / source).glob("*/*") if path.is_file())
    chosen = [pool[place] for place in generator.choice(len(pool), size=exact + near, replace=False)]
    found = []
    for number, path in enumerate(chosen):
        made: Literal["bytes", "pixels", "near"] = "near" if number >= exact else "pixels" if number % 2 else "bytes"
        suffix = {"bytes": path.suffix, "pixels": ".png", "near": ".jpg"}[made]
        copy = root / target / path.parent.name / f"copy-{seed}-{number:03}{suffix}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        drawn: dict[str, Any] = {}
        if made == "bytes":
            copy.write_bytes(path.read_bytes())
        elif made == "pixels":
            _upright(path).save(copy)
        else:
            data, drawn = near_copy(_upright(path), generator)
            copy.write_bytes(data)
        found.append(Copy(path.relative_to(root).as_posix(), copy.relative_to(root).as_posix(), made, **drawn))
    return tuple(found)


def near_copy(image: Image.Image, generator: np.random.Generator) -> tuple[bytes, dict[str, Any]]:
    """A near copy of an RGB image as a JPEG file, and what was drawn: scale, quality, brightness.

    The crop takes a twentieth of either side, divided between its two edges as drawn.
    """
    scale, brightness = (float(generator.uniform(*ends)) for ends in (SCALE, BRIGHTNESS))
    quality = int(generator.integers(QUALITY[0], QUALITY[1] + 1))
    lost = [round(CROPPED * side) for side in image.size]
    left, top = (int(generator.integers(0, number + 1)) for number in lost)
    cropped = image.crop((left, top, left + image.width - lost[0], top + image.height - lost[1]))
    size = tuple(max(1, round(scale * side)) for side in cropped.size)
    changed = ImageEnhance.Brightness(cropped.resize(size, Image.Resampling.BICUBIC)).enhance(brightness)
    return _jpeg(changed, quality), {"scale": scale, "quality": quality, "brightness": brightness}


def shortcut(root: Path, *, label: str, trace: Trace, seed: int, splits: Sequence[str], share: float = 1.0) -> Traced:
    """Leaves a trace of one strength, drawn from its range, in a share of the images of one class.

    encode: encoded once more as JPEG at a lower quality. resize: scaled down. border: a black frame. The last two are
    encoded at quality 95. The files are written anew under their names, as JPEG, without metadata.
    """
    generator = np.random.default_rng(seed)
    drawn = float(generator.uniform(*TRACES[trace]))
    strength = float(round(drawn)) if trace == "encode" else drawn
    pool = sorted(path for split in splits for path in (root / split / label).iterdir() if path.is_file())
    chosen = sorted(generator.choice(len(pool), size=round(share * len(pool)), replace=False).tolist())
    for place in chosen:
        pool[place].write_bytes(traced(_upright(pool[place]), trace, strength))
    return Traced(label, trace, strength, tuple(pool[place].relative_to(root).as_posix() for place in chosen))


def traced(image: Image.Image, trace: Trace, strength: float) -> bytes:
    """An RGB image with a trace, as a JPEG file."""
    if trace == "encode":
        return _jpeg(image, round(strength))
    if trace == "resize":
        size = tuple(max(1, round(strength * side)) for side in image.size)
        return _jpeg(image.resize(size, Image.Resampling.BICUBIC), 95)
    return _jpeg(ImageOps.expand(image, max(1, round(strength * min(image.size)))), 95)


def _upright(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
