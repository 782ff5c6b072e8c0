"""One file of every kind that may lie in a folder of images, drawn here, and what becomes of each: read, with notes, or
refused with a kind.
"""

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Case:
    """A file: its row in the list of hazards, its bytes, the suffix it is named with, and what is
    documented: `kind` of a file that is refused, or `notes` of one that is read.
    """

    row: str
    made: bytes | Callable[[], bytes]
    kind: str | None
    notes: tuple[str, ...]
    suffix: str

    @property
    def data(self) -> bytes:
        """The bytes of the file; of a large one they are made each time."""
        return self.made if isinstance(self.made, bytes) else self.made()


def read(row: str, made: bytes | Callable[[], bytes], *notes: str, suffix: str = ".jpg") -> Case:
    return Case(row, made, None, notes, suffix)


def refused(row: str, made: bytes | Callable[[], bytes], kind: str, suffix: str = ".jpg") -> Case:
    return Case(row, made, kind, (), suffix)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def picture(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(PIXELS).convert(mode)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, rows: bytes = b"", more: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_16_bit_rgb() -> bytes:
    row = b"\0" + np.linspace(0, 65535, 96 * 3).astype(">u2").tobytes()
    return png(96, 64, depth=16, rows=row * 64)


def black(width: int, height: int, *, depth: int) -> bytes:
    """A whole grey PNG of zeros, small as a file."""
    return png(width, height, depth=depth, colour=0, rows=bytes(height * (1 + width * depth // 8)))


def tiff_with(tag: int, values: list[int], image: Image.Image) -> bytes:
    """An uncompressed TIFF with the values (shorts, in their place in the directory) of one tag replaced."""
    data = bytearray(encoded(image, "TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    for place in range(start + 2, start + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, place) == (tag,):
            struct.pack_into("<HI" + "H" * len(values), data, place + 2, 3, len(values), *values)
    return bytes(data)


def tiff_of(pages: int) -> bytes:
    """A TIFF whose directories, one for each page, all show the same pixels."""
    data = encoded(picture(), "TIFF")
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    directory = data[start : start + 2 + 12 * entries]
    size = len(directory) + 4
    places = [len(data) + page * size for page in range(pages - 1)]
    chain = [directory + struct.pack("<I", place) for place in (*places[1:], 0)]
    return data[: start + len(directory)] + struct.pack("<I", places[0]) + data[start + size :] + b"".join(chain)


def gif_of(frames: int) -> bytes:
    """A GIF of so many frames: what the first one adds to its file, again and again."""
    data = encoded(Image.new("P", (64, 64)), "GIF")
    start = data.index(b"\x2c")
    return data[:start] + data[start:-1] * frames + b";"


def commented(size: int) -> bytes:
    """A JPEG with so many bytes of comments before its picture."""
    segment = b"\xff\xfe\xff\xff" + bytes(65533)
    return JPEG[:2] + segment * (size // len(segment) + 1) + JPEG[2:]


def exif(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4s", tag, kind, count, value) + bytes(4)


def orientation(value: int) -> bytes:
    return exif(0x0112, 3, 1, struct.pack("<HH", value, 0))


def without_segment(jpeg: bytes, marker: bytes) -> bytes:
    start = jpeg.index(marker)
    length: int = struct.unpack_from(">H", jpeg, start + 2)[0]
    return jpeg[:start] + jpeg[start + 2 + length :]


def adobe_transform(jpeg: bytes, value: int) -> bytes:
    start = jpeg.index(b"\xff\xee")
    return jpeg[: start + 15] + bytes([value]) + jpeg[start + 16 :]


def zipped_text(size: int) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * size, zip=True)
    return encoded(picture(), "PNG", pnginfo=text)


def flipped(data: bytes, place: int, count: int = 1) -> bytes:
    damaged = bytearray(data)
    for offset in range(place, place + count):
        damaged[offset] ^= 0xFF
    return bytes(damaged)


JPEG, PNG, WEBP, BMP, TIFF = (encoded(picture(), form) for form in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"))
PROGRESSIVE = encoded(picture(), "JPEG", progressive=True)
CMYK = encoded(picture("CMYK"), "JPEG")
GREY_16 = np.linspace(0, 65535, 64 * 96).reshape(64, 96).astype(np.uint16)
FLOAT = np.linspace(0, 1, 64 * 96).reshape(64, 96).astype(np.float32)
FRAMES = {"save_all": True, "append_images": [picture("L").convert("RGB")]}
LAB = encoded(Image.frombytes("LAB", (96, 64), PIXELS.tobytes()), "TIFF")
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n"

TURNED = "turned upright by EXIF"
NONSENSE = "broken EXIF, taken as upright"
AFTER = "bytes after the end of the image"
SCALED = "16 bits scaled to 8"
WHITE = "alpha composited on white"
INK = "CMYK converted"
PROFILE = "colour profile ignored"
FIRST = "first of several frames taken"
FOREIGN = "format-not-allowed"
DEEP = "unsupported-depth"

CASES: dict[str, Case] = {
    "an empty file": refused("I01", b"", "empty"),
    "one byte": refused("I02", b"\xff", "truncated"),
    "the start marker of a JPEG": refused("I03", b"\xff\xd8", "truncated"),
    "the signature of a JPEG": refused("I03", b"\xff\xd8\xff", "damaged"),
    "the signature of a PNG": refused("I04", PNG[:8], "truncated", ".png"),
    "a JPEG cut in half": refused("I05", JPEG[: len(JPEG) // 2], "truncated"),
    "a JPEG without its last two bytes": refused("I06", JPEG[:-2], "truncated"),
    "a progressive JPEG cut in half": refused("I07", PROGRESSIVE[: len(PROGRESSIVE) // 2], "truncated"),
    "a PNG cut in half": refused("I08", PNG[: len(PNG) // 2], "truncated", ".png"),
    "a WebP cut in half": refused("I08", WEBP[: len(WEBP) // 2], "truncated", ".webp"),
    "a BMP cut in half": refused("I08", BMP[: len(BMP) // 2], "truncated", ".bmp"),
    "a TIFF cut in half": refused("I08", TIFF[: len(TIFF) // 2], "truncated", ".tif"),
    "PNG without IEND": read("I09", PNG[:-12], "PNG without its last block", suffix=".png"),
    "JPEG with flipped bytes": read("I10", flipped(JPEG, len(JPEG) // 2, 1)),
    "JPEG with 40 flipped bytes": read("I10", flipped(JPEG, len(JPEG) // 2, 40)),
    "a PNG with one byte flipped": refused("I11", flipped(PNG, len(PNG) // 2), "damaged", ".png"),
    "a PNG whose header is damaged": refused("I11", flipped(PNG, 20), "damaged", ".png"),
    "JPEG with HTML after it": read("I12", JPEG + b"<script>alert(1)</script>", AFTER),
    "JPEG": read("I13", JPEG),
    "PNG": read("I13", PNG, suffix=".png"),
    "PNG named as JPEG": read("I13", PNG),
    "JPEG named as PNG": read("I14", JPEG, suffix=".png"),
    "BMP": read("I15", BMP, suffix=".bmp"),
    "BMP named as JPEG": read("I15", BMP),
    "PostScript": refused("I16", EPS, FOREIGN),
    "a web page": refused("I17", b"\n<!DOCTYPE html><html><body>not found</body></html>", "web-page"),
    "a web page without a doctype": refused("I17", b"<html><head></head></html>", "web-page"),
    "an SVG drawing": refused("I18", SVG, FOREIGN, ".png"),
    "a Git LFS pointer": refused(
        "I19", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git-lfs-pointer"
    ),
    "AppleDouble metadata": refused("I20", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ", FOREIGN),
    "an XBM": refused("I21", b"#define x_width 64\n#define x_height 64\nstatic char x_bits[] = {0};", FOREIGN, ".png"),
    "a PPM of many pixels": refused("I25", b"P6 999999999 999999999 255\n", FOREIGN, ".png"),
    "a header of 50,000 x 50,000 pixels": refused("I22", png(50_000, 50_000), "too-many-pixels", ".png"),
    "12,000 x 12,000 grey pixels": refused(
        "I23", functools.partial(black, 12_000, 12_000, depth=8), "too-many-pixels", ".png"
    ),
    "14,000 x 14,000 pixels of one bit": refused(
        "I24", functools.partial(black, 14_000, 14_000, depth=1), "too-many-pixels", ".png"
    ),
    "no width": refused("I26", png(0, 10), "damaged", ".png"),
    "one pixel": refused("I27", png(1, 1, rows=b"\0abc"), "too-small", ".png"),
    "a line of one pixel's width": refused("I28", png(1, 5000), "too-small", ".png"),
    "a line of one pixel's height": refused("I28", png(60_000, 1), "too-small", ".png"),
    "a ribbon": refused("I28", png(8, 401), "aspect", ".png"),
    "grey": read("I29", encoded(picture("L"), "PNG"), suffix=".png"),
    "one bit": read("I29", encoded(picture("1"), "PNG"), suffix=".png"),
    "16-bit grey PNG": read("I30", encoded(Image.fromarray(GREY_16), "PNG"), SCALED, suffix=".png"),
    "16-bit grey TIFF": read("I30", encoded(Image.fromarray(GREY_16), "TIFF"), SCALED, suffix=".tif"),
    "16-bit RGB PNG": read("I31", png_16_bit_rgb(), SCALED, suffix=".png"),
    "32-bit integers": refused("I32", encoded(Image.fromarray(GREY_16.astype(np.int32)), "TIFF"), DEEP, ".tif"),
    "12 bits in a TIFF": refused("I32", tiff_with(258, [12], Image.fromarray(GREY_16)), DEEP, ".tif"),
    "floats": refused("I33", encoded(Image.fromarray(FLOAT), "TIFF"), DEEP, ".tif"),
    "floats with NaN": refused(
        "I34", encoded(Image.fromarray(np.where(FLOAT > 0.5, np.nan, FLOAT)), "TIFF"), "not-finite", ".tif"
    ),
    "floats with infinity": refused(
        "I34", encoded(Image.fromarray(np.where(FLOAT > 0.5, np.inf, FLOAT)), "TIFF"), "not-finite", ".tif"
    ),
    "RGBA, all opaque": read("I35", encoded(picture("RGBA"), "PNG"), suffix=".png"),
    "RGBA, all transparent": read("I35", encoded(Image.new("RGBA", (96, 64)), "PNG"), WHITE, suffix=".png"),
    "grey with alpha": read("I36", encoded(Image.new("LA", (96, 64), (9, 99)), "PNG"), WHITE, suffix=".png"),
    "palette": read("I36", encoded(picture("P"), "PNG"), suffix=".png"),
    "palette with one transparent colour": read(
        "I36", encoded(picture("P"), "PNG", transparency=0), WHITE, suffix=".png"
    ),
    "palette with alphas as bytes": read(
        "I36", encoded(picture("P"), "PNG", transparency=bytes(range(256))), WHITE, suffix=".png"
    ),
    "RGB with a transparent colour": read(
        "I36", encoded(Image.new("RGB", (96, 64), (1, 2, 3)), "PNG", transparency=(1, 2, 3)), WHITE, suffix=".png"
    ),
    "CMYK JPEG of Adobe": read("I37", CMYK, INK),
    "CMYK JPEG without Adobe's marker": read("I37", without_segment(CMYK, b"\xff\xee"), INK),
    "YCCK JPEG": read("I37", adobe_transform(CMYK, 2), INK),
    "CMYK TIFF": read("I37", encoded(picture("CMYK"), "TIFF"), INK, suffix=".tif"),
    "the LAB colour space": refused("I38", LAB, "unsupported-colour", ".tif"),
    "YCbCr TIFF": read("I38", encoded(picture("YCbCr"), "TIFF"), suffix=".tif"),
    "upright by EXIF": read("I39", encoded(picture(), "JPEG", exif=orientation(1))),
    **{f"orientation {n}": read("I39", encoded(picture(), "JPEG", exif=orientation(n)), TURNED) for n in (2, 3, 4)},
    **{
        f"orientation {n}": read("I39", encoded(picture().rotate(90, expand=True), "JPEG", exif=orientation(n)), TURNED)
        for n in (5, 6, 7, 8)
    },
    "orientation 0": read("I40", encoded(picture(), "JPEG", exif=orientation(0)), NONSENSE),
    "orientation 9": read("I40", encoded(picture(), "PNG", exif=orientation(9)), NONSENSE, suffix=".png"),
    "orientation 99": read("I40", encoded(picture(), "WEBP", exif=orientation(99)), NONSENSE, suffix=".webp"),
    "orientation as text": read("I40", encoded(picture(), "JPEG", exif=exif(0x0112, 2, 2, b"6\0\0\0")), NONSENSE),
    "EXIF of garbage in a JPEG": read("I40", encoded(picture(), "JPEG", exif=b"Exif\0\0" + b"garbage" * 9), NONSENSE),
    "EXIF of garbage in a PNG": read(
        "I40", encoded(picture(), "PNG", exif=b"Exif\0\0" + b"garbage" * 9), NONSENSE, suffix=".png"
    ),
    "EXIF whose text lies outside": read("I40", encoded(picture(), "JPEG", exif=exif(0x010F, 2, 255, b"\xff\xff\0\0"))),
    "PNG of orientation 6": read(
        "I41", encoded(picture().rotate(90, expand=True), "PNG", exif=orientation(6)), TURNED, suffix=".png"
    ),
    "a colour profile of garbage": read(
        "I42", encoded(picture(), "JPEG", icc_profile=random.Random(0).randbytes(3000)), PROFILE
    ),
    "a colour profile of 10 MB": read("I42", encoded(picture(), "JPEG", icc_profile=bytes(10**7)), PROFILE),
    "a colour profile that is sRGB": read("I42", encoded(picture(), "JPEG", icc_profile=b"....sRGB IEC61966")),
    "2 MB in a compressed comment": refused("I43", zipped_text(2_000_000), "damaged", ".png"),
    "a TIFF without dimensions": refused("I11", b"II*\0\x08\0\0\0\0\0\0\0\0\0", "damaged", ".tif"),
    "an animated GIF": refused(
        "I44", encoded(picture("P"), "GIF", save_all=True, append_images=[picture("P")]), FOREIGN
    ),
    "animated WebP": read("I44", encoded(picture(), "WEBP", **FRAMES), FIRST, suffix=".webp"),
    "animated PNG": read("I44", encoded(picture(), "PNG", **FRAMES), FIRST, suffix=".png"),
    "TIFF of two pages": read("I44", encoded(picture(), "TIFF", **FRAMES), FIRST, suffix=".tif"),
    "multi-picture JPEG": read("I44", encoded(picture(), "MPO", **FRAMES), FIRST),
    "a GIF": refused("I44", encoded(picture("P"), "GIF"), FOREIGN),
    "a GIF of 10,000 frames": refused("I45", functools.partial(gif_of, 10_000), FOREIGN),
    "TIFF of 10,000 pages": read("I45", functools.partial(tiff_of, 10_000), FIRST, suffix=".tif"),
    "WebP": read("I46", WEBP, suffix=".webp"),
    "an AVIF": refused("I46", b"\0\0\0\x1cftypavif\0\0\0\0", FOREIGN),
    "a HEIC": refused("I46", b"\0\0\0\x18ftypheic\0\0\0\0", FOREIGN),
    "a sound": refused("I46", b"RIFF\x24\0\0\0WAVEfmt ", FOREIGN, ".webp"),
    "random bytes": refused("I46", random.Random(0).randbytes(4096), FOREIGN),
    "100 MB of comments": refused("I48", functools.partial(commented, 100 * 10**6), "too-large"),
    "PNG with PHP after it": read("I49", PNG + b"<?php ?>", AFTER, suffix=".png"),
    "JPEG with PHP after it": read("I49", JPEG + b"<?php ?>", AFTER),
    "JPEG with a zip archive after it": read("I49", JPEG + b"PK\x05\x06" + bytes(18), AFTER),
    "progressive JPEG": read("good", PROGRESSIVE),
    "TIFF": read("good", TIFF, suffix=".tif"),
    "compressed TIFF": read("good", encoded(picture(), "TIFF", compression="tiff_lzw"), suffix=".tif"),
}
READ = {name: case for name, case in CASES.items() if case.kind is None}
REFUSED = {name: case for name, case in CASES.items() if case.kind is not None}
