import io
import json
import os
import socket
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from finetune.data import decode
from finetune.data.decode import Preprocessing, working_image
from finetune.errors import BundleError, UnreadableImage, UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
SMOOTH = np.stack(
    [*np.meshgrid(np.linspace(0, 255, 500), np.linspace(0, 255, 375)), np.full((375, 500), 90.0)], axis=-1
)
PHOTO = Image.fromarray(SMOOTH.astype(np.uint8))


def preprocessing(
    working=32, size=None, *, fit="crop", interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
):
    return Preprocessing(size or working, working, fit, interpolation, mean, std)


def encoded(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def turned(orientation, form):
    """A file whose EXIF orientation undoes what was done to its pixels."""
    undo = {None: None, 1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    image = Image.fromarray(PIXELS)
    image = image if undo is None else image.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_give_the_same_upright_image(orientation, form):
    decoded = decode.decode(turned(orientation, form))
    assert (np.asarray(decoded.pixels) == PIXELS).all()
    assert decoded.format == form
    for fit in ("crop", "pad", "squash"):
        expected = working_image(encoded(Image.fromarray(PIXELS), "PNG"), preprocessing(fit=fit))
        assert (working_image(turned(orientation, form), preprocessing(fit=fit)) == expected).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_upright_too(orientation):
    upright = np.asarray(decode.decode(turned(orientation, "JPEG")).pixels).astype(int)
    assert upright.shape == PIXELS.shape
    assert np.corrcoef(upright.ravel(), PIXELS.ravel())[0, 1] > 0.5


@pytest.mark.parametrize(
    ("size", "fit", "shape"),
    [
        ((96, 64), "crop", (32, 48, 3)),
        ((64, 96), "crop", (48, 32, 3)),
        ((101, 64), "crop", (32, 50, 3)),  # int(50.5), as torchvision's Resize
        ((16, 10), "crop", (32, 51, 3)),
        ((96, 64), "squash", (32, 32, 3)),
        ((96, 64), "pad", (32, 32, 3)),
        ((400, 8), "pad", (32, 32, 3)),
    ],
)
def test_the_shape_of_a_working_image_follows_from_the_fit(size, fit, shape):
    working = working_image(encoded(Image.new("RGB", size), "PNG"), preprocessing(fit=fit))
    assert working.shape == shape
    assert working.dtype == np.uint8
    assert working.flags.writeable


def test_padding_is_the_mean_colour_on_both_sides():
    working = working_image(Image.new("RGB", (64, 32), "white"), preprocessing(fit="pad", mean=(0.2, 0.4, 0.6)))
    assert (working[8:24] == 255).all()
    assert (working[:8] == (51, 102, 153)).all()
    assert (working[24:] == (51, 102, 153)).all()


def test_a_working_image_is_one_resize_of_the_whole():
    whole = Image.fromarray(PIXELS)
    expected = np.asarray(whole.resize((48, 32), Image.Resampling.BICUBIC))
    assert (working_image(encoded(whole, "PNG"), preprocessing(interpolation="bicubic")) == expected).all()


@pytest.mark.parametrize(
    ("working", "scale"),
    [(200, 1), (94, 1), (93, 2), (47, 2), (46, 4), (24, 4), (23, 8), (8, 8)],
)
def test_a_jpeg_is_drafted_as_far_as_the_short_side_stays_twice_the_working_side(working, scale):
    data = encoded(PHOTO, "JPEG", quality=95)
    drafted = Image.open(io.BytesIO(data))
    drafted.draft(None, (500 // scale, 375 // scale))
    assert min(drafted.size) == -(-375 // scale)
    expected = drafted.convert("RGB").resize((int(working * 500 / 375), working), Image.Resampling.BILINEAR)
    assert (working_image(data, preprocessing(working)) == np.asarray(expected)).all()


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_shape_does_not_depend_on_the_draft(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(PHOTO.resize((501, 375)), "JPEG", exif=exif)
    assert sorted(working_image(data, preprocessing(31)).shape[:2]) == [31, int(31 * 501 / 375)]


def test_drafting_changes_little():
    data = encoded(PHOTO, "JPEG", quality=95)
    plain = working_image(decode.decode(data).pixels, preprocessing(46))
    assert np.abs(plain.astype(int) - working_image(data, preprocessing(46))).max() <= 3


def test_files_pil_images_and_arrays_give_the_same_working_image():
    image = Image.fromarray(PIXELS)
    from_file = working_image(encoded(image, "PNG"), preprocessing())
    assert (working_image(image, preprocessing()) == from_file).all()
    assert (working_image(PIXELS, preprocessing()) == from_file).all()
    assert (working_image(Image.open(io.BytesIO(turned(6, "PNG"))), preprocessing()) == from_file).all()


def test_a_pil_image_is_left_as_it_was():
    image = Image.open(io.BytesIO(turned(6, "JPEG")))
    working_image(image, preprocessing())
    assert image.size == (64, 96)


def test_pil_images_follow_the_rules_of_files():
    with pytest.raises(UnreadableImage, match="unsupported-depth"):
        working_image(Image.new("F", (64, 64)), preprocessing())
    with pytest.raises(UnreadableImage, match="too-small: 7 x 64"):
        working_image(np.zeros((64, 7, 3), np.uint8), preprocessing())
    assert (working_image(Image.new("RGBA", (64, 64)), preprocessing()) == 255).all()


@pytest.mark.parametrize("array", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))])
def test_other_arrays_are_refused(array):
    with pytest.raises(UsageError, match=r"uint8 of shape \(height, width, 3\), not"):
        working_image(array, preprocessing())


def test_threads_read_the_same_pixels():
    files = [turned(number % 8 + 1, "PNG") for number in range(64)]
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda data: working_image(data, preprocessing()), files))
    assert all((image == images[0]).all() for image in images)


def test_what_a_file_yields_does_not_depend_on_warning_filters():
    data = encoded(PHOTO, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\xff\0\0\0\xff\xff\0\0\0\0\0\0")
    with pytest.warns(UserWarning, match="larger than file|corrupt EXIF"):
        Image.open(io.BytesIO(data))
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert decode.decode(data).notes == ()


def test_pillows_switch_for_cut_files_is_refused(monkeypatch):
    data = encoded(PHOTO, "JPEG")[:-1000]
    with pytest.raises(UnreadableImage, match="truncated"):
        decode.decode(data)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UsageError, match="set it to False"):
        decode.decode(data)


def test_reading_returns_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert decode.read(tmp_path / "a") == b"abc"


def test_reading_refuses_what_is_no_regular_file_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.jpg"))
        for path in (tmp_path, tmp_path / "pipe.jpg", tmp_path / "socket.jpg", Path("/dev/null")):
            with pytest.raises(UnreadableImage) as refusal:
                decode.read(path)
            assert refusal.value.kind == "not-a-regular-file"


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("gone.jpg", "missing", "no such file or directory"),
        ("a\0b.jpg", "unreadable", "embedded null byte"),
        ("x" * 300, "unreadable", "file name too long"),
        ("loop", "unreadable", "too many levels of symbolic links"),
    ],
)
def test_reading_says_what_is_wrong(tmp_path, name, kind, reason):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UnreadableImage) as refusal:
        decode.read(tmp_path / name)
    assert (refusal.value.kind, refusal.value.reason) == (kind, reason)


