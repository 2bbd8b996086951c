"""`torchrun -m hpcm`: one run by several processes, of which the first one speaks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hpcm.__main__ import main
from tests.hpcm.toy_run import metrics, toy_run

OTHER_PROCESS = """
import sys
import hpcm.training.run
from hpcm.__main__ import main
from tests.toy_codec import ToyCodec
hpcm.training.run.build_model = lambda model: ToyCodec()
sys.exit(main(sys.argv[1:]))
"""


def torchrun_says(rank: int, port: int = 0) -> dict[str, str]:
    """The environment of the process ``rank`` of two on one machine."""
    return {
        **{"TORCHELASTIC_RUN_ID": "test", "RANK": str(rank), "LOCAL_RANK": str(rank)},
        **{"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
    }


def as_first_of_two(monkeypatch: pytest.MonkeyPatch, port: int = 0) -> None:
    for name, value in torchrun_says(0, port).items():
        monkeypatch.setenv(name, value)


def test_two_processes_make_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy_run(tmp_path, monkeypatch)
    command = ["train", str(config), "--set", "data.batch_size=2", "--device", "cpu"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment = {**os.environ, **torchrun_says(1, port), "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    as_first_of_two(monkeypatch, port)
    assert main(command) == 0
    assert other.communicate()[0] == ""
    assert other.returncode == 0
    (folder,) = Path("runs").iterdir()
    assert [epoch["epoch"] for epoch in metrics(folder)] == [1, 2, 3]
    assert f"{folder}: new; hpcm_base on 2 x cpu; config " in capsys.readouterr().out


def test_a_command_for_one_process_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_first_of_two(monkeypatch)
    assert main(["data", "sample"]) == 2
    said = "torchrun: data is for one process, only train for several: python -m hpcm data\n"
    assert capsys.readouterr().err == said


def test_one_gpu_for_several_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = toy_run(tmp_path, monkeypatch)
    as_first_of_two(monkeypatch)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert main(["train", str(config), "--device", "cuda:0"]) == 2
    assert main(["train", str(config), "--device", "cuda"]) == 2
    assert capsys.readouterr().err == (
        "--device cuda:0: of several processes each has its own; cpu or cuda\n"
        "torchrun: 2 processes on a machine that has 1 GPUs; must be 1 or fewer\n"
    )
