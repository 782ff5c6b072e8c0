"""A look at an image file: small facts on it, taken in one reading and one decoding, and remembered.

The decoding is the whole and safe one of `decode`, so that a look also tells whether a file can be used. It knows
nothing of labels, and of no other image.
"""

import base64
import contextlib
import functools
import hashlib
import inspect
import json
import sys
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.audit import header
from finetune.audit.header import Header
from finetune.data import decode, formats
from finetune.data.catalog import Catalog, Sample
from finetune.data.fingerprints import Fingerprint, Fingerprints
from finetune.errors import UnreadableImage

NAME = "looks.sqlite"
SIDE = 32  # of the small grey image
SHORT_SIDE = 256  # blur is measured at this size
LEVELS = 4  # of each colour in the histogram

ANIMATED = "first of several frames taken"
WRONG_SUFFIX = "suffix of another format"

_CHUNK = 1024  # files under way at a time


@dataclass(frozen=True, slots=True)
class Look:
    """Small facts on one image file.

    `sha256` is of the file's bytes, `pixels` of the upright RGB pixels and their size: the same for two files that
    show exactly the same. `file_size` is in bytes. `notes` are those of the decoder. `width` and `height` are upright;
    `mode` is Pillow's word for how pixels are stored.

    `brightness` and `contrast`: mean and standard deviation of grey, 0..1. `blur`: the variance of the Laplacian of
    grey 0..255, of an image whose short side was brought down to 256 pixels (Pech-Pacheco et al. 2000, Diatom
    autofocusing in brightfield microscopy); the less the more blurred. `entropy`: of the histogram of grey, in bits.
    `colour`: mean red, green and blue, 0..1. `histogram`: how many of 1024 places are of each of 4 x 4 x 4 colours, red
    slowest. `grey`: uint8 bytes of the image as 32 x 32 grey pixels. `phash`: `perceptual_hash` of that.
    """

    sha256: str
    pixels: str
    file_size: int
    width: int
    height: int
    mode: str
    format: str
    notes: tuple[str, ...]
    header: Header
    brightness: float
    contrast: float
    blur: float
    entropy: float
    colour: tuple[float, float, float]
    histogram: tuple[int, ...]
    grey: bytes
    phash: int

    @property
    def animated(self) -> bool:
        """Whether there are more frames, or pictures, than the one that is used."""
        return ANIMATED in self.notes

    @property
    def suffix_is_right(self) -> bool:
        """Whether the file's name says which format it is in."""
        return WRONG_SUFFIX not in self.notes

    @property
    def small(self) -> np.ndarray:
        """`grey` as uint8 (32, 32)."""
        return np.frombuffer(self.grey, dtype=np.uint8).reshape(SIDE, SIDE)

    def to_json(self) -> str:
        """One line of text."""
        return json.dumps({**asdict(self), "grey": base64.b64encode(self.grey).decode()})

    @classmethod
    def from_json(cls, text: str) -> "Look":
        """What `to_json` wrote."""
        stored: dict[str, Any] = json.loads(text)
        lists = {name: tuple(stored[name]) for name in ("notes", "colour", "histogram")}
        return cls(
            **{**stored, **lists, "header": Header(**stored["header"]), "grey": base64.b64decode(stored["grey"])}
        )


