"""Effects of parameters at an epoch that many trials have, edges of ranges, the incumbent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tuning.lr_space import lr_space
from tests.tuning.searches import make_space, make_trials, report
from tuning.ledger.records import TrialRecord
from tuning.results.effects import common_epoch, edge_hits, scores_at, trend
from tuning.results.incumbent import incumbent
from tuning.search.importance import LEAST, importances
from tuning.spaces.space import SearchSpace


def trial(number: int, rate: float, scores: dict[int, float]) -> TrialRecord:
    reports = [report(epoch, value) for epoch, value in scores.items()]
    return TrialRecord(f"x-{number}", number, {"optimizer.lr": rate}, reports=reports)


@pytest.fixture
def rates(tmp_path: Path) -> SearchSpace:
    """Rungs 1, 3, 9."""
    return lr_space(tmp_path)


@pytest.mark.parametrize(
    ("reached", "epoch"),
    [
        ([], None),
        ([0, 0], None),
        ([1, 1, 1], 1),
        ([9, 3, 3, 1], 3),
        ([9, 9, 3, 1], 9),
        ([9] + [1] * 9, 1),
    ],
)
def test_the_epoch_that_half_of_the_trials_have(
    rates: SearchSpace, reached: list[int], epoch: int | None
) -> None:
    trials = [
        trial(n, 1e-3, {e: 1.0 for e in range(1, last + 1)}) for n, last in enumerate(reached)
    ]
    assert common_epoch(trials, rates) == epoch
    if epoch:
        assert len(scores_at(trials, rates, epoch)) == sum(last >= epoch for last in reached)


def test_a_score_that_is_no_number_is_none(rates: SearchSpace) -> None:
    assert scores_at([trial(0, 1e-3, {1: float("nan")}), trial(1, 1e-3, {1: 2.0})], rates, 1) == {
        1: 2.0
    }


@pytest.mark.parametrize(
    ("rate", "side"),
    [(1e-6, "lower"), (1.2e-6, "lower"), (1e-4, None), (8e-3, "upper"), (1e-2, "upper")],
)
def test_an_edge_is_five_percent_of_the_scale(
    rates: SearchSpace, rate: float, side: str | None
) -> None:
    """A logarithmic range of four decades: its ends reach to 1.6e-6 and from 6.3e-3 on."""
    found = [str(hit) for hit in edge_hits(trial(0, rate, {}), rates)]
    assert len(found) == (side is not None)
    assert all(f"at the {side} edge of its range (1e-06 to 0.01)" in text for text in found)


def test_a_trend_of_medians() -> None:
    points = [(float(k), 10.0 * k) for k in range(1, 31)]
    assert trend(points) == [(3.5, 35.0), (9.5, 95.0), (15.5, 155.0), (21.5, 215.0), (27.5, 275.0)]
    assert trend(points[:5]) == []


def test_the_incumbent_is_of_the_last_epoch(tmp_path: Path) -> None:
    space = make_space(tmp_path)
    trials = {one.number: one for one in make_trials(space)}
    timeline = [
        (float(k), n, int(r["epoch"]))
        for k, (n, r) in enumerate((n, r) for n in (0, 3, 1, 2) for r in trials[n].reports)
    ]
    epoch, steps = incumbent(timeline, trials, space)
    assert epoch == 9
    assert [(step.trial, round(step.score, 3)) for step in steps] == [(0, 1.611), (1, 1.311)]
    assert steps[0].hours == 8.0
    assert incumbent([], {}, space) == (None, [])


def test_what_decides_is_found(tmp_path: Path) -> None:
    """The choice decides, the rate is noise; a conditional one is judged where it is active."""
    space = make_space(tmp_path)
    trials, scores = [], {}
    for number in range(40):
        famo = number % 2 == 0
        params = {
            "optimizer.name": ("adam", "cautious_adam")[number // 2 % 2],
            "optimizer.lr": 10 ** (-5 + 3 * ((number * 7) % 40) / 40),
            "balancer.name": "famo" if famo else "sum",
        }
        if famo:
            params["balancer.gamma"] = 10 ** (-5 + 3.4 * ((number * 3) % 40) / 40)
        trials.append(TrialRecord(f"x-{number}", number, params))
        scores[number] = (1.0 if famo else 2.0) + 0.001 * number
    rows = {one.path: one for one in importances(trials, scores, space)}
    assert rows["balancer.name"].share > 0.8
    assert rows["balancer.name"].low > rows["optimizer.lr"].high
    assert rows["balancer.gamma"].conditional
    assert rows["balancer.gamma"].trials == 20
    assert all(0 <= one.low <= one.high <= 1 for one in rows.values())
    again = {one.path: one for one in importances(trials, scores, space)}
    assert again == rows


def test_too_few_trials_say_nothing(rates: SearchSpace) -> None:
    trials = [trial(n, 10 ** -(3 + n / 10), {1: float(n)}) for n in range(LEAST)]
    assert len(importances(trials, scores_at(trials, rates, 1), rates)) == 1
    assert importances(trials, scores_at(trials[1:], rates, 1), rates) == []
