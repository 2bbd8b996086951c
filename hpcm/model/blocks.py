"""Building blocks: strided convolutions and the two residual blocks.

B batch, C channels, H W grid.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from hpcm.model import patches
from hpcm.model.pointwise import Pointwise
from hpcm.model.residual import residual


class DownConv(nn.Conv2d):
    """Halve the grid: (B, inputs, H, W) -> (B, outputs, H/2, W/2)."""

    def __init__(self, kernel: int, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel, stride=2, padding=(kernel - 2) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Any batch."""
        if self.kernel_size == (2, 2) and patches.is_cut(x, self.in_channels):
            return patches.down(x, *self.parameters())
        return super().forward(x)


class UpConv(nn.ConvTranspose2d):
    """Double the grid: (B, inputs, H, W) -> (B, outputs, 2H, 2W)."""

    def __init__(self, kernel: int, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel, stride=2, padding=(kernel - 2) // 2)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Any batch."""
        if self.kernel_size == (2, 2) and patches.is_cut(x, self.out_channels):
            return patches.up(x, *self.parameters())
        return super().forward(x)


class PartialConv(nn.Module):
    """3x3 convolution of the first C/partial channels; the others pass (FasterNet, CVPR 2023)."""

    def __init__(self, channels: int, partial: int) -> None:
        super().__init__()
        if channels % partial:
            raise ValueError(f"{channels} channels cannot be cut into {partial} equal parts")
        self.pconv = nn.Conv2d(channels // partial, channels // partial, 3, padding=1)


class Residual(nn.Module):
    """``x + branch(x)``: a spatial layer, 1x1 up, LeakyReLU, 1x1 down."""

    def __init__(self, spatial: nn.Module, channels: int, expansion: int) -> None:
        super().__init__()
        up = Pointwise(channels, expansion * channels)
        down = Pointwise(expansion * channels, channels)
        self.branch = nn.ModuleDict({"0": spatial, "1": up, "3": down})  # 2 is the LeakyReLU

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return residual(x, *self.branch.parameters())


def partial_block(channels: int, partial: int, expansion: int) -> Residual:
    """The residual block of the transforms."""
    return Residual(PartialConv(channels, partial), channels, expansion)


def depthwise_block(channels: int) -> Residual:
    """The residual block of the context networks: depth-wise 3x3, expansion 2."""
    spatial = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
    return Residual(spatial, channels, expansion=2)


def named_chain(layers: list[tuple[str, nn.Module]]) -> nn.Sequential:
    """Layers in order under the given state-dict names."""
    return nn.Sequential(OrderedDict(layers))