class Looks:
    """The memory of looks and of fingerprints, both in the cache folder; a context manager that threads may share.

    A look is trusted exactly as a fingerprint is (`data/fingerprints.py`) and lies beside them in a file of its own. A
    look taken anew is remembered as a fingerprint too, so that a run after a check decodes no file again.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._looks = Fingerprints.open(folder, name=NAME)
        self._fingerprints = Fingerprints.open(folder)

    def __enter__(self) -> "Looks":
        return self

    def __exit__(self, *_: object) -> None:
        self._looks.close()
        self._fingerprints.close()

    def look(self, path: Path) -> Look:
        """As it is remembered, or taken now. Raises UnreadableImage, which is not remembered."""
        found = self._looks.known(path)
        if found is not None and found.notes[:1] == (_version(),):
            return Look.from_json(found.notes[1])
        begun = time.time_ns()
        data, status = decode.read_with_status(path)
        taken = look(data, suffix=path.suffix)
        remembered = Fingerprint(taken.sha256, (_version(), taken.to_json()))
        self._looks.remember(path, status, remembered, begun=begun)
        self._fingerprints.remember(path, status, Fingerprint(taken.sha256, taken.notes), begun=begun)
        return taken


def look(data: bytes, *, suffix: str) -> Look:
    """The look of a file with these bytes and a name that ends so. Raises UnreadableImage."""
    decoded, source = decode.decode_with_source(data)
    picture = decoded.pixels
    mismatch = () if formats.SUFFIXES.get(suffix.lower()) == decoded.format else (WRONG_SUFFIX,)
    grey = picture.convert("L")
    small = grey.resize((SIDE, SIDE), Image.Resampling.BOX)
    counts = np.array(grey.histogram(), dtype=np.float64)
    shares = counts / counts.sum()
    mean = float(shares @ np.arange(256))
    places = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))
    return Look(
        sha256=hashlib.sha256(data).hexdigest(),
        pixels=hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest(),
        file_size=len(data),
        width=picture.width,
        height=picture.height,
        mode=source.mode,
        format=decoded.format,
        notes=(*decoded.notes, *mismatch),
        header=header.read(source),
        brightness=mean / 255,
        contrast=float(np.sqrt(shares @ (np.arange(256) - mean) ** 2)) / 255,
        blur=_laplacian_variance(grey),
        entropy=float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum()) + 0.0,
        colour=(
            float(places[..., 0].mean()) / 255,
            float(places[..., 1].mean()) / 255,
            float(places[..., 2].mean()) / 255,
        ),
        histogram=_histogram(places),
        grey=small.tobytes(),
        phash=perceptual_hash(np.asarray(small)),
    )


def looks(
    catalog: Catalog, *, threads: int, known: Looks | None = None, progress: Callable[[int, int], None] | None = None
) -> tuple[dict[str, Look], dict[str, UnreadableImage]]:
    """The look of every file, by the sample's key, and of those that cannot be read the reason; in the catalog's order.

    Samples that are not files are in neither. `progress(done, total)` is called from this thread.
    """
    taken: dict[str, Look] = {}
    unreadable: dict[str, UnreadableImage] = {}
    files = [sample for sample in catalog.samples if sample.path is not None]
    with contextlib.closing(_taken(files, known, threads=threads)) as found:
        for done, (sample, one) in enumerate(found, start=1):
            if isinstance(one, Look):
                taken[sample.key] = one
            else:
                unreadable[sample.key] = one
            if progress:
                progress(done, len(files))
    return taken, unreadable


def perceptual_hash(grey: np.ndarray) -> int:
    """64 bits that hardly change when an image is resized, compressed again or made brighter.

    grey: (32, 32). A bit is whether one of the 64 lowest frequencies of the cosine transform, the mean left out, is
    above their median. After Zauner 2010, Implementation and benchmarking of perceptual image hash functions, section
    3.2.1, who takes a square of frequencies; here they are the lowest by u + v, which cropping moves least.
    """
    wave = _COSINES @ grey.astype(np.float64) @ _COSINES.T
    lowest = wave[_LOWEST]
    return int("".join("1" if above else "0" for above in lowest > np.median(lowest)), 2)


def _cosines() -> np.ndarray:
    """DCT-II as a matrix (32, 32), without norms."""
    return np.cos(np.pi * np.arange(SIDE)[:, None] * (2 * np.arange(SIDE) + 1) / (2 * SIDE))


def _lowest() -> tuple[np.ndarray, np.ndarray]:
    order = sorted(
        ((u, v) for u in range(SIDE) for v in range(SIDE) if u + v), key=lambda uv: (sum(uv), abs(uv[0] - uv[1]), uv)
    )
    return np.array([u for u, _ in order[:64]]), np.array([v for _, v in order[:64]])


_COSINES = _cosines()
_LOWEST = _lowest()


def _laplacian_variance(grey: Image.Image) -> float:
    scale = SHORT_SIDE / min(grey.size)
    if scale < 1:
        grey = grey.resize((round(grey.width * scale), round(grey.height * scale)), Image.Resampling.BILINEAR)
    at = np.asarray(grey).astype(np.int16)
    laplacian = at[:-2, 1:-1] + at[2:, 1:-1] + at[1:-1, :-2] + at[1:-1, 2:] - 4 * at[1:-1, 1:-1]
    return float(laplacian.var())


def _histogram(places: np.ndarray) -> tuple[int, ...]:
    red, green, blue = np.moveaxis(places // (256 // LEVELS), -1, 0).astype(np.int64)
    return tuple(np.bincount(((red * LEVELS + green) * LEVELS + blue).ravel(), minlength=LEVELS**3).tolist())


def _taken(
    samples: Sequence[Sample], known: Looks | None, *, threads: int
) -> Generator[tuple[Sample, Look | UnreadableImage], None, None]:
    pool = ThreadPoolExecutor(threads)
    try:
        for start in range(0, len(samples), _CHUNK):
            chunk = samples[start : start + _CHUNK]
            yield from zip(chunk, pool.map(lambda sample: _look(sample.file, known), chunk), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)  # interrupted: what has not begun does not begin


def _look(path: Path, known: Looks | None) -> Look | UnreadableImage:
    try:
        return known.look(path) if known is not None else look(decode.read(path), suffix=path.suffix)
    except UnreadableImage as error:
        return error


@functools.cache
def _version() -> str:
    """Of what takes looks: a hash of its source. Where there is none nothing is remembered, and it does not matter."""
    with contextlib.suppress(OSError):
        source = "".join(inspect.getsource(module) for module in (header, sys.modules[__name__]))
        return hashlib.sha256(source.encode()).hexdigest()[:16]
    return ""
