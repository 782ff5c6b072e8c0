"""What features are made of: files of a catalog and pictures in memory, by the hash of their content.

It knows nothing of views and networks.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

from finetune.data import decode
from finetune.data.catalog import Sample
from finetune.data.decode import Preprocessing
from finetune.data.fingerprints import HASHES, Fingerprint, Fingerprints
from finetune.data.pixels import Pixels
from finetune.errors import DataError, listing
from finetune.runtime import in_order

T = TypeVar("T")


@dataclass(frozen=True)
class InMemory:
    """A picture that is no file: a PIL image, or an array (h, w, 3) uint8. `key` is what messages call it."""

    key: str
    picture: Image.Image | np.ndarray
    sha256: str | None = None


Source = Sample | InMemory


def hashes(sources: Sequence[Source], *, preprocessing: Preprocessing, threads: int) -> list[str]:
    """The SHA-256 of each source: of a file's bytes, of the working image of a picture in memory.

    One that is known is taken as it is, and so is that of a file that was read before and has not changed since. Raises
    DataError naming all that cannot be read.
    """
    if all(source.sha256 for source in sources):
        return [str(source.sha256) for source in sources]
    with Fingerprints.open(name=HASHES) as known:

        def of(source: Source) -> str | DataError:
            try:
                return source.sha256 or _hash(source, preprocessing, known)
            except DataError as error:
                return error

        return all_of(list(in_order(of, sources, threads=threads, ahead=len(sources))), sources)


def working(source: Source, sha256: str, preprocessing: Preprocessing, pixels: Pixels) -> np.ndarray:
    """The working image of a source, uint8 (h, w, 3). Raises DataError for a file whose content has another hash."""
    if isinstance(source, InMemory):
        return decode.working_image(source.picture, preprocessing)
    return pixels.working(source.file, sha256, preprocessing)


def all_of(answers: Sequence[T | DataError], sources: Sequence[Source]) -> list[T]:
    """The answers; raises DataError naming every source that has an error instead."""
    bad = [
        f"{source.key}: {answer}"
        for source, answer in zip(sources, answers, strict=True)
        if isinstance(answer, DataError)
    ]
    if bad:
        raise DataError(f"{len(bad)} {'image' if len(bad) == 1 else 'images'} cannot be used{listing(bad)}")
    return [answer for answer in answers if not isinstance(answer, DataError)]


def _hash(source: Source, preprocessing: Preprocessing, known: Fingerprints) -> str:
    if isinstance(source, InMemory):
        pixels = decode.working_image(source.picture, preprocessing)
        return hashlib.sha256(f"pixels {pixels.shape}\n".encode() + pixels.tobytes()).hexdigest()
    found = known.known(source.file)
    if found is None:
        begun = time.time_ns()
        data, status = decode.read_with_status(source.file)
        found = Fingerprint(hashlib.sha256(data).hexdigest(), ())
        known.remember(source.file, status, found, begun=begun)
    return found.sha256
