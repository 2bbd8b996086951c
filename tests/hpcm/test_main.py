"""The command line: its lines, files and exit codes, with the toy codec in place of HPCM."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hpcm import ConfigError, EpochReport, TrainConfig
from hpcm.__main__ import main
from hpcm.commands import train as train_command
from tests.hpcm.toy_run import metrics, toy_run, tree
from tests.toy_codec import ToyCodec

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run config in an empty working directory, two images, and the toy as the only model."""
    return toy_run(tmp_path, monkeypatch)


def test_a_run_prints_a_line_per_epoch_and_leaves_its_files(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(config), "--epochs", "2", "--device", "cpu"]) == 0
    (folder,) = Path("runs").glob("toy-*")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{folder}: new; hpcm_base on cpu; config ")
    assert [line.split("  ")[0] for line in lines[1:-1]] == ["epoch 1/2", "epoch 2/2"]
    assert lines[-1] == f"finished; checkpoint {folder}/checkpoints/epoch-00002"
    found = metrics(folder)
    cost, error = found[1]["val_rd_cost"], found[1]["val_rd_cost_se"]
    assert f"rd_cost {cost:.6f}  se {error:.3f}  bpp {found[1]['val_bpp']:.6f}" in lines[2]
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["epoch-00002"]
    written = TrainConfig.from_yaml(folder / "config.yaml")
    assert written == TrainConfig.from_yaml(config, ["epochs=2"])


def test_auto_prints_what_it_took(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(config), "--epochs", "1", "--device", "cpu"]
    assert main([*command, "--set", "precision.preset=auto"]) == 0
    message = "precision: no autocast, channels last, not compiled, looked at every 50 steps"
    assert capsys.readouterr().out.splitlines()[1] == message


def test_set_changes_fields(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(config), "--set", "loss.lmbda=0.1", "seed=4", "--set", "epochs=1"]
    assert main([*command, "--output", "out"]) == 0
    cfg = TrainConfig.from_yaml("out/config.yaml")
    assert (cfg.loss.lmbda, cfg.seed, cfg.epochs) == (0.1, 4, 1)


def test_a_run_that_stops_early_leaves_its_last_epoch(config: Path) -> None:
    early = ["early_stopping.patience=1", "early_stopping.min_delta=1.0e+6"]
    early += ["balancer.name=famo_per_scale", "epochs=9"]
    command = ["train", str(config), "--output", "out", "--save-every", "5", "--set", *early]
    assert main(command) == 0
    assert [path.name for path in Path("out/checkpoints").iterdir()] == ["epoch-00002"]
    assert "val_rd_cost" in metrics(Path("out"))[-1]


def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(config), "--output", "whole"]) == 0
    line = train_command.line

    def interrupt(report: EpochReport, epochs: int) -> str:
        if report.epoch == 2:  # measured and recorded, not yet saved
            raise KeyboardInterrupt
        return line(report, epochs)

    with monkeypatch.context() as patch:
        patch.setattr(train_command, "line", interrupt)
        assert main(["train", str(config), "--set", "validate_every=1"]) == 130
    (folder,) = Path("runs").iterdir()
    advice = capsys.readouterr().err.splitlines()[0]
    assert advice.startswith("stopped; checkpoint of epoch 1; to continue: python -m hpcm train ")
    assert len(metrics(folder)) == 2
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3.0, "val')  # what a kill leaves
    assert main(shlex.split(advice.partition("python -m hpcm ")[2])) == 0
    assert "continued from epoch-00001" in capsys.readouterr().out
    assert metrics(folder) == metrics(Path("whole"))
    weights = [
        torch.load(place / "checkpoints/epoch-00003/model.pt", weights_only=True)
        for place in (folder, Path("whole"))
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_resume_without_output_takes_the_latest_run(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in ("01", "02"):
        output = f"runs/toy-202601{day}-000000"
        assert main(["train", str(config), "--epochs", "1", "--output", output]) == 0
    Path("runs/toy-20260103-000000").mkdir()  # killed before its first checkpoint
    assert main(["train", str(config), "--resume", "--epochs", "2"]) == 0
    assert len(metrics(Path("runs/toy-20260102-000000"))) == 2
    assert main(["train", str(config), "--resume", "--epochs", "2"]) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1].endswith("20260102-000000/checkpoints/epoch-00002")
    )


