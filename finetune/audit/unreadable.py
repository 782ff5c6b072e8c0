"""Files that cannot be read, or that are not quite what they seem: each a reason, and what may be done."""

from collections import defaultdict
from collections.abc import Iterator

from finetune.audit.finding import Finding
from finetune.audit.gather import Gathered
from finetune.audit.look import ANIMATED, WRONG_SUFFIX

# what the decoder had to do -> kind of finding, what it means
_ODD = {
    WRONG_SUFFIX: ("wrong-suffix", "named as another format than they are in; they are read by their content"),
    ANIMATED: ("animated", "of several frames or pictures; the first is used"),
    "broken EXIF, taken as upright": ("broken-exif", "with EXIF that makes no sense; taken as upright"),
    "bytes after the end of the image": ("trailing-bytes", "with bytes after the end of the image"),
    "PNG without its last block": ("no-end", "without their last block, perhaps cut short"),
    "alpha composited on white": ("transparent", "with transparent pixels; put on white"),
    "16 bits scaled to 8": ("16-bit", "of 16 bits; scaled to 8"),
    "CMYK converted": ("cmyk", "in CMYK, a mode for print; converted to RGB"),
    "colour profile ignored": ("colour-profile", "with a colour profile that is not sRGB; it is ignored"),
}


def check(known: Gathered) -> Iterator[Finding]:
    """A warning for each file that cannot be read, of its own kind (`truncated`, `web-page`, `git-lfs-pointer`,
    `too-many-pixels` …); a note for each way in which files that can be read are odd; a warning for files that look
    like images in a format that is not read.
    """
    for key, reason in known.unreadable.items():
        yield Finding("unreadable", reason.kind, "warning", f"cannot be read: {reason.reason}", (key,))
    odd: dict[str, list[str]] = defaultdict(list)
    for key, look in known.looks.items():
        for note in look.notes:
            odd[note].append(key)
    for note, (kind, words) in _ODD.items():
        if odd[note]:
            yield Finding("unreadable", kind, "note", f"{_images(len(odd[note]))} {words}", tuple(odd[note]))
    foreign = [left.key for left in known.catalog.left_out if left.reason.startswith("format not allowed")]
    if foreign:
        text = f"{_images(len(foreign))} in a format that is not read, left out; convert them to JPEG or PNG"
        yield Finding("unreadable", "format-not-read", "warning", text, tuple(foreign))
    for left in known.catalog.left_out:
        if left.reason == "a link that leads nowhere":
            yield Finding("unreadable", "broken-link", "warning", left.reason, (left.key,))


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
