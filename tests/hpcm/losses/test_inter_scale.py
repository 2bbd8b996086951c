"""The inter-scale term: when it counts, what trains its alignment, its guard and its state."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor

from hpcm.losses import Diverged, InterScale
from hpcm.losses.inter_scale import SCALES, InterScaleTerm
from hpcm.losses.inter_scale_modes import MODES, prediction_error
from hpcm.schema import ConfigError

CHANNELS = 8
UNBOUNDED = [name for name, mode in MODES.items() if not mode.bounded]
TRAINED = [name for name, mode in MODES.items() if mode.trained != "no"]


def latents(seed: int = 0, scale: float = 1.0, batch: int = 2) -> dict[str, Tensor]:
    """Nested latents: s1 and s2 are sub-lattices of s3 (of its even positions)."""
    generator = torch.Generator().manual_seed(seed)
    s3 = scale * torch.randn(batch, CHANNELS, 16, 16, generator=generator)
    return {"s1": s3[:, :, ::4, ::4], "s2": s3[:, :, ::2, ::2], "s3": s3}


def term(**values: Any) -> InterScaleTerm:
    return InterScale(**{"delta": 0.1, "start": 0.0, **values}).build(CHANNELS)


def test_off_by_default_and_draws_nothing() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    built = InterScale().build(CHANNELS)
    assert torch.equal(torch.rand(1), expected)
    assert not any(built.active(t) for t in (0.0, 0.5, 1.0))
    assert built.penalty(latents(), 1.0).item() == 0
    assert built.log(1.0) == {}
    built.check(0.0)


def test_start() -> None:
    built = term(start=0.25)
    assert [built.active(t) for t in (0.0, 0.2499, 0.25, 1.0)] == [False, False, True, True]
    for _ in range(3):
        built.fit(latents())
    assert built.penalty(latents(), 0.2).item() == 0
    assert built.penalty(latents(), 0.25).item() > 0


@pytest.mark.parametrize("mode", MODES)
def test_only_latents_get_a_gradient_from_the_penalty(mode: str) -> None:
    built = term(mode=mode)
    built.fit(latents())
    values = {name: value.clone().requires_grad_() for name, value in latents().items()}
    built.penalty(values, 1.0).backward()
    assert all(value.grad is not None for value in values.values())
    assert all(matrix.grad is None for matrix in built.parameters())
    assert not any(matrix.requires_grad for matrix in built.parameters())


@pytest.mark.parametrize("mode", MODES)
def test_the_alignment_starts_as_published_or_keeps_energy_or_predicts_nothing(mode: str) -> None:
    """Standard deviation: 0.1 / sqrt(C); 1 / sqrt(inputs), so that white latents stay white; 0."""
    channels = 64
    built = InterScale(delta=0.1, mode=mode).build(channels)
    inputs = channels * MODES[mode].bands
    expected = {"repo": 0.1 / 8, "rho2": 0.0}.get(mode, 1 / inputs**0.5)
    for matrix in built.align:
        assert matrix.shape == (channels, inputs)
        assert matrix.std().item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("mode", MODES)
def test_fit_moves_the_alignment_where_the_mode_trains_it(mode: str) -> None:
    built = term(mode=mode)
    before = [matrix.clone() for matrix in built.align]
    built.fit(latents())
    moved = [not torch.equal(a, b) for a, b in zip(before, built.align, strict=True)]
    assert moved == [mode in TRAINED] * 2


def test_a_predictor_learns_what_is_redundant() -> None:
    """The coarse latent is half of the fine one's LL band: rho^2 goes to 1, the term to delta."""
    built = term(latents="nested", align_lr=0.02)
    for seed in range(200):
        s3 = torch.randn(4, CHANNELS, 16, 16, generator=torch.Generator().manual_seed(seed))
        s2 = torch.nn.functional.avg_pool2d(s3, 2)
        values = {"s1": torch.nn.functional.avg_pool2d(s2, 2), "s2": s2, "s3": s3}
        built.fit(values)
    assert built.penalty(values, 1.0).item() == pytest.approx(0.1, rel=0.01)
    independent = {name: torch.randn_like(value) for name, value in values.items()}
    assert built.penalty(independent, 1.0).item() < 0.02


def test_what_a_predictor_learns_by_is_the_part_of_the_variance_it_leaves() -> None:
    u = 3 * latents()["s1"] + 2
    assert prediction_error(u, u).item() == 0
    assert prediction_error(u, u.mean().expand_as(u)).item() == pytest.approx(1, rel=1e-5)


def test_trained_by_the_published_term_the_alignment_runs_away() -> None:
    built = term(mode="paper", align_lr=0.1)
    norms = []
    for seed in range(60):
        built.penalty(latents(seed), 1.0)
        built.fit(latents(seed))
        norms.append(built.log(1.0)["spectral/align_norm"])
    assert norms[-1] > 10 * norms[0]
    with pytest.raises(Diverged, match="more than the rate-distortion cost 1.5"):
        built.check(1.5)


@pytest.mark.parametrize("mode", UNBOUNDED)
def test_growing_latents_are_caught(mode: str) -> None:
    built = term(mode=mode, delta=0.05)
    for _ in range(20):
        built.penalty(latents(scale=0.5), 1.0)
    built.check(1e9)
    for _ in range(20):
        built.penalty(latents(scale=4.0), 1.0)
    with pytest.raises(Diverged, match="the RMS of a channel is 4"):
        built.check(1e9)


