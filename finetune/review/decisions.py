"""What was decided, kept as corrections in a file that is whole after every decision; each can be taken back."""

import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from finetune.bundle.durable import write_atomically
from finetune.data import corrections
from finetune.data.catalog import Catalog, Sample
from finetune.data.corrections import SEPARATOR, Correction
from finetune.errors import UsageError, cell, printable
from finetune.review.queue import EXCLUDE, Verdict

Corrections = dict[str, Correction]


class Decisions:
    """The decisions on a data set, and the file that they are written to.

    catalog: the images as the data has them. given: by key the labels that the run had; what is kept keeps these.
    begin: corrections that a new file starts with, those that the run was made with. Threads may share it. Raises
    DataError for a file that holds other things than corrections of this data, UsageError where no file can be.
    """

    def __init__(
        self, output: Path, *, catalog: Catalog, given: Mapping[str, tuple[str, ...]], begin: Path | None = None
    ) -> None:
        if output.is_dir() or not output.absolute().parent.is_dir():
            what = "is a folder" if output.is_dir() else "would lie in a folder that is not there"
            raise UsageError(f"the output {printable(str(output))!r} {what}; name a file with --output")
        self.output = output
        self._begin = begin
        self._catalog = catalog
        self._samples: Mapping[str, Sample] = {sample.key: sample for sample in catalog.samples}
        self._given = given
        self._turn = threading.Lock()
        self._undone: list[dict[str, tuple[Verdict | None, Correction | None]]] = []
        held = self._held()
        after = corrections.applied(catalog, held, source=str(self._source))
        labels = {sample.key: sample.labels for sample in after.samples}
        self._made: dict[str, Verdict] = {}
        for key in self._samples:
            if _of(key, held) and key not in labels:
                self._made[key] = EXCLUDE
            elif _of(key, held) and set(labels[key]) != set(given.get(key, ())):  # else the run had it already
                self._made[key] = Verdict("relabel", labels[key])

    def verdict(self, key: str) -> Verdict | None:
        """What was decided on an image, now or in an earlier review; None: nothing yet."""
        return self._made.get(key)

    def decide(self, verdicts: Mapping[str, Verdict]) -> None:
        """Decides on images, as one step that can be undone, and writes the file.

        Raises DataError where that would leave a class without images or the file has become faulty in the meantime,
        and OutOfResources; then nothing is decided.
        """
        with self._turn:
            before = self._write({key: self._correction(key, verdict) for key, verdict in verdicts.items()})
            self._undone.append({key: (self._made.get(key), before[key]) for key in verdicts})
            self._made.update(verdicts)

    def undo(self) -> tuple[str, ...]:
        """Takes the last decision of this review back, in the file too; returns the keys it was about, or none."""
        with self._turn:
            if not self._undone:
                return ()
            step = self._undone[-1]
            self._write({key: correction for key, (_, correction) in step.items()})
            self._undone.pop()
            for key, (verdict, _) in step.items():
                self._made.pop(key, None)
                if verdict is not None:
                    self._made[key] = verdict
            return tuple(step)

    def counts(self) -> dict[str, int]:
        """How many corrections of each action the file holds."""
        found = Counter(one.action for one in self._held().values())
        return {"relabel": found["relabel"], "exclude": found["exclude"]}

    @property
    def _source(self) -> Path:
        """Where corrections are read from: the file itself, as soon as it is there."""
        return self._begin if self._begin is not None and not self.output.exists() else self.output

    def _held(self) -> Corrections:
        return corrections.read(self._source) if self._begin is not None or self.output.exists() else {}

    def _write(self, changes: Mapping[str, Correction | None]) -> dict[str, Correction | None]:
        """Puts changes on top of what the file holds at this moment; returns what it held of these images."""
        held = self._held()
        before = {key: _of(key, held) for key in changes}
        if before == changes:
            return before
        spelt = {*changes, *map(cell, changes)}
        after = {path: one for path, one in held.items() if path not in spelt}
        after |= {key: one for key, one in changes.items() if one is not None}
        corrections.applied(self._catalog, after, source=self.output.name)
        write_atomically(self.output, corrections.written(after.values()).encode())
        return before

    def _correction(self, key: str, verdict: Verdict) -> Correction | None:
        """What makes of the image as the data has it what was decided; None where it is that already."""
        if verdict.action == "exclude":
            return Correction(key, "exclude")
        labels = verdict.labels if verdict.action == "relabel" else self._given.get(key, self._samples[key].labels)
        if set(labels) == set(self._samples[key].labels):
            return None
        return Correction(key, "relabel", SEPARATOR.join(labels))


def _of(key: str, held: Corrections) -> Correction | None:
    return held.get(key) or held.get(cell(key))
