"""Bytes of an image file -> upright RGB pixels, safely: the only way from a file to pixels.

Pillow decodes, and only five formats, chosen by the first bytes of the file and never by its name. What a file may not
be (too large, cut off, a web page, 32 bits deep) is an `UnreadableImage` with a kind and a reason; what had to be done
to it (alpha composited, 16 bits scaled) is a note. It knows nothing of labels, folders, networks or augmentation.
"""

import contextlib
import errno
import io
import math
import os
import re
import stat
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from finetune.data import formats
from finetune.errors import BundleError, FinetuneError, UnreadableImage, UsageError, printable

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
MIN_SIDE = 8
MAX_ASPECT = 50

Fit = Literal["crop", "pad", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

_UPRIGHT = {  # EXIF 2.32, 4.6.4 A, Orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FAILURES = {
    errno.ENOENT: "missing",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "permission"),
    **dict.fromkeys((errno.EISDIR, errno.ENXIO), "not-a-regular-file"),  # ENXIO: a socket
}
_NO_HEADER = "not identified by this driver"  # Pillow's words for a file whose first bytes only are right
_PNG_END = b"IEND\xaeB`\x82"
_REMARKS: tuple[object, ...] = ("ignore", None, UserWarning, re.compile(r"PIL\."), 0)


@dataclass(frozen=True)
class Preprocessing:
    """How any image becomes the input of one network; the same value for training, evaluation, prediction and export.

    `working` and `size` are sides in pixels: an image is resized once, to its working image, and views of `size` x
    `size` are cut from that. `mean` and `std` belong to intensities in 0..1. Raises UsageError for what cannot be.
    """

    size: int
    working: int
    fit: Fit
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.fit not in get_args(Fit):
            raise UsageError(f"fit {self.fit!r} is none of {', '.join(get_args(Fit))}")
        if self.interpolation not in get_args(Interpolation):
            raise UsageError(f"interpolation {self.interpolation!r} is none of {', '.join(get_args(Interpolation))}")
        if not MIN_SIDE <= self.size <= self.working:
            raise UsageError(f"size is {self.size} and working {self.working}; {MIN_SIDE} <= size <= working is needed")
        if self.fit != "crop" and self.working != self.size:
            raise UsageError(f"working is {self.working} and size {self.size}; with fit {self.fit!r} they are the same")
        if len(self.mean) != 3 or not all(0 <= value <= 1 for value in self.mean):
            raise UsageError(f"mean is {self.mean!r}; three numbers from 0 to 1 are needed")
        if len(self.std) != 3 or not all(0 < value < math.inf for value in self.std):
            raise UsageError(f"std is {self.std!r}; three finite numbers above 0 are needed")

    @property
    def canvas(self) -> tuple[int, int, int]:
        """The colour around a padded image, 0..255: the mean."""
        red, green, blue = (round(255 * value) for value in self.mean)
        return red, green, blue

    def to_dict(self) -> dict[str, object]:
        """As JSON holds it: numbers, strings and lists."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Preprocessing":
        """What `to_dict` wrote. Raises BundleError for anything else, since bundles are where it is stored."""
        try:
            values: dict[str, Any] = {**stored, "mean": tuple(stored["mean"]), "std": tuple(stored["std"])}
            return cls(**values)
        except (KeyError, TypeError, UsageError) as error:
            raise BundleError(f"preprocessing cannot be read: {error}") from error


@dataclass(frozen=True)
class Decoded:
    """A whole image: `pixels`, upright RGB of `size` (width, height), and `notes` on what was done to get there."""

    pixels: Image.Image
    notes: tuple[str, ...]
    size: tuple[int, int]
    format: str


def read(path: Path) -> bytes:
    """The bytes of a regular file of at most 64 MiB. Raises UnreadableImage; a pipe or a device is never waited for."""
    return read_with_status(path)[0]


def read_with_status(path: Path) -> tuple[bytes, os.stat_result]:
    """The same, and what the system said of the opened file before it was read."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableImage("not-a-regular-file", "a pipe or a device")
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        number, text = getattr(error, "errno", 0), getattr(error, "strerror", None) or str(error)
        raise UnreadableImage(_FAILURES.get(number, "unreadable"), printable(text.lower())) from None
    if len(data) > MAX_BYTES:
        raise UnreadableImage("too-large", f"more than {MAX_BYTES // 2**20} MiB")
    return data, status


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def decode(data: bytes) -> Decoded:
    """The whole image in a file's bytes, every pixel decoded, and what is notable about it. Raises UnreadableImage."""
    return decode_with_source(data)[0]


