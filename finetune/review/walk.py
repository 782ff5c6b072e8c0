"""A review as plain values, as a page needs them: one item at a time, by its number, and never a path.

What comes from the page are numbers of items, images and classes; it knows nothing of HTTP.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from finetune.data import decode
from finetune.data.catalog import Sample
from finetune.errors import UnreadableImage, UsageError, printable
from finetune.review.decisions import Decisions
from finetune.review.queue import KEEP, KINDS, Item, Queue, Shown, Verdict

SIDE = 1024  # pixels of the longer side of an image on the page

_Number = Annotated[int, Field(ge=0)]


class Choice(BaseModel):
    """What was chosen for an image of an item: its place there, and places of classes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    image: _Number
    action: Literal["keep", "relabel", "exclude"]
    labels: list[_Number] = []


class Choices(BaseModel):
    """All that was chosen at once."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    choices: Annotated[list[Choice], Field(min_length=1)]


class Walk:
    """The items of a queue, and what is decided on them. Numbers that are none raise UsageError."""

    def __init__(
        self, queue: Queue, decisions: Decisions, *, name: str, classes: Sequence[str], several: bool, advice: str
    ) -> None:
        self._items = queue.items
        self._counts = queue.counts()
        self._notes = queue.notes
        self._decisions = decisions
        self._name = name
        self._classes = tuple(classes)
        self._places = {name: place for place, name in enumerate(classes)}
        self._several = several
        self._advice = advice
        self._steps: list[int] = []  # the items that decisions were made on

    def summary(self) -> dict[str, Any]:
        """name, output, advice (how to apply the file), classes, several (labels for an image), total, kinds: [{kind,
        first, count}], notes, and what changes: see `progress`.
        """
        kinds, first = [], 0
        for kind in KINDS:
            if count := self._counts[kind]:
                kinds.append({"kind": kind, "first": first, "count": count})
                first += count
        return {
            "name": printable(self._name),
            "output": printable(str(self._decisions.output)),
            "advice": self._advice,
            "classes": [printable(name) for name in self._classes],
            "several": self._several,
            "total": len(self._items),
            "kinds": kinds,
            "notes": list(self._notes),
            **self.progress(),
        }

    def progress(self) -> dict[str, Any]:
        """open: the number of the first item with an image that nothing was decided on, or `total`; decided: how many
        items have none; relabel, exclude: how many corrections the file holds.
        """
        open_ = [place for place, item in enumerate(self._items) if not self._is_decided(item)]
        done = len(self._items) - len(open_)
        return {"open": open_[0] if open_ else len(self._items), "decided": done, **self._decisions.counts()}

    def item(self, number: int) -> dict[str, Any]:
        """number, kind, why, images: [{key, part, labels, readable, likely, suggested, made}]; labels and likely are
        places of classes, suggested and made {action, labels}, made null where nothing was decided.
        """
        item = self._item(number)
        images = [self._image(shown) for shown in item.images]
        return {"number": number, "kind": item.kind, "why": printable(item.why, limit=1000), "images": images}

    def decide(self, number: int, chosen: Choices) -> dict[str, Any]:
        """Records what was chosen; returns `item` and `progress`. Raises as `Decisions.decide`, and UsageError for
        labels that an image cannot have.
        """
        item = self._item(number)
        shown = [(self._shown(item, one.image).sample, one) for one in chosen.choices]
        self._decisions.decide({sample.key: self._verdict(one, sample) for sample, one in shown})
        self._steps.append(number)
        return {"item": self.item(number), "progress": self.progress()}

    def undo(self) -> dict[str, Any]:
        """Takes the last decision of this review back; returns the number of the item that it was made on, or null
        where there was none, and `progress`.
        """
        undone = self._decisions.undo()
        number = self._steps.pop() if undone else None
        return {"number": number, "progress": self.progress()}

    def picture(self, number: int, place: int) -> bytes:
        """An image as JPEG, its longer side at most 1024 pixels, drawn from pixels by the safe decoder: nothing of the
        file itself comes along. Raises UnreadableImage.
        """
        sample = self._shown(self._item(number), place).sample
        if sample.path is None:
            raise UnreadableImage("missing", "it is not a file")
        pixels = decode.decode(decode.read(sample.path)).pixels
        pixels.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        pixels.save(stream, "JPEG", quality=90)
        return stream.getvalue()

    def _item(self, number: int) -> Item:
        if not 0 <= number < len(self._items):
            raise UsageError(f"there is no item {number}; there are {len(self._items)}")
        return self._items[number]

    def _shown(self, item: Item, place: int) -> Shown:
        if not 0 <= place < len(item.images):
            raise UsageError(f"there is no image {place} in this item; it has {len(item.images)}")
        return item.images[place]

    def _image(self, shown: Shown) -> dict[str, Any]:
        made = self._decisions.verdict(shown.sample.key)
        return {
            "key": shown.sample.key,
            "part": shown.part,
            "labels": self._numbers(shown.sample.labels),
            "readable": shown.readable,
            "likely": list(shown.likely),
            "suggested": self._plain(shown.suggested),
            "made": None if made is None else self._plain(made),
        }

    def _plain(self, verdict: Verdict) -> Mapping[str, Any]:
        return {"action": verdict.action, "labels": self._numbers(verdict.labels)}

    def _numbers(self, labels: Sequence[str]) -> list[int]:
        return sorted(self._places[label] for label in labels)

    def _verdict(self, choice: Choice, sample: Sample) -> Verdict:
        """The labels that an image has already are no others: it is kept."""
        if choice.action != "relabel":
            if choice.labels:
                raise UsageError("an image that is kept or left out gets no labels")
            return Verdict(choice.action)
        if wrong := [place for place in choice.labels if place >= len(self._classes)]:
            raise UsageError(f"there is no class {wrong[0]}; there are {len(self._classes)}")
        count = len(set(choice.labels))
        if count == 0 or (count > 1 and not self._several):
            raise UsageError("an image needs a label; leave it out instead" if not count else "an image has one label")
        labels = tuple(sorted(self._classes[place] for place in set(choice.labels)))
        return KEEP if set(labels) == set(sample.labels) else Verdict("relabel", labels)

    def _is_decided(self, item: Item) -> bool:
        return all(self._decisions.verdict(key) is not None for key in _keys(item))


def _keys(item: Item) -> set[str]:
    return {shown.sample.key for shown in item.images}
