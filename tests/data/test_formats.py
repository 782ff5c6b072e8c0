import io

import pytest
from PIL import Image

from finetune.data.formats import FORMATS, SUFFIXES, reader
from finetune.errors import UnreadableImage


@pytest.mark.parametrize("form", sorted(set(SUFFIXES.values())))
def test_every_format_is_told_by_its_first_bytes(form):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, form)
    assert reader(stream.getvalue()).format == form


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
def test_both_byte_orders_and_big_tiffs_are_tiffs(start):
    assert reader(start + bytes(8)).format == "TIFF"


def test_a_refusal_names_what_it_is_and_what_is_read():
    with pytest.raises(UnreadableImage) as refusal:
        reader(b"GIF89a")
    assert str(refusal.value) == f"format-not-allowed: a GIF; {FORMATS} are read"


def test_a_brand_that_is_no_text_is_escaped():
    with pytest.raises(UnreadableImage, match=r"'\\\\x1b\[2J'"):
        reader(b"\0\0\0\x18ftyp\x1b[2J")


def test_a_byte_order_mark_before_a_web_page_is_seen_through():
    with pytest.raises(UnreadableImage, match="web-page"):
        reader(b"\xef\xbb\xbf<!doctype HTML><p>")
