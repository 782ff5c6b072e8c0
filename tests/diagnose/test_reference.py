import hashlib
import json
from pathlib import Path

import numpy as np

from finetune.bundle import Bundle
from finetune.data import decode
from finetune.data.adapters import folder
from finetune.data.catalog import census
from finetune.data.decode import Preprocessing
from finetune.diagnose import reference
from finetune.recipe.dataset import FolderData
from finetune.scores.predictions import Predictions
from finetune.views import evaluation_view


def test_a_few_images_are_kept_with_what_the_network_saw_and_said(tmp_path: Path, photos: Path) -> None:
    catalog, _ = census(folder.read(FolderData(root=str(photos))), on_bad_image="error", threads=1)
    logits = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    predictions = Predictions(keys=catalog.keys, logits=logits, classes=catalog.classes, labels=catalog.labels)
    pixels = Preprocessing(size=32, working=36, fit="crop", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
    bundle = Bundle.create(tmp_path / "bundle")
    reference.write(bundle, predictions, catalog, pixels)
    lines = json.loads(bundle.read("reference/reference.json"))
    assert len(lines) == 8
    assert {line["key"].split("/")[0] for line in lines} == {"blue", "green", "red"}
    for line in lines:
        file = (photos / line["key"]).read_bytes()
        assert line["file_sha256"] == hashlib.sha256(file).hexdigest()
        view = evaluation_view(decode.working_image(file, pixels), pixels)
        assert line["view_sha256"] == hashlib.sha256(view.tobytes()).hexdigest()
        assert np.array_equal(np.float32(line["logits"]), logits[catalog.keys.index(line["key"])])


def test_the_few_are_those_that_would_be_written(photos: Path) -> None:
    catalog, _ = census(folder.read(FolderData(root=str(photos))), on_bad_image="error", threads=1)
    assert reference.few(catalog).keys == catalog.keys[::3]
