"""Plans as JSON: written and read again, and whatever else a file may hold refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.errors import BundleError
from finetune.recipe.network import Cosine, Linear, Multilayer
from finetune.recipe.plan import Chosen, ChosenTrial, Phase, Plan, Tier
from finetune.recipe.planfile import from_json, read, to_json
from finetune.recipe.schedule import LpFt, Probe
from finetune.recipe.section import STAGES
from tests.recipe.test_plan import IMPOSSIBLE, phase
from tests.recipe.toys import planned

PROFILE = settings(max_examples=100, derandomize=True, deadline=None, database=None)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VIEWS = st.one_of(st.none(), st.integers(1, 64))


@st.composite
def phases(draw: st.DrawFn) -> Phase:
    train = tuple(draw(st.lists(st.sampled_from(STAGES), unique=True, min_size=1)))
    numbers = draw(st.tuples(st.integers(1, 10_000), st.floats(1e-9, 10), st.floats(1e-3, 1)))
    return Phase(
        train, *numbers, draw(st.sampled_from(["pretrained", "batch"])), None if "stem" in train else draw(VIEWS)
    )


TIERS = st.builds(
    Tier,
    kind=st.sampled_from(["frozen", "backbone", "fit", "stages", "flip", "views", "last_stage", "all_stages"]),
    gain=TEXTS,
    candidate=st.integers(0, 10),
    fit=st.sampled_from([None, "crop", "pad", "squash"]),
    views=st.integers(1, 64),
    folds=st.integers(1, 10),
    epochs=st.integers(0, 10_000),
    lr=st.floats(0, 10),
    seconds=st.one_of(st.none(), st.floats(0, 1e9)),
)
CHOSEN = st.builds(
    Chosen,
    candidate=st.integers(0, 10),
    fit=st.sampled_from(["crop", "pad", "squash"]),
    flip=st.booleans(),
    head=st.sampled_from([None, Linear(), Cosine(), Multilayer(stages=("stage3", "stage4"))]),
    schedule=st.one_of(st.just(Probe()), st.builds(LpFt, interpolate=st.floats(0.01, 1))),
    views=VIEWS,
    trial=st.builds(
        ChosenTrial,
        family=st.sampled_from(["ncm", "cosine", "lda", "logistic"]),
        scaling=st.sampled_from(["raw", "standardised", "l2", "centred l2"]),
        strength=st.one_of(st.none(), st.floats(1e-9, 1e9)),
    ),
    temperature=st.floats(1e-6, 1e6),
)


@PROFILE
@given(
    st.lists(phases(), max_size=4).map(tuple),
    st.lists(TEXTS, max_size=3).map(tuple),
    VIEWS,
    st.lists(TIERS, max_size=3).map(tuple),
    st.one_of(st.none(), CHOSEN),
)
def test_a_plan_that_is_written_and_read_is_the_same(
    found: tuple[Phase, ...], reasons: tuple[str, ...], views: int | None, tiers: tuple[Tier, ...], chosen: Chosen
) -> None:
    made = Plan((*found, Phase(("head",), 1, 0.1, 1.0, "batch")), reasons, views, tiers, chosen)
    assert from_json(to_json(made)) == made
    assert to_json(from_json(to_json(made))) == to_json(made)


@pytest.mark.parametrize(
    "schedule", [{"kind": "probe"}, {"kind": "lp_ft"}, {"kind": "auto"}, {"kind": "gradual"}], ids=lambda s: s["kind"]
)
def test_what_is_planned_survives(schedule: dict[str, Any]) -> None:
    made = planned(schedule)
    assert from_json(to_json(made)) == made


def test_a_plan_of_before_there_were_probes_is_read() -> None:
    old = {"phases": [{**phase(), "train": ["head"]}], "reasons": ["because"]}
    assert from_json(json.dumps(old)) == Plan((Phase(("head",), 1, 0.1, 1.0, "batch"),), ("because",))


@pytest.mark.parametrize(("keys", "message"), IMPOSSIBLE)
def test_a_phase_that_is_impossible_is_refused(keys: dict[str, Any], message: str) -> None:
    written = phase(**keys)
    with pytest.raises(BundleError, match=r"^p\.json: phases\.0") as caught:
        from_json(
            json.dumps({"phases": [{**written, "train": list(written["train"])}], "reasons": []}), source="p.json"
        )
    assert message in str(caught.value)


REST = '"epochs": 1, "lr_decay": 1, "batch_norm": "batch"}], "reasons": []}'
HEADLESS = "p.json: phases: the head trains in none of the phases, and no probe fits it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "p.json: is not JSON"),
        ("{", "p.json: is not JSON"),
        ("[" * 100_000, "p.json: is not JSON"),
        ("9" * 5000, "p.json: is not JSON"),
        ("[]", "p.json: is not a plan"),
        ("null", "p.json: is not a plan"),
        ("{}", "p.json: phases: the recipe needs 'phases'\np.json: reasons: the recipe needs 'reasons'"),
        ('{"phases": [], "reasons": []}', HEADLESS),
        ('{"phases": [3], "reasons": []}', "p.json: phases.0: item 1 of phases must be a mapping, not 3"),
        ('{"phases": {}, "reasons": [], "more": 1}', "p.json: more: unknown key 'more'"),
        ('{"phases": [], "reasons": [3]}', "p.json: reasons.0: item 1 of reasons must be text, not 3"),
        ('{"phases": [{"train": ["stem"], "lr": 1, ' + REST, HEADLESS),
        (
            '{"phases": [{"train": ["head"], "lr": NaN, ' + REST,
            "p.json: phases.0.lr: lr must be a finite number, not nan",
        ),
        (
            '{"phases": [], "reasons": [], "probe_views": 0}',
            "p.json: probe_views: probe_views must be at least 1, not 0",
        ),
        (
            '{"phases": [], "reasons": [], "tiers": [{"kind": "ensemble"}]}',
            "p.json: tiers.0.kind: kind must be frozen, size, backbone, fit, stages, flip, views, last_stage or "
            "all_stages, not 'ensemble'\np.json: tiers.0.gain: item 1 of tiers needs 'gain'",
        ),
        (
            '{"phases": [], "reasons": [], "tiers": [], "chosen": {}}',
            "p.json: chosen.fit: chosen needs 'fit'",
        ),
    ],
)
def test_a_file_that_is_not_a_plan_is_refused(text: str, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        from_json(text, source="p.json")
    assert str(caught.value).startswith(message)


def test_without_phases_a_head_comes_from_a_probe_or_is_yet_to_be_chosen() -> None:
    assert from_json('{"phases": [], "reasons": [], "probe_views": 1}').probe_views == 1
    (tier,) = from_json('{"phases": [], "reasons": [], "tiers": [{"kind": "frozen", "gain": ""}]}').tiers
    assert tier == Tier(kind="frozen", gain="")


def test_a_plan_is_read_from_its_file(tmp_path: Path) -> None:
    made = planned({"kind": "gradual"})
    path = tmp_path / "plan.json"
    path.write_text(to_json(made), encoding="utf-8")
    assert read(path) == made
    with pytest.raises(BundleError, match=r"none\.json: there is no such file"):
        read(tmp_path / "none.json")
    path.write_text("{}")
    with pytest.raises(BundleError, match=r"plan\.json: phases: "):
        read(path)
