"""Whole images to sizes a model takes, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Padding:
    """Zeros around an image, in pixels: symmetric, the odd pixel right and below (as HPCM does)."""

    left: int
    right: int
    top: int
    bottom: int

    @classmethod
    def to_multiple(cls, height: int, width: int, stride: int) -> Padding:
        """The padding that makes both sides multiples of ``stride``."""
        extra_h, extra_w = -height % stride, -width % stride
        left, top = extra_w // 2, extra_h // 2
        return cls(left=left, right=extra_w - left, top=top, bottom=extra_h - top)

    def pad(self, x: Tensor) -> Tensor:
        """(.., H, W) to (.., top + H + bottom, left + W + right)."""
        return F.pad(x, (self.left, self.right, self.top, self.bottom))

    def crop(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`pad`."""
        height, width = x.shape[-2:]
        return x[..., self.top : height - self.bottom, self.left : width - self.right]
