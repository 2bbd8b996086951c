from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from hpcm.schema import ConfigError
from tests.tuning.searches import make_info, make_space, make_trials, report
from tuning.records import ExperimentInfo, TrialRecord
from tuning.wandb_log import WandbLog, wandb_mode


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


def test_offline_writes_every_report_once_per_trial(info: ExperimentInfo) -> None:
    log = WandbLog(info, "offline")
    trials = make_trials(info.space)
    log.update(trials)
    log.update(trials)
    log.close()
    assert log.problem is None
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
    trial.reports.append(report(2, 1.0))
    trial.state = "finished"
    ended = TrialRecord(id="quick-x-0001", number=1, params={}, state="finished")
    second = WandbLog(info, "offline", ended=[ended.id])
    second.update([trial, ended])
    second.close()
    files = sorted(
        second.directory.glob("offline-run-*/run-*.wandb"), key=lambda f: f.stat().st_mtime
    )
    assert [file.name for file in files] == ["run-quick-x-0.wandb"] * 2
    steps = [history(r) for r in read(files[1]) if r.WhichOneof("record_type") == "history"]
    assert [float(step["epoch"]) for step in steps] == [1, 2]


def test_a_service_that_breaks_does_not_end_the_search(
    info: ExperimentInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> None:
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", broken)
    log = WandbLog(info, "online")
    log.update(make_trials(info.space))
    log.update(make_trials(info.space))
    log.close()
    assert log.problem == "Weights & Biases broke off: no route to host"


def read(file: Path) -> Iterator[Record]:
    """The records of an offline run's file: LevelDB's log format after a header of 7 bytes."""
    content, at, whole = file.read_bytes(), 7, b""
    while at < len(content):
        if 32768 - at % 32768 < 7:  # the rest of a block that holds no header
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # full, or the last part
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def history(record: Record) -> dict[str, str]:
    """Keys and JSON values of one step."""
    return {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
