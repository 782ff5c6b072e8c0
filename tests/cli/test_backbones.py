import json
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from finetune.cli import backbones as command
from finetune.recipe import backbones, family, machine
from tests.cli.conftest import Call
from tests.model.test_hub import put_in_cache

KEYS = {
    "name", "family", "parameters", "macs", "measured_at", "memory", "features", "input_size", "fixed_size",
    "default_tag", "tags", "speed",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def listed(call: Call) -> Any:
    """The networks that a call lists, as JSON."""
    return lambda *arguments: json.loads(call("backbones", *arguments, "--json")[1])["backbones"]


def test_without_a_pattern_every_family_is_listed_in_80_columns(call: Call) -> None:
    code, out, _ = call("backbones")
    lines = out.splitlines()
    assert code == 0
    assert max(map(len, lines)) <= 80
    headings = [line.partition(":")[0] for line in lines if not line.startswith(" ")]
    assert headings == [one.key for one in family.FAMILIES]
    names = [line.split()[0] for line in lines if line.startswith("  ")][1:]
    assert sorted(names) == sorted(name for name in backbones.names() if family.of(name))
    assert names[:3] == ["resnet18", "resnet26", "resnet34"]


def test_all_networks_fit_into_80_columns_those_of_no_family_last(call: Call) -> None:
    lines = call("backbones", "*")[1].splitlines()
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if line.startswith("  ")]) == len(backbones.names()) + 1
    others = [line.split()[0] for line in lines[lines.index("others") + 1 :]]
    assert others == sorted(others)
    assert not any(family.of(name) for name in others)


def test_a_row_says_what_a_network_costs_and_which_weights_it_has(call: Call) -> None:
    rows = {line.split()[0]: line.split() for line in call("backbones", "resnet*")[1].splitlines()}
    assert rows["resnet50"] == ["resnet50", "23.5M", "4.09", "2048", "271", "apache-2.0", "a1_in1k", "+18"]
    assert rows["resnet200"][-3:] == ["-", "no", "weights"]
    assert rows["resnet50x4_clip"][2] == "21.1'"  # it takes 288 pixels and no other


