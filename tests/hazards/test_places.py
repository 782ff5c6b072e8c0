"""Where a data set lies, where a run is to be written, and files that change while a run reads them."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune import job
from finetune.errors import DataError
from finetune.train.loop import Epoch, Step
from tests.conftest import draw_classes
from tests.hazards.folders import fingerprint
from tests.hazards.images import JPEG
from tests.hazards.running import finetune

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="paths and names of Linux")

RECIPE = """\
name: deep
data: {{kind: folder, root: {root}}}
split: {{kind: stratified, validation: 0.25, test: 0.25}}
backbone: {{name: test_resnet, weights: {{kind: random}}}}
schedule: {{kind: head, epochs: 1, lr: 1.0e-2}}
images: {{size: 32}}
train: {{batch_size: 4}}
"""


def test_a_path_of_3900_bytes_is_no_limit(tmp_path: Path) -> None:
    """Row N08."""
    root = tmp_path
    while len(bytes(root)) < 3650:
        root /= "d" * 200
    root /= "d" * (3880 - len(bytes(root)))
    draw_classes(root, {"cats": 8, "dogs": 8})
    assert len(bytes(root / "cats" / "000.png")) > 3890
    before = fingerprint(tmp_path / ("d" * 200))
    recipe = tmp_path / "deep.yaml"
    recipe.write_text(RECIPE.format(root=root))
    assert finetune(tmp_path, "check", root, "--html", tmp_path / "page.html").code == 0
    assert finetune(tmp_path, "run", recipe, "--output", tmp_path / "bundle").code == 0
    predicted = finetune(tmp_path, "predict", tmp_path / "bundle", root)
    assert (predicted.code, len(predicted.out.splitlines())) == (0, 16)
    assert max(len(path.name) for path in (tmp_path / "bundle").rglob("*")) < 40
    assert before == fingerprint(tmp_path / ("d" * 200))


@pytest.mark.parametrize(("place", "code"), [("set/out", 2), ("set/cats/out", 2), ("set", 2), (".", 7)])
def test_a_run_is_not_written_among_the_images_nor_around_them(place: str, code: int, tmp_path: Path) -> None:
    """Row N20."""
    root = draw_classes(tmp_path / "set", {"cats": 8, "dogs": 8})
    recipe = tmp_path / "deep.yaml"
    recipe.write_text(RECIPE.format(root=root))
    before = fingerprint(root)
    ended = finetune(tmp_path, "run", recipe, "--output", tmp_path / place)
    assert ended.code == code, ended.err
    assert before == fingerprint(root)


class After(job.Silent):
    """Does something once, when the first epoch is over."""

    def __init__(self, change: Callable[[], object]) -> None:
        self._changes = [change]

    def event(self, event: Step | Epoch, *, epochs: int) -> None:
        if isinstance(event, Epoch) and self._changes:
            self._changes.pop()()


@pytest.mark.parametrize("what", ["removed", "cut", "replaced"])
def test_a_file_that_changes_during_a_run_stops_it_by_name(
    what: str, tmp_path: Path, write_recipe: Callable[..., Path]
) -> None:
    """Row N18."""
    root = draw_classes(tmp_path / "photos", {"a": 8, "b": 8})
    path = write_recipe(root, schedule="full")
    path.write_text(path.read_text().replace("images: {", "images: {store: none, "))
    victims = sorted(root.rglob("*.png"))
    changes: dict[str, Callable[[Path], object]] = {
        "removed": Path.unlink,
        "cut": lambda victim: os.truncate(victim, 99),
        "replaced": lambda victim: victim.write_bytes(JPEG),
    }
    show = After(lambda: [changes[what](victim) for victim in victims])
    with pytest.raises(DataError, match=r"[ab]/00\d\.png: (missing|changed): "):
        job.run(path, output=tmp_path / "out", show=show)