def decode_with_source(data: bytes) -> tuple[Decoded, Image.Image]:
    """The same, and the image as it is stored: its mode, tables and EXIF are still to be asked for."""
    with errors_as_unreadable():
        image = _opened(data)
        _check_size(image.size)
        pixels, _, notes = _upright_rgb(image)
        notes = (*notes, *_file_notes(data, image))
    return Decoded(pixels=pixels, notes=notes, size=pixels.size, format=image.format or ""), image


def working_image(source: bytes | Image.Image | np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The working image of a file's bytes, of a PIL image or of a uint8 array (h, w, 3) of RGB.

    Returns uint8 (h, w, 3). fit `crop`: the short side is `working`, the long one int(working * long / short), as
    torchvision has it; `squash`: `working` x `working`; `pad`: the same, the image centred on the mean colour. JPEG is
    decoded at a half, a quarter or an eighth when the short side then still is at least twice `working`. Raises
    UnreadableImage, and UsageError for an array of another shape or dtype.
    """
    with errors_as_unreadable():
        image = _opened(source)
        _check_size(image.size)
        whole = image.size
        if isinstance(source, bytes):
            image.draft(None, (2 * preprocessing.working, 2 * preprocessing.working))
        pixels, orientation, _ = _upright_rgb(image)
        return _fitted(pixels, whole[::-1] if orientation >= 5 else whole, preprocessing)


def working_bytes(data: bytes, preprocessing: Preprocessing) -> int:
    """How many bytes the working image of a file will have, told by the file's header. Raises UnreadableImage."""
    with errors_as_unreadable():
        image = _opened(data)
        _check_size(image.size)
        return 3 * math.prod(_working_size(image.size, preprocessing))


def short_side(data: bytes) -> int:
    """The shorter side of an image in pixels, told by the file's header. Raises UnreadableImage."""
    with errors_as_unreadable():
        return min(_opened(data).size)


@contextlib.contextmanager
def errors_as_unreadable() -> Iterator[None]:
    """Damaged files raise errors of five kinds and more: all become UnreadableImage, made of plain strings."""
    if [*warnings.filters[:1]] != [_REMARKS]:
        # Pillow warns of odd metadata. Filters belong to the process and cannot be set for one thread, so this one is
        # put first and stays; without it, what a file yields would depend on the filters of whoever calls.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    try:
        yield
    except FinetuneError:
        raise
    except Exception as error:
        text = printable(str(error) or type(error).__name__).replace(_NO_HEADER, "a header that makes no sense")
        if isinstance(error.__cause__ or error, struct.error | EOFError) or "truncated" in text.lower():
            raise UnreadableImage("truncated", "the file ends before its image does") from None
        raise UnreadableImage("damaged", text) from None


def _opened(source: bytes | Image.Image | np.ndarray) -> Image.Image:
    """The image with its header read and its pixels not yet decoded."""
    if isinstance(source, bytes):
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            raise UsageError(
                "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is True, so cut files would pass as whole; set it to False"
            )
        # The reader itself and not Image.open, which warns of large images before their size can be asked for, and
        # walks through the frames of a phone's multi-picture JPEG.
        return formats.reader(source)(io.BytesIO(source))
    if isinstance(source, Image.Image):
        return source
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
        raise UsageError(
            f"an image array is uint8 of shape (height, width, 3), not {source.dtype} of shape {source.shape}"
        )
    return Image.fromarray(source)


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise UnreadableImage(
            "too-many-pixels", f"{width} x {height}; at most {MAX_PIXELS // 10**6} million are decoded"
        )
    if min(size) < MIN_SIDE:
        raise UnreadableImage("too-small", f"{width} x {height}; each side must have at least {MIN_SIDE} pixels")
    if max(size) > MAX_ASPECT * min(size):
        raise UnreadableImage("aspect", f"{width} x {height}; one side may be at most {MAX_ASPECT} times the other")


def _upright_rgb(image: Image.Image) -> tuple[Image.Image, int, tuple[str, ...]]:
    """The decoded pixels, the EXIF orientation they have been freed of (from 5 on the sides are swapped), and notes."""
    image.load()
    orientation, notes = _orientation(image)
    pixels, more = _rgb(image)
    return pixels if orientation == 1 else pixels.transpose(_UPRIGHT[orientation]), orientation, (*notes, *more)


def _orientation(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """The EXIF orientation of a loaded image (Pillow has turned TIFF by then); 1 and a note where it is nonsense."""
    value: object = None
    with contextlib.suppress(UnreadableImage), errors_as_unreadable():
        exif = image.getexif()
        if "exif" in image.info:  # again and on its own: what Pillow cannot read at first it passes over in silence
            exif = Image.Exif()
            exif.load(image.info["exif"])
        value = exif.get(ExifTags.Base.Orientation, 1)
    if not isinstance(value, int) or not 1 <= value <= 8:
        return 1, ("broken EXIF, taken as upright",)
    return value, () if value == 1 else ("turned upright by EXIF",)


def _rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    if image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
        raise UnreadableImage("not-finite", "pixels that are NaN or infinite")
    if image.mode in ("I", "F"):
        raise UnreadableImage(
            "unsupported-depth", "32-bit or signed pixels, whose range no one knows; store 8 or 16 bits"
        )
    if image.mode == "LAB":
        raise UnreadableImage("unsupported-colour", "the LAB colour space; store RGB")
    if image.has_transparency_data:
        return _on_white(image)
    note = ("CMYK converted",) if image.mode == "CMYK" else ()
    return image.convert("RGB"), note


def _from_16_bit(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """65535 becomes 255, and everything between keeps its place; Pillow itself would clip at 255."""
    tags: Mapping[int, object] = getattr(image, "tag_v2", {})
    if tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,)) != (16,):
        raise UnreadableImage("unsupported-depth", "12 bits per pixel; store 8 or 16 bits")
    values = np.asarray(image).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
        grey = 255 - grey  # a TIFF whose 0 is white, which Pillow leaves as it is at this depth
    notes: tuple[str, ...] = ("16 bits scaled to 8",)
    if isinstance(image.info.get("transparency"), int):
        grey[values == image.info["transparency"]] = 255
        notes += ("alpha composited on white",)
    return Image.fromarray(grey).convert("RGB"), notes


def _on_white(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    plain = (
        image.convert("LA") if image.mode == "La" else image
    )  # Pillow undoes grey premultiplication by this step only
    layer = plain.convert("RGBA")
    alpha = layer.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return layer.convert("RGB"), ()
    canvas = Image.new("RGB", layer.size, "white")
    canvas.paste(layer, mask=alpha)
    return canvas, ("alpha composited on white",)


def _file_notes(data: bytes, image: Image.Image) -> Iterator[str]:
    """What is odd about a file that could be read; asks headers only, and never how many frames there are."""
    if getattr(image, "is_animated", False) or "mp" in image.info:
        yield "first of several frames taken"
    if image.format == "JPEG" and not data.endswith(b"\xff\xd9"):
        yield "bytes after the end of the image"
    if image.format == "PNG" and not data.endswith(_PNG_END):
        yield "bytes after the end of the image" if _PNG_END in data else "PNG without its last block"
    tags: Mapping[int, tuple[int, ...]] = getattr(image, "tag_v2", {})
    deep = data[24] == 16 if image.format == "PNG" else 16 in tags.get(TiffImagePlugin.BITSPERSAMPLE, ())
    if deep and not image.mode.startswith("I;16"):
        yield "16 bits scaled to 8"
    profile = image.info.get("icc_profile") or b""
    if profile and b"sRGB" not in profile and "sRGB".encode("utf-16-be") not in profile:
        yield "colour profile ignored"


def _working_size(whole: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """(width, height) of the working image of an upright image of (width, height) `whole`."""
    side, (width, height) = preprocessing.working, whole
    if preprocessing.fit != "crop":
        return side, side
    far = int(side * max(whole) / min(whole))
    return (side, far) if width <= height else (far, side)


def _fitted(pixels: Image.Image, whole: tuple[int, int], preprocessing: Preprocessing) -> np.ndarray:
    """`whole` is (width, height) before any draft: the shape of the result does not depend on how it was decoded."""
    side, (width, height) = preprocessing.working, whole
    resampling = Image.Resampling[preprocessing.interpolation.upper()]
    if preprocessing.fit != "pad":
        return np.array(pixels.resize(_working_size(whole, preprocessing), resampling))
    near = max(1, round(side * min(whole) / max(whole)))
    inner = pixels.resize((near, side) if width <= height else (side, near), resampling)
    canvas = Image.new("RGB", (side, side), preprocessing.canvas)
    canvas.paste(inner, ((side - inner.width) // 2, (side - inner.height) // 2))
    return np.array(canvas)
