"""The learning rate's schedule and the clock: what they refuse and where they stand."""

from __future__ import annotations

from typing import Any

import pytest

from hpcm.schedules import LR_SCHEDULES, Clock, LrSchedule, published
from hpcm.schema import ConfigError, load


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"warmup": 1.0}, "lr_schedule: top level: warmup is 1.0; must be in"),
        ({"name": "cosine", "final": 1.5}, "final is 1.5; must be in"),
        ({"final": 0.1}, "'published' has no final value; leave it out"),
        ({"name": "constant", "final": 0.1}, "'constant' has no final value; leave it out"),
        ({"name": "cosin"}, "'cosin' is unknown; allowed: constant, cosine, linear"),
        ({"warm_up": 0.1}, "warm_up: unknown key. Did you mean 'warmup'"),
    ],
)
def test_refuses(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(LrSchedule, given, "lr_schedule")


@pytest.mark.parametrize("name", LR_SCHEDULES)
def test_stays_within_its_ends(name: str) -> None:
    shape = LR_SCHEDULES[name]
    values = [shape.of(t, 0.3) for t in (-1.0, 0.0, 0.25, 0.5, 0.75, 1.0, 7.0)]
    assert values[0] == values[1] == 1.0
    assert values == sorted(values, reverse=True)
    assert values[-1] == values[-2]
    assert not shape.has_final or values[-1] == pytest.approx(0.3)


@pytest.mark.parametrize("name", LR_SCHEDULES)
def test_the_final_ratio_plays_the_part_that_it_says(name: str) -> None:
    shape = LR_SCHEDULES[name]
    courses = [[shape.of(t / 10, final) for t in range(11)] for final in (0.3, 0.1)]
    assert (courses[0] != courses[1]) == shape.has_final


def test_the_published_stairs_start_where_they_say() -> None:
    """In the epochs of a run of 3000."""
    steps = {0: 1.0, 2749: 1.0, 2750: 0.3, 2849: 0.3, 2850: 0.1, 2949: 0.1, 2950: 0.01, 3000: 0.01}
    assert {epoch: published(epoch / 3000, 1.0) for epoch in steps} == steps


@pytest.mark.parametrize("horizon", [1, 7, 60, 999, 3000, 3001])
def test_clock_reads_the_horizon_from_progress(horizon: int) -> None:
    for epoch in range(1, horizon + 1, max(1, horizon // 50)):
        clock = Clock.at(epoch / horizon, epoch)
        assert clock.horizon == horizon
        assert clock.now == epoch / horizon
        assert clock.after(0.0) == epoch / horizon


def test_published_clock_counts_epochs_of_3000() -> None:
    assert Clock.at(0.5, 500, published=True).now == 500 / 3000
    assert Clock.at(0.5, 500, published=True).after(100 / 3000) == pytest.approx(400 / 900)
    assert Clock.at(2.0, 6000, published=True).now == 2.0
