"""The spectral regularizers against golden/spectral.json and PyWavelets, in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pywt
import torch
from scipy.fft import dctn
from torch import Tensor

from hpcm.losses.dct_truncation import DctTruncation, band_mask, dct_matrix, radius
from hpcm.losses.haar import haar, mean_of_cells
from hpcm.losses.inter_scale import INHERITED, SCALES, InterScale, InterScaleTerm
from hpcm.losses.inter_scale_modes import MODES
from tests.noise import seeded_noise

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/spectral.json").read_text())
TOLERANCE = GOLDEN["tolerance"]["float64"]


def signal(shape: tuple[int, ...], seed: float) -> Tensor:
    """The golden file's ``signal``."""
    b, c, i, j = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) for n in shape), indexing="ij"
    )
    return torch.sin(0.9 * i + 1.7 * j + 0.6 * c + 0.35 * b + seed) + 0.5 * torch.cos(
        0.23 * i * j + 0.8 * c - 0.5 * b + 2 * seed
    )


def weight(rows: int, columns: int, seed: float) -> Tensor:
    """The golden file's ``weight``."""
    o = torch.arange(rows, dtype=torch.float64)[:, None]
    return 0.3 * torch.cos(1.1 * o + 0.7 * torch.arange(columns, dtype=torch.float64) + seed)


def term_of(mode: str, channels: int, delta: float, latents: str, seed: float) -> InterScaleTerm:
    config = InterScale(delta=delta, mode=mode, latents=latents, start=0.0)  # type: ignore[arg-type]
    term = config.build(channels).double()
    for k, matrix in enumerate(term.align):
        matrix.copy_(weight(*matrix.shape, seed + k))
    return term


def close(values: Any, expected: Any) -> None:
    assert values == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE)


@pytest.mark.parametrize("case", GOLDEN["tau"], ids=lambda c: f"{c['kind']}-{c['epoch']}")
def test_tau(case: dict[str, Any]) -> None:
    config = DctTruncation(
        tau_init=case["tau_init"], tau_final=case["tau_final"], end=0.1, kind=case["kind"]
    )
    truncator = config.build(8)
    t = 0.1 * case["epoch"] / case["truncation_epochs"]
    close(config.tau(t), case["tau"])
    assert truncator.active(t) == case["active"]


