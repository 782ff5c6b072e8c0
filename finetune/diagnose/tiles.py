"""Every asked image as a small tile of one picture: what a report shows of images without having them."""

import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from finetune.bundle.facts import dump
from finetune.data import decode
from finetune.data.catalog import Sample
from finetune.data.decode import Preprocessing
from finetune.diagnose.asked import Asked
from finetune.predict import Check
from finetune.runtime import in_order

MOST = 5000
BYTES = 2_500_000
PER_ROW = 40

_SIDES = ((1000, 64), (2500, 48), (MOST, 32))  # up to so many images; multiples of 16, the blocks of JPEG
_QUALITIES = (75, 60, 45, 30, 15)


def files(asked: Asked, *, threads: int, check: Check | None = None) -> dict[str, bytes]:
    """`evidence/tiles.jpg` and `evidence/tiles.json`: a tile of 64, 48 or 32 pixels, the fewer images the larger, for
    every asked image, of more than 5,000 all that are wrong and a sample of the others. The picture is below 2.5 MB.

    The tiles are drawn from pixels alone: nothing of a file's metadata comes along.
    """
    shown = asked.few(MOST, mistakes_first=True)
    side = next(side for most, side in _SIDES if len(shown.catalog) <= most)
    picture = sprite(drawn(shown.catalog.samples, side, threads=threads, check=check), side, per_row=PER_ROW)
    said = {"part": asked.part, "side": side, "per_row": PER_ROW, "keys": list(shown.catalog.keys)}
    return {"evidence/tiles.jpg": picture, "evidence/tiles.json": dump(said)}


def drawn(samples: Sequence[Sample], side: int, *, threads: int, check: Check | None = None) -> list[np.ndarray]:
    """A tile for each image, uint8 (side, side, 3), whole and centred. Raises UnreadableImage."""
    look = Preprocessing(
        size=side, working=side, fit="pad", interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(1, 1, 1)
    )
    found = in_order(
        lambda sample: decode.working_image(decode.read(sample.file), look), samples, threads=threads, ahead=64
    )
    tiles = []
    for tile in found:
        tiles.append(tile)
        if check and (len(tiles) % 64 == 0 or len(tiles) == len(samples)):
            check(len(tiles), len(samples))
    return tiles


def sprite(tiles: Sequence[np.ndarray], side: int, *, per_row: int, most: int = BYTES) -> bytes:
    """One JPEG file of at least one tile, tile i at (side * (i % per_row), side * (i // per_row)), of the best quality
    with which it has at most `most` bytes.
    """
    size = (side * min(per_row, len(tiles)), side * math.ceil(len(tiles) / per_row))
    sheet = Image.new("RGB", size, "white")
    for number, tile in enumerate(tiles):
        sheet.paste(Image.fromarray(tile), (side * (number % per_row), side * (number // per_row)))
    return _smallest_loss(sheet, _QUALITIES, most)


def _smallest_loss(sheet: Image.Image, qualities: Iterable[int], most: int) -> bytes:
    data = b""
    for quality in qualities:
        picture = io.BytesIO()
        sheet.save(picture, "JPEG", quality=quality)
        data = picture.getvalue()
        if len(data) <= most:
            break
    return data
