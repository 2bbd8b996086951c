"""Finalists on fresh seeds: who they are, how they are run, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from hpcm import ConfigError
from tests.tuning.confirm_search import Confirming, all_go_on
from tests.tuning.lr_space import METRIC, lr_space
from tuning.ledger.ledger import Ledger
from tuning.on_ray.trainable import _config
from tuning.on_ray.trial_keys import SEED
from tuning.results.confirm import finalists
from tuning.results.confirm_text import confirm_lines, confirmed_text
from tuning.search.decisions import Decision, Start
from tuning.spaces.confirm_checks import most_runs
from tuning.watching.summary import summary_lines


def test_a_confirmation_from_start_to_end(tmp_path: Path) -> None:
    run = all_go_on(tmp_path)
    run.play_trials()
    assert not run.result(tmp_path).complete  # nobody is confirmed yet
    asked = []
    for start in run.starts():
        asked.append(start)
        run.play(start, run.run_score(start))
    runs = run.ledger.confirmations()
    assert [(r.number, r.confirms, r.seed) for r in runs] == [
        (5, 0, 7),
        (6, 2, 7),
        (7, 3, 7),
        (8, 0, 8),
        (9, 2, 8),
        (10, 3, 8),
    ]
    assert all(r.source == "confirm" and r.state == "finished" for r in runs)
    assert asked[1] == Start(6, run.ledger.trials[2].params, seed=7)
    assert len(run.ledger.records()) == 5
    result = run.result(tmp_path)
    assert (result.complete, result.confirmation is not None) == (True, True)
    assert result.best is run.ledger.trials[3]  # not the luckiest, trial 2
    assert len(result.trials) == 5
    run.ledger.close()
    reread = Ledger(run.ledger.path.parent)
    assert (reread.records(), reread.confirmations()) == (run.ledger.records(), runs)


def test_what_is_said_of_the_finalists(tmp_path: Path) -> None:
    run = all_go_on(tmp_path)
    run.play_trials()
    run.confirm()
    found = run.result(tmp_path).confirmation
    assert found is not None
    prior, second, third = found.finalists
    spread = second.spread(METRIC)
    assert spread is not None
    assert spread.mean == pytest.approx(mean([1.55, 1.35]))
    assert spread.deviation == pytest.approx(stdev([1.55, 1.35]))
    against = third.difference(prior, METRIC)
    assert against is not None
    assert against.values == pytest.approx((-0.6, -0.6))
    assert against.deviation == pytest.approx(0, abs=1e-12)  # the seeds' share is gone
    assert confirm_lines(found) == [
        "confirmed on seeds 7, 8: rd_cost at epoch 9",
        "         n  mean    sd      to the prior, by seed: mean  sd",
        "prior    2  2.0000  0.1414  -                            -",
        "trial 2  2  1.4500  0.1414  -0.5500 (-27.50 %)           0.0000",
        "trial 3  2  1.4000  0.1414  -0.6000 (-30.00 %)           0.0000",
        "best by mean: trial 3",
    ]
    assert confirmed_text(found, third) == (
        "rd_cost 1.4000, sd 0.1414, over 2 fresh seeds; to the prior -0.6000 (-30.00 %), sd 0.0000"
    )
    assert "best by mean: trial 3" in summary_lines(run.result(tmp_path), None)
    run.ledger.close()


@pytest.mark.parametrize("scheduler", ["asha", "promote"])
def test_no_rung_stops_a_run_and_no_rung_counts_it(tmp_path: Path, scheduler: str) -> None:
    """The worst score there is: a rung would end it, or make it wait."""
    run = Confirming(
        tmp_path,
        scheduler={"name": scheduler, "reduction_factor": 3},
        fidelity={"min": 3},
        budget={"trials": 12},
    )
    for start in run.starts():
        if start.seed is None:
            run.play(start, 1.0 + 1 / (1 + start.trial))
        else:
            assert run.play(start, 50.0) is Decision.FINISH
    assert run.ledger.confirmations()
    compared = {n for there in run.ledger.rungs.values() for n in there}
    assert compared == {trial.number for trial in run.ledger.records()}
    run.ledger.close()


def test_a_finalist_that_fails_on_a_seed_is_not_the_best(tmp_path: Path) -> None:
    run = all_go_on(tmp_path)
    run.play_trials()
    for start in run.starts():
        if (run.ledger.trials[start.trial].confirms, start.seed) == (3, 8):
            run.search.gave_up(start.trial, "diverged: inf", diverged=True)
        else:
            run.play(start, run.run_score(start))
    result = run.result(tmp_path)
    assert (result.complete, result.best) == (True, run.ledger.trials[2])
    lines = confirm_lines(result.confirmation)  # type: ignore[arg-type]
    assert lines[4].endswith("1 run failed")
    run.ledger.close()


def test_constraints_hold_for_finalists_and_for_their_means(tmp_path: Path) -> None:
    bounds = {"constraints": {"val_bpp": {"max": 0.72, "min": 0.65}}}
    run = all_go_on(tmp_path, objective=bounds)
    run.play_trials()
    records = run.ledger.records()
    assert [t.number for t in finalists(records, run.space)] == [3]  # 0.7; trial 2 has 0.6
    for start in run.starts():
        run.play(start, 1.6)  # 0.8 bpp on every seed
    result = run.result(tmp_path)
    assert result.confirmation is not None
    assert result.confirmation.best is None
    assert any("none is confirmed" in line for line in summary_lines(result, None))
    run.ledger.close()


def test_the_run_trains_the_finalists_config_on_its_seed(tmp_path: Path) -> None:
    space = lr_space(tmp_path)
    flat = {"trial": 9, "optimizer.lr": 1.0e-3}
    plain, again = _config(flat, space), _config(flat | {SEED: 7}, space)
    assert (plain.seed, again.seed) == (0, 7)
    assert again.optimizer.lr == plain.optimizer.lr == 1.0e-3


def test_nothing_is_run_again_unless_asked_for(tmp_path: Path) -> None:
    run = all_go_on(tmp_path, confirm={"top": 0})
    run.play_trials()
    assert list(run.starts()) == []
    assert most_runs(run.space) == 0
    result = run.result(tmp_path)
    assert (result.complete, result.confirmation) == (True, None)
    assert result.best is run.ledger.trials[2]
    run.ledger.close()


def test_a_finalist_that_misses_a_constraint_is_not_said_to_be_missing(tmp_path: Path) -> None:
    bounds = {"constraints": {"val_bpp": {"max": 0.1}}}
    run = all_go_on(tmp_path, objective=bounds)
    run.play_trials()
    lines = summary_lines(run.result(tmp_path), None)
    assert any(
        line.startswith("nothing to confirm: no trial but the prior came to epoch 9 and keeps ")
        for line in lines
    )
    run.ledger.close()


def test_without_a_finalist_there_is_nothing_to_confirm(tmp_path: Path) -> None:
    run = all_go_on(tmp_path, budget={"trials": 1}, confirm={"top": 2, "seeds": [7]})
    run.play(run.next(), 1.0)
    assert list(run.starts()) == []
    result = run.result(tmp_path)
    assert result.complete
    lines = summary_lines(result, None)
    assert "nothing to confirm: no trial but the prior came to epoch 9" in lines
    run.ledger.close()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"confirm": {"top": 2, "seeds": [0, 1]}}, r"confirm.seeds: \[0, 1\]; 0 is the search's"),
        ({"confirm": {"top": 2, "seeds": [1, 1]}}, r"confirm.seeds: \[1, 1\]; must be different"),
        ({"confirm": {"top": 2, "seeds": []}}, r"confirm.seeds: \[\]; must be different"),
        ({"confirm": {"top": -1}}, r"confirm.top: -1; must be 0 or more"),
        (
            {"confirm": {"top": 2}, "scheduler": {"name": "pbt"}},
            "with pbt a trial's values change while it trains",
        ),
    ],
)
def test_what_cannot_be_confirmed_is_refused(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        lr_space(tmp_path, **sections)
