"""Regularizers in a whole training: off they leave every bit alone, on every field acts."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from hpcm import TrainConfig, train
from hpcm.losses import REGULARIZERS, DctTruncation, InterScale
from hpcm.losses.inter_scale_modes import MODES
from hpcm.schema import fields_of
from tests.toy_codec import ToyCodec

TERM = {"delta": 0.05, "start": 0.0}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    (root / "noise").mkdir()
    generator = np.random.default_rng(0)
    for index in range(2):
        pixels = generator.integers(0, 256, (128, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "noise" / f"{index}.png")
    return root


@pytest.fixture(autouse=True)
def _noise_images(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCM_DATA", str(data_root))


def trained(
    inter_scale: dict[str, Any] | None = None, dct_truncation: dict[str, Any] | None = None
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """The weights after six steps in two epochs, and what was reported."""
    data = {"train": "noise", "val": "noise", "patch": 64, "workers": 0}
    plain = {
        "data": {**data, "batch_size": 2, "crops_per_epoch": 6},
        "epochs": 2,
        "schedule_horizon": 2,
        "optimizer": {"lr": 1e-2},
        "regularizers": {
            "inter_scale": inter_scale or {},
            "dct_truncation": dct_truncation or {},
        },
    }
    torch.manual_seed(3)
    model = ToyCodec()
    cfg = TrainConfig.from_plain(plain, "test")
    reports = [report.metrics for report in train(cfg, model=model, device="cpu")]
    return model.state_dict(), reports


@cache
def trained_plainly() -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    return trained()


@cache
def trained_with_the_term() -> dict[str, Tensor]:
    weights = trained(TERM)[0]
    assert not same(weights, trained_plainly()[0])
    return weights


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def random_settings(part: type, seed: int) -> dict[str, Any]:
    """Any value each field may have, but for the one that switches the part off."""
    generator = random.Random(seed)
    settings: dict[str, Any] = {}
    for info in fields_of(part):
        choices = [c for c in get_args(info.annotation) if isinstance(c, str)]
        settings[info.path] = generator.choice(choices) if choices else generator.uniform(0.01, 1)
    return settings


@pytest.mark.parametrize("name", REGULARIZERS)
def test_every_one_is_off_at_its_defaults(name: str) -> None:
    built = REGULARIZERS[name]().build(latent_channels=8)
    assert not any(built.active(t) for t in (0.0, 0.5, 1.0, 1.5))


@pytest.mark.parametrize("seed", range(4))
def test_switched_off_they_leave_every_bit_alone(seed: int) -> None:
    term = {**random_settings(InterScale, seed), "delta": 0.0}
    truncation = {**random_settings(DctTruncation, seed), "end": 0.0, "tau_final": 2.0}
    plain, plain_reports = trained_plainly()
    other, other_reports = trained(term, truncation)
    assert same(plain, other)
    for one, two in zip(plain_reports, other_reports, strict=True):
        assert one.keys() == two.keys()
        assert all(one[k] == two[k] for k in one if k != "train/seconds")


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != InterScale().mode])
def test_every_mode_of_the_term_acts(mode: str) -> None:
    """All other fields of both are in test_every_field.py."""
    assert not same(trained_with_the_term(), trained({**TERM, "mode": mode})[0])


def test_the_objective_never_sees_them() -> None:
    """With a learning rate of next to nothing, validation reads as it does without them."""

    def first_validation(**parts: Any) -> float:
        data = {"train": "noise", "val": "noise", "patch": 64, "workers": 0, "batch_size": 2}
        plain = {"data": data, "epochs": 1, "schedule_horizon": 1, "optimizer": {"lr": 1e-30}}
        torch.manual_seed(3)
        cfg = TrainConfig.from_plain({**plain, **parts}, "test")
        *_, report = train(cfg, model=ToyCodec(), device="cpu")
        assert (abs(report.metrics.get("spectral/term", 0.0)) > 0) == bool(parts)
        return report.metrics["val_rd_cost"]

    term = {"delta": 0.1, "start": 0.0, "mode": "repo"}
    parts = {"inter_scale": term, "dct_truncation": {"end": 1.0}}
    assert first_validation(regularizers=parts) == first_validation()
