"""Resume equals no resume, bit for bit on the CPU, for every optimiser and balancer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch

from hpcm import ConfigError, TrainConfig, train
from hpcm.checkpoints import RECORD_FILE, read_checkpoint
from hpcm.optimizers import BALANCERS, OPTIMIZERS
from hpcm.training import state
from hpcm.training.run import Run
from hpcm.training.seeding import NOISE, NOISES, GeneratorNoise
from hpcm.training.state import MODEL_FILE, TRAINING_FILE
from tests.toy_codec import ToyCodec

pytestmark = pytest.mark.filterwarnings("ignore:balancer learned_shares degenerates")


def config(image_folder: str, **sections: object) -> TrainConfig:
    data = {
        "train": image_folder,
        "val": image_folder,
        "patch": 64,
        "batch_size": 2,
        "crops_per_epoch": 4,
        "workers": 0,
    }
    plain = {"data": data, "epochs": 4, "schedule_horizon": 5, **sections}
    return TrainConfig.from_plain(plain, "test")


def toy() -> ToyCodec:
    torch.manual_seed(3)
    return ToyCodec()


def assert_resume_is_exact(
    cfg: TrainConfig, checkpoint: Path, after: int = 2
) -> list[dict[str, float]]:
    """Saved after so many epochs; gives the reports of the uninterrupted run."""
    whole = toy()
    reports = []
    for report in train(cfg, model=whole, device="cpu"):
        reports.append(report.metrics)
        if report.epoch == after:
            report.save(checkpoint)
    resumed = toy()
    again = [r.metrics for r in train(cfg, model=resumed, device="cpu", resume=checkpoint)]
    for one, other in zip(reports[after:], again, strict=True):
        assert {k: v for k, v in one.items() if k != "train/seconds"} == {
            k: v for k, v in other.items() if k != "train/seconds"
        }
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    return reports


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_resumes_exactly(name: str, image_folder: str, tmp_path: Path) -> None:
    assert_resume_is_exact(config(image_folder, optimizer={"name": name}), tmp_path)


@pytest.mark.parametrize("name", BALANCERS)
def test_every_balancer_resumes_exactly(name: str, image_folder: str, tmp_path: Path) -> None:
    assert_resume_is_exact(config(image_folder, balancer={"name": name}), tmp_path)


@pytest.mark.parametrize("mode", ["rho2", "repo", "saturating"])
def test_inter_scale_term_resumes_exactly(mode: str, image_folder: str, tmp_path: Path) -> None:
    term = {"delta": 0.01, "mode": mode, "start": 0.0}
    assert_resume_is_exact(config(image_folder, regularizers={"inter_scale": term}), tmp_path)


@pytest.mark.parametrize("after", [2, 5])
@pytest.mark.parametrize(("name", "gamma"), [("famo", "gamma"), ("famo_per_scale", "s1")])
def test_adaptive_gamma_resumes_exactly(
    name: str, gamma: str, after: int, image_folder: str, tmp_path: Path
) -> None:
    """Every loss counts as flat, from when three are known: before the save or after it."""
    schedule = {"name": "adaptive", "flat": 50.0, "noisy": 90.0, "down": 0.9}
    cfg = config(
        image_folder,
        balancer={"name": name, "gamma_schedule": schedule},
        epochs=7,
        schedule_horizon=40,
    )
    reports = assert_resume_is_exact(cfg, tmp_path, after)
    gammas = [report[f"gamma/{gamma}"] for report in reports]
    assert gammas[3] > 1.05 * gammas[4]


@pytest.fixture
def checkpoint(image_folder: str, tmp_path: Path) -> Path:
    reports = train(config(image_folder, balancer={"name": "famo"}), model=toy(), device="cpu")
    next(reports).save(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_hot_fields_of_the_config_win_over_the_checkpoint(
    image_folder: str, checkpoint: Path
) -> None:
    balancer = {"name": "famo", "gamma": 0.5, "w_lr": 0.07}
    cfg = config(image_folder, optimizer={"lr": 3e-3}, balancer=balancer, clip_max_norm=7.0)
    report = next(iter(train(cfg, model=toy(), device="cpu", resume=checkpoint)))
    assert report.epoch == 2
    assert report.metrics["train/lr"] == 3e-3
    assert report.metrics["gamma/gamma"] == 0.5


def test_a_checkpoint_of_another_run_is_refused(image_folder: str, checkpoint: Path) -> None:
    cfg = config(image_folder, balancer={"name": "famo"}, seed=9)
    with pytest.raises(ConfigError, match=r"seed: 0, now 9"):
        train(cfg, model=toy(), device="cpu", resume=checkpoint)


def test_a_damaged_checkpoint_is_refused(image_folder: str, checkpoint: Path) -> None:
    file = checkpoint / MODEL_FILE
    file.write_bytes(file.read_bytes()[:-7])
    cfg = config(image_folder, balancer={"name": "famo"})
    with pytest.raises(ConfigError, match=r"model\.pt is damaged"):
        train(cfg, model=toy(), device="cpu", resume=checkpoint)


def test_a_half_written_checkpoint_is_refused(image_folder: str, checkpoint: Path) -> None:
    (checkpoint / RECORD_FILE).unlink()
    cfg = config(image_folder, balancer={"name": "famo"})
    with pytest.raises(ConfigError, match="not a complete checkpoint"):
        train(cfg, model=toy(), device="cpu", resume=checkpoint)


def test_a_checkpoint_from_before_0_1_0_is_continued(
    image_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had checksums alone, the state of one regularizer, and no fields that came later.

    Its noise was another, which is drawn to its end.
    """
    save = state.save
    monkeypatch.setitem(NOISES, NOISE, GeneratorNoise)  # as the first epochs had it

    def save_as_before(run: Run, directory: Path, metrics: object) -> None:
        save(run, directory, {})
        training = torch.load(directory / TRAINING_FILE, weights_only=True)
        training["inter_scale"] = training.pop("regularizers")["inter_scale"]
        torch.save(training, directory / TRAINING_FILE)
        record = json.loads((directory / RECORD_FILE).read_text())
        for key in ("format", "metrics", "imports", "noise", "files"):
            del record[key]
        del record["config"]["ema"], record["config"]["data"]["holdout"]
        record["sha256"] = {
            name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
            for name in (MODEL_FILE, TRAINING_FILE)
        }
        (directory / RECORD_FILE).write_text(json.dumps(record))

    monkeypatch.setattr("hpcm.training.loop.save", save_as_before)
    term = {"delta": 0.01, "start": 0.0}
    assert_resume_is_exact(config(image_folder, regularizers={"inter_scale": term}), tmp_path)


