"""The benchmark that compares whole trainings with two settings of `precision`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import same_numbers
from benchmarks.same_numbers import (
    REFERENCE,
    SETTINGS,
    ProductsOfFloats,
    compare,
    config,
    end_of,
    kept_end,
)
from hpcm import EpochReport, TrainConfig


def test_a_run_takes_the_settings_and_nothing_else() -> None:
    options = Namespace(batch=2, steps=8)
    reference = config(options, 3, SETTINGS[REFERENCE])
    fast = config(options, 3, SETTINGS["auto"])
    assert (reference.precision.preset, fast.precision.preset) == ("reference", "auto")
    assert reference.data.crops_per_epoch == 4
    assert (reference.seed, reference.data) == (3, fast.data)


def test_the_end_is_the_last_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    def two_epochs(cfg: TrainConfig) -> Iterator[EpochReport]:
        for epoch in (1, 2):
            metrics = {"val_rd_cost": 1.0 / epoch, "val_bpp": 0.1, "val_psnr": 30.0}
            yield EpochReport(epoch, metrics, lambda folder: None)

    monkeypatch.setattr(same_numbers, "train", two_epochs)
    end = end_of(config(Namespace(batch=1, steps=4), 0, SETTINGS[REFERENCE]))
    assert end | {"cpu_seconds": 0} == {
        "val_rd_cost": 0.5,
        "val_bpp": 0.1,
        "val_psnr": 30.0,
        "cpu_seconds": 0,
    }


def test_an_end_is_kept_and_not_trained_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained = []

    def end_of(cfg: TrainConfig) -> dict[str, float]:
        trained.append(cfg.seed)
        return {"val_rd_cost": cfg.seed / 2}

    monkeypatch.setattr(same_numbers, "end_of", end_of)
    options, file = Namespace(batch=1, steps=4), tmp_path / "runs" / "kept.json"
    for seed in (1, 2, 1):
        cfg = config(options, seed, SETTINGS["auto"])
        assert kept_end(cfg, file) == {"val_rd_cost": seed / 2}
    assert trained == [1, 2]
    kept_end(config(options, 1, SETTINGS[REFERENCE]), file)
    kept_end(config(Namespace(batch=1, steps=8), 1, SETTINGS["auto"]), file)
    assert trained == [1, 2, 1, 1]


def test_what_changes_on_a_seed_stands_beside_what_seeds_differ_by() -> None:
    found = compare([1.0, 1.2, 1.4], [1.01, 1.19, 1.4])
    assert found == {"differences": [0.01, -0.01, 0.0], "largest": 0.01, "sd_of_seeds": 0.2}


def test_products_of_bfloat16_are_those_of_the_same_numbers_rounded() -> None:
    torch.manual_seed(0)
    a, b, c = (torch.randn(9, 9).bfloat16() for _ in range(3))
    image, kernel = torch.randn(1, 2, 5, 5).bfloat16(), torch.randn(3, 2, 3, 3).bfloat16()
    with ProductsOfFloats():
        product, added = a @ b, c.clone().addmm_(a, b)
        convolved = torch.nn.functional.conv2d(image, kernel)
    assert torch.equal(product, (a.float() @ b.float()).bfloat16())
    assert torch.equal(added, torch.addmm(c.float(), a.float(), b.float()).bfloat16())
    expected = torch.nn.functional.conv2d(image.float(), kernel.float())
    assert torch.equal(convolved, expected.bfloat16())
