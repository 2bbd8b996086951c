"""The learned shares: the published numbers, and the defect the warning names."""

from __future__ import annotations

import pytest
import torch

from hpcm.losses import TASK_SETS, LossConfig
from hpcm.optimizers import LearnedShares
from hpcm.optimizers.learned_shares import LearnedSharesBalancer
from tests.hpcm.losses.outputs import output_of_likelihoods
from tests.numerics.toy_tasks import golden, tensor

TASKS = TASK_SETS["unshared5"]


def balancer(w_lr: float | None = None) -> LearnedSharesBalancer:
    with pytest.warns(UserWarning, match="the third share of the distortion is in no task"):
        return LearnedShares(w_lr=w_lr).build(TASKS, "cpu")


def test_published_values() -> None:
    case = golden("hierarchical_loss")
    inputs, expected = case["inputs"], case["expected"]["adaptive"]
    out = output_of_likelihoods(*(inputs[k] for k in ("x_hat", "likelihood_y", "likelihood_z")))
    x = torch.tensor(inputs["target"], dtype=torch.float64)
    losses = TASKS(out, x, LossConfig(lmbda=inputs["lmbda"]))
    learned = balancer()
    weights, value = learned.weigh(losses)
    distortion, rate = learned.logits.softmax(1).tolist()
    assert distortion == pytest.approx(expected["distortion_dist"], abs=1e-12)
    assert rate == pytest.approx(expected["bpp_dist"], abs=1e-12)
    assert (weights * losses).tolist() == pytest.approx(expected["tasks"], abs=1e-12)
    assert value.item() == pytest.approx(sum(expected["tasks"]), abs=1e-12)
    of_distortion, of_rate = learned.logits_gradient(losses).tolist()
    assert of_distortion == pytest.approx(expected["grad_of_sum_wrt_distortion_logits"], abs=1e-12)
    assert of_rate == pytest.approx([0, 0, 0], abs=1e-12)


def test_the_gradient_is_that_of_the_tasks_sum() -> None:
    learned, losses = balancer(), tensor([0.3, 1.1, 0.4, 0.9, 2.0])
    logits = learned.logits.clone().requires_grad_()
    (d1, d2, _), (r1, r2, r3) = logits.softmax(1)
    (torch.stack([d1, r1, d2, r2, r3]) * losses).sum().backward()
    torch.testing.assert_close(learned.logits_gradient(losses), logits.grad)


def test_published_they_stay_where_they_start() -> None:
    learned, losses = balancer(), tensor([0.3, 1.1, 0.3, 1.1, 1.1])
    before = learned.logits.clone()
    assert not learned.due(0)
    learned.update(losses, losses)
    assert torch.equal(learned.logits, before)


def test_trained_by_their_own_loss_they_drop_the_distortion() -> None:
    learned, losses = balancer(w_lr=0.05), tensor([0.3, 1.1, 0.3, 1.1, 1.1])
    for step in range(400):
        assert learned.due(step)
        learned.update(losses, losses)
    assert learned.logits[0].softmax(0)[2].item() > 0.99