def test_reading_a_file_without_permission(tmp_path):
    path = tmp_path / "secret.jpg"
    path.write_bytes(b"abc")
    path.chmod(0)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may read anything
    try:
        with pytest.raises(UnreadableImage, match="permission: permission denied"):
            decode.read(path)
    finally:
        os.seteuid(user)


def test_reading_stops_at_64_mib(tmp_path):
    with (tmp_path / "comments.jpg").open("wb") as file:
        file.truncate(decode.MAX_BYTES + 1)
    with pytest.raises(UnreadableImage, match="too-large: more than 64 MiB"):
        decode.read(tmp_path / "comments.jpg")


def test_preprocessing_survives_json():
    value = preprocessing(256, 224, interpolation="lanczos")
    assert Preprocessing.from_dict(json.loads(json.dumps(value.to_dict()))) == value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fit": "stretch"}, "fit 'stretch' is none of crop, pad, squash"),
        ({"interpolation": "area"}, "interpolation 'area' is none of nearest, bilinear, bicubic, lanczos"),
        ({"size": 257}, "size is 257 and working 256; 8 <= size <= working is needed"),
        ({"size": 4}, "size is 4 and working 256; 8 <= size <= working is needed"),
        ({"fit": "pad"}, "working is 256 and size 224; with fit 'pad' they are the same"),
        ({"mean": (0.5, 0.5)}, "mean is (0.5, 0.5); three numbers from 0 to 1 are needed"),
        ({"mean": (0.5, 0.5, float("nan"))}, "mean is (0.5, 0.5, nan); three numbers from 0 to 1 are needed"),
        ({"std": (0.5, 0.5, 0.0)}, "std is (0.5, 0.5, 0.0); three finite numbers above 0 are needed"),
        ({"std": (0.5, 0.5, float("inf"))}, "std is (0.5, 0.5, inf); three finite numbers above 0 are needed"),
    ],
)
def test_impossible_preprocessing_is_refused(change, message):
    whole = {**preprocessing(256, 224).to_dict(), **change}
    with pytest.raises(UsageError) as refusal:
        Preprocessing(**whole)
    assert str(refusal.value) == message
    with pytest.raises(BundleError):
        Preprocessing.from_dict(whole)


@pytest.mark.parametrize(
    "stored", [{}, {"size": 8}, {**preprocessing().to_dict(), "extra": 1}, {**preprocessing().to_dict(), "mean": 1}]
)
def test_stored_preprocessing_that_is_something_else_is_refused(stored):
    with pytest.raises(BundleError, match="preprocessing cannot be read"):
        Preprocessing.from_dict(stored)
