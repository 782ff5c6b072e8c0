"""What the network is shown: a few training images, each as it is evaluated and as it is varied, in one picture."""

import io

import numpy as np
from PIL import Image

from finetune.bundle import Bundle
from finetune.data.catalog import Sample
from finetune.data.decode import Preprocessing
from finetune.train.setting import Setting
from finetune.views import evaluation_view

SIDE = 96
IMAGES = 5
VIEWS = 6  # of each image, the plain one first


def write(bundle: Bundle, setting: Setting) -> None:
    """Writes `evidence/views.jpg`, a row of tiles of 96 pixels for each image, and `evidence/views.json`, their keys
    and how many tiles a row has.

    The varied views are those of the first epochs or, where only kept views are learnt from, the first of these.
    Nothing is written where no image was varied.
    """
    augment, shown = setting.views.augment, _numbers(setting)
    samples = setting.split.train.samples
    if not shown or (augment.kind == "none" and not augment.flip):
        return
    count = min(IMAGES, len(samples))
    chosen = [samples[number * len(samples) // count] for number in range(count)]
    sheet = Image.new("RGB", (SIDE * (1 + len(shown)), SIDE * count), "white")
    for row, sample in enumerate(chosen):
        for column, view in enumerate(_views(setting, sample, shown)):
            tile = Image.fromarray(view).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            sheet.paste(tile, (SIDE * column, SIDE * row))
    picture = io.BytesIO()
    sheet.save(picture, "JPEG", quality=80)
    bundle.write("evidence/views.jpg", picture.getvalue())
    bundle.write_json("evidence/views.json", {"keys": [sample.key for sample in chosen], "tiles": 1 + len(shown)})


def _is_live(setting: Setting) -> bool:
    """Whether some phase makes new views in every epoch."""
    return any(phase.views is None for phase in setting.plan.phases)


def _numbers(setting: Setting) -> range:
    """The numbers of the varied views to show; those of epochs count from 1, and kept view 0 is the plain one."""
    plan = setting.plan
    epochs = sum(phase.epochs for phase in plan.phases)
    kept = max((plan.probe_views or 1, *(phase.views or 1 for phase in plan.phases)))
    return range(1, min(VIEWS, epochs + 1 if _is_live(setting) else kept))


def _views(setting: Setting, sample: Sample, shown: range) -> list[np.ndarray]:
    look: Preprocessing = setting.preprocessing
    working = setting.pixels.working(sample.file, sample.sha256, look)
    key = sample.key if _is_live(setting) else str(sample.sha256)  # as batches and as features have it
    varied = [setting.views.view(working, epoch=number, key=key) for number in shown]
    return [evaluation_view(working, look), *varied]
