import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from finetune.data.adapters import folder
from finetune.diagnose import mistakes
from finetune.recipe.dataset import FolderData
from finetune.scores.predictions import Predictions


def predictions(logits: list[list[float]], labels: object, *, keys: tuple[str, ...] | None = None) -> Predictions:
    values = np.array(logits, dtype=np.float32)
    return Predictions(
        keys=keys or tuple(map(str, range(len(values)))), logits=values, classes=("a", "b"), labels=np.array(labels)
    )


def test_the_most_confident_mistakes_come_first() -> None:
    found = predictions([[1, 0], [0, 3], [5, 0], [0, 9]], [1, 0, 0, 0])
    assert mistakes.worst(found).tolist() == [3, 1, 0]
    assert mistakes.worst(found, most=2).tolist() == [3, 1]


def test_a_mistake_of_many_labels_is_its_worst_answer() -> None:
    found = predictions([[2, -2], [3, 3], [-1, -4]], [[True, False], [True, False], [True, True]])
    assert mistakes.worst(found).tolist() == [2, 1]


def test_thumbnails_are_tiles_without_metadata(photos: Path) -> None:
    catalog = folder.read(FolderData(root=str(photos)))
    exif = Image.Exif()
    exif[0x010E] = "secret"
    Image.new("RGB", (50, 90), (9, 9, 200)).save(photos / "blue" / "000.png", exif=exif)
    labels = np.array([1 - min(label, 1) for label in catalog.labels])
    logits = np.stack([1 - labels, labels], axis=1).astype(np.float32) * 4
    wrong = Predictions(keys=catalog.keys, logits=logits, classes=("a", "b"), labels=1 - labels)
    files = mistakes.files(wrong, catalog)
    assert json.loads(files["evidence/thumbnails.json"])[0] == "blue/000.png"
    data = files["evidence/thumbnails.jpg"]
    sprite = Image.open(io.BytesIO(data))
    assert sprite.size == (960, 288)
    assert b"secret" not in data
    assert sprite.getpixel((48, 48))[2] > 150


def test_without_mistakes_there_is_no_picture(photos: Path) -> None:
    catalog = folder.read(FolderData(root=str(photos)))
    right = Predictions(
        keys=catalog.keys,
        logits=np.eye(3, dtype=np.float32)[catalog.labels],
        classes=catalog.classes,
        labels=catalog.labels,
    )
    assert mistakes.files(right, catalog) == {}
