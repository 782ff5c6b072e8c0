"""A folder with everything bad that can lie beside good images, made here, and folders that have to be refused.

What needs a file system or a corpus that is not at hand is in ABSENT, with the reason.
"""

import hashlib
import os
import shutil
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import draw
from tests.hazards.images import CASES, EPS, JPEG, PNG, encoded, picture

ABSENT = {
    "I47": "Pillow's corpus of crashes is not ours to copy; damage is drawn at random in tests/data/test_bad_images.py",
    "N19": "200,000 files take minutes; `benchmarks/checking.py` measures the time and memory of 10,000",
}

HIDDEN = "hidden or system name"
NOT_READ = "format not allowed ({}); JPEG, PNG, WebP, BMP and TIFF are read"
GOOD_CLASSES = ("birds", "cats", "dogs")
ODD_CLASSES = (  # rows N05, N06, N07, N10 and what D2 forbids to reach a terminal
    "no",
    "null",
    "1e3",
    "2024-01-01",
    "__metadata__",
    "{{7*7}}",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "=1+1",
    "@SUM(1)",
    "-rf",
    "--help",
    "gpj\u202eexe",
    "a\nb\x1b[2J",
    os.fsdecode(b"\xff\xfe"),
)


@dataclass(frozen=True)
class Planted:
    """Something in the folder and what is documented of it: left out by its name (`left_out`), refused by its content
    (`kind`), or read, with `notes`.
    """

    row: str
    path: str
    make: Callable[[Path], object]
    kind: str | None = None
    notes: tuple[str, ...] = ()
    left_out: str | None = None
    misnamed: bool = False

    @property
    def key(self) -> str:
        """As JSON, tables and pages name it."""
        return _escaped(self.path)


def _escaped(path: str) -> str:
    shown = ""
    for character in path.replace("\\", "\\\\"):
        number = ord(character)
        if 0xDC80 <= number <= 0xDCFF:
            shown += f"\\x{number - 0xDC00:02x}"
        elif number < 32 or number == 127:
            shown += f"\\x{number:02x}"
        elif 0x202A <= number <= 0x202E or 0x2066 <= number <= 0x2069:
            shown += f"\\u{number:04x}"
        else:
            shown += character
    return shown


def _images() -> list[Planted]:
    planted = []
    for place, (name, case) in enumerate(CASES.items()):
        plain = "".join(letter if letter.isalnum() else "-" for letter in name)
        planted.append(
            Planted(
                case.row,
                f"{GOOD_CLASSES[place % 3]}/{case.row}-{plain}{case.suffix}",
                _writing(case.data) if isinstance(case.made, bytes) else lambda p, case=case: p.write_bytes(case.data),
                case.kind,
                case.notes,
                misnamed=" named as " in name,
            )
        )
    return planted