def test_radius() -> None:
    torch.testing.assert_close(
        radius(4, 6), torch.tensor(GOLDEN["radius_4x6"], dtype=torch.float64), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("case", GOLDEN["nonzero_count"], ids=lambda c: f"tau-{c['tau']}")
def test_published_mask(case: dict[str, Any]) -> None:
    mask = band_mask(radius(case["H"], case["W"]), case["tau"], rolloff=1.0)
    assert (mask > 0).sum().item() == case["nonzero"]
    close(mask.mean().item(), case["mean"])


@pytest.mark.parametrize("case", GOLDEN["truncate"], ids=lambda c: f"rolloff-{c['rolloff']}")
def test_truncation(case: dict[str, Any]) -> None:
    height, width = case["shape"][-2:]
    x = signal(tuple(case["shape"]), case["seed"])
    spectrum = dct_matrix(height) @ x @ dct_matrix(width).T
    close(spectrum.sum().item(), case["dct"]["sum"])
    close(spectrum.square().sum().item(), case["dct"]["sumsq"])
    truncator = DctTruncation(
        tau_init=case["tau"], tau_final=2 * case["tau"], end=1.0, rolloff=case["rolloff"]
    ).build(8)
    output = truncator.transform(x, 0.0)
    close(output.sum().item(), case["output"]["sum"])
    close(output.square().sum().item(), case["output"]["sumsq"])
    close(output.flatten()[0].item(), case["output"]["first"])
    close(output.flatten()[-1].item(), case["output"]["last"])


def test_dct_against_scipy() -> None:
    x = torch.rand(7, 12, generator=torch.Generator().manual_seed(0)).double()
    ours = dct_matrix(7) @ x @ dct_matrix(12).T
    theirs = torch.from_numpy(dctn(x.numpy(), norm="ortho"))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_dct_matrix_is_orthonormal_in_float32() -> None:
    """Built in float64 and cast; built in float32 the error is 2e-5."""
    matrix = dct_matrix(256).float()
    error = (matrix.double() @ matrix.double().T - torch.eye(256)).abs().max()
    assert error < 2e-7


@pytest.mark.parametrize("case", GOLDEN["haar"], ids=lambda c: str(c["shape"]))
def test_haar(case: dict[str, Any]) -> None:
    x = signal(tuple(case["shape"]), case["seed"])
    bands = haar(x)
    close(bands.square().sum().item(), x.square().sum().item())
    channels = x.shape[1]
    for index, name in enumerate(("LL", "cH", "cV", "cD")):
        band = bands[0, index * channels]
        close(band.flatten().tolist(), [v for row in case[name] for v in row])
    means = mean_of_cells(x)[0, 0]
    close(means.flatten().tolist(), [v for row in case["repo_downsample_0_0"] for v in row])


def test_haar_against_pywavelets() -> None:
    x = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(1)).double()
    low, details = pywt.dwt2(x.numpy(), "haar")
    theirs = torch.cat([torch.from_numpy(band) for band in (low, *details)], dim=1)
    torch.testing.assert_close(haar(x), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", GOLDEN["regulariser"], ids=lambda c: f"C-{c['C']}")
def test_terms_and_gradients(case: dict[str, Any], mode: str) -> None:
    batch, channels, side = case["B"], case["C"], case["h"]
    expected = case["modes"][mode]
    term = term_of(mode, channels, case["delta"], "nested", case["seed"])
    z = [
        signal((batch, channels, side * 2**k, side * 2**k), case["seed"] + 0.37 * k)
        for k in range(3)
    ]
    leaves = [value.requires_grad_() for value in z]
    latents = dict(zip(SCALES, leaves, strict=True))
    value = term.penalty(latents, 1.0)
    close(value.item(), expected["loss"])
    gradients = torch.autograd.grad(value, leaves)
    close([g.norm().item() for g in gradients], expected["grad_norm_z"])
    close(gradients[0].flatten()[0].item(), expected["grad_z0_first"])
    close(gradients[2].flatten()[-1].item(), expected["grad_z2_last"])
    matrices = [matrix.clone().requires_grad_() for matrix in term.align]
    detached = {name: value.detach() for name, value in latents.items()}
    by_term = torch.autograd.grad(term._term(detached, matrices), matrices)
    close([g.norm().item() for g in by_term], expected["grad_norm_A"])
    scaled = {name: 3 * value for name, value in detached.items()}
    close(term.penalty(scaled, 1.0).item(), case["scaled_by_3"][mode])


def coarser(fine: Tensor, positions: tuple[tuple[int, int], ...]) -> Tensor:
    """Pick one symbol of every 2 x 2 cell, at the position of its channel's group."""
    groups = fine.chunk(len(positions), dim=1)
    return torch.cat(
        [g[:, :, i::2, j::2] for g, (i, j) in zip(groups, positions, strict=True)], dim=1
    )


def test_inherited_positions_are_the_golden_ones() -> None:
    lattice = GOLDEN["hpcm_lattice"]
    for name, positions in zip(("s1_in_s2", "s2_in_s3"), INHERITED, strict=True):
        assert [list(position) for position in positions] == lattice[name]["pos"]


@pytest.mark.parametrize("mode", ["rho2", "paper"])
@pytest.mark.parametrize("latents", ["nested", "innovation"])
def test_nested_latents_and_innovations(mode: str, latents: str) -> None:
    case = GOLDEN["hpcm_nested"]
    s3 = signal((1, case["C"], case["H"], case["H"]), case["seed"])
    s2 = coarser(s3, INHERITED[1])
    s1 = coarser(s2, INHERITED[0])
    close([s.square().sum().item() for s in (s1, s2)], [case[k]["sumsq"] for k in ("s1", "s2")])
    term = term_of(mode, case["C"], 0.1, latents, case["weight_seed"])
    value = term.penalty({"s1": s1, "s2": s2, "s3": s3}, 1.0)
    close(value.item(), case[f"{mode}_{latents}"])


def test_the_model_s_latents_are_nested_as_assumed() -> None:
    """On hpcm_tiny the symbols at the inherited positions are the coarser scale's, bit for bit."""
    from hpcm.model import build_model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("hpcm_tiny").train()
    x = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = model(x, seeded_noise(model, x))["latents"]
    for level, positions in enumerate(INHERITED):
        fine, coarse = latents[SCALES[level + 1]], latents[SCALES[level]]
        assert coarse.abs().sum() > 0
        torch.testing.assert_close(coarser(fine, positions), coarse, rtol=0, atol=0)
