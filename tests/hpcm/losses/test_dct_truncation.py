"""DCT truncation: when it acts, what it leaves alone, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch

from hpcm.losses.dct_truncation import DctTruncation, band_mask, radius


def images(side: int = 32) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_off_by_default() -> None:
    truncator, x = DctTruncation().build(8), images()
    for t in (0.0, 0.5, 1.0):
        assert not truncator.active(t)
        assert truncator.transform(x, t) is x
        assert truncator.log(t) == {}


@pytest.mark.parametrize("t", [0.1, 0.10001, 0.5, 1.0, 2.0])
def test_images_are_whole_from_the_end_on(t: float) -> None:
    truncator, x = DctTruncation(end=0.1).build(8), images()
    assert truncator.transform(x, t) is x


def test_brightness_and_shape_are_kept() -> None:
    x = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    out = DctTruncation(end=0.1).build(8).transform(x, 0.0)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    torch.testing.assert_close(out.mean((2, 3)), x.mean((2, 3)), rtol=1e-5, atol=1e-6)
    assert out.var() < 0.05 * x.var()


def test_error_falls_with_progress() -> None:
    x = images()
    for kind in ("linear", "exponential"):
        truncator = DctTruncation(end=0.1, kind=kind).build(8)  # type: ignore[arg-type]
        errors = [
            (truncator.transform(x, t) - x).square().mean().item() for t in (0, 0.03, 0.06, 0.09)
        ]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < errors[0]


@pytest.mark.parametrize("rolloff", [0.5, 0.25])
def test_a_plateau_reaches_the_identity_by_itself(rolloff: float) -> None:
    config = DctTruncation(end=0.1, rolloff=rolloff)
    assert config.last_tau == pytest.approx(math.sqrt(2) / (1 - rolloff))
    assert (band_mask(radius(64, 64), config.last_tau, rolloff) == 1).all()
    x = images()
    late = config.build(8).transform(x, 0.1 - 1e-9)
    torch.testing.assert_close(late, x, rtol=0, atol=1e-5)


def test_the_published_mask_ends_in_a_jump() -> None:
    late = DctTruncation(end=0.1).build(8).transform(images(), 0.1 - 1e-9)
    assert (late - images()).square().mean().item() > 1e-3


def test_autocast_does_not_reach_it() -> None:
    truncator, x = DctTruncation(end=0.1).build(8), images()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = truncator.transform(x, 0.05)
    assert torch.equal(inside, truncator.transform(x, 0.05))


def test_log() -> None:
    assert DctTruncation(end=0.1).build(8).log(0.05) == {"spectral/tau": pytest.approx(0.525)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tau_init": 0.0}, "tau_init is 0.0"),
        ({"tau_init": 1.5}, r"must be in \(0, 1\]"),
        ({"tau_init": 0.5, "tau_final": 0.4}, r"must be in \(0, 0.4\]"),
        ({"tau_final": 0.0}, "tau_final is 0.0; must be above 0"),
        ({"rolloff": 0.0}, "rolloff is 0.0"),
        ({"rolloff": 1.1}, "rolloff is 1.1"),
        ({"end": 1.1}, "end is 1.1"),
        ({"end": -0.1}, "end is -0.1"),
    ],
)
def test_refusals(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DctTruncation(**values)  # type: ignore[arg-type]
