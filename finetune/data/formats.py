"""Which of the five image formats a file is in, told by its first bytes, and what else it may be when it is in none.

A suffix says where to look for images; it never decides how a file is read.
"""

from PIL import BmpImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from finetune.errors import UnreadableImage, printable

FORMATS = "JPEG, PNG, WebP, BMP and TIFF"
SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
}
_READERS: tuple[tuple[bytes, type[ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    (b"BM", BmpImagePlugin.BmpImageFile),
    *((magic, TiffImagePlugin.TiffImageFile) for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)
_FOREIGN = (
    (b"GIF8", "a GIF"),
    (b"%!PS", "PostScript"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x00\x05\x16\x07", "macOS metadata (AppleDouble)"),
)


def reader(data: bytes) -> type[ImageFile.ImageFile]:
    """Pillow's reader for a file that begins with these bytes. Raises UnreadableImage for other than the formats."""
    if not data:
        raise UnreadableImage("empty", "a file of 0 bytes")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if len(data) < int.from_bytes(data[4:8], "little") + 8:
            raise UnreadableImage("truncated", "the file ends before its image does")
        return WebPImagePlugin.WebPImageFile
    for magic, found in _READERS:
        if data.startswith(magic):
            return found
        if magic.startswith(data):
            raise UnreadableImage("truncated", f"a file of {len(data)} byte{'' if len(data) == 1 else 's'}")
    raise _foreign(data)


def _foreign(data: bytes) -> UnreadableImage:
    """Why a file that starts like none of the formats is refused, as helpfully as its first bytes allow."""
    head = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(b"version https://git-lfs.github.com/spec"):
        return UnreadableImage("git-lfs-pointer", "not the image but a Git LFS pointer to it; run `git lfs pull`")
    if head.startswith((b"<!doctype html", b"<html")):
        return UnreadableImage("web-page", "not an image but a web page; the download went wrong")
    if b"<svg" in head:
        return UnreadableImage("format-not-allowed", f"an SVG drawing; {FORMATS} are read")
    if data[4:8] == b"ftyp":
        return UnreadableImage("format-not-allowed", f"{printable(data[8:12].decode('latin-1'))!r}; {FORMATS} are read")
    found = next((name for magic, name in _FOREIGN if data.startswith(magic)), "no image format known here")
    return UnreadableImage("format-not-allowed", f"{found}; {FORMATS} are read")
