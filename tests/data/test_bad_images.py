"""One image of every kind that a folder may hold, and what becomes of it: read, with notes, or refused with a kind."""

import contextlib
import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from finetune.data.decode import MAX_PIXELS, Preprocessing, decode, working_image
from finetune.errors import UnreadableImage
from tests.hazards.images import (
    BMP,
    CASES,
    CMYK,
    GREY_16,
    JPEG,
    LAB,
    PIXELS,
    PNG,
    PROGRESSIVE,
    READ,
    REFUSED,
    TIFF,
    WEBP,
    chunk,
    encoded,
    png,
    tiff_with,
)

SMALL = Preprocessing(size=16, working=16, fit="squash", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize("name", [name for name in REFUSED if REFUSED[name].kind != "too-large"])
def test_what_cannot_be_read_is_refused_with_its_kind(name):
    data, kind = REFUSED[name].data, REFUSED[name].kind
    for attempt in (lambda: decode(data), lambda: working_image(data, SMALL)):
        with pytest.raises(UnreadableImage) as refusal:
            attempt()
        assert refusal.value.kind == kind
        assert str(refusal.value) == f"{kind}: {refusal.value.reason}"
        assert " at 0x" not in refusal.value.reason


@pytest.mark.parametrize("name", READ)
def test_what_can_be_read_is_read_with_its_notes(name):
    data, notes = READ[name].data, READ[name].notes
    decoded = decode(data)
    assert decoded.notes == notes
    assert decoded.pixels.mode == "RGB"
    assert decoded.size == decoded.pixels.size == (96, 64)
    assert working_image(data, SMALL).shape == (16, 16, 3)


def test_transparent_pixels_are_white_and_not_what_hides_below():
    for name in ("RGBA, all transparent", "RGB with a transparent colour"):
        assert np.asarray(decode(READ[name].data).pixels).min() == 255


def test_half_transparent_black_is_grey():
    grey = decode(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG")).pixels
    assert np.asarray(grey)[0, 0].tolist() == [127] * 3


@pytest.mark.parametrize("name", ["16-bit grey PNG", "16-bit grey TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped(name):
    grey = np.asarray(decode(READ[name].data).pixels)[..., 0]
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
        pixels = np.asarray(decode(READ[name].data).pixels)
        assert (pixels == pixels[..., :1]).all()


def test_premultiplied_grey_is_divided_again():
    image = Image.new("LA", (16, 16), (200, 255)).convert("La")
    assert working_image(image, SMALL)[0, 0].tolist() == [200] * 3


def test_cmyk_without_adobes_marker_is_the_same_picture():
    plain, adobe = (
        np.asarray(decode(READ[n].data).pixels) for n in ("CMYK JPEG without Adobe's marker", "CMYK JPEG of Adobe")
    )
    assert (plain == adobe).all()


def test_the_first_frame_is_taken():
    for name in ("animated PNG", "TIFF of two pages"):
        assert (np.asarray(decode(READ[name].data).pixels) == PIXELS).all()


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


@pytest.mark.parametrize("name", ["a GIF of 10,000 frames", "TIFF of 10,000 pages"])
def test_frames_are_never_counted(name):
    data = CASES[name].data
    begun = time.process_time()
    with contextlib.suppress(UnreadableImage):
        decode(data)
    assert time.process_time() - begun < 0.5
