"""Working images of files, each decoded once: kept by the content of the file, in memory or in the store on disk.

It knows nothing of views, labels and networks. With it and without it the pixels are the same.
"""

import hashlib
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from PIL import features

from finetune.data import decode
from finetune.data.catalog import Sample
from finetune.data.decode import Preprocessing
from finetune.data.fingerprints import decoder
from finetune.data.store import Store
from finetune.errors import OutOfResources, UnreadableImage, printable, size
from finetune.recipe.machine import available_memory

Where = Literal["memory", "disk", "none"]

_ASKED = 128  # files whose headers say how large working images are
_DISK = 0.3  # of what is free, that is taken without being asked for
_MEMORY = 0.8  # of what is free, that may be taken


class _Pictures(Protocol):
    """What keeps working images of one preprocessing by SHA-256."""

    def get(self, sha256: str) -> np.ndarray | None: ...

    def put(self, sha256: str, picture: np.ndarray) -> None: ...

    def known(self, sha256s: Sequence[str]) -> set[str]: ...


class Pixels:
    """Where working images come from; threads may share it.

    A file is decoded once for a preprocessing that room was made for with `prepare`, and each time for any other.
    `memory` keeps what it decodes until the process ends, `disk` in the store, for later runs too. None decides: disk,
    where that takes at most 30 % of what is free there and nothing else has to leave the store; otherwise `none`, with
    a note. Disk and not memory, because what is read again and again stays in memory anyway as long as no one else
    needs it, and a second run finds it: a photograph of 500 x 375 takes 2 ms to decode and one of twelve megapixels 36
    ms or more, a kept one below 0.1 ms, and 20,000 of them take 5 GB (256 x 341 pixels each).
    """

    def __init__(self, store: Store | None = None, *, where: Where | None = "none") -> None:
        self.notes: list[str] = []
        self._store = store
        self._where = where if store is not None or where == "memory" else "none"
        self._kept: dict[Preprocessing, _Pictures | None] = {}
        self._memory: dict[str, _Memory] = {}

    def prepare(self, samples: Sequence[Sample], preprocessing: Preprocessing, *, must: bool = False) -> None:
        """Makes room for the working images of samples that have been hashed, whose size is told by file headers.

        Where there is none, nothing is kept for this preprocessing, and a note says why; with `must`, and where it was
        asked for, it raises OutOfResources instead.
        """
        if preprocessing in self._kept:
            return
        self._kept[preprocessing] = None
        if self._where == "none":
            return
        kept = self._pictures(preprocessing)
        files = {sample.sha256: sample.file for sample in samples if sample.path and sample.sha256}
        known = kept.known([sha256 for sha256 in files if sha256])
        needed = predicted([file for sha256, file in files.items() if sha256 not in known], preprocessing)
        try:
            self._make_room(needed, asked=must and self._where is not None)
        except OutOfResources as error:
            if must and self._where is not None:
                raise
            self.notes.append(f"images are decoded each time that they are needed: {error}")
        else:
            self._kept[preprocessing] = kept

    def working(self, file: Path, sha256: str | None, preprocessing: Preprocessing) -> np.ndarray:
        """The working image of a file whose bytes have this hash, uint8 (h, w, 3), perhaps read-only.

        Without a hash the file is read, and nothing is kept. Raises UnreadableImage, also for a file that has changed.
        """
        kept = self._kept.get(preprocessing) if sha256 else None
        found = kept.get(sha256) if kept is not None and sha256 else None
        if found is not None:
            return found
        data = decode.read(file)
        if sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise UnreadableImage("changed", "the file is not what it was when it was first read; start again")
        image = decode.working_image(data, preprocessing)
        if kept is not None and sha256:
            kept.put(sha256, image)
        return image

    def _pictures(self, preprocessing: Preprocessing) -> "_Pictures":
        facts = _facts(preprocessing)
        if self._where == "memory":
            return self._memory.setdefault(str(facts), _Memory())
        assert self._store is not None
        return self._store.pictures(facts)

    def _make_room(self, needed: int, *, asked: bool) -> None:
        """Raises OutOfResources where so many bytes more cannot be kept, or only at the cost of others."""
        if not needed:
            return
        if self._where == "memory":
            free = available_memory()
            if free is not None and needed > _MEMORY * free:
                raise OutOfResources(
                    f"working images of {size(needed)} do not fit into memory, of which {size(free)} are free; "
                    "write images.store: disk, or none"
                )
            return
        assert self._store is not None
        if asked:
            self._store.make_room(needed)
            return
        found = self._store.info()
        free = shutil.disk_usage(found.folder).free
        kept = f"{size(needed)} would be kept in {printable(str(found.folder))}, where"
        if needed > _DISK * free:
            raise OutOfResources(f"{kept} {size(free)} are free; images.store: disk keeps them all the same")
        if found.bytes + needed > found.limit:
            raise OutOfResources(
                f"{kept} {size(found.bytes)} of {size(found.limit)} are taken; images.store: disk makes room for them"
            )


class _Memory:
    """Working images in the memory of this process."""

    def __init__(self) -> None:
        self._images: dict[str, np.ndarray] = {}

    def get(self, sha256: str) -> np.ndarray | None:
        return self._images.get(sha256)

    def put(self, sha256: str, picture: np.ndarray) -> None:
        picture.flags.writeable = False
        self._images[sha256] = picture

    def known(self, sha256s: Sequence[str]) -> set[str]:
        return {sha256 for sha256 in sha256s if sha256 in self._images}


def predicted(files: Sequence[Path], preprocessing: Preprocessing) -> int:
    """How many bytes the working images of files will have, by the headers of at most 128 of them."""
    found = []
    for file in files[:: max(1, len(files) // _ASKED)][:_ASKED]:
        try:
            found.append(decode.working_bytes(decode.read(file), preprocessing))
        except UnreadableImage:  # who needs the image will say so
            continue
    return math.ceil(len(files) * sum(found) / len(found)) if found else 0


def _facts(preprocessing: Preprocessing) -> dict[str, object]:
    """Everything that decides a working image, beside the file."""
    pad = preprocessing.fit == "pad"
    return {
        "pixels": f"{preprocessing.fit} {preprocessing.working} {preprocessing.interpolation}",
        "canvas": list(preprocessing.canvas) if pad else None,
        "decoder": [decoder(), *(f"{name} {features.version(name)}" for name in ("jpg", "libjpeg_turbo", "webp"))],
    }
