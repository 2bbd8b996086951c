"""Two metrics and bounds: the front, who may be the best, and what the summary says of both."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from tests.tuning.searches import make_info, make_space
from tuning.ledger.records import TrialRecord
from tuning.ledger.state import ExperimentState
from tuning.results.constraints import constraints_text, feasible, violations
from tuning.results.outcome import ExperimentResult, best_of, experiment_result
from tuning.results.pareto import pareto_front
from tuning.search.optuna_encoder import OptunaEncoder
from tuning.spaces.sections import Bound, Objective
from tuning.spaces.space import SearchSpace
from tuning.watching.study_writer import StudyWriter
from tuning.watching.summary import summary_lines

POINTS = [  # rd_cost, bpp, PSNR
    (1.50, 0.50, 31.0),  # the prior: beaten by trial 2 in both
    (1.30, 0.60, 33.0),
    (1.40, 0.40, 31.0),
    (1.45, 0.60, 33.0),  # equal to trial 1
    (1.20, 0.70, 32.0),  # the best by rd_cost, beaten by trial 1
    (1.60, 0.30, 28.0),
]


def space_with(folder: Path, **objective: Any) -> SearchSpace:
    return replace(make_space(folder), objective=Objective(**objective))


def trials(space: SearchSpace) -> list[TrialRecord]:
    found = [
        TrialRecord(
            f"x-{number}",
            number,
            space.prior() | {"optimizer.lr": 1.0e-4 * (number + 1)},
            state="finished",
            reports=[{"epoch": 9.0, "val_rd_cost": cost, "val_bpp": bpp, "val_psnr": psnr}],
        )
        for number, (cost, bpp, psnr) in enumerate(POINTS)
    ]
    early = {"epoch": 1.0, "val_rd_cost": 9.0, "val_bpp": 0.01, "val_psnr": 20.0}
    return [*found, TrialRecord("x-6", 6, space.prior(), state="stopped", reports=[early])]


def result_of(space: SearchSpace, folder: Path) -> ExperimentResult:
    state = ExperimentState("x")
    state.trials = {trial.number: trial for trial in trials(space)}
    return experiment_result(make_info(space, folder), state)


def test_the_front_is_of_whole_trials_that_no_other_beats(tmp_path: Path) -> None:
    space = space_with(tmp_path, pareto=("val_bpp", "val_psnr"))
    assert [t.number for t in pareto_front(trials(space), space)] == [5, 2, 1]
    turned = space_with(tmp_path, pareto=("val_psnr", "val_bpp"))
    assert [t.number for t in pareto_front(trials(turned), turned)] == [1, 2, 5]
    assert pareto_front(trials(space), make_space(tmp_path)) == []


def test_a_trial_without_a_number_is_in_no_front(tmp_path: Path) -> None:
    space = space_with(tmp_path, pareto=("val_bpp", "val_psnr"))
    records = trials(space)
    broken = TrialRecord("x-7", 7, space.prior(), state="finished")
    broken.reports = [{"epoch": 9.0, "val_bpp": math.nan, "val_psnr": 99.0}]
    assert [t.number for t in pareto_front([broken, *records], space)] == [5, 2, 1]


def test_a_front_keeps_the_constraints(tmp_path: Path) -> None:
    space = space_with(
        tmp_path, pareto=("val_bpp", "val_psnr"), constraints={"val_psnr": Bound(min=30.0)}
    )
    assert [t.number for t in pareto_front(trials(space), space)] == [2, 1]


@pytest.mark.parametrize(
    ("bound", "best"),
    [({"max": 0.65}, 1), ({"max": 0.55}, 2), ({"min": 0.65}, 4), ({"min": 0.4, "max": 0.5}, 2)],
)
def test_the_best_keeps_the_constraints(tmp_path: Path, bound: dict[str, float], best: int) -> None:
    space = space_with(tmp_path, constraints={"val_bpp": Bound(**bound)})
    found = best_of(trials(space), space)
    assert found is not None
    assert found.number == best
    assert best_of(trials(space), make_space(tmp_path)).number == 4  # type: ignore[union-attr]


def test_how_far_a_bound_is_missed(tmp_path: Path) -> None:
    objective = Objective(
        constraints={"val_bpp": Bound(min=0.2, max=0.5), "val_ms_ssim_db": Bound(min=10.0)}
    )
    missed = violations({"val_bpp": 0.6}, objective)
    assert missed["val_bpp min"] == pytest.approx(-2.0)
    assert missed["val_bpp max"] == pytest.approx(0.2)
    assert missed["val_ms_ssim_db min"] == 1.0  # not reported
    assert violations({"val_bpp": math.nan}, objective)["val_bpp max"] == 1.0
    assert constraints_text(objective) == (
        "val_bpp at least 0.2, val_bpp at most 0.5, val_ms_ssim_db at least 10"
    )
    trial = TrialRecord("x-0", 0, {}, reports=[{"epoch": 1.0, "val_rd_cost": 1.0, "val_bpp": 0.5}])
    assert not feasible(trial, objective)
    assert feasible(trial, Objective(constraints={"val_bpp": Bound(max=0.5)}))


def test_the_summary_shows_the_front_and_says_when_there_is_no_best(tmp_path: Path) -> None:
    space = space_with(tmp_path, pareto=("val_bpp", "val_psnr"))
    shown = summary_lines(result_of(space, tmp_path), None)
    start = shown.index("bpp and PSNR: 3 trials that no other beats in both")
    assert [line.split()[:2] for line in shown[start + 2 : start + 5]] == [
        ["trial", "5"],
        ["trial", "2"],
        ["trial", "1"],
    ]
    assert "optimizer.lr 0.0003" in shown[start + 3]
    impossible = space_with(tmp_path, constraints={"val_bpp": Bound(max=0.1)})
    result = result_of(impossible, tmp_path)
    assert result.best is None
    lines = summary_lines(result, None)
    assert "no trial that went furthest keeps val_bpp at most 0.1: there is no best" in lines


def test_the_study_that_people_look_at_has_both_values_and_the_bounds(tmp_path: Path) -> None:
    """A pruned trial is told as pruned there; a changed pair of metrics is another study."""
    bound = {"val_bpp": Bound(max=0.5)}
    space = space_with(tmp_path, pareto=("val_bpp", "val_psnr"), constraints=bound)
    outcomes, storage = OptunaEncoder(space), InMemoryStorage()
    records = trials(space)
    name = outcomes.study_name("x")
    StudyWriter(name, "me", outcomes, storage).reconcile(records)
    study = optuna.load_study(study_name=name, storage=storage)
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert [trial.values for trial in study.trials[:6]] == [[b, p] for _, b, p in POINTS]
    assert study.trials[6].state == TrialState.PRUNED
    assert study.trials[1].constraints == {"val_bpp max": pytest.approx(0.2)}
    assert sorted(trial.number for trial in study.best_trials) == [2, 5]
    single = OptunaEncoder(make_space(tmp_path))
    assert (single.study_name("x"), name) == ("x", "x val_bpp val_psnr")
    StudyWriter("x", "me", single, storage).reconcile(records)
    assert len(storage.get_all_studies()) == 2