def test_families_are_chosen_by_key(call: Call, listed: Any) -> None:
    assert [one["name"] for one in listed("--family", "wide")] == ["wide_resnet50_2", "wide_resnet101_2"]
    assert {one["family"] for one in listed("101", "--family", "v1", "--family", "v1d")} == {"v1", "v1d"}
    code, _, err = call("backbones", "--family", "Wide")
    assert code == 2
    assert "no family 'Wide'; did you mean 'wide'?; the families are v1, v1d, v2, bit, wide" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnest500"], "unknown backbone 'resnest500'; did you mean 'resnest50d'?"),
        (["vit_tiny_patch16_224"], "backbone 'vit_tiny_patch16_224' cannot be cut into stages; networks with stages"),
        (["resnest5x*"], "no backbone fits 'resnest5x*'; `finetune backbones` lists the families"),
        (["wide", "--family", "v1"], "no backbone of family v1 fits 'wide'"),
        (["--sort", "speed"], "--sort speed needs --speed"),
        (["--fits", "much"], "--fits is 'much'; a number of bytes is needed, such as 20G or 500M"),
        (["resnet*", "--fits", "20M"], "fits into 20M: resnet10t needs least, about 132 MB"),
        (["--speed"], "--speed times at most 40 networks, and "),
    ],
)
def test_what_lists_nothing_is_refused_with_what_would(arguments: list[str], message: str, call: Call) -> None:
    code, out, err = call("backbones", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_only_what_fits_into_the_memory_is_listed(listed: Any) -> None:
    every, few = listed(), listed("--fits", "200M")
    assert 0 < len(few) < len(every)
    assert few == [one for one in every if one["memory"] <= 200e6]


def test_one_table_is_sorted_by_size_or_cost(call: Call, listed: Any) -> None:
    for sort, key in (("params", "parameters"), ("macs", "macs")):
        found = [one[key] for one in listed("--sort", sort)]
        assert found == sorted(found)
    assert "v1:" not in call("backbones", "--sort", "macs")[1]


def test_the_json_has_the_same_keys_whatever_was_asked(listed: Any) -> None:
    for arguments in ([], ["resnet18"], ["mobilenetv2_035"], ["convnext*", "--fits", "300M"]):
        for one in listed(*arguments):
            assert set(one) == KEYS
            assert one["speed"] is None
            for tag in one["tags"].values():
                assert set(tag) == {"license", "input_size", "test_input_size", "classes", "hub", "cached"}
    assert listed("resnet18")[0]["tags"]["tv_in1k"]["license"] == "bsd-3-clause"


def test_the_whole_name_of_one_shows_all_that_is_known_of_it(call: Call) -> None:
    lines = call("backbones", "resnet18")[1].splitlines()
    assert lines[0] == "resnet18, v1: ResNet of basic or bottleneck blocks (He et al. 2015)"
    rows = {line.split()[0]: line.split() for line in lines}
    assert rows["tv_in1k"] == ["tv_in1k", "224", "224", "1000", "hub", "bsd-3-clause"]
    assert set(backbones.entry("resnet18").tags) < set(rows)
    assert lines[-1].endswith('other names contain resnet18: "*resnet18*"')
    assert "weights        none" in call("backbones", "mobilenetv2_035")[1]
    assert "made for       288 pixels and no other" in call("backbones", "resnet50x4_clip")[1]
    assert call("backbones", "legacy_seresnet18")[1].splitlines()[-1].split() == [
        "in1k", "224", "224", "1000", "-", "apache-2.0",
    ]  # fmt: skip


def test_a_network_made_for_cifar_of_a_depth_that_no_paper_has_is_shown_too(call: Call, listed: Any) -> None:
    assert "cifar_resnet26" not in backbones.names()
    code, out, _ = call("backbones", "cifar_resnet26")
    assert code == 0
    assert out.splitlines()[0].startswith("cifar_resnet26, cifar: ")
    assert "weights        none" in out.splitlines()[-1]
    assert [one["name"] for one in listed("cifar_resnet26", "--family", "cifar")] == ["cifar_resnet26"]
    assert call("backbones", "cifar_resnetv2_11")[1].splitlines()[-1].startswith("1 other name contains")
    assert {one["name"] for one in listed("cifar_resnet5")} == {"cifar_resnet56", "cifar_resnet56_b"}
    code, _, err = call("backbones", "cifar_resnet27")
    assert code == 2
    assert "next to it are cifar_resnet26 and cifar_resnet32" in err


def test_weights_in_the_local_cache_are_marked(tmp_path: Path, call: Call, listed: Any) -> None:
    put_in_cache(tmp_path / "hub", b"weights")  # of test_resnet.r160_in1k
    found = {one["name"]: one for one in listed("test_*")}
    assert found["test_resnet"]["tags"]["r160_in1k"]["cached"]
    assert not any(tag["cached"] for name in found for tag in found[name]["tags"].values() if name != "test_resnet")
    lines = call("backbones", "test_*")[1].splitlines()
    assert [line.split()[1] for line in lines if line.startswith("* test")] == ["test_resnet"]
    assert lines[-1] == "* weights in the local cache"
    assert call("backbones", "test_resnet")[1].splitlines()[-1].split()[-2:] == ["cache", "apache-2.0"]


def test_networks_are_timed_here(call: Call, listed: Any) -> None:
    timed = listed("test_[cer]*net", "--speed", "--sort", "speed")
    assert [one["speed"]["milliseconds"] for one in timed] == sorted(one["speed"]["milliseconds"] for one in timed)
    assert len(timed) > 1
    assert timed[0]["speed"]["batch"] == machine.EVALUATION_BATCH
    _, out, err = call("backbones", "test_re*net", "--speed")
    header, *rows = [line.split() for line in out.splitlines() if line.startswith("  ")]
    assert header[5:7] == ["ms", "img/s"]
    assert all(float(row[5]) > 0 and float(row[6]) > 0 for row in rows)
    assert re.search(r"timed on cpu, (1 thread|\d+ threads), float32, with random weights", err)
    assert "ms for one image" in call("backbones", "test_resnet", "--speed")[1]


def test_what_memory_does_not_suffice_for_is_not_timed_and_said(
    call: Call, listed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = sorted((one["memory"], one["name"]) for one in listed("test_[cer]*net"))
    monkeypatch.setattr(machine, "available_memory", lambda: sizes[0][0])
    _, out, err = call("backbones", "test_[cer]*net", "--speed", "--sort", "speed")
    left = err.partition("not timed, for they need more memory than is free: ")[2].splitlines()[0].split(", ")
    assert sorted(left) == sorted(name for _, name in sizes[1:])
    assert out.splitlines()[1].split()[0] == sizes[0][1]
    assert out.splitlines()[-1].split()[5:7] == ["-", "-"]


def test_numbers_keep_to_their_columns() -> None:
    assert [command._three(number) for number in (0.0123, 1.234, 12.34, 123.4, 4321.0)] == [
        "0.01", "1.23", "12.3", "123", "4321",
    ]  # fmt: skip
    assert command._millions(2_594_664_896) == "2595M"
