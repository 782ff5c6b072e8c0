import json
from pathlib import Path

import pytest
import torch

from finetune.errors import BundleError, OutOfResources
from finetune.train import checkpoint
from finetune.train.checkpoint import Checkpoint


def saved(folder: Path, epoch: int = 1) -> Checkpoint:
    taken = Checkpoint(
        model={"head.weight": torch.randn(2, 3)},
        best={"head.weight": torch.randn(2, 3)},
        optimizer={"0.step": torch.tensor(3.0), "0.exp_avg": torch.randn(2, 3)},
        state={"history": [{"epoch": epoch}]},
    )
    checkpoint.save(folder, taken, epoch=epoch, frozen=lambda: {"backbone.weight": torch.ones(4)})
    return taken


def test_what_was_saved_comes_back_bit_for_bit_with_the_frozen_tensors(tmp_path: Path) -> None:
    taken = saved(tmp_path / "checkpoints")
    loaded = checkpoint.load(tmp_path / "checkpoints")
    assert loaded is not None
    assert loaded.state == taken.state
    assert loaded.model.keys() == {"backbone.weight", "head.weight"} == loaded.best.keys()
    for mine, theirs in ((loaded.model, taken.model), (loaded.best, taken.best), (loaded.optimizer, taken.optimizer)):
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "checkpoints") is None
    (tmp_path / "checkpoints").mkdir()
    assert checkpoint.load(tmp_path / "checkpoints") is None


def test_the_one_before_goes_when_the_next_is_whole(tmp_path: Path) -> None:
    saved(tmp_path, 9)
    saved(tmp_path, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-000010", "frozen.safetensors"]


def test_the_newest_counts_when_two_are_there_and_half_written_ones_are_removed(tmp_path: Path) -> None:
    saved(tmp_path, 2)
    (tmp_path / "epoch-000002").rename(tmp_path / "kept")
    saved(tmp_path, 1)
    (tmp_path / "kept").rename(tmp_path / "epoch-000002")
    (tmp_path / ".tmp-epoch-000003-1").mkdir()
    loaded = checkpoint.load(tmp_path)
    assert loaded is not None
    assert loaded.state["history"] == [{"epoch": 2}]
    assert not (tmp_path / ".tmp-epoch-000003-1").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "best.safetensors", "optimizer.safetensors"])
def test_a_changed_or_missing_file_is_named_and_no_older_one_is_taken(tmp_path: Path, name: str) -> None:
    saved(tmp_path, 1)
    path = tmp_path / "epoch-000001" / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=name):
        checkpoint.load(tmp_path)
    path.unlink()
    with pytest.raises(BundleError, match=name):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"history": []})])
def test_a_damaged_state_is_named(tmp_path: Path, text: str) -> None:
    saved(tmp_path, 1)
    (tmp_path / "epoch-000001" / "state.json").write_text(text)
    with pytest.raises(BundleError, match=r"state\.json"):
        checkpoint.load(tmp_path)


def test_frozen_tensors_that_are_no_safetensors_are_named(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    (tmp_path / "frozen.safetensors").write_bytes(b"not tensors")
    with pytest.raises(BundleError, match=r"frozen\.safetensors"):
        checkpoint.load(tmp_path)


def test_a_folder_that_cannot_be_written_is_a_matter_of_resources(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file stands where the folder should be")
    with pytest.raises(OutOfResources, match="make room and resume"):
        saved(tmp_path / "checkpoints")


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_an_optimizer_goes_on_as_if_it_had_not_been_interrupted(kind: type[torch.optim.Optimizer]) -> None:
    def stepped(weights: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        (weights.sin() * torch.arange(4.0)).sum().backward()
        optimizer.step()

    extra = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    one, other = torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(4))
    first = kind([one], lr=0.1, **extra)
    stepped(one, first)
    kept = checkpoint.optimizer_tensors(first)
    other.data.copy_(one.data)
    second = kind([other], lr=0.1, **extra)
    checkpoint.restore_optimizer(second, kept)
    one.grad = None
    stepped(one, first)
    stepped(other, second)
    assert torch.equal(one, other)
