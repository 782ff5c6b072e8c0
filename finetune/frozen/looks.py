"""How images look to a frozen network: their views by number, each with a name, several of them from one decoding.

It knows nothing of networks and of what is stored.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np

from finetune.data.decode import Preprocessing
from finetune.data.kept import Entry
from finetune.data.pixels import Pixels
from finetune.errors import DataError
from finetune.frozen.sources import Source, all_of, working
from finetune.recipe.images import Augment
from finetune.runtime import Runtime, in_order
from finetune.views import TrainingViews, evaluation_view

_MEMORY = 2**25  # bytes of pixels that are decoded together

View = tuple[int, bool]  # its number, and whether it is mirrored


@dataclass(frozen=True)
class Looks:
    """How the views of an image are made: view 0 is the one that is evaluated, view k the training view of epoch k
    under `seed`, drawn by the hash of the image.
    """

    preprocessing: Preprocessing
    augment: Augment = field(default_factory=Augment)
    seed: int = 0

    def name(self, view: int, *, mirrored: bool = False) -> str:
        """What a view is called in the store: views of one name are the same pixels."""
        kind = self.augment.signature
        name = "plain" if view == 0 or kind == "none" else f"{kind} {view} seed {self.seed}"
        return f"{name} mirrored" if mirrored else name

    def names(self, views: int, *, mirrored: bool = False) -> dict[str, View]:
        """The names of the first `views` views, with `mirrored` those of their mirror images too."""
        every = [(view, side) for view in range(views) for side in ((False, True) if mirrored else (False,))]
        return {self.name(view, mirrored=side): (view, side) for view, side in every}

    def pixels(self, working: np.ndarray, view: View, *, key: str) -> np.ndarray:
        """A view of a working image, uint8 (size, size, 3); `key` is the hash of the image."""
        number, mirrored = view
        if number == 0:
            found = evaluation_view(working, self.preprocessing)
        else:
            found = self._views.view(working, epoch=number, key=key)
        return np.ascontiguousarray(found[:, ::-1]) if mirrored else found

    @cached_property
    def _views(self) -> TrainingViews:
        return TrainingViews(self.augment, self.preprocessing, seed=self.seed)


@dataclass(frozen=True)
class Job:
    """A source, its place among others, and the views of it that are needed, by name."""

    place: int
    source: Source
    sha256: str
    views: Mapping[str, View]


@dataclass(frozen=True, eq=False)
class Look:
    """One view of the source at `place`: its entry, and its pixels uint8 (size, size, 3)."""

    place: int
    entry: Entry
    pixels: np.ndarray


def decoded(jobs: Sequence[Job], looks: Looks, runtime: Runtime, pixels: Pixels) -> Generator[Look, None, None]:
    """The views of the jobs, in order. Raises DataError, after all that can be had, naming the sources that cannot.

    On the CPU many images are decoded by all threads before the network is given any of them: its own threads spin
    while they wait for work, and take the time of those that decode.
    """

    def of(job: Job) -> list[Look] | DataError:
        try:
            image = working(job.source, job.sha256, looks.preprocessing, pixels)
        except DataError as error:
            return error
        return [
            Look(job.place, (job.sha256, name), looks.pixels(image, view, key=job.sha256))
            for name, view in job.views.items()
        ]

    views = max((len(job.views) for job in jobs), default=1)
    together = max(1, _MEMORY // (3 * looks.preprocessing.size**2 * views))
    answers: Iterable[list[Look] | DataError]
    if runtime.device.type == "cpu":
        rounds = (jobs[start : start + together] for start in range(0, len(jobs), together))
        answers = chain.from_iterable(
            list(in_order(of, some, threads=runtime.threads, ahead=together)) for some in rounds
        )
    else:
        answers = in_order(of, jobs, threads=runtime.threads, ahead=together)
    bad: list[tuple[Source, DataError]] = []
    for job, answer in zip(jobs, answers, strict=True):
        if isinstance(answer, DataError):
            bad.append((job.source, answer))
        else:
            yield from answer
    all_of([error for _, error in bad], [source for source, _ in bad])
