"""Images -> what a frozen network makes of them: pooled features and activations, each computed once.

A feature is a function of the image alone: every batch is padded to one size, every view is made from the content of
the image and never from its name. It knows nothing of labels and of what is learnt from features.
"""

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from finetune.data.kept import Entry
from finetune.data.pixels import Pixels
from finetune.data.scratch import Scratch
from finetune.data.store import Store
from finetune.errors import UsageError, printable
from finetune.frozen.activations import Activations, StoredAs, packed, record
from finetune.frozen.looks import Job, Look, Looks, View, decoded
from finetune.frozen.scratch import Records, Result
from finetune.frozen.sources import Source, hashes
from finetune.model.backbone import Backbone
from finetune.model.classifier import Normalise
from finetune.model.pooling import Pool, pooled
from finetune.predict import Check, to_device
from finetune.recipe.machine import versions
from finetune.runtime import Precision, Runtime, has_bf16

__all__ = ["VERSION", "Activations", "Extractor", "Looks"]

VERSION = 1  # of everything here that decides a number; a new one leaves all that is stored behind

_PACKAGES = ("albumentations", "numpy", "opencv-python-headless", "pillow", "timm", "torch")
_CHUNK = 1024  # views that are dealt with together
_MEMORY = 2**25  # bytes of their rows
_TOGETHER = 64  # views that are put into the store at once: each time costs as much as some images

Taken = tuple[str, Pool | None]  # what of the network, and how it is pooled; None: as it leaves


@dataclass(frozen=True, eq=False)
class _Wanted:
    """Something to compute for some views of every image: what to take of the network, and the records it goes to."""

    taken: Taken
    shape: tuple[int, ...]
    stored_as: StoredAs
    views: Mapping[str, View]
    records: Records

    def entries(self, found: Sequence[str]) -> list[Entry]:
        """Every view of the images of these hashes."""
        return [(sha256, name) for sha256 in found for name in self.views]


