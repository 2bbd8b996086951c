"""What a command does with folders and files that are not as it left them."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hpcm.__main__ import main
from hpcm.commands.run_folder import RunFolder
from tests.hpcm.toy_run import metrics, toy_run, tree


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run config in an empty working directory, two images, and the toy as the only model."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return toy_run(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--output toy.yaml/x.json", "--output toy.yaml/x.json: "),
        ("--output .", "--output .: a folder; name a file"),
        ("--table toy.yaml/x.csv", "--table toy.yaml/x.csv: "),
        ("--table rows.txt", "rows.txt: a table is written as .csv or .parquet"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_scored(
    words: str, message: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree()
    assert main(["evaluate", "gone", "--images", "few", *words.split()]) == 2
    assert capsys.readouterr().err.startswith(message)
    assert tree() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda record: [],
        lambda record: None,
        lambda record: {},
        lambda record: record | {"files": [1]},
        lambda record: record | {"files": {}},
        lambda record: record | {"files": {"model.pt": [1]}},
        lambda record: record | {"files": {"../model.pt": record["files"]["model.pt"]}},
        lambda record: record | {"config": None},
        lambda record: record | {"epoch": "1"},
    ],
)
def test_a_damaged_record_is_refused_and_never_believed(
    change: Callable[[Any], Any], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(config), "--epochs", "1", "--output", "out"]) == 0
    path = Path("out/checkpoints/epoch-00001/run.json")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    capsys.readouterr()
    for command in (["train", str(config), "--output", "out", "--resume"], ["evaluate", "out"]):
        images = ["--images", "few"] if command[0] == "evaluate" else []
        assert main([*command, *images]) == 2
        assert "out/checkpoints/epoch-00001" in capsys.readouterr().err


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkdir, "a folder, not a file|Is a directory"),
        (os.mkfifo, "a pipe, not a file"),
        (lambda path: os.symlink(path, path), "Too many levels of symbolic links|no checkpoint in"),
    ],
)
def test_what_is_no_file_in_a_run_folder_is_refused_at_once(
    make: Callable[[Path], None], message: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe that nobody writes to would be waited for."""
    assert main(["train", str(config), "--epochs", "1", "--output", "whole"]) == 0
    checkpoint = "checkpoints/epoch-00001"
    names = [f"{checkpoint}/{path.name}" for path in Path("whole", checkpoint).iterdir()]
    for name in ["metrics.jsonl", *names]:
        shutil.copytree("whole", "out")
        Path("out", name).unlink()
        make(Path("out", name).absolute())
        capsys.readouterr()
        resume = ["train", str(config), "--output", "out", "--epochs", "2", "--resume"]
        assert main(resume) == 2, name
        printed = capsys.readouterr().err
        assert re.search(message, printed), (name, printed)
        assert printed.count("\n") == 1
        shutil.rmtree("out")


@pytest.mark.timeout(120)
def test_what_is_written_anew_replaces_a_pipe(config: Path) -> None:
    assert main(["train", str(config), "--epochs", "1", "--output", "out"]) == 0
    Path("out/config.yaml").unlink()
    os.mkfifo("out/config.yaml")
    assert main(["train", str(config), "--epochs", "2", "--output", "out", "--resume"]) == 0
    assert Path("out/config.yaml").read_text().startswith("# config digest ")


def test_lines_of_metrics_that_are_none_are_forgotten_at_a_resume(config: Path) -> None:
    assert main(["train", str(config), "--epochs", "1", "--output", "out"]) == 0
    with Path("out/metrics.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\n[]\n3\n{}\n{\n")
    assert main(["train", str(config), "--epochs", "2", "--output", "out", "--resume"]) == 0
    assert [line["epoch"] for line in metrics(Path("out"))] == [1.0, 2.0]


def test_the_newest_checkpoint_is_the_one_of_the_highest_epoch(tmp_path: Path) -> None:
    for epoch in (9999, 99999, 100000):
        place = tmp_path / "checkpoints" / f"epoch-{epoch:05d}"
        place.mkdir(parents=True)
        (place / "run.json").touch()
    newest = RunFolder(tmp_path).checkpoint()
    assert newest is not None
    assert newest.name == "epoch-100000"


@pytest.mark.parametrize("text", ["0", "x", "1.5", "-1"])
def test_save_every_is_a_count(text: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", str(config), f"--save-every={text}"])
    assert ended.value.code == 2
    assert f"{text}: must be a whole number, 1 or more" in capsys.readouterr().err


def test_what_a_stream_cannot_encode_is_escaped(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stderr", stream)
    assert main(["data", "./\N{SNOWMAN}"]) == 2
    stream.flush()
    assert stream.buffer.getvalue() == b"image folder \\u2603: not found\n"  # type: ignore[attr-defined]


def test_a_full_disk_ends_a_run_with_one_line_and_what_to_continue(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, written = torch.save, []

    def save(content: Any, file: Any) -> None:
        written.append(file)
        if len(written) > 2:
            raise OSError(28, "No space left on device")
        real(content, file)

    monkeypatch.setattr("hpcm.training.state.torch.save", save)
    assert main(["train", str(config), "--output", "out"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("stopped; checkpoint of epoch 1; to continue: python -m hpcm train")
    assert second.startswith("broke off: [Errno 28] No space left on device")
    monkeypatch.setattr("hpcm.training.state.torch.save", real)
    assert main(["train", str(config), "--output", "out", "--resume"]) == 0
    assert [line["epoch"] for line in metrics(Path("out"))] == [1.0, 2.0, 3.0]
