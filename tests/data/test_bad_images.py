"""One image of every kind that a folder may hold, and what becomes of it: read, with notes, or refused with a kind."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from finetune.data.decode import MAX_PIXELS, Preprocessing, decode, working_image
from finetune.errors import UnreadableImage

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
SMALL = Preprocessing(size=16, working=16, fit="squash", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)


def encoded(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def picture(mode="RGB"):
    return Image.fromarray(PIXELS).convert(mode)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, *, depth=8, colour=2, rows=b"", more=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_16_bit_rgb():
    row = b"\0" + np.linspace(0, 65535, 96 * 3).astype(">u2").tobytes()
    return png(96, 64, depth=16, rows=row * 64)


def tiff_with(tag, values, image):
    """An uncompressed TIFF with the values (shorts, in their place in the directory) of one tag replaced."""
    data = bytearray(encoded(image, "TIFF"))
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    for place in range(start + 2, start + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, place) == (tag,):
            struct.pack_into("<HI" + "H" * len(values), data, place + 2, 3, len(values), *values)
    return bytes(data)


def exif(tag, kind, count, value):
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4s", tag, kind, count, value) + bytes(4)


def orientation(value):
    return exif(0x0112, 3, 1, struct.pack("<HH", value, 0))


def without_segment(jpeg, marker):
    start = jpeg.index(marker)
    return jpeg[:start] + jpeg[start + 2 + struct.unpack_from(">H", jpeg, start + 2)[0] :]


def adobe_transform(jpeg, value):
    start = jpeg.index(b"\xff\xee")
    return jpeg[: start + 15] + bytes([value]) + jpeg[start + 16 :]


def zipped_text(size):
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * size, zip=True)
    return encoded(picture(), "PNG", pnginfo=text)


def flipped(data, place, count=1):
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

REFUSED = {
    "an empty file": (b"", "empty"),
    "one byte": (b"\xff", "truncated"),
    "the start marker of a JPEG": (b"\xff\xd8", "truncated"),
    "the signature of a JPEG": (b"\xff\xd8\xff", "damaged"),
    "the signature of a PNG": (PNG[:8], "truncated"),
    "a JPEG cut in half": (JPEG[: len(JPEG) // 2], "truncated"),
    "a JPEG without its last two bytes": (JPEG[:-2], "truncated"),
    "a progressive JPEG cut in half": (PROGRESSIVE[: len(PROGRESSIVE) // 2], "truncated"),
    "a PNG cut in half": (PNG[: len(PNG) // 2], "truncated"),
    "a WebP cut in half": (WEBP[: len(WEBP) // 2], "truncated"),
    "a BMP cut in half": (BMP[: len(BMP) // 2], "truncated"),
    "a TIFF cut in half": (TIFF[: len(TIFF) // 2], "truncated"),
    "a PNG with one byte flipped": (flipped(PNG, len(PNG) // 2), "damaged"),
    "a PNG whose header is damaged": (flipped(PNG, 20), "damaged"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "format-not-allowed"),
    "a web page": (b"\n<!DOCTYPE html><html><body>not found</body></html>", "web-page"),
    "a web page without a doctype": (b"<html><head></head></html>", "web-page"),
    "an SVG drawing": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "format-not-allowed"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git-lfs-pointer"),
    "AppleDouble metadata": (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ", "format-not-allowed"),
    "an XBM": (b"#define x_width 64\n#define x_height 64\nstatic char x_bits[] = {0};", "format-not-allowed"),
    "a PPM of many pixels": (b"P6 999999999 999999999 255\n", "format-not-allowed"),
    "a GIF": (encoded(picture("P"), "GIF"), "format-not-allowed"),
    "an animated GIF": (
        encoded(picture("P"), "GIF", save_all=True, append_images=[picture("P")]),
        "format-not-allowed",
    ),
    "an AVIF": (b"\0\0\0\x1cftypavif\0\0\0\0", "format-not-allowed"),
    "a HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0", "format-not-allowed"),
    "a sound": (b"RIFF\x24\0\0\0WAVEfmt ", "format-not-allowed"),
    "random bytes": (random.Random(0).randbytes(4096), "format-not-allowed"),
    "a header of 50,000 x 50,000 pixels": (png(50_000, 50_000), "too-many-pixels"),
    "12,000 x 12,000 grey pixels": (png(12_000, 12_000, colour=0), "too-many-pixels"),
    "14,000 x 14,000 pixels of one bit": (png(14_000, 14_000, depth=1, colour=0), "too-many-pixels"),
    "no width": (png(0, 10), "damaged"),
    "one pixel": (png(1, 1, rows=b"\0abc"), "too-small"),
    "a line of one pixel's width": (png(1, 5000), "too-small"),
    "a ribbon": (png(8, 401), "aspect"),
    "32-bit integers": (encoded(Image.fromarray(GREY_16.astype(np.int32)), "TIFF"), "unsupported-depth"),
    "floats": (encoded(Image.fromarray(FLOAT), "TIFF"), "unsupported-depth"),
    "12 bits in a TIFF": (tiff_with(258, [12], Image.fromarray(GREY_16)), "unsupported-depth"),
    "floats with NaN": (encoded(Image.fromarray(np.where(FLOAT > 0.5, np.nan, FLOAT)), "TIFF"), "not-finite"),
    "floats with infinity": (encoded(Image.fromarray(np.where(FLOAT > 0.5, np.inf, FLOAT)), "TIFF"), "not-finite"),
    "the LAB colour space": (LAB, "unsupported-colour"),
    "2 MB in a compressed comment": (zipped_text(2_000_000), "damaged"),
    "a TIFF without dimensions": (b"II*\0\x08\0\0\0\0\0\0\0\0\0", "damaged"),
}

READ = {
    "JPEG": (JPEG, ()),
    "progressive JPEG": (PROGRESSIVE, ()),
    "PNG": (PNG, ()),
    "WebP": (WEBP, ()),
    "BMP": (BMP, ()),
    "TIFF": (TIFF, ()),
    "compressed TIFF": (encoded(picture(), "TIFF", compression="tiff_lzw"), ()),
    "PNG without IEND": (PNG[:-12], ("PNG without its last block",)),
    "JPEG with flipped bytes": (flipped(JPEG, len(JPEG) // 2, 1), ()),
    "JPEG with HTML after it": (JPEG + b"<script>alert(1)</script>", ("bytes after the end of the image",)),
    "PNG with PHP after it": (PNG + b"<?php ?>", ("bytes after the end of the image",)),
    "JPEG with a zip archive after it": (JPEG + b"PK\x05\x06" + bytes(18), ("bytes after the end of the image",)),
    "grey": (encoded(picture("L"), "PNG"), ()),
    "one bit": (encoded(picture("1"), "PNG"), ()),
    "16-bit grey PNG": (encoded(Image.fromarray(GREY_16), "PNG"), ("16 bits scaled to 8",)),
    "16-bit grey TIFF": (encoded(Image.fromarray(GREY_16), "TIFF"), ("16 bits scaled to 8",)),
    "16-bit RGB PNG": (png_16_bit_rgb(), ("16 bits scaled to 8",)),
    "RGBA, all opaque": (encoded(picture("RGBA"), "PNG"), ()),
    "RGBA, all transparent": (encoded(Image.new("RGBA", (96, 64)), "PNG"), ("alpha composited on white",)),
    "grey with alpha": (encoded(Image.new("LA", (96, 64), (9, 99)), "PNG"), ("alpha composited on white",)),
    "palette": (encoded(picture("P"), "PNG"), ()),
    "palette with one transparent colour": (
        encoded(picture("P"), "PNG", transparency=0),
        ("alpha composited on white",),
    ),
    "palette with alphas as bytes": (
        encoded(picture("P"), "PNG", transparency=bytes(range(256))),
        ("alpha composited on white",),
    ),
    "RGB with a transparent colour": (
        encoded(Image.new("RGB", (96, 64), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        ("alpha composited on white",),
    ),
    "CMYK JPEG of Adobe": (CMYK, ("CMYK converted",)),
    "CMYK JPEG without Adobe's marker": (without_segment(CMYK, b"\xff\xee"), ("CMYK converted",)),
    "YCCK JPEG": (adobe_transform(CMYK, 2), ("CMYK converted",)),
    "CMYK TIFF": (encoded(picture("CMYK"), "TIFF"), ("CMYK converted",)),
    "YCbCr TIFF": (encoded(picture("YCbCr"), "TIFF"), ()),
    "upright by EXIF": (encoded(picture(), "JPEG", exif=orientation(1)), ()),
    "orientation 3": (encoded(picture(), "JPEG", exif=orientation(3)), ("turned upright by EXIF",)),
    "orientation 0": (encoded(picture(), "JPEG", exif=orientation(0)), ("broken EXIF, taken as upright",)),
    "orientation 9": (encoded(picture(), "PNG", exif=orientation(9)), ("broken EXIF, taken as upright",)),
    "orientation 99": (encoded(picture(), "WEBP", exif=orientation(99)), ("broken EXIF, taken as upright",)),
    "orientation as text": (
        encoded(picture(), "JPEG", exif=exif(0x0112, 2, 2, b"6\0\0\0")),
        ("broken EXIF, taken as upright",),
    ),
    "EXIF of garbage in a JPEG": (
        encoded(picture(), "JPEG", exif=b"Exif\0\0" + b"garbage" * 9),
        ("broken EXIF, taken as upright",),
    ),
    "EXIF of garbage in a PNG": (
        encoded(picture(), "PNG", exif=b"Exif\0\0" + b"garbage" * 9),
        ("broken EXIF, taken as upright",),
    ),
    "EXIF whose text lies outside": (encoded(picture(), "JPEG", exif=exif(0x010F, 2, 255, b"\xff\xff\0\0")), ()),
    "a colour profile of garbage": (
        encoded(picture(), "JPEG", icc_profile=random.Random(0).randbytes(3000)),
        ("colour profile ignored",),
    ),
    "a colour profile of 10 MB": (encoded(picture(), "JPEG", icc_profile=bytes(10**7)), ("colour profile ignored",)),
    "a colour profile that is sRGB": (encoded(picture(), "JPEG", icc_profile=b"....sRGB IEC61966"), ()),
    "animated WebP": (encoded(picture(), "WEBP", **FRAMES), ("first of several frames taken",)),
    "animated PNG": (encoded(picture(), "PNG", **FRAMES), ("first of several frames taken",)),
    "TIFF of two pages": (encoded(picture(), "TIFF", **FRAMES), ("first of several frames taken",)),
    "multi-picture JPEG": (
        encoded(picture(), "MPO", **FRAMES),
        ("first of several frames taken",),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_kind(name):
    data, kind = REFUSED[name]
    for attempt in (lambda: decode(data), lambda: working_image(data, SMALL)):
        with pytest.raises(UnreadableImage) as refusal:
            attempt()
        assert refusal.value.kind == kind
        assert str(refusal.value) == f"{kind}: {refusal.value.reason}"
        assert " at 0x" not in refusal.value.reason


@pytest.mark.parametrize("name", READ)
def test_what_can_be_read_is_read_with_its_notes(name):
    data, notes = READ[name]
    decoded = decode(data)
    assert decoded.notes == notes
    assert decoded.pixels.mode == "RGB"
    assert decoded.size == decoded.pixels.size == (96, 64)
    assert working_image(data, SMALL).shape == (16, 16, 3)


def test_transparent_pixels_are_white_and_not_what_hides_below():
    for name in ("RGBA, all transparent", "RGB with a transparent colour"):
        assert np.asarray(decode(READ[name][0]).pixels).min() == 255


def test_half_transparent_black_is_grey():
    grey = decode(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG")).pixels
    assert np.asarray(grey)[0, 0].tolist() == [127] * 3


@pytest.mark.parametrize("name", ["16-bit grey PNG", "16-bit grey TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(name):
    grey = np.asarray(decode(READ[name][0]).pixels)[..., 0]
    assert grey.mean() == pytest.approx(127.5, abs=0.5)
    assert np.abs(grey - GREY_16 / 257).max() <= 0.5


def test_a_16_bit_tiff_whose_zero_is_white_is_inverted():
    data = tiff_with(262, [0], Image.fromarray(GREY_16))
    assert np.asarray(decode(data).pixels)[0, 0, 0] == 255


def test_a_transparent_value_of_16_bits_is_white():
    rows = b"".join(b"\0" + struct.pack(">H", 300) * 16 for _ in range(16))
    decoded = decode(png(16, 16, depth=16, colour=0, rows=rows, more=chunk(b"tRNS", struct.pack(">H", 300))))
    assert decoded.notes == ("16 bits scaled to 8", "alpha composited on white")
    assert np.asarray(decoded.pixels).min() == 255


def test_grey_and_one_bit_have_three_equal_channels():
    for name in ("grey", "one bit"):
        pixels = np.asarray(decode(READ[name][0]).pixels)
        assert (pixels == pixels[..., :1]).all()


def test_premultiplied_grey_is_divided_again():
    image = Image.new("LA", (16, 16), (200, 255)).convert("La")
    assert working_image(image, SMALL)[0, 0].tolist() == [200] * 3


def test_cmyk_without_adobes_marker_is_the_same_picture():
    plain, adobe = (
        np.asarray(decode(READ[n][0]).pixels) for n in ("CMYK JPEG without Adobe's marker", "CMYK JPEG of Adobe")
    )
    assert (plain == adobe).all()


def test_the_first_frame_is_taken():
    for name in ("animated PNG", "TIFF of two pages"):
        assert (np.asarray(decode(READ[name][0]).pixels) == PIXELS).all()


def test_the_pixel_limit_is_not_pillows():
    assert MAX_PIXELS < Image.MAX_IMAGE_PIXELS  # ours speaks first, and leaves the global one alone


EVERY_FORMAT = (JPEG, PROGRESSIVE, PNG, WEBP, BMP, TIFF, CMYK, LAB)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_damage_yields_an_image_or_unreadable_image_and_nothing_else(data):
    source = bytearray(data.draw(st.sampled_from(EVERY_FORMAT)))
    for _ in range(data.draw(st.integers(1, 8))):
        source[data.draw(st.integers(0, len(source) - 1))] = data.draw(st.integers(0, 255))
    del source[data.draw(st.integers(len(source) // 2, len(source))) :]
    try:
        decoded = decode(bytes(source))
    except UnreadableImage:
        return
    assert decoded.pixels.mode == "RGB"
    assert decoded.size == decoded.pixels.size
    assert decoded.pixels.width * decoded.pixels.height <= MAX_PIXELS
