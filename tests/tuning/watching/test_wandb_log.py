from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import wandb

from hpcm.schema import ConfigError
from tests.tuning.searches import make_info, make_space, make_trials, report
from tests.wandb_files import history, read
from tuning.ledger.records import ExperimentInfo, TrialRecord
from tuning.watching.wandb_log import GROUPS, WandbLog, WandbRuns, wandb_mode


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the service's process takes its time to start."""
    monkeypatch.setattr(WandbRuns, "at_the_end", 240.0)
    monkeypatch.setattr("tuning.watching.wandb_log.SLOWEST_ANSWER", 200.0)


@pytest.fixture
def info(tmp_path: Path) -> ExperimentInfo:
    return make_info(make_space(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, None),
        ({"WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": "x"}, None),
        ({"WANDB_API_KEY": "x"}, "online"),
        ({"WANDB_MODE": "offline", "WANDB_API_KEY": "x"}, "offline"),
    ],
)
def test_mode_follows_the_environment(environment: dict[str, str], mode: str | None) -> None:
    assert wandb_mode(environment) == mode


def test_an_unknown_mode_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"WANDB_MODE is 'ofline'\. Did you mean 'offline'\?"):
        wandb_mode({"WANDB_MODE": "ofline"})


def test_every_group_that_a_run_reports_is_sent() -> None:
    """Those of the table in docs/architecture.md, which is what a run reports."""
    page = (Path(__file__).parents[3] / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+/)` \|", page.partition("## Logged names")[2], re.MULTILINE)
    assert len(rows) > 5
    assert set(rows) <= set(GROUPS)


def test_offline_writes_every_report_once_per_trial(info: ExperimentInfo) -> None:
    log = WandbLog(info, "offline", tell=pytest.fail)
    trials = make_trials(info.space)
    log.update(trials)
    log.update(trials)
    log.close()
    files = sorted(log.directory.glob("offline-run-*/run-*.wandb"))
    assert [file.name for file in files] == [f"run-quick-x-{n}.wandb" for n in range(4)]
    records = list(read(files[2]))
    steps = [history(r) for r in records if r.WhichOneof("record_type") == "history"]
    assert [float(step["epoch"]) for step in steps] == [1, 2, 3]
    assert float(steps[2]["train/loss"]) == pytest.approx(2 * (4 + 1 / 3))
    runs = [r.run for r in records if r.WhichOneof("record_type") == "run"]
    assert runs[0].run_group == "quick-x"
    assert runs[0].project == "hpcm-tune"
    assert "optimizer.lr" in {item.key for item in runs[0].config.update}
    summary = {item.key: item.value_json for r in records for item in r.summary.update}
    assert summary["state"] == '"stopped"'
    assert summary["rung_stopped_at"] == "3"


def test_a_resumed_run_keeps_its_id_and_ends_complete(info: ExperimentInfo) -> None:
    trial = TrialRecord(id="quick-x-0000", number=0, params={}, state="running")
    trial.reports.append(report(1, 2.0))
    first = WandbLog(info, "offline")
    first.update([trial])
    first.close()
    ended = TrialRecord(id="quick-x-0001", number=1, params={}, state="finished")
    second = WandbLog(info, "offline", before=[trial, ended])
    trial.reports.append(report(2, 1.0))
    trial.state = "finished"
    second.update([trial, ended])
    second.close()
    files = sorted(
        second.directory.glob("offline-run-*/run-*.wandb"), key=lambda f: f.stat().st_mtime
    )
    assert [file.name for file in files] == ["run-quick-x-0.wandb"] * 2
    steps = [history(r) for r in read(files[1]) if r.WhichOneof("record_type") == "history"]
    assert [float(step["epoch"]) for step in steps] == [1, 2]


def test_a_trial_that_waits_closes_its_run_and_goes_on_in_it(info: ExperimentInfo) -> None:
    trial = TrialRecord(id="quick-x-0000", number=0, params={}, state="running")
    trial.reports.append(report(1, 2.0))
    log = WandbLog(info, "offline")
    log.update([trial])
    trial.state, trial.paused = "pending", True
    log.update([trial])
    log.close()
    waiting = WandbLog(info, "offline", before=[trial])  # a resume writes nothing of it
    waiting.update([trial])
    waiting.close()
    assert len(list(log.directory.glob("offline-run-*"))) == 1
    promoted = WandbLog(info, "offline", before=[trial])
    trial.state, trial.paused = "running", False
    trial.reports.append(report(2, 1.0))
    promoted.update([trial])
    promoted.close()
    files = sorted(log.directory.glob("offline-run-*/*.wandb"), key=lambda f: f.stat().st_mtime)
    assert [epochs(file) for file in files] == [[1], [1, 2]]


def test_a_service_that_breaks_is_caught_up_with(
    info: ExperimentInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told once; when it is back, everything that was reported meanwhile is sent."""
    monkeypatch.setattr(WandbRuns, "interval", 0.01)
    monkeypatch.setattr(WandbRuns, "longest_pause", 0.02)
    init, found, away = wandb.init, [], threading.Event()
    away.set()
    tried = threading.Semaphore(0)

    def flaky(**given: Any) -> Any:
        if away.is_set():
            tried.release()
            raise wandb.errors.CommError("no route to host\nand more of it")
        return init(**given)

    monkeypatch.setattr(wandb, "init", flaky)
    log = WandbLog(info, "offline", tell=found.append)
    trials = make_trials(info.space)
    for count in (1, 2, 4):
        log.update(trials[:count])
        assert tried.acquire(timeout=10)
    away.clear()
    assert log._follower.settle() or _waited(log)
    log.close()
    assert found == [
        "the log in Weights & Biases cannot be written: no route to host; the search goes on, and"
        " it follows when it can",
        "the log in Weights & Biases is up to date again",
    ]
    assert len(list(log.directory.glob("offline-run-*/run-*.wandb"))) == 4


def _waited(log: WandbLog) -> bool:
    """An attempt that failed ends `settle` at once."""
    for _ in range(500):
        if log._follower.settle():
            return True
        time.sleep(0.02)
    return False


def test_a_server_that_does_not_answer_blocks_nobody(
    info: ExperimentInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WandbRuns, "at_the_end", 0.05)
    monkeypatch.setattr(wandb, "teardown", lambda: pytest.fail("the thread still uses it"))
    messages: list[str] = []
    entered, release = threading.Event(), threading.Event()

    def hang(**given: Any) -> None:
        entered.set()
        release.wait(30)
        raise wandb.errors.CommError("timed out")

    monkeypatch.setattr(wandb, "init", hang)
    log = WandbLog(info, "online", tell=messages.append)
    trials = make_trials(info.space)
    log.update(trials[:1])
    assert entered.wait(10)
    log.update(trials)
    log.close()
    assert messages == [
        "the log in Weights & Biases is behind the ledger; runs whose trials have not ended are"
        " sent by the next --resume"
    ]
    release.set()
    log._follower._thread.join(10)
    assert log._follower.ended


def test_the_end_does_not_try_a_server_again_that_was_away(
    info: ExperimentInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def refuse(**given: Any) -> None:
        calls.append(given["id"])
        raise wandb.errors.CommError("connection refused")

    monkeypatch.setattr(wandb, "init", refuse)
    log = WandbLog(info, "online")
    log.update(make_trials(info.space)[:1])
    assert not log._follower.settle()
    log.close()
    assert calls == ["quick-x-0"]


def epochs(file: Path) -> list[float]:
    """Those that a run's file holds."""
    steps = [r for r in read(file) if r.WhichOneof("record_type") == "history"]
    return [float(history(step)["epoch"]) for step in steps]
