"""Task sets: what they sum to, how many directions they span, and the published numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pywt
import torch
from torch import Tensor

from hpcm.losses import TASK_SETS, LossConfig, check, rate_distortion
from hpcm.losses.rate_distortion import RDTerms
from hpcm.losses.tasks import haar_split
from hpcm.schema import ConfigError
from tests.hpcm.losses.outputs import output_of_likelihoods, random_output
from tests.noise import seeded_noise

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden/balanced_hierarchical_loss.json").read_text()
)
SUMMING = [name for name, tasks in TASK_SETS.items() if tasks.lambda_of_sum == 1]


@pytest.mark.parametrize("name", TASK_SETS)
def test_one_entry_per_task(name: str) -> None:
    tasks = TASK_SETS[name]
    out, x = random_output()
    n = len(tasks.names)
    assert tasks(out, x, LossConfig()).shape == (n,)
    assert len(tasks.kinds) == len(tasks.scales) == len(set(tasks.names)) == n


@pytest.mark.parametrize("name", SUMMING)
@pytest.mark.parametrize("lmbda", [0.0018, 0.0483])
def test_sums_to_rd_cost(name: str, lmbda: float) -> None:
    loss = LossConfig(lmbda=lmbda)
    out, x = random_output()
    cost = rate_distortion(out, x).rd_cost(lmbda)
    total = TASK_SETS[name](out, x, loss).sum()
    assert total.item() == pytest.approx(cost.item(), rel=1e-12)
    leaf = out["x_hat"]
    for_sum, for_cost = (torch.autograd.grad(v, leaf, retain_graph=True)[0] for v in (total, cost))
    torch.testing.assert_close(for_sum, for_cost, rtol=1e-9, atol=1e-15)


def test_the_tasks_are_what_they_are_called() -> None:
    out, x = random_output()
    loss, terms = LossConfig(lmbda=0.02), rate_distortion(out, x)
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    steps = out["bits"]["steps"].sum(0) / pixels
    r_z = out["bits"]["z"].sum() / pixels
    r_1, r_2, r_3 = steps[:2].sum(), steps[2:5].sum(), steps[5:].sum()
    low, rest = haar_split(out["x_hat"], x)
    unit = 0.02 * 255**2
    mse = (out["x_hat"] - x).square().mean()
    expected = {
        "two_task": [unit * mse, r_z + r_1 + r_2 + r_3],
        "rate4": [unit * mse, r_z + r_1, r_2, r_3],
        "exact5": [unit * low, r_z + r_1, unit * rest, r_2, r_3],
    }
    assert set(SUMMING) == set(expected)
    for name, tasks in expected.items():
        torch.testing.assert_close(TASK_SETS[name](out, x, loss, terms), torch.stack(tasks))


@pytest.mark.parametrize("name", TASK_SETS)
def test_lambda_of_the_plain_sum(name: str) -> None:
    """Sum of the distortions over lmbda D, over the sum of the rates over R."""
    out, x = random_output()
    tasks, loss, terms = TASK_SETS[name], LossConfig(), rate_distortion(out, x)
    losses = tasks(out, x, loss, terms)
    is_rate = torch.tensor([kind == "R" for kind in tasks.kinds])
    distortion = losses[~is_rate].sum() / (loss.lmbda * terms.distortion)
    rate = losses[is_rate].sum() / terms.bpp
    assert tasks.lambda_of_sum == pytest.approx((distortion / rate).item(), rel=1e-9)


@pytest.mark.parametrize("name", TASK_SETS)
def test_given_terms_are_used(name: str) -> None:
    """Twice the terms give twice the losses, but for a split that looks at the error itself."""
    out, x = random_output()
    terms = rate_distortion(out, x)
    twice = RDTerms(**{key: 2 * value for key, value in vars(terms).items()})
    tasks, loss = TASK_SETS[name], LossConfig()
    factors = [1.0 if name == "exact5" and kind == "D" else 2.0 for kind in tasks.kinds]
    own, given = tasks(out, x, loss), tasks(out, x, loss, twice)
    torch.testing.assert_close(given, own * torch.tensor(factors, dtype=own.dtype))


def test_two_task_with_ms_ssim() -> None:
    out, x = random_output(batch=1, side=176, dtype=torch.float32)
    loss = LossConfig(metric="ms_ssim", lmbda=20.0)
    terms = rate_distortion(out, x, "ms_ssim")
    for name in ("two_task", "rate4"):
        total = TASK_SETS[name](out, x, loss).sum()
        assert total.item() == pytest.approx(terms.rd_cost(20.0).item(), rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (2, 3, 16, 24)])
def test_haar_split_against_pywavelets(shape: tuple[int, ...]) -> None:
    x_hat, x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(3)).double()
    low, rest = haar_split(x_hat, x)
    coarsest, *details = pywt.wavedec2((x_hat - x).numpy(), "haar", level=2)
    energy = sum(float(np.square(band).sum()) for bands in details for band in bands)
    assert low.item() == pytest.approx(np.square(coarsest).sum() / x.numel(), rel=1e-12)
    assert rest.item() == pytest.approx(energy / x.numel(), rel=1e-12)


def test_published_values() -> None:
    inputs, expected = GOLDEN["inputs"], GOLDEN["expected"]
    out = output_of_likelihoods(*(inputs[k] for k in ("x_hat", "likelihood_y", "likelihood_z")))
    x, loss = torch.tensor(inputs["target"], dtype=torch.float64), LossConfig(lmbda=inputs["lmbda"])
    terms = rate_distortion(out, x)
    tolerance = GOLDEN["tolerance_abs"]
    assert terms.mse.item() == pytest.approx(expected["mse"], abs=tolerance)
    assert terms.bpp.item() == pytest.approx(expected["bpp"], abs=tolerance)
    assert terms.bpp_z.item() == pytest.approx(expected["z_bpp"], abs=tolerance)
    assert terms.rd_cost(loss.lmbda).item() == pytest.approx(
        expected["standard"]["loss"], abs=tolerance
    )
    tasks = TASK_SETS["published5"](out, x, loss)
    assert tasks.tolist() == pytest.approx(expected["seed_tasks"], abs=tolerance)
    assert tasks.sum().item() == pytest.approx(expected["seed_sum"], abs=tolerance)
    scales = np.array(TASK_SETS["published5"].scales)
    for scale in (1, 2, 3):
        of_scale = tasks.numpy()[scales == scale].sum()
        assert of_scale == pytest.approx(expected["seed_scale_losses"][f"s{scale}"], abs=tolerance)


@pytest.mark.parametrize("name", ["exact5", "published5"])
def test_ms_ssim_cannot_be_split_by_frequency(name: str) -> None:
    with pytest.raises(ValueError, match="allowed with it: two_task, rate4"):
        check(LossConfig(metric="ms_ssim"), name, patch=256)


def test_check() -> None:
    check(LossConfig(), "exact5", patch=64)
    check(LossConfig(metric="ms_ssim"), "rate4", patch=256)
    with pytest.raises(ValueError, match=r"data\.patch: 128: ms_ssim needs crops of 161"):
        check(LossConfig(metric="ms_ssim"), "two_task", patch=128)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """hpcm_tiny with fixed weights."""
    from hpcm.model import build_model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_model("hpcm_tiny").train()


@pytest.fixture(scope="module")
def passed(model: torch.nn.Module) -> tuple[dict[str, Any], Tensor]:
    row, column = torch.meshgrid(*(torch.arange(256) / 40.0,) * 2, indexing="ij")
    waves = [torch.sin(row), torch.cos(3 * column), torch.sin(row * column)]
    x = (0.5 + 0.45 * torch.stack(waves))[None]  # (1, 3, 256, 256)
    return model(x, seeded_noise(model, x)), x


@pytest.mark.parametrize("name", SUMMING)
def test_sums_to_rd_cost_on_the_model(passed: tuple[dict[str, Any], Tensor], name: str) -> None:
    out, x = passed
    total = TASK_SETS[name](out, x, LossConfig()).sum().item()
    assert total == pytest.approx(rate_distortion(out, x).rd_cost(0.013).item(), rel=1e-5)


def test_bits_are_those_of_the_likelihoods(passed: tuple[dict[str, Any], Tensor]) -> None:
    out, x = passed
    total = sum(-out["likelihoods"][k].double().log2().sum().item() for k in "yz")
    assert rate_distortion(out, x).bpp.item() == pytest.approx(total / 256**2, rel=1e-5)


@pytest.mark.parametrize(("name", "rank"), [("exact5", 5), ("rate4", 4), ("published5", 2)])
def test_rank_of_the_jacobian(
    model: torch.nn.Module,
    passed: tuple[dict[str, Any], Tensor],
    name: str,
    rank: int,
) -> None:
    """Rows are gradients of tasks, scaled to length 1; a dependent row leaves about 1e-6."""
    tasks = TASK_SETS[name](*passed, LossConfig())
    weights = list(model.parameters())
    rows = []
    for task in tasks:
        parts = torch.autograd.grad(task, weights, retain_graph=True, materialize_grads=True)
        row = torch.cat([part.flatten().double() for part in parts])
        rows.append(row / row.norm())
    values = torch.linalg.svdvals(torch.stack(rows))
    assert (values > 1e-2).sum().item() == rank, values.tolist()
    assert (values[rank:] < 1e-4).all(), values.tolist()


def test_config_errors_are_value_errors() -> None:
    """So that ``check`` may be called while a config is read."""
    assert issubclass(ConfigError, ValueError)
