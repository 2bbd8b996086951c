"""The learned shares: the published numbers, and the defect the warning names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hpcm.losses import LossConfig
from hpcm.losses.learned_shares import LearnedShares
from tests.hpcm.losses.outputs import output_of_likelihoods, random_output

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "golden/balanced_hierarchical_loss.json").read_text()
)


def shares() -> LearnedShares:
    with pytest.warns(UserWarning, match="learned shares degenerate: the third share"):
        return LearnedShares().double()


def test_published_values() -> None:
    inputs, expected = GOLDEN["inputs"], GOLDEN["expected"]["adaptive"]
    out = output_of_likelihoods(*(inputs[k] for k in ("x_hat", "likelihood_y", "likelihood_z")))
    x = torch.tensor(inputs["target"], dtype=torch.float64)
    learned = shares()  # its logits are float32 numbers, hence the tolerance
    tasks = learned(out, x, LossConfig(lmbda=inputs["lmbda"]))
    assert learned.distortion_logits.softmax(0).tolist() == pytest.approx(
        expected["distortion_dist"], abs=1e-7
    )
    assert learned.rate_logits.softmax(0).tolist() == pytest.approx(expected["bpp_dist"], abs=1e-7)
    assert tasks.tolist() == pytest.approx(expected["tasks"], abs=1e-7)
    tasks.sum().backward()
    assert learned.distortion_logits.grad is not None
    assert learned.rate_logits.grad is not None
    assert learned.distortion_logits.grad.tolist() == pytest.approx(
        expected["grad_of_sum_wrt_distortion_logits"], abs=1e-10
    )
    assert learned.rate_logits.grad.tolist() == pytest.approx([0, 0, 0], abs=1e-10)


def test_trained_by_their_own_loss_they_drop_the_distortion() -> None:
    learned = shares()
    out, x = random_output()
    optimizer = torch.optim.Adam(learned.parameters(), lr=0.05)
    out = {
        "x_hat": out["x_hat"].detach(),
        "bits": {name: bits.detach() for name, bits in out["bits"].items()},
    }
    for _ in range(400):
        optimizer.zero_grad()
        learned(out, x, LossConfig()).sum().backward()
        optimizer.step()
    assert learned.distortion_logits.softmax(0)[2].item() > 0.99
