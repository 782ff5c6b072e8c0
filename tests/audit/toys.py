"""Data sets as values: looks at pixels that were never a file, in parts of a split that nobody made."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from finetune.audit.deep import Deep, Measured
from finetune.audit.finding import Finding
from finetune.audit.gather import Gathered
from finetune.audit.look import Look, look
from finetune.audit.neighbours import near
from finetune.data.catalog import Catalog, LeftOut, Sample
from finetune.errors import UnreadableImage


def scene(seed: int, *, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A picture with large and small things on it, another for each seed."""
    generator = np.random.default_rng(seed)
    layers = np.zeros((size[1], size[0], 3))
    for grain, weight in ((3, 1.0), (8, 0.7), (20, 0.5)):
        coarse = generator.uniform(0, 255, (grain, grain, 3)).astype(np.uint8)
        layers += weight * np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    return Image.fromarray((layers / 2.2).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def seen(image: Image.Image, form: str = "PNG", **options: object) -> Look:
    """The look of an image as a file of a format, rightly named."""
    suffix = {"PNG": ".png", "JPEG": ".jpg"}[form]
    return look(encoded(image, form, **options), suffix=suffix)


def known(
    looks: dict[str, Look],
    *,
    parts: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    groups: dict[str, str] | None = None,
    unreadable: dict[str, UnreadableImage] | None = None,
    left_out: Sequence[LeftOut] = (),
    refusals: Iterable[str] = (),
) -> Gathered:
    """All that is known of images with these looks. The label is the first folder of a key, if nothing else is said."""
    named = {key: (labels or {}).get(key, key.partition("/")[0]) for key in (*looks, *(unreadable or {}))}
    samples = tuple(Sample(key, None, named[key], group=(groups or {}).get(key)) for key in named)
    return Gathered(
        catalog=Catalog(samples, tuple(sorted(set(named.values()))), tuple(left_out)),
        looks=looks,
        unreadable=unreadable or {},
        parts=parts or {},
        is_split=bool(parts),
        refusals=tuple(refusals),
        notes=(),
    )


def kinds(findings: Iterable[Finding]) -> list[tuple[str, str, tuple[str, ...]]]:
    """What was found: kind, severity and keys."""
    return [(finding.kind, finding.severity, finding.keys) for finding in findings]


def with_header(one: Look, **facts: object) -> Look:
    """The look with another header."""
    return replace(one, header=replace(one.header, **facts))


def asked_deeply(whole: Gathered, *, features: np.ndarray | None = None, wrong: Sequence[str] = ()) -> Deep:
    """A look by a network that tells all classes well, and says the next class of the images that are labelled wrong.
    Features that are not given have nothing in common.
    """
    keys = tuple(sample.key for sample in whole.seen)
    classes = len(whole.catalog.classes)
    labels = np.array([whole.catalog.classes.index(sample.labels[0]) for sample in whole.seen])
    said = np.where([key in wrong for key in keys], (labels + 1) % classes, labels)
    sure = np.where([key in wrong for key in keys], 0.96, 0.9)[:, None]
    if features is None:
        features = np.eye(len(keys), dtype=np.float32)
    return Deep(
        network="a network",
        keys=keys,
        features=features,
        near=near(features),
        probabilities=np.where(np.eye(classes)[said] == 1, sure, (1 - sure) / (classes - 1)),
        accuracy=Measured(0.9, 0.8, 1.0),
        balanced_accuracy=Measured(0.9, 0.8, 1.0),
        chance=1 / classes,
    )
