"""What files say of themselves, and that nonsense says nothing."""

import io

import pytest
from PIL import ExifTags, Image

from finetune.audit.header import Header
from tests.audit.toys import encoded, scene, seen


def exif(**texts: str) -> Image.Exif:
    tags = Image.Exif()
    for name, text in texts.items():
        tags[ExifTags.Base[name]] = text
    return tags


@pytest.mark.parametrize("quality", [1, 10, 35, 49, 50, 51, 75, 90, 95, 100])
def test_the_quality_of_a_jpeg_file_is_found_again(quality: int) -> None:
    assert seen(scene(0), "JPEG", quality=quality).header.quality == quality


def test_the_hash_of_the_tables_tells_settings_apart_and_not_images() -> None:
    one, other, finer = (
        seen(scene(seed), "JPEG", quality=quality).header.tables for seed, quality in ((0, 75), (1, 75), (0, 80))
    )
    assert one == other != finer
    assert len(one) == 16
    assert seen(scene(0)).header == Header()


def test_camera_software_and_time_are_read() -> None:
    tags = exif(Make="Canon", Model="Canon EOS 5D", Software="a\x1bb", DateTime="2021:05:03 12:00:01")
    found = seen(scene(0), "JPEG", exif=tags).header
    assert (found.camera, found.software, found.taken) == ("Canon EOS 5D", "a\\x1bb", 1620043201.0)
    assert seen(scene(0), "JPEG", exif=exif(Make="Leica", Model="M8")).header.camera == "Leica M8"


def test_the_time_a_picture_was_taken_comes_before_that_of_the_file() -> None:
    tags = exif(DateTime="2022:01:01 00:00:00")
    inner = tags.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.DateTimeOriginal] = "2021:05:03 12:00:01"
    inner[ExifTags.Base.SubsecTimeOriginal] = "25"
    assert seen(scene(0), "JPEG", exif=tags).header.taken == 1620043201.25


@pytest.mark.parametrize("time", ["", "0000:00:00 00:00:00", "yesterday", "2021:05:03", "9999999:01:01 00:00:00"])
def test_a_time_that_is_none_is_no_time(time: str) -> None:
    assert seen(scene(0), "JPEG", exif=exif(DateTime=time, Model="x" * 500)).header.taken is None


def test_exif_that_makes_no_sense_says_nothing() -> None:
    found = seen(scene(0), "JPEG", exif=b"Exif\0\0garbage" * 9).header
    assert (found.camera, found.taken, found.orientation) == ("", None, 1)
    assert found.quality == 75


def test_numbers_where_text_should_be_say_nothing() -> None:
    stream = io.BytesIO(encoded(scene(0), "JPEG"))
    tags = Image.Exif()
    tags[0x0112] = 77
    found = seen(Image.open(stream), "JPEG", exif=tags).header
    assert found.orientation == 1
