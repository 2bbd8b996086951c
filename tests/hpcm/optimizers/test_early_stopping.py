"""Early stopping per scale, against golden traces and where it is better than published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hpcm.optimizers.early_stopping import SCALES, EarlyStopping, ScaleStopper

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/balanced_early_stopping.json").read_text())


def golden_config(kwargs: dict[str, Any]) -> EarlyStopping:
    return EarlyStopping(
        patience=kwargs.get("patience", kwargs.get("initial_patience")),
        min_delta=kwargs["min_delta"],
        increase=kwargs.get("patience_increase", 0),
        max_patience=kwargs.get("max_patience", 200),
        threshold=kwargs.get("improvement_threshold", 0.01),
        published=True,
    )


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: c["cls"])
def test_published_traces(case: dict[str, Any]) -> None:
    stopper, expected = golden_config(case["kwargs"]).build(), case["expected"]
    for metrics, row in zip(GOLDEN["metrics"], expected["per_epoch"], strict=True):
        stopper.observe(metrics)
        assert {s: n in stopper.stopped for n, s in enumerate(SCALES, 1)} == row["stop"]
        assert stopper.counter == row["counters"]
        assert set(stopper.patience.values()) == {row["patience"]}
    assert stopper.best == pytest.approx(expected["best_scores"])
    assert stopper.all_stopped == expected["all"]


def creeping(epoch: int) -> dict[str, float]:
    """s1 improves slowly for ever; s2 and s3 are flat."""
    return {"s1": 1 - 5e-4 * epoch, "s2": 1.0, "s3": 1.0}


@pytest.mark.parametrize(("published", "expected"), [(True, 20), (False, 5)])
def test_own_patience_stops_a_flat_scale_in_time(published: bool, expected: int) -> None:
    """Published, s1's slow progress lengthens the patience of the others."""
    config = EarlyStopping(patience=5, increase=3, max_patience=20, published=published)
    stopper = config.build()
    for epoch in range(expected):
        stopper.observe(creeping(epoch))
        assert stopper.stopped == ()
    stopper.observe(creeping(expected))
    assert stopper.stopped == (2, 3)
    assert not stopper.all_stopped


@pytest.mark.parametrize("published", [True, False])
def test_the_last_ten_improvements_decide_on_more_patience(published: bool) -> None:
    """A large one keeps the mean above the threshold until ten small ones have followed it."""
    config = EarlyStopping(patience=5, increase=1, max_patience=50, published=published)
    stopper = config.build()
    losses = [3.0, 2.0, *(2.0 - 0.001 * small for small in range(1, 13))]
    patience = []
    for loss in losses:
        stopper.observe(dict.fromkeys(SCALES, loss))
        patience.append(stopper.patience["s3"])
    assert patience[:11] == [5] * 11
    assert patience[11] > 5


def test_off_by_default() -> None:
    stopper = EarlyStopping().build()
    for _ in range(300):
        stopper.observe(dict.fromkeys(SCALES, 1.0))
    assert stopper.stopped == ()


def test_all_scales_stop_and_stay_stopped() -> None:
    stopper = EarlyStopping(patience=3).build()
    for expected in ((), (), (), (1, 2, 3), (1, 2, 3)):
        stopper.observe(dict.fromkeys(SCALES, 1.0))
        assert stopper.stopped == expected
    stopper.observe(dict.fromkeys(SCALES, 0.1))
    assert stopper.all_stopped


def test_a_loss_that_is_not_a_number_is_no_improvement() -> None:
    stopper = EarlyStopping(patience=2, increase=1).build()
    for _ in range(3):
        stopper.observe(dict.fromkeys(SCALES, float("nan")))
    assert stopper.all_stopped


@pytest.mark.parametrize("published", [True, False])
def test_a_restored_stopper_goes_on_the_same(published: bool) -> None:
    config = EarlyStopping(patience=5, increase=3, max_patience=20, published=published)
    whole, half = config.build(), config.build()
    rows = GOLDEN["metrics"]
    for row in rows[:12]:
        whole.observe(row)
        half.observe(row)
    restored = ScaleStopper(config)
    restored.load_state_dict(json.loads(json.dumps(half.state_dict())))
    for row in rows[12:]:
        restored.observe(row)
        whole.observe(row)
        assert restored.stopped == whole.stopped
        assert restored.log() == whole.log()
    assert restored.state_dict() == whole.state_dict()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patience": -1}, "patience is -1"),
        ({"min_delta": -1e-3}, "min_delta is -0.001"),
        ({"threshold": 0.0}, "threshold is 0.0"),
        ({"patience": 50, "increase": 5, "max_patience": 20}, "max_patience is 20"),
    ],
)
def test_refusals(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**values)
