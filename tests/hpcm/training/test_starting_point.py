"""Fine-tuning starts from the weights that the config names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hpcm import ConfigError, TrainConfig, build_model
from hpcm.training.run import Run


def config(name: str) -> TrainConfig:
    plain = {"model": {"name": "hpcm_tiny"}, "start_from": name}
    return TrainConfig.from_plain(plain, "test")


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HPCM_CHECKPOINTS", str(tmp_path))
    return tmp_path


def test_the_named_weights_are_the_starting_point(checkpoints: Path) -> None:
    torch.manual_seed(5)
    donor = build_model("hpcm_tiny")
    torch.save(donor.state_dict(), checkpoints / "donor.pth")
    run = Run.build(config("donor.pth"), None, "cpu")
    for name, value in donor.state_dict().items():
        assert torch.equal(value, run.model.state_dict()[name]), name


def test_weights_of_another_variant_are_refused(checkpoints: Path) -> None:
    torch.save({"g_a.branch.0.weight": torch.zeros(1)}, checkpoints / "other.pth")
    with pytest.raises(ConfigError, match="start_from: other.pth: does not fit"):
        Run.build(config("other.pth"), None, "cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("donor.pth", r"'donor.pth' is not in \$HPCM_CHECKPOINTS .*Did you mean 'doner.pth'"),
        ("../donor.pth", "is a path"),
        ("/donor.pth", "is a path"),
    ],
)
def test_what_is_not_there_is_refused(checkpoints: Path, name: str, message: str) -> None:
    (checkpoints / "doner.pth").touch()
    with pytest.raises(ConfigError, match=message):
        Run.build(config(name), None, "cpu")