def _writing(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _drawing(seed: int) -> Callable[[Path], object]:
    """A small image of its own, in the format that its name says."""
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return lambda path: path.write_bytes(encoded(Image.fromarray(pixels), "PNG" if path.suffix == ".png" else "JPEG"))


def _names() -> list[Planted]:
    rows = {
        "N01": (b"\xff\xfe.jpg",),
        "N02": (b"a\nb.jpg", b"a\rb.jpg", b"a\tb.jpg"),
        "N03": (b"\x1b[2J.jpg", b"\x1b]0;title\x07.jpg", b"\x1b]52;c;cm0=\x07.jpg"),
        "N04": ("\u202egpj.exe.jpg".encode(), "\u2066x\u2069.jpg".encode()),
        "N05": (
            b"<img src=x onerror=alert(1)>.jpg",
            b'"><svg onload=alert(1)>.jpg',
            b"' onmouseover='alert(1).jpg",
            b"<script>alert(1).jpg",
            b"{{7*7}}.jpg",
            b"javascript:alert(1).jpg",
        ),
        "N06": (b"=cmd|' C calc'!A1.jpg", b"+1.jpg", b"@SUM(1).jpg"),
        "N07": (b"-rf.jpg", b"--help.jpg", b" .jpg", b"CON.jpg"),
        "N08": (b"x" * 251 + b".jpg",),
    }
    named = [(row, os.fsdecode(name)) for row, names in rows.items() for name in names]
    return [
        Planted(row, f"{GOOD_CLASSES[place % 3]}/{name}", _drawing(10_000 + place))
        for place, (row, name) in enumerate(named)
    ]


def _classes() -> list[Planted]:
    return [
        Planted("N05 N06 N07 N10", f"{name}/{number}.png", _drawing(20_000 + 10 * place + number))
        for place, name in enumerate(ODD_CLASSES)
        for number in range(4)
    ]


def _secret(path: Path) -> None:
    path.write_bytes(PNG)
    path.chmod(0)


def _bound(path: Path) -> None:
    """A socket; the path of one has to be short."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def _avif(path: Path) -> None:
    path.write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0")


_SAME = encoded(Image.linear_gradient("L").convert("RGB"), "PNG")

PLANTED: tuple[Planted, ...] = (
    *_images(),
    *_names(),
    *_classes(),
    Planted("I20", "cats/._x.jpg", _writing(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "), left_out=HIDDEN),
    Planted("I16", "cats/x.eps", _writing(EPS), left_out=NOT_READ.format(".eps")),
    Planted("I44", "cats/x.gif", _writing(encoded(picture("P"), "GIF")), left_out=NOT_READ.format(".gif")),
    Planted("I46", "dogs/x.avif", _avif, left_out=NOT_READ.format(".avif")),
    Planted("I46", "dogs/x.heic", _avif, left_out=NOT_READ.format(".heic")),
    Planted("I50", "cats/same.png", _writing(_SAME)),
    Planted("I50", "dogs/same.png", _writing(_SAME)),
    Planted("N07", "cats/..jpg", _drawing(1), left_out=HIDDEN),
    Planted("N07", "cats/--help", _writing(b"help"), left_out="not an image suffix"),
    *(
        Planted("N12", place, lambda path: (path.mkdir(), (path / "1.jpg").write_bytes(JPEG)), left_out=HIDDEN)
        for place in ("cats/.ipynb_checkpoints", "__MACOSX", "dogs/@eaDir")
    ),
    Planted("N15", "cats/loop.jpg", lambda path: path.symlink_to("loop.jpg"), left_out="a link that leads nowhere"),
    Planted("N15", "cats/gone.jpg", lambda path: path.symlink_to("none.jpg"), left_out="a link that leads nowhere"),
    Planted("N15", "cats/up", lambda path: path.symlink_to(".."), left_out="a link to a folder, not followed"),
    Planted("N15", "cats/inside.jpg", lambda path: path.symlink_to("../dogs/0000.png"), misnamed=True),
    Planted("N16", "birds/pipe.jpg", os.mkfifo, left_out="not a regular file"),
    Planted("N16", "birds/socket.jpg", _bound, left_out="not a regular file"),
    Planted("N16", "birds/folder.jpg", Path.mkdir, left_out="a folder with an image's name"),
    Planted("N17", "birds/secret.png", _secret, kind="permission"),
)


def build(root: Path, *, good: int) -> Path:
    """The folder: three classes of so many good images, and everything in PLANTED."""
    for place, name in enumerate(GOOD_CLASSES):
        for number in range(good):
            path = root / name / f"{number:04d}.png"
            draw(
                path,
                hue=((200, 60, 40), (40, 160, 60), (50, 80, 220))[place],
                seed=1000 * place + number,
                size=(24, 24),
            )
    for one in PLANTED:
        path = root / one.path
        path.parent.mkdir(parents=True, exist_ok=True)
        one.make(path)
    return root


def fingerprint(root: Path) -> str:
    """A hash of everything below a folder: names as bytes, kinds, modes, sizes, times of change, contents, targets."""
    found = hashlib.sha256()
    waiting = [os.fsencode(root)]
    while waiting:
        path = waiting.pop()
        status = os.lstat(path)
        found.update(repr((path, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)).encode())
        if stat.S_ISLNK(status.st_mode):
            found.update(os.readlink(path))
        elif stat.S_ISDIR(status.st_mode):
            waiting += sorted(os.path.join(path, name) for name in os.listdir(path))
        elif stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK):
            with open(path, "rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def _tree(root: Path, *paths: str) -> Path:
    """Images of their own at these paths; what ends in a slash is a folder."""
    for number, name in enumerate(paths):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (root / name).mkdir(exist_ok=True)
        else:
            draw(root / name, hue=(90, 90, 90), seed=number, size=(24, 24))
    return root


def _several(root: Path, classes: dict[str, int]) -> Path:
    return _tree(root, *(f"{name}/{number}.png" for name, count in classes.items() for number in range(count)))


def _linked(target: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        _several(root, {"cats": 4, "dogs": 4})
        (root.parent / "private.png").write_bytes(PNG)
        (root / "cats" / "link.jpg").symlink_to(target)
        return root

    return make


def _only_bad(root: Path) -> Path:
    _several(root, {"cats": 4, "dogs": 4, "birds": 2})
    for path in (root / "birds").iterdir():
        path.write_bytes(b"")
    return root


def _same_in_two_parts(root: Path) -> Path:
    _tree(
        root, *(f"{part}/{name}/{n}.png" for part in ("train", "test") for name in ("cats", "dogs") for n in range(4))
    )
    shutil.copy(root / "train/cats/0.png", root / "test/cats/copy.png")
    return root


def _file(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        root.mkdir()
        (root / name).write_bytes(data)
        return root / name

    return make


def _link_to_a_set(root: Path) -> Path:
    _several(root / "set", {"cats": 4, "dogs": 4})
    (root / "link").symlink_to("set")
    return root / "link"


@dataclass(frozen=True)
class Folder:
    """A folder: its row, how it is made (what makes it returns what a user points at), and what `check` says of it: the
    exit code and words of the first error, or of a warning where there is none.
    """

    row: str
    make: Callable[[Path], Path]
    exit_code: int
    words: str


FOLDERS: dict[str, Folder] = {
    "a picture on both sides of the split": Folder("I50", _same_in_two_parts, 0, "exact-across"),
    "accents stored in two ways": Folder(
        "N09",
        lambda root: _several(root, {"cafe\u0301": 3, "caf\u00e9": 3}),
        3,
        "classes that differ only in capitals or in how accents are stored",
    ),
    "capitals only": Folder(
        "N09",
        lambda root: _several(root, {"Cat": 3, "cat": 3}),
        3,
        "classes that differ only in capitals or in how accents are stored",
    ),
    "1,000 classes of one image": Folder(
        "N11",
        lambda root: _several(root, {f"c{n}": 1 for n in range(1000)}),
        3,
        "1000 images of 1000 classes, at most 1",
    ),
    "one class": Folder("N11", lambda root: _several(root, {"cats": 4}), 3, "only one class, 'cats'"),
    "no class": Folder("N11", lambda root: _tree(root, "1.png", "2.png"), 3, "2 images but no class folders"),
    "no image": Folder("N11", lambda root: _tree(root, "cats/", "dogs/"), 3, "no images"),
    "an empty class": Folder(
        "N13", lambda root: _tree(_several(root, {"cats": 4, "dogs": 4}), "birds/"), 3, "class folders without images"
    ),
    "a class of bad images only": Folder("N13", _only_bad, 3, "2 of 2 of class 'birds'"),
    "a class that training lacks": Folder(
        "N14",
        lambda root: _tree(root, "train/a/1.png", "train/a/2.png", "train/b/1.png", "train/b/2.png", "val/c/1.png"),
        3,
        "classes that 'train' does not have",
    ),
    "a class that only training has": Folder(
        "N14",
        lambda root: _tree(root, "train/a/1.png", "train/a/2.png", "train/b/1.png", "train/b/2.png", "test/a/1.png"),
        0,
        "",
    ),
    "a link outside": Folder("N15", _linked("../../private.png"), 3, "cats/link.jpg: a link that leads outside"),
    "a link to a device": Folder("N16", _linked("/dev/zero"), 3, "cats/link.jpg: a link that leads outside"),
    "a root that is a file": Folder("N20", _file("set", b"x"), 2, "a recipe is a mapping of sections"),
    "a root that is an image": Folder("N20", _file("set.jpg", JPEG), 2, "is an image; name the folder"),
    "a root that is a zip archive": Folder(
        "N20", _file("set.zip", b"PK\x03\x04"), 2, "is an archive; extract it first"
    ),
    "a root that is missing": Folder("N20", lambda root: root / "none", 2, "there is no"),
    "a root that is a link": Folder("N20", _link_to_a_set, 0, ""),
}
