"""The page on residual connections: what the measured lines give, and nothing else."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]

if not (ROOT / "benchmarks" / "residual.py").is_file():
    pytest.skip("benchmarks are not part of a source distribution", allow_module_level=True)


@pytest.fixture
def residual(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("residual")


def test_the_page_and_its_figure_are_those_of_the_measured_lines(residual: Any, tmp_path: Path) -> None:
    residual.residual_page.write(residual.read(residual.HERE / "residual.jsonl"), tmp_path, rate=residual.RATE)
    page = (tmp_path / "residual-connections.md").read_text(encoding="utf-8")
    assert page == (ROOT / "docs" / "residual-connections.md").read_text(encoding="utf-8")
    drawn, kept = ((folder / "residual-connections.svg").read_text() for folder in (tmp_path, ROOT / "docs"))
    assert curves(drawn) == curves(kept)
    assert len(curves(kept)) == 4 * 4, "in each panel two of either depth"


def curves(svg: str) -> list[str]:
    """What is drawn through the data, whatever drew text, axes and grid."""
    return [path for path in re.findall(r'<path d="([^"]*)" clip-path', svg) if path.count("L") > 1]


def test_of_each_network_there_is_a_line_with_the_gradients_of_every_stage(residual: Any) -> None:
    rows = residual.read(residual.HERE / "residual.jsonl")
    assert {row["network"] for row in rows if row["rate"] == residual.RATE} == set(residual.NETWORKS)
    for row in rows:
        assert len(row["history"]) == row["epochs"]
        for line in row["history"]:
            steps = {one["step"] for one in line["health"]}
            assert len(steps) == 2
            assert {one["stage"] for one in line["health"]} == {*residual.residual_page.STAGES, "head"}
            assert all(one["gradient"] > 0 for one in line["health"])
    counts = {json.dumps(row["images"]) for row in rows}
    assert len(counts) == 1


def test_a_network_is_trained_by_a_recipe_and_leaves_a_line(
    residual: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, count in (("train", 6), ("test", 4)):
        for label in ("cat", "dog"):
            folder = tmp_path / "cifar" / name / label
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (32, 32), (40 * number, 200 if label == "cat" else 20, 9)).save(
                    folder / f"{number}.png"
                )
    for name, value in (("IMAGES", 4), ("HELD_OUT", 2), ("EPOCHS", 1), ("BATCH", 4), ("NETWORKS", ("cifar_resnet8",))):
        monkeypatch.setattr(residual, name, value)
    residual.part(tmp_path / "cifar", tmp_path / "images")
    row = residual.measured("cifar_resnet8", 0, tmp_path)
    assert row["images"]["train"] == 8
    assert row["images"]["validation"] == row["images"]["test"] == 4
    (line,) = row["history"]
    page = residual.residual_page
    assert page.gradient(row, "stem", last=False) == line["health"][0]["gradient"]
    assert page.spread(row, last=True) >= 1
