"""What an image file says of itself beside its pixels: camera, software, time, and how strongly JPEG was compressed.

All of it was written by others and is taken as text or number that may be wrong; a header that cannot be read says
nothing.
"""

import contextlib
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from finetune.data.decode import errors_as_unreadable
from finetune.errors import UnreadableImage, printable

LONGEST_TEXT = 80

# ITU-T T.81 (1992), table K.1: quantisation of luminance at quality 50
_LUMINANCE = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in the file beside its pixels; empty text, None and 1 (upright) where nothing stands.

    `taken`: seconds since 1970 by the camera's own clock, whose zone is not known. `quality`: 1 to 100 of a JPEG file,
    `tables`: a hash of its quantisation tables, the same for all files of one encoder at one setting.
    """

    camera: str = ""
    software: str = ""
    taken: float | None = None
    orientation: int = 1
    quality: int | None = None
    tables: str = ""


def read(image: Image.Image) -> Header:
    """The header of an image that Pillow has opened and loaded."""
    tags: dict[int, Any] = {}
    with contextlib.suppress(UnreadableImage), errors_as_unreadable():
        exif = image.getexif()
        tags = {**exif, **(exif.get_ifd(ExifTags.IFD.Exif) if ExifTags.IFD.Exif in exif else {})}
    maker, model = _text(tags.get(ExifTags.Base.Make)), _text(tags.get(ExifTags.Base.Model))
    orientation = tags.get(ExifTags.Base.Orientation, 1)
    quality, tables = _compression(image)
    return Header(
        camera=model if model.startswith(maker) else f"{maker} {model}".strip(),
        software=_text(tags.get(ExifTags.Base.Software)),
        taken=_taken(tags),
        orientation=orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1,
        quality=quality,
        tables=tables,
    )


def jpeg_quality(table: list[int]) -> int:
    """The quality whose luminance table, as the IJG's encoder makes it, is nearest to this one of 64 numbers.

    libjpeg's jpeg_set_quality: table K.1 times 50 / q below 50, times 2 - q / 50 from there on. Exact for files of that
    encoder and its many relatives; for others the setting that quantises alike.
    """
    return 1 + int(np.abs(_TABLES - np.asarray(table)).sum(axis=1).argmin())


def _tables() -> np.ndarray:
    """int64 (100, 64): the luminance table of every quality."""
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    tables: np.ndarray = np.clip((_LUMINANCE * scale + 50) // 100, 1, 255)
    return tables


_TABLES = _tables()


def _compression(image: Image.Image) -> tuple[int | None, str]:
    tables: dict[int, list[int]] = getattr(image, "quantization", None) or {}
    if not tables or any(len(table) != 64 for table in tables.values()):
        return None, ""
    said = repr(sorted((place, list(table)) for place, table in tables.items()))
    return jpeg_quality(list(tables[min(tables)])), hashlib.sha256(said.encode()).hexdigest()[:16]


def _text(value: object) -> str:
    return printable(value.replace("\0", "").strip(), limit=LONGEST_TEXT) if isinstance(value, str) else ""


def _taken(tags: dict[int, Any]) -> float | None:
    """EXIF 2.32, 4.6.5 F: when the picture was taken, else when the file was written; with its part of a second."""
    for name, part in (
        (ExifTags.Base.DateTimeOriginal, ExifTags.Base.SubsecTimeOriginal),
        (ExifTags.Base.DateTime, ExifTags.Base.SubsecTime),
    ):
        with contextlib.suppress(ValueError, OverflowError):
            said = datetime.strptime(_text(tags.get(name)), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
            digits = _text(tags.get(part))
            return said + (float(f"0.{digits}") if digits.isascii() and digits.isdigit() else 0.0)
    return None
