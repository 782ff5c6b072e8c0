from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from finetune import job
from finetune.frozen.table import features
from tests.cli.conftest import Call

RANDOM = ("--backbone", "test_resnet", "--weights", "random", "--size", 32)


def test_features_of_a_folder_become_a_file(call: Call, photos: Path, tmp_path: Path) -> None:
    (photos / "notes.txt").write_text("x")
    output = tmp_path / "f.npz"
    code, out, err = call("features", photos, *RANDOM, "--output", output)
    assert code == 0, err
    assert out.startswith("24 images of 3 classes, 96 numbers each: ")
    assert "left out: notes.txt" in err
    with np.load(output) as file:
        assert np.array_equal(
            file["values"], features("test_resnet", photos, weights={"kind": "random"}, size=32).values
        )


def test_every_option_has_its_effect(call: Call, photos: Path, tmp_path: Path) -> None:
    red = photos / "red"
    more = ("--stage", "stage2", "--stage", "stage4", "--pool", "gem", "--mirrored", "--fit", "squash")
    code, out, err = call("features", red, *RANDOM, *more, "--output", tmp_path / "f.npz")
    assert code == 0, err
    assert out.startswith("8 images of no classes, 144 numbers each")
    expected = features(
        "test_resnet", red, weights={"kind": "random"}, size=32, stage=("stage2", "stage4"), pool="gem", mirrored=True,
        fit="squash",
    )  # fmt: skip
    with np.load(tmp_path / "f.npz") as file:
        assert np.array_equal(file["values"], expected.values)


def test_maps_are_told_with_their_shape(call: Call, photos: Path, tmp_path: Path) -> None:
    code, out, _ = call(
        "features", photos, *RANDOM, "--stage", "stage3", "--pool", "none", "--output", tmp_path / "f.npz"
    )
    assert (code, out[:44]) == (0, "24 images of 3 classes, 192 x 2 x 2 numbers ")


def test_maps_of_several_stages_are_an_array_each(call: Call, photos: Path, tmp_path: Path) -> None:
    several = ("--stage", "stage3", "--stage", "stage2", "--pool", "none")
    code, out, err = call("features", photos, *RANDOM, *several, "--output", tmp_path / "f.npz")
    assert code == 0, err
    assert out.startswith("24 images of 3 classes, stage2 48 x 4 x 4 and stage3 192 x 2 x 2 numbers each")
    with np.load(tmp_path / "f.npz") as file:
        assert sorted(file) == ["classes", "keys", "labels", "stage2", "stage3"]
        assert file["stage3"].shape == (24, 192, 2, 2)
    code, _, err = call("features", photos, *RANDOM, *several, "--output", tmp_path / "f.csv")
    assert code == 2
    assert "maps are no table, and .csv holds one" in err


def test_a_bundle_is_a_backbone(call: Call, photos: Path, tmp_path: Path, write_recipe: Callable[..., Path]) -> None:
    bundle = job.run(write_recipe(photos, schedule="head"), output=tmp_path / "bundle").folder
    code, _, err = call("features", photos, "--backbone", bundle, "--output", tmp_path / "f.csv")
    assert code == 0, err
    assert len((tmp_path / "f.csv").read_text().splitlines()) == 25


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("package", "--weights 'package' is none of package:NAME"),
        ("random:1", "is none of"),
        ("url:x", "is none of"),
        ("package:nothing", "no known package 'nothing' of weights"),
        ("file:none.pth", "none.pth"),
        ("bundle:nowhere", "nowhere"),
        ("hub:v9", "unknown tag 'v9'"),
    ],
)
def test_weights_are_named_as_in_a_recipe(text: str, reason: str, call: Call, photos: Path, tmp_path: Path) -> None:
    given = ("--backbone", "test_resnet", "--weights", text, "--output", tmp_path / "f.npz")
    code, out, err = call("features", photos, *given)
    assert code in (2, 4)
    assert out == ""
    assert reason in err


def test_weights_of_the_hub_are_the_default(call: Call, photos: Path, tmp_path: Path) -> None:
    for given in ((), ("--weights", "hub")):
        code, _, err = call("features", photos, "--backbone", "test_resnet", *given, "--output", tmp_path / "f.npz")
        assert code == 8
        assert "the hub is out of reach" in err


def test_a_file_of_another_kind_and_a_folder_that_is_not_there_are_refused(
    call: Call, photos: Path, tmp_path: Path
) -> None:
    code, _, err = call("features", photos, *RANDOM, "--output", tmp_path / "f.xlsx")
    assert code == 2
    assert "is none of .npz, .parquet, .csv" in err
    code, _, err = call("features", photos.parent / "fotos", *RANDOM, "--output", tmp_path / "f.npz")
    assert code == 2
    assert "did you mean 'photos'?" in err


def test_trouble_with_the_cache_is_told(
    call: Call, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "file"))
    code, _, err = call("features", photos, *RANDOM, "--output", tmp_path / "f.npz")
    assert code == 0
    assert "the cache in" in err
