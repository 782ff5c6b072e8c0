import json
from collections.abc import Callable
from pathlib import Path

from finetune.cli.gradients import described
from finetune.diagnose.gradients import Probed
from tests.cli.conftest import Call
from tests.conftest import draw_classes

Write = Callable[..., Path]


def test_a_plan_may_compare_a_network_with_itself_without_skips(
    call: Call, photos: Path, tmp_path: Path, write_recipe: Write
) -> None:
    recipe = write_recipe(photos)
    code, plain, _ = call("plan", recipe)
    assert code == 0
    code, out, err = call("plan", recipe, "--probe-gradients")
    assert code == 0, err
    assert out.startswith(plain.rstrip("\n"))
    more = out.removeprefix(plain.rstrip("\n"))
    assert all(len(line) <= 80 for line in out.splitlines())
    words = " ".join(more.split())
    assert "Gradients on the first batch, 4 images of 32 x 32 pixels, before any training" in words
    assert (
        "the same random weights (He initialisation), with and without the 4 skip connections of test_resnet" in words
    )
    assert "As it starts: the weights of the run, random, seed 0." in words
    rows = [line.split() for line in more.splitlines()][-7:]
    assert [row[0] for row in rows] == ["stem", "stage1", "stage2", "stage3", "stage4", "head", "stem"]
    assert all(len(row) == 4 for row in rows[:-1])
    plan = tmp_path / "plan.json"
    code, out, _ = call("plan", recipe, "--probe-gradients", "--json", "--output", plan)
    found = json.loads(out)
    gradients = found.pop("gradients")
    assert found == json.loads(plan.read_text())
    for name, place in (("with_skips", 1), ("without_skips", 2), ("as_it_starts", 3)):
        for row in rows[:-1]:
            assert abs(float(row[place].replace(",", "")) / gradients[name][row[0]] - 1) < 0.01


def test_a_run_that_fits_its_head_first_has_its_own_weights_and_not_its_start() -> None:
    norms = {"stem": 1.0, "stage4": 2.0, "head": 3.0}
    lines = described(Probed("a", 4, 32, 13, 4, norms, norms, norms, "random, seed 0", fits_head=True))
    words = " ".join(" ".join(lines).split())
    assert "Own weights: the weights of the run, random, seed 0, under a head drawn at random; the run fits" in words
    assert "as it starts" not in words.lower()
    assert max(map(len, lines)) <= 80


def test_small_images_are_probed_in_the_size_that_their_plan_begins_with(
    call: Call, tmp_path: Path, write_recipe: Write
) -> None:
    photos = draw_classes(tmp_path / "small", {"blue": 8, "red": 8})
    recipe = write_recipe(photos, schedule="auto", backbone="resnet18")
    recipe.write_text(recipe.read_text().replace("size: 32, ", ""))
    code, out, err = call("plan", recipe, "--probe-gradients", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["gradients"]["size"] == found["tiers"][0]["size"] == 128


def test_a_network_without_skips_is_refused_with_a_sentence(call: Call, photos: Path, write_recipe: Write) -> None:
    code, out, err = call("plan", write_recipe(photos, backbone="densenet121"), "--probe-gradients")
    assert (code, out) == (2, "")
    assert "backbone 'densenet121' has no skip connections that add what comes a shorter way" in err


def test_what_is_not_known_is_said() -> None:
    norms = {"stem": 12345.6, "stage1": None, "stage4": 0.0, "head": 1e-9}
    out_of_reach = "the weights are not in the local cache"
    lines = described(Probed("a" * 100, 4, 32, 13, 4, norms, {**norms, "stem": None}, None, out_of_reach))
    assert [line.split() for line in lines[-8:]] == [
        ["norm", "of", "the", "gradient", "with", "without"],
        ["stem", "12,346", "not", "finite"],
        ["stage1", "not", "finite", "not", "finite"],
        ["stage4", "0", "0"],
        ["head", "<", "0.000001", "<", "0.000001"],
        ["stem", "/", "stage4", "-", "-"],
        [],
        ["Not", "as", "it", "starts:", *out_of_reach.rstrip(".").split()[:-1], "cache."],
    ]
