"""Which ways to learn `auto` tries: a pure rule from facts, costs and a budget."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.recipe.cost import Costs, fitting, passing
from finetune.recipe.facts import Facts
from finetune.recipe.plan import Tier
from finetune.recipe.schema import Recipe
from finetune.recipe.tiers import ALL, ALL_GENTLY, FINISH_SECONDS, GENTLY, ROOMY, forms, named, tiers
from tests.recipe.toys import COSTS, facts, recipe

PROFILE = settings(max_examples=200, derandomize=True, deadline=None, database=None)
EVERY = ["frozen", "backbone", "fit", "flip", "views", "last_stage", "stages", "all_stages", "all_stages"]
CANDIDATES = [{"name": "resnet18"}, {"name": "resnet101"}]


def auto(budget: str = "48h", candidates: Any = (), **keys: Any) -> Recipe:
    return recipe(schedule={"kind": "auto", "budget": budget, "candidates": list(candidates)}, **keys)


def small(**keys: Any) -> Facts:
    return facts(**{"train": 200, "validation": 0, "test": 100, "smallest_class": 40, **keys})


def tried(asked: Recipe, known: Facts | None = None, costs: Costs | None = COSTS, views: int = 8) -> list[Tier]:
    return list(tiers(asked, known or small(), costs, views=views)[0])


def why_not(asked: Recipe, known: Facts | None = None, costs: Costs | None = COSTS, views: int = 8) -> str:
    return "\n".join(tiers(asked, known or small(), costs, views=views)[1][1:])


def kinds(found: list[Tier]) -> list[str]:
    return [tier.kind for tier in found]


def test_with_time_for_everything_all_is_tried_from_cheap_to_costly() -> None:
    asked = auto(candidates=CANDIDATES[:1])
    assert kinds(tried(asked)) == EVERY
    assert why_not(asked) == ""


def test_every_candidate_is_tried_at_its_own_cost() -> None:
    found = tried(auto(candidates=CANDIDATES))
    own, cheap, costly = found[:3]
    assert [tier.candidate for tier in found[:4]] == [0, 1, 2, 0]
    assert cheap.seconds < own.seconds < costly.seconds  # type: ignore[operator]
    assert own.seconds == pytest.approx(passing(200, COSTS) + fitting(200))  # type: ignore[operator]


def test_what_the_budget_does_not_hold_is_left_out_with_a_reason() -> None:
    known = small(test=0)
    frozen, views = (tier.seconds or 0.0 for tier in tried(auto(), known) if tier.kind in ("frozen", "views"))
    asked = auto(f"{FINISH_SECONDS + frozen + views - 2:.3f}s")
    assert not {"views", "last_stage", "all_stages"} & set(kinds(tried(asked, known)))
    first, *others = why_not(asked, known).splitlines()
    assert first == (
        f"a head on 8 views of each image is not tried: it takes about {views:.0f} s, and {views - 2:.0f} s are left"
    )
    assert [other.split(" is not tried: it takes about ")[0] for other in others] == [
        "training the last stage",
        "training all stages, rate 0.0001",
        "training all stages, rate 0.001",
    ]


def test_training_is_tried_in_as_many_folds_as_fit() -> None:
    def last(budget: float) -> Tier:
        return next(t for t in tried(auto(f"{budget:.3f}s"), small(test=0)) if t.kind == "last_stage")

    found = tried(auto(), small(test=0))
    until = found[: kinds(found).index("last_stage") + 1]
    enough = FINISH_SECONDS + sum(tier.seconds or 0.0 for tier in until)
    assert [last(enough + more).folds for more in (1, 0.01, -0.01)] == [5, 5, 4]
    assert (last(enough - 1).seconds or 0.0) < (last(enough + 1).seconds or 0.0)


def test_training_is_judged_by_enough_images_or_is_not_tried() -> None:
    """Of 100 images it takes four folds, and the short form where those of the long one take too long."""

    def last(budget: float) -> Tier | None:
        found = tried(auto(f"{budget:.3f}s"), small(train=100, test=0))
        return next((tier for tier in found if tier.kind == "last_stage"), None)

    forms = {(tier.epochs, tier.folds) for budget in range(10, 400, 2) if (tier := last(budget))}
    assert forms == {(10, 5), (10, 4), (6, 5), (6, 4)}


def test_forms_of_a_tier_are_cheaper_and_cheaper() -> None:
    tier = Tier(kind="last_stage", gain="", folds=5, epochs=10, lr=1e-4, seconds=50.0)
    ways = forms(tier, images=100)
    assert [(way.epochs, way.folds) for way in ways] == [(10, 5), (10, 4), (6, 5), (6, 4)]  # four folds hold 80 images
    assert [way.seconds for way in ways] == pytest.approx([50, 50 * 4.2 / 5, 30, 30 * 4.2 / 5])
    assert ways[0] == tier
    assert forms(tier, images=20) == (tier, tier.model_copy(update={"epochs": 6, "seconds": 30.0}))
    unknown = tier.model_copy(update={"seconds": None})
    assert [way.seconds for way in forms(unknown, images=200)] == [None] * 8
    everything = tier.model_copy(update={"kind": "all_stages", "folds": 2})
    assert [(way.epochs, way.folds) for way in forms(everything, images=400)] == [(10, 2), (10, 1)]
    views = Tier(kind="views", gain="", views=8, seconds=7.0)
    assert forms(views, images=200) == (views,)


def test_something_cheap_is_tried_after_something_costly_that_did_not_fit() -> None:
    asked = auto("30s", candidates=[{"name": "resnet152"}, {"name": "resnet18"}])
    assert kinds(tried(asked)) == ["frozen", "backbone"]
    assert tried(asked)[1].candidate == 2
    assert "backbone resnet152 is not tried: it takes about" in why_not(asked)


def test_small_images_train_all_stages_at_a_high_rate_before_anything_gentle() -> None:
    assert [tier.lr for tier in tried(auto()) if tier.epochs] == [2e-4, 1e-4, 1e-3]
    assert [tier.lr for tier in tried(auto(images={"size": 112})) if tier.epochs] == [2e-4, 1e-4, 1e-3]
    small_ones = [tier for tier in tried(auto(images={"size": 111})) if tier.epochs]
    assert [(tier.kind, tier.lr) for tier in small_ones] == [
        ("all_stages", 1e-3),
        ("last_stage", 2e-4),
        ("all_stages", 1e-4),
    ]


def test_images_of_few_pixels_begin_at_the_cheapest_size_and_larger_ones_are_tried() -> None:
    tiny = small(short_side=32)
    found = tried(auto(), tiny)
    assert kinds(found) == ["frozen", "size", "size", *kinds(tried(auto(images={"size": 64})))[1:]]
    assert [tier.size for tier in found[:4]] == [128, 160, 224, None]
    for tier in found[:3]:
        cost = Costs(COSTS.decode, COSTS.forward * ((tier.size or 0) / 224) ** 2, 0, 0)
        assert tier.seconds == pytest.approx(passing(200, cost) + fitting(200))  # type: ignore[operator]
    assert [named(tier) for tier in found[:2]] == ["a head on the frozen features", "images resized to 160 pixels"]
    whole, part = (next(t for t in of if t.lr == 1e-3) for of in (tried(auto(), small()), found))
    steps = (part.seconds or 0.0) / (whole.seconds or 1.0)
    assert (128 / 224) ** 2 < steps < 0.5  # all are planned at the cost of that size; decoding costs what it did
    assert why_not(auto(), tiny) == (
        "images are small (the median of their shorter sides is 32 pixels): they are resized to 128 pixels, or to 160 "
        "or 224 where that does clearly better"
    )
    other = tried(auto(backbone={"name": "test_resnet"}), tiny)  # its own is 160
    assert [tier.size for tier in other[:4]] == [128, 160, 224, None]
    assert {tier.seconds for tier in tried(auto(), tiny, None)} == {None}


@pytest.mark.parametrize(
    ("pixels", "keys"),
    [
        (96, {}),
        (None, {}),
        (32, {"images": {"size": 224}}),
        (32, {"backbone": {"name": "resnet50_clip", "weights": {"kind": "random"}}}),
        (32, {"candidates": [{"name": "resnet50_clip", "weights": {"kind": "random"}}]}),
    ],
    ids=["large enough", "not known", "a size is asked for", "no other size is taken", "nor by a candidate"],
)
def test_no_other_size_is_tried_of_others(pixels: int | None, keys: dict[str, Any]) -> None:
    assert "size" not in kinds(tried(auto(**keys), small(short_side=pixels)))
    assert "small" not in why_not(auto(**keys), small(short_side=pixels))


def test_small_images_look_at_several_stages_before_views() -> None:
    found = kinds(tried(auto(images={"size": 64})))
    assert found == ["frozen", "fit", "flip", "stages", "views", "all_stages", "last_stage", "all_stages"]


def test_the_frozen_head_is_tried_even_where_it_takes_longer_than_the_budget() -> None:
    asked, many = auto("10s", candidates=CANDIDATES[:1]), small(train=1000)
    assert kinds(tried(asked, many)) == ["frozen"]
    assert why_not(asked, many).splitlines()[:2] == [
        "a head on the frozen features takes about 48 s, which is more than the budget leaves",
        "backbone resnet18 is not tried: it takes about 25 s, and no time is left",
    ]


def test_the_end_of_the_run_is_kept_back() -> None:
    found = tried(auto(candidates=CANDIDATES[:1]), small(test=0))
    budget = f"{sum(tier.seconds or 0.0 for tier in found[:2]) + FINISH_SECONDS + 0.5:.3f}s"
    assert "backbone" in kinds(tried(auto(budget, candidates=CANDIDATES[:1]), small(test=0)))
    assert "backbone" not in kinds(tried(auto(budget, candidates=CANDIDATES[:1]), small(test=20)))


def test_the_evidence_is_all_images_up_to_two_thousand_and_a_fifth_above() -> None:
    _, (first, *_) = tiers(auto("1h"), small(train=2000), COSTS, views=8)
    assert first == (
        "within 1h, what does best on out-of-fold predictions of all 2000 images that are not for testing ships"
    )
    _, (first, *_) = tiers(auto("1h"), small(train=1900, validation=101), COSTS, views=8)
    assert first == "within 1h, what does best on a held-out fifth of the 2001 images that are not for testing ships"
    few, many = tried(auto(), small(train=2000)), tried(auto(), small(train=2001))
    assert [tier.folds for tier in few if tier.epochs] == [5, 2, 2]
    assert [tier.folds for tier in many if tier.epochs] == [1, 1, 1]


def test_training_is_not_tried_with_a_handful_of_images_of_a_class() -> None:
    assert "all_stages" in kinds(tried(auto(), small(smallest_class=5)))
    for count, said in ((4, "4 images"), (1, "1 image")):
        known = small(smallest_class=count)
        assert not {"last_stage", "all_stages"} & set(kinds(tried(auto(), known)))
        reasons = why_not(auto(), known).splitlines()
        assert reasons[0] == f"training the last stage is not tried: the smallest class has {said}"
        assert len(reasons) == 3
        assert all(reason.endswith(f"is not tried: the smallest class has {said}") for reason in reasons)


@pytest.mark.parametrize(("fit", "other"), [("crop", "squash"), ("squash", "crop"), ("pad", "crop")])
def test_the_other_way_to_make_a_square_is_asked_only_where_there_is_room(fit: str, other: str) -> None:
    images = {"fit": fit}
    (asked,) = (tier for tier in tried(auto(images=images)) if tier.kind == "fit")
    assert asked.fit == other
    frozen = tried(auto())[0].seconds or 0.0
    assert "fit" in kinds(tried(auto(f"{ROOMY * frozen + 0.1:.3f}s", images=images)))
    tight = auto(f"{ROOMY * frozen - 0.1:.3f}s", images=images)
    assert "fit" not in kinds(tried(tight))
    assert "fitted" not in why_not(tight)


def test_mirror_images_are_looked_at_only_where_views_would_be_mirrored() -> None:
    assert "flip" in kinds(tried(auto()))
    assert "flip" not in kinds(tried(auto(images={"augment": {"flip": False}})))
    assert "flip" not in kinds(tried(auto(images={"augment": {"kind": "none"}})))


def test_one_view_is_the_plain_one_and_nothing_new() -> None:
    assert "views" not in kinds(tried(auto(), views=1))
    assert "a head on several views of each image is not tried: there is one view of each" in why_not(auto(), views=1)


def test_without_costs_everything_is_listed_and_the_clock_decides() -> None:
    for known in (small(), small(train=1_000_000)):
        found = tried(auto("10s", candidates=CANDIDATES[:1]), known, None)
        assert kinds(found) == EVERY
        assert {tier.seconds for tier in found} == {None}


def test_views_are_kept_below_the_last_stage_and_made_anew_below_all() -> None:
    last, *others = (tier for tier in tried(auto()) if tier.epochs)
    assert (last.views, last.epochs, last.lr, last.gain) == (8, GENTLY.epochs, GENTLY.lr, GENTLY.gain)
    assert {tier.views for tier in others} == {1}


def test_training_costs_its_folds_and_once_more_all_images() -> None:
    last, every = (tier for tier in tried(auto()) if tier.epochs and tier.gain != ALL.gain)
    assert last.seconds == pytest.approx((5 * 0.8 + 1) * GENTLY.epochs * 200 * COSTS.last)
    once = ALL_GENTLY.epochs * 200 * (COSTS.decode + COSTS.step)
    assert every.seconds == pytest.approx((2 * 0.8 + 1) * once)


def test_every_tier_has_words() -> None:
    words = {kind: named(Tier(kind=kind, gain="", candidate=1, fit="pad", views=4)) for kind in EVERY}  # type: ignore[arg-type]
    assert len(set(words.values())) == len(set(EVERY))
    assert words["all_stages"] == "training all stages, rate 0"
    assert words["fit"] == "images fitted by pad"
    assert words["views"] == "a head on 4 views of each image"
    assert words["backbone"] == "backbone 1"
    assert named(Tier(kind="backbone", candidate=2, gain=""), auto(candidates=CANDIDATES)) == "backbone resnet101"


SECONDS = st.floats(1e-5, 10)


def same(tier: Tier) -> tuple[object, ...]:
    """What makes it the same way to learn, whatever it costs."""
    return tier.kind, tier.candidate, tier.fit, tier.views, tier.lr if tier.kind == "all_stages" else None


@PROFILE
@given(
    budget=st.integers(10, 48 * 3600),
    costs=st.builds(Costs, SECONDS, SECONDS, SECONDS, SECONDS),
    train=st.integers(1, 20_000),
    test=st.integers(0, 5000),
    smallest=st.integers(1, 100),
    views=st.integers(1, 64),
    candidates=st.integers(0, 2),
    flip=st.booleans(),
)
def test_what_is_tried_beyond_the_frozen_head_never_passes_the_budget(
    budget: int, costs: Costs, train: int, test: int, smallest: int, views: int, candidates: int, flip: bool
) -> None:
    asked = auto(f"{budget}s", CANDIDATES[:candidates], images={"augment": {"flip": flip}})
    known = small(train=train, test=test, smallest_class=smallest)
    found, reasons = tiers(asked, known, costs, views=views)
    frozen, *others = found
    assert (frozen.kind, frozen.candidate) == ("frozen", 0)
    finish = FINISH_SECONDS + (passing(test, costs) or 0.0)
    known_seconds = [tier.seconds for tier in found if tier.seconds is not None]
    assert len(known_seconds) == len(found)
    assert not others or finish + sum(known_seconds) <= budget * (1 + 1e-9)
    listed = iter([same(tier) for tier in tiers(asked, known, None, views=views)[0]])
    assert all(same(tier) in listed for tier in found)  # in the same order
    assert {tier.folds for tier in found if tier.epochs} <= {1, 2, 3, 4, 5}
    assert tiers(asked, known, costs, views=views) == (found, reasons)


@PROFILE
@given(budget=st.integers(10, 3600), more=st.integers(0, 3600), train=st.integers(5, 3000))
def test_a_larger_budget_leaves_out_no_more_ways_for_lack_of_time(budget: int, more: int, train: int) -> None:
    less, larger = (tiers(auto(f"{b}s"), small(train=train), COSTS, views=8)[0] for b in (budget, budget + more))
    assert sum(tier.seconds or 0 for tier in less) <= sum(tier.seconds or 0 for tier in larger) + 1e-9