def test_checkpoints_every_k_epochs_and_at_the_end(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    save = train_command.RunFolder.save

    def remember(self: train_command.RunFolder, report: EpochReport) -> None:
        saved.append(report.epoch)
        save(self, report)

    monkeypatch.setattr(train_command.RunFolder, "save", remember)
    assert main(["train", str(config), "--save-every", "2"]) == 0
    assert saved == [2, 3]


def test_a_diverged_run_has_its_own_exit_code(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(ToyCodec):
        def forward(self, x: torch.Tensor, noise: dict[str, torch.Tensor] | None = None) -> dict:
            out = super().forward(x, noise)
            return out | {"x_hat": out["x_hat"] * torch.nan}

    monkeypatch.setattr("hpcm.training.run.build_model", lambda model: Broken())
    assert main(["train", str(config)]) == 3
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == "stopped; no checkpoint yet"
    assert printed[1].startswith("diverged: ")


WRONG = {
    "train gone.yaml": "gone.yaml: cannot be read: No such file or directory",
    "train toy.yaml --set loss.lmbd=1": "loss.lmbd: unknown key. Did you mean 'lmbda'?",
    "train toy.yaml --set epochs": "--set epochs: write it as key.path=value",
    "train toy.yaml --epochs 0": "epochs is 0; must be 1 or more",
    "train toy.yaml --set data.train=fewer": "fewer is not there; $HPCM_DATA",
    "train toy.yaml --set data.val=a/b": "a set has a name, not a path",
    "train toy.yaml --set data.patch=65": "65",
    "train toy.yaml --set data.patch=128": "none of its 2 images holds a crop of 128x128",
    "train toy.yaml --resume": "--resume: no checkpoint in runs/toy-*",
    "train toy.yaml --resume --output out": "--resume: no checkpoint in out",
    "train toy.yaml --output toy.yaml/out": "toy.yaml/out: cannot be written: Not a directory",
    "train toy.yaml --device gpu": "--device gpu: no device; cpu, cuda or cuda:N",
    "train toy.yaml --device cuda:99": "--device cuda:99: this machine has ",
    "evaluate gone --images few": "gone: cannot be read: No such file",
    "evaluate gone --images few --model hpcm_base": "gone: cannot be read: No such file",
    "evaluate toy.yaml --images few --model hpcm_base": "toy.yaml: not a file of weights",
    "evaluate . --images few": ".: not a complete checkpoint",
    "data ./gone": "image folder gone: not found",
    "data gone": "gone is not there; $HPCM_DATA",
    "compare toy.yaml toy.yaml": "toy.yaml: not a results file",
}


@pytest.mark.parametrize("command", WRONG)
def test_what_the_user_can_mend_is_one_message(
    command: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree()
    assert main(shlex.split(command)) == 2
    out, err = capsys.readouterr()
    assert WRONG[command] in err
    assert err.count("\n") == 1
    assert out == ""
    assert tree() == before


def test_a_finished_run_is_not_overwritten(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(config), "--epochs", "1", "--output", "out"]) == 0
    assert main(["train", str(config), "--epochs", "1", "--output", "out"]) == 2
    assert "--output out: holds a run already; --resume continues it" in capsys.readouterr().err
    changed = ["train", str(config), "--output", "out", "--resume", "--set", "seed=7"]
    assert main(changed) == 2
    assert "seed: 0, now 7" in capsys.readouterr().err


def test_evaluate_scores_checkpoints_and_joins_them(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for lmbda in ("0.05", "0.01"):
        command = ["train", str(config), "--epochs", "1", "--output", f"at{lmbda}"]
        assert main([*command, "--set", f"loss.lmbda={lmbda}"]) == 0
    capsys.readouterr()
    written = ["--output", "curve.json", "--table", "rows.csv"]
    assert main(["evaluate", "at0.05", "at0.01", "--images", "few", *written]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("at0.05: ")
    assert "(estimated rate, mean of 2 images)" in lines[0]
    curve = json.loads(Path("curve.json").read_text())
    assert sorted(point["lmbda"] for point in curve["points"]) == [0.01, 0.05]
    assert (curve["name"], curve["dataset"]) == ("curve", "few")
    assert len(Path("rows.csv").read_text().splitlines()) == 1 + 2 * 2
    trained = metrics(Path("at0.05"))[-1]["val_bpp"]
    assert f"bpp {trained:.4f}" in lines[0]
    folder = ["evaluate", "at0.05/checkpoints/epoch-00001", "--images", "../data/few"]
    assert main(folder) == 0
    assert f"bpp {trained:.4f}" in capsys.readouterr().out
    assert main(["evaluate", "at0.05", "--images", "few", "--model", "hpcm_tiny"]) == 2
    assert main(["evaluate", "at0.05", "--images", "few", "--real"]) == 2


def test_evaluate_averages_the_seeds_of_one_lmbda(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {"a1": (0.05, 1), "a2": (0.05, 2), "b1": (0.01, 1), "b2": (0.01, 2)}
    for name, (lmbda, seed) in runs.items():
        changes = [f"loss.lmbda={lmbda}", f"seed={seed}"]
        assert (
            main(["train", str(config), "--epochs", "1", "--output", name, "--set", *changes]) == 0
        )
    capsys.readouterr()
    command = ["evaluate", *runs, "--images", "few", "--output", "mean.json"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[4:6] == [
        "2 points, each the mean of 2 seeds",
        "MS-SSIM: not scored: 0.png is 128x64, and MS-SSIM needs 161 pixels per side",
    ]
    curve = json.loads(Path("mean.json").read_text())
    assert {(point["lmbda"], *point["seed"]) for point in curve["points"]} == {
        (0.05, 1, 2),
        (0.01, 1, 2),
    }
    assert len(curve["images"]) == 2 * 2 * 2
    assert main(["evaluate", "a1", "a2", "b1", "--images", "few", "--output", "hole.json"]) == 0
    message = (
        "warning: all points stay apart: hole: seed 2 has no point at lmbda 0.01; evaluate that"
    )
    assert message in capsys.readouterr().err
    assert len(json.loads(Path("hole.json").read_text())["points"]) == 3


def test_evaluate_takes_a_file_of_weights(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    torch.save(ToyCodec().state_dict(), "plain.pt")
    torch.save({"state_dict": ToyCodec().state_dict(), "epoch": 3}, "wrapped.pt")
    torch.save({"g_a.weight": torch.zeros(1)}, "other.pt")
    command = ["--images", "few", "--model", "hpcm_base"]
    assert main(["evaluate", "plain.pt", *command]) == 0
    assert main(["evaluate", "wrapped.pt", *command]) == 0
    capsys.readouterr()
    assert main(["evaluate", "other.pt", *command]) == 2
    assert "other.pt, as hpcm_base: does not fit: " in capsys.readouterr().err


def test_data_describes_a_set(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("../data/few/torn.png").write_text("")
    assert main(["data", "few"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[:2] == ["few: 2 images, 0.0 Mpixel", "shortest side of all 64 pixels"]
    assert lines[2].split() == ["128x64", "2"]
    assert lines[3].startswith("fingerprint sha256:")
    assert lines[4:] == ["skipped 1", "  torn.png: not an image"]
    assert err == "warning: image set 'few': 1 image skipped: torn.png: not an image\n"


def test_a_mistake_of_ours_is_not_dressed_as_the_users(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("ours")

    monkeypatch.setattr(train_command, "train", fail)
    with pytest.raises(ValueError, match="ours") as error:
        main(["train", str(config)])
    assert not isinstance(error.value, ConfigError)


def test_help_lists_every_command_and_a_wrong_one_exits_with_2() -> None:
    command = [sys.executable, "-W", "error", "-m", "hpcm"]
    shown = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    for name in ("train", "evaluate", "compare", "inspect", "data"):
        assert f"    {name} " in shown.stdout
    with pytest.raises(SystemExit) as ended:
        main(["tune"])
    assert ended.value.code == 2


@pytest.fixture(autouse=True)
def _cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests compare bits, so they compute on the CPU wherever they run."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
