"""What distinguishes the variants of HPCM: widths, depths, context kind. Data only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypedDict


@dataclass(frozen=True)
class Down:
    """A convolution of stride 2 to ``width`` channels; ``name`` if its key is not a number."""

    kernel: int
    width: int
    name: str | None = None


@dataclass(frozen=True)
class Up:
    """A transposed convolution of stride 2 to ``width`` channels."""

    kernel: int
    width: int
    name: str | None = None


@dataclass(frozen=True)
class Blocks:
    """``count`` partial-convolution residual blocks at the current width."""

    count: int
    name: str | None = None


Stage = Down | Up | Blocks


@dataclass(frozen=True)
class PriorDepth:
    """Depth-wise blocks of a spatial prior: before the gain, after it, and after the 1x1 to 2M."""

    before: int
    after: int
    tail: int = 0


@dataclass(frozen=True, kw_only=True)
class HPCMSpec:
    """One variant of HPCM (Li et al., ICCV 2025, arXiv 2507.19125).

    ``latent`` is M, the channels of y; ``hyper`` is N, the channels of z. The four transforms are
    chains of stages. ``windows`` are the sides of the attention windows at s1, s2, s3, in latent
    positions of that scale; None fuses the context without attention.
    """

    latent: int
    hyper: int
    g_a: tuple[Stage, ...]
    g_s: tuple[Stage, ...]
    h_a: tuple[Stage, ...]
    h_s: tuple[Stage, ...]
    prior_s1_s2: PriorDepth
    prior_s3: PriorDepth
    adaptor_blocks: tuple[int, int, int] = (0, 0, 0)  # per adaptor of s1, s2, s3; 0 is one 1x1
    windows: tuple[int, int, int] | None = (4, 8, 8)
    heads: int = 32
    partial: int = 4  # the 3x3 of a residual block sees 1/partial of the channels
    expansion: int = 4  # hidden width of a residual block, in widths
    chain_prefix: str = "branch"  # state-dict name between a transform and its layers

    def __post_init__(self) -> None:
        if self.latent % 8:
            raise ValueError(
                f"latent is {self.latent}; the coding order cuts it into 8 equal chunks"
            )
        if self.windows and 2 * self.latent % self.heads:
            raise ValueError(
                f"2 * latent = {2 * self.latent} is not a multiple of {self.heads} heads"
            )

    @property
    def stride(self) -> int:
        """Image sides must be multiples of this, in pixels."""
        period = 8  # of the coding order, in latent positions
        if self.windows:
            s1, s2, s3 = self.windows
            period = math.lcm(period, 4 * s1, 2 * s2, s3)
        return 16 * period


class Transforms(TypedDict):
    """The chains of stages of a spec."""

    g_a: tuple[Stage, ...]
    g_s: tuple[Stage, ...]
    h_a: tuple[Stage, ...]
    h_s: tuple[Stage, ...]


def _transforms(
    latent: int,
    hyper: int,
    widths: tuple[int, int, int],
    blocks: tuple[int, int, int],
    hyper_blocks: int = 3,
) -> Transforms:
    """The four transforms of all but hpcm_1b: ``blocks`` residual blocks at each of ``widths``."""
    a, b, c = widths
    at_a, at_b, at_c = (Blocks(count) for count in blocks)
    return {
        "g_a": (Down(4, a), at_a, Down(2, b), at_b, Down(2, c), at_c, Down(2, latent)),
        "g_s": (Up(2, c), at_c, Up(2, b), at_b, Up(2, a), at_a, Up(4, 3)),
        "h_a": (Blocks(1), Down(2, hyper), Blocks(hyper_blocks), Down(2, hyper)),
        "h_s": (Up(2, hyper), Blocks(hyper_blocks), Up(2, 2 * latent), Blocks(1)),
    }


BASE = HPCMSpec(
    latent=320,
    hyper=256,
    **_transforms(320, 256, (96, 192, 384), (2, 2, 4)),
    prior_s1_s2=PriorDepth(2, 1),
    prior_s3=PriorDepth(3, 2),
)

LARGE = HPCMSpec(
    latent=320,
    hyper=256,
    **_transforms(320, 256, (96, 192, 384), (2, 2, 8)),
    prior_s1_s2=PriorDepth(2, 2),
    prior_s3=PriorDepth(4, 3),
)

PHI = HPCMSpec(
    latent=320,
    hyper=256,
    **_transforms(320, 256, (96, 192, 384), (2, 2, 4)),
    prior_s1_s2=PriorDepth(2, 1),
    prior_s3=PriorDepth(3, 2),
    windows=None,
)

ONE_B = HPCMSpec(
    latent=512,
    hyper=256,
    g_a=(
        *(Down(2, 192, "g_a_down1"), Blocks(3, "g_a_chunk1")),
        *(Down(2, 384, "g_a_down2"), Blocks(9, "g_a_chunk2")),
        *(Down(2, 768, "g_a_down3"), Blocks(3, "g_a_chunk3")),
        *(Down(2, 512, "g_a_down4"), Blocks(3, "g_a_chunk4")),
    ),
    g_s=(
        *(Blocks(3, "g_s_chunk4"), Up(2, 768, "g_s_up4")),
        *(Blocks(9, "g_s_chunk3"), Up(2, 384, "g_s_up3")),
        *(Blocks(3, "g_s_chunk2"), Up(2, 192, "g_s_up2")),
        *(Blocks(3, "g_s_chunk1"), Up(2, 3, "g_s_up1")),
    ),
    h_a=(Blocks(4), Down(2, 512), Blocks(9), Down(2, 256)),
    h_s=(Up(2, 512), Blocks(9), Up(2, 1024), Blocks(4)),
    prior_s1_s2=PriorDepth(5, 3, 2),
    prior_s3=PriorDepth(6, 4, 2),
    adaptor_blocks=(5, 5, 7),
    windows=None,
    partial=2,
    chain_prefix="",
)

# The graph of base with narrow widths, for laptops and tests: 506,899 parameters, 7.0 kMAC/pixel
# (base: 68.5 million, 919). One training step (forward and backward, float32, 256 x 256, torch
# 2.15, best of 12 on a shared 2-core Xeon): batch 1 takes 0.10 s on one thread and 0.09 s on two,
# batch 4 takes 0.3 s and 0.23 s. Of the widths tried, rd_cost after 250 steps of batch 4 (Adam, lr
# 1e-3, lmbda 0.013, four photographs): these 5.5; (16, 32, 48) with 2 blocks each and expansion 4:
# 6.4 at 1.4 times the time; these with M = 48: 5.8 at 1.1 times.
TINY = HPCMSpec(
    latent=32,
    hyper=32,
    **_transforms(32, 32, (16, 32, 64), (1, 2, 2), hyper_blocks=1),
    prior_s1_s2=PriorDepth(1, 1),
    prior_s3=PriorDepth(1, 1),
    heads=4,
    expansion=2,
)
