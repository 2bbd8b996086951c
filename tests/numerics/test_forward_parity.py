"""Whole models with formula weights against recorded runs of the authors' code.

Tolerances are about ten times the largest drift between thread counts, kernels and precisions.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hpcm.model.hpcm import HPCM
from tests.reference.fill_weights import CONSTANTS, formula_image
from tests.reference.recorded import Recorded, filled, recorded

SLOW = pytest.mark.slow
#: That the images of a batch do not see one another is in tests/hpcm/model/test_hpcm.py.
EVALUATED = [
    pytest.param("1b_256", marks=SLOW),
    *("large_256", "phi_256", "base_photo_256x384"),
    pytest.param("base_batch2_256", marks=SLOW),
    "base_256",  # last: its weights are those of the tests below
]
SLICES = {"y": (20, 2e-4), "y_hat": (20, 1e-4), "scales": (20, 5e-4), "params": (40, 5e-4)}
WEIGHTS = "56b7cda7e78d512bb6df4eb7165f94916143e0a1e4259e363b8dcdb5e3546ac0"
IMAGE = "9e66f558ab2e142a88ce942990f7c5055f835f03759ab9ddf6e21c615e7175db"


@dataclass(frozen=True)
class Evaluated:
    """A recorded run and our evaluation of the same input."""

    run: Recorded
    model: HPCM
    out: dict[str, Any]
    calls: list[tuple[str, Tensor]]  # name and output of each network that was recorded


@functools.lru_cache(maxsize=1)
def evaluate(name: str) -> Evaluated:
    run = recorded(name)
    model = filled(run.variant).eval()
    calls: list[tuple[str, Tensor]] = []
    traced = {str(name) for name in run.arrays.get("trace_names", ())}
    hooks = [
        module.register_forward_hook(lambda *_, name=name: calls.append((name, _[2])))
        for name, module in model.named_modules()
        if name in traced
    ]
    with torch.no_grad():
        out = model(run.images())
    for hook in hooks:
        hook.remove()
    return Evaluated(run, model, out, calls)


@pytest.fixture(scope="module", params=EVALUATED)
def evaluated(request: pytest.FixtureRequest) -> Evaluated:
    return evaluate(request.param)


def test_symbols(evaluated: Evaluated) -> None:
    run, out = evaluated.run, evaluated.out
    for name in ("y", "z"):
        np.testing.assert_array_equal(out["symbols"][name], run.arrays[f"eval_{name}_q"])


def test_slices(evaluated: Evaluated) -> None:
    run, out = evaluated.run, evaluated.out
    sparse = 1.6 if run.meta["variant"] == "1b" else 1
    for name, (every, tolerance) in SLICES.items():
        np.testing.assert_allclose(
            out[name][:, :: int(every * sparse)],
            run.arrays[f"eval_{name}_slice"],
            rtol=0,
            atol=tolerance,
            err_msg=name,
        )
    np.testing.assert_allclose(out["z_hat"], run.arrays["eval_z_hat"], rtol=0, atol=1e-4)


def test_x_hat(evaluated: Evaluated) -> None:
    run, out = evaluated.run, evaluated.out
    every = run.meta["x_hat_stride"]
    ours = run.crop(out["x_hat"])[..., ::every, ::every]
    np.testing.assert_allclose(ours, run.arrays["eval_x_hat"], rtol=0, atol=2e-5)
    total = out["x_hat"].double().sum((1, 2, 3))
    np.testing.assert_allclose(total, run.arrays["eval_x_hat_sum"], rtol=1e-5)


def test_bits_by_the_published_formula(evaluated: Evaluated) -> None:
    run, out = evaluated.run, evaluated.out
    np.testing.assert_allclose(out["bits"]["steps"], run.arrays["eval_bits_step"], rtol=2e-5)
    np.testing.assert_allclose(out["bits"]["z"], run.arrays["eval_bits_z"], rtol=2e-5)


def test_bits_with_accurate_tails(evaluated: Evaluated) -> None:
    run, model, out = evaluated.run, evaluated.model, evaluated.out
    if "eval_bits_step_cdf64" not in run.arrays:
        pytest.skip("not recorded for this variant")
    entropy = model.entropy_estimation
    entropy.likelihood = "accurate"
    try:
        likelihoods = {
            "y": entropy(out["symbols"]["y"], out["scales"]),
            "z": entropy(out["symbols"]["z"], model.scales_hyper.detach()),
        }
    finally:
        entropy.likelihood = "published"
    bits = model.bits(likelihoods)
    np.testing.assert_allclose(bits["steps"], run.arrays["eval_bits_step_cdf64"], rtol=2e-5)
    np.testing.assert_allclose(bits["z"], run.arrays["eval_bits_z_cdf64"], rtol=2e-5)


def test_formula_inputs_are_the_recorded_ones() -> None:
    digest = hashlib.sha256()
    state = filled("hpcm_base").state_dict()
    for key in sorted(key for key in state if not CONSTANTS.match(key)):
        digest.update(key.encode())
        digest.update(state[key].numpy().tobytes())
    assert digest.hexdigest() == WEIGHTS
    assert hashlib.sha256(formula_image(256, 256, 1).tobytes()).hexdigest() == IMAGE


def test_networks_are_called_in_the_authors_order() -> None:
    """Every network's output, but for the attention of the last step: nothing reads it."""
    run, calls = evaluate("base_256").run, evaluate("base_256").calls
    names = [str(name) for name in run.arrays["trace_names"]]
    dead = max(index for index, name in enumerate(names) if name == "attn_s3")
    del names[dead]
    assert [name for name, _ in calls] == names
    samples = np.delete(run.arrays["trace_samples"], dead, axis=0)
    for (name, output), expected in zip(calls, samples, strict=True):
        places = np.round(np.linspace(0, output.numel() - 1, 16)).astype(int)
        np.testing.assert_allclose(
            output.flatten()[places], expected, rtol=1e-4, atol=5e-4, err_msg=name
        )