def test_files_are_hashed_once_for_a_save_and_once_for_a_resume(
    image_folder: str, tmp_path: Path, hashed: list[str]
) -> None:
    """And not at all if the caller has found them whole."""
    cfg = config(image_folder)
    next(iter(train(cfg, model=toy(), device="cpu"))).save(tmp_path)
    assert hashed == []
    train(cfg, model=toy(), device="cpu", resume=tmp_path)
    assert sorted(hashed) == [MODEL_FILE, TRAINING_FILE]
    checkpoint = read_checkpoint(tmp_path)
    hashed.clear()
    train(cfg, model=toy(), device="cpu", resume=checkpoint)
    assert hashed == []


def test_a_checkpoint_records_its_config(image_folder: str, checkpoint: Path) -> None:
    record = json.loads((checkpoint / RECORD_FILE).read_text())
    cfg = config(image_folder, balancer={"name": "famo"})
    assert TrainConfig.from_plain(record["config"], "record") == cfg
    assert record["config_digest"] == cfg.digest
    assert (record["metrics"]["epoch"], record["epoch"], record["imports"]) == (1.0, 1, {})
    assert dataclasses.replace(cfg, epochs=99).digest == cfg.digest


def test_early_stopping_resumes_exactly(image_folder: str, tmp_path: Path) -> None:
    sections = {
        "early_stopping": {"patience": 3, "min_delta": 1e6},
        "balancer": {"name": "famo_per_scale"},
        "parts": {"freeze": "progressive"},
    }
    assert_resume_is_exact(config(image_folder, **sections), tmp_path)
