"""Thumbnails of named images, cut from the pictures that bundles keep of their images."""

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from finetune.bundle import Bundle
from finetune.compare.side import Side
from finetune.errors import BundleError, printable

SIDE = 96  # pixels
PER_ROW = 20

_SOURCES = ("evidence/thumbnails", "evidence/tiles")  # the larger ones first
_LARGEST = 100_000_000  # pixels of a picture of thumbnails


@dataclass(frozen=True)
class Sprite:
    """Thumbnails of SIDE pixels in one JPEG file without metadata, and where that of an image stands, by its hash."""

    jpeg: bytes
    places: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class _Tiles:
    """A picture of a bundle: tiles of `side` pixels, `per_row` of them beside each other, and the place of each key."""

    picture: Image.Image
    side: int
    per_row: int
    places: dict[str, int]

    def cut(self, key: str) -> Image.Image:
        left, top = (self.side * place for place in divmod(self.places[key], self.per_row)[::-1])
        tile = self.picture.crop((left, top, left + self.side, top + self.side))
        return tile.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def sprite(sides: Sequence[Side], hashes: Iterable[str]) -> Sprite:
    """The thumbnails of the images of these hashes, of those that any of the bundles has one of.

    Raises BundleError, naming the file, for pictures that do not fit what is said of them.
    """
    keys = [dict(zip(side.hashes, side.predictions.keys, strict=True)) for side in sides]
    known = [(names, tiles) for side, names in zip(sides, keys, strict=True) for tiles in _tiles(side.bundle)]
    drawn: dict[str, Image.Image] = {}
    for digest in dict.fromkeys(hashes):
        found = next((tiles.cut(names[digest]) for names, tiles in known if names.get(digest) in tiles.places), None)
        if found is not None:
            drawn[digest] = found
    if not drawn:
        return Sprite(b"", {})
    whole = Image.new("RGB", (SIDE * min(PER_ROW, len(drawn)), SIDE * math.ceil(len(drawn) / PER_ROW)), "white")
    places = {digest: (SIDE * (n % PER_ROW), SIDE * (n // PER_ROW)) for n, digest in enumerate(drawn)}
    for digest, tile in drawn.items():
        whole.paste(tile, places[digest])
    stream = io.BytesIO()
    whole.save(stream, "JPEG", quality=80)
    return Sprite(stream.getvalue(), places)


def _tiles(bundle: Bundle) -> Iterator[_Tiles]:
    for name in _SOURCES:
        if bundle.has(f"{name}.json") and bundle.has(f"{name}.jpg"):
            yield _read(bundle, name)


def _read(bundle: Bundle, name: str) -> _Tiles:
    said = bundle.read_json(f"{name}.json")
    said = {"side": 96, "per_row": 10, "keys": said} if isinstance(said, list) else said
    if not _fits(said):
        raise _damaged(bundle, f"{name}.json", "it must say side, per_row and the keys of its images")
    side, per_row, keys = said["side"], said["per_row"], said["keys"]
    try:
        picture = Image.open(io.BytesIO(bundle.read(f"{name}.jpg")), formats=["JPEG"])
        if picture.width * picture.height > _LARGEST:
            raise _damaged(bundle, f"{name}.jpg", "it is too large for a picture of thumbnails")
        picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _damaged(bundle, f"{name}.jpg", "it is not a JPEG picture") from error
    if picture.width < side * min(per_row, len(keys)) or picture.height < side * math.ceil(len(keys) / per_row):
        raise _damaged(bundle, f"{name}.jpg", f"it is too small for {len(keys)} tiles of {side} pixels")
    return _Tiles(picture, side, per_row, {key: place for place, key in enumerate(keys)})


def _fits(said: Any) -> bool:
    if not isinstance(said, dict):
        return False
    numbers, keys = [said.get(name) for name in ("side", "per_row")], said.get("keys")
    if not all(type(number) is int and 0 < number <= 1024 for number in numbers):
        return False
    return isinstance(keys, list) and all(isinstance(key, str) for key in keys)


def _damaged(bundle: Bundle, name: str, reason: str) -> BundleError:
    return BundleError(f"{printable(str(bundle.folder / name))!r} is damaged: {reason}")