@pytest.mark.parametrize(
    ("delta", "first", "allowed", "caught"),
    [
        (0.05, 0.5, 1.95, 2.05),  # four times the first, and above 0.67, where it runs away
        (1e-4, 0.5, 14.9, 15.1),  # 15.01, from which the reward outgrows the rate
    ],
)
def test_growth_is_caught_at_four_times_or_where_the_reward_outgrows_the_rate(
    delta: float, first: float, allowed: float, caught: float
) -> None:
    def check(rms: float) -> None:
        for _ in range(16):
            ones = latents()["s3"].sign() * rms
            built.penalty({"s1": ones[..., ::4, ::4], "s2": ones[..., ::2, ::2], "s3": ones}, 1.0)
        built.check(1e9)

    built = term(mode="repo", delta=delta)
    check(first)
    check(allowed)
    with pytest.raises(Diverged, match="the RMS of a channel is"):
        check(caught)


@pytest.mark.parametrize(("delta", "rms"), [(0.05, 4.25), (0.1, 3.0), (0.15, 2.45)])
def test_where_the_reward_outgrows_the_rate_of_hpcm_base(delta: float, rms: float) -> None:
    """sqrt(320 / (2 delta ln 2 * 256)): 320 channels, one position for 16 x 16 pixels."""
    built = InterScale(delta=delta, mode="paper").build(320)
    assert built._runaway_rms() == pytest.approx(rms, abs=0.01)


@pytest.mark.parametrize("mode", sorted(set(MODES) - set(UNBOUNDED)))
def test_bounded_modes_let_latents_grow(mode: str) -> None:
    built = term(mode=mode)
    for scale in (0.5, 40.0):
        for _ in range(20):
            built.penalty(latents(scale=scale), 1.0)
        built.check(1e9)


def test_one_bad_step_is_not_a_divergence_but_only_bad_steps_are() -> None:
    built = term(mode="repo")
    bad = {name: value * float("nan") for name, value in latents().items()}
    built.penalty(latents(), 1.0)
    built.penalty(bad, 1.0)
    built.check(1e9)
    assert built.log(1.0)["spectral/rms_max"] > 0
    built.penalty(bad, 1.0)
    with pytest.raises(Diverged, match="not finite"):
        built.check(1e9)


def test_log_is_the_mean_since_the_last_check() -> None:
    built = term(mode="repo", delta=1e-4)
    values = [built.penalty(latents(seed), 1.0).item() for seed in range(4)]
    assert built.log(1.0)["spectral/term"] == pytest.approx(sum(values) / 4)
    built.check(1e9)
    assert built.log(1.0)["spectral/term"] == pytest.approx(sum(values) / 4)
    last = built.penalty(latents(9), 1.0).item()
    assert built.log(1.0)["spectral/term"] == pytest.approx(last)
    assert set(built.log(1.0)) == {
        f"spectral/{name}" for name in ("term", "rms_max", "rms_baseline", "align_norm")
    }


@pytest.mark.parametrize("mode", MODES)
def test_a_restored_term_goes_on_bit_for_bit(mode: str) -> None:
    def steps(built: InterScaleTerm, first: int) -> list[float]:
        values = []
        for seed in range(first, first + 12):
            values.append(built.penalty(latents(seed), 1.0).item())
            built.fit(latents(seed))
            values.extend(built.log(1.0).values())
        built.check(1e9)
        return values

    whole, half = term(mode=mode), term(mode=mode)
    steps(whole, 0)
    steps(half, 0)
    file = io.BytesIO()
    torch.save(half.state_dict(), file)
    file.seek(0)
    restored = term(mode=mode)
    restored.load_state_dict(torch.load(file, weights_only=True))
    assert steps(restored, 12) == steps(whole, 12)


def test_after_a_restore_the_config_wins() -> None:
    donor = term(align_lr=1e-3)
    donor.fit(latents())
    restored = term(align_lr=1e-1, delta=0.2)
    restored.load_state_dict(donor.state_dict())
    before = restored.align[0].clone()
    restored.fit(latents())
    assert (restored.align[0] - before).abs().max().item() == pytest.approx(0.1, rel=0.05)


def test_a_model_without_latents_is_refused() -> None:
    with pytest.raises(ConfigError, match="the model gives no latents s1, s2"):
        term().penalty({"s3": latents()["s3"]}, 1.0)


def test_autocast_does_not_reach_it() -> None:
    built = term(mode="paper")
    expected = built.penalty(latents(), 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(built.penalty(latents(), 1.0), expected)
    half = {name: value.bfloat16() for name, value in latents().items()}
    assert built.penalty(half, 1.0).dtype == torch.float32


def test_innovations_ignore_the_coarser_symbols() -> None:
    built = term(mode="paper", latents="innovation")
    changed = latents()
    changed["s3"] = changed["s3"].clone()
    changed["s3"][:, 0, ::2, ::2] += 5  # channel 0 inherits the upper left of every cell
    assert torch.equal(built.penalty(changed, 1.0), built.penalty(latents(), 1.0))
    nested = term(mode="paper", latents="nested")
    assert not torch.equal(nested.penalty(changed, 1.0), nested.penalty(latents(), 1.0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"delta": -0.1}, "delta is -0.1"),
        ({"start": 1.5}, "start is 1.5"),
        ({"align_lr": 0.0}, "align_lr is 0.0"),
    ],
)
def test_refusals(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InterScale(**values)  # type: ignore[arg-type]


def test_scales_are_named_as_the_model_names_them() -> None:
    assert SCALES == ("s1", "s2", "s3")
