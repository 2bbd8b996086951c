"""The context networks: adaptors, spatial priors, windowed cross attention.

B batch, C channels (2M for attention, 3M for adaptors and priors), h w the grid of the scale.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from hpcm.model.blocks import depthwise_block
from hpcm.model.pointwise import Pointwise
from hpcm.model.spec import PriorDepth


def build_adaptor(channels: int, blocks: int) -> nn.Module:
    """What prepares one step's input: one 1x1, or a stack of depth-wise blocks."""
    if blocks == 0:
        return Pointwise(channels, channels)
    return nn.Sequential(*(depthwise_block(channels) for _ in range(blocks)))


class SpatialPrior(nn.Module):
    """Scales and means of a step from context and decoded elements."""

    def __init__(self, latent: int, depth: PriorDepth) -> None:
        super().__init__()
        wide, narrow = 3 * latent, 2 * latent
        self.branch_1 = nn.Sequential(*(depthwise_block(wide) for _ in range(depth.before)))
        self.branch_2 = nn.Sequential(
            *(depthwise_block(wide) for _ in range(depth.after)),
            Pointwise(wide, narrow),
            *(depthwise_block(narrow) for _ in range(depth.tail)),
        )

    def forward(self, x: Tensor, gain: Tensor) -> Tensor:
        """``gain`` (1, 3M, 1, 1) scales the channels between the two halves, one gain per step.

        (B, 3M, h, w) -> (B, 2M, h, w).
        """
        return self.branch_2(self.branch_1(x) * gain)


class CrossAttention(nn.Module):
    """Fuses the newest parameters (query) with the context so far (key and value), per window.

    As published, ``conv_out`` is applied to the query's input, not to the attention's output.
    """

    def __init__(self, channels: int, window: int, heads: int) -> None:
        super().__init__()
        self.window, self.heads = window, heads
        self.conv_q = Pointwise(channels, channels)
        self.conv_k = Pointwise(channels, channels)
        self.conv_v = Pointwise(channels, channels)
        self.conv_out = Pointwise(channels, channels)

    def forward(self, psi: Tensor, context: Tensor) -> Tensor:
        """``psi`` and ``context`` (B, C, h, w), h and w multiples of the window."""
        q = self._windows(self.conv_q(psi))  # (B * windows, heads, tokens, C / heads)
        k = self._windows(self.conv_k(context))
        v = self._windows(self.conv_v(context))
        fused = F.scaled_dot_product_attention(q, k, v)
        return self.conv_out(psi) + self._place(fused, psi.shape)  # the layout is the first's

    def _windows(self, x: Tensor) -> Tensor:
        """Cut into windows; a head owns contiguous channels, tokens are row-major in the window."""
        side = self.window
        x = x.permute(0, 2, 3, 1)  # the last three dimensions below stay together in channels last
        x = x.unflatten(3, (self.heads, -1)).unflatten(2, (-1, side)).unflatten(1, (-1, side))
        return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5).flatten(0, 2)

    def _place(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The inverse of `_windows`."""
        batch, _, height, width = shape
        side = self.window
        x = x.unflatten(2, (side, side)).unflatten(0, (batch, height // side, width // side))
        x = x.permute(0, 1, 4, 2, 5, 3, 6)  # (B, rows, side, columns, side, heads, C / heads)
        return x.flatten(5).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
