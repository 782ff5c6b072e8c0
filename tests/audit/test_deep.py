"""What a network says, as values."""

import json
from dataclasses import replace

import numpy as np

from finetune.audit.deep import LeakEffect, Measured
from tests.audit.toys import asked_deeply, known, scene, seen


def test_as_json_it_has_its_schema() -> None:
    deep = asked_deeply(known({f"{name}/{n}": seen(scene(n)) for name in "ab" for n in range(3)}))
    score = {"value": 0.9, "low": 0.8, "high": 1.0}
    assert deep.to_dict() == {
        "network": "a network", "images": 6, "held_out": 6, "reason": "", "accuracy": score,
        "balanced_accuracy": score, "auroc": None, "test": None,
    }  # fmt: skip
    one = Measured(0.123456, -0.1, 0.2)
    whole = replace(deep, leak=LeakEffect(10, 2, one, one, one)).to_dict()["test"]
    shown = {"value": 0.1235, "low": -0.1, "high": 0.2}
    assert whole == {"images": 10, "leaked": 2, "all": shown, "without_leaked": shown, "difference": shown}
    assert replace(deep, leak=LeakEffect(2, 2, one, None, None)).to_dict()["test"]["difference"] is None
    json.dumps(deep.to_dict(), allow_nan=False)


def test_skill_and_what_was_held_out_follow() -> None:
    deep = asked_deeply(known({f"{name}/{n}": seen(scene(n)) for name in "ab" for n in range(3)}))
    assert deep.skill == 0.4
    rows = deep.probabilities.copy()
    rows[2, 0] = np.nan
    assert replace(deep, probabilities=rows).held_out.tolist() == [True, True, False, True, True, True]
    assert replace(deep, balanced_accuracy=None).skill is None