# ---------------------------------------------------------------- training mode


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training mode without noise, as the gradients were recorded."""
    monkeypatch.setattr("hpcm.model.hpcm.uniform_noise", torch.zeros_like)


@pytest.fixture
def trained(request: pytest.FixtureRequest) -> Iterator[tuple[Recorded, HPCM, torch.dtype]]:
    """A recorded run and its model in training mode, in the precision asked for."""
    name, dtype = request.param
    run = recorded(name)
    model = filled(run.variant).to(dtype).train()
    yield run, model, dtype
    model.zero_grad(set_to_none=True)
    model.float()  # the float32 weights are exact in float64


def scalars(out: dict[str, Any], x: Tensor) -> list[Tensor]:
    """Loss, MSE, bits of y, bits of z, as recorded."""
    mse = (out["x_hat"] - x).square().mean()
    bits = [out["bits"]["steps"].sum(), out["bits"]["z"].sum()]
    rate = sum(bits) / (x.shape[0] * x.shape[2] * x.shape[3])
    return [0.013 * 255**2 * mse + rate, mse, *bits]


def grad_norms(model: HPCM, keys: list[str]) -> np.ndarray:
    parameters = dict(model.named_parameters())
    return np.array([parameters[key].grad.double().norm().item() for key in keys])


TRAINED = [
    pytest.param(("base_256", torch.float64), id="base-f64"),
    pytest.param(("base_256", torch.float32), id="base-f32", marks=SLOW),
    pytest.param(("base_batch2_256", torch.float64), id="batch2-f64", marks=SLOW),
    pytest.param(("base_batch2_256", torch.float32), id="batch2-f32", marks=SLOW),
    pytest.param(("large_256", torch.float64), id="large-f64", marks=SLOW),
    pytest.param(("large_256", torch.float32), id="large-f32", marks=SLOW),
    pytest.param(("phi_256", torch.float64), id="phi-f64", marks=SLOW),
    pytest.param(("phi_256", torch.float32), id="phi-f32", marks=SLOW),
]


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("trained", TRAINED, indirect=True)
def test_loss_and_gradients(trained: tuple[Recorded, HPCM, torch.dtype]) -> None:
    run, model, dtype = trained
    prefix = "train64" if dtype == torch.float64 else "train"
    on_loss, on_norm = (1e-8, 1e-8) if prefix == "train64" else (1e-5, 2e-3)
    x = run.images(dtype)
    values = scalars(model(x), x)
    values[0].backward()
    recorded_scalars = run.arrays[f"{prefix}_scalars"]
    np.testing.assert_allclose([v.item() for v in values], recorded_scalars, rtol=on_loss)
    keys = [str(key) for key in run.arrays["train_grad_names"]]
    kept = [not key.endswith("conv_k.bias") for key in keys]  # 0: softmax does not see it
    norms = grad_norms(model, keys)
    expected = run.arrays[f"{prefix}_grad_norms"]
    np.testing.assert_allclose(norms[kept], expected[kept], rtol=on_norm)
    groups = [str(name) for name in run.arrays["train_group_names"]]
    ours = [
        np.sqrt(sum(n**2 for n, key in zip(norms, keys, strict=True) if key.split(".")[0] == group))
        for group in groups
    ]
    on_group = 1e-8 if prefix == "train64" else 1e-3
    np.testing.assert_allclose(ours, run.arrays[f"{prefix}_group_norms"], rtol=on_group)
    if prefix == "train64":
        check_samples(model, run)


def check_samples(model: HPCM, run: Recorded) -> None:
    """Four places of each gradient in float64: signs and order, which norms do not show."""
    parameters = dict(model.named_parameters())
    for index, key in enumerate(map(str, run.arrays["train_grad_names"])):
        if key.endswith("conv_k.bias"):
            continue
        grad = parameters[key].grad.flatten()
        places = np.round(np.linspace(0, grad.numel() - 1, 4)).astype(int)
        expected = run.arrays["train64_grad_samples"][index]
        floor = 1e-9 * run.arrays["train64_grad_norms"][index]
        np.testing.assert_allclose(grad[places], expected, rtol=1e-7, atol=floor, err_msg=key)


def test_noise_is_drawn_as_the_authors_do() -> None:
    """z first, then y; MSE does not see it."""
    run, model = recorded("base_256"), filled("hpcm_base").train()
    x = run.images()
    generator = torch.Generator().manual_seed(1234)
    noise = {
        name: torch.empty(1, *shape).uniform_(-0.5, 0.5, generator=generator)
        for name, shape in model.noise_shapes(*x.shape[-2:]).items()
    }
    with torch.no_grad():
        values = scalars(model(x, noise), x)
    expected = run.arrays["train_noise_scalars"]
    np.testing.assert_allclose([v.item() for v in values], expected, rtol=1e-5)
