"""The bundle itself: what is in the folder, by name, written and read.

`bundle.json` says what the bundle is: written when the folder is claimed (`complete` false), and last of all with the
SHA-256 of every file. Outside that seal are what a clock wrote, which no two runs share, `track/`, which belongs to
trackers, and pages drawn from the rest, which may be drawn again.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from finetune.bundle import facts as reading
from finetune.bundle.durable import TEMPORARY, sync_folder, worded, write_atomically
from finetune.bundle.facts import FACTS, SCHEMA
from finetune.bundle.lock import LOCK, claim, locked
from finetune.data import ledger
from finetune.errors import BundleError, OutputTaken, printable, size
from finetune.recipe import planfile
from finetune.recipe.plan import Plan
from finetune.scores.predictions import Predictions

UNSEALED = ("timings.jsonl", "report.html", "MODEL_CARD.md")

ADDING = "adding"  # in bundle.json: files that are being added to a complete bundle

_CHECKPOINTS = "checkpoints"  # written by training, gone when the run is complete
_TRACK = "track"  # what TensorBoard and MLflow wrote of the run
_LARGEST_TEXT = 64 * 10**6


class Bundle:
    """The bundle in `folder`. Make one with `create`, `next` or `open`.

    Reading raises BundleError, naming the file, when something is missing, damaged, changed or of a newer finetune;
    writing raises OutOfResources when the disk or a permission does not allow it.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self._facts = facts

    @classmethod
    def create(cls, folder: str | Path) -> Self:
        """An unfinished bundle in a folder that was not there, or was empty; raises OutputTaken for any other.

        Of several callers at the same moment exactly one gets the folder.
        """
        folder = Path(folder)
        with worded(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            claim(folder)
            sync_folder(folder.parent)
        bundle = cls(folder, {})
        bundle.describe({})
        return bundle

    @classmethod
    def next(cls, root: str | Path) -> Self:
        """An unfinished bundle in the next free number below `root`: runs/flowers/1, runs/flowers/2, …"""
        return cls.create(cls.next_number(root))

    @staticmethod
    def next_number(root: str | Path) -> Path:
        """A new empty folder below `root`, named by the number after the highest."""
        root = Path(root)
        with worded(root):
            root.mkdir(parents=True, exist_ok=True)
            number = max(
                (int(path.name) for path in root.iterdir() if re.fullmatch("[0-9]{1,9}", path.name)), default=0
            )
            while True:
                number += 1
                with contextlib.suppress(FileExistsError):  # another run was faster
                    (root / str(number)).mkdir()
                    return root / str(number)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """The bundle in `folder`, complete or not: its facts are checked and its files are there; hashes, when read."""
        bundle = cls(Path(folder), reading.read_facts(Path(folder)))
        if missing := [name for name in bundle._hashes if not bundle._place(name).is_file()]:
            count = len(missing)
            raise BundleError(f"{_shown(folder)} is not whole: missing {count} of its files{reading.names(missing)}")
        return bundle

    @property
    def facts(self) -> dict[str, Any]:
        """What bundle.json says."""
        return self._facts

    @property
    def complete(self) -> bool:
        """Whether the run came to its end and the bundle is sealed."""
        return bool(self._facts.get("complete"))

    @contextlib.contextmanager
    def locked(self) -> Iterator[Self]:
        """Holds an unfinished bundle for one run; raises OutputTaken while another holds it, naming the process.

        A killed process lets go of the lock by dying; what it left half-written is removed here.
        """
        with locked(self.folder):
            self._facts = reading.read_facts(self.folder)  # another run may have finished it since it was opened
            try:
                if self.complete:
                    raise OutputTaken(f"{_shown(self.folder)} is complete: there is nothing left to run")
                for leftover in self.folder.rglob(f"{TEMPORARY}*"):
                    with contextlib.suppress(OSError):
                        leftover.unlink()
                yield self
            finally:
                if self.complete:
                    with contextlib.suppress(OSError):  # Windows keeps what is open
                        (self.folder / LOCK).unlink()

    # Writing

    def write(self, name: str, data: bytes) -> None:
        """Writes one file whole; `name` is relative, with forward slashes. Raises OutputTaken in a complete bundle."""
        self._must_be_open_to(name)
        place = self._place(name)
        with worded(place, needed=len(data)):
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.parent != self.folder:
                sync_folder(place.parent.parent)
        write_atomically(place, data)

    def write_json(self, name: str, value: object) -> None:
        """Writes a JSON value, whose numbers must be finite."""
        self.write(name, reading.dump(value))

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Writes bundle.json of an unfinished bundle with these facts. Raises OutputTaken in a complete bundle."""
        self._must_be_open_to(FACTS)
        said = {name: value for name, value in facts.items() if name not in ("schema", "complete", "files")}
        self._store({"schema": SCHEMA, "complete": False, **said})

    def seal(self, facts: Mapping[str, Any] | None = None) -> None:
        """Makes the bundle complete: bundle.json with these facts (or those it has) and the hash of every file."""
        said = {**(self._facts if facts is None else facts), "schema": SCHEMA, "complete": True}
        self._store({**said, "files": {name: _digest(_bytes(self.folder / name)) for name in self._present()}})

    def add(self, files: Mapping[str, bytes], *, notes: Sequence[str] | None = None) -> None:
        """Adds files to a complete bundle, or puts them in the place of others, and seals it anew. notes: what
        bundle.json says from then on is worth knowing, in place of what it said; None leaves that.

        At every moment the bundle is whole: while they are written bundle.json names them as being added, and no reader
        takes them for its own. Raises BundleError for a bundle that is not complete, OutputTaken while another process
        holds it.
        """
        with locked(self.folder):
            self._facts = reading.read_facts(self.folder)
            if not self.complete:
                raise BundleError(f"{_shown(self.folder)} is not complete; finish the run first")
            for name in files:
                self._place(name)
            said = {name: value for name, value in self._facts.items() if name != ADDING}
            kept = {name: digest for name, digest in said["files"].items() if name not in files}
            adding = sorted({*files, *self._facts.get(ADDING, ())})
            self._store({**said, "files": kept, ADDING: adding})
            for name, data in files.items():
                with worded(self._place(name), needed=len(data)):
                    self._place(name).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(self._place(name), data)
            for name in set(adding) - set(files):
                self._place(name).unlink(missing_ok=True)  # of an addition that was cut off
            digests = {name: _digest(data) for name, data in files.items()}
            more = {} if notes is None else {"notes": list(notes)}
            self._store({**said, **more, "files": dict(sorted({**kept, **digests}.items()))})
        with contextlib.suppress(OSError):  # Windows keeps what is open
            (self.folder / LOCK).unlink()

    def _must_be_open_to(self, name: str) -> None:
        if self.complete and name not in UNSEALED:
            raise OutputTaken(
                f"{_shown(self.folder)} is complete, so its {name!r} stays as it is: run into a new folder"
            )

    def _store(self, facts: dict[str, Any]) -> None:
        data = reading.dump(facts)
        write_atomically(self.folder / FACTS, data)
        self._facts = reading.parse(data.decode(), source=self.folder / FACTS)  # as any reader will see them

    # Reading

    def has(self, name: str) -> bool:
        """Whether the bundle holds this file."""
        return name in self._hashes if self.complete and name not in UNSEALED else self._place(name).is_file()

    def read(self, name: str) -> bytes:
        """The bytes of a file; in a complete bundle their SHA-256 is the one that was sealed."""
        place = self._place(name)
        if not self.has(name):
            raise BundleError(f"{_shown(self.folder)} holds no {printable(name)!r}")
        data = _bytes(place)
        if name in self._hashes and self._hashes[name] != _digest(data):
            raise BundleError(
                f"{_shown(place)} is not the file that the run left: its SHA-256 is not the one in {FACTS}"
            )
        return data

    def verify(self) -> None:
        """Reads every file of a complete bundle; raises BundleError naming all that are missing, changed or added."""
        present = self._present()
        faults = [f"{name}: not of the run" for name in present if name not in self._hashes]
        for name, expected in self._hashes.items():
            if name not in present:
                faults.append(f"{name}: missing")
            elif _digest(_bytes(self._place(name))) != expected:
                faults.append(f"{name}: changed")
        if faults:
            raise BundleError(f"{_shown(self.folder)} is not as the run left it{reading.names(sorted(faults))}")

    def read_json(self, name: str) -> Any:
        """The value of a JSON file."""
        return reading.parse(self._text(name), source=self.folder / name)

    @property
    def recipe_text(self) -> str:
        """The complete recipe, YAML."""
        return self._text("recipe.yaml")

    @property
    def plan(self) -> Plan:
        """The phases of the run, and why these."""
        return planfile.from_json(self._text("plan.json"), source=str(self.folder / "plan.json"))

    @property
    def metrics(self) -> dict[str, Any]:
        """The scores by part of the split, and the numbers of images."""
        metrics = self.read_json("metrics.json")
        if not isinstance(metrics, dict):
            raise BundleError(f"{_shown(self.folder / 'metrics.json')} is not a JSON object")
        return metrics

    @property
    def history(self) -> list[dict[str, Any]]:
        """One object per complete epoch."""
        return self._lines("history.jsonl")

    @property
    def timings(self) -> list[dict[str, Any]]:
        """One object per part of the run: {"part": "epoch 1", "seconds": 1.2}."""
        return self._lines("timings.jsonl")

    @property
    def catalog(self) -> list[dict[str, str]]:
        """One row per image, in the order of the file, by the names of `finetune.data.ledger.COLUMNS`."""
        place = self.folder / "catalog.csv"
        try:
            return ledger.rows(self._text("catalog.csv"))
        except ValueError as error:
            raise BundleError(f"{_shown(place)} {error}") from error

    def predictions(self, part: str) -> Predictions:
        """The predictions of the "test" or "validation" images."""
        name = f"predictions/{part}.npz"
        return Predictions.from_bytes(self.read(name), source=str(self.folder / name))

    @property
    def _hashes(self) -> dict[str, str]:
        return self._facts["files"] if self.complete else {}

    def _present(self) -> list[str]:
        """The files below the folder that belong under the seal, sorted by name."""
        names = [path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()]
        apart = {FACTS, *UNSEALED, *self._facts.get(ADDING, ())}
        return sorted(name for name in names if name not in apart and not _is_passing(name))

    def _place(self, name: str) -> Path:
        """Where a file of this name lies; raises BundleError for a name, or a link, that leads out of the folder."""
        odd = any(character in name for character in "\\:\0") or any(
            not p or p.startswith(".") for p in name.split("/")
        )
        if odd or name == FACTS:
            raise BundleError(f"{_shown(self.folder)} cannot hold a file named {printable(name)!r}")
        place = self.folder.joinpath(*name.split("/"))
        if not place.resolve().is_relative_to(self.folder.resolve()):
            raise BundleError(f"{_shown(place)} is a link that leads out of the bundle")
        return place

    def _text(self, name: str) -> str:
        place = self._place(name)
        if place.is_file() and place.stat().st_size > _LARGEST_TEXT:
            raise BundleError(f"{_shown(place)} is no text of a bundle: it is larger than {size(_LARGEST_TEXT)}")
        try:
            return self.read(name).decode()
        except UnicodeDecodeError as error:
            raise BundleError(f"{_shown(place)} is damaged: it is not UTF-8 text") from error

    def _lines(self, name: str) -> list[dict[str, Any]]:
        *lines, rest = self._text(name).split("\n")
        if rest and self.complete:
            raise BundleError(f"{_shown(self.folder / name)} is damaged: it ends in the middle of a line")
        found = []
        for number, line in enumerate(lines, start=1):
            value = reading.parse(line, source=f"{self.folder / name}:{number}")
            if not isinstance(value, dict):
                raise BundleError(f"{_shown(self.folder / name)}: line {number} is not a JSON object")
            found.append(value)
        return found


def _is_passing(name: str) -> bool:
    """Files that are there only while the run goes on or are a tracker's, and what a system hides in any folder."""
    return name.startswith((f"{_CHECKPOINTS}/", f"{_TRACK}/")) or any(part.startswith(".") for part in name.split("/"))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{_shown(path)} cannot be read: {error.strerror}") from error


def _shown(path: str | Path) -> str:
    return repr(printable(str(path)))
