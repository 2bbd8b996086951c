from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from hpcm.schema import ConfigError
from tests.tuning.searches import make_space, make_trials, report
from tuning import load_space
from tuning.__main__ import main
from tuning.ledger.driver_lock import driver_of, driving
from tuning.ledger.events import Closed, Finished, Proposed, Report, Started
from tuning.ledger.folders import write_experiment
from tuning.ledger.ledger import Ledger
from tuning.results.tables import read_result, survival, trials_table
from tuning.simulation.experiment import simulate_experiment


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage with one interrupted experiment of two trials."""
    space = make_space(tmp_path)
    directory = tmp_path / "storage" / "quick-1"
    write_experiment(directory, space, profile_reason="because", overrides=[])
    ledger = Ledger(directory)
    ledger.open()
    for trial in make_trials(space)[:2]:
        ledger.append(Proposed(trial.number, params=trial.params))
        ledger.append(Started(trial.number))
        for line in trial.reports:
            ledger.append(Report(trial.number, metrics=line))
    ledger.append(Finished(0))
    ledger.close(Closed(interrupted=True))
    return directory.parent


def test_one_row_per_trial_with_its_parameters(tmp_path: Path) -> None:
    space = make_space(tmp_path)
    table = trials_table(make_trials(space), space)
    assert list(table.index) == [0, 1, 2, 3]
    assert list(table["state"]) == ["finished", "finished", "stopped", "failed"]
    assert table.loc[1, "balancer.gamma"] == 1.0e-3
    assert pd.isna(table.loc[0, "balancer.gamma"])
    assert table.loc[2, "val_rd_cost"] == pytest.approx(4 + 1 / 3)
    assert set(space.parameters) <= set(table.columns)


def test_runs_of_the_baseline_have_its_parameters_alone(tmp_path: Path) -> None:
    """Without those that are active in every trial of the space and no field of the baseline."""
    space = load_space(
        "phase1", "laptop", ["budget.trials=2", "confirm.top=1", "confirm.seeds=[1,2]"]
    )
    result = simulate_experiment(space, "family:good", storage=str(tmp_path))
    assert result.confirmation is not None
    confirming = [run for one in result.confirmation.finalists for run in one.runs.values()]
    table = trials_table([*result.references, *result.trials, *confirming], space)
    of_baseline = [run.number for run in result.references]
    of_baseline += [run.number for run in confirming if run.confirms in of_baseline]
    assert len(of_baseline) == 3 + len(space.confirm.seeds)
    assert set(table.loc[of_baseline, "optimizer.name"]) == {"adam"}
    assert table.loc[of_baseline, "clip_max_norm"].isna().all()
    assert table.drop(of_baseline)["clip_max_norm"].notna().all()


def test_a_trial_at_a_rung_waits(tmp_path: Path) -> None:
    space = make_space(tmp_path)
    trials = make_trials(space)
    trials[2].state, trials[2].paused = "pending", True
    assert trials_table(trials, space).loc[2, "state"] == "waiting"


def test_without_a_command_the_commands_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert "all trials as CSV" in shown.err
    assert not shown.out


def test_survival_counts_who_reached_a_rung_and_who_ended_there(tmp_path: Path) -> None:
    space = make_space(tmp_path)
    assert survival(make_trials(space), space) == [
        {"rung": 1, "reached": 4, "stopped": 0, "failed": 1},
        {"rung": 3, "reached": 3, "stopped": 1, "failed": 0},
        {"rung": 9, "reached": 2, "stopped": 0, "failed": 0},
    ]


def test_an_experiment_is_read_from_its_ledger(storage: Path) -> None:
    before = (storage / "quick-1" / "ledger.jsonl").read_bytes()
    result = read_result("last", str(storage))
    assert result.info.study == str(storage / "quick-1" / "study.journal")
    assert result.info.name == "quick-1"
    assert result.interrupted
    assert not result.complete
    assert result.best is not None
    assert result.best.reports[-1] == report(9, 1.2 + 1 / 9)
    assert (storage / "quick-1" / "ledger.jsonl").read_bytes() == before


def test_status_prints_all_of_it(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "quick-1", "--storage", str(storage)]) == 0
    shown = capsys.readouterr().out
    assert "what it tries" in shown
    assert "reached  stopped  failed" in shown
    assert "interrupted; continue with python tune.py --resume quick-1" in shown


def test_trials_prints_csv(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trials", "last", "--storage", str(storage)]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("trial,source,state,")


def test_an_unknown_experiment_names_the_nearest(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "quick-2", "--storage", str(storage)]) == 2
    assert capsys.readouterr().err.startswith("quick-2: no such experiment in")
    with pytest.raises(ConfigError, match=r"Did you mean 'quick-1'\?"):
        read_result("quick-2", str(storage))


def test_a_search_under_way_is_not_called_one_to_continue(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with driving(storage / "quick-1"):
        assert main(["status", "last", "--storage", str(storage)]) == 0
        shutil.copytree(storage / "quick-1", storage / "copy-1")
        assert driver_of(storage / "quick-1")
        assert not driver_of(storage / "copy-1")
    printed = capsys.readouterr().out
    shutil.rmtree(storage / "copy-1")
    assert f"search quick-1: under way, run by process {os.getpid()} on " in printed
    assert "continue with" not in printed
    assert main(["status", "last", "--storage", str(storage)]) == 0
    assert "search quick-1: interrupted; continue with python tune.py --resume quick-1" in (
        capsys.readouterr().out
    )
