"""Facts of the asked images, and for which of them a classifier is worse."""

from finetune.audit.look import Look, Looks, looks
from finetune.bundle.facts import dump
from finetune.diagnose.asked import Asked
from finetune.predict import Check
from finetune.scores.slices import slices

Fact = float | str | None


def files(asked: Asked, memory: Looks, *, threads: int, check: Check | None = None) -> dict[str, bytes]:
    """`evidence/facts.json`, the facts of every asked image; and `evidence/slices.json`, the scores of images that have
    a fact in common.
    """
    found = taken(asked, memory, threads=threads, check=check)
    said = {"part": asked.part, "keys": list(asked.catalog.keys), "facts": found}
    return {
        "evidence/facts.json": dump(said),
        "evidence/slices.json": dump(slices(asked.predictions, found)),
    }


def taken(asked: Asked, memory: Looks, *, threads: int, check: Check | None = None) -> dict[str, list[Fact]]:
    """What `audit.look` says of every asked image, its camera and its group: by name a value for each, in order.

    Looks are remembered, so that a check before or after does not take them again. An image that cannot be read any
    more has None for all but its group.
    """
    found, _ = looks(asked.catalog, threads=threads, known=memory, progress=check)
    seen = [found.get(key) for key in asked.catalog.keys]
    facts: dict[str, list[Fact]] = {
        name: [None if look is None else value(look) for look in seen] for name, value in _FACTS.items()
    }
    facts["group"] = [sample.group for sample in asked.catalog.samples]
    return facts


def _camera(look: Look) -> str | None:
    return look.header.camera or None


_FACTS = {
    "width": lambda look: look.width,
    "height": lambda look: look.height,
    "aspect": lambda look: look.width / look.height,
    "brightness": lambda look: look.brightness,
    "contrast": lambda look: look.contrast,
    "sharpness": lambda look: look.blur,
    "file_size": lambda look: look.file_size,
    "camera": _camera,
}
