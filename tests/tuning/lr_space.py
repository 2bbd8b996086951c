"""A space of one learning rate, rungs 1, 3, 9, for tests of searcher, scheduler and experiment."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.tuning.small_spaces import write
from tuning import load_space
from tuning.ledger.ledger import Ledger
from tuning.spaces.space import SearchSpace

METRIC = "val_rd_cost"


def lr_space(folder: Path, **sections: dict[str, Any]) -> SearchSpace:
    """Eight trials, two at a time, seed 0, asha without pilots; ``sections`` change the file's."""

    def change(data: dict[str, Any]) -> None:
        data.clear()
        data.update(
            name="rates",
            base={"model": {"name": "hpcm_tiny"}, "data": {"train": "sample", "val": "sample_val"}},
            parameters={
                "optimizer.lr": {
                    "type": "float",
                    "low": 1.0e-6,
                    "high": 1.0e-2,
                    "log": True,
                    "prior": 2.0e-4,
                }
            },
            fidelity={"min": 1, "max": 9, "schedule_horizon": "max"},
            scheduler={"name": "asha", "pilots": 0},
            searcher={"name": "tpe", "seed": 0, "startup_trials": 4},
            budget={"trials": 8, "concurrent": 2},
            resources={"gpu": 0, "cpu": 1},
        )
        for name, section in sections.items():
            renamed = section.get("name", "") != data.get(name, {}).get("name", "")
            data[name] = section if renamed and "name" in section else data.get(name, {}) | section

    return load_space(write(folder, change, "rates", ""))


def open_ledger(folder: Path) -> Ledger:
    """A ledger open for writing in ``folder/rates-x``."""
    directory = folder / "rates-x"
    directory.mkdir(exist_ok=True)
    ledger = Ledger(directory)
    ledger.open()
    return ledger


def kill(ledger: Ledger) -> None:
    """What is left when the driver dies: the file as it is, without a last line."""
    assert ledger._file is not None
    ledger._file.close()


def ray_trial(number: int) -> Any:
    """What the schedulers read of one of Ray's trials."""
    return SimpleNamespace(config={"trial": number}, trial_id=f"ray{number}")


def report(epoch: int, value: float, **more: float) -> dict[str, float]:
    """What a trial says of an epoch."""
    return {"epoch": float(epoch), METRIC: value, **more}
