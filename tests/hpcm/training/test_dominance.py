"""A task that keeps most of the weight is warned about once."""

from __future__ import annotations

import warnings

import pytest
import torch

from hpcm import train
from hpcm.optimizers.famo import FamoBalancer
from hpcm.training.dominance import EPOCHS, Dominance, DominantTaskWarning
from tests.hpcm.training.test_resume import config, toy


def warned_epochs(weights: list[dict[str, float]]) -> list[int]:
    """The epochs (from 1) in which a warning comes."""
    dominance, found = Dominance(), []
    for epoch, values in enumerate(weights, 1):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dominance.observe({f"weights/{name}": q for name, q in values.items()} | {"epoch": 9})
        found += [epoch] * len(caught)
    return found


HIGH = {"distortion": 0.3, "rate_s1": 0.6, "rate_s2": 0.1}
EVEN = {"distortion": 0.4, "rate_s1": 0.3, "rate_s2": 0.3}
OTHER = {"distortion": 0.6, "rate_s1": 0.3, "rate_s2": 0.1}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([HIGH] * (EPOCHS - 1), []),
        ([HIGH] * 3 * EPOCHS, [EPOCHS]),
        ([HIGH] * (EPOCHS - 1) + [EVEN] + [HIGH] * EPOCHS, [2 * EPOCHS]),
        ([HIGH] * (EPOCHS - 1) + [OTHER] * EPOCHS, [2 * EPOCHS - 1]),
        ([EVEN] * 3 * EPOCHS, []),
        ([{"distortion": 0.9, "rate": 0.1}] * 3 * EPOCHS, []),
        ([{name: 5 * q for name, q in EVEN.items()}] * 3 * EPOCHS, []),  # sums of weights differ
    ],
)
def test_after_epochs_in_a_row_and_once(
    weights: list[dict[str, float]], expected: list[int]
) -> None:
    assert warned_epochs(weights) == expected


def test_a_run_warns_with_the_task_and_its_share(
    image_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = torch.tensor([0.1, 0.7, 0.1, 0.1], dtype=torch.float64)
    monkeypatch.setattr(FamoBalancer, "weigh", lambda *_: (shares, torch.zeros(())))
    sections = {"balancer": {"name": "famo", "tasks": "rate4"}, "validate_every": 100}
    cfg = config(image_folder, **sections, epochs=EPOCHS)
    with pytest.warns(DominantTaskWarning, match=r"rate_s1 has had .* 10 epochs \(now 0.70\)"):
        list(train(cfg, model=toy(), device="cpu"))
