"""What two processes train together in test_ranks.py; each imports it by its name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from hpcm import EpochReport, TrainConfig, ranks, train
from tests.toy_codec import ToyCodec

SAVED_AFTER = 2  # epochs


def toy() -> ToyCodec:
    """Other weights on every rank: those of rank 0 must count."""
    torch.manual_seed(3 + ranks.own())
    return ToyCodec()


def trained(cfg: TrainConfig, saved: Path | None = None, resume: Path | None = None) -> Any:
    """The metrics of every epoch, and the weights at the end."""
    model, epochs = toy(), []
    for report in train(cfg, model=model, device="cpu", resume=resume):
        epochs.append({k: v for k, v in report.metrics.items() if k != "train/seconds"})
        if saved is not None and report.epoch == SAVED_AFTER and ranks.own() == 0:
            report.save(saved)
    return epochs, model.state_dict()


def train_together(
    configs: Mapping[str, TrainConfig], by_one: Path, folder: Path
) -> Iterator[EpochReport]:
    """Leaves what each process has measured in ``folder``; then process 1 breaks."""
    yield from ()  # as `hpcm.train`, the call itself waits for nobody
    warnings.filterwarnings("ignore", "balancer learned_shares degenerates")
    found = {name: trained(cfg, folder / name) for name, cfg in configs.items()}
    cfg = configs["sum"]
    found["resumed"] = trained(cfg, resume=folder / "sum")
    found["resumed from one process"] = trained(cfg, resume=by_one)
    torch.save(found, folder / f"{ranks.own()}.pt")
    if ranks.own() == 1:
        raise ValueError("broken on purpose")
    ranks.mean(torch.zeros(()))
