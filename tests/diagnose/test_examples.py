import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.bundle import Bundle
from finetune.data.survey import find, survey
from finetune.diagnose import examples
from finetune.model import backbone
from finetune.recipe import file
from finetune.recipe.plan import Phase, Plan
from finetune.runtime import start
from finetune.train.setting import Setting
from finetune.views import evaluation_view

LIVE = Phase(("head",), 3, 1e-3, 1.0, "pretrained")
KEPT = Phase(("head",), 9, 1e-3, 1.0, "pretrained", 4)


@pytest.fixture
def setting(photos: Path, write_recipe: Callable[..., Path]) -> Callable[..., Setting]:
    def make(plan: Plan, *overrides: str) -> Setting:
        recipe = file.load(write_recipe(photos), overrides=overrides)
        split = survey(recipe, find(recipe)).split
        return Setting.of(recipe, split, plan, network=backbone.build("test_resnet", size=32), runtime=start())

    return make


def written(folder: Path, given: Setting) -> tuple[dict[str, object], np.ndarray] | None:
    bundle = Bundle.create(folder)
    examples.write(bundle, given)
    if not bundle.has("evidence/views.json"):
        assert not bundle.has("evidence/views.jpg")
        return None
    sheet = Image.open(io.BytesIO(bundle.read("evidence/views.jpg")))
    return json.loads(bundle.read("evidence/views.json")), np.asarray(sheet).astype(float)


def tile(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    return sheet[96 * row : 96 * row + 96, 96 * column : 96 * column + 96]


@pytest.mark.parametrize(
    ("plan", "tiles", "by_content"),
    [(Plan((LIVE,), ()), 4, False), (Plan((KEPT,), ()), 4, True), (Plan((), (), probe_views=8), 6, True)],
    ids=["live", "kept", "probe"],
)
def test_the_views_are_those_that_were_learnt_from_the_plain_one_first(
    plan: Plan, tiles: int, by_content: bool, setting: Callable[..., Setting], tmp_path: Path
) -> None:
    given = setting(plan)
    found = written(tmp_path / "bundle", given)
    assert found is not None
    facts, sheet = found
    samples = given.split.train.samples
    chosen = [samples[number * len(samples) // 5] for number in range(5)]
    assert facts == {"keys": [sample.key for sample in chosen], "tiles": tiles}
    assert sheet.shape == (5 * 96, tiles * 96, 3)
    for row, sample in enumerate(chosen):
        working = given.pixels.working(sample.file, sample.sha256, given.preprocessing)
        key = sample.sha256 if by_content else sample.key
        shown = [given.views.view(working, epoch=number, key=str(key)) for number in range(1, tiles)]
        for column, view in enumerate([evaluation_view(working, given.preprocessing), *shown]):
            wanted = np.asarray(Image.fromarray(view).resize((96, 96), Image.Resampling.BICUBIC)).astype(float)
            assert np.abs(tile(sheet, row, column) - wanted).mean() < 12, (row, column)  # JPEG is not exact


def test_two_runs_write_the_same_bytes(setting: Callable[..., Setting], tmp_path: Path) -> None:
    for name in ("one", "other"):
        examples.write(Bundle.create(tmp_path / name), setting(Plan((LIVE,), ())))
    one, other = (tmp_path / name / "evidence" / "views.jpg" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
    assert len(one.read_bytes()) < 200_000


@pytest.mark.parametrize(
    ("plan", "overrides"),
    [
        (Plan((), (), probe_views=1), ()),
        (Plan((LIVE,), ()), ("images.augment.kind=none", "images.augment.flip=false")),
    ],
)
def test_where_nothing_is_varied_nothing_is_shown(
    plan: Plan, overrides: tuple[str, ...], setting: Callable[..., Setting], tmp_path: Path
) -> None:
    assert written(tmp_path / "bundle", setting(plan, *overrides)) is None
