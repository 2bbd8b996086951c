"""`train --log`: every metric of every epoch arrives, once, also over a resume."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from tensorboardX.proto.event_pb2 import Event

from hpcm.__main__ import main
from hpcm.evaluation.validation import PART
from tests.hpcm.toy_run import metrics, toy_run
from tests.wandb_files import history, read


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    return toy_run(tmp_path, monkeypatch)


def train_twice(config: Path, *names: str) -> None:
    """Two epochs, then a third by a resume."""
    command = ["train", str(config), "--output", "out", "--device", "cpu", "--log", *names]
    assert main([*command, "--epochs", "2"]) == 0
    time.sleep(1.1)  # the folder of an offline run is named by the second
    assert main([*command, "--resume"]) == 0


def scalars(file: Path) -> Iterator[tuple[int, str, float]]:
    """Step, name and value of what an event file holds: records of length, two checksums, data."""
    content, at = file.read_bytes(), 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + length])
        yield from ((event.step, v.tag, v.simple_value) for v in event.summary.value if v.tag)
        at += 16 + length


def test_tensorboard_gets_every_metric_of_every_epoch(config: Path) -> None:
    train_twice(config, "tensorboard")
    found: dict[tuple[int, str], float] = {}
    for file in sorted(Path("out/tensorboard").iterdir()):
        for step, name, value in scalars(file):
            if not name.startswith("config"):
                assert (step, name) not in found
                found[step, name] = value
    expected = {
        (epoch, name): value
        for epoch, row in enumerate(metrics(Path("out")), 1)
        for name, value in row.items()
        if not name.startswith(PART)
    }
    assert any(name.startswith(PART) for row in metrics(Path("out")) for name in row)
    seconds = {(epoch, "train/seconds") for epoch in (1, 2, 3)}
    assert found.keys() == expected.keys() | seconds
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-6), key


def steps(file: Path) -> list[dict[str, str]]:
    return [history(one) for one in read(file) if one.WhichOneof("record_type") == "history"]


def test_a_resumed_run_is_one_run_of_weights_and_biases(config: Path) -> None:
    """Offline the newest file holds all of it, for syncing the files in order ends with it."""
    train_twice(config, "wandb", "tensorboard")
    wandb.teardown()  # as the end of the process does: the last lines reach the disk
    files = sorted(Path("out/wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    assert files[0].name == files[1].name
    assert [float(row["epoch"]) for row in steps(files[0])] == [1, 2]
    rows = steps(files[1])
    for row, expected in zip(rows, metrics(Path("out")), strict=True):
        logged = {name: value for name, value in expected.items() if not name.startswith(PART)}
        assert {name: float(row[name]) for name in logged} == logged
        assert not [name for name in row if name.startswith(PART)]


def test_training_is_the_same_with_it(config: Path) -> None:
    train_twice(config, "tensorboard")
    assert main(["train", str(config), "--output", "plain", "--device", "cpu"]) == 0
    assert metrics(Path("out")) == metrics(Path("plain"))


def test_what_cannot_be_opened_is_said_before_the_first_epoch(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: object) -> None:
        raise wandb.errors.UsageError("no API key configured")

    monkeypatch.setattr(wandb, "init", refuse)
    assert main(["train", str(config), "--output", "out", "--log", "wandb"]) == 2
    assert capsys.readouterr().err == "--log wandb: cannot be opened: no API key configured\n"
    assert metrics(Path("out")) == []


def test_a_missing_package_is_named(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert main(["train", str(config), "--output", "out", "--log", "tensorboard"]) == 2
    assert "--log tensorboard needs the package tensorboardX" in capsys.readouterr().err


def test_an_unknown_log_names_what_there_is(config: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["train", str(config), "--log", "mlflow"])
    assert "tensorboard" in capsys.readouterr().err