class Extractor:
    """A network that is not trained now, and what was computed with it before.

    The network is put on the runtime's device, and in evaluation mode whenever it runs. store None: nothing outlives
    this object. pixels None: a file is decoded whenever something of it is computed. Raises UsageError for a precision
    that there is not, and for bf16 where the hardware lacks it.
    """

    def __init__(
        self,
        network: Backbone,
        *,
        looks: Looks,
        runtime: Runtime,
        store: Store | None = None,
        pixels: Pixels | None = None,
        precision: Precision = "float32",
    ) -> None:
        if precision not in get_args(Precision):
            raise UsageError(
                f"no precision {printable(str(precision))!r}; choose from {', '.join(get_args(Precision))}"
            )
        if precision == "bf16" and not has_bf16(runtime.device):
            raise UsageError(f"precision is 'bf16', but {runtime.device.type!r} here has no bf16 instructions")
        self.network = network
        self.looks = looks
        self._runtime = replace(runtime, precision=precision)
        self._store = store
        self._pixels = pixels or Pixels()
        self._scratch: dict[str, Scratch] = {}
        self._tapped: dict[tuple[str, ...], nn.Module] = {}
        self._ahead = 0 if runtime.device.type == "cpu" else 1  # batches that a device of its own may be at
        self._together = max(1, _TOGETHER // runtime.evaluation_batch)  # batches
        network.module.to(runtime.device)
        network.module.to(memory_format=torch.channels_last)
        self._normalise = Normalise(looks.preprocessing).to(runtime.device)

    def pooled(
        self,
        samples: Sequence[Source],
        *,
        stages: Sequence[str] | None = None,
        pool: Pool | None = None,
        views: int = 1,
        mirrored: bool = False,
        check: Check | None = None,
    ) -> np.ndarray:
        """The features of `stages`, side by side as `Backbone.extractor` has them: float32 (views, n, width); of pool
        "none" (views, n, channels, h, w). stages None: the last one.

        mirrored: the mean over each view and its mirror image. Only what the store lacks is computed; a sample whose
        hash is not known is hashed first. `check(done, total)` counts images; it is called between batches and may
        raise to stop. Above 16 MB the result is a memory-mapped file. Raises DataError naming files that cannot be
        read, or are not those that they were when they were hashed, and for maps OutOfResources as `activations` does.
        """
        wanted = self._features(stages, pool, self.looks.names(views, mirrored=mirrored))
        shape = wanted[0].shape if pool == "none" else (self.network.width(stages, pool),)
        result = Result((views, len(samples), *shape))
        known = self._known(samples, wanted, making_room_for=wanted) if pool == "none" else None
        for start, found in self._pass(samples, wanted, check, known):
            for view in range(views):
                rows = _rows(wanted, found, self.looks.name(view))
                if mirrored:
                    rows = (rows + _rows(wanted, found, self.looks.name(view, mirrored=True))) / 2
                result.write(view, start, rows)
        return result.array()

    def activations(
        self,
        samples: Sequence[Source],
        *,
        stage: str,
        views: int,
        stored_as: StoredAs,
        also: Sequence[str] = (),
        check: Check | None = None,
    ) -> Activations:
        """What leaves `stage` for each view, to train onward from; `also` are stages whose pooled features are computed
        in the same pass, so that `pooled` then has nothing left to compute.

        Raises as `pooled` does, and OutOfResources, before anything is computed, where neither the store nor the
        temporary folder has room for what is lacking.
        """
        names = self.looks.names(views)
        shape = self._map(stage)
        kept = self._wanted((stage, None), shape, stored_as, names)
        wanted = [kept, *(self._features(also, None, names) if also else ())]
        known = self._known(samples, wanted, making_room_for=[kept])
        for _ in self._pass(samples, wanted, check, known):
            pass
        every = tuple(self.looks.name(view) for view in range(views))
        return Activations(kept.records, tuple(known), every, shape, stored_as)

    def _features(self, stages: Sequence[str] | None, pool: Pool | None, views: Mapping[str, View]) -> list[_Wanted]:
        """What is wanted for the features of stages: each stage is kept by itself, so that any may be put together."""
        found = []
        for stage in self.network.ordered(stages, pool):
            tap, how = self.network.part(stage, pool)
            shape = self._map(tap) if how == "none" else (self.network.width([stage], pool),)
            found.append(self._wanted((tap, None if how == "none" else how), shape, "float32", views))
        return found

    def _wanted(self, taken: Taken, shape: tuple[int, ...], stored_as: StoredAs, views: Mapping[str, View]) -> _Wanted:
        facts = {**self._facts(taken[0]), "pool": taken[1], "stored as": stored_as}
        kind = record(shape, stored_as)
        dtype, inner = kind.base, kind.shape
        if self._store is not None:
            records: Records = self._store.collection(facts, dtype=dtype, shape=inner, large=len(shape) > 1)
        else:
            address = json.dumps([facts, shape], sort_keys=True)
            if address not in self._scratch:
                self._scratch[address] = Scratch(dtype=dtype, shape=inner)
            records = self._scratch[address]
        return _Wanted(taken, shape, stored_as, views, records)

    def _facts(self, tap: str) -> Mapping[str, object]:
        """Everything that decides a number, but for the image, the view, the pooling and how it is stored."""
        device = self._runtime.device
        on = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
        return {
            "extractor": VERSION,
            "backbone": self.network.name,
            "weights": self.network.fingerprint(tap if tap in self.network.stages else None),
            "tap": tap,
            "preprocessing": self.looks.preprocessing.to_dict(),
            "precision": self._runtime.precision,
            "device": f"{device.type} {on}",
            "threads": self._runtime.threads,
            "batch": self._runtime.evaluation_batch,
            "versions": _installed(),
        }

    def _map(self, tap: str) -> tuple[int, ...]:
        return self.network.shape(tap, size=self.looks.preprocessing.size)

    def _hashes(self, sources: Sequence[Source]) -> list[str]:
        return hashes(sources, preprocessing=self.looks.preprocessing, threads=self._runtime.threads)

    def _chunks(self, samples: Sequence[Source], wanted: Sequence[_Wanted]) -> Iterator[slice]:
        """Places of samples that are dealt with together: whole batches, with no more rows than memory should hold."""
        row = max(record(one.shape, one.stored_as).itemsize for one in wanted)
        images = min(_CHUNK // max(len(one.views) for one in wanted), _MEMORY // row)
        batch = self._runtime.evaluation_batch
        step = batch * max(1, images // batch)
        return (slice(start, start + step) for start in range(0, len(samples), step))

    def _known(
        self, samples: Sequence[Source], wanted: Sequence[_Wanted], *, making_room_for: Sequence[_Wanted]
    ) -> list[str]:
        """The hashes of all images, when there is room for what is lacking of these."""
        known = [sha256 for chunk in self._chunks(samples, wanted) for sha256 in self._hashes(samples[chunk])]
        promised = 0
        for one in making_room_for:
            if lacking := len(one.records.missing(one.entries(known))):
                one.records.make_room(lacking, beside=promised)
                promised += lacking * record(one.shape, one.stored_as).itemsize
        return known

    def _pass(
        self,
        samples: Sequence[Source],
        wanted: Sequence[_Wanted],
        check: Check | None,
        known: Sequence[str] | None = None,
    ) -> Iterator[tuple[int, Sequence[str]]]:
        """Chunk after chunk, when all that is wanted of it is there: where it starts, and the hashes of its images.

        known: the hashes of all images, where they are known before.
        """
        for chunk in self._chunks(samples, wanted):
            sources = samples[chunk]

            def report(done: int, before: int = chunk.start) -> None:
                if check:
                    check(before + done, len(samples))

            found = self._hashes(sources) if known is None else known[chunk]
            self._fill(sources, found, wanted, report)
            report(len(sources))
            yield chunk.start, found

    def _fill(
        self,
        sources: Sequence[Source],
        found: Sequence[str],
        wanted: Sequence[_Wanted],
        report: Callable[[int], None],
    ) -> None:
        """Computes what the records lack of these sources, in one pass of the network for all that is wanted."""
        lacking = [one.records.missing(one.entries(found)) for one in wanted]
        todo: dict[str, dict[str, View]] = {}
        for one, some in zip(wanted, lacking, strict=True):
            for sha256, name in some:
                todo.setdefault(sha256, {})[name] = one.views[name]
        first = {sha256: place for place, sha256 in reversed(list(enumerate(found))) if sha256 in todo}
        jobs = [Job(place, sources[place], sha256, todo[sha256]) for sha256, place in sorted(first.items(), key=_place)]
        if jobs:
            self._run(jobs, [(one, set(some)) for one, some in zip(wanted, lacking, strict=True) if some], report)

    @torch.inference_mode()
    def _run(
        self, jobs: Sequence[Job], wanted: Sequence[tuple[_Wanted, set[Entry]]], report: Callable[[int], None]
    ) -> None:
        """The pass itself; a device of its own computes a batch while the next one is decoded."""
        taps = self._taps(tuple(dict.fromkeys(one.taken[0] for one, _ in wanted)))
        under_way: list[tuple[list[Look], dict[Taken, Tensor]]] = []
        self.network.module.eval()
        with (
            self._runtime.autocast(),
            contextlib.closing(decoded(jobs, self.looks, self._runtime, self._pixels)) as looks,
        ):
            try:
                while batch := list(islice(looks, self._runtime.evaluation_batch)):
                    given = taps(self._normalise(self._padded(batch)))
                    under_way.append((batch, {one.taken: _taken(given, one.taken) for one, _ in wanted}))
                    if len(under_way) >= self._together + self._ahead:
                        _keep(under_way[: self._together], wanted)
                        del under_way[: self._together]
                    report(batch[-1].place)
            finally:  # who stops it loses nothing
                _keep(under_way, wanted)

    def _taps(self, taps: tuple[str, ...]) -> nn.Module:
        if taps not in self._tapped:  # whether the network can be tapped there is tried out, which takes a moment
            self._tapped[taps] = self.network.taps(taps)
        return self._tapped[taps]

    def _padded(self, looks: Sequence[Look]) -> Tensor:
        pixels = np.zeros((self._runtime.evaluation_batch, *looks[0].pixels.shape), np.uint8)
        for row, look in zip(pixels, looks, strict=False):
            row[:] = look.pixels
        return to_device(pixels, self._runtime)


@functools.cache
def _installed() -> dict[str, str]:
    found = versions()
    return {name: found[name] for name in _PACKAGES}


def _taken(given: Mapping[str, Tensor], taken: Taken) -> Tensor:
    tap, pool = taken
    return given[tap].float() if pool is None else pooled(given[tap], pool)


def _keep(
    batches: Sequence[tuple[Sequence[Look], Mapping[Taken, Tensor]]], wanted: Sequence[tuple[_Wanted, set[Entry]]]
) -> None:
    """Puts what was computed for batches of views where it is lacking."""
    for one, lacking in wanted:
        entries: list[Entry] = []
        rows: list[np.ndarray] = []
        for looks, computed in batches:
            places = [place for place, look in enumerate(looks) if look.entry in lacking]
            entries += [looks[place].entry for place in places]
            rows.append(computed[one.taken].cpu().numpy()[places])
        if entries:
            one.records.put(entries, packed(np.concatenate(rows), one.stored_as))


def _rows(wanted: Sequence[_Wanted], found: Sequence[str], name: str) -> np.ndarray:
    """The features of one view of the images of these hashes, side by side."""
    return np.concatenate([one.records.get([(sha256, name) for sha256 in found]) for one in wanted], axis=1)


def _place(item: tuple[str, int]) -> int:
    return item[1]
